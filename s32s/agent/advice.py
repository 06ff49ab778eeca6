"""The way out of an error, for this entry and this machine.

What reads a prefix knows neither the name of its entry nor who pushes to it; see `core/cures.py`. Here both are known:
a shared folder has no master, the copy of a mirror comes from the mirror, and two places have no map.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from s32s.agent import catalog
from s32s.agent.roles.base import AgentContext
from s32s.config.maps import Entry
from s32s.core import cures, paths
from s32s.core.errors import S32sError
from s32s.core.location import StorePath, is_location
from s32s.core.role import Role

P = ParamSpec("P")
R = TypeVar("R")

_BY_NAME = re.compile(rf"(s32s [a-z]+ ){cures.NAME}\b")


class _OfEntry(Protocol):
    @property
    def entry(self) -> Entry: ...
    @property
    def agent(self) -> AgentContext: ...


S = TypeVar("S", bound=_OfEntry)


def shown(entry: Entry) -> str:
    """How an entry is named on the command line: by its folder where no map has it."""
    return paths.word(entry.peer or entry.s3 if is_typed(entry) else entry.name)


def is_typed(entry: Entry) -> bool:
    """Whether an entry is a folder and a place that somebody has typed, and not one of the maps."""
    store = [entry.location.store] if isinstance(entry.location, StorePath) else []
    return is_location(entry.name, stores=store)


@contextlib.contextmanager
def advised(entry: Entry, agent: AgentContext, role: Role | None = None) -> Iterator[None]:
    """Let errors of the block say what helps here; see `advise`."""
    try:
        yield
    except S32sError as exc:
        advise(exc, entry, agent, role)
        raise


def advises(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The same for a method of what has an entry and an agent."""

    @functools.wraps(method)
    def inner(this: S, /, *args: P.args, **more: P.kwargs) -> R:
        with advised(this.entry, this.agent):
            return method(this, *args, **more)

    return inner


def advise(error: S32sError, entry: Entry, agent: AgentContext, role: Role | None = None) -> None:
    """Let an error say what helps against it on this machine, by the name of the entry.

    Args:
        role: that this machine has in the run, where it is not that of the configuration.
    """
    if cures.NAME not in error.hint:
        return
    role = role or agent.settings.role
    hint = error.hint
    for general, here in _instead(entry, agent, role):
        hint = hint.replace(general, here)
    error.hint = by_name(hint, entry)


def by_name(words: str, entry: Entry) -> str:
    """Words that tell of a command, with the name of an entry in it."""
    return _BY_NAME.sub(lambda found: found[1] + shown(entry), words)


def _instead(entry: Entry, agent: AgentContext, role: Role) -> Iterator[tuple[str, str]]:
    """What is said here instead of what is said everywhere."""
    if role is Role.PEER:
        yield cures.TO_PACKED, "share the folder through another prefix, in the packed layout"
        if is_typed(entry):
            yield cures.IS_LOST, "run s32s verify NAME --rebuild, then add --layout packed"
            yield cures.IS_PACKED, "add --layout packed"
            yield cures.IS_PLAIN, "leave --layout packed out"
        else:
            yield cures.IS_PACKED, f'set "layout": "packed" in the entry; {_FETCH}'
            yield cures.IS_PLAIN, f'take "layout": "packed" out of the entry; {_FETCH}'
    elif role is not Role.MASTER:
        on = "s32s convert NAME --layout"
        yield f"convert the prefix: {on}", f"convert the prefix on the master: {on}"
        yield f"convert it: {on}", f"convert it on the master: {on}"
    yield cures.HEAL, way_to(cures.HEAL, entry, agent, role)
    yield cures.REBUILD, way_to(cures.REBUILD, entry, agent, role)


_FETCH = "where the map says so already, fetch it: s32s maps update"


def way_to_heal(entry: Entry, agent: AgentContext) -> str:
    """What brings back what is damaged of the current generation, as a sentence."""
    match agent.settings.role:
        case Role.MASTER | Role.PEER as role if entry.place(role) is not None:
            return f"s32s verify {shown(entry)} --heal pushes again what the directory of this machine has"
    return f"to bring it back, {way_to(cures.HEAL, entry, agent)}"


def way_to(cure: str, entry: Entry, agent: AgentContext, role: Role | None = None) -> str:
    """How `HEAL` or `REBUILD` comes about for an entry, with its name.

    Args:
        cure: one of both.
        role: see `advise`.
    """
    role = role or agent.settings.role
    writer = _writer_of(entry, agent)
    named = cure.replace(cures.NAME, shown(writer or entry))
    if role is Role.PEER or (role is Role.MASTER and writer is not None):
        return f"run {named.partition(': ')[2]}"
    if by := _mirror_of(entry, agent):
        return f"run on the mirror: s32s sync {paths.word(by.name)} --verify"
    if writer is None:
        return f"{named}; where this prefix is the copy of a mirror, run s32s sync --verify on the mirror instead"
    return named


def _writer_of(entry: Entry, agent: AgentContext) -> Entry | None:
    """The entry through which the prefix of this one is written: itself, or another one of the cached maps."""
    if entry.master is not None or entry.peer is not None:
        return entry
    if not agent.settings.has_maps:
        return None
    known = catalog.cached_anywhere(agent.settings.maps, agent.state, agent.engine)
    same = (other for other in known.of(Role.MASTER) if other.location == entry.location) if known else iter(())
    return next(same, None)


def _mirror_of(entry: Entry, agent: AgentContext) -> Entry | None:
    """The entry whose mirror the prefix of this one is, as far as the cached maps say; nothing is asked for."""
    if not agent.settings.has_maps:
        return None
    known = catalog.cached_anywhere(agent.settings.maps, agent.state, agent.engine)
    same = (other for other in known.of(Role.MIRROR) if other.mirror == entry.s3) if known else iter(())
    return next(same, None)


@contextlib.contextmanager
def advised_places() -> Iterator[None]:
    """Let errors of a run between two places say what helps there, where no map and no entry is."""
    try:
        yield
    except S32sError as exc:
        exc.hint = of_places(exc.hint)
        raise


_BY_MAP = "name the prefix in an entry of a map, then run on its master: s32s verify ENTRY"
_OF_PLACES = {
    cures.IS_LOST: f"add --layout packed and --take-over to begin a new history, or {_BY_MAP} --rebuild",
    cures.IS_PACKED: "add --layout packed",
    cures.IS_PLAIN: "leave --layout packed out",
    cures.HEAL: f"{_BY_MAP} --heal, or --rebuild where the manifest cannot be read",
    cures.REBUILD: f"{_BY_MAP} --rebuild",
    f"; {cures.LOG}": "",
    cures.IS_STALE: "sync that prefix again from its source, or add --no-manifest if another tool writes there",
    cures.NO_MANIFEST: "push again with --verify, or add --no-manifest",
    cures.WITH_MANIFEST: "leave --no-manifest out",
    cures.IN_PLACE: "add --in-place",
    cures.NO_PACKS: "s32s convert with the name of its entry and --layout plain removes them",
}


def of_places(words: str) -> str:
    """Words that tell of a command, for two places."""
    for general, here in _OF_PLACES.items():
        words = words.replace(general, here)
    return words
