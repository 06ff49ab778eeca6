"""Role master: from a local directory to an S3 prefix."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

from s32s.agent.advice import by_name
from s32s.agent.roles.base import AgentContext, Task, last_run
from s32s.agent.roles.writer import writer
from s32s.core import paths
from s32s.core.errors import Refused
from s32s.core.location import Location, parse_place
from s32s.core.role import Role
from s32s.replication.job import Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Writable
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.objects.store import ObjectStore


def push(root: str, task: Task, agent: AgentContext, run: RunContext) -> Outcome:
    """Make the entry's prefix what the directory `root` holds, or plan it.

    Raises:
        S32sError: what was uploaded so far is there, but no manifest names it and nothing was deleted.
    """
    entry, state = task.entry, agent.state
    check_prefix(entry.location, task, agent)
    if not os.path.isabs(root):
        raise Refused(f"{paths.escape(root)} is a path of another system", hint="run this entry on its own machine")
    source = LocalStore(
        root,
        rules=task.rules,
        load_cache=lambda: StatCache() if task.options.verify else state.stat_cache(root),
        save_cache=lambda cache: state.save_stat_cache(root, cache),
        memory=task.memories.source_dir if task.memories is not None else None,
    )
    return replicate(source, pushed(task, agent, run), task.job(agent.settings, spare_ignored=True), run)


def pushed(task: Task, agent: AgentContext, run: RunContext, *, of: int = 0) -> Writable[Any]:
    """The entry's prefix as what a master writes.

    Args:
        of: in the plain layout, the earlier generation whose content is published once more.
    """
    entry, state = task.entry, agent.state
    last = last_run(entry, Role.MASTER, agent)
    backend = task.backend(agent, entry.location)
    me = writer(agent.state, agent.host, task.options, generation=last.generation if last else 0)

    memory = task.memories.target if task.memories is not None else None

    def lock(writable: bool) -> AbstractContextManager[None]:
        return state.lock(f"the push to {entry.s3}", hold=writable)

    if entry.is_packed:
        from s32s.agent import packed_places

        return packed_places.written(
            backend,
            state,
            me,
            keep=entry.keep,
            message=task.options.message,
            lock=lock,
            warn=run.warn,
            memory=memory,
        )
    return ObjectStore(
        backend,
        rules=task.rules,
        has_manifest=entry.manifest,
        manifests=state.manifests(),
        writer=me._replace(of=of),
        lock=lock,
        warn=lambda words: run.warn(by_name(words, entry)),
        memory=memory,
    )


def check_prefix(place: Location, task: Task, agent: AgentContext) -> None:
    """Refuse a prefix whose exact sync would delete other things that live there.

    Raises:
        Refused: it holds, or lies in, the maps or another entry's prefix.
    """
    if agent.services.overlap(place, agent.settings.maps):
        raise Refused(
            f"{place} and the maps at {agent.settings.maps} overlap, and a push would delete the maps",
            hint="give the entry a prefix of its own",
        )
    agent.services.check_target(place, allow_system=agent.settings.allow_system)
    for name, other in task.others.items():
        if agent.services.overlap(place, parse_place(other)):
            raise Refused(
                f"{place} and the prefix of entry {paths.quote(name)}, {other}, overlap, "
                "and each push would delete the other's files",
                hint="give every entry a prefix of its own",
            )
