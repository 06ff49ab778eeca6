"""S3 as a backend."""
