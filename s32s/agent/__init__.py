"""This machine: what it knows, and what it runs."""
