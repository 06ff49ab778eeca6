"""The commands: one function each, from the parsed options to an exit status."""
