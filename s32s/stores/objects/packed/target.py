"""A packed prefix as the target of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from s32s.core import cures
from s32s.core.errors import Refused
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.format import manifest, packs
from s32s.stores.base import Look, Policy, Progress, Published, Snapshot, Transaction
from s32s.stores.objects.head_checks import warn_of_other_writer, warn_of_return
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.roots import roots_in, stored_packs, without_head
from s32s.stores.objects.packed.transaction import PackedTransaction
from s32s.stores.objects.prefix import FoundHead
from s32s.stores.objects.publisher import Writer

if TYPE_CHECKING:
    from s32s.stores.objects.memory import PrefixMemory


class PackedTarget:
    """A packed prefix that is open for writing; see `stores.base.Target`.

    Args:
        writer: who publishes.
        history: what is said of the push, and how much is kept.
        warn: told what people should know and stops nothing.
        memory: of a watch.
    """

    def __init__(
        self,
        prefix: PackedPrefix,
        writer: Writer,
        history: History,
        *,
        warn: Callable[[str], None],
        memory: PrefixMemory | None = None,
    ) -> None:
        self._prefix = prefix
        self._writer = writer
        self._history = history
        self._warn = warn
        self._memory = memory
        self._looked = False
        self._left: PackedSnapshot | None = None

    def look(self) -> Look[PackedSnapshot]:
        """The head; nothing else is ever changed there. A watch does not even ask for that: its push finds out.

        Raises:
            Refused: the head is lost.
        """
        known = self._memory
        if known is not None and self._looked:
            known.forget()
        self._looked = True
        if known is not None and (mine := known.packed) is not None:
            return Look(lambda: None, lambda: mine, mine.position, lambda: mine.tree)
        with self._prefix.named():
            found = self._prefix.read_head()
            headless = self._without_head() if found.head is None else None
        warn_of_other_writer(found, self._writer, self._prefix.backend.location, self._warn)
        position = found.position._replace(note="")
        return Look(
            lambda: position.manifest,
            lambda: headless or self._snapshot(found),
            position,
            lambda: (headless or self._snapshot(found)).tree,
        )

    def refine(self, mine: PackedSnapshot, *, against: Snapshot, jobs: int, progress: Progress) -> PackedSnapshot:
        """See `stores.base.Target`; every hash is known."""
        mine.tree.share_paths(against.tree)
        return mine

    def check(self, mine: PackedSnapshot, plan: Plan, wanted: Tree) -> None:
        """See `stores.base.Target`.

        Raises:
            Refused: there are too many paths.
        """
        if not (plan.is_empty and mine.is_published):
            manifest.check_size(wanted)
        if mine.found.head is None and not self._prefix.backend.capabilities.conditional_put:
            self._warn("the target has no conditional writes: let one computer alone write there")

    def check_changeable(self) -> None:
        """See `stores.base.Target`; the head finds out."""

    @contextlib.contextmanager
    def transaction(self, mine: PackedSnapshot, plan: Plan, policy: Policy) -> Iterator[Transaction]:
        """Open a push. Left early, nothing has happened but that some packs are there which nobody names."""
        warn_of_return(mine.found, self._writer, self._prefix.backend.location, self._warn)
        known = self._memory
        is_strict = known is not None and known.is_strict(self._prefix.backend)
        if known is not None:
            known.forget()  # unless all ends well, nobody knows what the prefix holds
        opened = PackedTransaction(
            self._prefix, plan, mine, self._writer, self._history, is_strict=is_strict, warn=self._warn
        )
        yield opened
        if known is not None:
            self._left = opened.left

    def remember(self, mine: PackedSnapshot, plan: Plan, published: Published | None) -> None:
        """Let a watch know what the prefix holds now; see `stores.base.Target`."""
        if self._memory is None:
            return
        left = mine if published is None else self._left
        if left is not None and left.root is not None:
            self._memory.keep(left.found, left.tree, left)

    def _without_head(self) -> PackedSnapshot:
        """What is there where there is no head: nothing, or what a first push that died has left.

        Raises:
            Refused: the head is lost, and nobody has asked for a new history.
        """
        me, place = self._writer, self._prefix.backend.location
        stored = stored_packs(self._prefix.backend)
        if me.take_over:
            # Servers follow no lower number, and a head that is lost once more is looked for from the highest on.
            numbers = (root.number for root, _ in roots_in(self._prefix, stored))
            self._writer = me._replace(generation=max([me.generation, *numbers]))
            return self._prefix.snapshot(FoundHead())
        if me.generation:
            gone = "" if stored else ", and so are its packs"
            raise Refused(
                f"the head of {place} is gone{gone}; this machine has published generation {me.generation:,} there",
                hint=f"{f'{cures.REBUILD}; ' if stored else ''}s32s sync --take-over begins a new history",
            )
        ours = {packs.key_of(pack) for pack in self._prefix.cache.unfinished(place)}  # of pushes that died; no roots
        return without_head(self._prefix, roots_in(self._prefix, (one for one in stored if one.key not in ours)))

    def _snapshot(self, found: FoundHead) -> PackedSnapshot:
        with self._prefix.named(), self._prefix.needed():
            return self._prefix.snapshot(found)
