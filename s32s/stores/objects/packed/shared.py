"""A prefix in packs that several people write to.

Nothing that is there changes, so everybody writes packs whenever they like, and who is quicker moves the head: by a
condition, or, on a server that keeps none, after a claim (see `heads.py`). Who is slower looks again; the packs with
files that are there already need not be sent once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from s32s.backends.base import Backend
from s32s.core.errors import Conflict, NotFound, S32sError
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.format import packs
from s32s.stores.base import Position, Published, Reading
from s32s.stores.objects.deleted import DeletedFolder
from s32s.stores.objects.memory import keeps_conditions
from s32s.stores.objects.packed.deleted import Deletions
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.roots import roots_in, stored_packs, without_head
from s32s.stores.objects.packed.source import missing, read_items
from s32s.stores.objects.packed.transaction import PackedTransaction
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.turns import Turns
from s32s.stores.shared import going


class PackedShared:
    """A prefix in packs that is open for one peer; see `stores.shared.SharedStore`.

    Args:
        writer: who writes.
        history: what is said of a push, and how much is kept.
        wait, tell: see `Turns`.
    """

    def __init__(
        self,
        prefix: PackedPrefix,
        writer: Writer,
        history: History,
        *,
        wait: Callable[[float], None],
        tell: Callable[[str], None],
    ) -> None:
        self.backend = prefix.backend
        self._prefix = prefix
        self._writer = writer
        self._history = history
        self._tell = tell
        self._turns = Turns(self.backend, prefix.read_head, writer.id, wait=wait, tell=tell)
        self.is_strict: bool | None = None
        self.expects_head = False
        who = f"{history.user}@{writer.host}" if history.user else writer.host
        self._deletions = Deletions(DeletedFolder(self.backend, who, writer.now), prefix)
        self._looked: PackedSnapshot | None = None
        #: Of pushes of this run that were too slow: packs with a manifest that no head names.
        self._lost: set[str] = set()

    def read(self, items: Sequence[Item], *, jobs: int) -> Reading:
        """See `SharedStore`."""
        if self._looked is None:
            raise AssertionError("read before a look")
        return read_items(self._prefix, self._looked, items, jobs=jobs)

    def position(self) -> Position | None:
        """See `SharedStore`."""
        return self._turns.position()

    def look(self) -> PackedSnapshot:
        """See `SharedStore`; a generation is of one moment by itself.

        Raises:
            Refused: there are generations, and no head that names one.
        """
        with self._prefix.named():
            found = self._turns.at_rest(expects_head=self.expects_head)
            roots = list(roots_in(self._prefix, stored_packs(self.backend))) if found.head is None else []
            if roots:
                found = self._turns.at_rest(expects_head=True)  # it may be just on its way
            try:
                is_there = found.head is not None
                self._looked = self._prefix.snapshot(found) if is_there else without_head(self._prefix, roots)
            except NotFound as exc:
                raise missing(self._prefix, exc, found, ()) from exc
        if self._lost and self.is_strict:
            delete_needless(self.backend, self._lost, self._looked)
            self._lost.clear()
        return self._looked

    @contextlib.contextmanager
    def transaction(self, mine: PackedSnapshot, plan: Plan) -> Iterator[PackedPush]:
        """See `SharedStore`; what is written shows when it is published."""
        if self.is_strict is None:
            self.is_strict = keeps_conditions(self.backend)
        self._prefix.claims = not self.is_strict
        push = PackedPush(
            self._prefix,
            plan,
            mine,
            self._writer,
            self._history,
            self._deletions,
            is_strict=self.is_strict,
            warn=self._tell,
        )
        try:
            yield push
        except Conflict:
            self._lost.update(push.manifest_packs)
            raise


def delete_needless(backend: Backend, written: Iterable[str], now: PackedSnapshot | None) -> None:
    """Delete packs of earlier attempts of this machine, which were too slow or died, as far as they are of no use.

    Where only an answer was lost, such a push was published, and others have gone on from there.

    Args:
        written: what those have written.
        now: what the prefix holds.
    """
    if now is None or now.root is None:
        return
    named = {one.pack for one in now.root.packs}.union(now.root.garbage)
    with contextlib.suppress(S32sError):  # tidying only: what stays is found by prune
        backend.delete(sorted(packs.key_of(pack) for pack in set(written) - named))


class PackedPush(PackedTransaction):
    """What one peer writes; see `stores.shared.SharedPush`."""

    def __init__(
        self,
        prefix: PackedPrefix,
        plan: Plan,
        mine: PackedSnapshot,
        writer: Writer,
        history: History,
        deletions: Deletions,
        *,
        is_strict: bool,
        warn: Callable[[str], None],
    ) -> None:
        super().__init__(prefix, plan, mine, writer, history, is_strict=is_strict, warn=warn)
        self._is_strict = is_strict
        self._deletions = deletions

    def keep_deleted(self, *, jobs: int) -> None:
        """See `SharedPush`."""
        self._deletions.keep(self._mine, going(self._plan), jobs=jobs)

    def publish(self) -> Published:
        """See `SharedPush`."""
        published = super().publish()
        self._deletions.published(self.tree)
        if self._is_strict:
            delete_needless(self._backend, self._left, self.left)
        return published

    def leave(self, path: str) -> None:
        """See `SharedPush`."""
        (left,) = (put for put in self._plan.puts if put.item.path == path)
        puts = tuple(put for put in self._plan.puts if put is not left)
        spared = self._plan.spared if left.old is None else (*self._plan.spared, left.old)
        self._plan = replace(self._plan, puts=puts, spared=spared)

    @property
    def tree(self) -> Tree:
        """See `SharedPush`."""
        if self.left is None:
            raise AssertionError("it was not published")
        return self.left.tree

    @property
    def manifest_packs(self) -> Collection[str]:
        """The packs with segments and root that it has written."""
        return self._publication.written
