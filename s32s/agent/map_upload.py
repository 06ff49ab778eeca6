"""Map files on their way to S3: checked with all that is there already, compared, and written under a condition.

An upload is prepared first, so that people see whom it concerns before it is sent.
"""

from __future__ import annotations

import functools
import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from s32s.agent import catalog
from s32s.backends.base import Create, Replace
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.config import map_files
from s32s.config.maps import Entry, MapSet
from s32s.core import paths
from s32s.core.errors import MapError, NotFound, PreconditionFailed, UsageError, WriteConflict
from s32s.core.location import S3Path
from s32s.core.role import Role


@dataclass(frozen=True, slots=True)
class Change:
    """What an upload changes of one entry.

    Attributes:
        kind: "new", "modified" or "deleted".
        concerns: for each role that has a place, what it means for those machines.
        settings: other properties that have changed, each with its old and its new value.
    """

    kind: str
    name: str
    concerns: tuple[tuple[Role, str], ...]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MapUpload:
    """Map files that may be sent.

    Attributes:
        files: the bytes of each, by key.
        etags: of what is there now, by key; None where nothing is.
        changes: against what is there now, over all files.
        doubts: what may be meant, but is unusual.
    """

    source: S3Path
    files: Mapping[str, bytes]
    etags: Mapping[str, str | None]
    changes: tuple[Change, ...]
    doubts: tuple[str, ...]

    @property
    def takes_away(self) -> bool:
        """Whether an entry that machines may know already is another one afterwards."""
        return any(change.kind != "new" for change in self.changes)


def prepare(source: S3Path, files: Mapping[str, bytes], engine: S3Service) -> MapUpload:
    """Check map files beside those that are on S3, and say what they change. Nothing is written.

    Args:
        source: the maps path.
        files: the bytes of each, by the name that it gets below the path; where that is one object any name will do.

    Raises:
        MapError: a file is wrong, by itself or beside the others.
        StoreError, Unreachable: the files that are there cannot be read.
    """
    wanted = {_key(source, name): data for name, data in files.items()}
    if len(wanted) < len(files):
        raise UsageError(f"{source} is one map file, so only one can be uploaded", hint="put all entries into it")
    loaded = map_files.load((f"{source.bucket}/{key}", data) for key, data in wanted.items())
    if loaded.problems:
        raise catalog.problems_error(loaded.problems, after="nothing was uploaded")
    before: dict[str, bytes] = {}
    etags: dict[str, str | None] = dict.fromkeys(wanted)
    for key, data, etag in _there(source, engine):
        before[key] = data
        if key in wanted:
            etags[key] = etag
    after = map_files.load((f"{source.bucket}/{key}", data) for key, data in sorted((before | wanted).items()))
    if after.problems:
        raise catalog.problems_error(after.problems, after="nothing was uploaded")
    for entry in loaded.entries:
        for place in entry.s3_paths:
            if place.overlaps(source):
                raise MapError(
                    f"entry {paths.quote(entry.name)}: {place} is where the maps are; data needs its own place",
                    hint=f"write another prefix, such as {source.bucket}/data",
                )
    now = map_files.load(sorted(before.items()))
    changed = {key: data for key, data in wanted.items() if before.get(key) != data}
    return MapUpload(source, changed, etags, tuple(_changes(now, after)), tuple(catalog.doubts(loaded)))


def send(upload: MapUpload, engine: S3Service) -> None:
    """Write the files of an upload where nobody has changed them since it was prepared.

    Raises:
        MapError: somebody has.
        StoreError, Unreachable: they cannot be written.
    """
    backend = S3Backend(engine, S3Path(upload.source.bucket, ""))
    for key, data in upload.files.items():
        etag = upload.etags[key]
        try:
            backend.put(key, functools.partial(iter, (data,)), size=len(data), mode=Replace(etag) if etag else Create())
        except (PreconditionFailed, WriteConflict) as exc:
            # The condition also fails where an earlier attempt was done and its answer was lost.
            if backend.read(key, limit=map_files.MAX_MAP)[0] != data:
                raise MapError(
                    f"{upload.source.bucket}/{key} was changed by somebody else meanwhile",
                    hint="look at it, and try again",
                ) from exc


def file_of(source: S3Path, name: str, engine: S3Service) -> tuple[str, bytes]:
    """The map file on S3 that holds an entry, or has that name itself: its name below the maps path, and its bytes.

    Raises:
        MapError: there is none, or there are several.
        StoreError, Unreachable: the maps cannot be read.
    """
    there = [(key, data) for key, data, _ in _there(source, engine)]
    found = [(key, data) for key, data in there if _file(source, key) == name]
    found = found or [(key, data) for key, data in there if name in _names(data)]
    if not found:
        raise MapError(f"no map file below {source} has an entry {paths.quote(name)}", hint="see s32s maps list")
    if len(found) > 1:
        files = ", ".join(_file(source, key) for key, _ in found)
        raise MapError(f"several map files have an entry {paths.quote(name)}: {files}", hint="name the file instead")
    key, data = found[0]
    return _file(source, key), data


def file_name(entry: str) -> str:
    """How the file of an entry is called: lower-case letters, digits and hyphens."""
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in entry.lower())
    return "-".join(part for part in kept.split("-") if part)[:80] or "map"


def _key(source: S3Path, name: str) -> str:
    if source.prefix.endswith(".json"):
        return source.prefix
    if reason := paths.problem(name):
        raise MapError(f"{paths.quote(name)} cannot be the name of a map file: {reason}", hint="rename it")
    if not name.endswith(".json"):
        raise MapError(f"{paths.quote(name)} would not be found: map files end in .json", hint="rename it")
    return source.key(name)


def _file(source: S3Path, key: str) -> str:
    return os.path.basename(key) if key == source.prefix else key[len(source.key("")) :]


def _there(source: S3Path, engine: S3Service) -> Iterator[tuple[str, bytes, str | None]]:
    """Key, bytes and ETag of each map file that is on S3."""
    for key in catalog.keys(source, engine):
        try:
            data, etag = engine.get_small(source.bucket, key, limit=map_files.MAX_MAP)
        except NotFound:
            continue
        yield key, data, etag


def _names(data: bytes) -> set[str]:
    entries, _ = map_files.parse(data, "")
    return {entry.name for entry in entries}


def _changes(before: MapSet, after: MapSet) -> Iterator[Change]:
    old = {entry.name: entry for entry in before.entries}
    new = {entry.name: entry for entry in after.entries}
    for name in sorted(old.keys() - new.keys()):
        lost = tuple((role, f"{old[name].place(role)} is not touched any more") for role in _roles(old[name]))
        yield Change("deleted", name, lost)
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield _modified(old[name], new[name])
    for name in sorted(new.keys() - old.keys()):
        yield Change("new", name, tuple((role, str(new[name].place(role))) for role in _roles(new[name])))


def _modified(old: Entry, new: Entry) -> Change:
    concerns: list[tuple[Role, str]] = []
    for role in Role:
        was, becomes = old.place(role), new.place(role)
        if was != becomes:
            concerns.append((role, f"{was or 'nothing'} becomes {becomes or 'nothing'}"))
        elif was is not None:
            concerns.append((role, was))
    places = {role.value for role in Role}
    settings = [
        f"{name}: {getattr(old, name)!s} becomes {getattr(new, name)!s}"
        for name in Entry.model_fields
        if name not in places and getattr(old, name) != getattr(new, name)
    ]
    return Change("modified", new.name, tuple(concerns), tuple(settings))


def _roles(entry: Entry) -> Sequence[Role]:
    return [role for role in Role if entry.place(role) is not None]
