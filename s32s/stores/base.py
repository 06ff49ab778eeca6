"""What a place is, for the code that moves trees between places.

A source lists a tree and hands out bodies; a target lists a tree and opens a change, a context manager: left without
`publish`, nothing happened. Two places cannot keep that fully: on S3 an overwritten object shows in a LIST before the
head moves (readers of the manifest notice by the ETag), and a directory that is changed in place shows each file when
it is replaced.

Batches come first, because a store may hold many files in one object; nothing above this line assumes otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core.tree import Item

#: Told how many more bytes moved; raises `Interrupted` when the run is being stopped.
Progress = Callable[[int], None]


class Body(Protocol):
    """The bytes of one item, read as often as needed."""

    def chunks(self) -> Iterator[Chunk]:
        """The bytes from the start.

        Raises:
            SourceChanged: they are no longer those that were listed, or changed while they were read.
        """
        ...

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """Bring it into a backend as the object that it is, with all that it carries; None for what is not an object.

        Raises:
            SourceChanged: it is no longer the one that was listed.
        """
        ...

    @property
    def item(self) -> Item:
        """The item; after `chunks` is exhausted, with all that the reading has shown (hash, time, size)."""
        ...


#: What one worker moves in one go.
Batch = Iterable[Body]


class Source(Protocol):
    """A place that is read."""

    @property
    def at_once(self) -> int:
        """How many bodies of a batch are under way at the same time."""
        ...

    def batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        """Bodies of the items, grouped as the place serves them best."""
        ...


class Change(Protocol):
    """A destination between two states."""

    @property
    def wanted(self) -> Sequence[Item]:
        """The items whose bytes must be brought; the change has found the others nearby."""
        ...

    def put(self, body: Body, progress: Progress) -> None:
        """Bring one item over and verify it. Thread-safe.

        Raises:
            IntegrityError: the bytes are wrong, also after a fresh try.
            SourceChanged: from the body.
        """
        ...

    def publish(self) -> int:
        """Make the new state the state, in one step where the place can; return its generation, 0 without one."""
        ...

    def sweep(self) -> None:
        """Remove what the new state no longer names. May be repeated by the next run."""
        ...
