"""An interpreter as on a system that is not Unix: run a program below it with `python elsewhere.py ARGUMENTS`.

Modules and functions that Windows has not got are gone, directories cannot be opened, nothing is found by the
descriptor of one, and a rename replaces nothing. It is not Windows: names, paths and locks are still those of Linux,
but for `msvcrt.locking`, which is played by fcntl(2). What the program must do without is what can be tried here.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

_MODULES = ("fcntl", "pwd", "grp", "termios", "tty", "pty", "resource", "syslog", "inotify_simple")
_FUNCTIONS = (
    *("geteuid", "getuid", "getegid", "getgid", "fchmod", "fchown", "chown", "lchown", "statvfs", "fstatvfs"),
    *("pread", "pwrite", "killpg", "setsid", "mkfifo", "sync", "posix_fallocate", "posix_fadvise", "sendfile"),
    *("O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "O_PATH", "SEEK_DATA", "SEEK_HOLE"),
)
_NAMED = (
    *("open", "stat", "mkdir", "rename", "unlink", "remove", "rmdir", "readlink", "symlink", "link", "chmod"),
    *("utime", "access", "replace", "listdir", "scandir"),
)


def hobble() -> None:
    """Take away what is not there elsewhere."""
    import fcntl
    import subprocess  # and what it brings: the library must not take this for Windows

    assert subprocess

    played = types.ModuleType("msvcrt")
    setattr(played, "LK_NBLCK", 2)  # noqa: B010
    setattr(played, "LK_UNLCK", 0)  # noqa: B010

    def locking(fd: int, how: int, size: int) -> None:
        fcntl.lockf(fd, fcntl.LOCK_UN if how == 0 else fcntl.LOCK_EX | fcntl.LOCK_NB, size, os.lseek(fd, 0, 1))

    setattr(played, "locking", locking)  # noqa: B010
    sys.modules["msvcrt"] = played
    for name in _MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    is_directory, lexists = os.path.isdir, os.path.lexists
    really = {name: getattr(os, name) for name in _NAMED}
    for name in _NAMED:
        setattr(os, name, _without_descriptors(name, really[name]))

    def open_file(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        if named.get("dir_fd") is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if is_directory(path):
            raise PermissionError(13, "Permission denied", path)
        return int(really["open"](path, flags, mode))

    def rename(source: Any, target: Any, **named: Any) -> None:
        if any(value is not None for value in named.values()):
            raise NotImplementedError("dir_fd unavailable on this platform")
        if lexists(target):
            raise FileExistsError(17, "File exists", target)
        really["rename"](source, target)

    os.open, os.rename = open_file, rename  # type: ignore[assignment]
    os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks = set(), set(), {os.stat}  # type: ignore[misc, arg-type]
    for name in _FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    for name in ("SIGALRM", "SIGHUP", "SIGKILL", "setitimer", "ITIMER_REAL"):
        if hasattr(signal, name):
            delattr(signal, name)
    for name in ("CLOCK_BOOTTIME", "clock_gettime"):
        delattr(time, name)
    import ctypes

    real = ctypes.CDLL

    class Library(real):  # type: ignore[misc, valid-type]
        def __init__(self, name: str | None, *args: Any, **named: Any) -> None:
            if name is None:
                raise TypeError("LoadLibrary() argument 1 must be str, not None")
            super().__init__(name, *args, **named)

    ctypes.CDLL = Library  # type: ignore[misc]


def _without_descriptors(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **named: Any) -> Any:
        for key in ("dir_fd", "src_dir_fd", "dst_dir_fd"):
            if named.pop(key, None) is not None:
                raise NotImplementedError(f"{key} unavailable on this platform")
        if name in ("listdir", "scandir", "utime", "chmod") and args and isinstance(args[0], int):
            raise TypeError(f"{name}: path should be string, not int")
        return function(*args, **named)

    return called


if __name__ == "__main__":
    hobble()
    from s32s.frontends.cli.main import main

    main(sys.argv[1:])
