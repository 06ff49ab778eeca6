"""A change by exchange: the staging directory holds the whole new tree and becomes the target in one step.

What is the same is a hard link to the live file, the rest is new. For a power cut the order is: data on the disk (one
syncfs), exchange, parent directory on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from s32s import disk, paths
from s32s.errors import EntryFailed, Refused, SourceChanged
from s32s.plan import Plan, Put, Reason
from s32s.stores.base import Change
from s32s.stores.outer import PROBES, TREE, Outer, left_over
from s32s.stores.staging import DIR_MODE, Opened, Stage, Staging, staged, unwritable
from s32s.tree import Kind


def change(plan: Plan, opened: Opened) -> contextlib.AbstractContextManager[Change]:
    """A change of the whole directory at once."""
    return staged(_Swap(plan, opened))


def probe(parent: int, name: str, *, shown: str, way_out: str) -> None:
    """Exchange two empty directories where the staging will be, to learn that it works.

    Raises:
        Refused: the place cannot be written, or cannot exchange.
    """
    a, b = PROBES
    try:
        outer = Outer(parent, name, shown=shown)
        try:
            os.mkdir(a, dir_fd=outer.fd)
            os.mkdir(b, dir_fd=outer.fd)
            disk.exchange(outer.fd, a, outer.fd, b)
        finally:
            outer.remove()
    except OSError as exc:
        if exc.errno in (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP):
            raise Refused(
                f"the file system of {paths.escape(shown)} cannot exchange two directories ({exc.strerror})",
                hint=way_out,
            ) from exc
        raise unwritable(exc, shown) from exc


class _Swap(Staging):
    """The whole new tree, exchanged with the old one."""

    def open_old(self) -> int:
        try:
            return disk.open_below(self.opened.parent, self.opened.name)
        except FileNotFoundError:
            return -1

    def fill(self) -> None:
        for put in self.plan.puts:
            if put.item.kind is Kind.DIR:
                self.make_dirs(put.item.path)
        for keep in self.plan.keeps.directories():
            self.make_dirs(keep.target.path)
        for item in self.plan.carried:
            if item.kind is Kind.DIR:
                self.make_dirs(item.path)
        self._link_kept()
        self.wanted = self.place_nearby(self.plan.puts)

    def _link_kept(self) -> None:
        """Hard-link what stays from the live tree, one open directory at a time."""
        carried = (item.path for item in self.plan.carried if item.kind is not Kind.DIR)
        kept = sorted([*self.plan.keeps.others(), *carried])
        above, fd = None, -1
        try:
            for path, row in zip(kept, self.opened.found.rows(kept), strict=True):
                directory, _, name = path.rpartition("/")
                if directory != above:
                    if fd >= 0:
                        os.close(fd)
                    fd = disk.open_below(self.old, directory)
                    above = directory
                    self.make_dirs(directory)
                self._link(fd, name, path, row)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise SourceChanged(f"{paths.quote(path)} in {self.shown} changed during the run") from exc
            raise
        finally:
            if fd >= 0:
                os.close(fd)

    def _link(self, directory: int, name: str, path: str, row: int) -> None:
        walked = self.opened.found
        try:
            os.link(name, path, src_dir_fd=directory, dst_dir_fd=self.tree, follow_symlinks=False)
        except OSError as exc:
            # Too many names, or an immutable file, which may not get another one (link(2), chattr(1)).
            if exc.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV) or not walked.is_file(row):
                raise
            item = walked.found(row).item
            if not self.copy_old(item, Put(item, Reason.MODE)):
                raise SourceChanged(f"{paths.quote(path)} in {self.shown} changed during the run") from exc
            return
        if not walked.is_as_found(row, os.stat(path, dir_fd=self.tree, follow_symlinks=False)):
            raise SourceChanged(f"{paths.quote(path)} in {self.shown} changed during the run")

    def publish(self) -> int:
        """Exchange the new tree with the target."""
        parent, name = self.opened.parent, self.opened.name
        self.stamp_brought()
        modes = self.dir_modes()
        for path in sorted(self.dirs, key=len, reverse=True):
            os.chmod(path, modes.get(path, DIR_MODE), dir_fd=self.tree)
        old = self.old_status
        os.fchmod(self.tree, stat.S_IMODE(old.st_mode) if old else DIR_MODE)
        if self.owner:
            with contextlib.suppress(PermissionError):
                os.fchown(self.tree, *self.owner)
        disk.sync_filesystem(self.tree)
        if old is None:
            disk.rename_new(self.outer_fd, TREE, parent, name)
        else:
            # A link or another directory under the name would be exchanged as gladly, so look once more.
            now = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not os.path.samestat(now, old):
                raise EntryFailed(
                    f"{paths.escape(self.shown)} was replaced by somebody else during the run; nothing was changed"
                )
            disk.exchange(self.outer_fd, TREE, parent, name)
            # Between that look and the exchange somebody may have been quicker; what came out would be deleted.
            came_out = os.stat(TREE, dir_fd=self.outer_fd, follow_symlinks=False)
            if not os.path.samestat(came_out, old):
                disk.exchange(self.outer_fd, TREE, parent, name)
                raise EntryFailed(
                    f"{paths.escape(self.shown)} was replaced by somebody else during the run, and is left to them"
                )
        self.stage = Stage.PUBLISHED
        os.fsync(parent)
        return 0

    def sweep(self) -> None:
        """Remove the old tree, which now lies in the staging directory."""
        os.close(self.tree)
        self.tree = -1
        try:
            if self.old_status is not None:
                disk.remove_tree(self.outer_fd, TREE)
        except OSError as exc:
            self.opened.warn(f"{paths.escape(self.shown)} is up to date, but {left_over(self._left(), exc)}")

    def _left(self) -> str:
        above = self.shown.rpartition("/")[0]
        return f"{above}/{self.outer.name if self.outer else ''}"
