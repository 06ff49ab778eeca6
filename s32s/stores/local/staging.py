"""Staging: what both ways of changing a slave's directory (`swap.py`, `in_place.py`) do first.

A private directory is filled, mode 0700 and with a random name, so that nobody else can look in or plant a link. Every
byte is verified while it is written there. Only when all of it is there does the target change.

A hard link *is* the live file. A file that gets another mode or time is therefore copied (sharing blocks where the file
system can), never linked and re-stamped: the old tree must not change before the new one is published.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import TypeVar

from s32s.core import paths
from s32s.core.errors import IntegrityError, Interrupted, SourceChanged
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan, Put
from s32s.core.unchanged import Unchanged
from s32s.stores.base import Body, Progress
from s32s.stores.local import meanwhile
from s32s.stores.local.attributes import Likeness
from s32s.stores.local.handle import Stage, TargetHandle, unwritable
from s32s.stores.local.meanwhile import Moved
from s32s.stores.local.outer import TREE, Outer
from s32s.stores.local.space import check_space
from s32s.stores.local.stat_cache import stamp
from s32s.stores.local.walk import DirectoryListing, open_file
from s32s.system import directories, file_bytes

#: What new files and directories get where nobody recorded a mode: readable, as a web server needs it. A umask does
#: not count, since a service's own umask says nothing of the files it delivers.
_FILE_MODE = 0o644
DIR_MODE = 0o755
#: Of a large file, so many bytes at a time are sent to the disk while the rest is still on its way here.
_WRITE_BACK = 8 * 1024 * 1024

_Kind = TypeVar("_Kind", bound="Staging")


@contextlib.contextmanager
def staged(change: _Kind) -> Iterator[_Kind]:
    """Open a change; remove its staging however it ends, keeping verified files when the source has moved."""
    try:
        change.open()
        yield change
    except SourceChanged:
        change.keep_for_next_attempt()
        raise
    except Interrupted as exc:
        exc.hint = change.stage.value
        raise
    except OSError as exc:
        raise unwritable(exc, change.shown, change.stage) from exc
    finally:
        change.close()


class Staging:
    """A private directory that fills with verified files."""

    is_staged = True
    takes_objects = False

    def __init__(self, plan: Plan, opened: TargetHandle) -> None:
        self.plan = plan
        self.shown = opened.shown
        self.stage = Stage.FILLING
        self.wanted: Sequence[Item] = ()
        self.opened = opened
        self.outer: Outer | None = None
        self.outer_fd = -1
        self.tree = -1  # descriptor of the new tree, below the staging directory
        self.old = -1  # descriptor of the live target, or -1 when there is none
        self.old_status: os.stat_result | None = None
        self.owner: tuple[int, int] | None = None
        self.likeness = Likeness(-1, -1, opened.found)
        self.dirs: set[str] = set()
        self._brought: list[Item] = []
        self._done: dict[str, str] = {}
        self._guard = threading.Lock()

    # -- the life of the directory

    def open(self) -> None:
        self.old = self.open_old()
        if self.old >= 0:
            self.old_status = os.fstat(self.old)
            owner = self.old_status.st_uid, self.old_status.st_gid
            if os.geteuid() == 0 and owner != (os.geteuid(), os.getegid()):
                # What root writes belongs to whom the directory belongs to, or a service could not read its files.
                self.owner = owner
        check_space(self.plan, self.opened.parent, shown=self.shown)
        self.outer = Outer(self.opened.parent, self.opened.name, shown=self.shown)
        self.outer_fd = self.outer.fd
        os.mkdir(TREE, 0o700, dir_fd=self.outer_fd)
        self.tree = directories.open_below(self.outer_fd, TREE)
        self.likeness = Likeness(self.old, self.tree, self.opened.found)
        self.likeness.dress("")
        self.fill()

    def close(self) -> None:
        for fd in (self.tree, self.old):
            if fd >= 0:
                os.close(fd)
        self.tree = self.old = -1
        self.likeness.close()
        if self.stage is Stage.FILLING and self.opened.keeper is not None:
            self.opened.keeper.undo()
        if self.outer is not None:
            # The next run removes what does not go now; a failure to tidy must not hide how the change ended.
            with contextlib.suppress(OSError):
                self.outer.remove()
            self.outer = None

    def keep_for_next_attempt(self) -> None:
        salvage = self.opened.salvage
        if not self._done:
            return
        salvage.drop()
        salvage.fd, salvage.outer = os.dup(self.tree), self.outer
        salvage.files = dict(self._done)
        self.outer = None

    # -- filling it

    def put(self, body: Body, progress: Progress) -> None:
        """See `stores.base.Transaction`."""
        for attempt in (1, 2):
            try:
                item = self._receive(body, progress)
                break
            except IntegrityError:
                self._unlink(body.item.path)
                if attempt == 2:
                    raise
            except BaseException:
                self._unlink(body.item.path)
                raise
        with self._guard:
            self._brought.append(item)
            for content in _contents(item):
                self._done[content] = item.path

    def open_nearby(self, path: str) -> int | None:
        """See `stores.base.OpensNearby`."""
        if self.old < 0:
            return None
        try:
            return open_file(self.old, path)
        except OSError:
            return None

    def fill(self) -> None:
        raise NotImplementedError

    def open_old(self) -> int:
        raise NotImplementedError

    def keep_old(self) -> None:
        """Keep what is there now as an earlier tree, where the target keeps any.

        Raises:
            EntryFailed: that is not possible; nothing was changed.
        """
        opened = self.opened
        if opened.keeper is not None and self.old >= 0:
            opened.keeper.keep(self.old, opened.found, self.plan)

    def look_again(self, unit: str = "") -> tuple[DirectoryListing, Moved]:
        """Walk the target once more, and say what has moved in it since it was listed.

        Args:
            unit: look at this path alone, and at all below it.

        Raises:
            SourceChanged: the run is to start over.
        """
        found = self.opened.found.part(unit) if unit else self.opened.found
        now = self.opened.walk(self.old, unit) if self.old >= 0 else DirectoryListing()
        for path, error in now.errors.items():
            if not isinstance(error, FileNotFoundError):
                raise meanwhile.changed(path, self.shown) from error
        moved = meanwhile.judge(self.plan, found, now, self.opened.policy, shown=self.shown)
        self.opened.record.told += moved.told
        return now, moved

    def place_nearby(self, puts: Iterable[Put]) -> list[Item]:
        """Stage what needs no network: links, changes of mode or time, bytes that lie in the old tree already.

        Returns the items that must be fetched.
        """
        puts = list(puts)
        at_hand = self._at_hand({put.item.sha256 for put in puts if put.needs_bytes and put.item.sha256})
        wanted: list[Item] = []
        links: list[Item] = []
        for put in puts:
            item = put.item
            if item.kind is Kind.LINK:
                links.append(item)
            elif item.kind is Kind.FILE:
                self.make_dirs(paths.parent(item.path))
                nearby = put.old if not put.needs_bytes else at_hand.get(item.sha256) if item.sha256 else None
                if nearby is not None and self.copy_old(nearby, put, self.opened.found):
                    continue
                if not self._take_salvaged(item):
                    wanted.append(item)
        for item in links:
            self.make_dirs(paths.parent(item.path))
            os.symlink(item.target or "", item.path, dir_fd=self.tree)
            if self.owner:
                self._chown(item.path)
        return wanted

    def _at_hand(self, contents: Set[str]) -> dict[str, Item]:
        """Files of the old tree that hold the bytes that are needed, by SHA-256."""
        if not contents:
            return {}
        target_only = [*(put.old for put in self.plan.puts if put.old is not None), *self.plan.extras]
        found = {item.sha256: item for item in self.plan.unchanged.holding(contents) if item.sha256}
        return found | {item.sha256: item for item in target_only if item.sha256 in contents and item.sha256}

    def _receive(self, body: Body, progress: Progress) -> Item:
        announced = body.item
        sha256 = hashlib.sha256()
        size = on_its_way = 0
        ends_in_hole = False
        # One step from the staging root: nobody but us can plant a link in there.
        fd = os.open(announced.path, file_bytes.NEW_FILE, self._mode(announced), dir_fd=self.tree)
        try:
            for chunk in body.chunks():
                size += len(chunk)
                if size > announced.size:
                    break
                sha256.update(chunk)
                ends_in_hole = file_bytes.write_sparsely(fd, chunk, size - len(chunk))
                if size - on_its_way >= _WRITE_BACK:
                    file_bytes.begin_writing_back(fd, on_its_way, size - on_its_way)
                    on_its_way = size
                progress(len(chunk))
            if ends_in_hole:
                os.ftruncate(fd, size)
            return _verified(body.item, size=size, sha256=sha256.hexdigest())
        finally:
            os.close(fd)

    def stamp_brought(self) -> None:
        """Give all that was received its owner, mode and time.

        Here in one go, as each of these calls would make the workers wait for one another.
        """
        for item in sorted(self._brought, key=lambda item: item.path):
            self._stamp(item)

    def copy_old(self, old: Item, put: Put, found: DirectoryListing) -> bool:
        """Stage a file from the old tree's bytes; False when they are not what `found` says."""
        row = found.find(old.path)
        if row is None or self.old < 0:
            return False
        try:
            source = open_file(self.old, old.path)
        except OSError:
            return False
        item = put.item._replace(sha256=put.item.sha256 or old.sha256)
        fd = os.open(item.path, file_bytes.NEW_FILE, 0o600, dir_fd=self.tree)
        try:
            file_bytes.copy(source, fd)
            if not found.is_as_found(row, os.fstat(source)):
                os.unlink(item.path, dir_fd=self.tree)
                return False
        finally:
            os.close(source)
            os.close(fd)
        self._stamp(item, like=old)
        return True

    def _take_salvaged(self, item: Item) -> bool:
        salvage = self.opened.salvage
        for content in _contents(item) if salvage.files else ():
            there = salvage.files.pop(content, None)
            if there is None:
                continue
            with contextlib.suppress(OSError):
                os.rename(there, item.path, src_dir_fd=salvage.fd, dst_dir_fd=self.tree)
                self._stamp(item)
                self._done[content] = item.path
                return True
        return False

    def _stamp(self, item: Item, *, like: Item | None = None) -> None:
        """Give a staged file its owner, mode and time."""
        path, tree = item.path, self.tree
        if self.owner:
            self._chown(path)
        self.likeness.keep(path)
        mtime_ns = item.mtime_ns if item.mtime_ns is not None else (like.mtime_ns if like else None)
        if mtime_ns is not None:
            os.utime(path, ns=(mtime_ns, mtime_ns), dir_fd=tree, follow_symlinks=False)
        status = os.stat(path, dir_fd=tree, follow_symlinks=False)
        mode = self._mode(item, like)
        if stat.S_IMODE(status.st_mode) != mode:
            os.chmod(path, mode, dir_fd=tree)
            status = os.stat(path, dir_fd=tree, follow_symlinks=False)
        self.opened.record.written[path] = stamp(status)

    def _mode(self, item: Item, like: Item | None = None) -> int:
        return (item.mode if item.mode is not None else self._old_mode(item.path, like)) & 0o777

    def _old_mode(self, path: str, old: Item | None) -> int:
        if old is not None and old.mode is not None:
            return old.mode
        found = self.opened.found.get(path)
        if found is not None and found.item.kind is Kind.FILE and found.item.mode is not None:
            return found.item.mode
        return _FILE_MODE

    def make_dirs(self, path: str) -> None:
        """Make a directory of the staged tree and those above it, private until the end."""
        missing = []
        while path and path not in self.dirs:
            missing.append(path)
            path = paths.parent(path)
        for path in reversed(missing):
            os.mkdir(path, 0o700, dir_fd=self.tree)
            self.dirs.add(path)
            if self.owner:
                self._chown(path)
            self.likeness.dress(path)

    def _chown(self, path: str) -> None:
        user, group = self.owner or (-1, -1)
        if self.likeness.gives_group(paths.parent(path)):
            group = -1  # it has that of its directory
        with contextlib.suppress(PermissionError):
            os.chown(path, user, group, dir_fd=self.tree, follow_symlinks=False)

    def _unlink(self, path: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(path, dir_fd=self.tree)

    def dir_modes(self, now: DirectoryListing, stays: Unchanged) -> dict[str, int]:
        """The mode of every directory that the new tree names, where nobody has recorded one as it is now."""
        modes = dict(now.directories())
        for item in (
            *(put.item for put in self.plan.puts),
            *(keep.source for keep in stays.directories()),
        ):
            if item.kind is Kind.DIR and item.mode is not None:
                modes[item.path] = item.mode
        return modes


def _verified(item: Item, *, size: int, sha256: str) -> Item:
    """The item with what its bytes have shown.

    Raises:
        IntegrityError: they are not the announced bytes.
    """
    what, cure = "", ""
    if size != item.size:
        what = f"another size than announced ({size:,} instead of {item.size:,} bytes)"
        cure = "run it again"
    elif item.sha256 and sha256 != item.sha256:
        what = "wrong bytes: its SHA-256 is not the manifest's"
        cure = "run it again; if that does not help, push from the master with --verify"
    if what:
        raise IntegrityError(f"{paths.quote(item.path)} arrived with {what}", hint=cure, paths=(item.path,))
    return item if item.sha256 else item._replace(sha256=sha256)


def _contents(item: Item) -> Iterator[str]:
    if item.sha256:
        yield f"sha256:{item.sha256}"
    if item.etag:
        yield f"etag:{item.etag}:{item.size}"
