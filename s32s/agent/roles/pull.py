"""Role slave: from an S3 prefix to a local directory."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from s32s.agent import kept_room
from s32s.agent.roles.base import AgentContext, Task, check_pushed, last_run, source_prefix
from s32s.agent.roles.writer import user
from s32s.core.errors import EntryFailed, Locked, Refused
from s32s.core.guards import Limits
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.rules import EVERYTHING
from s32s.core.text import tree_words
from s32s.replication.checkpoints import Checkpoints
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.local.target_rules import TargetRules
from s32s.stores.objects.source import Follower

if TYPE_CHECKING:
    from s32s.stores.local.kept import KeptTree


def pull(root: str, task: Task, agent: AgentContext, run: RunContext) -> Outcome:
    """Make the directory `root` what the entry's prefix holds, or plan it.

    Raises:
        S32sError: the target is as it was.
    """
    entry, state, verify = task.entry, agent.state, task.options.verify
    last = last_run(entry, Role.SLAVE, agent)
    follower = Follower(
        last.generation if last else 0,
        accepts_older=task.options.accept_older,
        compares=verify or _is_due(last.listed_s if last else None, agent.settings.list_every_s),
        waits=not task.verb.changes,
    )
    may_write = TargetRules(
        allow=agent.settings.allow,
        kept=[str(path) for path in state.directories],
        homes=agent.homes,
        others=task.others,
        allow_system=agent.settings.allow_system,
    )
    target = LocalStore(
        root,
        may_write=may_write,
        in_place=entry.apply == "in-place",
        # A run that reads every file still has to know which times the file system could not keep.
        load_cache=lambda: StatCache(state.stat_cache(root).meant().items()) if verify else state.stat_cache(root),
        save_cache=lambda cache: state.save_stat_cache(root, cache),
        warn=run.warn,
        memory=task.memories.target_dir if task.memories is not None else None,
        keeps=(last.generation if last else 0) if agent.settings.keep else None,
    )
    places = entry.direction(Role.SLAVE)
    begin = functools.partial(state.mark_pending, entry.name, Role.SLAVE.value, *places, needed=entry.after is not None)
    run = replace(run, begin=begin)
    if task.back_to is not None:
        return _go_back(task.back_to, target, task, agent, run)
    job = task.job(agent.settings, spare_ignored=False, check_source=check_pushed(task, Role.SLAVE, agent))
    source = source_prefix(task, agent, follower)
    if task.verb.changes:
        kept_room.give_up(target, agent.settings.keep, run)
    with kept_room.helped(target, entry.name):
        done = replicate(source, target, job, run)
    if task.verb.changes:
        follows, brought = last.generation if last else 0, done.source.generation
        # Where a run brings only a part of another generation, the tree of none is live.
        _prune(target, brought if not task.options.below or brought == follows else 0, done.plan, agent, run)
    return done


def _go_back(record: KeptTree, target: LocalStore, task: Task, agent: AgentContext, run: RunContext) -> Outcome:
    """Bring an earlier tree of the target back, and hold the entry there.

    The hold comes first: a timer that fires in between must not undo what was asked for.
    """
    from s32s.agent import holds
    from s32s.stores.local.kept_source import KeptStore

    entry, state = task.entry, agent.state
    before = holds.hold_of(entry, state)
    hold = holds.Hold(entry.name, record.generation, time.time(), user(), is_done=False, target=entry.slave or "")
    holds.save_hold(hold, state)
    lost: list[str] = []
    source = KeptStore(target, record, is_partial=task.options.partial, warn=lost.append)
    limits = Limits(agent.settings.max_delete, force=task.options.force_delete)
    job = Job(Verb.SYNC, EVERYTHING, limits, verify=task.options.verify, allow_links=("/",))
    try:
        # What the two are to a checkpoint they are not at the next run.
        kept_room.give_up(target, agent.settings.keep, run, wanted=record)
        with kept_room.helped(target, entry.name, wanted=record):
            done = replicate(source, target, job, replace(run, checkpoints=Checkpoints()))
        if lost and not done.changed:
            raise EntryFailed(f"nothing of {tree_words(record.generation)} could be brought back; {lost[-1]}")
        for text in lost[-1:]:
            run.warn(text)
    except BaseException:
        if before is None or before.entry != entry.name:
            holds.end_hold(entry.name, state)
        else:
            holds.save_hold(before, state)
        raise
    holds.save_hold(replace(hold, is_done=True), state)
    if before is not None and before.entry != entry.name:
        holds.end_hold(before.entry, state)
    _prune(target, record.generation, done.plan, agent, run, back=record)
    return done


def _prune(
    target: LocalStore,
    generation: int,
    plan: Plan,
    agent: AgentContext,
    run: RunContext,
    *,
    back: KeptTree | None = None,
) -> None:
    """Give up the earlier trees that are too many by now; what does not go now goes with the next run."""
    from s32s.stores.local import pruning

    try:
        pruning.prune(
            target.location,
            in_place=target.in_place,
            keep=agent.settings.keep,
            generation=generation,
            back=back,
            live=functools.partial(live_of, plan),
        )
    except Locked:
        pass
    except (Refused, EntryFailed) as exc:
        run.warn(f"earlier trees could not be given up: {exc}")


def live_of(plan: Plan, contents: Collection[str]) -> set[str]:
    """Which of some contents, by SHA-256, a target is known to hold after a plan."""
    items = *(put.item for put in plan.puts), *plan.spared, *plan.unchanged.holding(contents)
    return {item.sha256 for item in items if item.sha256 and item.sha256 in contents}


def _is_due(listed_s: float | None, every_s: float) -> bool:
    """Whether manifest and objects are to be compared; a clock that was set back does not postpone that forever."""
    return every_s != float("inf") and (listed_s is None or not 0 <= time.time() - listed_s < every_s)
