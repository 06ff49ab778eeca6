"""Starting over: a source that moves under a run is planned again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from s32s.core import events
from s32s.core.errors import Interrupted, SourceChanged
from s32s.replication.job import RunContext

T = TypeVar("T")

#: How often an entry is begun again because its source moved, and how long the pauses between grow (seconds).
ATTEMPTS = 5
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)


def until_still(attempt: Callable[[int], T], *, context: RunContext) -> T:
    """Call `attempt` with 1, 2, … until the source holds still meanwhile.

    Raises:
        SourceChanged: it did not, in a bounded number of attempts.
    """
    for number in range(1, ATTEMPTS):
        try:
            return attempt(number)
        except SourceChanged as exc:
            context.emit(events.Restarted(context.entry, number + 1, exc.what))
            if context.stop.wait(_PAUSES_S[number - 1]):
                raise Interrupted(0) from exc
    try:
        return attempt(ATTEMPTS)
    except SourceChanged as exc:
        raise SourceChanged(
            f"the source keeps changing: {exc.what}",
            hint=f"it was tried {ATTEMPTS} times; run it again when nobody writes there",
            paths=exc.paths,
        ) from exc
