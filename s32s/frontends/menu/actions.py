"""All that the menu can do, without a screen: each is a function that the command line has as well.

A desk is one session. It remembers which maps and which role are looked at, and these may differ from the configuration
until the session ends: a timer goes on as it is configured. Every piece of work opens the state for itself, so it may
run on any thread.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from s32s.agent import catalog, kept_trees, onboarding
from s32s.agent.agent import Agent, open_agent
from s32s.agent.catalog import Update
from s32s.agent.earlier import earlier_generations
from s32s.agent.history import History, history
from s32s.agent.holds import Hold, hold_of
from s32s.agent.report import Report
from s32s.agent.status import EntryStatus, glance, statuses
from s32s.agent.trash import Lost, SharedTrash
from s32s.agent.watch_state import end_watch
from s32s.config import settings_file
from s32s.config.maps import Entry, MapSet
from s32s.config.settings import Directories, Settings
from s32s.core.errors import ConfigError, Refused
from s32s.core.events import Emit
from s32s.core.location import S3Path
from s32s.core.merge import Merge
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.text import tree_words
from s32s.frontends.render import files
from s32s.frontends.render.differences import difference_line
from s32s.replication.merge_job import Contents
from s32s.system import processes

#: Whether a plan is carried out; asked with the name of its entry.
Approve = Callable[[str, Plan], bool]
#: What is to be done of a merge; asked with the name of its entry.
Decides = Callable[[str, Merge, Contents], Merge]


class Actions:
    """One session of the menu.

    Args:
        file: the configuration.
        where: state and cache.
        environment: variables that hold instead of the file; None for none.

    Raises:
        ConfigError: the configuration is missing or wrong.
    """

    def __init__(self, file: Path, where: Directories, environment: Mapping[str, str] | None = None) -> None:
        self.file = file
        self.where = where
        self._environment = environment
        self.settings: Settings = settings_file.load(file, environment)
        self.role: Role = self.settings.role
        self.source: S3Path = self.settings.maps
        self.loaded = MapSet((), ())

    @property
    def is_configured(self) -> bool:
        """Whether role and maps are those of the configuration."""
        return self.role is self.settings.role and self.source == self.settings.maps

    def open(self) -> None:
        """Load the maps, from the cache where there are any.

        Raises:
            MapError, StoreError, Unreachable: they cannot be had.
        """
        with self._machine(writable=True) as agent:
            self.loaded = agent.load_maps()

    def entries(self) -> list[Entry]:
        """The entries of this role."""
        return self.loaded.of(self.role)

    def direction(self, entry: Entry) -> str:
        """Where from and where to, in one line."""
        arrow = " <> " if self.role is Role.PEER else " > "
        return arrow.join(self.settings.direction(entry, self.role))

    def statuses(self, entries: Sequence[Entry], *, ask_s3: bool) -> list[EntryStatus]:
        """How the entries stand."""
        with self._machine(writable=False) as agent:
            return statuses(entries, self.role, agent, ask_s3=ask_s3)

    def glance(self, entries: Sequence[Entry]) -> dict[str, tuple[float | None, float | None]]:
        """When each entry ran last, here or in another process."""
        with self._machine(writable=False) as agent:
            return glance(entries, self.role, agent)

    def run(
        self,
        verb: Verb,
        names: Sequence[str],
        *,
        emit: Emit,
        stop: threading.Event,
        approve: Approve | None = None,
        decide: Decides | None = None,
    ) -> Report:
        """Do `verb` for the named entries; the report of a change is left with the state.

        Raises:
            S32sError: see `runs.run`.
        """
        directory = self.where.report if verb.changes else None
        with self._machine(writable=verb.changes) as agent, files.recorded(emit, directory) as recording:
            return agent.run(
                verb,
                names,
                role=self.role,
                maps=self.loaded,
                emit=recording,
                stop=stop,
                approve=approve if verb.changes and self.settings.menu.ask else None,
                decide=decide,
            )

    def trash(self, name: str) -> list[Lost]:
        """What is in the trash of a shared folder, the latest first.

        Raises:
            S32sError: see `SharedTrash.found`.
        """
        with self._machine(writable=False) as agent:
            return SharedTrash(self._named(name), agent).found()[::-1]

    def restore(self, name: str, lost: Sequence[Lost]) -> list[str]:
        """Bring files back; return the paths that came.

        Raises:
            S32sError: see `SharedTrash.restore`.
        """
        came: list[str] = []
        with self._machine(writable=True) as agent:
            trash = SharedTrash(self._named(name), agent)
            for number, of_one in itertools.groupby(sorted(lost, key=lambda one: one.id), key=lambda one: one.id):
                came += trash.restore([one.path for one in of_one], number=number)
        return came

    def history(self, name: str) -> tuple[History, Hold | None]:
        """The generations of an entry, and whether it is held at one.

        Raises:
            S32sError: what is kept here cannot be read.
        """
        with self._machine(writable=False) as agent:
            entry = self._named(name)
            held = hold_of(entry, agent.state) if self.role is Role.SLAVE else None
            return history(entry, agent, self.loaded), held

    def changes(self, name: str, number: int) -> list[str]:
        """What a generation has changed, a line a path.

        Raises:
            S32sError: it, or the one before, is not kept on S3.
        """
        with self._machine(writable=False) as agent:
            found = earlier_generations(self._named(name), agent, self.loaded)
            before = max((one.published.number for one in found.log() if one.published.number < number), default=None)
            if before is None:
                raise Refused(f"no generation before {number:,} is known, so nothing can be compared with it")
            _, _, different = found.diff(before, number)
            return [difference_line(one) for one in different]

    def go_back(self, name: str, number: int, *, emit: Emit, stop: threading.Event, approve: Approve | None) -> str:
        """Go back to a generation: on a slave to the tree that is kept, on a master by a new generation; say how.

        Raises:
            S32sError: there is no way back.
        """
        with self._machine(writable=True) as agent:
            entry = self._named(name)
            if self.role is not Role.SLAVE:
                position, _ = earlier_generations(entry, agent, self.loaded).roll_back(number)
                return f"generation {position.generation:,} holds what generation {number:,} held"
            ended = kept_trees.go_back(
                entry, self.loaded, agent, generation=number, emit=emit, stop=stop, approve=approve
            )
            if ended.error is not None:
                raise ended.error
            return f"{tree_words(number)} is back on this machine, and held there"

    def release(self, name: str) -> None:
        """Let an entry follow S3 again.

        Raises:
            S32sError: it is not held.
        """
        with self._machine(writable=True) as agent:
            kept_trees.release(name, agent)

    def _named(self, name: str) -> Entry:
        return next(entry for entry in self.entries() if entry.name == name)

    def watch(self, names: Sequence[str], *, emit: Emit, stop: threading.Event) -> None:
        """Keep the named entries equal until `stop` is set; nothing is asked on the way.

        Raises:
            S32sError: see `Agent.watch`.
        """
        with self._machine(writable=True) as agent:
            agent.watch(names, role=self.role, emit=emit, stop=stop)

    def end_watch(self, name: str) -> None:
        """End the watch of an entry that another process has begun.

        Raises:
            EntryFailed: it cannot be ended.
        """
        with self._machine(writable=False) as agent:
            end_watch(name, self.role.value, agent.state)

    def preview(self) -> Update:
        """What an update of the maps would bring.

        Raises:
            MapError, StoreError, Unreachable: nothing would change.
        """
        with self._machine(writable=False) as agent:
            return catalog.preview(self.source, agent.engine, before=self.loaded)

    def take(self, update: Update) -> None:
        """Work with the maps of a preview from now on; the configured ones are cached."""
        if update.source == self.settings.maps:
            with self._machine(writable=True) as agent:
                catalog.take(update, agent.state)
        self.source, self.loaded = update.source, update.maps

    def preview_of(self, path: str) -> Update:
        """The maps at another path, for this session.

        Raises:
            ConfigError: that is not an S3 path.
            MapError, StoreError, Unreachable: there are no maps that can be read.
        """
        try:
            source = S3Path.parse(path)
        except ValueError as exc:
            raise ConfigError(str(exc)) from exc
        with self._machine(writable=False) as agent:
            before = self.loaded if source == self.source else None
            return catalog.preview(source, agent.engine, before=before)

    def completions(self, text: str) -> list[str]:
        """Maps paths that begin with `text`."""
        return onboarding.completions(text, self.settings.s3)

    def switch(self, role: Role) -> None:
        """Take another role for this session.

        Raises:
            ConfigError: this machine is not set up for it.
        """
        if role is Role.SLAVE and not self.settings.allow:
            raise ConfigError(
                "this machine may not write anywhere as a slave", hint='set "allow" first: s32s configure --allow DIR'
            )
        self.role = role

    def set_option(self, name: str, value: object) -> None:
        """Change an option of the menu, here and in the configuration, if there is a file; its comments and order stay.

        Raises:
            ConfigError: the file cannot be written.
        """
        if self.file.exists():
            settings_file.configure(self.file, {"menu": {name: value}})
            self.settings = settings_file.load(self.file, self._environment)
        else:
            menu = self.settings.menu.model_copy(update={name: value})
            self.settings = self.settings.model_copy(update={"menu": menu})

    def command(self, name: str, *, on_line: Callable[[str], None], stop: threading.Event) -> int:
        """Run one of the configuration's custom commands; return its exit status."""
        return processes.run(self.settings.commands[name], on_line=on_line, stop=stop)

    @contextlib.contextmanager
    def _machine(self, *, writable: bool) -> Iterator[Agent]:
        mine = self.settings.model_copy(update={"role": self.role, "maps": self.source})
        with open_agent(mine, directories=self.where, writable=writable, attended=True) as agent:
            yield agent


