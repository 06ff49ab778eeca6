"""Reading local files for their hashes, where a comparison needs them and the stat cache cannot answer."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping

from s32s.core import compare, tree
from s32s.core.item import Item, Kind
from s32s.core.tree import Tree
from s32s.stores.local.stat_cache import CachedHash, stamp
from s32s.stores.local.walk import DirectoryEntry, open_file
from s32s.system import file_bytes

#: Files hashed at once: bound by cores and disks, not by round trips.
HASHERS = 4


def read_hashes(
    root: int,
    found: DirectoryEntry,
    *,
    md5: bool,
    progress: Callable[[int], None],
    led: Mapping[str, str] | None = None,
) -> tuple[Item, CachedHash] | None:
    """Read a file for its hashes; None when it changed meanwhile.

    Args:
        led: see `walk.open_file`.

    Raises:
        OSError: it cannot be read.
    """
    fd = open_file(root, found.item.path, led)
    try:
        if stamp(os.fstat(fd)) != found.stamp:
            return None
        digest = hashlib.sha256()
        other = hashlib.md5(usedforsecurity=False) if md5 else None
        for chunk in file_bytes.read_chunks(fd):
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
    return item, CachedHash(found.stamp, seen_ns, sha256=hashes[0], md5=hashes[1])


def to_hash(here: Tree, other: Tree, *, strays: bool) -> Iterator[tuple[int, bool]]:
    """The files whose content must be read to compare them with the other side, by row, and whether by MD5 too.

    Args:
        strays: also files that the other side lacks where it has a new one of the same size: they may be that file,
            renamed, and reading is cheaper than fetching.
    """
    wanted = _sizes_of_new(here, other) if strays else frozenset()
    for row, to, count in tree.join(here.paths, other.paths):
        if row is None:
            continue
        if to is not None:
            if here.is_same_run(row, other, to, count):
                continue
            for at in range(count):
                if not here.is_decided(row + at, other, to + at):
                    sha256, md5 = compare.missing_hashes(here[row + at], other[to + at])
                    if sha256 or md5:
                        yield row + at, md5
        elif wanted and here.kind(row) is Kind.FILE and here[row].sha256 is None and here[row].size in wanted:
            yield row, False


def _sizes_of_new(here: Tree, other: Tree) -> frozenset[int]:
    """Sizes of the other side's files whose path we lack and whose hash we could compare."""
    new = (other[to] for row, to, _ in tree.join(here.paths, other.paths) if row is None and to is not None)
    return frozenset(item.size for item in new if item.sha256 and item.size)
