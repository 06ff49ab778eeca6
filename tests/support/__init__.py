"""What the tests stand on: real S3 servers, a proxy that injects faults, and trees of files."""
