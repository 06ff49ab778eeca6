"""Earlier generations of an entry, whatever its layout: what there is, what has changed, and the way back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from s32s.agent.options import Options
from s32s.agent.roles.base import AgentContext
from s32s.config.maps import Entry, MapSet
from s32s.core import cures, events, paths
from s32s.core.errors import Refused, UsageError
from s32s.core.events import Emit
from s32s.core.guards import Limits
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.rules import EVERYTHING, Rules, compile_rules
from s32s.core.text import count
from s32s.core.tree import Tree
from s32s.format.generation import Published
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Position, Readable
from s32s.stores.local.store import LocalStore
from s32s.stores.local.target_rules import TargetRules
from s32s.stores.objects.packed.upkeep import Difference


class Logged(NamedTuple):
    """A generation.

    Attributes:
        is_current: whether the prefix holds it now.
        is_counted: whether what it has changed is known, and by whom; an older s32s has left that out of plain heads.
    """

    published: Published
    is_current: bool
    is_counted: bool = True


class EarlierGenerations(Protocol):
    """The generations of one entry."""

    def log(self) -> list[Logged]:
        """All that are there, the newest first; nothing of a prefix to which nothing was pushed.

        Raises:
            WrongLayout: the prefix is in the other layout.
            NoHistory: it keeps none.
            StoreError, Unreachable, …
        """
        ...

    def diff(self, before: int | None = None, after: int | None = None) -> tuple[int, int, list[Difference]]:
        """What two generations do not have in common, and which they are.

        Args:
            before: by default the one before the current one.
            after: by default the current one.

        Raises:
            Refused: one of them is not there.
        """
        ...

    def roll_back(self, number: int | None = None, *, message: str = "") -> tuple[Position, int]:
        """Publish what an earlier generation held as the next one; return where that stands, and which one it was.

        Args:
            number: by default the one before the current one.

        Raises:
            Refused: it is not there, or this machine is not a master of the entry; nothing was touched.
            Conflict: somebody else has published meanwhile.
        """
        ...

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
        ...


def earlier_generations(
    entry: Entry, agent: AgentContext, maps: MapSet, options: Options | None = None
) -> EarlierGenerations:
    """Those of an entry, by its layout.

    Args:
        maps: all of them, since the places of the other entries count.
        options: of a push.
    """
    if entry.is_packed:
        from s32s.agent.generations import Generations

        return Generations(entry, agent)
    from s32s.agent.plain_generations import PlainGenerations

    return PlainGenerations(entry, agent, maps, options or Options())


# -- what both layouts need


def check_publishes(entry: Entry, agent: AgentContext, what: str, *, by: Collection[Role] = (Role.MASTER,)) -> None:
    """Make sure that this machine may publish.

    Args:
        what: it is to do.
        by: the roles that may.

    Raises:
        Refused: it is not a master of the entry.
    """
    if agent.settings.role not in by or entry.place(agent.settings.role) is None:
        raise Refused(
            f"only a master of {paths.quote(entry.name)} can {what}, and this machine is a {agent.settings.role.value}",
            hint={"heal": cures.HEAL, "rebuild": cures.REBUILD}.get(what, "run it on the master"),
        )


def place_for(entry: Entry, agent: AgentContext, to: str | None) -> str:
    """The directory that files come back to.

    Args:
        to: what was asked for.

    Raises:
        UsageError: this machine has a copy, and nothing was asked for.
    """
    if to:
        return to
    match agent.settings.role:
        case Role.MASTER if entry.master is not None:
            return entry.master
        case Role.PEER if entry.peer is not None:
            from s32s.agent.roles.peer import folder_of

            return folder_of(entry.name, entry.peer, agent.settings.peer.folders)
    raise UsageError(
        f"{paths.quote(entry.name)} is a copy on this machine, and its next sync would undo this",
        hint="name a directory with --to DIR",
    )


def rules_for(wanted: Sequence[str], tree: Tree, number: int) -> Rules:
    """What takes part where some paths of a generation are wanted.

    Args:
        wanted: relative paths; "." is all of it.

    Raises:
        UsageError: it has not got one of them.
    """
    files: list[str] = []
    for text in wanted:
        path = text.removeprefix("./").rstrip("/")
        if path in ("", "."):
            return EVERYTHING
        found = [item.path for item in tree.within(path)]
        if not found:
            raise UsageError(f"generation {number:,} has no {paths.quote(path)}", hint="see s32s diff NAME")
        files += found
    return compile_rules(files=files)


def bring_back(
    source: Readable[Any], root: str, rules: Rules, agent: AgentContext, run: RunContext, *, is_own: bool
) -> Outcome:
    """Bring what takes part of a generation into a directory, and leave everything else there as it is.

    Args:
        is_own: whether it is that of the entry.

    Raises:
        UsageError: the directory cannot be made.
        Refused: a directory stands where a file should, or the other way round.
    """
    try:
        os.makedirs(root, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{paths.escape(root)} cannot be made: {exc.strerror}") from exc
    target = LocalStore(
        os.path.realpath(root),
        may_write=TargetRules(
            allow=("/",),
            kept=[str(path) for path in agent.state.directories],
            homes=frozenset(),
            allow_system=is_own or agent.settings.allow_system,
        ),
        in_place=True,
    )

    def placed(plan: Plan) -> bool:
        _check_placed(plan)
        return run.approve(plan)

    # A copy deletes nothing, so there is nothing to limit.
    job = Job(Verb.COPY, rules, Limits(agent.settings.max_delete, force=True), allow_links=("/",))
    outcome = replicate(source, target, job, replace(run, approve=placed))
    _check_placed(outcome.plan)  # of a plan that holds nothing else, nobody was asked
    return outcome


def _check_placed(plan: Plan) -> None:
    """Refuse what has no place where it is to go.

    Raises:
        Refused: names each path, and why.
    """
    if plan.rejected:
        reasons = {one.path: one.reason for one in plan.rejected}
        raise Refused(
            f"{count(len(reasons), 'path')} cannot be restored there:{paths.listed(reasons)}",
            hint="move away what is there, or bring them elsewhere with --to DIR",
            reasons=reasons,
        )
