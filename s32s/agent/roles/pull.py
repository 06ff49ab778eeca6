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
    Done,
    Machine,
    Task,
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
from s32s.replication.replicate import TURNS, Work, apply, until_still
from s32s.stores.local.meanwhile import Policy
from s32s.stores.local.stat_cache import Index
from s32s.stores.local.target import LocalTarget, TargetRules, check_target
from s32s.stores.objects.prefix import S3Prefix
from s32s.system.concurrency import Promise


def pull(root: str, task: Task, machine: Machine, work: Work) -> Done:
    """Make the directory `root` what the entry's prefix holds, or plan it.

    Raises:
        S32sError: the target is as it was.
    """
    entry, state = task.entry, machine.state
    kept = [str(path) for path in state.directories]
    rules = TargetRules(
        allow=machine.settings.allow,
        kept=kept,
        homes=machine.homes,
        others=task.others,
        allow_system=machine.settings.allow_system,
    )
    check_target(root, rules)
    target = LocalTarget(
        root,
        in_place=entry.apply == "in-place",
        # Whoever wants every file read still has to know which times the file system could not keep.
        index=lambda: Index(state.index(root).meant().items()) if task.options.verify else state.index(root),
        warn=lambda text: work.emit(events.Warned(work.entry, text)),
    )
    prefix = prefix_of(entry, machine)
    with target.held(changing=task.verb.changes):
        return until_still(lambda turn: _turn(turn, prefix, target, task, machine, work), work=work)


def _turn(turn: int, prefix: S3Prefix, target: LocalTarget, task: Task, machine: Machine, work: Work) -> Done:
    entry, state = task.entry, machine.state
    last = last_run(entry, Role.SLAVE, machine)
    now = time.time()
    listed_s = last.listed_s if last else None
    # A clock that was set back must not put the comparison off for ever.
    due = listed_s is None or not 0 <= now - listed_s < machine.settings.list_every_s
    if machine.settings.list_every_s == float("inf"):
        due = False
    compare = due or task.options.verify or turn > 1

    work.phase("listing")
    head = prefix.read_head() if entry.manifest else None
    check_generation(prefix, last, task)
    known = last is not None and last.generation > 0
    asked = _asked(prefix, entry, known=known)
    seal = checkpoints.found(target.root, task, machine)
    is_due = compare and head is not None
    if seal is not None and seal.of == asked and not is_due and target.looks() == seal.looks:
        plan = checkpoints.kept(seal, prefix, task, work)
        generation = head.generation if head else 0
        return Done(
            plan,
            False,
            False,
            generation,
            listed_s if head else now,
            prefix.note,
            same_as=seal.of,
            manifest=prefix.manifest_sha256,
        )
    source_tree = prefix.tree(compare=False, known=known, read=False)
    check_pushed(entry, source_tree, known=known, task=task, role=Role.SLAVE, machine=machine)
    with _compared(prefix, source_tree, is_due=is_due) as wait:
        guards.check_shape(source_tree, what=f"the prefix {entry.s3}")
        guards.check_links(source_tree, what="the manifest")
        check_listed(entry.files, missing(entry, source_tree))
        work.phase("checking files")
        target_tree = target.tree(source_tree, progress=work.heartbeat)
        if not task.verb.changes:
            wait()  # a plan that is only shown is shown when it is certain
        plan = planned(source_tree, target_tree, task, machine, work, spare_ignored=False)
        due = not plan.is_empty or not target.exists
        changed = task.verb.changes and due
        if changed:
            target.check_changeable()
            state.mark_pending(entry.name, Role.SLAVE.value, needed=entry.after is not None)

            def check() -> None:
                wait()
                prefix.check_unchanged()

            policy = Policy(deletes=task.verb.deletes, patient=turn < TURNS)
            apply(prefix.read_ahead(work.jobs), target.change(plan, policy), work=work, before_publish=check)
            if target.told:
                work.emit(events.Warned(work.entry, _moved(target)))
    if compare or prefix.head is None:
        listed_s = now
    same_as = ""
    if task.verb.changes:
        target.remember(plan, changed=changed, save=lambda index: state.save_index(target.root, index))
        exact = target.exists and not changed and not plan.carried
        same_as = checkpoints.renew(target.root, asked, lambda: target.listed_looks, plan, task, machine, exact=exact)
    return Done(plan, due, changed, source_tree.generation, listed_s, source_tree.note, same_as, prefix.manifest_sha256)


@contextlib.contextmanager
def _compared(prefix: S3Prefix, source: Tree, *, is_due: bool) -> Iterator[Callable[[], None]]:
    """Hold the manifest against a LIST while the block goes on; what that finds comes before every other trouble.

    Yields:
        What waits for it.

    Raises:
        StaleManifest, PushUnderway, SourceChanged: it does not describe the objects.
    """
    if not is_due:
        yield lambda: None
        return
    comparing = Promise(lambda: prefix.compare(source))
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


def _asked(prefix: S3Prefix, entry: Entry, *, known: bool) -> str | None:
    """What the target is to be: by the manifest that the head names, else by a LIST."""
    if prefix.head is not None:
        return checkpoints.asked(entry, prefix.head.manifest.sha256) if prefix.head.manifest else None
    return None if known and entry.manifest else checkpoints.asked(entry, prefix.listing())
