"""A change file by file, for a target that cannot be exchanged.

The staging directory lies in the target and holds only what is new. When all of it is there and verified, each file is
renamed over its old one; deletions come last. A reader may see new files beside old ones, but never half a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence

from s32s.core import paths
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan, Put
from s32s.stores.base import Published, Transaction
from s32s.stores.local import meanwhile
from s32s.stores.local.handle import Stage, TargetHandle
from s32s.stores.local.staging import DIR_MODE, Staging, staged
from s32s.stores.local.stat_cache import CTIME, stamp
from s32s.stores.local.walk import DirectoryListing
from s32s.system import atomic, directories


def change(plan: Plan, opened: TargetHandle) -> contextlib.AbstractContextManager[Transaction]:
    """A change of one file after the other."""
    return staged(_InPlace(plan, opened))


class _InPlace(Staging):
    """Only what is new, renamed over the old files one by one."""

    def __init__(self, plan: Plan, opened: TargetHandle) -> None:
        super().__init__(plan, opened)
        self.now = DirectoryListing()  # the target at the last look

    def open_old(self) -> int:
        return os.dup(self.opened.parent)

    def fill(self) -> None:
        self.wanted = self.place_nearby(self.plan.puts)

    def publish(self) -> Published:
        """Rename each staged file over its old one, but for what somebody has changed meanwhile; see `meanwhile.py`."""
        root = self.opened.parent
        self.stamp_brought()
        self.keep_old()
        atomic.sync_filesystem(self.tree)
        self.now, moved = self.look_again()
        stays = {self.now.paths[row] for row in moved.rows}
        modes = self.dir_modes(self.now, self.plan.unchanged)
        self.stage = Stage.CHANGING
        made: list[str] = []
        for put in self.plan.puts:
            path = put.item.path
            if path in stays:
                continue
            self._clear_way(root, path)
            if put.item.kind is Kind.DIR:
                self._ensure_dir(root, path, made)
                continue
            directory, _, name = path.rpartition("/")
            self._ensure_dir(root, directory, made)
            with directories.directory(root, directory) as parent:
                if put.old is not None and put.old.kind is Kind.DIR:
                    self._remove_planned(root, path)
                elif not self._is_planned(put) and not self._is_as_seen(parent, path):
                    self.opened.record.told.append(path)
                    continue
                os.rename(path, name, src_dir_fd=self.tree, dst_dir_fd=parent)
                if put.item.kind is Kind.FILE:
                    self._note(parent, path)
        named = [put.item.path for put in self.plan.puts if put.item.kind is Kind.DIR]
        for path in sorted({*made, *named}, key=len, reverse=True):
            with directories.directory(root, path) as fd:
                special = stat.S_IMODE(os.fstat(fd).st_mode) & ~0o777
                os.fchmod(fd, modes.get(path, DIR_MODE) | special)
        self.stage = Stage.PUBLISHED
        return Published()

    def sweep(self) -> None:
        """Delete what the source no longer has, deepest first."""
        root = self.opened.parent
        self._delete(root, self.plan.extras)
        atomic.sync_filesystem(root)

    def _delete(self, root: int, extras: Sequence[Item]) -> None:
        for item in reversed(extras):
            directory, _, name = item.path.rpartition("/")
            try:
                with directories.directory(root, directory) as parent:
                    if item.kind is Kind.DIR:
                        os.rmdir(name, dir_fd=parent)
                    else:
                        os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                continue
            except OSError as exc:
                # Its parent may have become a file in this very change, and it a directory; and somebody may have put a
                # new file into a directory since it was listed, which the next run sees.
                if exc.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EISDIR):
                    continue
                raise OSError(exc.errno, exc.strerror, item.path) from exc

    def _remove_planned(self, root: int, path: str) -> None:
        """Remove a directory that becomes a file, with what the plan deletes in it and nothing else."""
        below = [item for item in self.plan.extras if item.path.startswith(path + "/")]
        self._delete(root, below)
        directory, _, name = path.rpartition("/")
        with directories.directory(root, directory) as parent, contextlib.suppress(FileNotFoundError):
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError as exc:
                raise meanwhile.changed(path, self.shown) from exc

    def _is_planned(self, put: Put) -> bool:
        """Whether what is there goes whatever it holds by now, as `sync` has shown and counted it."""
        return self.opened.policy.deletes and put.old is not None

    def _is_as_seen(self, parent: int, path: str) -> bool:
        """Whether the same stands at a path as at the last look."""
        row = self.now.find(path)
        try:
            status = os.stat(path.rpartition("/")[2], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return row is not None and self.now.is_as_found(row, status)

    def _note(self, parent: int, path: str) -> None:
        """Note the change time that our rename has given a file, when nothing else was changed in it."""
        written = self.opened.record.written
        with contextlib.suppress(FileNotFoundError):
            now = stamp(os.stat(path.rpartition("/")[2], dir_fd=parent, follow_symlinks=False))
            if now[:CTIME] == written[path][:CTIME]:
                written[path] = now

    def _may_replace(self, path: str) -> bool:
        """Whether the plan takes away what stands at a path, where a directory must be."""
        found = self.opened.found.get(path)
        return found is not None and found.item.kind is not Kind.DIR and self.opened.policy.deletes

    def _clear_way(self, root: int, path: str) -> None:
        """Remove a file or link that stands where one of the path's directories must be."""
        for above in reversed(list(paths.ancestors(path))):
            if self._may_replace(above):
                directory, _, name = above.rpartition("/")
                with directories.directory(root, directory) as parent:
                    status = None
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if status is not None and not stat.S_ISDIR(status.st_mode):
                        os.unlink(name, dir_fd=parent)

    def _ensure_dir(self, root: int, path: str, made: list[str]) -> None:
        if not path:
            return
        directory, _, name = path.rpartition("/")
        self._ensure_dir(root, directory, made)
        with directories.directory(root, directory) as parent:
            try:
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    return
                if not self._may_replace(path):
                    raise meanwhile.changed(path, self.shown)
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                pass
            os.mkdir(name, 0o755, dir_fd=parent)
            if self.owner:
                user, group = self.owner
                if os.fstat(parent).st_mode & stat.S_ISGID:
                    group = -1  # it has that of its directory
                with contextlib.suppress(PermissionError):
                    os.chown(name, user, group, dir_fd=parent, follow_symlinks=False)
            made.append(path)
