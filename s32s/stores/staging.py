"""Staging: what both ways of changing a slave's directory (`swap.py`, `in_place.py`) do first.

A private directory is filled, mode 0700 and with a random name, so that nobody else can look in or plant a link. Every
byte is verified while it is written there. Only when all of it is there does the target change.

A hard link *is* the live file. What shall change its mode or time is therefore copied (sharing blocks where the file
system can), never linked and re-stamped: the old tree must not change before the new one is published.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeVar

from s32s import disk, paths
from s32s.errors import EntryFailed, IntegrityError, Interrupted, Refused, SourceChanged
from s32s.index import stamp
from s32s.plan import Plan, Put
from s32s.state import digest
from s32s.stores.base import Body, Progress
from s32s.stores.scan import Walked, open_file
from s32s.tree import Item, Kind

#: What new files and directories get where nobody recorded a mode: readable, as a web server needs it. A umask does
#: not count, since a service's own umask says nothing of the files it delivers.
_FILE_MODE = 0o644
DIR_MODE = 0o755
#: Room to leave on the disk, for the file system's own bookkeeping and for everybody else: this, or 1 % of a small one.
_SPARE = 16 * 1024 * 1024
#: Of a large file, so many bytes at a time are sent to the disk while the rest is still on its way here.
_WRITE_BACK = 8 * 1024 * 1024

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
TREE = "tree"

_Kind = TypeVar("_Kind", bound="Staging")


class Stage(enum.Enum):
    """How far a change has come, as a clause for the administrator who reads that it failed or was stopped."""

    FILLING = "the target is as it was"
    CHANGING = "some files of the target are new already, each of them whole, and the next run goes on"
    PUBLISHED = "the target is up to date, and the next run tidies up"


@dataclass(slots=True)
class Salvage:
    """Verified files of an earlier turn of this run, by content: a pull that starts over begins from what it has."""

    fd: int = -1
    name: str = ""
    parent: int = -1
    files: dict[str, str] = field(default_factory=dict)

    def drop(self) -> None:
        """Remove what was kept."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            with contextlib.suppress(OSError):
                disk.remove_tree(self.parent, self.name)
        self.files.clear()


@dataclass(frozen=True, slots=True)
class Opened:
    """The target as the caller has it open.

    Attributes:
        parent: descriptor of the directory that holds staging: the target's parent, or the target itself in place.
        name: last component of the target.
        shown: the target's path, for messages.
        found: what the last listing found.
        salvage: see `Salvage`.
        written: filled by the change: (device, inode, size, mtime_ns) of each file that it wrote, by path.
    """

    parent: int
    name: str
    shown: str
    found: Walked
    salvage: Salvage
    written: dict[str, tuple[int, ...]]


def ours(name: str) -> tuple[str, str]:
    """How paths in a target begin that belong to s32s: its lock and its staging, when it is changed in place."""
    return _prefix(name), lock_name(name)


def lock_name(name: str) -> str:
    """The lock file of a target."""
    return f".s32s-lock-{digest(name)}"


def tidy(parent: int, name: str) -> None:
    """Remove the staging directories that a killed run of this target has left; the caller holds the lock.

    Only ones that belong to us: in a directory like /tmp anybody may make such a name.
    """
    with os.scandir(parent) as entries:
        left = [entry.name for entry in entries if entry.name.startswith(_prefix(name))]
    for entry in left:
        if os.stat(entry, dir_fd=parent, follow_symlinks=False).st_uid == os.geteuid():
            disk.remove_tree(parent, entry)


