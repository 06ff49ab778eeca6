"""How one entry ends: its events, its error, and what is remembered of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from s32s.agent.results import INTERRUPTED, Result
from s32s.agent.state import State
from s32s.core import events, paths
from s32s.core.errors import Declined, EntryFailed, Interrupted, Locked, OutOfTime, S32sError, UsageError
from s32s.core.summary import summary
from s32s.replication.job import Outcome, RunContext
from s32s.stores.base import NOWHERE, Position

_REPORT_IT = "please report it with the output of S32S_DEBUG=1"


class Kept(NamedTuple):
    """Where the result of a run is kept.

    Attributes:
        role: of the entry, or another word for what kind of run it is.
        source, target: between which places it runs.
        is_part: whether only a part of the source was followed, so that the target is still where it was.
        name: under which it is kept; that of the entry where it is empty.
        passing: what such a run may fail by without a change, so that how the entry stands is as it was.
    """

    state: State
    role: str
    source: str
    target: str
    is_part: bool = False
    name: str = ""
    passing: tuple[type[S32sError], ...] = ()


def conclude(
    work: Callable[[], Outcome],
    context: RunContext,
    *,
    after: Callable[[Outcome], None] = lambda done: None,
    kept: Kept | None,
    places: tuple[str, str],
    position: Callable[[Outcome], Position],
    when_stopped: str,
) -> events.EntryFinished:
    """Do the work of one entry to its end; a failure stays its own.

    Args:
        after: what follows the work; when it fails, what was done stays done.
        kept: where its result is kept; None for a run that changes nothing.
        places: where from and where to, for people.
        position: where an entry stands after a run: by what it publishes, or by what it follows.
        when_stopped: how things are when it is stopped before or outside of a change, as a clause.

    Raises:
        Interrupted: the run as a whole is to end.
    """
    context.emit(events.EntryStarted(context.entry, *places))
    began, started_s = time.monotonic(), time.time()
    done: Outcome | None = None
    error: S32sError | None = None
    try:
        with (
            kept.state.running(kept.name or context.entry, kept.role) if kept is not None else contextlib.nullcontext()
        ):
            done = work()
            after(done)
            error = done.failure
    except Interrupted as exc:
        # 0: a worker or a pause noticed the stop; the caller who set it knows the signal and raises on its own.
        if not context.stop.is_set():
            raise
        exc.hint = exc.hint or when_stopped
        error = exc
    except S32sError as exc:
        error = exc
    except OSError as exc:
        name = f" ({paths.escape(str(exc.filename))})" if exc.filename else ""
        error = EntryFailed(f"{exc.strerror or exc}{name}")
        error.__cause__ = exc
    except Exception as exc:
        # The next entries are still done. What comes here is a mistake of ours, and says so.
        error = EntryFailed(f"unexpected {type(exc).__name__}: {paths.escape(str(exc))}", hint=_REPORT_IT)
        error.__cause__ = exc
    stands = position(done) if done is not None else NOWHERE
    finished = events.EntryFinished(
        context.entry,
        plan=done.plan if done else None,
        seconds=time.monotonic() - began,
        due=bool(done and done.due),
        changed=bool(done and done.changed),
        generation=stands.generation,
        error=error,
        fingerprint=done.fingerprint if done else "",
        merge=done.merge if done else None,
    )
    # What did not come to its turn says nothing of the entry; least of all may it hide how the run that holds the lock
    # ends, or has ended.
    is_passing = done is None and kept is not None and isinstance(error, kept.passing)
    if kept is not None and not is_passing and not isinstance(error, Declined | Locked | UsageError):
        _save(finished, done, stands, kept, started_s=started_s)
    if done and done.note and error is None:
        context.emit(events.Warned(context.entry, done.note))
    context.emit(finished)
    if isinstance(error, Interrupted):
        raise error
    return finished


def _save(
    finished: events.EntryFinished, done: Outcome | None, stands: Position, kept: Kept, *, started_s: float
) -> None:
    state, places = kept.state, (kept.source, kept.target)
    name = kept.name or finished.entry
    last = state.last_of(name, kept.role, *places)
    if last is not None and not last.ran_between(*places):
        # What is known of other places says nothing of these; only a command that is owed stays owed.
        last = Result(last.time_s, last.ok, last.status, last.text, pending=last.pending)
    now, is_whole = time.time(), done is not None and not kept.is_part
    ok = finished.error is None
    state.save_result(
        name,
        kept.role,
        Result(
            time_s=now,
            ok=ok,
            status=_status(finished.error),
            text=str(finished.error) if finished.error else summary(finished),
            success_s=now if ok else (last.success_s if last else None),
            generation=finished.generation if is_whole else (last.generation if last else 0),
            manifest=stands.manifest if is_whole else (last.manifest if last else ""),
            listed_s=started_s if is_whole and done and done.is_listed else (last.listed_s if last else None),
            # Still owed when the command failed, or when the run died after the change.
            pending=bool(last and last.pending and not ok),
            source=places[0],
            target=places[1],
            **_amounts(finished, last),
        ),
    )


def _amounts(finished: events.EntryFinished, last: Result | None) -> dict[str, Any]:
    """What a run has moved, for metrics."""
    plan = finished.plan
    amounts: dict[str, Any] = {"seconds": finished.seconds}
    if plan is None or not finished.changed:
        return amounts
    # Where the source stood still, whatever had to be done was drift at the destination.
    stood_still = last is not None and last.generation > 0 and last.generation == finished.generation
    return amounts | {
        "files": plan.bodies,
        "size": plan.size,
        "deletions": plan.deletions,
        "drift": len(plan.puts) + len(plan.extras) if stood_still else 0,
    }


def _status(error: S32sError | None) -> int:
    if isinstance(error, Interrupted) and not isinstance(error, OutOfTime):
        return INTERRUPTED
    return error.exit_status if error is not None else 0
