"""Lock files: one run at a time, and a second one is told who holds it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Iterator

from s32s.core import paths
from s32s.core.errors import Locked, Refused
from s32s.system import exclusive, openat

_SAFE = openat.flag("O_NOFOLLOW") | openat.flag("O_NONBLOCK") | openat.flag("O_CLOEXEC")


def digest(text: str) -> str:
    """A short, safe file name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def holder() -> dict[str, str]:
    """What a lock file says of its holder."""
    since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    return {"process": str(os.getpid()), "on": socket.gethostname(), "since": since}


@contextlib.contextmanager
def lock(parent: int, name: str, *, what: str, holder: dict[str, str]) -> Iterator[None]:
    """Hold the lock file `name` in the directory `parent`; it disappears with the lock.

    flock(2) is dropped by the kernel when its holder dies, so a left-over file locks nobody out.

    Args:
        parent: descriptor of the directory.
        name: of the lock file.
        what: what is locked, for the message.
        holder: what the file says of us to a second run.

    Raises:
        Locked: another run holds it; the message says who.
        OSError: the file cannot be made.
    """
    fd = _locked_file(parent, name, what=what)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, json.dumps(holder).encode())
        yield
    finally:
        # Unlinked while held: a process that opened it meanwhile finds another inode under the name, and tries again.
        with contextlib.suppress(OSError):
            openat.unlink(name, dir_fd=parent)
        openat.close(fd)


def _locked_file(parent: int, name: str, *, what: str) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | _SAFE
        try:
            fd = openat.open(name, flags, 0o600, dir_fd=parent)
        except OSError as exc:
            if exc.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV):
                raise _no_lock(parent, name, what) from exc
            raise
        status = openat.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or openat.user_id() not in (None, status.st_uid) or status.st_nlink > 1:
            openat.close(fd)
            # Its name can be guessed; what is written into it must not land in a file that somebody has linked there.
            raise _no_lock(parent, name, what)
        try:
            is_ours = exclusive.take(fd)
        except BaseException:
            openat.close(fd)
            raise
        if not is_ours:
            said = os.read(fd, 4096)
            openat.close(fd)
            raise Locked(f"another run works on {what}{_holder(said)}", hint="try again when it has finished")
        try:
            here = openat.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            openat.close(fd)
            continue
        if os.path.samestat(here, openat.fstat(fd)):
            return fd
        openat.close(fd)


def _no_lock(parent: int, name: str, what: str) -> Refused:
    where = name
    with contextlib.suppress(OSError):
        where = f"{os.readlink(f'/proc/self/fd/{parent}').rstrip('/')}/{name}"
    kind = "something else"
    with contextlib.suppress(OSError):
        mode = openat.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        kind = _LOCK_KINDS.get(stat.S_IFMT(mode), "something else")
    return Refused(
        f"{paths.escape(where)}, where the lock of {paths.escape(what)} belongs, is {kind}, so it is not ours",
        hint="look where it comes from and remove it",
    )


_LOCK_KINDS = {
    stat.S_IFREG: "a file of another user or one with two names",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
}


def _holder(said: bytes) -> str:
    try:
        facts = json.loads(said)
        text = ", ".join(f"{name} {value}" for name, value in facts.items())
    except (ValueError, AttributeError):
        return ""
    return f" ({paths.escape(text)[:200]})"
