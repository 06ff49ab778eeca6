"""Text from outside: map files and the configuration."""
