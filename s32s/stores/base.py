"""A tree in a place: what a store is, and the values that it takes and gives.

A store is opened as a source or as a target. Either way it is looked at twice: `look` is the cheapest proof that
nothing has changed, and `Look.snapshot` says what is there, made from that very look. A snapshot is a value; everything
that is done later is done with one in hand.

A target opens a transaction: left without `publish`, nothing happened. Two places cannot keep that fully: on S3 an
overwritten object shows in a LIST before the head moves (readers of the manifest notice by the ETag), and a directory
that is changed in place shows each file when it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core.errors import S32sError
from s32s.core.item import Item
from s32s.core.plan import Plan, Rejection
from s32s.core.tree import Tree

#: Told how many more bytes moved; raises `Interrupted` when the run is being stopped.
Progress = Callable[[int], None]


class Position(NamedTuple):
    """Where a store stands.

    Attributes:
        generation: of the manifest that it follows or holds; 0 without one.
        manifest: SHA-256 of that manifest; "" without one.
        note: what people should know, such as an unfinished push; may be empty.
    """

    generation: int = 0
    manifest: str = ""
    note: str = ""


NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a store holds at one moment. Each store derives its own, with what it needs to know again later.

    Attributes:
        tree: the items.
        is_published: False where the target has to publish even if no item changes: its manifest does not describe the
            items, or the directory is not there.
        is_listed: whether every item was looked at, and not only what a manifest says of them.
        rejected: what a source leaves behind, and why.
    """

    tree: Tree
    position: Position = NOWHERE
    is_published: bool = True
    is_listed: bool = True
    rejected: tuple[Rejection, ...] = ()


S = TypeVar("S", bound=Snapshot)
S_co = TypeVar("S_co", bound=Snapshot, covariant=True)


class Look(NamedTuple, Generic[S_co]):
    """A first look at a store.

    Attributes:
        fingerprint: names what the store holds: as long as it is the same, so is everything; None where nothing tells.
        snapshot: what is there, made from this look.
        tree: the items as cheaply as they can be had, for people who want to see what has not changed; None where that
            is not possible once the store is closed.
        proves: whether the same fingerprint proves that nothing has changed; False where more is due to be looked at.
        is_listed: see `Snapshot`.
    """

    fingerprint: Callable[[], str | None]
    snapshot: Callable[[], S_co]
    position: Position = NOWHERE
    tree: Callable[[], Tree] | None = None
    proves: bool = True
    is_listed: bool = True


class StoreCapabilities(NamedTuple):
    """What a store can hold as a target.

    Attributes:
        is_directory: whether its items become files and directories of this machine.
        max_path_bytes: how long a path may be.
        links: whether it keeps symbolic links.
        directories: whether it keeps all directories; False for those alone that hold nothing.
        modes, times: whether it keeps permission bits and modification times.
    """

    is_directory: bool = False
    max_path_bytes: int = 4095
    links: bool = True
    directories: bool = True
    modes: bool = True
    times: bool = True


class Policy(NamedTuple):
    """What a transaction does about changes that others make in its place meanwhile.

    Attributes:
        deletes: whether the verb makes the target exact; False for `copy`.
        patient: whether the run may start over.
    """

    deletes: bool
    patient: bool


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


class Reading(NamedTuple):
    """Bodies to be moved.

    Attributes:
        bodies: in any order; taken by several threads, one at a time.
        threads: how many of them are worth it at the most.
        first: with how many of them it is best begun.
        are_objects: whether they are to be brought as the objects that they are, see `Body.copy_to`.
    """

    bodies: Iterator[Body]
    threads: int
    first: int = 8
    are_objects: bool = False


class Published(NamedTuple):
    """What a target holds after a transaction.

    Attributes:
        etags: the ETag of each of its objects, by path; empty where there are none.
    """

    position: Position = NOWHERE
    etags: Mapping[str, str | None] = MappingProxyType({})


class Source(Protocol[S]):
    """A store that is open for reading."""

    def look(self) -> Look[S]:
        """Look whether anything may have changed.

        Raises:
            Unreadable, StoreError, Unreachable, …: what is there cannot be read; nothing is left out.
        """
        ...

    def refine(self, mine: S, *, against: Snapshot, jobs: int, progress: Progress) -> S:
        """Find out more where the comparison with the target needs it, such as hashes; see `core.compare`.

        Args:
            against: what the target holds.
            jobs: how many requests may be under way.
            progress: told how many bytes were read.
        """
        ...

    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """The bodies of items.

        Args:
            jobs: how many may be under way at the same time.
            as_objects: the target takes objects of a backend as they are, so none is read ahead.
        """
        ...

    def confirm(self, mine: S) -> None:
        """Make sure, just before the target publishes, that what was read is one state.

        Raises:
            SourceChanged, StaleManifest, PushInProgress: it is not.
        """
        ...

    def remember(self, mine: S, plan: Plan, published: Published | None) -> None:
        """Keep what makes the next run quicker; called after a run that may change something.

        Args:
            published: None where there was nothing to do.
        """
        ...


