"""Where a target is: the way to it opened by descriptors, and its lock taken.

The lock, the staging directory and earlier trees are siblings of the target, so that every configuration, user and
container that reaches the target agrees on them. In place they are in the target itself, whose parent may be out of
reach; where it is not, its lock is taken too, which is the one of a run that swaps. No run waits for a lock, so their
order does not matter.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from s32s.core import paths
from s32s.core.errors import Refused
from s32s.stores.local import outer
from s32s.system import directories, locks


class Holder(NamedTuple):
    """The directory that holds what belongs to a target.

    Attributes:
        parent: its descriptor: of the target's parent, or of the target itself in place.
        where: its path.
        name: last component of the target.
    """

    parent: int
    where: str
    name: str


@contextlib.contextmanager
def open_holder(root: str, *, in_place: bool, writable: bool) -> Iterator[Holder]:
    """Open the way to a target, and lock it.

    Args:
        root: absolute path of the target.
        in_place: what belongs to it is in the target.
        writable: False to look only: nothing is locked or written.

    Raises:
        Refused: a link on the way, an unsafe parent, something that is not a directory.
        Locked: another run works on it.
    """
    where = root if in_place else root.rpartition("/")[0] or "/"
    name = root.rpartition("/")[2]
    parent = _open_base(where)
    try:
        if not in_place:
            _check_kind(parent, name, root)
        with contextlib.ExitStack() as held:
            if writable:
                if in_place:
                    _lock_beside(root, name, held)
                try:
                    _lock(parent, root, name, held)
                except OSError as exc:
                    raise Refused(
                        f"{paths.escape(where)} cannot be written: {exc.strerror}",
                        hint="the user that runs s32s must be able to write there",
                    ) from exc
            yield Holder(parent, where, name)
    finally:
        os.close(parent)


def _lock(parent: int, root: str, name: str, held: contextlib.ExitStack) -> None:
    held.enter_context(locks.lock(parent, outer.lock_name(name), what=root, holder=locks.holder()))


def _lock_beside(root: str, name: str, held: contextlib.ExitStack) -> None:
    """Take the lock in the parent of a target that is changed in place, where that can be written."""
    try:
        parent = directories.open_dir(root.rpartition("/")[0] or "/")
    except OSError:
        return
    held.callback(os.close, parent)
    try:
        _lock(parent, root, name, held)
    except OSError as exc:
        if exc.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _open_base(path: str) -> int:
    try:
        fd = directories.open_dir(path)
    except FileNotFoundError as exc:
        raise Refused(
            f"the directory {paths.escape(path)} does not exist", hint=f"create it: mkdir -p {paths.escape(path)}"
        ) from exc
    except NotADirectoryError as exc:
        raise Refused(f"{paths.escape(path)} is not a directory") from exc
    except OSError as exc:
        raise Refused(f"{paths.escape(path)} cannot be opened: {exc.strerror}") from exc
    try:
        directories.check_ancestors(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_kind(parent: int, name: str, root: str) -> None:
    """Refuse a target that is there and is not a plain directory."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise Refused(
            f"{paths.escape(root)} is a symbolic link",
            hint=f"name the real path in the map, {paths.escape(os.path.realpath(root))}",
        )
    if not stat.S_ISDIR(status.st_mode):
        raise Refused(f"{paths.escape(root)} is a file, not a directory", hint="move it away")
