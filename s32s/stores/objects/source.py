"""A prefix as the source of a run: what its manifest names, else what a LIST shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from s32s.core.errors import NotFound, SourceChanged
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.stores.base import Look, Progress, Published, Reading, Snapshot
from s32s.stores.objects.head_checks import check_generation, lost_head, packs_there
from s32s.stores.objects.listing import differences
from s32s.stores.objects.prefix import FoundHead, Prefix
from s32s.system.concurrency import Future

if TYPE_CHECKING:
    from s32s.stores.objects.memory import PrefixMemory


class Follower(NamedTuple):
    """What this machine knows of a prefix that it follows.

    Attributes:
        generation: that it has followed last; 0 for none. A head that has vanished since is an alarm.
        accepts_older: follow an older one than that.
        compares: hold the manifest against a LIST.
        waits: do so before the plan is made, and not while files move.
    """

    generation: int = 0
    accepts_older: bool = False
    compares: bool = False
    waits: bool = True


@dataclass(frozen=True, slots=True)
class ObjectSnapshot(Snapshot):
    """What a prefix holds.

    Attributes:
        found: its head.
        has_manifest: whether it is, or will be, described by one.
        manifests: the keys of all that are there, as far as a LIST has shown them.
    """

    found: FoundHead = field(default_factory=FoundHead)
    has_manifest: bool = False
    manifests: frozenset[str] = frozenset()


class ObjectSource:
    """A prefix that is open for reading; see `stores.base.Source`.

    Args:
        has_manifest: False to read none.
        memory: of a watch.
    """

    def __init__(
        self, prefix: Prefix, follower: Follower, *, has_manifest: bool, memory: PrefixMemory | None = None
    ) -> None:
        self._prefix = prefix
        self._follower = follower
        self._has_manifest = has_manifest
        self._memory = memory
        self._comparing: Future[None] | None = None

    def look(self) -> Look[ObjectSnapshot]:
        """The head, which names the manifest by its hash; a LIST where there is none.

        Raises:
            Refused: the prefix has gone back to an older generation than the one that was followed last.
            StaleManifest, PushInProgress, BadPath, …: what is there cannot be followed.
        """
        with self._prefix.named():
            return self._look()

    def _look(self) -> Look[ObjectSnapshot]:
        found = self._prefix.read_head() if self._has_manifest else FoundHead()
        self._check_generation(found)
        if found.head is None:
            stored = self._prefix.list_objects()
            if stored.has_packs:
                raise lost_head(self._location, for_plain=True) if self._has_manifest else packs_there(self._location)
            if self._has_manifest and self._follower.generation:
                raise self._prefix.stale(f"the manifest of {self._location} is gone, and this machine has followed one")
            listed = stored.tree
            return Look(listed.digest, lambda: ObjectSnapshot(listed), tree=lambda: listed)
        if (ref := found.manifest) is None:
            raise self._prefix.in_progress(found, "its first push is not finished")
        return Look(
            lambda: ref.sha256,
            lambda: self._snapshot(found),
            found.position,
            tree=lambda: self._prefix.manifest_tree(ref),
            proves=not self._follower.compares,
            is_listed=False,
        )

    def refine(self, mine: ObjectSnapshot, *, against: Snapshot, jobs: int, progress: Progress) -> ObjectSnapshot:
        """Ask which ETags are MD5s where the comparison hangs on it; see `stores.base.Source`."""
        from s32s.stores.objects.etags import with_md5s  # a run that finds nothing new needs none of these

        return with_md5s(mine, self._prefix.backend, mine.tree, against.tree, jobs=jobs, progress=progress)

    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """Objects that are to come here are read before they are asked for."""
        from s32s.stores.objects.bodies import MANY_THREADS, ObjectBody, read_ahead

        backend = self._prefix.backend
        if as_objects:
            bodies = (ObjectBody(backend, item) for item in items)
            return Reading(bodies, min(jobs, MANY_THREADS), are_objects=True)
        return read_ahead(backend, items, jobs=jobs)

    def confirm(self, mine: ObjectSnapshot) -> None:
        """Wait for the comparison; without a manifest, make sure that the prefix still holds what was listed.

        Raises:
            SourceChanged: it does not, so the files may be of two states.
            StaleManifest, PushInProgress: the manifest does not describe the objects.
        """
        self.wait()
        if mine.found.head is None and differences(mine.tree, self._prefix.list_objects().tree):
            raise SourceChanged(f"the objects below {self._location} changed during the run")

    def remember(self, mine: ObjectSnapshot, plan: Plan, published: Published | None) -> None:
        """See `stores.base.Source`; the manifest is cached already."""
        if self._memory is not None and mine.found.manifest is not None:
            self._memory.keep(mine.found, mine.tree)

    def wait(self) -> None:
        """Wait for a comparison that goes on beside the run.

        Raises:
            SourceChanged, StaleManifest, PushInProgress: what it has found.
        """
        if self._comparing is not None:
            self._comparing.result()

    @property
    def _location(self) -> str:
        return self._prefix.backend.location

    def _snapshot(self, found: FoundHead) -> ObjectSnapshot:
        with self._prefix.named():
            made = self._manifest_tree(found)
            if self._follower.compares and self._follower.waits:
                self._prefix.compare_with_list(found, made)
        if self._follower.compares and not self._follower.waits:
            self._comparing = Future(lambda: self._prefix.compare_with_list(found, made))
        return ObjectSnapshot(made, found.position, is_listed=self._follower.compares, found=found, has_manifest=True)

    def _manifest_tree(self, found: FoundHead) -> Tree:
        if found.manifest is None:
            raise AssertionError("a look at no manifest")
        try:
            known = self._memory
            if known is not None and known.tree is not None and known.found.manifest is not None:
                return self._prefix.manifest_tree(found.manifest, known=(known.found.manifest, known.tree))
            return self._prefix.manifest_tree(found.manifest)
        except NotFound as exc:
            self._prefix.check_same_head(found)
            raise self._prefix.stale(f"the head of {self._location} names a manifest that is not there") from exc

    def _check_generation(self, found: FoundHead) -> None:
        head = found.head
        if head is not None and head.manifest is not None and not self._follower.accepts_older:
            check_generation(head, self._follower.generation, self._location)
