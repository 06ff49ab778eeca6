"""A local directory as a source and a target."""
