"""One pair of places that a watch keeps equal: when to look, what to remember, and what to say.

A failure is tried again with growing pauses, without end, and told once. What has changed stays marked until a run has
brought it over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from s32s.agent.hints import POLL_S, Hints
from s32s.agent.memories import Memories
from s32s.agent.watch_state import WatchState
from s32s.core import events
from s32s.core.errors import Conflict, Interrupted, Refused, S32sError
from s32s.core.events import Emit, EntryFinished
from s32s.core.plan import Plan
from s32s.core.rules import Rules
from s32s.system import libc

#: The pauses (seconds) after a failure: doubled each time, within these.
_LEAST_S, _MOST_S = 1.0, 60.0
#: Objects of one page of a listing: a prefix without a manifest is polled less often the more of them it has.
_PAGE = 1000
#: A change as recent as this (ns) may still be on its way here.
_SOON_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a watch looks, in seconds.

    Attributes:
        settle_s: how long a directory must have been quiet before its changes are taken; at most ten times that.
        poll_s: how often S3 is asked whether there is anything new.
        full_s: how often all is compared, whatever was told.
    """

    settle_s: float = 0.5
    poll_s: float = 5.0
    full_s: float = 3600.0

    @property
    def most_s(self) -> float:
        """How long a directory that is never quiet is waited for."""
        return 10 * self.settle_s


class Pair(Protocol):
    """What is kept equal to what."""

    @property
    def name(self) -> str:
        """What people know it by."""
        ...

    @property
    def source_root(self) -> str | None:
        """The directory that it is made from; None for a prefix."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether others change the other side as well, so that it is asked, too."""
        ...

    @property
    def rules(self) -> Rules:
        """What takes part."""
        ...

    def run(self, emit: Emit, memories: Memories) -> EntryFinished:
        """Make the target equal to the source."""
        ...

    def position(self) -> tuple[int, str] | None:
        """Generation and manifest of the source prefix, by one request; None where it has none.

        Raises:
            S32sError: it cannot be asked.
        """
        ...

    def is_alive(self) -> None:
        """Note that the target was found up to date just now."""
        ...

    def save_caches(self, memories: Memories) -> None:
        """Save what the memories know of files, for runs after this watch."""
        ...


