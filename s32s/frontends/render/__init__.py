"""Subscribers: the same events for eyes, for machines, and as files."""
