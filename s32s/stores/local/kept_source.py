"""An earlier tree of a target as the source of a run that goes back to it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core import paths, tree
from s32s.core.errors import EntryFailed, IntegrityError, Refused, SourceChanged
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan
from s32s.core.text import count, tree_words
from s32s.stores.base import Look, Position, Progress, Published, Reading, Snapshot, StoreCapabilities
from s32s.stores.local.holding import open_holder
from s32s.stores.local.kept import KeptTree, KeptTrees, open_kept
from s32s.stores.local.store import LocalStore
from s32s.stores.local.walk import open_file
from s32s.system import directories, file_bytes, openat

_THREADS = 4


@dataclass(frozen=True, slots=True)
class KeptStore:
    """An earlier tree of a target; see `stores.base.Readable`.

    Attributes:
        live: the target.
        record: which tree.
        is_partial: bring the others back where some files are not to be had any more; else that is an error.
        warn: told of such files.
    """

    live: LocalStore
    record: KeptTree
    is_partial: bool = False
    warn: Callable[[str], None] = lambda text: None

    @property
    def location(self) -> str:
        """See `Readable`."""
        return f"{self.live.location} as of {tree_words(self.record.generation)}"

    @contextlib.contextmanager
    def open_source(self, *, target: StoreCapabilities, again: bool) -> Iterator[KeptSource]:
        """See `Readable`; the target holds the lock."""
        with (
            open_holder(self.live.location, in_place=self.live.in_place, writable=False) as holder,
            open_kept(holder) as trees,
        ):
            if trees is None or self.record not in trees.found():
                raise Refused(f"{tree_words(self.record.generation)} is not kept here any more")
            yield KeptSource(trees, self.record, self.live, self.warn, is_partial=self.is_partial)


class KeptSource:
    """An earlier tree, open for reading; see `stores.base.Source`."""

    def __init__(
        self, trees: KeptTrees, record: KeptTree, live: LocalStore, warn: Callable[[str], None], *, is_partial: bool
    ) -> None:
        self._trees = trees
        self._record = record
        self._live = live
        self._warn = warn
        self._is_partial = is_partial
        self._held: Mapping[str, int] = trees.contents()
        self._live_at: dict[str, str] = {}  # paths in the target that hold what no record has, by SHA-256

    def look(self) -> Look[Snapshot]:
        """See `Source`."""
        position = Position(self._record.generation)
        return Look(lambda: None, lambda: Snapshot(self._trees.tree(self._record), position), position)

    def refine(self, mine: Snapshot, *, against: Snapshot, jobs: int, progress: Progress) -> Snapshot:
        """Find out what is not to be had any more; where that is accepted, it stays as it is in the target.

        A file is lost that was the same until now, and that a program has changed in the target since: its old bytes
        were never anybody's to keep. So is one into which a program still writes that has it open, and one whose kept
        copy was damaged.

        Raises:
            EntryFailed: files are lost.
        """
        if not self._lost(mine, against):
            return mine
        with self._live.open_target(writable=False) as target:
            found = target.look().snapshot()
            found = target.refine(found, against=mine, jobs=jobs, progress=progress)
            if lost := self._lost(mine, found):
                # A file that was touched since may hold it all the same, at whatever path.
                sizes = {item.size for path in lost if (item := mine.tree.get(path)) is not None}
                doubtful = [item for row in found.tree.unhashed() if (item := found.tree[row]).size in sizes]
                found = target.refine(found, against=Snapshot(tree.make(doubtful)), jobs=jobs, progress=progress)
                read = (found.tree.get(item.path) for item in doubtful)
                self._live_at = {item.sha256: item.path for item in read if item is not None and item.sha256}
                lost = self._lost(mine, found)
            if not lost:
                return mine
            if not self._is_partial:
                raise EntryFailed(
                    f"{lost_words(lost)}; nothing was changed",
                    hint="--partial brings all others back, and leaves these as they are",
                    paths=tuple(lost),
                )
            there = [item for path in lost if (item := found.tree.get(path)) is not None and item.kind is Kind.FILE]
            found = target.refine(found, against=Snapshot(tree.make(there)), jobs=jobs, progress=progress)
            stays = [item for old in there if (item := found.tree.get(old.path)) is not None]
        self._warn(f"{lost_words(lost)}; {'it stays as it is' if len(lost) == 1 else 'they stay as they are'}")
        return Snapshot(mine.tree.patched(lost, stays), mine.position)

    def _lost(self, mine: Snapshot, found: Snapshot) -> list[str]:
        """The files that are neither kept nor known to be in the target."""

        def is_there(item: Item) -> bool:
            return bool(item.sha256) and found.tree.content_row(bytes.fromhex(item.sha256 or "")) is not None

        files = (item for item in mine.tree if item.kind is Kind.FILE and item.size)
        return [item.path for item in files if not is_there(item) and not self._is_held(item)]

    def _is_held(self, item: Item) -> bool:
        sha256 = item.sha256 or ""
        number = self._held.get(sha256)
        return number is not None and self._trees.size_of(number, sha256) == item.size

    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """See `Source`."""
        bodies = (_KeptBody(self._open, item, is_there=self._is_somewhere(item)) for item in items)
        return Reading(bodies, min(jobs, _THREADS))

    def _is_somewhere(self, item: Item) -> bool:
        return item.sha256 in self._held or item.sha256 in self._live_at

    def _open(self, sha256: str) -> int:
        """Open a file that holds some content, in a record or in the target."""
        if (path := self._live_at.get(sha256)) is None:
            return self._trees.open_file(self._held[sha256], sha256)
        root = directories.open_dir(self._live.location)
        try:
            return open_file(root, path)
        finally:
            openat.close(root)

    def confirm(self, mine: Snapshot) -> None:
        """See `Source`; a record never changes."""

    def remember(self, mine: Snapshot, plan: Plan, published: Published | None) -> None:
        """See `Source`; there is nothing that would be quicker."""


class _KeptBody:
    """The bytes of one file; see `stores.base.Body`.

    Who stages it compares its SHA-256, so it is looked at only when it is read a second time: then the error says why.
    """

    def __init__(self, open_: Callable[[str], int], item: Item, *, is_there: bool) -> None:
        self.item = item
        self._open = open_
        self._is_there = is_there
        self._is_first = True

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """See `Body`."""
        return None

    def chunks(self) -> Iterator[Chunk]:
        """See `Body`.

        Raises:
            IntegrityError: a program has written into the file since.
        """
        item = self.item
        if not self._is_there:
            if item.size:
                raise SourceChanged(f"{paths.quote(item.path)} changed during the run")
            return
        is_first, self._is_first = self._is_first, False
        fd = self._open(item.sha256 or "")
        sha256 = hashlib.sha256()
        try:
            for chunk in file_bytes.read_chunks(fd):
                if not is_first:
                    sha256.update(chunk)
                yield chunk
        finally:
            os.close(fd)
        if not is_first and sha256.hexdigest() != item.sha256:
            raise IntegrityError(
                f"the kept copy of {paths.quote(item.path)} does not hold its bytes any more",
                hint="a program has written into the file instead of replacing it; s32s sync brings what S3 has",
                paths=(item.path,),
            )


def lost_words(lost: Sequence[str]) -> str:
    """That files are not to be had any more, for people."""
    return (
        f"{count(len(lost), 'file')} of that time {'is' if len(lost) == 1 else 'are'} not to be had any more, "
        f"changed or removed in the target or among what is kept: {paths.some(lost)}"
    )
