"""Bytes that are kept in a store, both ways, capped."""
