"""Walking a local directory, and knowing what its files hold.

The walk goes by descriptors and never through a symbolic link. It reports everything it meets; whether that may travel
is for the caller to say. Contents are hashed only where a comparison needs them and the index cannot answer.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from s32s import disk
from s32s.index import Seen, is_past, stamp
from s32s.rules import EVERYTHING
from s32s.tree import Item, Kind, Tree, is_md5

#: Files hashed at once: bound by cores and disks, not by round trips.
HASHERS = 4

_LINES_AT_ONCE = 4096

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Found(NamedTuple):
    """One name met by the walk.

    Attributes:
        item: kind, size, time, mode and link target; OTHER for what is no file, link or directory.
        stamp: see `index.stamp`.
        mode: st_mode of stat(2), kind and all.
        error: why a directory or link could not be read, or None.
    """

    item: Item
    stamp: tuple[int, int, int, int, int]
    mode: int = 0
    error: OSError | None = None


def walk(root: int, *, prunes: Callable[[str], bool] = EVERYTHING.prunes) -> Iterator[Found]:
    """Every name below the directory `root`, depth first, without the root itself.

    Args:
        root: descriptor of the directory.
        prunes: tells of a directory that neither it nor anything below it is wanted.
    """
    return _walk(root, "", prunes)


def _walk(fd: int, prefix: str, prunes: Callable[[str], bool]) -> Iterator[Found]:
    with os.scandir(fd) as entries:
        inside = sorted(entries, key=_name)
    for entry in inside:
        path = prefix + entry.name
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # gone since the directory was read
        kind = _kind(status.st_mode)
        found = Found(
            Item(
                path,
                kind,
                size=status.st_size if kind is Kind.FILE else 0,
                mtime_ns=status.st_mtime_ns if kind is Kind.FILE else None,
                mode=stat.S_IMODE(status.st_mode) & 0o777 if kind in (Kind.FILE, Kind.DIR) else None,
            ),
            stamp(status),
            status.st_mode,
        )
        if kind is Kind.LINK:
            try:
                target = os.readlink(entry.name, dir_fd=fd)
                yield found._replace(item=found.item._replace(target=target))
            except OSError as exc:
                yield found._replace(error=exc)
        elif kind is not Kind.DIR:
            yield found
        elif not prunes(path):
            try:
                below = os.open(entry.name, _OPEN_DIR, dir_fd=fd)
            except OSError as exc:
                yield found._replace(error=exc)
                continue
            try:
                yield found
                yield from _walk(below, path + "/", prunes)
            finally:
                os.close(below)


def statuses(
    root: int, prefix: str = "", *, prunes: Callable[[str], bool] = EVERYTHING.prunes
) -> Iterator[tuple[str, os.stat_result]]:
    """Every name below the directory `root` with its lstat(2), in the order of `walk`, without making items.

    Raises:
        OSError: a directory cannot be read.
    """
    with os.scandir(root) as entries:
        inside = sorted(entries, key=_name)
    for entry in inside:
        status = entry.stat(follow_symlinks=False)
        path = prefix + entry.name
        is_dir = stat.S_ISDIR(status.st_mode)
        if is_dir and prunes(path):
            continue
        yield path, status
        if is_dir:
            below = os.open(entry.name, _OPEN_DIR, dir_fd=root)
            try:
                yield from statuses(below, path + "/", prunes=prunes)
            finally:
                os.close(below)


class Looks:
    """How a whole directory looks to stat(2), as one digest: as long as it is the same, every byte is.

    What counts are the facts that the index goes by, of every name: kind and mode, device and inode, size,
    modification and change time. Of directories only the first four, as what they hold is named too.
    """

    def __init__(self) -> None:
        self._seen_ns = time.time_ns()
        self._digest = hashlib.blake2b(digest_size=32)
        self._lines: list[str] = []
        self._is_settled = True

    def add(self, path: str, mode: int, stamp: tuple[int, int, int, int, int]) -> None:
        """Take one name in, with its st_mode and its `index.stamp`; the order counts."""
        if stat.S_ISDIR(mode):
            self._lines.append(f"{path}\0{mode} {stamp[:2]}")
        else:
            self._lines.append(f"{path}\0{mode} {stamp}")
            if not is_past(stamp[3], stamp[4], self._seen_ns):
                self._is_settled = False
        if len(self._lines) >= _LINES_AT_ONCE:
            self._take_in()

    def digest(self) -> str | None:
        """The digest; None when something is so new that it may change once more without a trace."""
        self._take_in()
        return self._digest.hexdigest() if self._is_settled else None

    def _take_in(self) -> None:
        self._digest.update("\0\0".join([*self._lines, ""]).encode("utf-8", "surrogateescape"))
        self._lines.clear()


def open_file(root: int, path: str) -> int:
    """Open the regular file at `path` below `root` for reading, never through a symbolic link.

    Raises:
        OSError: it is gone, not readable, or no regular file any more.
    """
    above, _, name = path.rpartition("/")
    with disk.directory(root, above) as parent:
        return os.open(name, _OPEN_FILE, dir_fd=parent)


def recall(found: Found, seen: Seen | None) -> Item:
    """The item of a file with what the index knows of it, when that is still true."""
    if seen is None or not seen.holds_for(found.stamp):
        return found.item
    item = found.item
    return Item(item.path, item.kind, item.size, item.mtime_ns, item.mode, seen.sha256, seen.md5, seen.etag)


def needs(item: Item, beside: Item | None) -> tuple[bool, bool]:
    """Which hashes of a local file decide whether it equals `beside`: (SHA-256, MD5).

    None, where size or kind decide already, or where an ETag that we know to be this content's is the same.
    """
    if beside is None or beside.kind is not Kind.FILE or beside.size != item.size:
        return False, False
    if beside.sha256:
        return item.sha256 is None, False
    if item.etag is not None and item.etag == beside.etag:
        return False, False
    return False, item.md5 is None and is_md5(beside.etag)


def read_hashes(root: int, found: Found, *, md5: bool, progress: Callable[[int], None]) -> tuple[Item, Seen] | None:
    """Read a file for its hashes; None when it changed meanwhile.

    Raises:
        OSError: it cannot be read.
    """
    fd = open_file(root, found.item.path)
    try:
        if stamp(os.fstat(fd)) != found.stamp:
            return None
        digest = hashlib.sha256()
        other = hashlib.md5(usedforsecurity=False) if md5 else None
        for chunk in disk.read_chunks(fd):
            digest.update(chunk)
            if other is not None:
                other.update(chunk)
            progress(len(chunk))
        seen_ns = time.time_ns()
        if stamp(os.fstat(fd)) != found.stamp:
            return None
    finally:
        os.close(fd)
    hashes = digest.hexdigest(), other.hexdigest() if other is not None else None
    item = found.item._replace(sha256=hashes[0], md5=hashes[1])
    return item, Seen(found.stamp, seen_ns, sha256=hashes[0], md5=hashes[1])


def to_hash(
    items: Iterable[Item], found: Mapping[str, Found], other: Tree | None, *, strays: bool
) -> Iterator[tuple[Found, bool]]:
    """The files whose content must be read to compare them with the other side, and whether by MD5 too.

    Args:
        strays: also files that the other side lacks where it has a new one of the same size: they may be that file,
            renamed, and reading is cheaper than fetching.
    """
    wanted = _sizes_of_new(found, other) if strays and other is not None else frozenset()
    for item in items:
        if item.kind is Kind.FILE:
            there = beside(other, item.path)
            sha256, md5 = needs(item, there)
            is_stray = there is None and item.sha256 is None and item.size in wanted
            if sha256 or md5 or is_stray:
                yield found[item.path], md5


def beside(tree: Tree | None, path: str) -> Item | None:
    """The item of the other side at `path`, if there is another side."""
    return tree.get(path) if tree is not None else None


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.DIR
    return Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER


def _sizes_of_new(found: Mapping[str, Found], other: Tree) -> frozenset[int]:
    """Sizes of the other side's files whose path we lack and whose hash we could compare."""
    return frozenset(item.size for item in other if item.sha256 and item.size and item.path not in found)
