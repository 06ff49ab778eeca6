"""A change file by file, for a target that cannot be exchanged.

The staging directory lies in the target and holds only what is new. When all of it is there and verified, each file is
renamed over its old one; deletions come last. A reader may see new files beside old ones, but never half a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from s32s import disk, paths
from s32s.plan import Plan
from s32s.stores.base import Change
from s32s.stores.staging import DIR_MODE, Opened, Stage, Staging, staged
from s32s.tree import Kind


def change(plan: Plan, opened: Opened) -> contextlib.AbstractContextManager[Change]:
    """A change of one file after the other."""
    return staged(_InPlace(plan, opened))


class _InPlace(Staging):
    """Only what is new, renamed over the old files one by one."""

    def open_old(self) -> int:
        return os.dup(self.opened.parent)

    def fill(self) -> None:
        self.wanted = self.place_nearby(self.plan.puts)

    def publish(self) -> int:
        """Rename each staged file over its old one."""
        root = self.opened.parent
        modes = self.dir_modes()
        self.stamp_brought()
        disk.sync_filesystem(self.tree)
        self.stage = Stage.CHANGING
        made: list[str] = []
        for put in self.plan.puts:
            path = put.item.path
            self._clear_way(root, path)
            if put.item.kind is Kind.DIR:
                self._ensure_dir(root, path, made)
                continue
            directory, _, name = path.rpartition("/")
            self._ensure_dir(root, directory, made)
            with disk.directory(root, directory) as parent:
                if put.old is not None and put.old.kind is Kind.DIR:
                    disk.remove_tree(parent, name)
                os.rename(path, name, src_dir_fd=self.tree, dst_dir_fd=parent)
        named = [put.item.path for put in self.plan.puts if put.item.kind is Kind.DIR]
        for path in sorted({*made, *named}, key=len, reverse=True):
            with disk.directory(root, path) as fd:
                os.fchmod(fd, modes.get(path, DIR_MODE))
        self.stage = Stage.PUBLISHED
        return 0

    def sweep(self) -> None:
        """Delete what the source no longer has, deepest first."""
        root = self.opened.parent
        for item in reversed(self.plan.extras):
            directory, _, name = item.path.rpartition("/")
            try:
                with disk.directory(root, directory) as parent:
                    if item.kind is Kind.DIR:
                        os.rmdir(name, dir_fd=parent)
                    else:
                        os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                continue
            except OSError as exc:
                # Its parent may have become a file in this very change; and somebody may have put a new file into a
                # directory since it was listed, which the next run sees.
                if exc.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY):
                    continue
                raise OSError(exc.errno, exc.strerror, item.path) from exc
        disk.sync_filesystem(root)

    def _clear_way(self, root: int, path: str) -> None:
        """Remove a file or link that stands where one of the path's directories must be."""
        for above in reversed(list(paths.ancestors(path))):
            found = self.opened.found.get(above)
            if found is not None and found.item.kind is not Kind.DIR:
                directory, _, name = above.rpartition("/")
                with disk.directory(root, directory) as parent:
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
        with disk.directory(root, directory) as parent:
            try:
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    return
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                pass
            os.mkdir(name, 0o755, dir_fd=parent)
            if self.owner:
                with contextlib.suppress(PermissionError):
                    os.chown(name, *self.owner, dir_fd=parent, follow_symlinks=False)
            made.append(path)
