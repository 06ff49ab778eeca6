"""The index: what spares hashing.

It says which bytes a file had when it was last read, for as long as device, inode, size, modification and change time
are the same. A row made too soon after the file's time stamps is not believed (git calls this "racily clean"): the file
could have changed again within one tick of the clock.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from s32s.tree import is_md5

if TYPE_CHECKING:
    import os

#: Two edits within this time may leave one mtime: whole seconds on old file systems, doubled.
_RACY_MTIME_NS = 2_000_000_000
#: Two changes within this time may leave one ctime: a tick of the kernel's clock, 10 ms at HZ=100, doubled.
RACY_CTIME_NS = 20_000_000


class Seen(NamedTuple):
    """A file as it was when its content was known.

    Attributes:
        stamp: (device, inode, size, mtime_ns, ctime_ns) of stat(2).
        seen_ns: when that was, in ns since the epoch.
        sha256, md5: of its bytes, as far as they were needed.
        etag: of the S3 object that it was last known equal to.
    """

    stamp: tuple[int, int, int, int, int]
    seen_ns: int
    sha256: str | None = None
    md5: str | None = None
    etag: str | None = None

    def holds_for(self, now: tuple[int, int, int, int, int]) -> bool:
        """Tell whether a file with the stamp `now` certainly has the same bytes."""
        return self.stamp == now and is_past(self.stamp[3], self.stamp[4], self.seen_ns)


class Index:
    """What is known of many files, by path: columns, of which a `Seen` is made when it is asked for.

    Args:
        rows: (path, device, inode, size, mtime_ns, ctime_ns, seen_ns, SHA-256, MD5, ETag), in path order.
    """

    def __init__(self, rows: Iterable[tuple[Any, ...]] = ()) -> None:
        self._paths: list[str] = []
        self._numbers = array("q")
        self._hashes = bytearray()  # of SHA-256 and an ETag that looks like an MD5, where there are just these two
        self._others: dict[int, tuple[str | None, str | None, str | None]] = {}
        for path, *numbers, sha256, md5, etag in rows:
            if sha256 is None or md5 is not None or not is_md5(etag):
                self._others[len(self._paths)] = sha256, md5, etag
                self._hashes += bytes(48)
            else:
                self._hashes += bytes.fromhex(sha256 + etag)
            self._paths.append(path)
            self._numbers.extend(numbers)

    def get(self, path: str) -> Seen | None:
        """What is known of one file."""
        row = bisect.bisect_left(self._paths, path)
        return self._seen(row) if row < len(self._paths) and self._paths[row] == path else None

    def items(self) -> Iterator[tuple[str, Seen]]:
        """Everything, in path order."""
        return ((path, self._seen(row)) for row, path in enumerate(self._paths))

    def __len__(self) -> int:
        return len(self._paths)

    def _seen(self, row: int) -> Seen:
        dev, ino, size, mtime_ns, ctime_ns, seen_ns = self._numbers[6 * row : 6 * row + 6]
        hashes = self._others.get(row)
        if hashes is None:
            both = self._hashes[48 * row : 48 * row + 48].hex()
            hashes = both[:64], None, both[64:]
        return Seen((dev, ino, size, mtime_ns, ctime_ns), seen_ns, *hashes)


def is_past(mtime_ns: int, ctime_ns: int, seen_ns: int) -> bool:
    """Tell whether a file that changes after `seen_ns` certainly gets other times than these."""
    return abs(seen_ns - mtime_ns) > _RACY_MTIME_NS and seen_ns - ctime_ns > RACY_CTIME_NS


def stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """The facts of a file that change when its bytes do."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
