"""The private directory that everything new is made in, beside a target or in it: made, proven to be ours, removed.

The owner of the directory around it can rename what lies there, other people's directories too, and wait for root to
remove them. What is not ours must therefore never go by its name alone. Into each directory that we make goes an empty
file with the directory's own name: nobody else can write there, so no other directory can hold it, and a renamed one
holds another name. While we have one open it is emptied by its descriptor, and rmdir(2) removes nothing that holds
anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from typing import Final

from s32s.core import paths
from s32s.core.errors import Refused
from s32s.system import directories, locks
from s32s.system.file_bytes import NEW_FILE

#: What lies in it: the new tree, which an exchange makes the old one, and what a probe of the exchange makes.
TREE: Final = "tree"
PROBES: Final = ("a", "b")

#: What to do about EPERM, which root gets for few other reasons: chattr(1).
FIXED = "it or its directory may be immutable or append-only: look with lsattr -d, and change that with chattr -i -a"


def ours(name: str) -> tuple[str, str, str]:
    """How paths in a target begin that belong to s32s, when it is changed in place: staging, lock, earlier trees."""
    return _prefix(name), lock_name(name), kept_name(name)


def lock_name(name: str) -> str:
    """The lock file of a target."""
    return f"{paths.LOCK_PREFIX}{locks.digest(name)}"


def kept_name(name: str) -> str:
    """The directory with the earlier trees of a target; see `kept`."""
    return f"{paths.KEPT_PREFIX}{locks.digest(name)}"


class Outer:
    """One such directory, mode 0700, held open.

    Args:
        parent: descriptor of the directory that it is made in; stays the caller's.
        name: last component of the target.
        shown: the target's path, for messages.

    Raises:
        Refused: nothing can be written there.
        OSError: any other failure.
    """

    def __init__(self, parent: int, name: str, *, shown: str) -> None:
        self._parent = parent
        self.name = _prefix(name) + secrets.token_hex(8)
        try:
            os.mkdir(self.name, 0o700, dir_fd=parent)
        except OSError as exc:
            if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise Refused(
                    f"the directory that contains {paths.escape(shown)} cannot be written: {exc.strerror}",
                    hint="new files are made beside the target, so the user that runs s32s must be able to write there",
                ) from exc
            raise
        self.fd = directories.open_below(parent, self.name)
        try:
            _mark(self.fd, self.name, shown=shown)
        except BaseException:
            os.close(self.fd)
            raise

    def abandon(self) -> None:
        """Leave it as it is for good: without its mark nobody removes it, and the next runs name it."""
        fd, self.fd = self.fd, -1
        try:
            os.unlink(self.name, dir_fd=fd)
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove it with all it holds, and close it.

        Raises:
            OSError: something could not be removed; it names the first.
        """
        fd, self.fd = self.fd, -1
        try:
            _empty(fd, self.name)
        finally:
            os.close(fd)
        os.rmdir(self.name, dir_fd=self._parent)


def tidy(parent: int, name: str, *, where: str, warn: Callable[[str], None]) -> None:
    """Remove what killed runs of this target have left; the caller holds the lock. What stays is told.

    Args:
        parent: descriptor of the directory that holds staging.
        name: last component of the target.
        where: path of that directory, for messages.
        warn: told of what is not ours, and of what cannot be removed.
    """
    with os.scandir(parent) as entries:
        left = sorted(entry.name for entry in entries if entry.name.startswith(_prefix(name)))
    strangers = []
    for entry in left:
        try:
            if not _remove_ours(parent, entry):
                strangers.append(entry)
        except OSError as exc:
            warn(left_over(f"{where}/{entry}", exc))
    if strangers:
        warn(
            f"{paths.some(strangers)} in {paths.escape(where)} may not be left over from s32s, so it stays; "
            "remove or rename it by hand"
        )


def left_over(path: str, exc: OSError) -> str:
    """A sentence about what is no longer used and could not be removed."""
    inside = f"{path}/{exc.filename}" if exc.filename else path
    cure = FIXED if exc.errno == errno.EPERM else "remove it by hand"
    return f"old files in {paths.escape(path)} could not all be removed: {exc.strerror} ({paths.quote(inside)}); {cure}"


def _remove_ours(parent: int, name: str) -> bool:
    """Remove a directory if it is certainly one of ours; tell whether it was."""
    try:
        fd = directories.open_below(parent, name)
    except OSError as exc:
        if exc.errno in (errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return False
        raise
    try:
        if not _is_ours(fd, name):
            return False
        _empty(fd, name)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
    return True


def _mark(fd: int, name: str, *, shown: str) -> None:
    """Put our mark into a directory that we have just made.

    Raises:
        Refused: somebody has put another one under its name meanwhile.
    """
    is_empty = not os.listdir(fd)
    mark = os.open(name, NEW_FILE, 0o600, dir_fd=fd)
    try:
        # Not our own id: a file system may give all that we make to another user (NFS, FAT).
        is_ours = os.fstat(mark).st_uid == os.fstat(fd).st_uid
    finally:
        os.close(mark)
    if not is_empty or not is_ours:
        os.unlink(name, dir_fd=fd)
        raise Refused(
            f"{paths.escape(name)}, beside {paths.escape(shown)} or in it, was replaced by another directory just now",
            hint="find out who renames directories there",
        )
    if os.fstat(fd).st_mode & 0o777 != 0o700:
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(fd, 0o700)


def _is_ours(fd: int, name: str) -> bool:
    """Whether an open directory is certainly one of ours, or empty."""
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    inside = set(os.listdir(fd))
    if not inside:
        return True
    if name not in inside or not inside <= {TREE, *PROBES, name}:
        return False
    mark = os.stat(name, dir_fd=fd, follow_symlinks=False)
    return stat.S_ISREG(mark.st_mode) and mark.st_uid == os.geteuid()


def _empty(fd: int, name: str) -> None:
    """Empty one of ours. The mark goes last, so that what a kill leaves behind is still known, or empty."""
    for child in (*PROBES, TREE, name):
        try:
            directories.remove_tree(fd, child)
        except FileNotFoundError:
            continue


def _prefix(name: str) -> str:
    return f"{paths.STAGING_PREFIX}{locks.digest(name)}-"
