"""Chosen entries by verb: the one function behind every front end.

An entry's failure stays its own: the next entry is done all the same, and the report says so. A signal ends the run.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from s32s.agent import catalog, hooks, metrics
from s32s.agent.report import Report, fold
from s32s.agent.results import INTERRUPTED, Result
from s32s.agent.roles.base import AgentContext, Options, Task
from s32s.config.maps import Entry, MapSet
from s32s.core import events, paths
from s32s.core.errors import Declined, EntryFailed, Interrupted, Locked, OutOfTime, S32sError, UsageError
from s32s.core.events import Emit
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.summary import summary
from s32s.core.text import closest
from s32s.replication.checkpoints import Checkpoints
from s32s.replication.job import Outcome, RunContext
from s32s.stores.base import NOWHERE, Position
from s32s.system.rate_limit import RateLimiter


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
    chosen = choose(loaded, names, chosen_role)
    ended: list[events.EntryFinished] = []
    for entry in chosen:
        others = [other for other in loaded.entries if other.name != entry.name]
        task = Task(
            entry,
            verb,
            options or Options(),
            others={
                other.name: _exclusive_place(other, chosen_role)
                for other in others
                if other.place(chosen_role) is not None
            },
            pushed={other.name: other.s3 for other in others if other.master is not None},
            rates=rates,
        )
        context = RunContext(
            entry.name,
            task.options.jobs or agent.settings.jobs,
            emit,
            Checkpoints(agent.state.checkpoint, agent.state.save_checkpoint),
            stop or threading.Event(),
            functools.partial(approve, entry.name) if approve else lambda plan: True,
        )
        _listen(agent, entry.name, emit)
        ended.append(_run_entry(task, chosen_role, agent, context))
    if verb.changes:
        problem = metrics.write(agent, loaded, chosen_role)
        if problem:
            emit(events.Warned("metrics", problem))
    return fold(ended, problems=loaded.problems)


def _listen(agent: AgentContext, entry: str, emit: Emit) -> None:
    for engine in (agent.engine, agent.mirror_engine):
        engine.listen(lambda text: emit(events.Waiting(entry, text)))


def choose(loaded: MapSet, names: Sequence[str], role: Role) -> list[Entry]:
    """The entries to do, in the order of the maps, or of `names`.

    Raises:
        UsageError: a name that no entry has. An entry that is not meant for this role fails alone, when it is its turn.
    """
    mine = {entry.name: entry for entry in loaded.of(role)}
    if not names:
        return list(mine.values())
    known = {entry.name: entry for entry in loaded.entries}
    chosen: list[Entry] = []
    for name in dict.fromkeys(names):
        if name in known:
            chosen.append(known[name])
        else:
            near = closest(name, mine)
            hint = f"; did you mean {paths.quote(near)}?" if near else ""
            raise UsageError(f"there is no entry {paths.quote(name)} in the maps{hint}", hint="see s32s maps list")
    return chosen


def _run_entry(task: Task, role: Role, agent: AgentContext, context: RunContext) -> events.EntryFinished:
    entry = task.entry
    place = entry.place(role) or ""
    source, target = entry.direction(role)
    context.emit(events.EntryStarted(entry.name, source, target))
    began, started_s = time.monotonic(), time.time()
    done: Outcome | None = None
    error: S32sError | None = None
    try:
        _check(entry, role, agent)
        with agent.state.running(entry.name, role.value) if task.verb.changes else contextlib.nullcontext():
            done = _do(place, task, role, agent, context)
            if task.verb.changes:
                hooks.run(done, task, role, agent, context)
    except Interrupted as exc:
        # 0: a worker or a pause noticed the stop; the caller who set it knows the signal and raises on its own.
        if not context.stop.is_set():
            raise
        exc.hint = exc.hint or _when_stopped(task, role)
        error = exc
    except S32sError as exc:
        error = exc
    except OSError as exc:
        name = f" ({paths.escape(str(exc.filename))})" if exc.filename else ""
        error = EntryFailed(f"{exc.strerror or exc}{name}")
        error.__cause__ = exc
    except Exception as exc:
        # The next entries are still done. What comes here is a mistake of ours, and says so.
        error = EntryFailed(f"unexpected {type(exc).__name__}: {paths.escape(str(exc))}", hint=_REPORT_IT)
        error.__cause__ = exc
    seconds = time.monotonic() - began
    finished = events.EntryFinished(
        entry.name,
        plan=done.plan if done else None,
        seconds=seconds,
        due=bool(done and done.due),
        changed=bool(done and done.changed),
        generation=_position(done, role).generation,
        error=error,
        fingerprint=done.fingerprint if done else "",
    )
    # What did not come to its turn says nothing of the entry; least of all may it hide how the run that holds the lock
    # ends, or has ended.
    if task.verb.changes and not isinstance(error, Declined | Locked | UsageError):
        _save(finished, done, (source, target), role, agent, started_s=started_s)
    if done and done.note and error is None:
        context.emit(events.Warned(entry.name, done.note))
    context.emit(finished)
    if isinstance(error, Interrupted):
        raise error
    return finished


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
        return "slaves follow the last published generation, and the next run goes on"
    if role is Role.MIRROR and task.verb.changes:
        return "what was copied stays, nothing was deleted, and the next run goes on"
    return "the target is as it was"


_REPORT_IT = "please report it with the output of S32S_DEBUG=1"


def _do(place: str, task: Task, role: Role, agent: AgentContext, context: RunContext) -> Outcome:
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


def _position(done: Outcome | None, role: Role) -> Position:
    """Where an entry stands after a run: a master by what it publishes, all others by what they follow."""
    if done is None:
        return NOWHERE
    return done.target if role is Role.MASTER else done.source


def _save(
    finished: events.EntryFinished,
    done: Outcome | None,
    places: tuple[str, str],
    role: Role,
    agent: AgentContext,
    *,
    started_s: float,
) -> None:
    last = agent.state.result(finished.entry, role.value)
    if last is not None and not last.ran_between(*places):
        # What is known of other places says nothing of these; only a command that is owed stays owed.
        last = Result(last.time_s, last.ok, last.status, last.text, pending=last.pending)
    now = time.time()
    ok = finished.error is None
    agent.state.save_result(
        finished.entry,
        role.value,
        Result(
            time_s=now,
            ok=ok,
            status=_status(finished.error),
            text=str(finished.error) if finished.error else summary(finished),
            success_s=now if ok else (last.success_s if last else None),
            generation=finished.generation if done else (last.generation if last else 0),
            manifest=_position(done, role).manifest if done else (last.manifest if last else ""),
            listed_s=started_s if done and done.is_listed else (last.listed_s if last else None),
            # Still owed when the command failed, or when the run died after the change.
            pending=bool(last and last.pending and not ok),
            source=places[0],
            target=places[1],
            **_amounts(finished, last),
        ),
    )


def _amounts(finished: events.EntryFinished, last: Result | None) -> dict[str, Any]:
    """What a run has moved, for metrics."""
    plan = finished.plan
    amounts: dict[str, Any] = {"seconds": finished.seconds}
    if plan is None or not finished.changed:
        return amounts
    # Where the source stood still, whatever had to be done was drift at the destination.
    stood_still = last is not None and last.generation > 0 and last.generation == finished.generation
    return amounts | {
        "files": plan.bodies,
        "size": plan.size,
        "deletions": plan.deletions,
        "drift": len(plan.puts) + len(plan.extras) if stood_still else 0,
    }


def _status(error: S32sError | None) -> int:
    if isinstance(error, Interrupted) and not isinstance(error, OutOfTime):
        return INTERRUPTED
    return error.exit_status if error is not None else 0


def _exclusive_place(entry: Entry, role: Role) -> str:
    """What no other entry of this role may touch: a prefix for master and mirror, a directory for a slave."""
    return entry.s3 if role is Role.MASTER else entry.place(role) or ""
