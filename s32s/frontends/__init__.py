"""What people and programs use: the command line, the menu, the service."""
