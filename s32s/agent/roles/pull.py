"""Role slave: from an S3 prefix to a local directory.

The target is checked and locked before the network is touched. The source is the manifest where there is one, else a
LIST; the local files are compared with it, planned, guarded, and changed as `stores/local/staging.py` says.
`checkpoints.py` says what spares most of that when nothing has changed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from s32s.agent.roles import checkpoints
from s32s.agent.roles.base import (
    AgentContext,
    Job,
    Outcome,
    check_generation,
    check_listed,
    check_pushed,
    last_run,
    missing,
    planned,
    prefix_of,
)
from s32s.config.maps import Entry, Role
from s32s.core import events, guards, paths
from s32s.core.errors import Interrupted, S32sError
from s32s.core.tree import Tree
from s32s.replication.replicate import ATTEMPTS, RunContext, apply, until_still
from s32s.stores.local.meanwhile import Policy
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.target import LocalTarget, TargetRules, check_target
from s32s.stores.objects.store import ObjectStore
from s32s.system.concurrency import Future


def pull(root: str, job: Job, agent: AgentContext, context: RunContext) -> Outcome:
    """Make the directory `root` what the entry's prefix holds, or plan it.

    Raises:
        S32sError: the target is as it was.
    """
    entry, state = job.entry, agent.state
    kept = [str(path) for path in state.directories]
    rules = TargetRules(
        allow=agent.settings.allow,
        kept=kept,
        homes=agent.homes,
        others=job.others,
        allow_system=agent.settings.allow_system,
    )
    check_target(root, rules)
    target = LocalTarget(
        root,
        in_place=entry.apply == "in-place",
        # A run that reads every file still has to know which times the file system could not keep.
        index=lambda: StatCache(state.index(root).meant().items()) if job.options.verify else state.index(root),
        warn=lambda text: context.emit(events.Warned(context.entry, text)),
    )
    prefix = prefix_of(entry, agent)
    with target.held(changing=job.verb.changes):
        return until_still(lambda attempt: _turn(attempt, prefix, target, job, agent, context), context=context)


def _turn(
    attempt: int, prefix: ObjectStore, target: LocalTarget, job: Job, agent: AgentContext, context: RunContext
) -> Outcome:
    entry, state = job.entry, agent.state
    last = last_run(entry, Role.SLAVE, agent)
    now = time.time()
    listed_s = last.listed_s if last else None
    # A clock that was set back must not put the comparison off for ever.
    due = listed_s is None or not 0 <= now - listed_s < agent.settings.list_every_s
    if agent.settings.list_every_s == float("inf"):
        due = False
    compare = due or job.options.verify or attempt > 1

    context.phase("listing")
    head = prefix.read_head() if entry.manifest else None
    check_generation(prefix, last, job)
    known = last is not None and last.generation > 0
    asked = _asked(prefix, entry, known=known)
    checkpoint = checkpoints.found(target.root, job, agent)
    is_due = compare and head is not None
    if checkpoint is not None and checkpoint.of == asked and not is_due and target.looks() == checkpoint.looks:
        plan = checkpoints.kept(checkpoint, prefix, job, context)
        generation = head.generation if head else 0
        return Outcome(
            plan,
            False,
            False,
            generation,
            listed_s if head else now,
            prefix.note,
            fingerprint=checkpoint.of,
            manifest=prefix.manifest_sha256,
        )
    source_tree = prefix.tree(compare=False, known=known, read=False)
    check_pushed(entry, source_tree, known=known, job=job, role=Role.SLAVE, agent=agent)
    with _compared(prefix, source_tree, is_due=is_due) as wait:
        guards.check_shape(source_tree, what=f"the prefix {entry.s3}")
        guards.check_links(source_tree, what="the manifest")
        check_listed(entry.files, missing(entry, source_tree))
        context.phase("checking files")
        target_tree = target.tree(source_tree, progress=context.heartbeat)
        if not job.verb.changes:
            wait()  # a plan that is only shown is shown when it is certain
        plan = planned(source_tree, target_tree, job, agent, context, spare_ignored=False)
        due = not plan.is_empty or not target.exists
        changed = job.verb.changes and due
        if changed:
            target.check_changeable()
            state.mark_pending(entry.name, Role.SLAVE.value, needed=entry.after is not None)

            def check() -> None:
                wait()
                prefix.check_unchanged()

            policy = Policy(deletes=job.verb.deletes, patient=attempt < ATTEMPTS)
            apply(prefix.read_ahead(context.jobs), target.change(plan, policy), context=context, before_publish=check)
            if target.told:
                context.emit(events.Warned(context.entry, _moved(target)))
    if compare or prefix.head is None:
        listed_s = now
    fingerprint = ""
    if job.verb.changes:
        target.remember(plan, changed=changed, save=lambda index: state.save_index(target.root, index))
        exact = target.exists and not changed and not plan.spared
        fingerprint = checkpoints.renew(target.root, asked, lambda: target.listed_looks, plan, job, agent, exact=exact)
    return Outcome(
        plan, due, changed, source_tree.generation, listed_s, source_tree.note, fingerprint, prefix.manifest_sha256
    )


@contextlib.contextmanager
def _compared(prefix: ObjectStore, source: Tree, *, is_due: bool) -> Iterator[Callable[[], None]]:
    """Hold the manifest against a LIST while the block goes on; what that finds comes before every other trouble.

    Yields:
        What waits for it.

    Raises:
        StaleManifest, PushUnderway, SourceChanged: it does not describe the objects.
    """
    if not is_due:
        yield lambda: None
        return
    comparing = Future(lambda: prefix.compare(source))
    try:
        yield comparing.result
    except Interrupted:
        raise
    except S32sError:
        comparing.result()
        raise
    comparing.result()


def _moved(target: LocalTarget) -> str:
    count = len(target.told)
    what = "name" if count == 1 else "names"
    return (
        f"{count:,} {what} in {paths.escape(target.root)} changed during the run and stayed as they are: "
        f"{paths.some(target.told)}; the next run looks at them again"
    )


def _asked(prefix: ObjectStore, entry: Entry, *, known: bool) -> str | None:
    """What the target is to be: by the manifest that the head names, else by a LIST."""
    if prefix.head is not None:
        return checkpoints.asked(entry, prefix.head.manifest.sha256) if prefix.head.manifest else None
    return None if known and entry.manifest else checkpoints.asked(entry, prefix.listing())
