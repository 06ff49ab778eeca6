"""The generations of an entry whose prefix holds packs: what there is, what has changed, and the way back."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from s32s.agent.roles.base import AgentContext, last_run
from s32s.agent.roles.peer import folder_of
from s32s.agent.roles.writer import user, writer
from s32s.backends.base import Backend
from s32s.config.maps import Entry
from s32s.core import events, paths
from s32s.core.errors import IntegrityError, NotFound, Refused, UsageError
from s32s.core.events import Emit
from s32s.core.guards import Limits
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.rules import compile_rules
from s32s.core.tree import Tree
from s32s.format.generation import Published, Root
from s32s.format.head import HEAD_KEY, MAX_HEAD, check_known
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Position
from s32s.stores.local.store import LocalStore
from s32s.stores.local.target_rules import TargetRules
from s32s.stores.objects.memory import keeps_conditions
from s32s.stores.objects.packed import upkeep
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import History, root_of
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.packed.upkeep import Difference, Pruned, Rebuilt, Verified
from s32s.stores.objects.prefix import FoundHead, read_head
from s32s.stores.objects.publisher import Writer


class Logged(NamedTuple):
    """A generation, and whether it is the current one."""

    published: Published
    is_current: bool


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of one entry.

    Attributes:
        entry: its layout is "packed".
    """

    entry: Entry
    agent: AgentContext

    def log(self) -> list[Logged]:
        """All that are kept, the newest first; nothing of a prefix to which nothing was pushed.

        Raises:
            Refused: the prefix is in the plain layout.
            StoreError, Unreachable, …
        """
        prefix = self._prefix
        found = prefix.read_head()
        if found.head is None or found.head.root is None:
            return []
        root = prefix.root(found.head.root)
        return [Logged(root.published, True), *(Logged(one.published, False) for one in root.kept)]

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
            return upkeep.roll_back(prefix, mine, number, self._writer(), history), number

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

    def verify(self, *, progress: Callable[[int], None] = lambda size: None) -> Verified:
        """Read every byte that a kept generation needs.

        Raises:
            IntegrityError: the manifest of the current generation cannot be read.
        """
        prefix = self._prefix
        return upkeep.verify(prefix, self._snapshot(prefix), progress=progress)

    def heal(self, found: Verified, emit: Emit, stop: threading.Event) -> Outcome:
        """Push again what `verify` has found to be damaged, from the directory of this master.

        Raises:
            Refused: this machine is not a master of the entry.
        """
        entry, root = self.entry, self.entry.master or ""
        if self.agent.settings.role is not Role.MASTER:
            raise Refused(
                f"what is damaged in {paths.quote(entry.name)} cannot be pushed again from here",
                hint="only the directory of a master is pushed as a whole",
            )
        with self._held("heal"):
            source = LocalStore(root, rules=entry.rules())
            target = PackedStore(
                self._backend,
                cache=self.agent.state.segments(),
                writer=self._writer(),
                history=History(entry.keep, "what was damaged is pushed again", user()),
                damaged=found.damaged,
            )
            job = Job(Verb.SYNC, entry.rules(), Limits(self.agent.settings.max_delete), spare_ignored=True)
            return replicate(source, target, job, self._context(emit, stop))

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
            wanted: relative paths.
            number: the generation; by default the current one.
            to: the directory that they come to; by default that of the entry on a master or in a shared folder.

        Raises:
            UsageError: the generation has no such path, or nothing says where to.
        """
        root = to or (self._place if self._writes_there else None)
        if root is None:
            raise UsageError(
                f"{paths.quote(self.entry.name)} is a copy on this machine, and its next sync would undo this",
                hint="name a directory with --to DIR",
            )
        prefix = self._prefix
        mine = self._snapshot(prefix)
        number = self._root(mine).number if number is None else number
        tree = self._tree(prefix, mine, number)
        files: list[str] = []
        for text in wanted:
            path = text.removeprefix("./").rstrip("/")
            found = [item.path for item in tree.within(path)]
            if not found:
                raise UsageError(f"generation {number:,} has no {paths.quote(path)}", hint="see s32s diff")
            files += found
        try:
            os.makedirs(root, exist_ok=True)
        except OSError as exc:
            raise UsageError(f"{paths.escape(root)} cannot be made: {exc.strerror}") from exc
        target = LocalStore(
            os.path.realpath(root),
            may_write=TargetRules(
                allow=("/",),
                kept=[str(path) for path in self.agent.state.directories],
                homes=frozenset(),
                allow_system=to is None or self.agent.settings.allow_system,
            ),
            in_place=True,
        )
        source = PackedStore(self._backend, cache=self.agent.state.segments(), at=number)
        rules = compile_rules(files=files)
        job = Job(Verb.COPY, rules, Limits(self.agent.settings.max_delete), allow_links=("/",))
        return replicate(source, target, job, self._context(emit, stop or threading.Event(), approve))

    # -- what all of them need

    @property
    def _writes_there(self) -> bool:
        role = self.agent.settings.role
        return role in (Role.MASTER, Role.PEER) and self.entry.place(role) is not None

    @property
    def _place(self) -> str | None:
        """The directory of the entry on this machine."""
        entry, settings = self.entry, self.agent.settings
        if settings.role is Role.PEER and entry.peer is not None:
            return folder_of(entry.name, entry.peer, settings.peer.folders)
        return entry.place(settings.role)

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
        return prefix.snapshot(prefix.read_head())

    def _root(self, mine: PackedSnapshot) -> Root:
        if mine.root is None:
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
        if not self._writes_there:
            raise Refused(
                f"only a master of {paths.quote(self.entry.name)} can {what}, and this machine is a "
                f"{self.agent.settings.role.value}",
                hint="run it on the master",
            )
        with self.agent.state.lock(f"the push to {self.entry.s3}", hold=True):
            yield

    def _context(
        self, emit: Emit, stop: threading.Event, approve: Callable[[Plan], bool] = lambda plan: True
    ) -> RunContext:
        return RunContext(self.entry.name, self.agent.settings.jobs, emit, stop=stop, approve=approve)


def _before(root: Root) -> int:
    """The generation before the current one.

    Raises:
        Refused: there is none.
    """
    if not root.kept:
        raise Refused(f"generation {root.number:,} is the only one", hint='"keep" in the entry keeps more')
    return root.kept[0].published.number
