"""The spine: plan, guard, apply. What is listed, and how, is for the roles.

    roles: list the source, list the destination
    here:  plan (pure), guards (pure), then put -> publish -> sweep

A dry run ends before `apply`: it is a plan that nobody executes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from s32s.core import events, guards
from s32s.core import plan as planner
from s32s.core.errors import Declined, Interrupted, SourceChanged
from s32s.core.events import Emit
from s32s.core.guards import Limits
from s32s.core.plan import Plan, Verb
from s32s.core.rules import Rules
from s32s.core.tree import Tree
from s32s.stores.base import Batch, Change, Source
from s32s.system.concurrency import for_each

T = TypeVar("T")
C = TypeVar("C", bound=Change)

#: How often an entry is begun again because its source moved, and how long the pauses between grow (seconds).
ATTEMPTS = 5
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run of one entry needs to know of its surroundings.

    Attributes:
        entry: its name.
        jobs: how many bodies move at once.
        emit: who listens.
        stop: set when a signal asks the run to end.
        approve: asked before a plan is carried out; its no ends the entry.
    """

    entry: str
    jobs: int
    emit: Emit
    stop: threading.Event = field(default_factory=threading.Event)
    approve: Callable[[Plan], bool] = lambda plan: True

    def phase(self, what: str) -> None:
        """Say what begins now, unless the run is to end."""
        self.heartbeat(0)
        self.emit(events.Phase(self.entry, what))

    def heartbeat(self, size: int) -> None:
        """A progress function for work whose bytes nobody counts: it only notices the stop."""
        if self.stop.is_set():
            raise Interrupted(0)


def make_plan(
    source: Tree, target: Tree, *, rules: Rules, limits: Limits, verb: Verb, spare_ignored: bool, context: RunContext
) -> Plan:
    """Plan and guard; nothing is changed.

    Raises:
        Refused: by a guard, or by the person who was asked.
    """
    plan = planner.make(source, target, rules=rules, deletes=verb.deletes, spare_ignored=spare_ignored)
    guards.check_plan(plan, limits)
    context.emit(events.Planned(context.entry, plan))
    if verb.changes and not plan.is_empty and not context.approve(plan):
        raise Declined("it was not confirmed", hint="nothing was changed")
    return plan


def apply(
    source: Source,
    change: AbstractContextManager[C],
    *,
    context: RunContext,
    before_publish: Callable[[], None] = lambda: None,
    done: Callable[[C], None] = lambda change: None,
) -> int:
    """Carry a change out: put, publish, sweep; return the generation.

    Args:
        before_publish: a last look at the source.
        done: told of the change after its sweep, while it is still open.
    """
    halted = threading.Event()

    def progress(size: int) -> None:
        if halted.is_set() or context.stop.is_set():
            raise Interrupted(0)
        context.emit(events.Progress(context.entry, size))

    failures: list[BaseException] = []
    with change as opened:

        def put(batch: Batch) -> None:
            try:
                for body in batch:
                    opened.put(body, progress)
                    context.emit(events.FilePut(context.entry, body.item.path, body.item.size))
            except BaseException as exc:
                failures.append(exc)
                halted.set()  # the first failure ends the crew; what is under way need not be finished
                raise

        context.phase("moving files")
        try:
            for_each(source.batches(opened.wanted), put, jobs=context.jobs, width=source.at_once)
        except BaseException as exc:
            halted.set()
            if any(exc is failure for failure in failures):
                raise failures[0] from None  # what the others met was only our own halt
            raise
        before_publish()
        context.phase("publishing")
        generation = opened.publish()
        opened.sweep()
        done(opened)
        return generation


def until_still(attempt: Callable[[int], T], *, context: RunContext) -> T:
    """Call `attempt` with 1, 2, … until the source holds still meanwhile.

    Raises:
        SourceChanged: it did not, in a bounded number of turns.
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
