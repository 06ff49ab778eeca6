"""A packed prefix as the source of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from s32s.core import cures, paths
from s32s.core.errors import NotFound, S32sError, SourceChanged, StaleManifest
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.format.segments import Place
from s32s.stores.base import Look, Position, Progress, Published, Reading, Snapshot
from s32s.stores.objects.head_checks import check_generation, check_not_lost
from s32s.stores.objects.packed.blobs import bodies_of
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import root_of
from s32s.stores.objects.prefix import FoundHead
from s32s.stores.objects.source import Follower

if TYPE_CHECKING:
    from s32s.stores.objects.memory import PrefixMemory

#: Threads that take bodies at the most: what they do is unpack, hash and write. Small files are begun with one: what is
#: made in one directory is made one at a time (Linux: the lock of its inode), and a second thread costs what it gains.
_THREADS = 4


class PackedSource:
    """A packed prefix that is open for reading; see `stores.base.Source`.

    Args:
        at: a generation other than the current one.
        memory: of a watch.
    """

    def __init__(
        self,
        prefix: PackedPrefix,
        follower: Follower,
        *,
        at: int | None = None,
        memory: PrefixMemory | None = None,
    ) -> None:
        self._prefix = prefix
        self._follower = follower
        self._at = at
        self._memory = memory
        self._snapshot: PackedSnapshot | None = None

    def look(self) -> Look[PackedSnapshot]:
        """The head, which names the root of the generation by its hash.

        Raises:
            Refused: the prefix has gone back to an older generation than the one that was followed last, or has packs
                and no head: it is not empty, whatever `--force-delete` says.
            StaleManifest: the head is gone, and this machine has followed one.
        """
        with self._prefix.named():
            found = self._prefix.read_head()
        self._check(found)
        fingerprint = found.position.manifest if self._at is None else None
        return Look(
            lambda: fingerprint,
            lambda: self._made(found),
            found.position,
            tree=lambda: self._made(found).tree,
            is_listed=True,
        )

    def refine(self, mine: PackedSnapshot, *, against: Snapshot, jobs: int, progress: Progress) -> PackedSnapshot:
        """See `stores.base.Source`; every hash is known."""
        mine.tree.share_paths(against.tree)
        return mine

    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """See `stores.base.Source`."""
        mine = self._snapshot
        if mine is None:
            raise AssertionError("read before a look")
        return read_items(self._prefix, mine, items, jobs=jobs)

    def confirm(self, mine: PackedSnapshot) -> None:
        """See `stores.base.Source`; a generation never changes."""

    def remember(self, mine: PackedSnapshot, plan: Plan, published: Published | None) -> None:
        """See `stores.base.Source`; segments are cached already."""
        if self._memory is not None and mine.root is not None:
            self._memory.keep(mine.found, mine.tree, mine)

    def _check(self, found: FoundHead) -> None:
        follower, location = self._follower, self._prefix.backend.location
        if found.head is None:
            if follower.generation:
                raise StaleManifest(
                    f"the head of {location} is gone, and this machine has followed one",
                    hint=cures.REBUILD,
                )
            check_not_lost(self._prefix.backend, found)
        elif not follower.accepts_older:
            check_generation(found.head, follower.generation, location)

    def _made(self, found: FoundHead) -> PackedSnapshot:
        known = self._memory.packed if self._memory is not None else None
        if known is not None and known.position.manifest == found.position.manifest:
            self._snapshot = known
            return known
        with self._prefix.named():
            try:
                self._snapshot = self._prefix.snapshot(found)
                if self._at is not None:
                    self._snapshot = self._earlier(self._snapshot, self._at)
            except NotFound as exc:
                raise missing(self._prefix, exc, found, ()) from exc
        return self._snapshot

    def _earlier(self, mine: PackedSnapshot, number: int) -> PackedSnapshot:
        ref = root_of(mine, number)
        root, tree, places = self._prefix.generation(ref)
        return PackedSnapshot(tree, Position(number, ref.sha256), found=mine.found, root=root, places=places)


def read_items(prefix: PackedPrefix, mine: PackedSnapshot, items: Sequence[Item], *, jobs: int) -> Reading:
    """The bodies of items of a snapshot; what stands together in a pack comes together."""
    rows = [mine.tree.find(item.path) for item in items]
    where = [mine.places.get(row) if row is not None else None for row in rows]

    def gone(exc: NotFound, hit: Sequence[str]) -> S32sError:
        return missing(prefix, exc, mine.found, hit)

    large = sum(1 for at in where if at is not None and not isinstance(at, Place))
    bodies = bodies_of(prefix.backend, items, where, jobs=jobs, gone=gone)
    return Reading(bodies, min(jobs, _THREADS), first=min(_THREADS, 1 + large))


def missing(prefix: PackedPrefix, exc: S32sError, found: FoundHead, hit: Sequence[str]) -> S32sError:
    """The error that a pack is not there: another generation may have taken its place, else it is an alarm.

    Args:
        found: the head of the generation that needs it.
        hit: the paths that it may hit.
    """
    if not prefix.is_same_head(found):
        return SourceChanged("another generation was published meanwhile, and a pack of this one is gone")
    what = f"{paths.some(hit)}: " if len(hit) == 1 else f"{len(hit):,} paths may be hit: " if hit else ""
    return StaleManifest(
        f"{what}a pack that the current generation needs is gone: {exc.what}",
        hint=f"{cures.HEAL}; does a rule of the bucket let old objects expire?",
        paths=tuple(hit) if len(hit) == 1 else (),
    )
