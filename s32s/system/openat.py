"""Names in a directory that is held open: openat(2) and its siblings, and the same by paths where a system has none.

With descriptors a link that somebody plants while we work leads nowhere. Windows opens no directories: there a handle
stands for the path that was opened, each step looks first whether a link is in the way, and that is all that can be
done. `HAS_AT` tells which of the two it is.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat as modes
import threading
from collections.abc import Callable
from typing import Any

_FUNCTIONS = (os.open, os.stat, os.mkdir, os.rename, os.unlink, os.rmdir, os.readlink, os.symlink)
#: Whether this system knows names by a directory's descriptor.
HAS_AT = all(function in os.supports_dir_fd for function in _FUNCTIONS) and os.listdir in os.supports_fd
#: Whether files of this system have permission bits; Windows makes them up.
HAS_MODES = hasattr(os, "fchmod")


def flag(name: str) -> int:
    """A flag of open(2); 0 where this system has none of that name."""
    return int(getattr(os, name, 0))


#: How directories are opened: never through a symbolic link.
OPEN_DIR = flag("O_RDONLY") | flag("O_DIRECTORY") | flag("O_NOFOLLOW") | flag("O_CLOEXEC")
#: On the way a directory need only be searchable, like the /home/* of others; O_PATH asks for no more (open(2)).
PASS_DIR = flag("O_PATH") | flag("O_DIRECTORY") | flag("O_NOFOLLOW") | flag("O_CLOEXEC")


class _Handles:
    """Numbers that stand for directories by their paths. Thread-safe."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1 << 20)
        self._paths: dict[int, str] = {}
        self._guard = threading.Lock()

    def add(self, path: str) -> int:
        with self._guard:
            number = next(self._numbers)
            self._paths[number] = path
        return number

    def path(self, number: int) -> str | None:
        with self._guard:
            return self._paths.get(number)

    def remove(self, number: int) -> bool:
        with self._guard:
            return self._paths.pop(number, None) is not None


_HANDLES = _Handles()


def path_of(name: str, dir_fd: int | None) -> str:
    """The path of a name in a directory that stands for a path."""
    above = _HANDLES.path(dir_fd) if dir_fd is not None else None
    return name if above is None else os.path.join(above, name)


def open_(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """See os.open; a directory may be opened, too."""
    path = path_of(name, dir_fd)
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if modes.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        if modes.S_ISDIR(found.st_mode) and not flags & (os.O_WRONLY | os.O_RDWR):
            return _HANDLES.add(path)
        if flags & OPEN_DIR == OPEN_DIR != 0 and flags & flag("O_DIRECTORY"):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
    return os.open(path, flags | flag("O_BINARY"), mode)


def close_(fd: int) -> None:
    """See os.close."""
    if not _HANDLES.remove(fd):
        os.close(fd)


def dup_(fd: int) -> int:
    """See os.dup."""
    path = _HANDLES.path(fd)
    return os.dup(fd) if path is None else _HANDLES.add(path)


def fstat_(fd: int) -> os.stat_result:
    """See os.fstat."""
    path = _HANDLES.path(fd)
    return os.fstat(fd) if path is None else os.stat(path)


def stat_(name: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    """See os.stat."""
    return os.stat(path_of(name, dir_fd), follow_symlinks=follow_symlinks)


def listdir_(fd: int) -> list[str]:
    """See os.listdir."""
    return os.listdir(path_of(".", fd))


def scandir_(fd: int) -> Any:
    """See os.scandir."""
    return os.scandir(path_of(".", fd))


def mkdir_(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """See os.mkdir."""
    os.mkdir(path_of(name, dir_fd), mode)


def rmdir_(name: str, *, dir_fd: int | None = None) -> None:
    """See os.rmdir."""
    os.rmdir(path_of(name, dir_fd))


def unlink_(name: str, *, dir_fd: int | None = None) -> None:
    """See os.unlink."""
    os.unlink(path_of(name, dir_fd))


def rename_(name: str, to: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    """See os.rename; it replaces what is there on every system."""
    os.replace(path_of(name, src_dir_fd), path_of(to, dst_dir_fd))


def readlink_(name: str, *, dir_fd: int | None = None) -> str:
    """See os.readlink."""
    return os.readlink(path_of(name, dir_fd))


def symlink_(target: str, name: str, *, dir_fd: int | None = None) -> None:
    """See os.symlink."""
    os.symlink(target, path_of(name, dir_fd))


def chmod_(name: str, mode: int, *, dir_fd: int | None = None) -> None:
    """See os.chmod."""
    os.chmod(path_of(name, dir_fd), mode)


open: Callable[..., int] = os.open if HAS_AT else open_  # noqa: A001 # as in os
close: Callable[[int], None] = os.close if HAS_AT else close_
dup: Callable[[int], int] = os.dup if HAS_AT else dup_
fstat: Callable[[int], os.stat_result] = os.fstat if HAS_AT else fstat_
stat: Callable[..., os.stat_result] = os.stat if HAS_AT else stat_
listdir: Callable[[int], list[str]] = os.listdir if HAS_AT else listdir_
scandir: Any = os.scandir if HAS_AT else scandir_
mkdir: Callable[..., None] = os.mkdir if HAS_AT else mkdir_
rmdir: Callable[..., None] = os.rmdir if HAS_AT else rmdir_
unlink: Callable[..., None] = os.unlink if HAS_AT else unlink_
rename: Callable[..., None] = os.rename if HAS_AT else rename_
readlink: Callable[..., str] = os.readlink if HAS_AT else readlink_
symlink: Callable[..., None] = os.symlink if HAS_AT else symlink_
chmod: Callable[..., None] = os.chmod if HAS_AT else chmod_


def fchmod(fd: int, mode: int) -> None:
    """See os.fchmod; a system without permission bits of files has none to set."""
    if hasattr(os, "fchmod") and _HANDLES.path(fd) is None:
        os.fchmod(fd, mode)


def set_time(name: str, dir_fd: int, mtime_ns: int) -> None:
    """Give a file its modification time, in ns since the epoch; of a link never what it points to."""
    if HAS_AT:
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=dir_fd, follow_symlinks=False)
    else:
        os.utime(path_of(name, dir_fd), ns=(mtime_ns, mtime_ns))


def user_id() -> int | None:
    """The user that we are; None on a system that has no numbers for users."""
    return os.geteuid() if hasattr(os, "geteuid") else None
