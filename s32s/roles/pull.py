"""Role slave: from an S3 prefix to a local directory.

The target is checked and locked before the network is touched. The source is the manifest where there is one, else a
LIST; the local files are compared with it, planned, guarded, and changed as `stores/staging.py` says.
"""

from __future__ import annotations

import time

from s32s import guards
from s32s.maps import Role
from s32s.replicate import Work, apply, until_still
from s32s.roles.base import Done, Machine, Task, check_listed, missing, planned, prefix_of
from s32s.stores.local_target import LocalTarget, TargetRules, check_target
from s32s.stores.s3 import S3Prefix


def pull(root: str, task: Task, machine: Machine, work: Work) -> Done:
    """Make the directory `root` what the entry's prefix holds, or plan it.

    Raises:
        S32sError: the target is as it was.
    """
    entry, state = task.entry, machine.state
    kept = [str(path) for path in state.directories]
    check_target(root, TargetRules(allow=machine.settings.allow, kept=kept, homes=machine.homes, others=task.others))
    index = {} if task.options.verify else state.index(root)
    target = LocalTarget(root, in_place=entry.apply == "in-place", index=index)
    prefix = prefix_of(entry, machine)
    with target.held(changing=task.verb.changes):
        return until_still(lambda turn: _turn(turn, prefix, target, task, machine, work), work=work)


def _turn(turn: int, prefix: S3Prefix, target: LocalTarget, task: Task, machine: Machine, work: Work) -> Done:
    entry, state = task.entry, machine.state
    last = state.result(entry.name, Role.SLAVE.value)
    now = time.time()
    listed_s = last.listed_s if last else None
    # A clock that was set back must not put the comparison off for ever.
    due = listed_s is None or not 0 <= now - listed_s < machine.settings.list_every_s
    if machine.settings.list_every_s == float("inf"):
        due = False
    compare = due or task.options.verify or turn > 1

    work.phase("listing")
    source_tree = prefix.tree(compare=compare, known=last is not None and last.generation > 0)
    guards.check_shape(source_tree, what=f"the prefix {entry.s3}")
    guards.check_links(source_tree, what="the manifest")
    check_listed(entry.files, missing(entry, source_tree))
    work.phase("checking files")
    target_tree = target.tree(source_tree, progress=work.heartbeat)
    plan = planned(source_tree, target_tree, task, machine, work, spare_ignored=False)
    if compare or prefix.head is None:
        listed_s = now
    due = not plan.is_empty or not target.exists
    changed = task.verb.changes and due
    if changed:
        target.check_changeable()
        state.mark_pending(entry.name, Role.SLAVE.value, needed=entry.after is not None)
        apply(prefix, target.change(plan), work=work, before_publish=prefix.check_unchanged)
    if task.verb.changes:
        target.remember(plan, changed=changed, save=lambda rows: state.save_index(target.root, rows))
    return Done(plan, due, changed, source_tree.generation, listed_s, source_tree.note)
