"""A folder that people work in: changed path by path while they do, and nothing of theirs is ever overwritten.

A new file is staged beside, verified, and then takes its place in one step. What was there goes to the trash. What
somebody has changed since it was looked at stays, and the next run decides about it.

    .s32s/id       the marker: which folder this is
    .s32s/lock     keeps a second run out
    .s32s/new      files that are on their way here
    .s32s/trash    see `trash.py`
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
import threading
from collections.abc import Iterator, Sequence

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core import paths
from s32s.core.errors import IntegrityError, Refused
from s32s.core.item import Item, Kind
from s32s.core.merge import Copy, Step
from s32s.core.steps import clears
from s32s.stores.base import Body, Progress
from s32s.stores.local.marker import Marker, read_marker, write_marker
from s32s.stores.local.stat_cache import CTIME, stamp
from s32s.stores.local.trash import Trash
from s32s.stores.local.walk import DirectoryListing
from s32s.system import atomic, directories, file_bytes, locks, openat

_NEW = "new"
_FILE_MODE = 0o644
_DIR_MODE = 0o755
#: What renameat2(2) answers where the file system cannot exchange.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class CopyOf:
    """A file of the folder as the bytes of another item, which was found to hold the same."""

    def __init__(self, item: Item, inner: Body) -> None:
        self.item = item
        self._inner = inner

    def chunks(self) -> Iterator[Chunk]:
        """See `stores.base.Body`."""
        return self._inner.chunks()

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """See `stores.base.Body`."""
        return None


class Folder:
    """A folder that is open for one run; `open_folder` makes it.

    Args:
        root: absolute path.
        fd: descriptor of it.
        own: descriptor of its `.s32s`; -1 where nothing is to be changed.
    """

    def __init__(self, root: str, fd: int, own: int) -> None:
        self.root = root
        self.told: list[str] = []
        self._fd = fd
        self._own = own
        self._new = -1
        self._staged: dict[str, tuple[str, Item]] = {}
        self._numbers = itertools.count()
        self._guard = threading.Lock()
        self.trash = Trash(fd)
        status = openat.fstat(fd)
        self._owner = (status.st_uid, status.st_gid) if openat.user_id() == 0 and status.st_uid != 0 else None

    def marker(self) -> Marker | None:
        """Which folder it is; None where nobody has said so."""
        return read_marker(self._fd)

    def mark(self, place: str, via: str, *, known: str = "") -> Marker:
        """Say which folder it is; see `write_marker`."""
        return write_marker(self._own, place, via, known=known)

    # -- what comes

    def stage(self, body: Body, progress: Progress) -> None:
        """Bring a file here, beside its place, and verify it. Thread-safe.

        Raises:
            IntegrityError: the bytes are not those that were announced.
        """
        item = body.item
        name = self._new_name()
        sha256, size, ends_in_hole = hashlib.sha256(), 0, False
        fd = openat.open(name, file_bytes.NEW_FILE, 0o600, dir_fd=self._new)
        try:
            for chunk in body.chunks():
                sha256.update(chunk)
                ends_in_hole = file_bytes.write_sparsely(fd, chunk, size)
                size += len(chunk)
                progress(len(chunk))
            if ends_in_hole:
                os.ftruncate(fd, size)
            if size != item.size or item.sha256 not in (None, sha256.hexdigest()):
                raise IntegrityError(
                    f"{paths.quote(item.path)} arrived with other bytes than were announced",
                    hint="run it again",
                    paths=(item.path,),
                )
            item = body.item._replace(sha256=sha256.hexdigest())
            if self._owner:
                os.fchown(fd, *self._owner)
            openat.fchmod(fd, (_FILE_MODE if item.mode is None else item.mode) & 0o777)
        finally:
            openat.close(fd)
        if item.mtime_ns is not None:
            openat.set_time(name, self._new, item.mtime_ns)
        with self._guard:
            self._staged[item.path] = name, item

    def _new_name(self) -> str:
        """A name among what is on its way here, whose directory is made with the first one."""
        with self._guard:
            if self._new < 0:
                openat.mkdir(_NEW, 0o700, dir_fd=self._own)
                self._new = directories.open_below(self._own, _NEW)
            return str(next(self._numbers))

    def settle(self) -> None:
        """Write what was staged to the disk."""
        if self._new >= 0:
            atomic.sync_filesystem(self._new)

    # -- changing it

    def rename(self, copies: Sequence[Copy]) -> None:
        """Give paths of ours the names under which they are kept beside those of others."""
        for copy in copies:
            above, _, name = copy.item.path.rpartition("/")
            to_above, _, to_name = copy.name.rpartition("/")
            # What is below a directory has gone along with it.
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                directories.directory(self._fd, above) as parent,
                directories.directory(self._fd, to_above) as to,
            ):
                atomic.rename_new(parent, name, to, to_name)

    @contextlib.contextmanager
    def renamed(self, copies: Sequence[Copy]) -> Iterator[None]:
        """Like `rename`; where nothing comes of what follows, each path gets its own name back.

        So who was too slow sees the same conflict once more, and not a path that was deleted here.
        """
        self.rename(copies)
        try:
            yield
        except BaseException:
            for copy in copies:
                with contextlib.suppress(FileExistsError):  # somebody has made another one meanwhile
                    self.rename([Copy(copy.item._replace(path=copy.name), copy.item.path)])
            raise

    def apply(self, steps: Sequence[Step], found: DirectoryListing) -> Iterator[Step]:
        """Take steps over, and yield each that was taken; what has changed meanwhile is left and told.

        Args:
            found: what the last look has found.
        """
        ways_free = [step for step in steps if step.old is not None and clears(step)]
        for step in sorted(ways_free, key=_path_of, reverse=True):
            done = self._remove(step, found)
            if not done:
                # A directory may hold what does not take part; it goes when that has gone.
                if step.new is not None or (step.old is not None and step.old.kind is not Kind.DIR):
                    self.told.append(step.path)
            elif step.new is None:
                yield step
        left = set(self.told)
        for step in sorted((step for step in steps if step.new is not None), key=_path_of):
            if step.path in left or any(above in left for above in paths.ancestors(step.path)):
                continue
            staged = self._staged.pop(step.path, None)
            if self._put(step, found, staged):
                # What was learned while it came here belongs to what is known of it.
                yield step if staged is None else step._replace(new=staged[1])
            else:
                self.told.append(step.path)

    def restore(self, body: Body) -> bool:
        """Bring a file or link to where nothing is; whether it is there now.

        Raises:
            IntegrityError: see `stage`.
        """
        item = body.item
        self.trash.make_way(paths.parent(item.path))
        if item.kind is Kind.FILE:
            self.stage(body, lambda size: None)
        return self._put(Step(item.path, item, None), DirectoryListing(), self._staged.pop(item.path, None))

    def stamp_of(self, path: str) -> tuple[int, ...] | None:
        """How a file looks now, see `stat_cache.stamp`; None where there is none."""
        try:
            with directories.directory(self._fd, paths.parent(path)) as parent:
                status = openat.stat(path.rpartition("/")[2], dir_fd=parent, follow_symlinks=False)
        except OSError:
            return None
        return stamp(status) if stat.S_ISREG(status.st_mode) else None

    def close(self) -> None:
        """Remove what did not come to its place."""
        if self._new >= 0:
            openat.close(self._new)
            self._new = -1
            directories.remove_tree(self._own, _NEW)

    def _remove(self, step: Step, found: DirectoryListing) -> bool:
        """Take away what stands at a path; whether it is gone."""
        path, old = step.path, step.old
        assert old is not None
        name = path.rpartition("/")[2]
        try:
            with directories.directory(self._fd, paths.parent(path)) as parent:
                if old.kind is Kind.DIR:
                    openat.rmdir(name, dir_fd=parent)
                    return True
                if not self._is_as_found(parent, path, old, found):
                    return False
                there = self.trash.take(parent, name, path)
                if self._is_in_trash(there, path, old, found):
                    return True
                self.trash.put_back(there, parent, name)
                return False
        except FileNotFoundError:
            return True
        except OSError as exc:
            if exc.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
                return False
            raise

    def _put(self, step: Step, found: DirectoryListing, come: tuple[str, Item] | None) -> bool:
        """Bring what is new to its place; whether it is there.

        Args:
            come: the name of the staged file, where one was brought.
        """
        path, new, old = step.path, step.new, step.old
        assert new is not None
        name = path.rpartition("/")[2]
        try:
            with directories.directory(self._fd, paths.parent(path)) as parent:
                if new.kind is Kind.DIR:
                    return self._make_directory(parent, name, new)
                stands = old is not None and not clears(step)
                if stands and old is not None and not self._is_as_found(parent, path, old, found):
                    return False
                if new.kind is Kind.FILE and come is None:
                    if stands:
                        self._dress(parent, name, new)
                    return stands
                staged = come[0] if come is not None else self._made_link(new)
                if not stands:
                    atomic.rename_new(self._new, staged, parent, name)
                    return True
                return self._exchange(parent, path, staged, old, found)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):
            return False

    def _exchange(self, parent: int, path: str, staged: str, old: Item | None, found: DirectoryListing) -> bool:
        name = path.rpartition("/")[2]
        try:
            atomic.exchange(self._new, staged, parent, name)
        except OSError as exc:
            if exc.errno not in _CANNOT:
                raise
            there = self.trash.take(parent, name, path)
            if old is not None and not self._is_in_trash(there, path, old, found):
                self.trash.put_back(there, parent, name)
                return False
            atomic.rename_new(self._new, staged, parent, name)
            return True
        if old is not None and not self._is_it(self._new, staged, path, old, found):
            atomic.exchange(self._new, staged, parent, name)  # somebody was quicker by a hair
            return False
        self.trash.take(self._new, staged, path)
        return True

    def _made_link(self, new: Item) -> str:
        """The name of a link that is made now."""
        name = self._new_name()
        openat.symlink(new.target or "", name, dir_fd=self._new)
        if self._owner:
            os.chown(name, *self._owner, dir_fd=self._new, follow_symlinks=False)
        return name

    def _make_directory(self, parent: int, name: str, new: Item) -> bool:
        mode = (_DIR_MODE if new.mode is None else new.mode) & 0o777
        try:
            openat.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            status = openat.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                return False
        else:
            if self._owner:
                os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)
        if new.mode is not None:
            with directories.directory(parent, name) as fd:
                openat.fchmod(fd, mode | (stat.S_IMODE(openat.fstat(fd).st_mode) & ~0o777))
        return True

    def _dress(self, parent: int, name: str, new: Item) -> None:
        """Give a file another mode and time; its bytes stay."""
        fd = openat.open(name, file_bytes.OPEN_FILE, dir_fd=parent)
        try:
            if new.mode is not None:
                openat.fchmod(fd, new.mode & 0o777)
        finally:
            openat.close(fd)
        if new.mtime_ns is not None:
            openat.set_time(name, parent, new.mtime_ns)

    def _is_as_found(self, parent: int, path: str, old: Item, found: DirectoryListing) -> bool:
        return self._is_it(parent, path.rpartition("/")[2], path, old, found)

    def _is_in_trash(self, there: str, path: str, old: Item, found: DirectoryListing) -> bool:
        with directories.directory(self._fd, paths.parent(there)) as parent:
            return self._is_it(parent, there.rpartition("/")[2], path, old, found)

    def _is_it(self, parent: int, name: str, path: str, old: Item, found: DirectoryListing) -> bool:
        """Whether a name holds what was found at a path: a rename moves the change time, which does not count."""
        status = openat.stat(name, dir_fd=parent, follow_symlinks=False)
        if old.kind is Kind.LINK:
            return stat.S_ISLNK(status.st_mode) and openat.readlink(name, dir_fd=parent) == old.target
        row = found.find(path)
        return row is not None and stamp(status)[:CTIME] == tuple(found.stamp(row))[:CTIME]


@contextlib.contextmanager
def open_folder(root: str, *, writable: bool) -> Iterator[Folder]:
    """Open a shared folder, and keep other runs out of it.

    Args:
        writable: False to look only: nothing is locked, made or removed.

    Raises:
        Refused: it is not there, or cannot be written.
        Locked: another run is at it.
    """
    shown = paths.escape(root)
    try:
        fd = directories.open_dir(root)
    except FileNotFoundError as exc:
        raise Refused(
            f"the folder {shown} does not exist", hint=f"check whether its disk is mounted, or create it: mkdir {shown}"
        ) from exc
    except OSError as exc:
        raise Refused(f"the folder {shown} cannot be opened: {exc.strerror}") from exc
    with contextlib.ExitStack() as held:
        held.callback(openat.close, fd)
        if not writable:
            yield Folder(root, fd, -1)
            return
        try:
            with contextlib.suppress(FileExistsError):
                openat.mkdir(paths.RESERVED, 0o700, dir_fd=fd)
            own = directories.open_below(fd, paths.RESERVED)
            held.callback(openat.close, own)
            held.enter_context(locks.lock(own, "lock", what=root, holder=locks.holder()))
            with contextlib.suppress(FileNotFoundError):
                directories.remove_tree(own, _NEW)
        except OSError as exc:
            raise Refused(f"the folder {shown} cannot be written: {exc.strerror}") from exc
        folder = Folder(root, fd, own)
        held.callback(folder.close)
        yield folder


def _path_of(step: Step) -> str:
    return step.path
