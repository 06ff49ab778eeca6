"""What a place holds: items by relative path, sorted by it.

The order is that of the path's code points, whatever the locale; for every path that is a key it is the order of the
UTF-8 bytes too, S3's own. Two trees are compared by walking along both.

A `Tree` is what every listing returns, whatever it was made from: a directory, a LIST, a manifest. An unknown fact is
None, never a guess: a LIST knows no SHA-256, a directory knows no ETag.
"""

from __future__ import annotations

import bisect
import enum
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from typing import NamedTuple, overload


class Kind(enum.Enum):
    """What an item is. OTHER only appears in a destination: something there that cannot travel."""

    FILE = "file"
    LINK = "link"
    DIR = "dir"
    OTHER = "other"


class Item(NamedTuple):
    """One path of a tree.

    Attributes:
        path: safe relative path (see `paths.check`); an OTHER may carry surrogate escapes.
        kind: file, symbolic link, directory.
        size: bytes of a file; 0 for the rest.
        mtime_ns: modification time in ns since the epoch; None where the place keeps none.
        mode: permission bits, at most 0o777; None where the place keeps none.
        sha256: of the file's bytes, lower-case hex.
        md5: of the file's bytes, lower-case hex; only where it was needed to compare with an ETag.
        etag: of the S3 object, without quotes. On a local file: of the object it was last known equal to.
        version: S3 version id of the object.
        target: where a symbolic link points, verbatim.
        stored_ns: when S3 stored the object, by its own clock, in ns since the epoch.
        copy_of: ETag of the object that this one was copied from, where that is remembered.
    """

    path: str
    kind: Kind = Kind.FILE
    size: int = 0
    mtime_ns: int | None = None
    mode: int | None = None
    sha256: str | None = None
    md5: str | None = None
    etag: str | None = None
    version: str | None = None
    target: str | None = None
    stored_ns: int | None = None
    copy_of: str | None = None


class Tree(Sequence[Item]):
    """Items in order, and what else is known of the place they were read from.

    Make one with `make`. A tree never changes. It holds columns, not items: an item is made when it is asked for, so
    that a million of them fit into memory.

    Attributes:
        published: False where the destination's manifest does not describe the items (none yet, or out of date), so
            that an empty plan still has to publish.
        generation: of the manifest that the items come from; 0 without one.
        note: what people should know about this reading, such as an unfinished push; may be empty.
    """

    __slots__ = ("_columns", "generation", "note", "published")

    def __init__(self, columns: Columns, *, published: bool, generation: int, note: str) -> None:
        self._columns = columns
        self.published = published
        self.generation = generation
        self.note = note

    def but(self, *, published: bool | None = None, generation: int | None = None, note: str | None = None) -> Tree:
        """The same items, of which something else is known."""
        return Tree(
            self._columns,
            published=self.published if published is None else published,
            generation=self.generation if generation is None else generation,
            note=self.note if note is None else note,
        )

    def get(self, path: str) -> Item | None:
        """The item at `path`, or None."""
        row = self._columns.find(path)
        return None if row is None else self._columns.item(row)

    def find(self, path: str) -> int | None:
        """The row of a path, or None."""
        return self._columns.find(path)

    @property
    def paths(self) -> Sequence[str]:
        """The paths of all items, in order, without making these."""
        return self._columns.paths

    def path(self, row: int) -> str:
        """The path of the item at a row, without making it."""
        return self._columns.paths[row]

    def kind(self, row: int) -> Kind:
        """The kind of the item at a row, without making it."""
        return _KINDS[self._columns.kinds[row]]

    def of_kind(self, kind: Kind) -> Iterator[Item]:
        """The items of one kind, without making the others."""
        code = _CODES[kind]
        return (self._columns.item(row) for row, found in enumerate(self._columns.kinds) if found == code)

    def is_same_object(self, row: int, other: Tree, other_row: int) -> bool:
        """Whether two files certainly are one S3 object, by size and ETag; False says nothing."""
        return self._columns.is_same_object(row, other._columns, other_row)

    def is_same(self, row: int, other: Tree, other_row: int) -> bool:
        """Whether two files are certainly the same, by what both trees know; False says nothing.

        It answers for nearly all of two trees that are nearly alike, without making items of them.
        """
        return self._columns.is_same(row, other._columns, other_row)

    def holding(self, contents: Collection[str], rows: Iterable[int]) -> Iterator[Item]:
        """Those of some rows whose SHA-256 is among `contents`, without making the others."""
        return self._columns.holding({bytes.fromhex(sha256) for sha256 in contents}, rows)

    @overload
    def __getitem__(self, row: int) -> Item: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[Item]: ...

    def __getitem__(self, row: int | slice) -> Item | Sequence[Item]:
        if isinstance(row, slice):
            return [self._columns.item(at) for at in range(*row.indices(len(self)))]
        return self._columns.item(row)

    def __iter__(self) -> Iterator[Item]:
        return map(self._columns.item, range(len(self)))

    def __len__(self) -> int:
        return len(self._columns.paths)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tree):
            return NotImplemented
        facts = (self.published, self.generation, self.note)
        return facts == (other.published, other.generation, other.note) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # a tree is no key

    def __repr__(self) -> str:
        return f"Tree({list(self)!r}, published={self.published}, generation={self.generation}, note={self.note!r})"

    @property
    def files(self) -> int:
        """How many items are not directories: what people call the number of files."""
        return len(self) - self._columns.kinds.count(_CODES[Kind.DIR])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self._columns.sizes)


