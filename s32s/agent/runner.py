"""Chosen entries by verb: the one function behind every front end.

An entry's failure stays its own: the next entry is done all the same, and the report says so. A signal ends the run.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from s32s.agent import catalog, hooks, messages, metrics
from s32s.agent.advice import advised
from s32s.agent.conclude import Kept, conclude
from s32s.agent.holds import Hold, hold_of, tell_strays
from s32s.agent.options import Options
from s32s.agent.report import Report, fold
from s32s.agent.roles.base import AgentContext, Task
from s32s.config.maps import Entry, MapSet
from s32s.core import events, paths
from s32s.core.errors import EntryFailed, Refused, S32sError, UsageError
from s32s.core.events import Emit
from s32s.core.merge import Merge
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.text import closest
from s32s.replication.checkpoints import Checkpoints
from s32s.replication.job import Outcome, RunContext
from s32s.system.rate_limit import RateLimiter

if TYPE_CHECKING:
    from s32s.agent.memories import Memories
    from s32s.replication.merge_job import Contents, Decide
    from s32s.stores.local.kept import KeptTree


_LOST = (
    "the memory of this machine was damaged, or of another version, and is begun again: "
    "which generation was followed is not known any more"
)


def run(
    agent: AgentContext,
    *,
    verb: Verb,
    names: Sequence[str] = (),
    role: Role | None = None,
    options: Options | None = None,
    update_maps: bool = False,
    loaded: MapSet | None = None,
    emit: Emit = events.silent,
    stop: threading.Event | None = None,
    approve: Callable[[str, Plan], bool] | None = None,
    decide: Callable[[str, Merge, Contents], Merge] | None = None,
) -> Report:
    """Do `verb` for the named entries, or for all that have this machine's role.

    Args:
        names: of entries; each must exist. One that does not have the role fails, and the others are done.
        role: instead of the configuration's.
        options: see `Options`.
        update_maps: fetch the maps first.
        loaded: maps to work from instead of the cached ones.
        emit: is told every fact of the run; may be called from several threads.
        stop: set it to end the run; see `Interrupted`.
        approve: asked with an entry's name and its plan before that is carried out.
        decide: of a shared folder: asked with an entry's name, its merge and what files hold; gives back what is to
            be done of it, by default all but the conflicts.

    Returns:
        How each entry ended. Failures are in there, not raised.

    Raises:
        UsageError: a name that no map has.
        ConfigError, MapError, StoreError, Unreachable: there are no maps to work from.
        Interrupted: raised by a signal handler; the entry's destination is as its promise says.
    """
    chosen_role = role or agent.settings.role
    rate = (options.bandwidth if options else None) or agent.settings.bandwidth
    rates = (RateLimiter(rate), RateLimiter(rate)) if rate else None
    _listen(agent, "maps", emit)
    if update_maps:
        loaded = catalog.update(agent.settings.maps, agent.state, agent.engine).maps
    elif loaded is None:
        loaded = catalog.load(agent.settings.maps, agent.state, agent.engine)
    if chosen_role is Role.SLAVE:
        tell_strays(loaded, agent.state, emit)
    ended = [
        run_entry(
            entry,
            loaded,
            agent,
            verb=verb,
            role=chosen_role,
            options=options or Options(),
            rates=rates,
            emit=emit,
            stop=stop,
            approve=approve,
            decide=decide,
        )
        for entry in choose(loaded, names, chosen_role)
    ]
    report = fold(ended, problems=loaded.problems)
    if verb.changes:
        problem = metrics.write(agent, loaded, chosen_role)
        if problem:
            emit(events.Warned("metrics", problem))
        if agent.settings.notify.url or agent.settings.notify.on_failure:
            from s32s.agent import notices  # it takes a while to load

            for problem in notices.send(agent.settings.notify, report):
                emit(events.Warned("notify", problem))
    return report


def run_entry(
    entry: Entry,
    loaded: MapSet,
    agent: AgentContext,
    *,
    verb: Verb,
    role: Role,
    options: Options,
    rates: tuple[RateLimiter, RateLimiter] | None = None,
    emit: Emit = events.silent,
    stop: threading.Event | None = None,
    approve: Callable[[str, Plan], bool] | None = None,
    decide: Callable[[str, Merge, Contents], Merge] | None = None,
    memories: Memories | None = None,
    back_to: KeptTree | None = None,
) -> events.EntryFinished:
    """Do `verb` for one entry.

    Args:
        loaded: all maps, since the places of the other entries count.
        rates: see `Task`.
        emit, stop, approve, decide: see `run`.
        memories: of a watch.
        back_to: of a slave: the earlier tree to go back to; without it, an entry that is held stays as it is.

    Raises:
        Interrupted: see `run`.
    """
    task = Task(
        entry,
        verb,
        options,
        others=places_of_others(entry, loaded, role),
        pushed=places_of_others(entry, loaded, Role.MASTER),
        rates=rates,
        memories=memories,
        back_to=back_to,
    )
    context = RunContext(
        entry.name,
        options.jobs or agent.settings.jobs,
        emit,
        Checkpoints(agent.state.checkpoint, agent.state.save_checkpoint),
        stop or threading.Event(),
        functools.partial(approve, entry.name) if approve else lambda plan: True,
    )
    _listen(agent, entry.name, emit)
    if agent.state.is_lost:
        agent.state.is_lost = False
        emit(events.Warned(entry.name, _LOST))
    if role is Role.SLAVE and back_to is None and (hold := hold_of(entry, agent.state)) is not None:
        return _leave(entry, hold, emit)
    return _run_entry(
        task, role, agent, context, functools.partial(decide, entry.name) if decide else _all_but_conflicts
    )


def _leave(entry: Entry, hold: Hold, emit: Emit) -> events.EntryFinished:
    """Leave an entry alone that somebody has taken back: the run goes well, unless the way back was cut off."""
    emit(events.EntryStarted(entry.name, *entry.direction(Role.SLAVE)))
    name = paths.word(entry.name)
    on, words = f"s32s release {name} lets it follow S3 again", hold.words_for(entry.name)
    error = None
    if not hold.is_done:
        error = EntryFailed(words, hint=f"s32s rollback {name} {hold.generation} goes on with it, {on}")
    held = "" if error else f"{words}; {on}"
    finished = events.EntryFinished(entry.name, None, 0.0, generation=hold.generation, error=error, held=held)
    emit(finished)
    return finished


def _listen(agent: AgentContext, entry: str, emit: Emit) -> None:
    agent.services.listen(lambda text: emit(events.Waiting(entry, text)))


def choose(loaded: MapSet, names: Sequence[str], role: Role) -> list[Entry]:
    """The entries to do, in the order of the maps, or of `names`.

    Args:
        names: of entries, or patterns of shells (fnmatch) for entries of this role.

    Raises:
        UsageError: a name that no entry has, or a pattern that none fits. An entry that is not meant for this role
            fails alone, when it is its turn.
    """
    mine = {entry.name: entry for entry in loaded.of(role)}
    if not names:
        return list(mine.values())
    known = {entry.name: entry for entry in loaded.entries}
    chosen: dict[str, Entry] = {}
    for name in names:
        if name in known:
            chosen[name] = known[name]
        elif any(char in name for char in "*?["):
            fitting = fnmatch.filter(mine, name)
            if not fitting:
                raise UsageError(f"no entry of the maps fits {paths.quote(name)}", hint="see s32s maps list")
            chosen |= {found: mine[found] for found in fitting}
        else:
            near = closest(name, mine)
            hint = f"; did you mean {paths.quote(near)}?" if near else ""
            folder = f"; the folder of that name is ./{paths.word(name)}" if os.path.isdir(name) else ""
            raise UsageError(
                f"there is no entry {paths.quote(name)} in the maps{hint}", hint=f"see s32s maps list{folder}"
            )
    return list(chosen.values())


def _all_but_conflicts(made: Merge, contents: Contents) -> Merge:
    return made


def _run_entry(
    task: Task, role: Role, agent: AgentContext, context: RunContext, decide: Decide
) -> events.EntryFinished:
    entry = task.entry

    def work() -> Outcome:
        with advised(entry, agent, role):
            _check(entry, role, agent)
            done = _do(entry.place(role) or "", task, role, agent, context, decide)
        messages.tell(messages.of_entry(entry, role, done), task.verb, task.options, context)
        return done

    def after(done: Outcome) -> None:
        if task.verb.changes:
            hooks.run(done, task, role, agent, context)

    is_part = bool(task.options.below) and role is not Role.MASTER
    # A way back that fails leaves the tree as it was, but for one that changes file by file.
    passing = () if task.back_to is None else (Refused,) if entry.apply == "in-place" else (S32sError,)
    kept = Kept(agent.state, role.value, *agent.settings.direction(entry, role), is_part, passing=passing)
    return conclude(
        work,
        context,
        after=after,
        kept=kept if task.verb.changes else None,
        places=agent.settings.direction(entry, role),
        position=lambda done: done.target if role is Role.MASTER else done.source,
        when_stopped=_when_stopped(task, role),
    )


def _check(entry: Entry, role: Role, agent: AgentContext) -> None:
    """Find what is wrong with an entry on this machine before anything is done.

    Raises:
        UsageError: it does not have the role.
        ConfigError: its command is not there.
    """
    if entry.place(role) is None:
        raise UsageError(f"the entry {paths.quote(entry.name)} has no {role.value}, so it is meant for other machines")
    hooks.check(entry, agent.settings, role)


def _when_stopped(task: Task, role: Role) -> str:
    """How things stand when a run was stopped before or outside of a change, as a clause."""
    if role is Role.MASTER and task.verb.changes:
        return "slaves follow the last published generation, and the next run continues"
    if role is Role.PEER and task.verb.changes:
        return "what was done stays, nothing else was touched, and the next run continues"
    if role is Role.MIRROR and task.verb.changes:
        return "what was copied stays, nothing was deleted, and the next run continues"
    return "the target is as it was"


def _do(place: str, task: Task, role: Role, agent: AgentContext, context: RunContext, decide: Decide) -> Outcome:
    match role:
        case Role.MASTER:
            from s32s.agent.roles.push import push  # each brings stores that the others do not need

            return push(place, task, agent, context)
        case Role.SLAVE:
            from s32s.agent.roles.pull import pull

            return pull(place, task, agent, context)
        case Role.MIRROR:
            from s32s.agent.roles.mirror import mirror

            return mirror(place, task, agent, context)
        case Role.PEER:
            from s32s.agent.roles.peer import peer

            return peer(place, task, agent, context, decide)


def places_of_others(entry: Entry, loaded: MapSet, role: Role) -> dict[str, str]:
    """What an entry may not touch, by the name of the other entry of a role: a prefix for who writes there, a directory
    for a slave."""
    others = [other for other in loaded.entries if other.name != entry.name and other.place(role) is not None]
    is_prefix = role in (Role.MASTER, Role.PEER)
    return {other.name: other.s3 if is_prefix else other.place(role) or "" for other in others}
