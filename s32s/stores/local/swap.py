"""A change by exchange: what is new is staged beside the target and takes its place in one step.

What is exchanged is a unit: the smallest path that holds all changes. That may be the whole target, a directory in it,
or one file. Of the unit, what is the same is a hard link to the live file, the rest is new; all else is not touched.
For a power cut the order is: data on the disk (one syncfs), exchange, parent directory on the disk.

What a program does in the target meanwhile is looked at twice: just before the links are made (`meanwhile.py`), and in
the old tree after the exchange, from which only what was known is removed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import stat

from s32s.core import paths
from s32s.core.compare import Reason
from s32s.core.errors import EntryFailed, Refused, SourceChanged
from s32s.core.item import Kind
from s32s.core.plan import Plan, Put
from s32s.stores.base import Published, Transaction
from s32s.stores.local import meanwhile, unit
from s32s.stores.local.handle import Stage, TargetHandle, unwritable
from s32s.stores.local.outer import PROBES, TREE, Outer, left_over
from s32s.stores.local.staging import DIR_MODE, Staging, staged
from s32s.stores.local.stat_cache import CTIME, SIZE, inode_of, stamp
from s32s.stores.local.walk import DirectoryListing, open_file
from s32s.system import atomic, directories


def change(plan: Plan, opened: TargetHandle) -> contextlib.AbstractContextManager[Transaction]:
    """A change of the whole directory at once."""
    return staged(_Swap(plan, opened))


def probe(parent: int, name: str, *, shown: str, hint: str) -> None:
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
            atomic.exchange(outer.fd, a, outer.fd, b)
        finally:
            outer.remove()
    except OSError as exc:
        if exc.errno in (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP):
            raise Refused(
                f"the file system of {paths.escape(shown)} cannot exchange two directories ({exc.strerror})",
                hint=hint,
            ) from exc
        raise unwritable(exc, shown) from exc


class _Swap(Staging):
    """The whole new tree, exchanged with the old one."""

    def __init__(self, plan: Plan, opened: TargetHandle) -> None:
        super().__init__(plan, opened)
        self.unit = ""
        self.stays = plan.unchanged  # of the unit
        self.now = DirectoryListing()  # the unit at the last look, and what our own links have made of it since
        self.linked: set[int] = set()  # rows of it

    def open_old(self) -> int:
        try:
            return directories.open_below(self.opened.parent, self.opened.name)
        except FileNotFoundError:
            return -1

    def fill(self) -> None:
        if self.old >= 0:
            self.unit = unit.choose(self.plan, self.opened.found, self.old)
            self.stays = self.plan.unchanged.within(self.unit)
        self.opened.record.unit = self.unit
        self.make_dirs(paths.parent(self.unit))
        for put in self.plan.puts:
            if put.item.kind is Kind.DIR:
                self.make_dirs(put.item.path)
        self.wanted = self.place_nearby(self.plan.puts)

    def _take_along(self) -> None:
        """Stage what stays: hard links to the live files, as late as possible.

        By now a program may have written in the target. And a link moves the change time of a file, by which the
        stat cache goes: a run that fails or starts over before this has not touched it.
        """
        self.now, moved = self.look_again(self.unit)
        news = {self.now.paths[row]: self.now.is_dir(row) for row in moved.rows}
        stays = [
            item
            for item in self.plan.spared
            if item.path not in moved.gone and item.path not in news and self._is_in_unit(item.path)
        ]
        dirs = [keep.target.path for keep in self.stays.directories()]
        dirs += [item.path for item in stays if item.kind is Kind.DIR]
        dirs += [path for path, is_dir in news.items() if is_dir]
        files = {item.path for item in stays if item.kind is not Kind.DIR}
        files.update(path for path in self.stays.others() if path not in moved.gone)
        files.update(path for path, is_dir in news.items() if not is_dir)
        try:
            for path in dirs:
                self.make_dirs(path)
            for path, is_dir in news.items():
                if not is_dir:
                    self._unlink(path)  # what the plan has put there; what has moved stays
            self._link_kept(sorted(files))
            for row in (*moved.rows, *moved.doubtful):
                self._doubt(row)
        except OSError as exc:
            # Something has become a directory that was a file, or the other way round.
            if exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST):
                raise SourceChanged(f"{paths.escape(self.shown)} changed during the run") from exc
            raise

    def _link_kept(self, kept: list[str]) -> None:
        """Hard-link what stays from the live tree, one open directory at a time; what is gone by now stays gone."""
        above, fd = None, -1
        try:
            for path, row in zip(kept, self.now.rows(kept), strict=True):
                directory, _, name = path.rpartition("/")
                if directory != above:
                    if fd >= 0:
                        os.close(fd)
                    above, fd = directory, self._open_left(directory)
                    self.make_dirs(directory)
                if fd >= 0:
                    with contextlib.suppress(FileNotFoundError):
                        self._link(fd, name, path, row)
        finally:
            if fd >= 0:
                os.close(fd)

    def _link(self, directory: int, name: str, path: str, row: int) -> None:
        """Link one file, and note the change time that this has given it.

        Looked at just before and just after: where anything else has moved its times, only reading it again can tell
        what it holds, and the stat cache must not know it. What can still hide is an edit that begins, ends and puts
        the time back between the two looks, or within one tick of the kernel's clock.
        """
        now = self.now
        before = os.stat(name, dir_fd=directory, follow_symlinks=False)
        is_known = now.is_as_found(row, before)
        try:
            os.link(name, path, src_dir_fd=directory, dst_dir_fd=self.tree, follow_symlinks=False)
        except OSError as exc:
            # Too many names, or an immutable file, which may not get another one (link(2), chattr(1)).
            if exc.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV) or not now.is_file(row):
                raise
            item = now.found(row).item
            if not self.copy_old(item, Put(item, Reason.MODE), now):
                raise meanwhile.changed(path, self.shown) from exc
            return
        after = os.stat(path, dir_fd=self.tree, follow_symlinks=False)
        self.linked.add(row)
        is_same = os.path.samestat(before, after) and before.st_size == after.st_size
        if is_known and is_same and before.st_mtime_ns == after.st_mtime_ns:
            now.set_ctime(row, after.st_ctime_ns)
        else:
            self._doubt(row)

    def _doubt(self, row: int) -> None:
        """Let a file not be known after this run."""
        self.now.set_ctime(row, -1)
        self.opened.record.written.pop(self.now.paths[row], None)

    def publish(self) -> Published:
        """Exchange what is new with what is old, in one step."""
        self.stamp_brought()
        self.keep_old()
        self._take_along()
        modes = self.dir_modes(self.now, self.stays)
        for path in sorted(filter(self._is_in_unit, self.dirs), key=len, reverse=True):
            os.chmod(path, modes.get(path, DIR_MODE) | self.likeness.special(path), dir_fd=self.tree)
        if self.unit:
            self._sync_unit()
            self._check_target()
            self._exchange_unit()
            # What is staged is now what is old, and the other way round.
            self.tree, self.old = self.old, self.tree
        else:
            os.fchmod(self.tree, stat.S_IMODE(os.fstat(self.old).st_mode) if self.old_status else DIR_MODE)
            atomic.sync_filesystem(self.tree)
            self._exchange_all()
        self.opened.record.kept = self.now
        return Published()

    def _exchange_all(self) -> None:
        parent, name, old = self.opened.parent, self.opened.name, self.old_status
        if old is None:
            atomic.rename_new(self.outer_fd, TREE, parent, name)
        else:
            self._check_target()
            atomic.exchange(self.outer_fd, TREE, parent, name)
            # Between that look and the exchange somebody may have been quicker; what came out would be deleted.
            came_out = os.stat(TREE, dir_fd=self.outer_fd, follow_symlinks=False)
            if not os.path.samestat(came_out, old):
                atomic.exchange(self.outer_fd, TREE, parent, name)
                raise EntryFailed(
                    f"{paths.escape(self.shown)} was replaced by somebody else during the run, and was left alone"
                )
        self.stage = Stage.PUBLISHED
        os.fsync(parent)

    def _exchange_unit(self) -> None:
        unit.exchange(self.unit, self.now, staged=self.tree, live=self.old, shown=self.shown)
        self.stage = Stage.PUBLISHED
        with directories.directory(self.old, paths.parent(self.unit)) as live:
            os.fsync(live)
            written = self.opened.record.written
            if left := written.get(self.unit):
                # A rename moves the change time of what it renames.
                now = stamp(os.stat(self.unit.rpartition("/")[2], dir_fd=live, follow_symlinks=False))
                written[self.unit] = now if now[:CTIME] == left[:CTIME] else left
        self._note_old()

    def _note_old(self) -> None:
        """Note the change time that our rename has given to what came out."""
        row = self.now.find(self.unit)
        if row is None or self.now.is_dir(row):
            return
        try:
            with directories.directory(self.tree, paths.parent(self.unit)) as staged:
                status = os.stat(self.unit.rpartition("/")[2], dir_fd=staged, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stamp(status)[:CTIME] == tuple(self.now.stamp(row))[:CTIME]:
            self.now.set_ctime(row, stamp(status)[CTIME])

    def _check_target(self) -> None:
        """A link or another directory under the name would be exchanged as gladly, so look once more.

        Raises:
            EntryFailed: it is not the directory that was opened.
        """
        now = os.stat(self.opened.name, dir_fd=self.opened.parent, follow_symlinks=False)
        if self.old_status is None or not os.path.samestat(now, self.old_status):
            raise EntryFailed(
                f"{paths.escape(self.shown)} was replaced by somebody else during the run; nothing was changed"
            )

    def _sync_unit(self) -> None:
        """Make durable what is staged; one file needs no more than fsync(2)."""
        try:
            file = open_file(self.tree, self.unit)
        except OSError:  # it is a directory, or may not be read
            atomic.sync_filesystem(self.tree)
            return
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def _is_in_unit(self, path: str) -> bool:
        return not self.unit or paths.is_within(path, self.unit)

    def sweep(self) -> None:
        """Remove the old tree, which now lies in the staging directory, but for what nobody knew of."""
        if self.old_status is None:
            return
        spare = self._unlink_old()
        try:
            self._carry_left(spare=spare)
        except OSError as exc:
            self._leave(exc)
        else:
            try:
                directories.remove_tree(self.outer_fd, TREE)
            except OSError as exc:
                self.opened.warn(f"{paths.escape(self.shown)} is up to date, but {left_over(self._left(), exc)}")

    def _leave(self, exc: OSError) -> None:
        """Keep what came during the run, and could not be carried over, where it is: it is nobody's to delete."""
        where = self._left()
        if self.outer is not None:
            self.outer.abandon()
            self.outer = None
        self.opened.warn(
            f"{paths.escape(self.shown)} is up to date, but files that appeared in it during the run could not be "
            f"carried over ({exc.strerror}); they are kept in {paths.escape(where)}/{TREE}: move them by hand"
        )

    def _unlink_old(self) -> set[str]:
        """Remove the old names that are as they were seen; a kept file gets one more change time from it.

        Returns:
            Those that nobody may remove, such as immutable files.
        """
        now, linked, above, fd, stuck = self.now, self.linked, None, -1, set[str]()
        try:
            for row, (path, mode) in enumerate(zip(now.paths, now.modes, strict=True)):
                if stat.S_ISDIR(mode):
                    continue
                directory, _, name = path.rpartition("/")
                if directory != above:
                    if fd >= 0:
                        os.close(fd)
                    above, fd = directory, self._open_left(directory)
                    if fd >= 0 and os.fstat(fd).st_mode & 0o300 != 0o300:
                        with contextlib.suppress(PermissionError):
                            os.fchmod(fd, 0o700)
                if fd < 0:
                    continue
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                is_known = now.is_as_found(row, status)
                if not is_known and not self._may_go(row, status):
                    continue
                try:
                    os.unlink(name, dir_fd=fd)
                except PermissionError:
                    stuck.add(path)
                    continue
                if row in linked:
                    self._note(row, path) if is_known else self._doubt(row)
        finally:
            if fd >= 0:
                os.close(fd)
        return stuck

    def _note(self, row: int, path: str) -> None:
        """Note the change time that a file has now."""
        try:
            self.now.set_ctime(row, os.stat(path, dir_fd=self.tree, follow_symlinks=False).st_ctime_ns)
        except OSError:  # somebody has removed it again
            self._doubt(row)

    @functools.cached_property
    def _planned(self) -> set[str]:
        """What the plan replaces or deletes."""
        return {put.item.path for put in self.plan.puts} | {item.path for item in self.plan.extras}

    def _open_left(self, directory: str) -> int:
        try:
            return directories.open_below(self.old, directory)
        except OSError:  # somebody has removed it, or moved it away
            return -1

    def _may_go(self, row: int, status: os.stat_result) -> bool:
        """Whether an old name that has changed since it was seen is still to be removed.

        A linked file lives on under its new name; what `sync` replaces or deletes has been shown and counted.
        """
        device, inode, size, mtime_ns = self.now.stamp(row)[:CTIME]
        is_same_file = (status.st_dev, inode_of(status)) == (device, inode)
        if row in self.linked:
            return is_same_file
        if self.opened.policy.deletes:
            return self.now.paths[row] in self._planned and not stat.S_ISDIR(status.st_mode)
        return is_same_file and stamp(status)[SIZE:CTIME] == (size, mtime_ns)

    def _carry_left(self, *, spare: set[str]) -> None:
        """Move to the live tree what came into the old one after the last look, as if it had come after the run."""
        left = self.opened.walk(self.old, self.unit)
        for row, path in enumerate(left.paths):
            if left.is_dir(row):
                if self.now.find(path) is None:
                    self._ensure_live(path)
                continue
            if path in spare:
                continue
            directory, _, name = path.rpartition("/")
            self._ensure_live(directory)
            with (
                directories.directory(self.old, directory) as source,
                directories.directory(self.tree, directory) as target,
            ):
                try:
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                except IsADirectoryError:
                    # The new tree has a directory of this name.
                    name = f"{name}.{secrets.token_hex(4)}"
                    os.rename(path.rpartition("/")[2], name, src_dir_fd=source, dst_dir_fd=target)
            self.opened.record.told.append(f"{directory}/{name}" if directory else name)

    def _ensure_live(self, path: str) -> None:
        if not path:
            return
        directory, _, name = path.rpartition("/")
        self._ensure_live(directory)
        with directories.directory(self.tree, directory) as above, contextlib.suppress(FileExistsError):
            os.mkdir(name, DIR_MODE, dir_fd=above)

    def _left(self) -> str:
        above = self.shown.rpartition("/")[0]
        return f"{above}/{self.outer.name if self.outer else ''}"