class Watched:
    """Keeps one pair equal, by as many calls of `tick` as it takes.

    Attributes:
        error: what the last run failed of; None when it did not.

    Args:
        emit: told of what was done, and once of each failure.
        wake: called, on another thread, when there is something to do.
    """

    def __init__(self, pair: Pair, pace: Pace, *, emit: Emit, wake: Callable[[], None]) -> None:
        self.pair = pair
        self.error: S32sError | None = None
        self._pace = pace
        self._memories = Memories()
        self._emit = emit
        self._quiet = Quiet(emit)
        self._hints: Hints | None = None
        if pair.source_root is not None:
            self._hints = Hints(pair.source_root, pair.rules, tell=self._tell, wake=wake)
            self._memories.source_dir.take = self._hints.take
        self._run_s = 0.0 if self._hints is not None else random.uniform(0, pace.poll_s / 2)  # noqa: S311 # no secret
        self._run_s += time.monotonic()
        self._full_s = 0.0
        self._poll_s = float("inf")
        self._compared_s = 0.0
        self._failures = 0
        self._told = ""
        self._missed = 0
        self._changed_s = 0.0
        self._position: tuple[int, str] | None = None
        self._files = 0

    def tick(self) -> float:
        """Do what is due; return in how many seconds to look again."""
        now_s = time.monotonic()
        everything = self._hints.look(now_s) if self._hints is not None else False
        if everything:
            self._memories.source_dir.forget()
            self._run_s = now_s
        if now_s >= self._full_s:
            self._run(full=True)
        elif self._is_due(now_s):
            self._run(full=False)
        elif (self._hints is None and now_s >= self._run_s) or now_s >= self._poll_s:
            self._poll()
        return max(0.0, self._next_s() - time.monotonic())

    def compare_all(self, why: str) -> None:
        """Let the next look be at all of both places."""
        self._full_s = 0.0
        self._compared_s = 0.0  # what it finds was not to be told
        self._tell(f"comparing everything: {why}")

    def close(self) -> None:
        """Watch no more, and save what is known."""
        if self._hints is not None:
            self._hints.close()
        self.pair.save_caches(self._memories)

    @property
    def state(self) -> WatchState:
        """How it is watched now."""
        hints = self._hints
        how = "watching" if hints is None or hints.is_watching else "polling"
        return WatchState(
            "waiting" if self._failures else how,
            hints.watches if hints else 0,
            max(self._changed_s, hints.changed_s if hints else 0.0),
            self._compared_s,
            self._missed,
            hints.overflows if hints else 0,
        )

    # -- when

    def _is_due(self, now_s: float) -> bool:
        if self._hints is None:
            return False
        if self._failures:
            return now_s >= self._run_s
        due_s = self._hints.due_s(self._pace.settle_s, self._pace.most_s)
        return (due_s is not None and now_s >= due_s) or now_s >= self._run_s

    def _next_s(self) -> float:
        if self._failures:
            return min(self._run_s, max(self._full_s, self._run_s))
        times = [self._full_s, self._run_s, self._poll_s]
        if self._hints is not None and (due_s := self._hints.due_s(self._pace.settle_s, self._pace.most_s)) is not None:
            times.append(due_s)
        return min(times)

    def _schedule(self) -> None:
        """When to look again after a run that has gone well."""
        now_s = time.monotonic()
        if self._hints is None:
            pages = 1 if self._position is not None else 1 + self._files // _PAGE
            self._run_s = now_s + pages * self._pace.poll_s * random.uniform(0.9, 1.1)  # noqa: S311
        else:
            self._run_s = float("inf") if self._hints.is_watching else now_s + POLL_S
        if self.pair.is_shared:
            self._poll_s = now_s + self._pace.poll_s * random.uniform(0.9, 1.1)  # noqa: S311

    # -- what

    def _poll(self) -> None:
        try:
            position = self.pair.position()
        except Interrupted:
            raise
        except S32sError as exc:
            self._fail(exc)
            return
        if position is None or position != self._position or self._failures:
            self._run(full=False)
            return
        self.pair.is_alive()
        self._schedule()

    def _run(self, *, full: bool) -> None:
        timed = full and self._compared_s > 0
        began_ns = time.time_ns()
        try:
            if self._hints is not None:
                self._hints.check_mount()
        except Refused as exc:
            self._fail(exc)
            return
        if full:
            if self._hints is not None and self._hints.due_s(0, 0) is not None and timed:
                self._run(full=False)  # so that what the comparison finds are changes that nobody has told of
            self._memories.forget()
        finished = self._finish(hides=not full)
        if isinstance(finished.error, Conflict) and not full:
            # Somebody else has pushed; what is remembered of the prefix is out of date.
            self._memories.forget()
            finished = self._finish()
        if finished.error is not None and finished.merge is None:
            self._fail(finished.error)
            return
        now_s = time.monotonic()
        if full:
            self._full_s = now_s + self._pace.full_s * random.uniform(0.9, 1.0)  # noqa: S311
            self._compared_s = time.time()
        if finished.changed or full:
            libc.give_back_memory()  # a watch mostly sleeps, and need not sleep on what one run has taken
        if finished.changed:
            self._changed_s = time.time()
        plan = finished.plan
        self._files = plan.source_files if plan is not None else 0
        if timed and plan is not None and self._hints is not None and self._hints.is_watching:
            self._count_missed(plan, began_ns)
        head = self._memories.source.found
        self._position = (head.position.generation, head.position.manifest) if head.is_published else None
        if self.pair.is_shared:
            self._position = finished.generation, ""
        if self._failures:
            self._failures = 0
            self._tell("it works again")
        # Of a shared folder a conflict is told once, and waits.
        self.error = finished.error
        self._told = str(finished.error) if finished.error is not None else ""
        self._schedule()

    def _count_missed(self, plan: Plan, began_ns: int) -> None:
        """Count what a comparison has found although nobody had told of it; what has just changed is told soon."""
        missed = sum((put.item.mtime_ns or began_ns) < began_ns - _SOON_NS for put in plan.puts)
        if missed:
            self._missed += missed
            self._tell(f"the full comparison has found {missed:,} changes that no event had told of")

    def _finish(self, *, hides: bool = False) -> EntryFinished:
        self._quiet.begin(self._told, hides=hides)
        return self.pair.run(self._quiet.on_event, self._memories)

    def _fail(self, error: S32sError) -> None:
        self._failures += 1
        self.error = error
        pause_s = min(_MOST_S, _LEAST_S * 2 ** min(self._failures - 1, 10)) * random.uniform(0.8, 1.2)  # noqa: S311
        self._run_s = time.monotonic() + pause_s
        self._full_s = max(self._full_s, self._run_s) if self._compared_s else self._run_s
        if (text := str(error)) != self._told:
            if self._quiet.told != text:
                self._emit(events.EntryFinished(self.pair.name, None, 0.0, error=error))
            self._told = text
            self._tell("it is tried again until it works")

    def _tell(self, text: str) -> None:
        self._emit(events.Watching(self.pair.name, text))


class Quiet:
    """Holds back what a run says until it changes something: a watch runs often, and mostly finds nothing."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._held: list[events.Event] = []
        self._is_open = False
        self._warned: set[str] = set()
        self._known = ""
        self._hides = False
        self.told = ""

    def begin(self, known: str, *, hides: bool) -> None:
        """Begin a run.

        Args:
            known: an error that was told already; while it lasts, nothing is said.
            hides: not to tell of a conflict, which the next run settles.
        """
        self._held, self._is_open, self._known, self._hides, self.told = [], False, known, hides, ""

    def on_event(self, event: events.Event) -> None:
        """Hand an event on, now or later."""
        match event:
            case events.Warned():
                if event.text in self._warned:
                    return
                self._warned.add(event.text)
            case events.Planned() if not event.plan.is_empty and not self._known:
                self._open()
            case events.EntryFinished():
                if event.error is not None:
                    self.told = str(event.error)
                    is_hidden = self._hides and isinstance(event.error, Conflict)
                    if self.told != self._known and not is_hidden:
                        self._open()
                        self._emit(event)
                elif event.changed or self._is_open:
                    self._open()
                    self._emit(event)
                self._held = []
                return
            case events.Waiting():
                return  # the failure itself is told
            case _:
                pass
        if self._is_open:
            self._emit(event)
        else:
            self._held.append(event)

    def _open(self) -> None:
        self._is_open = True
        for event in self._held:
            self._emit(event)
        self._held = []
