"""Checkpoints: what spares a run that would find nothing to do all but two looks.

A run that has found its target to be exactly what was asked for remembers how both places looked, and what was asked
for. As long as all of it is the same, so is everything that follows from it: no manifest is read, no stat cache, and no
plan is made. Whatever a run changes, or finds changed, breaks the checkpoint, and `verify` looks at none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from s32s.core import plan as planner
from s32s.core.plan import Plan
from s32s.core.rules import Rules
from s32s.core.tree import Tree
from s32s.core.unchanged import Joined, Unchanged
from s32s.stores.base import Look, Snapshot


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That a target was found to be exactly what was asked for.

    Attributes:
        asked: what was asked for besides the two places, such as rules.
        source, target: how they looked, see `stores.base.Look.fingerprint`.
        files: how many files and links take part.
        names: how many names, directories included.
    """

    asked: str
    source: str
    target: str
    files: int
    names: int

    def holds_for(self, asked: str, source: Look[Snapshot], target: Look[Snapshot]) -> bool:
        """Whether everything is as it was."""
        return (
            source.proves
            and target.proves
            and self.asked == asked
            and self.source == source.fingerprint()
            and self.target == target.fingerprint()
        )

    @property
    def fingerprint(self) -> str:
        """One name for all of it."""
        return hashlib.sha256(json.dumps([self.asked, self.source, self.target]).encode()).hexdigest()


class Checkpoints(NamedTuple):
    """Where they are kept, by a name for the pair of places; the default keeps none."""

    load: Callable[[str], Checkpoint | None] = lambda name: None
    save: Callable[[str, Checkpoint | None], None] = lambda name, checkpoint: None


def unchanged_plan(checkpoint: Checkpoint, tree: Callable[[], Tree], rules: Rules) -> Plan:
    """The plan of a target that is as it was. What it leaves as it is, is read when somebody looks."""

    def read() -> Joined:
        known = tree()
        rows = planner.taking_part(known, rules)
        return Joined(known, rows, known, rows)

    return planner.nothing(files=checkpoint.files, unchanged=Unchanged(checkpoint.names, read))


def after(plan: Plan, asked: str, source: Look[Snapshot], target: Look[Snapshot]) -> Checkpoint | None:
    """What to remember of a run that has found nothing to do; None where that is not certain."""
    if not plan.is_empty or plan.rejected:
        return None
    here, there = source.fingerprint(), target.fingerprint()
    if here is None or there is None:
        return None
    return Checkpoint(asked, here, there, files=plan.source_files, names=len(plan.unchanged))
