"""What a place holds: items by relative path, sorted by it.

The order is that of the path's code points, whatever the locale; for every path that is a key it is the order of the
UTF-8 bytes too, S3's own. Two trees are compared by walking along both.

A `Tree` is what every listing returns, whatever it was made from: a directory, a LIST, a manifest. An unknown fact is
None, never a guess: a LIST knows no SHA-256, a directory knows no ETag.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import overload

from s32s.core.columns import Columns
from s32s.core.item import Item, Kind

#: How many paths two trees that are nearly alike are compared by at once.
_RUN = 32


class Tree(Sequence[Item]):
    """Items in order, and what else is known of the place they were read from.

    Make one with `make`. A tree never changes. It holds columns, not items: an item is made when it is asked for, so
    that a million of them fit into memory.
    """

    __slots__ = ("_columns",)

    def __init__(self, columns: Columns) -> None:
        self._columns = columns.in_order()

    def replacing(self, items: Mapping[int, Item]) -> Tree:
        """The same tree, in which more is known of some files: items of the same path, size, mode and time, by row."""
        if not items:
            return self
        columns = self._columns.copied()
        for row, item in items.items():
            columns.replace(row, item)
        return Tree(columns)

    def patched(self, gone: Collection[str], come: Iterable[Item]) -> Tree:
        """The same tree without some paths, and with other items, which may be of paths that it has."""
        items = {item.path: item for item in come}
        columns = Columns()
        for path in sorted(items):
            columns.add(items[path])
        return self.with_columns(gone, columns)

    def with_columns(self, gone: Collection[str], come: Columns) -> Tree:
        """See `patched`.

        Args:
            come: items of other paths each, in any order.
        """
        come = come.in_order()
        rows = (self.find(path) for path in {*gone, *come.paths}) if len(self) else ()
        return Tree(self._columns.patched(sorted(row for row in rows if row is not None), come))

    def share_paths(self, other: Tree) -> None:
        """Take the paths that two trees have in common from the other one, so that memory holds them once."""
        mine, its = self._columns.paths, other.paths
        for at, to, count in join(mine, its):
            if at is not None and to is not None:
                mine[at : at + count] = its[to : to + count]

    def to_parts(self, rows: range) -> list[bytes]:
        """A run of rows as bytes; see `Table.to_parts`."""
        return self._columns.to_parts(rows.start, rows.stop)

    def get(self, path: str) -> Item | None:
        """The item at `path`, or None."""
        row = self._columns.find(path)
        return None if row is None else self._columns.item(row)

    def find(self, path: str) -> int | None:
        """The row of a path, or None."""
        return self._columns.find(path)

    def within(self, path: str) -> list[Item]:
        """The item at a path, and all below it."""
        return [self._columns.item(row) for row in self._columns.within(path)]

    @property
    def paths(self) -> Sequence[str]:
        """The paths of all items, in order, without making these."""
        return self._columns.paths

    @property
    def sizes(self) -> Sequence[int]:
        """The bytes of all items, in order, without making these."""
        return self._columns.sizes

    def path(self, row: int) -> str:
        """The path of the item at a row, without making it."""
        return self._columns.paths[row]

    def kind(self, row: int) -> Kind:
        """The kind of the item at a row, without making it."""
        return self._columns.kind(row)

    def of_kind(self, kind: Kind) -> Iterator[Item]:
        """The items of one kind, without making the others."""
        return map(self._columns.item, self._columns.of_kind(kind))

    def is_same_object(self, row: int, other: Tree, other_row: int, count: int = 1) -> bool:
        """Whether two files, or two runs of files, certainly are the same S3 objects, by size and ETag.

        False says nothing.
        """
        return self._columns.is_same_object(row, other._columns, other_row, count)

    def is_same_run(self, row: int, other: Tree, other_row: int, count: int) -> bool:
        """Whether two runs certainly are the same files and directories, by what both know; False says nothing.

        With `is_same` it answers for nearly all of two trees that are nearly alike, without making items of them.
        """
        return self._columns.is_same_run(row, other._columns, other_row, count)

    def is_same(self, row: int, other: Tree, other_row: int) -> bool:
        """Whether two files certainly are the same, by what both trees know; False says nothing."""
        return self._columns.is_same(row, other._columns, other_row)

    def is_decided(self, row: int, other: Tree, other_row: int) -> bool:
        """Whether what is known of two files tells them apart or alike, so that none need be read."""
        return self._columns.is_decided(row, other._columns, other_row)

    def unhashed(self) -> list[int]:
        """The rows of the files whose SHA-256 is not known."""
        return self._columns.unhashed()

    def etag(self, row: int) -> str | None:
        """The ETag of the item at a row, without making it."""
        return self._columns.etag(row)

    def hashes(self, row: int) -> bytes | None:
        """SHA-256 of the file at a row and, where it has one, its MD5-like ETag: 32 or 48 bytes; else None."""
        return self._columns.hashes(row)

    def digest(self) -> str:
        """A digest of all items: that of another tree is the same only if these are."""
        return self._columns.digest()

    def content_row(self, sha256: bytes) -> int | None:
        """A row of a file with this content, or None."""
        return self._columns.content_row(sha256)

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
        return len(self) - self._columns.count(Kind.DIR)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self._columns.sizes)


def make(items: Iterable[Item]) -> Tree:
    """Sort `items` into a Tree; no listing is trusted to come sorted."""
    columns = Columns()
    for item in items:
        columns.add(item)
    return Tree(columns)


def of_parts(parts: Sequence[bytes]) -> Tree:
    """A tree of what `Tree.to_parts` has given, on a machine of the same kind."""
    columns = Columns()
    columns.append_parts(parts)
    return Tree(columns)


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
