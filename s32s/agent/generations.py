"""The generations of an entry whose prefix holds packs; see `earlier.EarlierGenerations`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from s32s.agent.advice import advises
from s32s.agent.earlier import Logged, bring_back, check_publishes, place_for, rules_for
from s32s.agent.roles.base import AgentContext, last_run, note_published
from s32s.agent.roles.writer import user, writer
from s32s.backends.base import Backend
from s32s.config.maps import Entry
from s32s.core import events
from s32s.core.errors import IntegrityError, NotFound, Refused
from s32s.core.events import Emit
from s32s.core.item import Kind
from s32s.core.plan import Plan
from s32s.core.role import Role
from s32s.core.tree import Tree
from s32s.format.generation import Root
from s32s.format.head import HEAD_KEY, MAX_HEAD, check_known
from s32s.replication.job import Outcome, RunContext
from s32s.stores.base import Body, Position, StoreCapabilities
from s32s.stores.local.store import LocalStore
from s32s.stores.objects.head_checks import check_not_lost
from s32s.stores.objects.memory import keeps_conditions
from s32s.stores.objects.packed import upkeep
from s32s.stores.objects.packed.heal import Healed, heal
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import History, root_of
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.packed.upkeep import Difference, Pruned, Rebuilt, Verified
from s32s.stores.objects.prefix import FoundHead, read_head
from s32s.stores.objects.publisher import Writer


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of one entry.

    Attributes:
        entry: its layout is "packed".
    """

    entry: Entry
    agent: AgentContext

    @advises
    def log(self) -> list[Logged]:
        """All that are kept, the newest first; nothing of a prefix to which nothing was pushed.

        Raises:
            Refused: the prefix is in the plain layout.
            StoreError, Unreachable, …
        """
        prefix = self._prefix
        found = prefix.read_head()
        if found.head is None or found.head.root is None:
            check_not_lost(prefix.backend, found)
            return []
        with prefix.needed():
            root = prefix.root(found.head.root)
        return [Logged(one.published, one.number == root.number) for one in root.generations(found.head.root)]

    @advises
    def diff(self, before: int | None = None, after: int | None = None) -> tuple[int, int, list[Difference]]:
        """What two generations do not have in common, and which they are.

        Args:
            before: by default the one before the current one.
            after: by default the current one.

        Raises:
            Refused: one of them is not kept.
        """
        prefix = self._prefix
        mine = self._snapshot(prefix)
        root = self._root(mine)
        if before is None:
            before = _before(root)
        after = root.number if after is None else after
        old, new = (self._tree(prefix, mine, number) for number in (before, after))
        return before, after, list(upkeep.differences(old, new))

    @advises
    def roll_back(self, number: int | None = None, *, message: str = "") -> tuple[Position, int]:
        """Publish what an earlier generation held as the next one; return where that stands, and which one it was.

        Args:
            number: by default the one before the current one.

        Raises:
            Refused: it is not kept, or this machine is not a master of the entry.
            Conflict: somebody else has published meanwhile.
        """
        with self._held("go back"):
            prefix = self._written
            mine = self._snapshot(prefix)
            root = self._root(mine)
            if number is None:
                number = _before(root)
            history = History(self.entry.keep, message or f"back to generation {number}", user())
            position = upkeep.roll_back(prefix, mine, number, self._writer(), history)
            if self.agent.settings.role is Role.MASTER:  # the folder of a peer follows at its next sync
                note_published(self.entry, Role.MASTER, self.agent, position)
            return position, number

    @advises
    def prune(self, *, keep: int | None = None, grace_s: float = upkeep.GRACE_S) -> Pruned:
        """Give up generations beyond `keep`, by default that of the entry, and delete what none needs; see `upkeep`.

        Raises:
            Conflict: somebody else has published meanwhile.
        """
        with self._held("prune"):
            prefix = self._written
            return upkeep.prune(
                prefix, self._snapshot(prefix), self._writer(), keep or self.entry.keep, grace_s=grace_s
            )

    @advises
    def verify(self, *, progress: Callable[[int], None] = lambda size: None) -> Verified:
        """Read every byte that a kept generation needs.

        Raises:
            IntegrityError: the manifest of the current generation cannot be read.
        """
        prefix = self._prefix
        return upkeep.verify(prefix, self._snapshot(prefix), progress=progress)

    @advises
    def heal(self, found: Verified, *, progress: Callable[[int], None] = lambda size: None) -> Healed:
        """Push again what `verify` has found to be damaged of the current generation, from this master's directory.

        Raises:
            Refused: this machine is not a master of the entry.
            Conflict: somebody else has published meanwhile.
        """
        with self._held("heal"):
            prefix = self._written
            history = History(self.entry.keep, user=user())
            mine = self._snapshot(prefix)
            healed = heal(prefix, mine, found.damaged, self._files, self._writer(), history, progress=progress)
            if healed.position is not None:
                note_published(self.entry, self.agent.settings.role, self.agent, healed.position)
            return healed

    def _files(self, wanted: Sequence[str]) -> Iterator[Body]:
        """Those of some files that the directory of this machine has."""
        root, rules = place_for(self.entry, self.agent, None), self.entry.rules()
        if self.agent.settings.role is Role.PEER:
            rules = rules.sparing_own()
        with LocalStore(root, rules=rules).open_source(target=StoreCapabilities(), again=False) as here:
            there = here.look().snapshot().tree
            items = (item for path in wanted if (item := there.get(path)) is not None and item.kind is Kind.FILE)
            yield from here.read(list(items), jobs=1, as_objects=False).bodies

    @advises
    def rebuild(self, *, tell: Callable[[int, int], None] = lambda done, of: None) -> Rebuilt:
        """Write the head again, by what the packs say.

        Raises:
            Refused: the head is there and whole, or there is no generation that is.
        """
        with self._held("rebuild"):
            prefix = self._prefix
            try:
                if read_head(prefix.backend).head is not None:
                    prefix.snapshot(prefix.read_head())
                    raise Refused(
                        f"the head of {prefix.backend.location} is there, and its generation can be read",
                        hint="there is nothing to rebuild",
                    )
            except (IntegrityError, NotFound):
                with contextlib.suppress(NotFound):
                    check_known(prefix.backend.read(HEAD_KEY, limit=MAX_HEAD)[0])
                # Nobody can use it as it is, and a condition on what cannot be read would be none.
                prefix.backend.delete([HEAD_KEY])
            return upkeep.rebuild(prefix, FoundHead(), self._writer(), tell=tell)

    @advises
    def restore(
        self,
        wanted: Sequence[str],
        *,
        number: int | None = None,
        to: str | None = None,
        emit: Emit = events.silent,
        stop: threading.Event | None = None,
        approve: Callable[[Plan], bool] = lambda plan: True,
    ) -> Outcome:
        """Bring files, or all that is below directories, back from a generation.

        Args:
            wanted: relative paths; "." is all of it.
            number: the generation; by default the current one.
            to: the directory that they come to; by default that of the entry on a master or in a shared folder.

        Raises:
            UsageError: the generation has no such path, or nothing says where to.
            Refused: a directory stands where a file should, or the other way round.
        """
        root = place_for(self.entry, self.agent, to)
        prefix = self._prefix
        mine = self._snapshot(prefix)
        number = self._root(mine).number if number is None else number
        rules = rules_for(wanted, self._tree(prefix, mine, number), number)
        source = PackedStore(self._backend, cache=self.agent.state.segments(), at=number)
        run = RunContext(
            self.entry.name, self.agent.settings.jobs, emit, stop=stop or threading.Event(), approve=approve
        )
        return bring_back(source, root, rules, self.agent, run, is_own=to is None)

    # -- what all of them need

    @property
    def _backend(self) -> Backend:
        return self.agent.services.backend(self.entry.location)

    @property
    def _prefix(self) -> PackedPrefix:
        return PackedPrefix(self._backend, cache=self.agent.state.segments())

    @property
    def _written(self) -> PackedPrefix:
        """The prefix, to be written."""
        prefix = self._prefix
        prefix.claims = self.entry.peer is not None and not keeps_conditions(prefix.backend)
        return prefix

    def _snapshot(self, prefix: PackedPrefix) -> PackedSnapshot:
        with prefix.needed():
            return prefix.snapshot(prefix.read_head())

    def _root(self, mine: PackedSnapshot) -> Root:
        if mine.root is None:
            check_not_lost(self._backend, mine.found)
            raise Refused(f"nothing has been pushed to {self.entry.s3} yet", hint="run s32s sync on the master")
        return mine.root

    def _tree(self, prefix: PackedPrefix, mine: PackedSnapshot, number: int) -> Tree:
        if mine.root is not None and mine.root.number == number:
            return mine.tree
        return prefix.generation(root_of(mine, number))[1]

    def _writer(self) -> Writer:
        last = last_run(self.entry, Role.MASTER, self.agent)
        return writer(self.agent.state, self.agent.host, generation=last.generation if last else 0)

    @contextmanager
    def _held(self, what: str) -> Iterator[None]:
        """Keep other runs of this machine out, on a machine that may publish at all.

        Raises:
            Refused: it may not.
        """
        check_publishes(self.entry, self.agent, what, by=(Role.MASTER, Role.PEER))
        with self.agent.state.lock(f"the push to {self.entry.s3}", hold=True):
            yield


def _before(root: Root) -> int:
    """The generation before the current one.

    Raises:
        Refused: there is none.
    """
    if not root.kept:
        raise Refused(f"generation {root.number:,} is the only one", hint='"keep" in the entry keeps more')
    return root.kept[0].number
