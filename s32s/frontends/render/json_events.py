"""What the lines of `--json` hold about a run.

Times that end in `_s` are seconds since 1970, sizes are bytes. What is called text is for people and may change.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

#: What stands below a field describes it.
described = with_config(ConfigDict(use_attribute_docstrings=True))


@described
class Started(TypedDict):
    """An entry begins."""

    event: Literal["started"]
    entry: str
    source: str
    """A directory or bucket/prefix; empty where the entry has no place for the role."""
    target: str
    """As `source`."""


@described
class ModifiedPath(TypedDict):
    """A path that differs, and in what."""

    path: str
    reason: str
    """kind, target, size, content, etag, newer, unknown, mode or time."""


@described
class RejectedPath(TypedDict):
    """A path that may not travel, and why."""

    path: str
    reason: str
    """Text."""


@described
class PlannedPaths(TypedDict):
    """Every path of a plan, in path order."""

    new: list[str]
    modified: list[ModifiedPath]
    deleted: list[str]
    rejected: list[RejectedPath]


@described
class Planned(TypedDict):
    """The plan of an entry is made, and the guards have let it pass; files include symbolic links."""

    event: Literal["planned"]
    entry: str
    new: int
    modified: int
    deleted: int
    new_directories: int
    modified_directories: int
    deleted_directories: int
    rejected: int
    """Paths of the source that may not travel."""
    unchanged: int
    files: int
    """Of the source, that take part."""
    bytes: int
    """Of the new and modified files whose content is not there yet."""
    new_bytes: int
    modified_bytes: int
    """Of those whose content differs."""
    deleted_bytes: int
    paths: NotRequired[PlannedPaths]
    """Only of a dry run."""


@described
class StepPath(TypedDict):
    """A path that a merge moves."""

    path: str
    kind: str
    """new, modified or deleted."""
    by: NotRequired[str]
    """Who has changed it last, where that is known."""
    at: NotRequired[str]
    """When."""


@described
class ConflictPath(TypedDict):
    """A path that both sides have changed."""

    path: str
    reason: str
    """Text."""
    by: NotRequired[str]
    at: NotRequired[str]


@described
class MergedPaths(TypedDict):
    """Every path of a merge."""

    uploads: list[StepPath]
    downloads: list[StepPath]
    conflicts: list[ConflictPath]
    frozen: list[str]
    """Paths that are left alone."""


@described
class Merged(TypedDict):
    """The merge of a shared folder is made, and the guards have let it pass."""

    event: Literal["merged"]
    entry: str
    uploads: int
    downloads: int
    conflicts: int
    files: int
    """Files and links in the folder."""
    paths: NotRequired[MergedPaths]
    """Only of a dry run."""


@described
class StartedOver(TypedDict):
    """The source moved under the run, and the entry is planned again."""

    event: Literal["started_over"]
    entry: str
    turn: int
    """From 2 on."""
    reason: str
    """Text."""


@described
class Told(TypedDict):
    """A request is made again, a thing people should know, how an entry is watched."""

    event: Literal["waiting", "warning", "watching"]
    entry: str
    text: str
    """Text."""


@described
class Output(TypedDict):
    """A line that a command of `after` wrote."""

    event: Literal["output"]
    entry: str
    command: str
    line: str


@described
class ErrorFacts(TypedDict):
    """What went wrong."""

    type: str
    """Class of the error; more may come."""
    status: int
    """Exit status that it has alone."""
    text: str
    """Text."""
    paths: list[str]
    """Relative paths, or keys, that it is about."""


@described
class Finished(TypedDict):
    """An entry has come to its end."""

    event: Literal["finished"]
    entry: str
    ok: bool
    due: bool
    """Whether there was, or in a dry run is, anything to do."""
    changed: bool
    """Whether the destination was changed."""
    seconds: float
    generation: int
    """That the destination follows; 0 without a manifest, and when the entry failed."""
    held: NotRequired[bool]
    """Whether nothing was done, as the entry is held at that generation."""
    error: NotRequired[ErrorFacts]


@described
class Summary(TypedDict):
    """The last line of a run."""

    event: Literal["summary"]
    version: str
    """Of s32s."""
    status: int
    """The exit status."""
    entries: int
    failed: int
    changed: int
    rejected: int
    """Files that no pattern of `accept` fits, of all entries."""
    problems: list[str]
    """Text: what is wrong with map files."""
    seconds: float


@described
class Error(TypedDict):
    """What ended the command, where no entry did."""

    event: Literal["error"]
    error: ErrorFacts
    status: int
    """The exit status."""
