"""The way back on a slave: earlier trees that it keeps beside a target, and the hold that follows."""

from __future__ import annotations

import threading
from collections.abc import Callable

from s32s.agent import catalog, holds, runner
from s32s.agent.holds import Hold
from s32s.agent.options import Options
from s32s.agent.roles.base import AgentContext, last_run
from s32s.config.maps import Entry, MapSet
from s32s.core import events, paths
from s32s.core.errors import Refused, UsageError
from s32s.core.events import Emit, EntryFinished
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.text import number_words
from s32s.stores.local import kept
from s32s.stores.local.kept import KeptTree


def kept_trees(entry: Entry) -> list[KeptTree]:
    """The earlier trees of an entry's target, the newest first; none where it has no target here.

    Raises:
        Refused: the target cannot be reached, or what is kept was made by somebody else.
    """
    if entry.slave is None:
        return []
    return kept.kept_of(entry.slave, in_place=entry.apply == "in-place")[::-1]


def go_back(
    entry: Entry,
    loaded: MapSet,
    agent: AgentContext,
    *,
    generation: int | None = None,
    options: Options | None = None,
    emit: Emit = events.silent,
    stop: threading.Event | None = None,
    approve: Callable[[str, Plan], bool] | None = None,
) -> EntryFinished:
    """Bring an earlier tree back, without S3, and hold the entry there until it is released.

    Args:
        loaded, options, emit, stop, approve: see `runner.run_entry`.
        generation: by default the one before.

    Raises:
        Refused: it is not kept here.
    """
    wanted = _choose(entry, agent, generation)
    return runner.run_entry(
        entry,
        loaded,
        agent,
        verb=Verb.SYNC,
        role=Role.SLAVE,
        options=options or Options(),
        emit=emit,
        stop=stop,
        approve=approve,
        back_to=wanted,
    )


def release(name: str, agent: AgentContext) -> Hold:
    """Let an entry follow S3 again from its next sync; return the hold that ends. The maps need not name it any more.

    Raises:
        UsageError: it is not held.
    """
    hold = holds.hold_named(name, agent.state)
    if hold is None:
        loaded = catalog.cached_anywhere(agent.settings.maps, agent.state, agent.engine)
        entries = loaded.of(Role.SLAVE) if loaded is not None else []
        hold = next((holds.hold_of(entry, agent.state) for entry in entries if entry.name == name), None)
    if hold is None or not holds.end_hold(hold.entry or name, agent.state):
        held = [other.entry for other in holds.all_holds(agent.state)]
        raise UsageError(
            f"{paths.quote(name)} is not held",
            hint=f"held {'is' if len(held) == 1 else 'are'} {paths.some(held)}" if held else "no entry is",
        )
    return hold


def _choose(entry: Entry, agent: AgentContext, generation: int | None) -> KeptTree:
    found = kept_trees(entry)
    name = paths.quote(entry.name)
    if not found:
        raise Refused(
            f"no earlier tree of {name} is kept on this machine",
            hint="the next change keeps the tree of today"
            if agent.settings.keep
            else "keep = 2 in the configuration keeps the last two from then on; "
            f"s32s rollback {paths.word(entry.name)} on the master goes back for all machines",
        )
    if generation is None:
        last = last_run(entry, Role.SLAVE, agent)
        now = last.generation if last else 0
        if not now and holds.hold_of(entry, agent.state) is not None:
            raise Refused(
                f"nobody knows which tree of {name} was before the one that it is held at", hint=_kept_are(found)
            )
        # One of this generation is kept where a run has brought only a part of the next one.
        earlier = [tree for tree in found if not now or tree.generation <= now]
        if not earlier:
            raise Refused(f"no tree of {name} is kept from before generation {now:,}", hint=_kept_are(found))
        return earlier[0]
    for tree in found:
        if tree.generation == generation:
            return tree
    last = last_run(entry, Role.SLAVE, agent)
    if last is not None and last.generation == generation:
        raise Refused(f"generation {generation:,} of {name} is what is here now", hint=_kept_are(found))
    raise Refused(f"generation {generation:,} of {name} is not kept on this machine", hint=_kept_are(found))


def _kept_are(found: list[KeptTree]) -> str:
    return f"kept {'is' if len(found) == 1 else 'are'} {', '.join(number_words(tree.generation) for tree in found)}"
