"""The generations of an entry whose prefix is plain and in a versioned bucket; see `earlier.EarlierGenerations`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from s32s.agent.advice import advises
from s32s.agent.earlier import Logged, bring_back, check_publishes, place_for, rules_for
from s32s.agent.options import Options
from s32s.agent.roles.base import AgentContext, Task, note_published
from s32s.agent.roles.push import check_prefix, pushed
from s32s.agent.runner import places_of_others
from s32s.config.maps import Entry, MapSet
from s32s.core import events, paths
from s32s.core.errors import NoHistory, Refused
from s32s.core.events import Emit
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.rules import EVERYTHING
from s32s.format.generation import Published
from s32s.format.head import Change, Head
from s32s.replication.job import Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Position
from s32s.stores.objects.packed.upkeep import Difference, differences
from s32s.stores.objects.past import PastStore
from s32s.stores.objects.prefix import Prefix
from s32s.stores.objects.versions import Past


@dataclass(frozen=True, slots=True)
class PlainGenerations:
    """The generations of one entry.

    Attributes:
        entry: its layout is "plain".
        maps: all of them, since the places of the other entries count.
        options: of a push.
    """

    entry: Entry
    agent: AgentContext
    maps: MapSet
    options: Options

    @advises
    def log(self) -> list[Logged]:
        """See `EarlierGenerations`."""
        return [Logged(_published(one.head), one.is_current, one.head.change is not None) for one in self._past]

    @advises
    def diff(self, before: int | None = None, after: int | None = None) -> tuple[int, int, list[Difference]]:
        """See `EarlierGenerations`."""
        past = self._past
        old = past.find(before) if before is not None else past.before()
        new = past.find(after) if after is not None else past.current()
        return old.number, new.number, list(differences(past.tree(old), past.tree(new)))

    @advises
    def roll_back(self, number: int | None = None, *, message: str = "") -> tuple[Position, int]:
        """See `EarlierGenerations`.

        Whatever the prefix has not got is copied there from the version of that time; that each of them is there is
        made sure of before the first one is.

        Raises:
            Refused: also where a version that it takes is not there any more.
        """
        entry, agent = self.entry, self.agent
        check_publishes(entry, agent, "go back")
        past = self._past
        at = past.find(number) if number is not None else past.before()
        if at.is_current:
            raise Refused(f"generation {at.number:,} is the current one", hint="s32s log NAME shows the earlier ones")
        options = replace(self.options, message=message or f"back to generation {at.number}")
        others = places_of_others(entry, self.maps, Role.MASTER)
        task = Task(entry, Verb.SYNC, options, others=others, pushed=others)
        check_prefix(entry.location, task, agent)
        run = RunContext(entry.name, agent.settings.jobs)
        # What "files" in the entry names today, an earlier generation need not have had.
        job = task.job(agent.settings, spare_ignored=True)._replace(files=None)
        outcome = replicate(PastStore(past, at, task.rules), pushed(task, agent, run, of=at.number), job, run)
        note_published(entry, Role.MASTER, agent, outcome.target)
        return outcome.target, at.number

    @advises
    def restore(
        self,
        wanted: Sequence[str],
        *,
        number: int | None = None,
        to: str | None = None,
        emit: Emit = events.silent,
        stop: threading.Event | None = None,
        approve: Callable[[Plan], bool] = lambda plan: True,
    ) -> Outcome:
        """See `EarlierGenerations`.

        Raises:
            Refused: also where the version of a file is not there any more.
        """
        root = place_for(self.entry, self.agent, to)
        past = self._past
        at = past.find(number) if number is not None else past.current()
        rules = rules_for(wanted, past.tree(at), at.number)
        run = RunContext(
            self.entry.name, self.agent.settings.jobs, emit, stop=stop or threading.Event(), approve=approve
        )
        return bring_back(PastStore(past, at, rules), root, rules, self.agent, run, is_own=to is None)

    @property
    def _past(self) -> Past:
        if not self.entry.manifest:
            raise NoHistory(
                f"{paths.quote(self.entry.name)} has no manifest, and without one there are no generations",
                hint='take "manifest": false out of the entry, and push',
            )
        backend, manifests = self.agent.services.backend(self.entry.location), self.agent.state.manifests()
        return Past(Prefix(backend, rules=EVERYTHING, cache=manifests), manifests)


def _published(head: Head) -> Published:
    change = head.change or Change()
    return Published(
        number=head.generation,
        time=head.time,
        host=head.host,
        user=change.user,
        message=change.message,
        files=head.files,
        size=head.size,
        new=change.new,
        modified=change.modified,
        deleted=change.deleted,
        of=change.of,
    )
