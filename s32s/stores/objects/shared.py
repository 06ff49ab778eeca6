"""A prefix that several people write to: one at a time, and none waits for a machine that has died.

Who wants to write claims the head, as a master does; see `turns.py`. Who has lost the claim notices before the next
write: by the head, which then is another one, or by its own watch, as after a night in which the machine has slept.

The claim goes last, after the deletions, so that nobody writes again what is just being deleted. What is deleted is
kept below `.s32s/deleted`, see `deleted.py`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from s32s.backends.base import Backend
from s32s.core import compare, tree
from s32s.core.errors import BadPath, Conflict, IntegrityError, NotFound, S32sError, StoreError
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.format import manifest
from s32s.format.head import MAX_MANIFEST
from s32s.stores.base import Position, Published, Reading, Snapshot
from s32s.stores.objects import turns
from s32s.stores.objects.bodies import read_ahead
from s32s.stores.objects.deleted import DeletedFolder
from s32s.stores.objects.head_checks import lost_head
from s32s.stores.objects.listing import differences
from s32s.stores.objects.memory import keeps_conditions
from s32s.stores.objects.prefix import FoundHead, ManifestCache, Prefix
from s32s.stores.objects.publisher import Publisher, Writer
from s32s.stores.objects.transaction import ObjectTransaction
from s32s.stores.objects.turns import Turns
from s32s.stores.shared import going

#: How often a claim shows that it is alive, in seconds.
RENEW_S = 6.0
#: Before the last attempt to see the head and the objects of one moment.
_MOST_LOOKS = 20


@dataclass(frozen=True, slots=True)
class SharedSnapshot(Snapshot):
    """What a shared prefix holds.

    Attributes:
        found: its head.
        left_over: keys of objects that a writer who died had meant to delete.
    """

    found: FoundHead = field(default_factory=FoundHead)
    left_over: tuple[str, ...] = ()


class SharedPrefix:
    """A prefix in the plain layout that is open for one peer; see `stores.shared.SharedStore`.

    Args:
        writer: who writes.
        manifests: where they are kept between runs.
        wait, tell: see `Turns`.
    """

    def __init__(
        self,
        prefix: Prefix,
        writer: Writer,
        manifests: ManifestCache,
        *,
        wait: Callable[[float], None],
        tell: Callable[[str], None],
    ) -> None:
        self.backend = prefix.backend
        self._prefix = prefix
        self._writer = writer
        self._manifests = manifests
        self._turns = Turns(self.backend, prefix.read_head, writer.id, wait=wait, tell=tell)
        self.is_strict: bool | None = None
        self.expects_head = False

    def read(self, items: Sequence[Item], *, jobs: int) -> Reading:
        """See `SharedStore`."""
        return read_ahead(self.backend, items, jobs=jobs)

    def position(self) -> Position | None:
        """See `SharedStore`."""
        return self._turns.position()

    def look(self) -> SharedSnapshot:
        """See `SharedStore`.

        Raises:
            Refused: there are packs, and no head: it is a folder in the packed layout.
        """
        with self._prefix.named():
            for _ in range(_MOST_LOOKS):
                found = self._turns.at_rest(expects_head=self.expects_head)
                stored = self._prefix.list_objects()
                if self._prefix.read_head().nonce == found.nonce:
                    if stored.has_packs and found.head is None:
                        raise lost_head(self.backend.location, for_plain=True)
                    return self._snapshot(found, stored.tree)
        raise Conflict(f"{self.backend.location} keeps changing: others write there all the time", hint="run it again")

    def _snapshot(self, found: FoundHead, listed: Tree) -> SharedSnapshot:
        ref = found.manifest
        if ref is None:
            return SharedSnapshot(_unnamed(listed), found.position, is_published=False, found=found)
        try:
            known = self._prefix.manifest_tree(ref)
        except (NotFound, IntegrityError, BadPath):
            return SharedSnapshot(_unnamed(listed), found.position, is_published=False, found=found)
        different = differences(known, listed)
        if not different:
            return SharedSnapshot(known, found.position, found=found)
        before = self._before(found)
        left_over = [path for path in different if known.get(path) is None and _is_left(before, listed, path)]
        gone = [path for path in different if listed.get(path) is None]
        come = {path: item for path in different if (item := listed.get(path)) is not None}
        for path in left_over:
            del come[path]
        made = known.patched(gone, _unnamed(tree.make(come.values())))
        return SharedSnapshot(
            made, found.position, is_published=not (gone or come), found=found, left_over=tuple(left_over)
        )

    def _before(self, found: FoundHead) -> Tree | None:
        """The tree of the generation before; None where it is not there any more."""
        key = found.head.previous if found.head else None
        sha256 = manifest.sha256_of(key) if key else None
        if key is None or sha256 is None:
            return None
        with contextlib.suppress(NotFound, IntegrityError, BadPath, StoreError):
            data, _ = self.backend.read(key, limit=MAX_MANIFEST)
            return manifest.read(data, manifest.reference(sha256, len(data)))
        return None

    @contextlib.contextmanager
    def transaction(self, mine: SharedSnapshot, plan: Plan) -> Iterator[SharedTransaction]:
        """Claim the head, and write while it is held.

        Raises:
            Conflict: somebody else was quicker; nothing was written.
        """
        if self.is_strict is None:
            self.is_strict = keeps_conditions(self.backend)
        publisher = Publisher(
            self.backend,
            self._writer._replace(take_over=True),
            mine.found,
            self._manifests,
            is_strict=self.is_strict,
            settles=not self.is_strict,
        )
        transaction = SharedTransaction(self.backend, plan, publisher, self._writer, mine.left_over)
        transaction.claim()
        with transaction.alive():
            try:
                yield transaction
            except BaseException:
                transaction.give_up()
                raise


class SharedTransaction(ObjectTransaction):
    """What one peer writes between its claim and its end; see `stores.shared.SharedPush`."""

    def __init__(
        self, backend: Backend, plan: Plan, publisher: Publisher, writer: Writer, left_over: tuple[str, ...]
    ) -> None:
        super().__init__(backend, plan, publisher)
        self._claimed = publisher
        self._deleted = DeletedFolder(backend, writer.host, writer.now)
        self._left_over = left_over
        self._as_it_was: list[Item] = []
        self._head = threading.Lock()
        self._alive_s = 0.0
        self._lost: S32sError | None = None
        self._keeps_claim = False

    def claim(self) -> None:
        super().claim()
        self._alive_s = _now_s()

    def give_up(self) -> None:
        """Let the others go on where this push has failed: what it has uploaded counts as theirs, too."""
        with contextlib.suppress(S32sError), self._head:
            self._claimed.release()

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Give signs of life meanwhile."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(RENEW_S):
                try:
                    with self._head:
                        if ended.is_set():
                            return
                        self._claimed.renew()
                    self._alive_s = _now_s()
                except Conflict as exc:
                    self._lost = exc
                    return
                except S32sError:
                    continue  # the next one may come through; if none does, the claim counts as lost

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(turns.LEASE_S)

    def keep_deleted(self, *, jobs: int) -> None:
        """Copy what is about to be deleted into the deleted folder, so many files at the same time."""
        self._check_held()
        self._deleted.keep(going(self._plan), jobs=jobs)

    def publish(self) -> Published:
        """Write the manifest, then the head; where something is to be deleted, the claim stays until it is."""
        self._check_held()
        self._keeps_claim = bool(self._plan.extras or self._left_over or self._replaced_keys())
        with self._head:
            self._tree = self._published()
            changed = {put.item.path for put in self._plan.puts}
            position = self._claimed.publish(
                self._tree, changed=changed, counts=self._counts(), keeps_claim=self._keeps_claim
            )
        return Published(position, self._etags())

    def sweep(self) -> None:
        """Delete the objects that the new state no longer names, and give up the claim."""
        if not self._keeps_claim:
            self._claimed.forget_old_manifests()
            return
        self._check_held()
        if self._left_over:
            self._backend.delete([key for key in self._left_over if self._tree is None or self._tree.get(key) is None])
        super().sweep()
        with self._head:
            self._claimed.release()

    @property
    def tree(self) -> Tree:
        """What the prefix holds now."""
        if self._tree is None:
            raise AssertionError("it was not published")
        return self._tree

    def leave(self, path: str) -> None:
        """Leave a file as it is there: it could not be read, or keeps changing."""
        (left,) = (put for put in self._plan.puts if put.item.path == path)
        self._plan = replace(self._plan, puts=tuple(put for put in self._plan.puts if put is not left))
        if left.old is not None:
            self._as_it_was.append(left.old)

    def _published(self) -> Tree:
        return super()._published().patched((), self._as_it_was)

    def _check_held(self) -> None:
        """Write nothing more where somebody else may have taken over.

        Raises:
            Conflict: the claim is lost, or has given no sign of life for too long.
        """
        if self._lost is not None:
            raise self._lost
        if _now_s() - self._alive_s > turns.LEASE_S / 2:
            raise Conflict(
                f"this machine was away for too long while it wrote to {self._backend.location}",
                hint="the next run continues",
            )


def _now_s() -> float:
    """Seconds of a clock that also counts while the machine sleeps, where there is one: clock_gettime(2)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _is_left(before: Tree | None, listed: Tree, path: str) -> bool:
    old, now = before.get(path) if before is not None else None, listed.get(path)
    return old is not None and now is not None and compare.agrees(old, now)


def _unnamed(listed: Tree) -> Tree:
    """Objects that no manifest names: when they were stored says nothing of their files."""
    return tree.make(item._replace(stored_ns=None) for item in listed)
