"""Directories of SFTP and WebDAV servers, and of whatever else fsspec reaches, as backends."""
