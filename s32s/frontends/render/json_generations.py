"""What the lines of `--json` hold about generations."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from s32s.frontends.render.json_events import described


@described
class Generation(TypedDict):
    """`log`: a generation that is kept, the newest first."""

    event: Literal["generation"]
    entry: str
    generation: int
    current: bool
    published: str
    """When, UTC, ISO 8601; `time` is when the line was written."""
    host: str
    user: str
    message: str
    files: int
    bytes: int
    new: int | None
    """Files and links that the push brought; null, as the next two, where an older s32s has pushed."""
    modified: int | None
    deleted: int | None
    rollback_to: int
    """The generation whose content it is; 0 for a push."""


@described
class KeptGeneration(TypedDict):
    """`log` on a slave: an earlier tree that is kept there, the newest first; before what S3 has."""

    event: Literal["kept"]
    entry: str
    generation: int
    until_s: float
    """When the next one came."""
    files: int
    bytes: int


@described
class DifferentPath(TypedDict):
    """`diff`: a path that two generations do not have in common."""

    event: Literal["difference"]
    entry: str
    path: str
    what: Literal["new", "modified", "deleted"]
    kind: str
    """`file`, `link` or `dir`; of a path that is deleted, what it was."""
    kind_before: str | None
    reason: NotRequired[str]
    """Only of a modified path: a word, as `dryrun` has it."""
    size: int
    size_before: int | None
    by: NotRequired[str]
    """Who has changed it last, in a folder that people share; of a path that is still there."""
    at: NotRequired[str]
    """When."""


@described
class RolledBack(TypedDict):
    """`rollback`: the generation that was published, and which one it repeats."""

    event: Literal["rolled_back"]
    entry: str
    generation: int
    to: int


@described
class WentBack(TypedDict):
    """`rollback` on a slave: the generation that is back, and held."""

    event: Literal["went_back"]
    entry: str
    generation: int
    changed: bool
    """Whether the directory held something else before."""


@described
class Released(TypedDict):
    """`release`: the generation at which the entry was held until now."""

    event: Literal["released"]
    entry: str
    generation: int


@described
class PrunedPrefix(TypedDict):
    """`prune`: what was given up and deleted."""

    event: Literal["pruned"]
    entry: str
    generations: list[int]
    packs: int
    bytes: int
    young: int
    """Packs that no generation names and that are too young to be deleted."""
    keeps_versions: bool
    """Whether the bucket keeps what was deleted, as earlier versions."""
    failed: dict[str, str]
    """Text: why a pack that nobody needs is still there, by its key."""
    beside: list[str]
    """Objects that belong to no generation, such as those of a conversion that was cut off."""


@described
class VerifiedPrefix(TypedDict):
    """`verify`: what a look at every byte has shown."""

    event: Literal["verified"]
    entry: str
    packs: int
    bytes: int
    damaged: dict[str, str]
    """Text: what is wrong with a pack, by its name."""
    paths: dict[str, list[str]]
    """Those that a damaged pack hits, by generation."""
    unreadable: dict[str, str]
    """Text: why the manifest of a generation cannot be read."""
    beside: list[str]
    """See `pruned`."""


@described
class HealedPrefix(TypedDict):
    """`verify --heal`: what is whole again; only where the current generation was damaged."""

    event: Literal["healed"]
    entry: str
    generation: int | None
    """That was published; null where nothing could be healed."""
    paths: list[str]
    """Those that are whole again."""
    left: dict[str, str]
    """Text: why a path is still damaged."""


@described
class RebuiltHead(TypedDict):
    """`verify --rebuild`: the generation that the head names again."""

    event: Literal["rebuilt"]
    entry: str
    generation: int
    packs: int


@described
class RestoredGeneration(TypedDict):
    """`restore`: the last line, also where there was nothing to do."""

    event: Literal["restore"]
    entry: str
    generation: int
    restored: int
    """Paths that were brought."""
    unchanged: int
    """Paths that were there as they should be."""
    bytes: int
    """Of files that were brought."""
    to: str
    """The directory that they are in."""


@described
class Converted(TypedDict):
    """`convert`: the layout of the prefix now."""

    event: Literal["converted"]
    entry: str
    layout: Literal["plain", "packed"]
    generation: int | None
    """That was published; null where the prefix was in that layout already."""
    deleted: int
    """Objects of the other layout."""