@contextlib.contextmanager
def staged(change: _Kind) -> Iterator[_Kind]:
    """Open a change; remove its staging however it ends, keeping verified files when the source has moved."""
    try:
        change.open()
        yield change
    except SourceChanged:
        change.keep_for_next_turn()
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

    def __init__(self, plan: Plan, opened: Opened) -> None:
        self.plan = plan
        self.shown = opened.shown
        self.stage = Stage.FILLING
        self.wanted: Sequence[Item] = ()
        self.opened = opened
        self.outer = ""
        self.outer_fd = -1
        self.tree = -1  # descriptor of the new tree, below the staging directory
        self.old = -1  # descriptor of the live target, or -1 when there is none
        self.old_status: os.stat_result | None = None
        self.owner: tuple[int, int] | None = None
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
        self._check_space()
        self.outer = make_outer(self.opened.parent, self.opened.name, shown=self.shown)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.outer_fd = os.open(self.outer, flags, dir_fd=self.opened.parent)
        os.mkdir(TREE, 0o700, dir_fd=self.outer_fd)
        self.tree = os.open(TREE, flags, dir_fd=self.outer_fd)
        self.fill()

    def close(self) -> None:
        for fd in (self.tree, self.old, self.outer_fd):
            if fd >= 0:
                os.close(fd)
        self.tree = self.old = self.outer_fd = -1
        if self.outer:
            # The next run removes what does not go now; a failure to tidy must not hide how the change ended.
            with contextlib.suppress(OSError, EntryFailed):
                disk.remove_tree(self.opened.parent, self.outer)

    def keep_for_next_turn(self) -> None:
        salvage = self.opened.salvage
        if not self._done:
            return
        salvage.drop()
        salvage.fd, salvage.name, salvage.parent = os.dup(self.tree), self.outer, self.opened.parent
        salvage.files = dict(self._done)
        self.outer = ""

    # -- filling it

    def put(self, body: Body, progress: Progress) -> None:
        """See `stores.base.Change`."""
        for turn in (1, 2):
            try:
                item = self._receive(body, progress)
                break
            except IntegrityError:
                self._unlink(body.item.path)
                if turn == 2:
                    raise
            except BaseException:
                self._unlink(body.item.path)
                raise
        with self._guard:
            self._brought.append(item)
            for content in _contents(item):
                self._done[content] = item.path

    def fill(self) -> None:
        raise NotImplementedError

    def open_old(self) -> int:
        raise NotImplementedError

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
                if nearby is not None and self.copy_old(nearby, put):
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
        beyond = [*(put.old for put in self.plan.puts if put.old is not None), *self.plan.extras]
        found = {item.sha256: item for item in self.plan.keeps.holding(contents) if item.sha256}
        return found | {item.sha256: item for item in beyond if item.sha256 in contents and item.sha256}

    def _receive(self, body: Body, progress: Progress) -> Item:
        announced = body.item
        sha256 = hashlib.sha256()
        size = on_its_way = 0
        # One step from the staging root: nobody but us can plant a link in there.
        fd = os.open(announced.path, _NEW_FILE, self._mode(announced), dir_fd=self.tree)
        try:
            for chunk in body.chunks():
                size += len(chunk)
                if size > announced.size:
                    break
                sha256.update(chunk)
                disk.write_all(fd, chunk)
                if size - on_its_way >= _WRITE_BACK:
                    disk.begin_writing_back(fd, on_its_way, size - on_its_way)
                    on_its_way = size
                progress(len(chunk))
            return _verified(body.item, size=size, sha256=sha256.hexdigest())
        finally:
            os.close(fd)

    def stamp_brought(self) -> None:
        """Give all that was received its owner, mode and time.

        Here in one go, as each of these calls would make the workers wait for one another.
        """
        for item in self._brought:
            self._stamp(item)

    def copy_old(self, old: Item, put: Put) -> bool:
        """Stage a file from the old tree's bytes; False when they are not what the listing found."""
        row = self.opened.found.find(old.path)
        if row is None or self.old < 0:
            return False
        try:
            source = open_file(self.old, old.path)
        except OSError:
            return False
        item = put.item._replace(sha256=put.item.sha256 or old.sha256)
        fd = os.open(item.path, _NEW_FILE, 0o600, dir_fd=self.tree)
        try:
            if not disk.reflink(source, fd):
                for chunk in disk.read_chunks(source):
                    disk.write_all(fd, chunk)
            if not self.opened.found.is_as_found(row, os.fstat(source)):
                os.unlink(item.path, dir_fd=self.tree)
                return False
        finally:
            os.close(source)
            os.close(fd)
        self._stamp(item, like=old)
        return True

    def _take_salvaged(self, item: Item) -> bool:
        salvage = self.opened.salvage
        for content in _contents(item):
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
        mtime_ns = item.mtime_ns if item.mtime_ns is not None else (like.mtime_ns if like else None)
        if mtime_ns is not None:
            os.utime(path, ns=(mtime_ns, mtime_ns), dir_fd=tree, follow_symlinks=False)
        status = os.stat(path, dir_fd=tree, follow_symlinks=False)
        mode = self._mode(item, like)
        if stat.S_IMODE(status.st_mode) != mode:
            os.chmod(path, mode, dir_fd=tree)
        self.opened.written[path] = stamp(status)[:4]

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
        if not path or path in self.dirs:
            return
        self.make_dirs(paths.parent(path))
        os.mkdir(path, 0o700, dir_fd=self.tree)
        self.dirs.add(path)
        if self.owner:
            self._chown(path)

    def _chown(self, path: str) -> None:
        with contextlib.suppress(PermissionError):
            os.chown(path, *(self.owner or (-1, -1)), dir_fd=self.tree, follow_symlinks=False)

    def _unlink(self, path: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(path, dir_fd=self.tree)

    def _check_space(self) -> None:
        """Refuse before the first byte what the disk certainly cannot hold: statvfs(3)."""
        disk_room = os.fstatvfs(self.opened.parent)
        bytes_needed = self.plan.size + min(_SPARE, disk_room.f_blocks * disk_room.f_frsize // 100)
        bytes_free = disk_room.f_bavail * disk_room.f_frsize
        files_needed = sum(1 for put in self.plan.puts)
        if self.plan.size and bytes_needed > bytes_free:
            raise EntryFailed(
                f"the disk of {paths.escape(self.shown)} has {bytes_free:,} bytes free, "
                f"and {bytes_needed:,} are needed; nothing was changed",
                hint="make room and run it again",
            )
        if disk_room.f_files and files_needed > disk_room.f_favail:
            raise EntryFailed(
                f"the disk of {paths.escape(self.shown)} has room for {disk_room.f_favail:,} more files, "
                f"and {files_needed:,} are needed; nothing was changed",
                hint="make room and run it again",
            )

    def dir_modes(self) -> dict[str, int]:
        """The mode of every directory that the new tree names."""
        modes = dict(self.opened.found.directories())
        for item in (
            *(put.item for put in self.plan.puts),
            *(keep.source for keep in self.plan.keeps.directories()),
        ):
            if item.kind is Kind.DIR and item.mode is not None:
                modes[item.path] = item.mode
        return modes


def _prefix(name: str) -> str:
    return f".s32s-new-{digest(name)}-"


def make_outer(parent: int, name: str, *, shown: str) -> str:
    outer = _prefix(name) + secrets.token_hex(8)
    try:
        os.mkdir(outer, 0o700, dir_fd=parent)
    except OSError as exc:
        if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise Refused(
                f"the directory that holds {paths.escape(shown)} cannot be written: {exc.strerror}",
                hint="new files are built beside the target, so the user that runs s32s must be able to write there",
            ) from exc
        raise unwritable(exc, shown) from exc
    return outer


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


def unwritable(exc: OSError, shown: str, stage: Stage = Stage.FILLING) -> EntryFailed:
    is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if is_full else (exc.strerror or str(exc))
    at = f" ({paths.escape(str(exc.filename))})" if exc.filename else ""
    return EntryFailed(
        f"the new files of {paths.escape(shown)} could not be written: {what}{at}; {stage.value}",
        hint="make room and run it again" if is_full else "",
    )
