"""One table for many rows by path: facts in columns, so that a million rows fit into memory.

A kind of table declares its columns, and how many numbers or bytes of each belong to a row. What a row means, and how
its facts are packed, is for that kind to say; finding, sorting and copying are the same for all: the items of a tree
(`columns.py`), stat caches, listings of directories.
"""

from __future__ import annotations

import bisect
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

C = TypeVar("C", "array[int]", bytearray)


class Table:
    """Rows by path. Derive a class that declares its columns.

    Attributes:
        COLUMNS: how many entries of each column belong to a row, by the name of the attribute. A column is an array of
            numbers or a bytearray; one that is empty has nothing for any row.
        RARE: columns that only few rows have something in: dictionaries by row.
        paths: of all rows.
    """

    __slots__ = ("paths",)
    COLUMNS: ClassVar[Mapping[str, int]] = {}
    RARE: ClassVar[Sequence[str]] = ()

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __len__(self) -> int:
        return len(self.paths)

    def find(self, path: str) -> int | None:
        """The row of a path, or None; the rows are in order."""
        row = bisect.bisect_left(self.paths, path)
        return row if row < len(self.paths) and self.paths[row] == path else None

    def rows(self, paths: Iterable[str]) -> Iterator[int]:
        """For each of some paths, which come in order, its row, or -1; the rows are in order."""
        known = self.paths
        row, end = 0, len(known)
        for path in paths:
            while row < end and known[row] < path:
                row += 1
            yield row if row < end and known[row] == path else -1

    def below(self, path: str) -> range:
        """The rows of what is below a directory, itself left out; all of them with ""."""
        if not path:
            return range(len(self.paths))
        start = bisect.bisect_left(self.paths, f"{path}/")
        return range(start, bisect.bisect_left(self.paths, f"{path}0", start))  # "0" is the character after "/"

    def within(self, path: str) -> list[int]:
        """The rows of a path and of what is below it."""
        row = self.find(path)
        return [*([] if row is None else [row]), *self.below(path)]

    def copied(self) -> Self:
        """The same rows in columns of their own, so that facts may be replaced; the paths are shared."""
        other = type(self)()
        other.paths = self.paths
        for name in self.COLUMNS:
            setattr(other, name, getattr(self, name)[:])
        for name in self.RARE:
            setattr(other, name, dict(getattr(self, name)))
        return other

    def patched(self, dropped: Sequence[int], added: Self) -> Self:
        """These rows without some, and with those of another table; both are in order, and so is what is made.

        It costs what copying costs: a table of which little has changed is made again in a moment.

        Args:
            dropped: rows, in order.
            added: its paths are none of those that stay.
        """
        other = type(self)()
        places = [bisect.bisect_left(self.paths, path) for path in added.paths]
        cuts = sorted([*((row, 0, 0) for row in dropped), *((row, -1, nth) for nth, row in enumerate(places))])
        start = first = behind = 0  # of these rows, and of a run of the added ones that is still to be appended
        for row, what, nth in cuts:
            if row > start or not what:
                other.extend(added, first, behind)
                other.extend(self, start, row)
                start, first = row, behind
            if what:
                behind = nth + 1
            else:
                start = row + 1
        other.extend(added, first, behind)
        other.extend(self, start, len(self.paths))
        return other

    def extend(self, source: Self, start: int, end: int) -> None:
        """Append a run of rows of another table."""
        if start >= end:
            return
        at = len(self.paths)
        self.paths += source.paths[start:end]
        for name, width in self.COLUMNS.items():
            column = getattr(self, name)
            column += getattr(source, name)[width * start : width * end]
        for name in self.RARE:
            rare: Mapping[int, Any] = getattr(source, name)
            mine = getattr(self, name)
            few = rare if len(rare) < end - start else range(start, end)
            mine.update({at + row - start: rare[row] for row in few if start <= row < end and row in rare})

    def to_parts(self, start: int, end: int) -> list[bytes]:
        """A run of rows as bytes, which `append_parts` takes on a machine of the same kind."""
        rare: dict[str, dict[int, Any]] = {}
        for name in self.RARE:
            facts: Mapping[int, Any] = getattr(self, name)
            few = facts if len(facts) < end - start else range(start, end)
            rare[name] = {row - start: facts[row] for row in few if start <= row < end and row in facts}
        columns = (bytes(getattr(self, name)[width * start : width * end]) for name, width in self.COLUMNS.items())
        ended = "".join([f"{path}\0" for path in self.paths[start:end]])
        return [ended.encode("utf-8", "surrogatepass"), json.dumps(rare).encode(), *columns]

    def append_parts(self, parts: Sequence[bytes]) -> None:
        """Append rows as `to_parts` has made them of a table of this kind."""
        ended, rare, *columns = parts
        at = len(self.paths)
        self.paths += ended.decode("utf-8", "surrogatepass").split("\0")
        self.paths.pop()  # what is behind the last end
        for name, column in zip(self.COLUMNS, columns, strict=True):
            mine = getattr(self, name)
            mine.frombytes(column) if isinstance(mine, array) else mine.extend(column)
        for name, facts in json.loads(rare).items():
            known = {at + int(row): tuple(fact) if isinstance(fact, list) else fact for row, fact in facts.items()}
            getattr(self, name).update(known)

    def in_order(self) -> Self:
        """The same rows, sorted by path; itself when they are."""
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        if order == list(range(len(order))):
            return self
        other = type(self)()
        other.paths = [self.paths[row] for row in order]
        for name, width in self.COLUMNS.items():
            setattr(other, name, _picked(getattr(self, name), order, width))
        for name in self.RARE:
            rare: Mapping[int, Any] = getattr(self, name)
            setattr(other, name, {at: rare[row] for at, row in enumerate(order) if row in rare})
        return other


def _picked(column: C, rows: Sequence[int], width: int) -> C:
    """The entries of some rows, in their order."""
    picked = column[:0]
    if column and width == 1:
        picked.extend(map(column.__getitem__, rows))
    elif column:
        for row in rows:
            picked += column[width * row : width * (row + 1)]
    return picked
