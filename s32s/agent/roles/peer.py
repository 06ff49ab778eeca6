"""Role peer: a folder that several people share through an S3 prefix, both ways."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from s32s.agent.advice import is_typed
from s32s.agent.common_memory import CommonMemory
from s32s.agent.roles.base import AgentContext, Task, last_run
from s32s.agent.roles.push import check_prefix
from s32s.agent.roles.writer import now, user, writer
from s32s.agent.state import State
from s32s.backends.base import Backend
from s32s.config.maps import Entry
from s32s.core import guards, paths
from s32s.core.errors import Refused
from s32s.core.guards import Limits
from s32s.core.location import S3Path
from s32s.core.plan import Verb
from s32s.core.role import Role
from s32s.core.rules import Rules, compile_rules
from s32s.replication.job import Outcome, RunContext
from s32s.replication.merge_job import Decide, MergeJob
from s32s.replication.reconcile import reconcile
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.objects.prefix import Prefix
from s32s.stores.objects.shared import SharedPrefix
from s32s.stores.shared import SharedPlace


def peer(place: str, task: Task, agent: AgentContext, run: RunContext, decide: Decide) -> Outcome:
    """Bring the folder `place` and the entry's prefix together, or show what that would be.

    Raises:
        S32sError: what was not yet done is as it was on either side.
    """
    entry = task.entry
    check_prefix(entry.location, task, agent)
    if task.memories is not None:
        task.memories.source_dir.take()  # what has changed is seen by a look at all of it
    if not entry.manifest:
        raise Refused(f"{entry.s3} cannot be shared without a manifest", hint='take "manifest": false out of the entry')
    root = folder_of(entry.name, place, agent.settings.peer.folders)
    last = last_run(entry, Role.PEER, agent)
    listed_s = last.listed_s if last is not None else None
    is_due = listed_s is None or not 0 <= time.time() - listed_s < agent.settings.list_every_s
    return share(
        root,
        task.backend(agent, entry.location),
        shared_rules(entry, agent.settings.peer.ignore),
        verb=task.verb,
        limits=Limits(agent.settings.max_delete, force=task.options.force_delete),
        accepts_older=task.options.accept_older,
        verify=task.options.verify,
        lists=is_due and not entry.is_packed,  # packs are what their manifest says
        state=agent.state,
        host=agent.host,
        keep=entry.keep if entry.is_packed else None,
        message=task.options.message,
        name=f"{paths.word(root)} {paths.word(entry.name)}" if is_typed(entry) else paths.word(entry.name),
        via=f"s3://{entry.location}" if isinstance(entry.location, S3Path) else entry.s3,
        lock=f"the push to {entry.s3}",
        run=run,
        decide=decide,
    )


def share(
    root: str,
    backend: Backend,
    rules: Rules,
    *,
    verb: Verb,
    limits: Limits,
    accepts_older: bool,
    verify: bool,
    lists: bool,
    state: State,
    host: str,
    keep: int | None,
    message: str,
    name: str,
    via: str,
    lock: str,
    run: RunContext,
    decide: Decide,
) -> Outcome:
    """Bring a folder and a place together; see `reconcile`.

    Args:
        lists: look at all objects, even if nothing seems to have changed.
        host: this machine, for people.
        keep: how many generations stay, in the packed layout; None in the plain one.
        message: what is said of a push.
        name: what `s32s forget` takes for it.
        via: the place as it was named, see `Marker`.
        lock: names what no other run of this machine may do at the same time.
    """
    check_folder(root, state)
    me = f"{user()}@{host}"
    memory = CommonMemory(state.directories[0], root, backend.location, writable=verb.changes)

    def wait(seconds: float) -> None:
        run.stop.wait(seconds)
        run.heartbeat(0)

    local = LocalStore(
        root,
        rules=rules.sparing_own(),
        load_cache=lambda: StatCache() if verify else state.stat_cache(root),
        save_cache=lambda cache: state.save_stat_cache(root, cache),
        warn=run.warn,
        is_shared=True,
    )
    with state.lock(lock, hold=verb.changes):
        shared: SharedPlace
        if keep is not None:
            from s32s.agent import packed_places  # only where there are packs

            shared = packed_places.shared(
                backend, state, writer(state, host), keep=keep, message=message, wait=wait, tell=run.waiting
            )
        else:
            manifests = state.manifests()
            shared = SharedPrefix(
                Prefix(backend, rules=rules, cache=manifests, label=""),
                writer(state, me)._replace(generation=0, user=""),
                manifests,
                wait=wait,
                tell=run.waiting,
            )
        job = MergeJob(
            verb,
            rules,
            limits,
            changed=lambda: f"{now()} {me}",
            accepts_older=accepts_older,
            verify=verify,
            lists=lists or verify,
            decide=decide,
            name=name,
            via=via,
        )
        try:
            return reconcile(local, shared, memory, job, run)
        finally:
            memory.close()


def shared_rules(entry: Entry, own: Sequence[str]) -> Rules:
    """What takes part on this computer.

    Args:
        own: further rules of this person.
    """
    return compile_rules(files=entry.files, ignore=(*entry.ignore, *own), accept=entry.accept or (), links=entry.links)


def folder_of(name: str, place: str, folders: object) -> str:
    """Where the folder of an entry is on this computer.

    Args:
        place: what the map says.
        folders: what this computer's configuration says instead, by the entry's name.

    Raises:
        Refused: it is a path of another system.
    """
    own = folders.get(name) if isinstance(folders, dict) else None
    root = os.path.expanduser(own or place)
    if not os.path.isabs(root):
        raise Refused(
            f"{paths.escape(root)} is a path of another system",
            hint=f'name the folder of this computer in the configuration: [peer.folders] "{name}" = "/…"',
        )
    return root.rstrip("/") or "/"


def check_folder(root: str, state: State) -> None:
    """Refuse a folder that must never be shared.

    Raises:
        Refused: it is a directory of the system, a whole home directory, or holds the state.
    """
    shown = paths.escape(root)
    if problem := guards.target_problem(root, allow_system=False):
        raise Refused(f"{shown} {problem}")
    if os.path.realpath(root) == os.path.realpath(os.path.expanduser("~")):
        raise Refused(f"{shown} is a home directory", hint="share a folder in it")
    for kept in state.directories:
        if paths.overlaps(root, str(kept)):
            raise Refused(f"{shown} and {kept}, where s32s keeps its state, overlap")


def forget_folder(root: str, place: str, state: State) -> Sequence[str]:
    """Forget what a folder had in common with a place; no file is touched. Return what was forgotten, for people."""
    from s32s.stores.local.marker import forget_marker

    memory = CommonMemory(state.directories[0], root, place)
    known = memory.load()
    memory.forget()
    told = [f"what was known of {len(known.tree):,} path{'' if len(known.tree) == 1 else 's'}"] if known.folder else []
    if forget_marker(root):
        told.append(f"the marker in {root}")
    return told
