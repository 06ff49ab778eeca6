"""A prefix in the packed layout: the content of many files in few immutable objects, and generations that stay."""
