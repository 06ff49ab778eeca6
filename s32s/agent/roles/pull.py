"""Role slave: from an S3 prefix to a local directory."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

from s32s.agent.roles.base import AgentContext, Task, check_pushed, last_run, source_prefix
from s32s.core.role import Role
from s32s.replication.job import Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.local.target_rules import TargetRules
from s32s.stores.objects.source import Follower


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
    )
    job = task.job(agent.settings, spare_ignored=False, check_source=check_pushed(task, Role.SLAVE, agent))
    begin = functools.partial(state.mark_pending, entry.name, Role.SLAVE.value, needed=entry.after is not None)
    return replicate(source_prefix(task, agent, follower), target, job, replace(run, begin=begin))


def _is_due(listed_s: float | None, every_s: float) -> bool:
    """Whether manifest and objects are to be compared; a clock that was set back does not postpone that forever."""
    return every_s != float("inf") and (listed_s is None or not 0 <= time.time() - listed_s < every_s)
