"""The stat cache: what spares hashing.

It says which bytes a file had when it was last read, for as long as device, inode, size, modification and change time
are the same. A row made too soon after the file's time stamps is not believed (git calls this "racily clean"): the file
could have changed again within one tick of the clock.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from s32s.core.item import is_md5
from s32s.core.table import Table

if TYPE_CHECKING:
    import os

#: Two edits within this time may leave one mtime: whole seconds on old file systems, doubled.
_RACY_MTIME_NS = 2_000_000_000
#: Two changes within this time may leave one ctime: a tick of the kernel's clock, 10 ms at HZ=100, doubled.
RACY_CTIME_NS = 20_000_000

#: The latest time, in ns since the epoch, that fits into a signed number of 64 bits: in the year 2262. Its negative,
#: in 1677, is the earliest.
MOST_NS = 2**63 - 1
#: How many numbers a stamp has (see `stamp`), and which of them is what.
STAMP = 5
DEVICE, INODE, SIZE, MTIME, CTIME = range(STAMP)
_NUMBERS = STAMP + 1  # with when it was seen
_HASHES = 48
_NO_HASHES = bytes(_HASHES)
_NO_ETAG = bytes(16)

#: Files a page: about a megabyte.
_PAGE = 8192
_SIZES = struct.Struct("<5Q")
_DIGEST = 16


class CachedHash(NamedTuple):
    """A file as it was when its content was known.

    Attributes:
        stamp: (device, inode, size, mtime_ns, ctime_ns) of stat(2).
        seen_ns: when that was, in ns since the epoch.
        sha256, md5: of its bytes, as far as they were needed.
        etag: of the S3 object that it was last known equal to.
        meant_ns: the modification time that it was given, where the file system could not keep it as it was: a range
            that ends in 1901 or 2038, whole seconds. None where it could.
    """

    stamp: tuple[int, ...]
    seen_ns: int
    sha256: str | None = None
    md5: str | None = None
    etag: str | None = None
    meant_ns: int | None = None

    def holds_for(self, now: tuple[int, ...]) -> bool:
        """Tell whether a file with the stamp `now` certainly has the same bytes."""
        return self.stamp == now and is_past(self.stamp[MTIME], self.stamp[CTIME], self.seen_ns)


class StatCache(Table):
    """What is known of many files, by path: columns in path order; a `CachedHash` is made on demand."""

    COLUMNS = {"_numbers": _NUMBERS, "_hashes": _HASHES}  # noqa: RUF012 # the base says ClassVar
    RARE = ("_others",)

    def __init__(self, files: Iterable[tuple[str, CachedHash]] = ()) -> None:
        super().__init__()
        self._numbers = array("q")  # six a file: its stamp, and when it was seen
        #: Of SHA-256 and an ETag that looks like an MD5, where there are just these two, or the first alone.
        self._hashes = bytearray()
        self._others: dict[int, tuple[str | None, str | None, str | None, int | None]] = {}
        for path, seen in sorted(files):
            self.add(path, seen)

    def add(self, path: str, seen: CachedHash) -> None:
        """Append a file; paths come in order."""
        _, _, sha256, md5, etag, meant_ns = seen
        md5 = md5 if md5 != etag else None  # which an ETag of this content says already
        is_usual = (etag is None or (is_md5(etag) and etag.strip("0"))) and md5 is None and meant_ns is None
        if sha256 is None or not is_usual:
            self._others[len(self.paths)] = sha256, md5, etag, meant_ns
            self.add_known(path, seen.stamp, seen.seen_ns, _NO_HASHES)
        else:
            self.add_known(path, seen.stamp, seen.seen_ns, bytes.fromhex(f"{sha256}{etag or ''}"))

    def add_known(self, path: str, stamp: Iterable[int], seen_ns: int, hashes: bytes) -> None:
        """Append a file with just these hashes; see `hashes`."""
        self.paths.append(path)
        self._numbers.extend(stamp)
        self._numbers.append(seen_ns)
        self._hashes += hashes if len(hashes) == _HASHES else hashes + _NO_ETAG

    def get(self, path: str) -> CachedHash | None:
        """What is known of one file."""
        row = self.find(path)
        return None if row is None else self.seen(row)

    def among(self, paths: Iterable[str]) -> StatCache:
        """What is known of some files alone."""
        return StatCache((path, self.seen(row)) for path in paths if (row := self.find(path)) is not None)

    def items(self) -> Iterator[tuple[str, CachedHash]]:
        """Everything, in path order."""
        return ((path, self.seen(row)) for row, path in enumerate(self.paths))

    def holding(self, paths: Sequence[str], stamps: array[int]) -> array[int]:
        """For each of some paths, which come in order, the row that holds for its stamp, or -1.

        The table takes these paths for its own, so that memory holds them once.

        Args:
            stamps: five numbers a path.
        """
        found, numbers = array("q"), self._numbers
        for at, row in enumerate(self.rows(paths)):
            if row >= 0:
                self.paths[row] = paths[at]
                known = numbers[_NUMBERS * row : _NUMBERS * (row + 1)]
                is_same = known[:STAMP] == stamps[STAMP * at : STAMP * (at + 1)]
                if not is_same or not is_past(known[MTIME], known[CTIME], known[STAMP]):
                    row = -1
            found.append(row)
        return found

    def seen(self, row: int) -> CachedHash:
        """What is known of the file at a row."""
        *stamp, seen_ns = self._numbers[_NUMBERS * row : _NUMBERS * (row + 1)]
        hashes = self._others.get(row)
        if hashes is None:
            known = self._known(row)
            hashes = known[:32].hex(), None, known[32:].hex() or None, None
        return CachedHash(tuple(stamp), seen_ns, *hashes)

    def hashes(self, row: int) -> bytes | None:
        """SHA-256 of the file at a row and, where it is known, its MD5-like ETag: 32 or 48 bytes; else None."""
        return None if row in self._others else self._known(row)

    def _known(self, row: int) -> bytes:
        both = bytes(self._hashes[_HASHES * row : _HASHES * (row + 1)])
        return both[:32] if both.endswith(_NO_ETAG) else both

    def meant(self) -> dict[str, CachedHash]:
        """The files that were given a time that they could not keep, by path, without what they hold."""
        rows = (row for row, facts in sorted(self._others.items()) if facts[3] is not None)
        return {self.paths[row]: self.seen(row)._replace(sha256=None, md5=None, etag=None) for row in rows}

    def seen_ns(self, row: int) -> int:
        """When the file at a row was seen."""
        return self._numbers[_NUMBERS * row + STAMP]

    # -- as bytes

    def pages(self) -> Iterator[bytes]:
        """All of it, as `of_pages` reads it."""
        for start in range(0, len(self.paths), _PAGE):
            end = min(start + _PAGE, len(self.paths))
            paths = self.paths[start:end]
            others = {row - start: self._others[row] for row in range(start, end) if row in self._others}
            parts = (
                array("L", map(len, paths)).tobytes(),
                self._numbers[_NUMBERS * start : _NUMBERS * end].tobytes(),
                bytes(self._hashes[_HASHES * start : _HASHES * end]),
                json.dumps(others).encode(),
                "".join(paths).encode("utf-8", "surrogatepass"),
            )
            page = _SIZES.pack(*map(len, parts)) + b"".join(parts)
            yield _digest(page) + page

    @classmethod
    def of_pages(cls, pages: Iterable[bytes]) -> StatCache:
        """What `pages` has written; a page that is damaged, or was written by another kind of machine, is left out."""
        cache = cls()
        for page in pages:
            if isinstance(page, bytes) and page[:_DIGEST] == _digest(page[_DIGEST:]):
                cache._read(page[_DIGEST:])
        return cache

    def _read(self, page: bytes) -> None:
        at, parts = _SIZES.size, []
        for size in _SIZES.unpack_from(page):
            parts.append(page[at : at + size])
            at += size
        lengths, text = array("L", parts[0]), parts[4].decode("utf-8", "surrogatepass")
        before = len(self.paths)
        self._numbers.frombytes(parts[1])
        self._hashes += parts[2]
        # A page of an older version has no times that were meant.
        others = {before + int(row): (*hashes, None)[:4] for row, hashes in json.loads(parts[3]).items()}
        self._others |= others
        at = 0
        for length in lengths:
            self.paths.append(text[at : at + length])
            at += length


def is_past(mtime_ns: int, ctime_ns: int, seen_ns: int) -> bool:
    """Tell whether a file that changes after `seen_ns` certainly gets other times than these."""
    return abs(seen_ns - mtime_ns) > _RACY_MTIME_NS and seen_ns - ctime_ns > RACY_CTIME_NS


def are_past(mtimes_ns: Iterable[int], ctimes_ns: Iterable[int], seen_ns: int) -> bool:
    """Tell the same of many files at once."""
    return max(ctimes_ns, default=0) < seen_ns - RACY_CTIME_NS and all(
        abs(seen_ns - mtime_ns) > _RACY_MTIME_NS for mtime_ns in mtimes_ns
    )


def inode_of(status: os.stat_result) -> int:
    """The inode as a signed number, as arrays and databases hold it; some file systems use its highest bit."""
    return status.st_ino & MOST_NS


def stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """The facts of a file that change when its bytes do. A time out of range is the nearest that is within."""
    mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
    if not -MOST_NS <= mtime_ns <= MOST_NS or ctime_ns > MOST_NS:
        mtime_ns, ctime_ns = max(-MOST_NS, min(mtime_ns, MOST_NS)), min(ctime_ns, MOST_NS)
    return status.st_dev, status.st_ino & MOST_NS, status.st_size, mtime_ns, ctime_ns


def is_recordable(mtime_ns: int) -> bool:
    """Tell whether a modification time fits into stamps and manifests."""
    return -MOST_NS < mtime_ns < MOST_NS


def _digest(page: bytes) -> bytes:
    # The arrays are those of this machine.
    return hashlib.blake2b(page, digest_size=_DIGEST, person=sys.byteorder.encode()).digest()