def make(items: Iterable[Item], *, published: bool = True, generation: int = 0, note: str = "") -> Tree:
    """Sort `items` into a Tree; no listing is trusted to come sorted."""
    columns = Columns()
    for item in items:
        columns.add(item)
    return Tree(columns.in_order(), published=published, generation=generation, note=note)


def join(source: Sequence[str], target: Sequence[str]) -> Iterator[tuple[int | None, int | None]]:
    """Walk along two sorted runs of paths at once: the places of each path, None where a side has not got it."""
    at = to = 0
    while at < len(source) and to < len(target):
        here, there = source[at], target[to]
        if here == there:
            yield at, to
            at += 1
            to += 1
        elif here < there:
            yield at, None
            at += 1
        else:
            yield None, to
            to += 1
    for rest in range(at, len(source)):
        yield rest, None
    for rest in range(to, len(target)):
        yield None, rest


def is_md5(etag: str | None) -> bool:
    """Tell whether `etag` may be the MD5 of the object: 32 hex digits, no part count.

    It is one for single-part objects without KMS or customer keys (S3 API, "Object", ETag); with those it only looks
    like one, so a difference proves nothing while equality does.
    """
    return etag is not None and len(etag) == 32 and not etag.strip("0123456789abcdef")


_KINDS = list(Kind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_FILE = _CODES[Kind.FILE]
_UNKNOWN = -(2**63)
_NO_SHA256 = bytes(32)
_NO_MD5 = bytes(16)
_HAS_SHA256 = 1
_HAS_MD5 = 2


class Columns:
    """The facts of many items, column by column; unknown ones as values that no item has."""

    __slots__ = (
        "_etags",
        "_has",
        "_is_sorted",
        "_modes",
        "_mtimes",
        "_rare",
        "_sha256",
        "_stored",
        "kinds",
        "paths",
        "sizes",
    )

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.kinds = bytearray()
        self.sizes = array("q")
        self._modes = array("h")
        self._mtimes = array("q")
        self._stored = array("q")
        self._has = bytearray()  # which of the next two an item has
        self._sha256 = bytearray()  # empty as long as no item has one
        self._etags = bytearray()  # of those that look like an MD5
        #: What few items have: md5, version, target, copy_of, and ETags of another look.
        self._rare: dict[int, tuple[str | None, str | None, str | None, str | None, str | None]] = {}
        self._is_sorted = True

    def add(self, item: Item) -> None:
        """Append an item."""
        path, kind, size, mtime_ns, mode, sha256, md5, etag, version, target, stored_ns, copy_of = item
        row = len(self.paths)
        if row and path < self.paths[-1]:
            self._is_sorted = False
        self.paths.append(path)
        self.kinds.append(_FILE if kind is Kind.FILE else _CODES[kind])
        self.sizes.append(size)
        self._modes.append(-1 if mode is None else mode)
        self._mtimes.append(_UNKNOWN if mtime_ns is None else mtime_ns)
        self._stored.append(_UNKNOWN if stored_ns is None else stored_ns)
        has = 0
        if sha256 is not None:
            has = _HAS_SHA256
            if not self._sha256:
                self._sha256 = bytearray(32 * row)
            self._sha256 += bytes.fromhex(sha256)
        elif self._sha256:
            self._sha256 += _NO_SHA256
        if etag is not None and is_md5(etag):
            has |= _HAS_MD5
            self._etags += bytes.fromhex(etag)
            etag = None
        else:
            self._etags += _NO_MD5
        self._has.append(has)
        rare = (md5, version, target, copy_of, etag)
        if rare != _NOTHING_RARE:
            self._rare[row] = rare

    def item(self, row: int) -> Item:
        """Make the item at a row."""
        if row < 0:
            row += len(self.paths)
        mode, mtime_ns, stored_ns = self._modes[row], self._mtimes[row], self._stored[row]
        has = self._has[row]
        rare = self._rare.get(row, _NOTHING_RARE)
        return Item(
            self.paths[row],
            _KINDS[self.kinds[row]],
            self.sizes[row],
            None if mtime_ns == _UNKNOWN else mtime_ns,
            None if mode < 0 else mode,
            self._sha256[32 * row : 32 * row + 32].hex() if has & _HAS_SHA256 else None,
            rare[0],
            self._etags[16 * row : 16 * row + 16].hex() if has & _HAS_MD5 else rare[4],
            rare[1],
            rare[2],
            None if stored_ns == _UNKNOWN else stored_ns,
            rare[3],
        )

    def holding(self, contents: Set[bytes], rows: Iterable[int]) -> Iterator[Item]:
        """See `Tree.holding`."""
        for row in rows:
            if bytes(self._sha256[32 * row : 32 * row + 32]) in contents and self._has[row] & _HAS_SHA256:
                yield self.item(row)

    def find(self, path: str) -> int | None:
        """The row of a path, or None."""
        row = bisect.bisect_left(self.paths, path)
        return row if row < len(self.paths) and self.paths[row] == path else None

    def is_same(self, row: int, other: Columns, to: int) -> bool:
        """See `Tree.is_same`; the table of `plan.py` is what it must agree with."""
        if self.kinds[row] != _FILE or other.kinds[to] != _FILE or self.sizes[row] != other.sizes[to]:
            return False
        mode, its_mode = self._modes[row], other._modes[to]
        mtime, its_mtime = self._mtimes[row], other._mtimes[to]
        if mode != its_mode and mode >= 0 and its_mode >= 0:
            return False
        if mtime != its_mtime and mtime != _UNKNOWN and its_mtime != _UNKNOWN:
            return False
        both = self._has[row] & other._has[to]
        if both & _HAS_SHA256:
            return self._sha256[32 * row : 32 * row + 32] == other._sha256[32 * to : 32 * to + 32]
        return bool(both & _HAS_MD5) and self._etags[16 * row : 16 * row + 16] == other._etags[16 * to : 16 * to + 16]

    def is_same_object(self, row: int, other: Columns, to: int) -> bool:
        """See `Tree.is_same_object`."""
        return bool(
            self.kinds[row] == _FILE == other.kinds[to]
            and self.sizes[row] == other.sizes[to]
            and self._has[row] & other._has[to] & _HAS_MD5
            and self._etags[16 * row : 16 * row + 16] == other._etags[16 * to : 16 * to + 16]
        )

    def in_order(self) -> Columns:
        """The same, sorted by path; itself when it is."""
        if self._is_sorted:
            return self
        ordered = Columns()
        for row in sorted(range(len(self.paths)), key=self.paths.__getitem__):
            ordered.add(self.item(row))
        return ordered


_NOTHING_RARE = (None, None, None, None, None)
