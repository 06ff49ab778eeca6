"""What every role gets, and what it returns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from s32s.agent.state import Result, State
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.config.maps import Entry, Role
from s32s.config.settings import Settings
from s32s.core import events, paths
from s32s.core.errors import EntryFailed, Refused
from s32s.core.guards import Limits
from s32s.core.paths import some
from s32s.core.plan import Plan, Verb
from s32s.core.tree import Kind, Tree
from s32s.replication.replicate import RunContext, make_plan
from s32s.stores.objects.change import ManifestCache, Writer
from s32s.stores.objects.store import ObjectStore


@dataclass(frozen=True, slots=True)
class AgentContext:
    """This machine: its configuration, its memory, its connection.

    Attributes:
        mirror_engine: the connection to where mirrors go; `engine` itself when that is the same.
        host: its name, for people.
        homes: home directories of its users.
    """

    settings: Settings
    state: State
    engine: S3Service
    mirror_engine: S3Service
    host: str
    homes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Options:
    """What a command may ask for beyond its verb.

    Attributes:
        verify: read every file and every listing; trust no index and no time stamp.
        force_delete: override `max_delete` and the guard against an empty source.
        take_over: override another master's unfinished push.
        accept_older: follow a generation older than the one followed last.
        jobs: how many bodies move at once at most; None for the configuration's.
        bandwidth: bytes a second in each direction; None for the configuration's.
    """

    verify: bool = False
    force_delete: bool = False
    take_over: bool = False
    accept_older: bool = False
    jobs: int | None = None
    bandwidth: int | None = None

    def limits(self, settings: Settings) -> Limits:
        """The guards' limits."""
        return Limits(settings.max_delete, force=self.force_delete)


@dataclass(frozen=True, slots=True)
class Job:
    """One entry to be done.

    Attributes:
        others: this role's places of the other entries, by name; none may nest with this one's.
        pushed: prefixes that masters push to, of the other entries.
    """

    entry: Entry
    verb: Verb
    options: Options
    others: Mapping[str, str]
    pushed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an entry went.

    Attributes:
        due: whether there is, or was, anything to change or to publish.
        changed: whether the destination was changed.
        generation: that it now follows; 0 without a manifest.
        manifest: SHA-256 of its manifest; "" without one.
        listed_s: when manifest and LIST were last compared.
        note: what people should know; may be empty.
        same_as: names what the destination was found to be without a look at each file, see `EntryFinished`.
    """

    plan: Plan
    due: bool
    changed: bool
    generation: int = 0
    listed_s: float | None = None
    note: str = ""
    fingerprint: str = ""
    manifest: str = ""


def planned(
    source: Tree, target: Tree, job: Job, agent: AgentContext, context: RunContext, *, spare_ignored: bool
) -> Plan:
    """The guarded plan of a task.

    Args:
        spare_ignored: whether ignored paths of the destination stay there.

    Raises:
        Refused: by a guard, or by the person who was asked.
    """
    return make_plan(
        source,
        target,
        rules=job.entry.rules(),
        limits=job.options.limits(agent.settings),
        verb=job.verb,
        spare_ignored=spare_ignored,
        context=context,
    )


def prefix_of(entry: Entry, agent: AgentContext, *, on_disk: bool = True) -> ObjectStore:
    """The entry's place on S3, with this machine's connection and cache.

    Args:
        on_disk: whether what it holds becomes files here.
    """
    return ObjectStore(
        S3Backend(agent.engine, entry.s3_path),
        rules=entry.rules(),
        has_manifest=entry.manifest,
        cache=ManifestCache(agent.state.cached_manifest, agent.state.cache_manifest),
        on_disk=on_disk,
    )


def writer(job: Job, agent: AgentContext, *, generation: int = 0) -> Writer:
    """This machine as one that publishes.

    Args:
        generation: the last one that it has published there.
    """
    return Writer(
        id=agent.state.writer_id(),
        host=agent.host,
        now=_now,
        take_over=job.options.take_over,
        generation=generation,
    )


def check_generation(prefix: ObjectStore, last: Result | None, job: Job) -> None:
    """Refuse a source that has gone back to an older generation than the one that this machine followed last.

    Raises:
        Refused: names both generations and the option that follows the older one.
    """
    head = prefix.head
    if head is None or head.manifest is None or last is None or job.options.accept_older:
        return
    if head.generation < last.generation:
        raise Refused(
            f"{prefix.place} holds generation {head.generation:,} (pushed from {paths.escape(head.host)}, "
            f"{paths.escape(head.time)}), and this machine has followed generation {last.generation:,}: "
            "an older state was put back, or the prefix was deleted and pushed again",
            hint="if that is intended, follow it with --accept-older",
        )


def warn_of_other_writer(prefix: ObjectStore, agent: AgentContext, context: RunContext) -> None:
    """Say so when another machine has published to `prefix` last."""
    head = prefix.head
    if head is not None and head.generation and head.writer != agent.state.writer_id():
        context.emit(
            events.Warned(
                context.entry,
                f"{prefix.place} was last pushed from {paths.escape(head.host)} ({paths.escape(head.time)}); "
                "let one machine push to a prefix",
            )
        )


def missing(entry: Entry, source: Tree) -> list[str]:
    """The listed files that a source lacks."""
    return [path for path in entry.files or () if (item := source.get(path)) is None or item.kind is Kind.DIR]


def check_listed(files: list[str] | None, missing: list[str]) -> None:
    """Fail an entry whose `files` are not all at the source.

    Raises:
        EntryFailed: names them.
    """
    if files and missing:
        raise EntryFailed(
            f"{len(missing):,} of the {len(files):,} listed files are missing at the source: {some(missing)}",
            hint='bring them there or take them out of "files"; nothing was changed',
            paths=tuple(missing),
        )


def last_run(entry: Entry, role: Role, agent: AgentContext) -> Result | None:
    """How the last run between the places of the entry ended; None where the map names other places since."""
    last = agent.state.result(entry.name, role.value)
    return last if last is not None and last.ran_between(*entry.direction(role)) else None


def check_pushed(entry: Entry, source: Tree, *, known: bool, job: Job, role: Role, agent: AgentContext) -> None:
    """Refuse a prefix to which nothing has ever been pushed, before the guards take it for one that was emptied.

    Raises:
        Refused: nothing lies there, and the run was not told to go on all the same.
    """
    if len(source) or source.generation or known or not entry.manifest or job.options.force_delete:
        return
    last = agent.state.result(entry.name, role.value)
    before = last.source if last is not None and last.source != entry.s3 else ""
    moved = f"; this path is new for this machine, which has followed {before}" if before else ""
    raise Refused(f"nothing has been pushed to {entry.s3} yet{moved}", hint="run s32s sync on the master")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
