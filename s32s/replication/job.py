"""What is to be done, in what surroundings, and how it went."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from s32s.core import events
from s32s.core.errors import Interrupted, S32sError
from s32s.core.events import Emit
from s32s.core.guards import Limits
from s32s.core.merge import Merge
from s32s.core.plan import Plan, Verb
from s32s.core.rules import Rules
from s32s.replication.checkpoints import Checkpoints
from s32s.stores.base import Position, Snapshot


class Job(NamedTuple):
    """One source that a target is to be made equal to.

    Attributes:
        asked: names what is asked for besides the two places, such as rules; another name makes checkpoints worthless.
        files: paths that must be at the source; None for any.
        spare_ignored: whether ignored paths of the target stay there.
        verify: read every file and every listing, and believe no checkpoint.
        check_source: refuses a source by what it holds, before it is compared with anything.
        allow_links: directories that symbolic links of a target may point to or into, out of its tree.
    """

    verb: Verb
    rules: Rules
    limits: Limits
    asked: str = ""
    files: tuple[str, ...] | None = None
    spare_ignored: bool = False
    verify: bool = False
    check_source: Callable[[Snapshot], None] = lambda wanted: None
    allow_links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run of one entry needs to know of its surroundings.

    Attributes:
        entry: its name.
        jobs: how many bodies move at once.
        emit: who listens.
        checkpoints: what earlier runs have found.
        stop: set when a signal asks the run to end.
        approve: asked before a plan is carried out; its no ends the entry.
        begin: called just before the first byte of a change.
    """

    entry: str
    jobs: int
    emit: Emit = events.silent
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    stop: threading.Event = field(default_factory=threading.Event)
    approve: Callable[[Plan], bool] = lambda plan: True
    begin: Callable[[], None] = lambda: None

    def phase(self, what: str) -> None:
        """Say what begins now, unless the run is to end."""
        self.heartbeat(0)
        self.emit(events.Phase(self.entry, what))

    def warn(self, text: str) -> None:
        """Say what people should know and stops nothing."""
        self.emit(events.Warned(self.entry, text))

    def waiting(self, text: str) -> None:
        """Say what is waited for."""
        self.emit(events.Waiting(self.entry, text))

    def heartbeat(self, size: int) -> None:
        """A progress function for work whose bytes nobody counts: it only notices the stop."""
        if self.stop.is_set():
            raise Interrupted(0)


class Outcome(NamedTuple):
    """How a job went.

    Attributes:
        due: whether there is, or was, anything to change or to publish.
        changed: whether the target was changed.
        source, target: where they stand now.
        is_listed: whether every item of the source was looked at, and not only what a manifest says of them.
        fingerprint: names what the target was found to be without a look at each file, see `EntryFinished`.
        note: what people should know; may be empty.
        merge: of a shared folder: what was to be done, and what is left undecided.
        failure: what is wrong although all else was done.
    """

    plan: Plan
    due: bool
    changed: bool
    source: Position
    target: Position
    is_listed: bool
    fingerprint: str = ""
    note: str = ""
    merge: Merge | None = None
    failure: S32sError | None = None