class Transaction(Protocol):
    """A target between two states. Several threads may call `put`."""

    @property
    def wanted(self) -> Sequence[Item]:
        """The items whose bytes must be brought; the transaction has found the others nearby."""
        ...

    @property
    def is_staged(self) -> bool:
        """Whether nothing of it shows before `publish`."""
        ...

    @property
    def takes_objects(self) -> bool:
        """Whether it takes objects of a backend as they are, see `Body.copy_to`."""
        ...

    def put(self, body: Body, progress: Progress) -> None:
        """Bring one item over and verify it. Thread-safe.

        Raises:
            IntegrityError: the bytes are wrong, also after a fresh try.
            SourceChanged: from the body.
        """
        ...

    def publish(self) -> Published:
        """Make the new state the state, in one step where the place can."""
        ...

    def sweep(self) -> None:
        """Remove what the new state no longer names. May be repeated by the next run."""
        ...


@runtime_checkable
class TakesMany(Protocol):
    """A transaction that brings many small items over at the same time, on one thread."""

    @property
    def small(self) -> int:
        """How many bytes an item may have that `put_many` takes; 0 where it takes none."""
        ...

    def put_many(
        self, bodies: Iterator[Body], progress: Progress, *, jobs: int
    ) -> Iterator[tuple[Body, S32sError | None]]:
        """Bring small items over, so many at the same time, on this thread.

        Yields:
            Each when it is there, or what was wrong with it.
        """
        ...


@runtime_checkable
class OpensNearby(Protocol):
    """A transaction that can show what is at a path now, so that a body need not bring what is there already."""

    def open_nearby(self, path: str) -> int | None:
        """A descriptor for reading, which is the caller's to close; None where there is no file."""
        ...


@runtime_checkable
class TakesNearby(Protocol):
    """A body that can be put together of what is at its place now, and of what is not."""

    def take_nearby(self, open_nearby: Callable[[], int | None]) -> None:
        """Remember where to look; what is found is believed by its hash alone."""
        ...


class Target(Protocol[S]):
    """A store that is open for writing."""

    def look(self) -> Look[S]:
        """See `Source.look`."""
        ...

    def refine(self, mine: S, *, against: Snapshot, jobs: int, progress: Progress) -> S:
        """See `Source.refine`."""
        ...

    def check(self, mine: S, plan: Plan, wanted: Tree) -> None:
        """Refuse what it could not hold; also before a plan that is only shown.

        Args:
            wanted: what it would hold.
        """
        ...

    def check_changeable(self) -> None:
        """Find out before the first byte is fetched whether it can be changed.

        Raises:
            Refused: with what to do about it.
        """
        ...

    def transaction(self, mine: S, plan: Plan, policy: Policy) -> AbstractContextManager[Transaction]:
        """Begin to carry out a plan.

        Raises:
            Conflict: somebody else is at it.
        """
        ...

    def remember(self, mine: S, plan: Plan, published: Published | None) -> None:
        """See `Source.remember`."""
        ...


T = TypeVar("T", bound=Snapshot)


class Readable(Protocol[S]):
    """A store that can be a source; `S` are its snapshots."""

    @property
    def location(self) -> str:
        """Where it is, for people, and the same for the same place."""
        ...

    def open_source(self, *, target: StoreCapabilities, again: bool) -> AbstractContextManager[Source[S]]:
        """Open it for reading.

        Args:
            target: what the place can hold that its items go to; what does not fit is an error, never a gap.
            again: an earlier attempt of the same run has met changes, so that nothing is taken for granted.

        Raises:
            Refused: it is not there.
        """
        ...


class Writable(Protocol[T]):
    """A store that can be a target; `T` are its snapshots."""

    @property
    def location(self) -> str:
        """See `Readable.location`."""
        ...

    @property
    def capabilities(self) -> StoreCapabilities:
        """What it can hold."""
        ...

    def open_target(self, *, writable: bool) -> AbstractContextManager[Target[T]]:
        """Open it for writing: check the way there, and keep other runs out.

        Args:
            writable: False to plan only: nothing is locked, made or written.

        Raises:
            Refused: nothing may be written there.
            Locked: another run is at it.
        """
        ...


class Store(Readable[S], Writable[T], Protocol[S, T]):
    """A tree in a place, which can be read and written."""
