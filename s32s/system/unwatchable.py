"""Why a directory is not watched, on every system; what watches it is in `inotify.py`."""

from __future__ import annotations


class Unwatchable(Exception):
    """A directory cannot be watched; the text says why, and what helps."""
