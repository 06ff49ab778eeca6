"""What each line of `--json` holds, and the JSON Schema of it (draft 2020-12) that programs can be made from.

The types are checked where the lines are made; docs/json.md explains them at length. Those of a run are in
`json_events.py`.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from s32s.frontends.render.json_events import (
    Error,
    Finished,
    Merged,
    Output,
    Planned,
    Started,
    StartedOver,
    Summary,
    Told,
    described,
)
from s32s.frontends.render.json_generations import (
    Converted,
    DifferentPath,
    Generation,
    HealedPrefix,
    KeptGeneration,
    PrunedPrefix,
    RebuiltHead,
    Released,
    RestoredGeneration,
    RolledBack,
    VerifiedPrefix,
    WentBack,
)


@described
class LastRun(TypedDict):
    """How an entry ran last on this machine."""

    time_s: float
    """When it ended."""
    ok: bool
    status: int
    text: str
    """Text."""
    success_s: float | None
    """When a run last succeeded."""
    generation: int
    listed_s: float | None
    """When manifest and LIST were last compared."""
    pending: bool
    """Whether a command of `after` is still owed."""
    seconds: float
    files: int
    """That it moved."""
    size: int
    deletions: int
    drift: int
    """Paths that it found changed at the destination although the source had stood still."""
    source: str
    target: str
    manifest: str
    """SHA-256 of its manifest; empty without one."""


@described
class PublishedState(TypedDict):
    """What S3 holds."""

    host: str
    time: str
    files: int
    size: int


@described
class Watch(TypedDict):
    """How an entry is watched."""

    how: Literal["watching", "polling", "waiting"]
    watches: int
    changed_s: float
    compared_s: float
    missed: int
    overflows: int
    process: int


@described
class Held(TypedDict):
    """At which generation an entry is held, and by whom."""

    generation: int
    since_s: float
    user: str
    done: bool
    """False where the way back was cut off, so that the directory may hold what it held before."""


@described
class Status(TypedDict):
    """How an entry stands."""

    event: Literal["status"]
    entry: str
    source: str
    target: str
    state: str
    """Text."""
    last: LastRun | None
    generation: int | None
    """On S3 now; 0 when nothing is published, null when S3 was not asked or did not answer."""
    published: PublishedState | None
    unfinished_push: str | None
    """Text."""
    drift: int | None
    """Names that differ from what the last run left; null when that is not known."""
    trouble: str
    """Text: why S3 did not answer."""
    unreachable: bool
    running_s: float | None
    """When a run began that is at work now."""
    watch: Watch | None
    held: Held | None


@described
class MapsUpdate(TypedDict):
    """`maps update`: names of entries, sorted."""

    event: Literal["maps"]
    new: list[str]
    changed: list[str]
    gone: list[str]


@described
class MapEntry(TypedDict):
    """`maps list`: an entry of the maps, with its other properties as maps/map.schema.json has them."""

    event: Literal["entry"]
    name: str
    s3: str


@described
class MapProblem(TypedDict):
    """`maps check`: a mistake in a map file."""

    event: Literal["problem"]
    file: str
    entry: str
    property: str
    text: str
    """Text."""
    line: int | None
    excerpt: str
    """The line of the file, and one with a caret below it."""


@described
class Checked(TypedDict):
    """`maps check`: the last line."""

    event: Literal["checked"]
    files: int
    entries: int


@described
class MapChange(TypedDict):
    """`maps upload`: what changes of an entry, and for which role."""

    event: Literal["new", "modified", "deleted"]
    entry: str
    master: NotRequired[str]
    slave: NotRequired[str]
    mirror: NotRequired[str]
    peer: NotRequired[str]
    settings: list[str]
    """Text: other properties that change."""


@described
class Written(TypedDict):
    """`maps new`, `maps upload`, `configure`: a file that was written, here or on S3."""

    event: Literal["written", "uploaded"]
    file: str


@described
class Environment(TypedDict):
    """`env`: where things are."""

    event: Literal["environment"]
    places: dict[str, str]


@described
class Setting(TypedDict):
    """`env`: a setting, its value and where that comes from."""

    event: Literal["setting"]
    key: str
    value: Any
    source: str
    variable: str


@described
class TrashedFile(TypedDict):
    """`trash list`: a file that was replaced or deleted."""

    event: Literal["trashed"]
    id: str
    where: str
    """here, or S3."""
    when_s: float
    who: str
    path: str
    size: int


@described
class Restored(TypedDict):
    """`trash restore`, `restore`: a path that is there again."""

    event: Literal["restored"]
    path: str


@described
class Emptied(TypedDict):
    """`trash empty`: how many files went for good."""

    event: Literal["emptied"]
    here: int
    s3: int


@described
class Forgotten(TypedDict):
    """`forget`: shared folders of which nothing is remembered any more."""

    event: Literal["forgotten"]
    folders: list[str]


@described
class Unit(TypedDict):
    """`service show`: a systemd unit."""

    event: Literal["unit"]
    file: str
    text: str


@described
class Step(TypedDict):
    """`service install`, `service remove`: one thing that was done."""

    event: Literal["step"]
    text: str
    """Text."""


Line: TypeAlias = (
    Started
    | Planned
    | Merged
    | StartedOver
    | Told
    | Output
    | Finished
    | Summary
    | Error
    | Status
    | MapsUpdate
    | MapEntry
    | MapProblem
    | Checked
    | MapChange
    | Written
    | Environment
    | Setting
    | TrashedFile
    | Restored
    | Emptied
    | Forgotten
    | Unit
    | Step
    | Generation
    | KeptGeneration
    | DifferentPath
    | RolledBack
    | WentBack
    | Released
    | PrunedPrefix
    | VerifiedPrefix
    | HealedPrefix
    | RebuiltHead
    | RestoredGeneration
    | Converted
)


def schema() -> dict[str, Any]:
    """The JSON Schema of a line: one of the events, each with the time at which it was written."""
    made = TypeAdapter(Line).json_schema(mode="serialization")
    for definition in made["$defs"].values():
        definition.pop("title", None)
        if "event" in definition["properties"]:
            definition["properties"]["time"] = {"type": "string", "format": "date-time", "description": "UTC."}
            definition["required"].append("time")
        for field in definition["properties"].values():
            field.pop("title", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A line of s32s --json", **made}
