"""Role mirror: from an S3 prefix to another one, within S3 wherever both are reached by the same connection.

A prefix with a manifest takes it along: objects first, then a manifest that names the copies, then deletions, so slaves
may follow the mirror.
"""

from __future__ import annotations

from s32s.agent.roles.base import AgentContext, Task, check_pushed, last_run, source_prefix
from s32s.agent.roles.writer import writer
from s32s.core import paths
from s32s.core.errors import Refused
from s32s.core.location import Location, parse_place
from s32s.core.role import Role
from s32s.core.rules import EVERYTHING
from s32s.replication.job import Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.objects.etags import CopyCache
from s32s.stores.objects.source import Follower
from s32s.stores.objects.store import ObjectStore


def mirror(place: str, task: Task, agent: AgentContext, run: RunContext) -> Outcome:
    """Make the prefix `place` what the entry's prefix holds, or plan it.

    Raises:
        S32sError: what was copied so far is there, and nothing was deleted.
    """
    entry, state, there = task.entry, agent.state, parse_place(place)
    _check_places(there, task, agent)
    last = last_run(entry, Role.MIRROR, agent)
    follower = Follower(last.generation if last else 0, accepts_older=task.options.accept_older, compares=True)
    name = str(there)
    if entry.is_packed:
        return _mirror_packs(there, task, agent, run, follower)
    target = ObjectStore(
        task.backend(agent, there),
        rules=task.rules,
        has_manifest=entry.manifest,
        manifests=state.manifests("mirror"),
        label="mirror",
        writer=writer(agent.state, agent.host, task.options),
        like_source=True,
        copies=CopyCache(
            lambda: {} if task.options.verify else state.copies(name), lambda copies: state.save_copies(name, copies)
        ),
        lock=lambda writable: state.lock(f"the mirror to {place}", hold=writable),
        warn=run.warn,
    )
    job = task.job(agent.settings, spare_ignored=True, check_source=check_pushed(task, Role.MIRROR, agent))
    return replicate(source_prefix(task, agent, follower, label="source"), target, job, run)


def _mirror_packs(there: Location, task: Task, agent: AgentContext, run: RunContext, follower: Follower) -> Outcome:
    """Copy the packs that are missing, and the head.

    Raises:
        UsageError: only a part was asked for, and packs hold whatever they hold.
    """
    from s32s.agent import packed_places

    packed_places.check_whole(task.entry.name, task.verb, task.options.below)
    source = task.backend(agent, task.entry.location)
    target = packed_places.written(
        task.backend(agent, there),
        agent.state,
        writer(agent.state, agent.host, task.options),
        keep=task.entry.keep,
        message="",
        lock=lambda writable: agent.state.lock(f"the mirror to {there}", hold=writable),
        warn=run.warn,
        label="mirror",
        kind="mirror",
        mirrors=source,
        verify=task.options.verify,
    )
    job = task.job(agent.settings, spare_ignored=False, check_source=check_pushed(task, Role.MIRROR, agent))
    job = job._replace(rules=EVERYTHING, files=None)
    return replicate(source_prefix(task, agent, follower, label="source"), target, job, run)


def _check_places(there: Location, task: Task, agent: AgentContext) -> None:
    """Refuse a mirror that would feed on itself, or whose exact sync would delete other things that live there.

    Raises:
        Refused: it holds, or lies in, its own source, the maps, or another entry's place.
    """
    agent.services.check_target(there, allow_system=agent.settings.allow_system)
    here, overlap = task.entry.location, agent.services.overlap
    if overlap(there, here, by_name=True):
        raise Refused(
            f"the mirror {there} and its source {here} overlap: it would feed on itself",
            hint="mirror to another bucket or to a prefix beside the source",
        )
    if overlap(there, agent.settings.maps):
        raise Refused(
            f"the mirror {there} and the maps at {agent.settings.maps} overlap, and a sync would delete the maps",
            hint="give the mirror a prefix of its own",
        )
    for name, other in (*task.others.items(), *task.pushed.items()):
        if overlap(there, parse_place(other)):
            raise Refused(
                f"the mirror {there} and {other} of the entry {paths.quote(name)} overlap, "
                "and each sync would delete what the other brings",
                hint="give every entry prefixes of its own",
            )
