"""Values and rules, pure: no clock, disk, network or thread."""
