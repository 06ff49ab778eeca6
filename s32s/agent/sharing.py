"""A folder and a place to share it through, for a program: what `s32s peer DIR PLACE` does, in one function."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import pydantic

from s32s.agent import catalog, runner
from s32s.agent.options import Options, verb_of
from s32s.agent.report import Report, fold
from s32s.agent.roles.base import AgentContext
from s32s.agent.services import Services, named
from s32s.agent.state import State
from s32s.config import settings_file
from s32s.config.maps import Entry, MapSet
from s32s.config.settings import NO_MAPS, Directories, S3Connection, Settings
from s32s.core import events, paths
from s32s.core.errors import EntryFailed, Refused, UsageError
from s32s.core.events import Emit
from s32s.core.location import is_location
from s32s.core.merge import Merge
from s32s.core.plan import Verb
from s32s.core.role import Role
from s32s.format.head import HEAD_KEY
from s32s.format.manifest import sha256_of
from s32s.stores.objects.prefix import read_head

if TYPE_CHECKING:
    from s32s.agent.generations import Generations
    from s32s.config.settings import StoreSettings
    from s32s.replication.merge_job import Contents
    from s32s.stores.local.marker import Marker


def no_entry(name: str) -> UsageError:
    """The error that a name means nothing without maps."""
    return UsageError(
        f"there is no entry {paths.quote(name)}: no configuration of this machine says where maps are",
        hint=f"name the folder, such as ./{paths.word(name) if os.path.isdir(name) else 'team'}",
    )


def run_peer(
    folder: str,
    place: str,
    verb: Verb | str = "sync",
    *,
    settings: Settings | None = None,
    s3: S3Connection | None = None,
    ignore: Sequence[str] = (),
    layout: Literal["plain", "packed"] = "plain",
    directories: Directories | None = None,
    options: Options | None = None,
    attended: bool = False,
    emit: Emit = events.silent,
    stop: threading.Event | None = None,
    decide: Callable[[str, Merge, Contents], Merge] | None = None,
) -> Report:
    """Bring a folder and what others have made of it together, or show what that would be; no map is needed.

    Args:
        folder: a path.
        place: `s3://bucket/prefix`, or `NAME:prefix` in a store of the settings.
        verb: "sync", "copy" or "dryrun".
        settings: this machine's; None where there are none.
        s3: how S3 is reached; None for what the settings or the AWS_… variables say.
        ignore, layout: as in a map.
        directories: where state and cache are; None for where the command line would keep them.
        attended: somebody waits, so an address at which nothing answers is told at once.
        emit, stop, decide: see `Agent.run`.

    Returns:
        How it ended; a failure is in there, not raised.

    Raises:
        UsageError: no such verb, or the place or a rule cannot be understood.
        ConfigError: the state cannot be used.
        Interrupted: `stop` was set, or a signal handler raised it.
    """
    chosen = verb_of(verb)
    entry = entry_of(folder, place, ignore, layout=layout)

    state = State.open(directories or settings_file.directories(os.environ), writable=chosen.changes)
    with contextlib.closing(state):
        agent = context_of(state, settings, s3, attended=attended)
        ended = runner.run_entry(
            entry,
            MapSet((entry,), ()),
            agent,
            verb=chosen,
            role=Role.PEER,
            options=options or Options(),
            emit=emit,
            stop=stop,
            decide=decide,
        )
    return fold([ended])


def entry_of(
    folder: str, place: str, ignore: Sequence[str] = (), *, layout: Literal["plain", "packed"] = "plain"
) -> Entry:
    """The entry that a map would have for a folder and a place.

    Raises:
        UsageError: they cannot be understood.
    """
    root = os.path.abspath(os.path.expanduser(folder))
    try:
        return Entry(name=place, s3=place, peer=root, ignore=list(ignore), layout=layout)
    except pydantic.ValidationError as exc:
        first = exc.errors()[0]
        hint = "a folder is shared through s3://bucket/prefix, or a store of the configuration: NAME:prefix"
        raise UsageError(
            f"{place}: {first['msg']}" if first["loc"][:1] == ("s3",) else first["msg"], hint=hint
        ) from exc


def context_of(state: State, settings: Settings | None, s3: S3Connection | None, *, attended: bool) -> AgentContext:
    """This machine without maps."""
    mine = settings or Settings.model_validate({"role": "peer", "maps": NO_MAPS})
    return AgentContext(
        settings=mine,
        state=state,
        services=Services(s3 or mine.s3, mine.stores, attended=attended),
        host=socket.gethostname(),
        homes=settings_file.homes(),
    )


def entry_at(folder: str, agent: AgentContext, *, layout: Literal["plain", "packed"] = "plain") -> Entry:
    """The entry of a folder that was shared before, by its marker.

    Raises:
        UsageError: it has no marker, or that leaves open which server has the place.
        Refused: it is not there.
    """
    from s32s.stores.local.folder import open_folder

    if "://" in folder:
        raise UsageError(
            f"{paths.escape(folder)} is a place, and this takes an entry or a folder",
            hint="name a folder that is shared through it, such as ./team, or an entry of the maps",
        )
    root = os.path.abspath(os.path.expanduser(folder))
    with open_folder(root, writable=False) as opened:
        marker = opened.marker()
    if marker is None:
        raise UsageError(f"{paths.escape(folder)} is not a shared folder: it has no marker", hint="name an entry")
    return entry_of(root, _place_of(marker, folder, agent.settings.stores), layout=layout)


def _place_of(marker: Marker, folder: str, stores: Mapping[str, StoreSettings]) -> str:
    """The place that a folder is shared through, as somebody would name it on this machine.

    Raises:
        UsageError: an older s32s has left open which server has it, and there are several.
    """
    here = named(marker.place, stores)  # a directory may be reached by another path than where the marker was written
    if here != marker.place or marker.via:
        return here if here != marker.place else marker.via
    if several := [name for name, store in stores.items() if store.type == "s3"]:
        raise UsageError(
            f"the marker of {paths.escape(folder)} does not say whether {paths.escape(marker.place)} is on the S3 of "
            f"[s3] or of {' or '.join(f'[stores.{name}]' for name in several)}",
            hint=f"sync it once, which notes that: s32s peer {paths.word(folder)} PLACE, or s32s sync with its entry",
        )
    return f"s3://{marker.place}" if not marker.place.startswith("/") else marker.place


def generations_at(folder: str, agent: AgentContext) -> Generations:
    """The generations of the packs through which a folder is shared, whatever the configuration says of this machine.

    Raises:
        UsageError, Refused: see `entry_at`.
    """
    from s32s.agent.generations import Generations

    mine = agent.settings.model_copy(update={"role": Role.PEER})
    sharing = AgentContext(mine, agent.state, agent.services, agent.host, agent.homes)
    return Generations(entry_at(folder, agent, layout="packed"), sharing)


def forget_shared(agent: AgentContext, names: Sequence[str], *, everywhere: bool) -> list[str]:
    """Forget what shared folders had in common with their places; no file is touched.

    Args:
        names: of entries, or a folder with its place, or alone where it has its marker.
        everywhere: remove the list of files on S3 too, so that the next sync of everybody starts from comparing.

    Returns:
        What was forgotten, for people.

    Raises:
        UsageError: there is no such entry, or it is not a shared folder.
        Refused: the list of files is all that leads to them, as in packs.
        StoreError, Unreachable: S3 does not take it.
    """
    from s32s.agent.roles.peer import folder_of, forget_folder

    told: list[str] = []
    for entry in _entries(agent, names):
        root = folder_of(entry.name, entry.peer or "", agent.settings.peer.folders)
        backend = agent.services.backend(entry.location)
        if everywhere and (head := read_head(backend).head) is not None and head.is_packed:
            raise Refused(
                f"the list of files at {backend.location} cannot be removed: packs cannot be read without it",
                hint="let everybody run s32s forget without --everywhere",
            )
        told += forget_folder(root, backend.location, agent.state)
        if everywhere:
            keys = [one.key for page in backend.list(paths.RESERVED) for one in page]
            gone = [key for key in keys if key == HEAD_KEY or sha256_of(key)]
            if gone:
                if failed := backend.delete(gone):
                    raise EntryFailed(
                        f"the list of files at {backend.location} could not be removed:{paths.listed(failed)}",
                        hint="what was known on this computer is forgotten",
                        reasons=failed,
                    )
                told.append(f"the list of files at {backend.location}")
    return told


def _entries(agent: AgentContext, names: Sequence[str]) -> list[Entry]:
    if len(names) == 2 and is_location(names[1], stores=agent.settings.stores):
        return [entry_of(*names)]
    if len(names) == 1 and is_location(names[0]):
        return [entry_at(names[0], agent)]
    if not agent.settings.has_maps:
        raise no_entry(names[0])
    loaded = catalog.load(agent.settings.maps, agent.state, agent.engine)
    entries = runner.choose(loaded, names, Role.PEER)
    for entry in entries:
        if entry.peer is None:
            raise UsageError(f"the entry {paths.quote(entry.name)} is not a shared folder: it has no peer")
    return entries
