"""Seals: what spares a run that would find nothing to do all but two looks.

A run that has found its destination to be exactly what was asked for remembers both: what was asked for (a manifest, or
what a LIST names, under the rules of the entry), and how the local directory looked to stat(2). As long as both are the
same, so is everything that follows from them: no manifest is read, no index, and no plan is made. Whatever a run
changes, or finds changed, breaks the seal, and `--verify` looks at none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from s32s.agent.roles.base import AgentContext, Job
from s32s.agent.state import Checkpoint
from s32s.config.maps import Entry
from s32s.core import events
from s32s.core import plan as planner
from s32s.core.plan import Joined, Plan, Unchanged
from s32s.replication.replicate import RunContext
from s32s.stores.objects.store import ObjectStore


def asked(entry: Entry, *source: str | None) -> str:
    """A digest of what a destination is to be: what names the source's content, under the rules of the entry."""
    facts = [*source, entry.manifest, entry.files, entry.ignore, entry.accept]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def found(root: str, job: Job, agent: AgentContext) -> Checkpoint | None:
    """The seal of a directory in this entry; None without one, and where every file is to be read."""
    return None if job.options.verify else agent.state.checkpoint(_name(root, job.entry))


def kept(checkpoint: Checkpoint, prefix: ObjectStore, job: Job, context: RunContext) -> Plan:
    """The plan of a sealed destination. What it leaves as it is, is read when somebody looks."""

    def read() -> Joined:
        known = prefix.known_tree()
        rows = planner.taking_part(known, job.entry.rules())
        return Joined(known, rows, known, rows)

    plan = planner.nothing(files=checkpoint.files, unchanged=Unchanged(checkpoint.names, read))
    context.emit(events.Planned(context.entry, plan))
    return plan


def renew(
    root: str,
    of: str | None,
    looks: Callable[[], str | None],
    plan: Plan,
    job: Job,
    agent: AgentContext,
    *,
    exact: bool,
) -> str:
    """After a run that carried out nothing but perhaps an empty plan: seal the directory, or break its seal.

    Args:
        of: what was asked for; None where nothing tells.
        looks: how the directory looked when it was listed.
        exact: whether the listings were found equal.

    Returns:
        What names this state for reports; "" where it has no seal.
    """
    checkpoint = None
    if exact and of is not None and plan.is_empty and not plan.rejected and (seen := looks()) is not None:
        checkpoint = Checkpoint(of, seen, files=plan.source_files, names=len(plan.unchanged))
    agent.state.save_checkpoint(_name(root, job.entry), checkpoint)
    return checkpoint.of if checkpoint else ""


def _name(root: str, entry: Entry) -> str:
    return f"{entry.s3} {root}"
