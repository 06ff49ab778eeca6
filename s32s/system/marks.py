"""Small files beside the database of the state: which runs are under way, and who this machine is as a master."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from s32s.system import atomic, exclusive, openat

_SAFE = openat.flag("O_NOFOLLOW") | openat.flag("O_CLOEXEC")

#: No moment that a mark names is later: the year 5138.
_LATEST_S = 1e11


@contextlib.contextmanager
def mark(file: Path) -> Iterator[None]:
    """Let `marked_since` tell that the block is under way.

    It keeps nobody out: where another process has the mark already, or the file cannot be made, the block runs all the
    same.
    """
    fd = -1
    try:
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(file, os.O_RDWR | os.O_CREAT | _SAFE, 0o600)
            if exclusive.take(fd):
                os.ftruncate(fd, 0)
                os.write(fd, json.dumps(time.time()).encode())
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def marked_since(file: Path) -> float | None:
    """When the block that `mark` is around began, in seconds since the epoch; None where none is under way.

    The kernel drops the lock of a process that dies (flock(2)), so a killed run is not taken for a live one.
    """
    try:
        fd = os.open(file, os.O_RDWR | _SAFE)
    except OSError:
        return None
    try:
        if not exclusive.is_taken(fd):
            return None
        with contextlib.suppress(OSError, ValueError):
            since = float(os.read(fd, 64))
            if 0 <= since < _LATEST_S:
                return since
        return time.time()  # it has only just begun
    except OSError:
        return None
    finally:
        os.close(fd)


def read_id(file: Path) -> str | None:
    """The id that `save_id` has written; None where there is none, or another text."""
    with contextlib.suppress(OSError, ValueError):
        with file.open("rb") as opened:
            text = opened.read(100).decode("ascii").strip()
        if len(text) == 32 and set(text) <= set("0123456789abcdef"):
            return text
    return None


def save_id(file: Path, identity: str) -> None:
    """Write the id; a failure is not an error, as the database has it, too."""
    with contextlib.suppress(OSError):
        atomic.write_atomic(file, f"{identity}\n".encode(), mode=0o600)
