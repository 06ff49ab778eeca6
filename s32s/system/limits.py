"""What the system lets this process have."""

from __future__ import annotations

import sys

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]


def open_files() -> int:
    """How many files and connections may be open at the same time (getrlimit(2), RLIMIT_NOFILE)."""
    if resource is None:
        return 8192  # of Windows' C runtime, _setmaxstdio; sockets do not count
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
