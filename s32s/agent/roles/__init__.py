"""Roles are directions: each builds its source and its target and hands them to the spine."""
