"""A generation of a plain prefix as the source of a run: what its manifest named, read by the versions of that time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from s32s.core import compare, tree
from s32s.core.compare import Reason
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan, taking_part
from s32s.core.rules import EVERYTHING, Rules
from s32s.core.tree import Tree
from s32s.stores.base import Look, Position, Progress, Published, Reading, Snapshot, StoreCapabilities
from s32s.stores.objects.bodies import MANY_THREADS, ObjectBody
from s32s.stores.objects.versions import Generation, Past


@dataclass(frozen=True, slots=True)
class PastStore:
    """A generation; see `stores.base.Readable`.

    Attributes:
        past: those of the prefix.
        at: which one it is.
        rules: only what takes part has to be there.
    """

    past: Past
    at: Generation
    rules: Rules = EVERYTHING

    @property
    def location(self) -> str:
        """See `Readable`."""
        return self.past.backend.location

    @contextlib.contextmanager
    def open_source(self, *, target: StoreCapabilities, again: bool) -> Iterator[PastSource]:
        """See `Readable`."""
        yield PastSource(self.past, self.at, self.rules)


class PastSource:
    """A generation that is open for reading; see `stores.base.Source`."""

    def __init__(self, past: Past, at: Generation, rules: Rules) -> None:
        self._past = past
        self._at = at
        self._rules = rules

    def look(self) -> Look[Snapshot]:
        """See `stores.base.Source`; a generation never changes."""
        position = Position(self._at.number, self._at.manifest.sha256)
        return Look(lambda: None, lambda: Snapshot(self._past.tree(self._at), position), position, proves=False)

    def refine(self, mine: Snapshot, *, against: Snapshot, jobs: int, progress: Progress) -> Snapshot:
        """Find the version of each file that the target has not got, before anything is changed.

        Raises:
            Refused: some are not there any more.
        """
        source, target = mine.tree, against.tree
        rows = taking_part(source, self._rules)
        missing: list[int] = []
        named = source.paths if len(rows) == len(source) else [source.path(row) for row in rows]
        for at, to, count in tree.join(named, target.paths):
            if at is None or (to is not None and _is_same_run(source, rows[at : at + count], target, to)):
                continue
            for nth, row in enumerate(rows[at : at + count]):
                if source.kind(row) is not Kind.FILE:
                    continue
                if to is None or not _has_bytes(source[row], target[to + nth]):
                    missing.append(row)
        found = self._past.located([source[row] for row in missing], self._at.number)
        return replace(mine, tree=source.replacing(dict(zip(missing, found, strict=True))))

    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """See `stores.base.Source`."""
        bodies = (ObjectBody(self._past.backend, item, of=self._at.number) for item in items)
        return Reading(bodies, min(jobs, MANY_THREADS), are_objects=as_objects)

    def confirm(self, mine: Snapshot) -> None:
        """See `stores.base.Source`; each version stays what it is."""

    def remember(self, mine: Snapshot, plan: Plan, published: Published | None) -> None:
        """See `stores.base.Source`; nothing makes the next run quicker."""


def _is_same_run(source: Tree, rows: Sequence[int], target: Tree, to: int) -> bool:
    return rows[-1] - rows[0] == len(rows) - 1 and source.is_same_run(rows[0], target, to, len(rows))


def _has_bytes(wanted: Item, there: Item) -> bool:
    return compare.difference(wanted, there) in (None, Reason.MODE, Reason.TIME)
