"""This machine for a program: what the command line and the menu can do, in a handful of methods."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from s32s.agent import catalog, runner
from s32s.agent.catalog import Update
from s32s.agent.options import Options, verb_of
from s32s.agent.report import Report
from s32s.agent.roles.base import AgentContext
from s32s.agent.services import Services
from s32s.agent.state import State
from s32s.config import settings_file
from s32s.config.maps import MapSet
from s32s.config.settings import Directories, Settings
from s32s.core import events
from s32s.core.events import Emit
from s32s.core.merge import Merge
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role

if TYPE_CHECKING:
    from s32s.agent.status import EntryStatus
    from s32s.replication.merge_job import Contents


@dataclass(frozen=True, slots=True)
class Agent(AgentContext):
    """This machine, open for work; `open_agent` makes it, and it is closed by `close` or at the end of a `with`."""

    def run(
        self,
        verb: Verb | str,
        names: Sequence[str] = (),
        *,
        role: Role | None = None,
        options: Options | None = None,
        update_maps: bool = False,
        maps: MapSet | None = None,
        emit: Emit = events.silent,
        stop: threading.Event | None = None,
        approve: Callable[[str, Plan], bool] | None = None,
        decide: Callable[[str, Merge, Contents], Merge] | None = None,
    ) -> Report:
        """Do a verb for the named entries, or for all that have this machine's role.

        Args:
            verb: "sync", "copy" or "dryrun".
            names: of entries; each must exist. One that does not have the role fails, and the others are done.
            role: instead of the configuration's.
            update_maps: fetch the maps first.
            maps: to work from instead of the cached ones.
            emit: told every event of the run; may be called from several threads.
            stop: set it to end the run; see `Interrupted`.
            approve: asked with an entry's name and its plan before that is carried out.
            decide: of a shared folder: asked with an entry's name, its merge and what files hold; gives back what is to
                be done of it, by default all but the conflicts.

        Returns:
            How each entry ended. Failures are in there, not raised.

        Raises:
            UsageError: no such verb, or a name that no map has.
            ConfigError, MapError, StoreError, Unreachable: there are no maps to work from.
            Interrupted: `stop` was set, or a signal handler raised it; the entry's destination is as its promise says.
        """
        return runner.run(
            self,
            verb=verb_of(verb),
            names=names,
            role=role,
            options=options,
            update_maps=update_maps,
            loaded=maps,
            emit=emit,
            stop=stop,
            approve=approve,
            decide=decide,
        )

    def watch(
        self,
        names: Sequence[str] = (),
        *,
        stop: threading.Event,
        role: Role | None = None,
        options: Options | None = None,
        update_maps: bool = False,
        emit: Emit = events.silent,
    ) -> None:
        """Keep the named entries, or all that have this machine's role, equal to their sources until `stop` is set.

        Failures are tried again and told by `emit`; see `run` for the other arguments.

        Raises:
            UsageError: a name that no map has.
            MapError, StoreError, Unreachable: there are no maps to work from.
            Locked: another watch is at it.
            Interrupted: a signal handler raised it.
        """
        from s32s.agent.watch import watch_entries  # a run needs none of it

        watch_entries(self, names, role=role, options=options, update_maps=update_maps, emit=emit, stop=stop)

    def status(self, *, maps: MapSet | None = None, ask_s3: bool = True) -> list[EntryStatus]:
        """How the entries of this machine's role stand.

        Args:
            maps: instead of the cached ones.
            ask_s3: False tells what this machine knows by itself.

        Raises:
            MapError, StoreError, Unreachable: there are no maps.
            Interrupted: by a signal handler.
        """
        from s32s.agent.status import status  # a run needs none of it

        return status(self, maps if maps is not None else self.load_maps(), ask_s3=ask_s3)

    def load_maps(self) -> MapSet:
        """The cached maps; fetched when there are none.

        Raises:
            MapError, StoreError, Unreachable: there are none cached, and they cannot be fetched.
        """
        return catalog.load(self.settings.maps, self.state, self.engine)

    def load_maps_here(self) -> MapSet:
        """The cached maps, for what happens on this machine alone: those of another server do where this one has none.

        Raises:
            MapError, StoreError, Unreachable: there are none cached at all, and they cannot be fetched.
        """
        return catalog.cached_anywhere(self.settings.maps, self.state, self.engine) or self.load_maps()

    def update_maps(self) -> Update:
        """Fetch the maps and replace the cached ones, all of them or none.

        Raises:
            MapError, StoreError, Unreachable: the cached ones stay.
        """
        return catalog.update(self.settings.maps, self.state, self.engine)

    def close(self) -> None:
        """Close what it has open; it may not be used any more."""
        self.state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_agent(
    configuration: Path | Settings | None = None,
    *,
    directories: Directories | None = None,
    writable: bool = True,
    attended: bool = False,
) -> Agent:
    """Open this machine for work. Nothing is sent yet.

    Args:
        configuration: a file, or settings that were made in memory; None for the file that the command line would use.
            Variables such as S32S_ROLE hold instead of what a file says.
        directories: where state and cache are; None for where the command line would keep them.
        writable: False makes and writes nothing.
        attended: somebody waits, so an address at which nothing answers is told at once.

    Raises:
        ConfigError: the configuration is wrong, or the state cannot be used.
    """
    if configuration is None:
        configuration = settings_file.find(None, os.environ)
    if isinstance(configuration, Path):
        configuration = settings_file.load(configuration, os.environ)
    state = State.open(directories or settings_file.directories(os.environ), writable=writable)
    return Agent(
        settings=configuration,
        state=state,
        services=Services(configuration.s3, configuration.stores, attended=attended),
        host=socket.gethostname(),
        homes=settings_file.homes(),
    )
