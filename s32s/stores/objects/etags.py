"""Which ETags are MD5s, and which objects are copies of which: what a comparison of two listings hangs on.

The ETag of an object in parts, or under KMS or a customer key, says nothing of its bytes (S3 API, "Object", ETag).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from s32s.backends.base import Backend
from s32s.core import compare, tree
from s32s.core.errors import NotFound
from s32s.core.item import Item, Kind, is_md5
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.stores.base import Progress, Published, Snapshot
from s32s.system.concurrency import for_each

S = TypeVar("S", bound=Snapshot)


class CopyCache(NamedTuple):
    """Where is kept which copy belongs to which original, by path: the ETags of both, where they differ."""

    load: Callable[[], Mapping[str, tuple[str, str]]] = dict
    save: Callable[[Mapping[str, tuple[str, str]]], None] = lambda copies: None


class Etags(Mapping[str, str | None]):
    """The ETag of every object that a prefix holds, by path.

    Args:
        stored: of those that were just written.
        rest: called for all others when one of them is asked for.
    """

    def __init__(self, stored: Mapping[str, str | None], rest: Callable[[], Mapping[str, str | None]]) -> None:
        self._stored = stored
        self._rest = rest

    @functools.cached_property
    def _all(self) -> Mapping[str, str | None]:
        return {**self._rest(), **self._stored}

    def __getitem__(self, path: str) -> str | None:
        return self._stored[path] if path in self._stored else self._all[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def with_md5s(mine: S, backend: Backend, source: Tree, target: Tree, *, jobs: int, progress: Progress) -> S:
    """One of the two sides, with the MD5 of each object that cannot be told apart without it; one HEAD each.

    Args:
        mine: the snapshot of the side that `backend` is, whose tree is one of the other two.
        progress: raises `Interrupted` when the run is being stopped.
    """
    is_source = mine.tree is source
    asked: list[tuple[int, Item]] = []
    for at, to, count in tree.join(source.paths, target.paths):
        if at is None or to is None or source.is_same_object(at, target, to, count):
            continue
        if source.is_same_run(at, target, to, count):
            continue
        for nth in range(count):
            if source.kind(at + nth) is not Kind.FILE or source.is_same(at + nth, target, to + nth):
                continue
            here, there = source[at + nth], target[to + nth]
            if compare.needs_md5(here, there):
                asked.append((at + nth, here) if is_source else (to + nth, there))
    known: dict[int, Item] = {}

    def ask(row: tuple[int, Item]) -> None:
        progress(0)
        at, item = row
        with contextlib.suppress(NotFound):  # gone meanwhile: the copy will notice
            if backend.head(item.path).has_md5:
                known[at] = item._replace(md5=item.etag)

    for_each(asked, ask, jobs=jobs)
    return replace(mine, tree=mine.tree.replacing(known))


def with_originals(made: Tree, copies: Mapping[str, tuple[str, str]]) -> Tree:
    """A target's tree, with the ETag of the original of each copy that has not changed since it was made."""
    known: dict[int, Item] = {}
    for path, (original, copy) in copies.items():
        row = made.find(path)
        if row is not None and made.etag(row) == copy:
            known[row] = made[row]._replace(copy_of=original)
    return made.replacing(known)


def copies_of(plan: Plan, published: Published | None) -> dict[str, tuple[str, str]]:
    """Which copy belongs to which original after a run, where their ETags do not show it."""
    pairs = [(path, original, copy) for path, original, copy in plan.unchanged.etag_pairs()]
    if published is not None:
        pairs += [(put.item.path, put.item.etag, published.etags.get(put.item.path)) for put in plan.puts]
    return {path: (original, copy) for path, original, copy in pairs if original and copy and original != copy}


def with_contents(theirs: Tree, mine: Tree, base: Tree) -> Tree:
    """What others have, where no manifest says what an object holds: by its ETag, as far as that tells."""
    known: dict[int, Item] = {}
    for row, path in enumerate(theirs.paths):
        if theirs.kind(row) is not Kind.FILE or theirs.hashes(row) is not None:
            continue
        item = theirs[row]
        if item.sha256 is not None:
            continue
        for other in (mine.get(path), base.get(path)):
            if other is None or other.sha256 is None or other.size != item.size:
                continue
            if (item.etag and other.etag == item.etag) or (is_md5(item.etag) and other.md5 == item.etag):
                known[row] = item._replace(sha256=other.sha256)
                break
    return theirs.replacing(known)
