"""What a run came to, folded from its events: per entry the plan and the error, for all the exit status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from s32s.config.maps import Problem
from s32s.core.errors import MapError, S32sError
from s32s.core.events import EntryFinished, Event


@dataclass(frozen=True, slots=True)
class Report:
    """How the entries of a run ended.

    Attributes:
        finished: one a chosen entry, in order.
        problems: of map files that could not be loaded.
        error: that ended the run as a whole before its end; None for a run that came to it.
    """

    finished: tuple[EntryFinished, ...] = field(default=())
    problems: tuple[Problem, ...] = field(default=())
    error: S32sError | None = None

    @property
    def exit_status(self) -> int:
        """0 when all is well; the common status of the failures, or 1 when they differ (design 6)."""
        if self.error is not None:
            return self.error.exit_status
        failures = {end.error.exit_status for end in self.finished if end.error is not None}
        if len(failures) == 1:
            return failures.pop()
        if failures:
            return 1
        return MapError.exit_status if self.problems else 0

    @property
    def has_work(self) -> bool:
        """Whether any entry has, or had, something to do."""
        return any(end.due for end in self.finished)


def fold(events: Iterable[Event], *, problems: Iterable[Problem] = (), error: S32sError | None = None) -> Report:
    """Make the report of a run from its events."""
    return Report(tuple(_finished(events)), tuple(problems), error)


def _finished(events: Iterable[Event]) -> Iterator[EntryFinished]:
    return (event for event in events if isinstance(event, EntryFinished))