def needs_question(plan: Plan) -> bool:
    """Whether a plan takes something away: it deletes, or replaces what is there."""
    return bool(plan.extras or plan.modified)


def ask_once(ask: Approve) -> Approve:
    """Ask about an entry's plan once; again only when a later plan of it takes away more.

    A run plans again when its source has moved meanwhile, and nobody likes to be asked twice.
    """
    approved: dict[str, set[str]] = {}

    def approve(entry: str, plan: Plan) -> bool:
        taken = {item.path for item in plan.extras} | {put.item.path for put in plan.modified}
        if not needs_question(plan) or taken <= approved.get(entry, set()):
            return True
        if not ask(entry, plan):
            return False
        approved[entry] = approved.get(entry, set()) | taken
        return True

    return approve


def decide_once(ask: Decides) -> Decides:
    """Let somebody decide about an entry's merge once; again only when a later one has something else in it.

    A run begins again when others were quicker, and nobody likes to be asked twice.
    """
    known: dict[str, tuple[Merge, Merge]] = {}

    def decide(entry: str, made: Merge, contents: Contents) -> Merge:
        if not (made.uploads or made.downloads or made.conflicts):
            return made
        if entry in known:
            before, chosen = known[entry]
            if (before.uploads, before.downloads, before.conflicts) == (made.uploads, made.downloads, made.conflicts):
                return replace(chosen, mine=made.mine, theirs=made.theirs, base=made.base)
        known[entry] = made, (chosen := ask(entry, made, contents))
        return chosen

    return decide


def entry_facts(entry: Entry, role: Role) -> list[tuple[str, str]]:
    """What a map says of an entry, for its details."""
    facts = [("s3", entry.s3)]
    facts += [(other.value, entry.place(other) or "-") for other in Role]
    if entry.description:
        facts.insert(0, ("description", entry.description))
    if entry.files is not None:
        facts.append(("files", ", ".join(entry.files)))
    if entry.ignore:
        facts.append(("ignore", ", ".join(entry.ignore)))
    if entry.accept:
        facts.append(("accept", ", ".join(entry.accept)))
    if entry.is_packed:
        facts.append(("layout", f"packed, {entry.keep:,} generations stay"))
    else:
        facts.append(("manifest", "yes" if entry.manifest else "no"))
    if role is Role.SLAVE:
        facts.append(("apply", entry.apply))
        facts.append(("after", entry.after or "-"))
    return facts
