"""Places that hold a tree: a local directory, a prefix on S3."""
