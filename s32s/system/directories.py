"""Directories by descriptor, so that no neighbour can redirect the way.

A directory is opened component by component without following a symbolic link; after that everything happens relative
to descriptors, so a link planted while we work leads nowhere. A tree is removed the same way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from s32s.core import paths
from s32s.core.errors import Refused
from s32s.system import openat

#: How directories are opened: never through a symbolic link.
OPEN_DIR: Final = openat.OPEN_DIR
_PASS_DIR = openat.PASS_DIR
#: Of a descent: directories that stay open at once, far below the 1,024 descriptors of a usual process.
_KEPT_OPEN = 32


def open_dir(path: str) -> int:
    """Open the absolute directory `path`, refusing a symbolic link anywhere in it.

    Raises:
        Refused: a component is a symbolic link.
        OSError: any other failure, such as a missing component.
    """
    if not openat.HAS_AT:
        return _open_by_path(path)
    fd = openat.open("/", OPEN_DIR)
    done = ""
    parts = [part for part in path.split("/") if part]
    try:
        for number, part in enumerate(parts, start=1):
            done += "/" + part
            flags = OPEN_DIR if number == len(parts) else _PASS_DIR
            fd, above = _open_part(part, fd, flags, shown=done), fd
            openat.close(above)
    except BaseException:
        openat.close(fd)
        raise
    return fd


def _open_by_path(path: str) -> int:
    """`open_dir` where directories are known by their paths alone."""
    whole = os.path.abspath(path)
    real = os.path.realpath(whole)
    if os.path.normcase(real) != os.path.normcase(whole):
        raise Refused(
            f"{paths.escape(path)} is, or is below, a symbolic link",
            hint=f"name the real path, {paths.escape(real)}",
        )
    return openat.open(whole, OPEN_DIR) if os.path.isdir(whole) else _not_there(whole)


def _not_there(path: str) -> int:
    code = errno.ENOTDIR if os.path.lexists(path) else errno.ENOENT
    raise OSError(code, os.strerror(code), path)


def open_below(root: int, path: str) -> int:
    """Open the directory at the relative `path` below the descriptor `root`, never through a symbolic link.

    Raises:
        OSError: a component is missing, a link (ELOOP or ENOTDIR), or no directory.
    """
    if not path:
        return openat.dup(root)
    fd = root
    parts = path.split("/")
    for number, part in enumerate(parts, start=1):
        above = fd
        try:
            fd = openat.open(part, OPEN_DIR if number == len(parts) else _PASS_DIR, dir_fd=above)
        finally:
            if above != root:
                openat.close(above)
    return fd


@contextlib.contextmanager
def directory(root: int, path: str) -> Iterator[int]:
    """`open_below` as a context manager."""
    fd = open_below(root, path)
    try:
        yield fd
    finally:
        openat.close(fd)


class Descent:
    """The directories on the way down from one; only the nearest stay open.

    A tree may be deeper than a process may open files. A directory that was closed is opened again from the one below
    it, by "..", and must still be the same.

    Args:
        root: descriptor of the directory at the top, which stays the caller's.
    """

    def __init__(self, root: int) -> None:
        self._fds = [root]
        self._closed: list[os.stat_result] = []

    @property
    def fd(self) -> int:
        """Descriptor of the lowest directory."""
        return self._fds[-1]

    def enter(self, fd: int) -> None:
        """Go down into a directory of the lowest one; its descriptor is ours from now on."""
        self._fds.append(fd)
        if len(self._fds) > _KEPT_OPEN:
            above = self._fds[-_KEPT_OPEN]
            self._closed.append(openat.fstat(above))
            openat.close(above)
            self._fds[-_KEPT_OPEN] = -1

    def leave(self) -> None:
        """Go up again.

        Raises:
            OSError: ESTALE when the directory was moved meanwhile. The descent is of no more use but for `close`.
        """
        left = self._fds.pop()
        try:
            if self._fds[-1] < 0:
                fd = openat.open("..", OPEN_DIR, dir_fd=left)
                if not os.path.samestat(openat.fstat(fd), self._closed.pop()):
                    openat.close(fd)
                    raise OSError(errno.ESTALE, "a directory above was moved meanwhile")
                self._fds[-1] = fd
        finally:
            openat.close(left)

    def close(self) -> None:
        """Close all that is open, but for the root."""
        for fd in self._fds[1:]:
            if fd >= 0:
                openat.close(fd)
        del self._fds[1:]


def check_ancestors(path: str) -> None:
    """Refuse a directory whose way down another user could redirect.

    A directory that everybody may write to without the sticky bit lets any local user rename what lies in it.

    Raises:
        Refused: names the directory.
    """
    at = Path(path)
    for above in (at, *at.parents):
        status = above.lstat()
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise Refused(
                f"every user may write to {above}, so nothing below it is safe",
                hint=f"chmod o-w {above}",
            )


def _open_part(part: str, above: int, flags: int, *, shown: str) -> int:
    try:
        return openat.open(part, flags, dir_fd=above)
    except OSError as exc:
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(openat.stat(part, dir_fd=above, follow_symlinks=False).st_mode):
                where = os.path.realpath(shown)
                raise Refused(
                    f"{paths.escape(shown)} is a symbolic link", hint=f"name the real path, {paths.escape(where)}"
                ) from exc
        raise OSError(exc.errno, exc.strerror, shown) from exc


def remove_tree(parent: int, name: str) -> None:
    """Remove `name` and all below it, by descriptors, never through a link and never into another mount.

    What cannot be removed stays, and all the rest goes.

    Raises:
        OSError: something could not be removed; it names the first.
    """
    status = openat.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        openat.unlink(name, dir_fd=parent)
        return
    _Removal(parent, status.st_dev).remove(name)


class _Removal:
    """One directory that goes with all it holds, however deep it is."""

    def __init__(self, parent: int, device: int) -> None:
        self._descent = Descent(parent)
        self._device = device
        self._way: list[str] = []
        self._left: list[list[str]] = []  # at each level, the directories that are still to be emptied
        self._error: OSError | None = None

    def remove(self, name: str) -> None:
        try:
            self._enter(name)
            while self._way:
                if self._left[-1]:
                    self._enter(self._left[-1].pop())
                else:
                    self._left.pop()
                    name = self._way.pop()
                    self._descent.leave()
                    self._try(openat.rmdir, name)
        finally:
            self._descent.close()
        if self._error is not None:
            raise self._error

    def _enter(self, name: str) -> None:
        try:
            fd = _open_for_removal(self._descent.fd, name)
        except OSError as exc:
            self._note(exc, name)
            return
        self._descent.enter(fd)
        self._way.append(name)
        self._left.append([])
        if openat.fstat(fd).st_dev != self._device:
            self._note(OSError(errno.EBUSY, "something is mounted on it"), "")
            return
        try:
            with openat.scandir(fd) as entries:
                inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as exc:
            self._note(exc, "")
            return
        for child, is_dir in inside:
            if is_dir:
                self._left[-1].append(child)
            else:
                self._try(openat.unlink, child)

    def _try(self, remove: Callable[..., None], name: str) -> None:
        try:
            remove(name, dir_fd=self._descent.fd)
        except FileNotFoundError:
            pass
        except OSError as exc:
            self._note(exc, name)

    def _note(self, exc: OSError, name: str) -> None:
        """Keep the first error, with the whole path. That the directories above are not empty is its consequence."""
        if self._error is None:
            path = "/".join([*self._way, name]).rstrip("/")
            self._error = OSError(exc.errno, exc.strerror, path)


def _open_for_removal(parent: int, name: str) -> int:
    """Open a directory that is going to be emptied; one without the owner's bits gets them first."""
    try:
        fd = openat.open(name, OPEN_DIR, dir_fd=parent)
    except PermissionError:
        openat.chmod(name, 0o700, dir_fd=parent)  # by path, as fchmod needs an open file; the parent is ours
        return openat.open(name, OPEN_DIR, dir_fd=parent)
    if openat.fstat(fd).st_mode & 0o700 != 0o700:
        with contextlib.suppress(PermissionError):
            openat.fchmod(fd, 0o700)
    return fd
