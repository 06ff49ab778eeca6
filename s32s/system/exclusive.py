"""A lock on an open file that the system drops when its holder dies: flock(2), or on Windows a locked byte."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: The byte that is locked on Windows, where nobody can read what is locked: far behind all that such a file says.
_FAR = 1 << 30


def take(fd: int) -> bool:
    """Take the lock; whether nobody else has it.

    Raises:
        OSError: the file system knows no locks.
    """
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    return _lock_byte(fd)


def is_taken(fd: int) -> bool:
    """Whether somebody has the lock.

    Raises:
        OSError: the file system knows no locks.
    """
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
    if not _lock_byte(fd):
        return True
    _lock_byte(fd, free=True)
    return False


def _lock_byte(fd: int, *, free: bool = False) -> bool:
    import msvcrt  # of Windows alone

    locking, how = getattr(msvcrt, "locking"), getattr(msvcrt, "LK_UNLCK" if free else "LK_NBLCK")  # noqa: B009
    os.lseek(fd, _FAR, os.SEEK_SET)
    try:
        locking(fd, how, 1)
    except OSError:
        return False
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return True
