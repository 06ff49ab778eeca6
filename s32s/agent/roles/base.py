"""What every role gets, and what two of them share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from s32s.agent.options import Options
from s32s.agent.results import Result
from s32s.agent.services import Services
from s32s.agent.state import State
from s32s.backends.base import Backend
from s32s.backends.s3.service import S3Service
from s32s.config.maps import Entry
from s32s.config.settings import Settings
from s32s.core import paths
from s32s.core.errors import Refused
from s32s.core.guards import Limits
from s32s.core.location import Location
from s32s.core.plan import Verb
from s32s.core.role import Role
from s32s.core.rules import Rules
from s32s.replication.job import Job
from s32s.stores.base import Position, Readable, Snapshot
from s32s.stores.objects.source import Follower
from s32s.stores.objects.store import ObjectStore
from s32s.system.rate_limit import RateLimiter

if TYPE_CHECKING:
    from s32s.agent.memories import Memories
    from s32s.stores.local.kept import KeptTree


@dataclass(frozen=True, slots=True)
class AgentContext:
    """This machine: its configuration, its memory, its connection.

    Attributes:
        services: what all places are reached by.
        host: its name, for people.
        homes: home directories of its users.
    """

    settings: Settings
    state: State
    services: Services
    host: str
    homes: frozenset[str] = frozenset()

    @property
    def engine(self) -> S3Service:
        """The S3 of the maps, and of all places without a store."""
        return self.services.s3


class Task(NamedTuple):
    """One entry to be done.

    Attributes:
        others: this role's places of the other entries, by name; none may nest with this one's.
        pushed: prefixes that masters push to, of the other entries.
        rates: how fast bodies may come and go, over all entries; None for as fast as they can.
        memories: of a watch; None for a single run.
        back_to: of a slave: the earlier tree to go back to, instead of what S3 holds.
    """

    entry: Entry
    verb: Verb
    options: Options
    others: Mapping[str, str]
    pushed: Mapping[str, str]
    rates: tuple[RateLimiter, RateLimiter] | None = None
    memories: Memories | None = None
    back_to: KeptTree | None = None

    def backend(self, agent: AgentContext, place: Location) -> Backend:
        """A place, as fast as this task may be.

        Raises:
            ConfigError, UsageError: see `Services.backend`.
        """
        backend = agent.services.backend(place)
        if self.rates is None:
            return backend
        from s32s.backends.wrappers import Limited

        return Limited(backend, *self.rates)

    @property
    def rules(self) -> Rules:
        """What takes part in this run."""
        return self.entry.rules().limited(self.options.below)

    def job(
        self,
        settings: Settings,
        *,
        spare_ignored: bool,
        check_source: Callable[[Snapshot], None] = lambda wanted: None,
    ) -> Job:
        """What is to be replicated.

        Args:
            spare_ignored, check_source: see `Job`.
        """
        entry = self.entry
        asked = json.dumps([entry.manifest, entry.files, entry.ignore, entry.accept])
        if entry.links != "refuse" or settings.allow_links:
            asked += json.dumps([entry.links, settings.allow_links])
        if self.options.below:
            asked += json.dumps(self.options.below)
        return Job(
            self.verb,
            self.rules,
            Limits(settings.max_delete, force=self.options.force_delete, below=self.options.below),
            asked=hashlib.sha256(asked.encode()).hexdigest(),
            files=within(entry.files, self.options.below),
            spare_ignored=spare_ignored,
            verify=self.options.verify,
            check_source=check_source,
            allow_links=settings.allow_links,
        )


def within(files: Sequence[str] | None, below: str) -> tuple[str, ...] | None:
    """Those of the files of an entry that are in one directory of its tree; None for any."""
    return tuple(path for path in files if not below or paths.is_within(path, below)) if files else None


def source_prefix(task: Task, agent: AgentContext, follower: Follower, *, label: str = "") -> Readable[Any]:
    """The entry's prefix as what a slave or a mirror follows."""
    entry, state = task.entry, agent.state
    memory = task.memories.source if task.memories is not None else None
    if entry.is_packed:
        from s32s.agent import packed_places

        return packed_places.followed(task.backend(agent, entry.location), state, follower, label=label, memory=memory)
    return ObjectStore(
        task.backend(agent, entry.location),
        rules=task.rules,
        has_manifest=entry.manifest,
        manifests=state.manifests(),
        label=label,
        follower=follower,
        memory=memory,
    )


def last_run(entry: Entry, role: Role, agent: AgentContext) -> Result | None:
    """How the last run between the places of the entry ended, whatever its name was; None where there was none."""
    places = agent.settings.direction(entry, role)
    last = agent.state.last_of(entry.name, role.value, *places)
    return last if last is not None and last.ran_between(*places) else None


def note_published(entry: Entry, role: Role, agent: AgentContext, position: Position) -> None:
    """Remember that this machine has published for an entry outside of a run, so that it is not taken for behind."""
    if (last := last_run(entry, role, agent)) is not None:
        now = replace(last, generation=position.generation, manifest=position.manifest)
        agent.state.save_result(entry.name, role.value, now)


def check_pushed(task: Task, role: Role, agent: AgentContext) -> Callable[[Snapshot], None]:
    """What refuses a prefix to which nothing has ever been pushed, before the guards take it for an emptied one.

    Raises, when it is called:
        Refused: nothing is there, and the run was not told to go on all the same.
    """
    entry = task.entry

    def check(wanted: Snapshot) -> None:
        known = last_run(entry, role, agent)
        if len(wanted.tree) or wanted.position.generation or not entry.manifest or task.options.force_delete:
            return
        if known is not None and known.generation:
            return
        last = agent.state.result(entry.name, role.value)
        before = last.source if last is not None and last.source != entry.s3 else ""
        moved = f"; this path is new for this machine, which has followed {before}" if before else ""
        raise Refused(f"nothing has been pushed to {entry.s3} yet{moved}", hint="run s32s sync on the master")

    return check
