"""Objects below a prefix as a source and a target."""
