"""What every role gets, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from s32s.errors import EntryFailed
from s32s.guards import Limits
from s32s.maps import Entry
from s32s.paths import some
from s32s.plan import Plan, Verb
from s32s.settings import Settings
from s32s.state import State
from s32s.stores._engine import Engine
from s32s.stores.s3 import ManifestCache, S3Prefix


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine: its configuration, its memory, its connection.

    Attributes:
        host: its name, for people.
        homes: home directories of its users.
    """

    settings: Settings
    state: State
    engine: Engine
    host: str
    homes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Options:
    """What a command may ask for beyond its verb.

    Attributes:
        verify: read every file and every listing; trust no index and no time stamp.
        force_delete: set `max_delete` and the guard against an empty source aside.
        take_over: set another master's unfinished push aside.
        jobs: how many bodies move at once; None for the configuration's.
    """

    verify: bool = False
    force_delete: bool = False
    take_over: bool = False
    jobs: int | None = None

    def limits(self, settings: Settings) -> Limits:
        """The guards' limits."""
        return Limits(settings.max_delete, force=self.force_delete)


@dataclass(frozen=True, slots=True)
class Task:
    """One entry to be done.

    Attributes:
        others: this role's places of the other entries, by name; none may nest with this one's.
    """

    entry: Entry
    verb: Verb
    options: Options
    others: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Done:
    """How an entry went.

    Attributes:
        changed: whether the destination was changed.
        generation: that it now follows; 0 without a manifest.
        listed_s: when manifest and LIST were last compared.
        note: what people should know; may be empty.
    """

    plan: Plan
    changed: bool
    generation: int = 0
    listed_s: float | None = None
    note: str = ""


def prefix_of(entry: Entry, machine: Machine) -> S3Prefix:
    """The entry's place on S3, with this machine's connection and cache."""
    return S3Prefix(
        machine.engine,
        entry.s3_path,
        rules=entry.rules(),
        has_manifest=entry.manifest,
        cache=ManifestCache(machine.state.cached_manifest, machine.state.cache_manifest),
    )


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
