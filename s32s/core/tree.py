"""What a place holds: items by relative path, sorted by it.

The order is that of the path's code points, whatever the locale; for every path that is a key it is the order of the
UTF-8 bytes too, S3's own. Two trees are compared by walking along both.

A `Tree` is what every listing returns, whatever it was made from: a directory, a LIST, a manifest. An unknown fact is
None, never a guess: a LIST knows no SHA-256, a directory knows no ETag.
"""

from __future__ import annotations

import enum
import hashlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple, overload

from s32s.core.columns import Table


class Kind(enum.Enum):
    """What an item is. OTHER only appears in a destination: something there that cannot be replicated."""

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
        mode: permission bits, at most 0o777, of files of a slave 0o7777; None where the place keeps none.
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
    """

    __slots__ = ("_columns",)

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def replacing(self, items: Mapping[int, Item]) -> Tree:
        """The same tree, in which more is known of some files: items of the same path, size, mode and time, by row."""
        if not items:
            return self
        columns = self._columns.copied()
        for row, item in items.items():
            columns.replace(row, item)
        return Tree(columns)

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

    def is_same_object(self, row: int, other: Tree, other_row: int, count: int = 1) -> bool:
        """Whether two files, or two runs of files, certainly are the same S3 objects, by size and ETag.

        False says nothing.
        """
        return self._columns.is_same_object(row, other._columns, other_row, count)

    def is_same_run(self, row: int, other: Tree, other_row: int, count: int) -> bool:
        """Whether two runs certainly are the same files, by what both trees know; False says nothing.

        With `is_same` it answers for nearly all of two trees that are nearly alike, without making items of them.
        """
        return self._columns.is_same_run(row, other._columns, other_row, count)

    def is_same(self, row: int, other: Tree, other_row: int) -> bool:
        """Whether two files certainly are the same, by what both trees know; False says nothing."""
        return self._columns.is_same(row, other._columns, other_row)

    def is_decided(self, row: int, other: Tree, other_row: int) -> bool:
        """Whether what is known of two files tells them apart or alike, so that none need be read."""
        return self._columns.is_decided(row, other._columns, other_row)

    def etag(self, row: int) -> str | None:
        """The ETag of the item at a row, without making it."""
        return self._columns.etag(row)

    def hashes(self, row: int) -> bytes | None:
        """SHA-256 and MD5-like ETag of the file at a row, 48 bytes; None where it has more, less or others."""
        return self._columns.hashes(row)

    def digest(self) -> str:
        """A digest of all items: that of another tree is the same only if these are."""
        return self._columns.digest()

    def holding(self, contents: Collection[str], rows: Iterable[int]) -> Iterator[Item]:
        """Those of some rows whose SHA-256 is among `contents`, without making the others."""
        return self._columns.holding({bytes.fromhex(sha256) for sha256 in contents}, rows)

    def kept(self, rows: Sequence[int], target: Tree, target_rows: Sequence[int]) -> Columns:
        """Rows that are the same in two trees: as they are here, as objects what they are in `target`."""
        columns = Columns()
        at = 0
        while at < len(rows):
            row, to, count = rows[at], target_rows[at], min(_RUN, len(rows) - at)
            if rows[at + count - 1] - row != count - 1 or target_rows[at + count - 1] - to != count - 1:
                count = 1
            columns.add_kept(self._columns, row, target._columns, to, count)
            at += count
        return columns

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
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # a tree is not a key

    def __repr__(self) -> str:
        return f"Tree({list(self)!r})"

    @property
    def files(self) -> int:
        """How many items are not directories: what people call the number of files."""
        return len(self) - self._columns.kinds.count(_CODES[Kind.DIR])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self._columns.sizes)


def make(items: Iterable[Item]) -> Tree:
    """Sort `items` into a Tree; no listing is trusted to come sorted."""
    columns = Columns()
    for item in items:
        columns.add(item)
    return columns.tree()


def join(source: Sequence[str], target: Sequence[str]) -> Iterator[tuple[int | None, int | None, int]]:
    """Walk along two sorted runs of paths at once.

    Yields:
        The places of a path, None where a side has not got it, and 1; or, as two sides that are nearly alike have long
        runs in common, the places where such a run begins, and how many paths it has.
    """
    at = to = 0
    while at < len(source) and to < len(target):
        here, there = source[at], target[to]
        if here == there:
            count = 1
            if at + _RUN <= len(source) and source[at : at + _RUN] == target[to : to + _RUN]:
                count = _RUN
            yield at, to, count
            at += count
            to += count
        elif here < there:
            yield at, None, 1
            at += 1
        else:
            yield None, to, 1
            to += 1
    for rest in range(at, len(source)):
        yield rest, None, 1
    for rest in range(to, len(target)):
        yield None, rest, 1


def is_md5(etag: str | None) -> bool:
    """Tell whether `etag` may be the MD5 of the object: 32 hex digits, no part count.

    It is one for single-part objects without KMS or customer keys (S3 API, "Object", ETag); with those it only looks
    like one, so a difference proves nothing while equality does.
    """
    return etag is not None and len(etag) == 32 and not etag.strip("0123456789abcdef")


_RUN = 32
_KINDS = list(Kind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_FILE = _CODES[Kind.FILE]
_UNKNOWN = -(2**63)
_NO_SHA256 = bytes(32)
_NO_MD5 = bytes(16)
_HAS_SHA256 = 1
_HAS_MD5 = 2


class Columns(Table):
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
        "sizes",
    )
    COLUMNS = {  # noqa: RUF012 # the base says ClassVar
        "kinds": 1,
        "sizes": 1,
        "_modes": 1,
        "_mtimes": 1,
        "_stored": 1,
        "_has": 1,
        "_sha256": 32,
        "_etags": 16,
    }
    RARE = ("_rare",)

    def __init__(self) -> None:
        super().__init__()
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
        is_plain = etag is not None and is_md5(etag)
        rare = (md5, version, target, copy_of, None if is_plain else etag)
        if rare != _NOTHING_RARE:
            self._rare[len(self.paths)] = rare
        self.append(
            path,
            size,
            mtime_ns,
            -1 if mode is None else mode,
            bytes.fromhex(sha256) if sha256 is not None else b"",
            bytes.fromhex(etag) if is_plain and etag is not None else b"",
            stored_ns,
            kind=_FILE if kind is Kind.FILE else _CODES[kind],
        )

    def append(
        self,
        path: str,
        size: int,
        mtime_ns: int | None = None,
        mode: int = -1,
        sha256: bytes | bytearray = b"",
        etag: bytes | bytearray = b"",
        stored_ns: int | None = None,
        *,
        kind: int = 0,
    ) -> None:
        """Append a file of which no more is known; what `add` does for all others.

        Args:
            mode: -1 where the place keeps none.
            sha256: 32 bytes, or none.
            etag: one that looks like an MD5, as 16 bytes, or none.
            kind: as the columns hold it.
        """
        if self._is_sorted and self.paths and path < self.paths[-1]:
            self._is_sorted = False
        has = 0
        if sha256:
            has = _HAS_SHA256
            if not self._sha256:
                self._sha256 = bytearray(32 * len(self.paths))
            self._sha256 += sha256
        elif self._sha256:
            self._sha256 += _NO_SHA256
        if etag:
            has |= _HAS_MD5
            self._etags += etag
        else:
            self._etags += _NO_MD5
        self.paths.append(path)
        self.kinds.append(kind)
        self.sizes.append(size)
        self._modes.append(mode)
        self._mtimes.append(_UNKNOWN if mtime_ns is None else mtime_ns)
        self._stored.append(_UNKNOWN if stored_ns is None else stored_ns)
        self._has.append(has)

    def add_kept(self, source: Columns, row: int, target: Columns, to: int, count: int) -> None:
        """Append a run of `source` with the hashes that either knows, and the ETags and versions of `target`."""
        here, there = slice(row, row + count), slice(to, to + count)
        has = source._has[here]
        if has != target._has[there] or source.has_rare(target, row, to, count):
            for nth in range(count):
                one, other = source.item(row + nth), target.item(to + nth)
                self.add(one._replace(sha256=one.sha256 or other.sha256, etag=other.etag, version=other.version))
            return
        if self.paths and source.paths[row] < self.paths[-1]:
            self._is_sorted = False
        if source._sha256:
            self._sha256 = self._sha256 or bytearray(32 * len(self.paths))
            self._sha256 += source._sha256[32 * row : 32 * (row + count)]
        elif self._sha256:
            self._sha256 += bytes(32 * count)
        self._etags += target._etags[16 * to : 16 * (to + count)]
        self._has += has
        self.paths += source.paths[here]
        self.kinds += source.kinds[here]
        self.sizes += source.sizes[here]
        self._modes += source._modes[here]
        self._mtimes += source._mtimes[here]
        self._stored += source._stored[here]

    def has_rare(self, other: Columns, row: int, to: int, count: int) -> bool:
        """Whether there is anything rare in a run here or in one of `other`."""
        return bool(self._rare or other._rare) and any(
            row + nth in self._rare or to + nth in other._rare for nth in range(count)
        )

    def replace(self, row: int, item: Item) -> None:
        """Put another file of the same path, size, mode and time in the place of one: its hashes have become known."""
        one = Columns()
        one.add(item)
        if one._sha256 and not self._sha256:
            self._sha256 = bytearray(32 * len(self.paths))
        if self._sha256:
            self._sha256[32 * row : 32 * row + 32] = one._sha256 or _NO_SHA256
        self._etags[16 * row : 16 * row + 16] = one._etags
        self._has[row] = one._has[0]
        self._rare.pop(row, None)
        if one._rare:
            self._rare[row] = one._rare[0]

    def tree(self) -> Tree:
        """The finished tree. Nothing may be appended afterwards."""
        return Tree(self.in_order())

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

    def etag(self, row: int) -> str | None:
        """See `Tree.etag`."""
        if self._has[row] & _HAS_MD5:
            return self._etags[16 * row : 16 * row + 16].hex()
        return self._rare.get(row, _NOTHING_RARE)[4]

    def hashes(self, row: int) -> bytes | None:
        """See `Tree.hashes`."""
        if self._has[row] != _HAS_SHA256 | _HAS_MD5 or row in self._rare:
            return None
        return bytes(self._sha256[32 * row : 32 * row + 32] + self._etags[16 * row : 16 * row + 16])

    def is_same(self, row: int, other: Columns, to: int) -> bool:
        """See `Tree.is_same`; `compare.difference` is what it must agree with."""
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

    def is_same_run(self, row: int, other: Columns, to: int, count: int) -> bool:
        """See `Tree.is_same_run`."""
        here, there = slice(row, row + count), slice(to, to + count)
        return (
            not any(self.kinds[here])
            and not any(other.kinds[there])
            and _all_have(_HAS_SHA256, self._has[here])
            and _all_have(_HAS_SHA256, other._has[there])
            and self.sizes[here] == other.sizes[there]
            and self._modes[here] == other._modes[there]
            and self._mtimes[here] == other._mtimes[there]
            and self._sha256[32 * row : 32 * (row + count)] == other._sha256[32 * to : 32 * (to + count)]
        )

    def is_decided(self, row: int, other: Columns, to: int) -> bool:
        """See `Tree.is_decided`."""
        if self.kinds[row] != _FILE or other.kinds[to] != _FILE or self.sizes[row] != other.sizes[to]:
            return True
        if self._has[row] & other._has[to] & _HAS_SHA256:
            return True
        return not other._has[to] & _HAS_SHA256 and self.is_same_object(row, other, to, 1)

    def is_same_object(self, row: int, other: Columns, to: int, count: int) -> bool:
        """See `Tree.is_same_object`."""
        here, there = slice(row, row + count), slice(to, to + count)
        return (
            not any(self.kinds[here])
            and not any(other.kinds[there])
            and self.sizes[here] == other.sizes[there]
            and _all_have(_HAS_MD5, self._has[here])
            and _all_have(_HAS_MD5, other._has[there])
            and self._etags[16 * row : 16 * (row + count)] == other._etags[16 * to : 16 * (to + count)]
        )

    def digest(self) -> str:
        """See `Tree.digest`."""
        paths = "\0".join(self.paths).encode("utf-8", "surrogateescape")
        parts = (self.kinds, self.sizes, self._modes, self._mtimes, self._stored, self._has, self._sha256, self._etags)
        digest = hashlib.blake2b(paths, digest_size=32)
        for part in (*parts, repr(sorted(self._rare.items())).encode()):
            digest.update(part)
        return digest.hexdigest()

    def in_order(self) -> Columns:
        """See `Table`."""
        return self if self._is_sorted else super().in_order()


def _all_have(what: int, has: bytearray) -> bool:
    return has.count(what) + has.count(_HAS_SHA256 | _HAS_MD5) == len(has)


_NOTHING_RARE = (None, None, None, None, None)
