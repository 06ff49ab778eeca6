"""What the system lets this process have."""

from __future__ import annotations

import sys


def open_files() -> int:
    """How many files and connections may be open at the same time (getrlimit(2), RLIMIT_NOFILE)."""
    if sys.platform == "win32":
        return 8192  # of the C runtime, _setmaxstdio; sockets do not count
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
