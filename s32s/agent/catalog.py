"""The maps of this machine: fetched from S3, cached, loaded.

A run reads the cache, so that what happens on a server changes only when somebody updates its maps. An update takes all
files or none. A machine that has no maps yet, or lost its cache, fetches them once by itself.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s32s.agent.cached_maps import CachedMaps
from s32s.agent.state import State
from s32s.backends.s3.service import S3Service
from s32s.config import map_files
from s32s.config.maps import MapSet, Problem
from s32s.core import paths
from s32s.core.errors import MapError, NotFound
from s32s.core.location import S3Path
from s32s.core.role import Role


class NoMaps(MapError):
    """There is no map file yet."""


@dataclass(frozen=True, slots=True)
class Update:
    """What an update of the maps brings, by entry name; `name` is what the maps are cached under."""

    source: S3Path
    name: str
    files: tuple[tuple[str, bytes], ...]
    maps: MapSet
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def differences(self) -> list[tuple[str, str, str]]:
        """Sign, word and name of each entry that is another one now."""
        kinds = (("+", "new", self.new), ("~", "changed", self.changed), ("-", "gone", self.gone))
        return [(sign, word, name) for sign, word, names in kinds for name in names]


def load(source: S3Path, state: State, engine: S3Service) -> MapSet:
    """The cached maps of `source`; fetched when there are none.

    Raises:
        MapError, StoreError, Unreachable: there are none cached, and they cannot be fetched.
    """
    return cached(source, state, engine) or update(source, state, engine).maps


def cached(source: S3Path, state: State, engine: S3Service) -> MapSet | None:
    """The cached maps of `source` on this server, or None."""
    known = state.cached_maps(_name(source, engine))
    return map_files.load(known.files) if known is not None else None


def cached_anywhere(source: S3Path, state: State, engine: S3Service) -> MapSet | None:
    """The cached maps of `source` on this server, else those that were fetched last from the same path of another one.

    What happens on this machine alone needs no server: which one is named today says nothing about its directories.
    """
    found = cached(source, state, engine)
    if found is not None:
        return found
    known = [one for one in state.all_cached_maps() if f"{one.source} at ".startswith(f"{source} at ")]
    return map_files.load(max(known, key=lambda one: one.fetched_s).files) if known else None


def update(source: S3Path, state: State, engine: S3Service) -> Update:
    """Fetch the maps and replace the cache, whole or not at all.

    Raises:
        MapError: a file is wrong, with every problem of every file; the cache stays as it was.
        StoreError, Unreachable: they could not be fetched; the cache stays as it was.
    """
    return take(preview(source, engine, before=cached(source, state, engine)), state)


def preview(source: S3Path, engine: S3Service, *, before: MapSet | None) -> Update:
    """Fetch the maps and compare them with those of before; the cache stays as it is.

    Raises:
        MapError, StoreError, Unreachable: see `update`.
    """
    files = tuple(fetch(source, engine))
    loaded = map_files.load(files)
    if loaded.problems:
        raise problems_error(loaded.problems, after="the cached maps stay as they were")
    old = {entry.name: entry for entry in before.entries} if before else {}
    new = {entry.name: entry for entry in loaded.entries}
    return Update(
        source=source,
        name=_name(source, engine),
        files=files,
        maps=loaded,
        new=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
        gone=tuple(sorted(old.keys() - new.keys())),
    )


def take(update: Update, state: State) -> Update:
    """Make the maps of a preview the cached ones."""
    state.cache_maps(CachedMaps(update.name, time.time(), update.files))
    return update


def _name(source: S3Path, engine: S3Service) -> str:
    """What maps are cached under: the same path on another server holds other maps."""
    return f"{source} at {engine.endpoint_url}" if engine.endpoint_url else str(source)


def keys(source: S3Path, engine: S3Service) -> list[str]:
    """The keys of all map files below a prefix, or of the one object named, be it there or not."""
    if source.prefix.endswith(".json"):
        return [source.prefix]
    pages = engine.pages(source.bucket, source.prefix)
    return sorted(found.key for page in pages for found in page if found.key.endswith(".json"))


def fetch(source: S3Path, engine: S3Service) -> Iterator[tuple[str, bytes]]:
    """Every map file below a prefix, or the one object named, as (key, bytes).

    Raises:
        NoMaps: there is none.
    """
    found = keys(source, engine)
    if not found:
        raise NoMaps(f"there are no map files (*.json) below {source}", hint="make one with: s32s maps new")
    for key in found:
        try:
            data, _ = engine.get_small(source.bucket, key, limit=map_files.MAX_MAP)
        except NotFound as exc:
            raise NoMaps(f"the map file {source.bucket}/{key} does not exist", hint="check the maps path") from exc
        yield key, data


def check_files(files: list[Path]) -> MapSet:
    """Load local map files, to check them before they are uploaded; one that cannot be read is a problem, too."""
    read: list[tuple[str, bytes]] = []
    unread: list[Problem] = []
    for file in files:
        try:
            read.append((str(file), read_file(file)))
        except OSError as exc:
            unread.append(Problem(paths.escape(str(file)), "", "", f"it cannot be read: {exc.strerror}"))
    loaded = map_files.load(read)
    return dataclasses.replace(loaded, problems=(*unread, *loaded.problems))


def read_file(file: Path) -> bytes:
    """The bytes of a local map file, as far as one may be long.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        return opened.read(map_files.MAX_MAP + 1)


def problems_error(problems: tuple[Problem, ...], *, after: str = "") -> MapError:
    """All problems of map files as one error."""
    count = f"{len(problems):,} problem{'s' if len(problems) != 1 else ''} in the map files"
    lines = "\n  ".join(line for problem in problems for line in problem.told())
    return MapError(f"{count}:\n  {lines}\n", hint=after)


def doubts(loaded: MapSet) -> Iterator[str]:
    """What entries say that may be meant, but is unusual."""
    for entry in loaded.entries:
        for place in entry.s3_paths:
            if doubt := place.doubt:
                yield f"entry {paths.quote(entry.name)}: {doubt}"
        if not any(entry.place(role) for role in Role):
            yield f"entry {paths.quote(entry.name)} has no master, slave, mirror or peer, so no machine does anything"
    pushed = [
        (str(there), entry.name)
        for entry in loaded.entries
        if entry.master and isinstance(there := entry.location, S3Path)
    ]
    for names in _nested(pushed):
        yield f"{names}: their places on S3 overlap, and a master refuses to push to them"
    for names in _nested((entry.slave, entry.name) for entry in loaded.entries if entry.slave):
        yield f"{names}: their slave directories overlap, and a server refuses both"


def _nested(places: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The entries, given as place and name, whose place is that of another one or below it, each with that one."""
    above: list[tuple[str, str]] = []
    for place, name in sorted((f"{place.rstrip('/')}/", name) for place, name in places):
        while above and not place.startswith(above[-1][0]):
            above.pop()
        if above:
            yield f"entries {paths.quote(above[-1][1])} and {paths.quote(name)}"
        above.append((place, name))
