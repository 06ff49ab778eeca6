"""Facts of a run, as frozen values.

What works emits; what shows or records subscribes. A screen, a JSON line and a report are folded from the same facts,
so they cannot disagree. Emitting costs nothing when nobody listens: `silent`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from s32s.core.errors import S32sError
from s32s.core.merge import Merge
from s32s.core.plan import Plan


@dataclass(frozen=True, slots=True)
class EntryStarted:
    """Work on an entry begins; where from and where to."""

    entry: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Phase:
    """The entry enters a part that may take long, such as "listing" or "checking files"."""

    entry: str
    what: str


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan stands and has passed the guards; nothing is changed yet."""

    entry: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Merged:
    """What two sides have made of a shared folder stands, and has passed the guards; nothing is changed yet."""

    entry: str
    merge: Merge


class Progress(NamedTuple):
    """`size` more bytes of bodies moved."""

    entry: str
    size: int


class FilePut(NamedTuple):
    """One file is whole at the destination, and verified."""

    entry: str
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The source moved under the run; the entry is planned again."""

    entry: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request failed for the moment and is made again; `text` says why, and how often so far."""

    entry: str
    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something people should know that stops nothing."""

    entry: str
    text: str


@dataclass(frozen=True, slots=True)
class Watching:
    """How a watch looks after an entry, whenever that changes."""

    entry: str
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A line that a command of the configuration wrote."""

    entry: str
    command: str
    line: str


@dataclass(frozen=True, slots=True)
class EntryFinished:
    """The entry is done, or failed with `error`. One for each entry started.

    Attributes:
        plan: what was carried out, or would be; None when it never came to a plan.
        due: whether there is, or was, anything to change or to publish.
        changed: whether the destination was changed, or with no files to move, published again.
        generation: of the manifest that the destination now follows; 0 without one.
        fingerprint: names what the destination was found to be, unchanged; two ends of one name have equal plans.
        merge: of a shared folder: what was carried out, or would be, and what is left undecided.
        held: why nothing was done, where the entry is held at an earlier generation; for people.
    """

    entry: str
    plan: Plan | None
    seconds: float
    due: bool = False
    changed: bool = False
    generation: int = 0
    error: S32sError | None = None
    fingerprint: str = ""
    merge: Merge | None = None
    held: str = ""


Event = (
    EntryStarted
    | Phase
    | Planned
    | Merged
    | Progress
    | FilePut
    | Restarted
    | Waiting
    | Warned
    | Watching
    | Output
    | EntryFinished
)
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Subscribe nothing."""
