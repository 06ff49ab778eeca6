"""What a plan leaves as it is: the rows of two trees that are the same, which may be nearly all of a million.

Nothing is made of a row before somebody looks at it.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, overload

from s32s.core import tree
from s32s.core.columns import Columns
from s32s.core.item import Item, Kind
from s32s.core.tree import Tree


class Keep(NamedTuple):
    """One path that is the same on both sides."""

    source: Item
    target: Item


class Joined(NamedTuple):
    """Rows of two trees that belong together, in order."""

    source: Tree
    rows: Sequence[int]
    target: Tree
    target_rows: Sequence[int]


class Unchanged(Sequence[Keep]):
    """Many of them, each made when it is asked for: two trees that are nearly alike are nearly all of a plan.

    Args:
        length: how many.
        read: called for them when somebody looks at one.
    """

    def __init__(self, length: int, read: Callable[[], Joined]) -> None:
        self._length = length
        self._read = read

    @functools.cached_property
    def _joined(self) -> Joined:
        return self._read()

    def within(self, path: str) -> Unchanged:
        """Those at a path and below it; all of them with ""."""
        return self.among((), within=path) if path else self

    def among(self, names: Iterable[str], *, within: str = "") -> Unchanged:
        """Those at some paths, and with `within` those at that path and below it."""
        source, rows, target, target_rows = self._joined

        def place(text: str) -> int:
            return bisect.bisect_left(rows, text, key=source.path)

        picked = {at for name in (*names, within) if (at := place(name)) < len(rows) and source.path(rows[at]) == name}
        if within:
            picked.update(range(place(f"{within}/"), place(f"{within}0")))  # "0" is the character after "/"
        order = sorted(picked)
        part = Joined(source, [rows[at] for at in order], target, [target_rows[at] for at in order])
        return Unchanged(len(order), lambda: part)

    @overload
    def __getitem__(self, at: int) -> Keep: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Keep]: ...

    def __getitem__(self, at: int | slice) -> Keep | Sequence[Keep]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        source, rows, target, target_rows = self._joined
        return Keep(source[rows[at]], target[target_rows[at]])

    def __iter__(self) -> Iterator[Keep]:
        return (self[at] for at in range(self._length))

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment] # as of any sequence that compares by what it holds

    def sources(self) -> Iterator[Item]:
        """Their items of the source."""
        source, rows, _, _ = self._joined
        return map(source.__getitem__, rows)

    def directories(self) -> Iterator[Keep]:
        """Those of directories."""
        source, rows, _, _ = self._joined
        return (self[at] for at, row in enumerate(rows) if source.kind(row) is Kind.DIR)

    def paths(self) -> list[str]:
        """Their paths, without making items of them."""
        source, rows, _, _ = self._joined
        return list(map(source.paths.__getitem__, rows))

    def size(self) -> int:
        """Bytes of their files, as they are in the source."""
        source, rows, _, _ = self._joined
        return sum(map(source.sizes.__getitem__, rows))

    def others(self) -> Iterator[str]:
        """The paths of all that is not a directory."""
        source, rows, _, _ = self._joined
        return (source.path(row) for row in rows if source.kind(row) is not Kind.DIR)

    def contents(self) -> dict[str, bytes | tuple[str | None, str | None, str | None]]:
        """What the target's files hold, by path: as of `Tree.hashes`, or SHA-256, MD5 and ETag as far as known."""
        source, rows, target, target_rows = self._joined
        known: dict[str, bytes | tuple[str | None, str | None, str | None]] = {}
        for row, to in zip(rows, target_rows, strict=True):
            if source.kind(row) is not Kind.FILE:
                continue
            hashes = source.hashes(row)
            if hashes is None and source.is_same_object(row, target, to):
                hashes = target.hashes(to)
            if hashes is None or (len(hashes) == 32 and target.etag(to) is not None):
                here, there = source[row], target[to]
                known[here.path] = there.sha256 or here.sha256, there.md5, here.etag or there.etag
            else:
                known[source.path(row)] = hashes
        return known

    def etags(self) -> dict[str, str | None]:
        """The ETags of the target's objects, by path."""
        source, rows, target, target_rows = self._joined
        return {source.path(row): target.etag(to) for row, to in zip(rows, target_rows, strict=True)}

    def etag_pairs(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Path, ETag in the source and ETag in the target of the files."""
        source, rows, target, target_rows = self._joined
        for row, to in zip(rows, target_rows, strict=True):
            if source.kind(row) is Kind.FILE:
                yield source.path(row), source.etag(row), target.etag(to)

    def as_objects(self) -> Columns:
        """They, as they are in the source, with ETag and version of their objects in the target."""
        source, rows, target, target_rows = self._joined
        return source.kept(rows, target, target_rows)

    def holding(self, contents: Collection[str]) -> Iterator[Item]:
        """The items of the target whose SHA-256 is among `contents`."""
        _, _, target, target_rows = self._joined
        return target.holding(contents, target_rows)


#: Nothing that stays.
NONE = Unchanged(0, lambda: Joined(tree.make(()), (), tree.make(()), ()))
