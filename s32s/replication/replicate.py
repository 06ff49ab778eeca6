"""The spine: make one store what another one holds, or plan it.

    look -> snapshot -> refine     both places, at the same time where they wait for answers
    plan, guards                   pure
    put -> publish -> sweep        a transaction of the target

A dry run ends before the transaction: it is a plan that nobody executes.
"""

from __future__ import annotations

from dataclasses import replace

from s32s.core import events, guards
from s32s.core import plan as planner
from s32s.core.errors import Declined
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.replication import checkpoints
from s32s.replication.checkpoints import Checkpoint
from s32s.replication.checks import check_source
from s32s.replication.execute import transfer
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.retry import ATTEMPTS, until_still
from s32s.stores.base import Look, Policy, Readable, S, Snapshot, T, Writable
from s32s.system.concurrency import gather


def replicate(source: Readable[S], target: Writable[T], job: Job, run: RunContext) -> Outcome:
    """Make `target` what `source` holds, or plan it.

    Raises:
        S32sError: the target is as its store promises: as it was, or on S3 with nothing deleted.
    """
    pair = f"{source.location} {target.location}"
    with target.open_target(writable=job.verb.changes) as there:

        def attempt(number: int) -> Outcome:
            with source.open_source(target=target.capabilities, again=number > 1) as here:
                run.phase("listing")
                seen, found = gather(here.look, there.look)
                checkpoint = None if job.verify else run.checkpoints.load(pair)
                if checkpoint is not None and checkpoint.holds_for(job.asked, seen, found):
                    return _unchanged(checkpoint, seen, found, job, run)
                wanted, present = gather(seen.snapshot, found.snapshot)
                check_source(wanted, job, target.capabilities, location=source.location, target=target.location)
                run.phase("checking files")
                wanted = here.refine(wanted, against=present, jobs=run.jobs, progress=run.heartbeat)
                present = there.refine(present, against=wanted, jobs=run.jobs, progress=run.heartbeat)
                plan = _plan(wanted, present.tree, job, run)
                there.check(present, plan, wanted.tree)
                due, published = not (plan.is_empty and present.is_published), None
                if due and job.verb.changes:
                    there.check_changeable()
                    run.begin()
                    policy = Policy(deletes=job.verb.deletes, patient=number < ATTEMPTS)
                    with there.transaction(present, plan, policy) as transaction:
                        run.phase("moving files")
                        transfer(here, transaction, run)
                        if transaction.is_staged:
                            here.confirm(wanted)
                        run.phase("publishing")
                        published = transaction.publish()
                        transaction.sweep()
                    del transaction  # what it made of a million paths need not stay while the stores remember theirs
            kept = None
            if job.verb.changes:
                here.remember(wanted, plan, published)
                there.remember(present, plan, published)
                if not due and (job.verb.deletes or not plan.spared):
                    kept = checkpoints.after(plan, job.asked, seen, found)
                if not job.rules.below or published is not None:
                    run.checkpoints.save(pair, None if job.rules.below else kept)
            return Outcome(
                plan,
                due,
                changed=published is not None,
                source=wanted.position,
                target=published.position if published else present.position,
                is_listed=wanted.is_listed,
                fingerprint=kept.fingerprint if kept else "",
                note=wanted.position.note or (present.position.note if plan.is_empty and not published else ""),
            )

        return until_still(attempt, context=run)


def _plan(wanted: Snapshot, present: Tree, job: Job, run: RunContext) -> Plan:
    """Plan and guard; nothing is changed.

    Raises:
        Refused: by a guard, or by the person who was asked.
    """
    plan = planner.make(
        wanted.tree, present, rules=job.rules, deletes=job.verb.deletes, spare_ignored=job.spare_ignored
    )
    if wanted.rejected:
        plan = replace(plan, rejected=(*plan.rejected, *wanted.rejected))
    guards.check_plan(plan, job.limits)
    run.emit(events.Planned(run.entry, plan))
    if job.verb.changes and not plan.is_empty and not run.approve(plan):
        raise Declined("cancelled", hint="nothing was changed")
    return plan


def _unchanged(checkpoint: Checkpoint, seen: Look[S], found: Look[T], job: Job, run: RunContext) -> Outcome:
    """The outcome where everything is as it was at a checkpoint."""
    tree = seen.tree or found.tree
    if tree is None:
        raise AssertionError("neither store shows its tree")
    plan = checkpoints.unchanged_plan(checkpoint, tree, job.rules)
    run.emit(events.Planned(run.entry, plan))
    return Outcome(
        plan,
        due=False,
        changed=False,
        source=seen.position,
        target=found.position,
        is_listed=seen.is_listed,
        fingerprint=checkpoint.fingerprint,
        note=seen.position.note,
    )
