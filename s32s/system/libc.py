"""The C library, for the few system calls that Python does not have."""

from __future__ import annotations

import ctypes
import os
import types
from typing import Any, NoReturn


def load() -> Any:
    """The C library of this process; one without any function where there is none, as on Windows."""
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return types.SimpleNamespace()


def give_back_memory() -> None:
    """Give memory that is not used any more back to the system: malloc_trim(3), which only glibc has."""
    loaded = load()
    if hasattr(loaded, "malloc_trim"):
        loaded.malloc_trim(0)


def raise_errno(call: str) -> NoReturn:
    """Raise what the last call has left in errno.

    Raises:
        OSError: always.
    """
    code = ctypes.get_errno()
    raise OSError(code, f"{call}: {os.strerror(code)}")
