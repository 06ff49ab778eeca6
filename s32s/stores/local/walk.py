"""Walking a local directory, and knowing what its files hold.

The walk goes by descriptors and never through a symbolic link. It reports everything it meets; whether that may travel
is for the caller to say. Contents are hashed only where a comparison needs them and the stat cache cannot answer.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from s32s.core import paths, tree
from s32s.core.columns import Columns
from s32s.core.item import Item, Kind
from s32s.core.rules import EVERYTHING
from s32s.core.table import Table
from s32s.core.tree import Tree
from s32s.stores.base import Snapshot
from s32s.stores.local.stat_cache import (
    CTIME,
    INODE,
    MTIME,
    SIZE,
    STAMP,
    StatCache,
    are_past,
    inode_of,
    stamp,
)
from s32s.system import directories, file_bytes, openat

#: Characters of a path below which nothing more is looked at: 16 times what a system call takes at once (PATH_MAX).
#: Each name costs its whole path, so that a few deep directories could otherwise fill the memory.
_MOST_PATH = 65_536
#: What a listing knows of few of its names, by path.
BY_PATH = ("targets", "errors", "led")


class DirectoryEntry(NamedTuple):
    """One name met by a walk.

    Attributes:
        item: kind, size, time, mode and link target; OTHER for what is not a file, link or directory.
        stamp: see `stat_cache.stamp`; of a directory only its first two facts.
        error: why a directory or link could not be read, or None.
    """

    item: Item
    stamp: tuple[int, ...]
    error: OSError | None = None


class DirectoryListing(Table):
    """Names below a directory, the root left out, as one walk has found them: columns in path order. See `walk`.

    Attributes:
        began_ns: when the walk began, in ns since the epoch.
        paths: of all names.
        modes: their st_mode.
        stamps: five numbers a name, see `DirectoryEntry.stamp`.
        targets: where the symbolic links point, by path.
        errors: why some could not be read, by path.
        led: where those really are to which a link has led, by path; see `follow.followed`.
        file_bits: the bits of a file's mode that count. A master's setuid, setgid and sticky bits do not travel, and on
            a slave no file should have one.
    """

    COLUMNS = {"modes": 1, "stamps": STAMP}  # noqa: RUF012 # the base says ClassVar

    def __init__(self) -> None:
        super().__init__()
        self.began_ns = time.time_ns()
        self.modes = array("L")
        self.stamps = array("q")
        self.targets: dict[str, str] = {}
        self.errors: dict[str, OSError] = {}
        self.led: dict[str, str] = {}
        self.file_bits = 0o777

    def get(self, path: str) -> DirectoryEntry | None:
        """What was found at a path, or None."""
        row = self.find(path)
        return None if row is None else self.found(row)

    def found(self, row: int) -> DirectoryEntry:
        """What was found at a row."""
        path, mode, stamp = self.paths[row], self.modes[row], tuple(self.stamp(row))
        kind = _kind(mode)
        is_file = kind is Kind.FILE
        item = Item(
            path,
            kind,
            size=stamp[2] if is_file else 0,
            mtime_ns=stamp[3] if is_file else None,
            mode=None
            if not openat.HAS_MODES
            else mode & self.file_bits
            if is_file
            else mode & 0o777
            if kind is Kind.DIR
            else None,
            target=self.targets.get(path),
        )
        return DirectoryEntry(item, stamp, self.errors.get(path))

    def tree(self) -> Tree:
        """What was found, without what any file holds."""
        return tree.make(self.found(row).item for row in range(len(self)))

    def is_file(self, row: int) -> bool:
        """Whether there is a regular file at a row."""
        return stat.S_ISREG(self.modes[row])

    def is_dir(self, row: int) -> bool:
        """Whether there is a directory at a row."""
        return stat.S_ISDIR(self.modes[row])

    def directories(self) -> Iterator[tuple[str, int]]:
        """Path and permission bits of all directories."""
        return (
            (path, stat.S_IMODE(mode) & 0o777)
            for path, mode in zip(self.paths, self.modes, strict=True)
            if stat.S_ISDIR(mode)
        )

    def is_as_found(self, row: int, status: os.stat_result) -> bool:
        """Whether a file certainly still is the one that was found."""
        # Asked twice for each file that stays, so field by field, and first what differs first.
        stamps, at = self.stamps, STAMP * row
        return (
            stamps[at + CTIME] == status.st_ctime_ns
            and stamps[at + MTIME] == status.st_mtime_ns
            and stamps[at + SIZE] == status.st_size
            and stamps[at + INODE] == inode_of(status)
            and stamps[at] == status.st_dev
        ) or stamp(status) == tuple(stamps[at : at + STAMP])

    def fingerprint(self) -> str | None:
        """How all of it looks to stat(2), as one digest: as long as it is the same, every byte is.

        What counts are the facts that the stat cache goes by, of every name: kind and mode, device and inode, size,
        modification and change time. Of directories only the first four, as what they hold is named too.

        Returns:
            None when something could not be read, or is so new that it may change once more without a trace.
        """
        if self.errors or not are_past(self.stamps[MTIME::STAMP], self.stamps[CTIME::STAMP], self.began_ns):
            return None
        digest = hashlib.blake2b("\0".join(self.paths).encode("utf-8", "surrogateescape"), digest_size=32)
        digest.update(self.modes)
        digest.update(self.stamps)
        return digest.hexdigest()

    def part(self, path: str) -> DirectoryListing:
        """A path alone, with all below it."""
        rows, part = self.within(path), DirectoryListing()
        part.paths = [self.paths[row] for row in rows]
        for row in rows:
            part.modes.append(self.modes[row])
            part.stamps.extend(self.stamp(row))
        part.began_ns, part.file_bits = self.began_ns, self.file_bits
        part.targets, part.errors, part.led = self.targets, self.errors, self.led
        return part

    def patched(self, dropped: Sequence[int], added: DirectoryListing) -> DirectoryListing:
        """See `Table`; the later of two walks says when it began."""
        made = super().patched(dropped, added)
        gone = {self.paths[row] for row in dropped}
        for name in BY_PATH:
            kept = {path: what for path, what in getattr(self, name).items() if path not in gone}
            setattr(made, name, kept | getattr(added, name))
        made.began_ns, made.file_bits = max(self.began_ns, added.began_ns), self.file_bits
        return made

    def in_order(self) -> DirectoryListing:
        """See `Table`. The order of a walk is another one: "a", "a/b", "a.c"."""
        ordered = super().in_order()
        ordered.began_ns, ordered.led = self.began_ns, self.led
        ordered.targets, ordered.errors = self.targets, self.errors
        return ordered

    def stamp(self, row: int) -> array[int]:
        """See `stat_cache.stamp`."""
        return self.stamps[STAMP * row : STAMP * (row + 1)]

    def mtime_ns(self, row: int) -> int:
        """The modification time of the name at a row."""
        return self.stamps[STAMP * row + MTIME]

    def ctime_ns(self, row: int) -> int:
        """The change time of the name at a row."""
        return self.stamps[STAMP * row + CTIME]

    def set_ctime(self, row: int, ctime_ns: int) -> None:
        """Note another change time, of our own doing; -1 for one that no file has."""
        self.stamps[STAMP * row + CTIME] = ctime_ns


class Patch(NamedTuple):
    """A listing that was made from an earlier one.

    Attributes:
        listing: all of it.
        gone: paths of the earlier one that are not there any more, or are among those that have come.
        come: what was found where something may have changed.
        tree: the items of the earlier one, with what their files hold.
    """

    listing: DirectoryListing
    gone: tuple[str, ...]
    come: DirectoryListing
    tree: Tree


@dataclass(frozen=True, slots=True)
class LocalSnapshot(Snapshot):
    """What a directory holds.

    Attributes:
        listing: that the tree was made of.
        rows: of the stat cache, for each name of the listing: the one that holds for it, or -1; empty for a patch.
        patch: how the listing was made from an earlier one; None for one that was walked.
    """

    listing: DirectoryListing = field(default_factory=DirectoryListing)
    rows: array[int] = field(default_factory=lambda: array("q"))
    patch: Patch | None = None


def walk(
    root: int,
    *,
    prunes: Callable[[str], bool] = EVERYTHING.prunes,
    ignores: Callable[[str, bool], bool] = lambda path, is_dir: False,
    only: str = "",
    descends: bool = True,
) -> DirectoryListing:
    """Every name below the directory `root`. What disappears meanwhile was never there.

    Args:
        root: descriptor of the directory.
        only: look at this path alone, and at all below it.
        descends: False to look at what is in directories no further.
        prunes: tells of a directory that neither it nor anything below it is wanted.
        ignores: tells of a path, and whether it is a directory, that it is not wanted; below it others may be.
    """
    found = DirectoryListing()
    names, modes, stamps = found.paths, found.modes, found.stamps
    directory, _, name = only.rpartition("/")
    try:
        top = directories.open_below(root, directory) if directory else root
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return found  # nothing is there, or not what was meant
        found.errors[only] = exc
        return found
    descent, prefix = directories.Descent(top), f"{directory}/" if directory else ""
    # At each level, the names that are still to be looked at.
    left = [iter([name] if only else sorted(openat.listdir(root)))]
    try:
        while left:
            fd = descent.fd
            for name in left[-1]:
                path = prefix + name
                try:
                    status = openat.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                mode = status.st_mode
                is_dir = stat.S_ISDIR(mode)
                if is_dir and prunes(path):
                    continue
                if not ignores(path, is_dir):
                    names.append(path)
                    modes.append(mode)
                    stamps.extend(stamp(status) if not is_dir else (*stamp(status)[:2], 0, 0, 0))
                    if stat.S_ISLNK(mode):
                        try:
                            found.targets[path] = openat.readlink(name, dir_fd=fd)
                        except OSError as exc:
                            found.errors[path] = exc
                if is_dir and descends:
                    try:
                        inside = _enter(descent, name, path)
                    except OSError as exc:
                        found.errors[path] = exc
                        continue
                    left.append(iter(inside))
                    prefix = path + "/"
                    break
            else:
                left.pop()
                if left:
                    prefix = prefix[: prefix.rfind("/", 0, -1) + 1]
                    descent.leave()
    finally:
        descent.close()
        if top != root:
            openat.close(top)
    return found.in_order()


def _enter(descent: directories.Descent, name: str, path: str) -> list[str]:
    """Go down into a directory; return what it holds, in order."""
    if len(path) > _MOST_PATH:
        raise OSError(errno.ENAMETOOLONG, "it is nested too deeply")
    fd = openat.open(name, directories.OPEN_DIR, dir_fd=descent.fd)
    try:
        inside = sorted(openat.listdir(fd))
    except OSError:
        openat.close(fd)
        raise
    descent.enter(fd)
    return inside


def open_file(root: int, path: str, led: Mapping[str, str] | None = None) -> int:
    """Open the regular file at `path` below `root` for reading, never through a symbolic link.

    Args:
        led: where those really are to which a link has led that is followed.

    Raises:
        OSError: it is gone, not readable, or no regular file any more.
    """
    for one in (path, *paths.ancestors(path)) if led else ():
        if led and one in led:
            if one == path:
                return openat.open(led[one], file_bytes.OPEN_FILE)
            place = directories.open_dir(led[one])
            try:
                return open_file(place, path[len(one) + 1 :])
            finally:
                openat.close(place)
    above, _, name = path.rpartition("/")
    with directories.directory(root, above) as parent:
        return openat.open(name, file_bytes.OPEN_FILE, dir_fd=parent)


def recall(listing: DirectoryListing, cache: StatCache) -> tuple[Columns, array[int]]:
    """The items that were found, with what the stat cache knows of files that are still the same.

    Returns:
        The items, and for each the row of the stat cache that holds for it, or -1.
    """
    columns, rows = Columns(), cache.holding(listing.paths, listing.stamps)
    for row, at in enumerate(rows):
        hashes = cache.hashes(at) if at >= 0 else b"" if listing.is_file(row) else None
        if hashes is not None:
            size, mtime_ns = listing.stamps[STAMP * row + SIZE], listing.mtime_ns(row)
            mode = listing.modes[row] & listing.file_bits if openat.HAS_MODES else -1
            columns.append(listing.paths[row], size, mtime_ns, mode, hashes[:32], hashes[32:])
            continue
        item = listing.found(row).item
        if at >= 0:
            seen = cache.seen(at)
            item = item._replace(sha256=seen.sha256, md5=seen.md5, etag=seen.etag)
            if seen.meant_ns is not None:
                item = item._replace(mtime_ns=seen.meant_ns)
        columns.add(item)
    return columns, rows


def patched(patch: Patch, cache: StatCache) -> Tree:
    """The items of a patched listing."""
    come, _ = recall(patch.come, cache)
    return patch.tree.patched(patch.gone, Tree(come))


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.DIR
    return Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER
