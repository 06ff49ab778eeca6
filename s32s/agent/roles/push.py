"""Role master: from a local directory to an S3 prefix.

The prefix is listed first, so that only files which it could already hold are hashed before their upload. Uploads come
first, then manifest and head, then deletions: no reader misses a file that its manifest names.
"""

from __future__ import annotations

import time

from s32s.agent.roles import checkpoints
from s32s.agent.roles.base import (
    AgentContext,
    Job,
    Outcome,
    check_listed,
    last_run,
    planned,
    prefix_of,
    warn_of_other_writer,
    writer,
)
from s32s.config.maps import Role, S3Path
from s32s.core import events, paths, tree
from s32s.core.errors import Refused, Unreadable
from s32s.core.tree import Kind, Tree
from s32s.format import manifest
from s32s.replication.replicate import RunContext, apply, until_still
from s32s.stores.local.source import LocalSource
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.objects.change import ObjectChange
from s32s.stores.objects.store import ObjectStore
from s32s.system.concurrency import gather


def push(root: str, job: Job, agent: AgentContext, context: RunContext) -> Outcome:
    """Make the entry's prefix what the directory `root` holds, or plan it.

    Raises:
        S32sError: what was uploaded so far is there, but no manifest names it and nothing was deleted.
    """
    entry, state = job.entry, agent.state
    _check_prefix(entry.s3_path, job, agent)
    if not root.startswith("/"):
        raise Refused(f"{paths.escape(root)} is a path of another system", hint="run this entry on its own machine")
    prefix = prefix_of(entry, agent)
    with state.lock(f"the push to {entry.s3}", hold=job.verb.changes):

        def attempt(number: int) -> Outcome:
            # A fresh source each time: what was found the last time may be what has changed.
            with LocalSource(
                root,
                rules=entry.rules(),
                index=lambda: StatCache() if job.options.verify else state.index(root),
                room=entry.s3_path.room,
            ) as source:
                return _turn(source, prefix, job, agent, context)

        return until_still(attempt, context=context)


def _turn(source: LocalSource, prefix: ObjectStore, job: Job, agent: AgentContext, context: RunContext) -> Outcome:
    entry, state = job.entry, agent.state
    context.phase("listing")
    listing, looks = gather(prefix.listing, source.looks)
    head = prefix.read_head() if entry.manifest else None
    warn_of_other_writer(prefix, agent, context)
    published = head.manifest.sha256 if head and head.manifest and not head.push else None
    asked = checkpoints.asked(entry, listing, published)
    checkpoint = checkpoints.found(source.root, job, agent)
    if checkpoint is not None and (checkpoint.of, checkpoint.looks) == (asked, looks):
        plan = checkpoints.kept(checkpoint, prefix, job, context)
        generation = head.generation if head else 0
        return Outcome(
            plan, False, False, generation, time.time(), fingerprint=checkpoint.of, manifest=prefix.manifest_sha256
        )
    target_tree = prefix.target_tree(read=False)
    context.phase("checking files")
    source_tree = source.tree(target_tree, progress=context.heartbeat)
    check_listed(entry.files, source.missing(entry.files or []))
    if not entry.manifest:
        source_tree = _without_manifest(source_tree)
    plan = planned(source_tree, target_tree, job, agent, context, spare_ignored=True)
    due = not plan.is_empty or not target_tree.published
    if due and entry.manifest:
        manifest.check_size(source_tree)
    changed = job.verb.changes and due
    generation = target_tree.generation
    followed = prefix.manifest_sha256
    etags: dict[str, str | None] = {}
    if changed:

        def done(change: ObjectChange) -> None:
            nonlocal followed
            followed = change.manifest_sha256
            etags.update(change.etags())

        generation = apply(
            source,
            prefix.change(plan, writer(job, agent, generation=_last_generation(prefix, job, agent, context))),
            context=context,
            done=done,
        )
    if job.verb.changes and (changed or source.has_news):
        state.save_index(source.root, source.seen(etags if changed else plan.unchanged.etags()))
    fingerprint = ""
    if job.verb.changes:
        exact = not due and (job.verb.deletes or not plan.spared)
        fingerprint = checkpoints.renew(source.root, asked, source.looks, plan, job, agent, exact=exact)
    note = "a sync will publish the manifest" if due and plan.is_empty and not changed else ""
    return Outcome(plan, due, changed, generation, time.time(), note, fingerprint, followed)


def _last_generation(prefix: ObjectStore, job: Job, agent: AgentContext, context: RunContext) -> int:
    """The last generation that this machine has published there; a prefix that has gone behind it is told."""
    last = last_run(job.entry, Role.MASTER, agent)
    generation, now = last.generation if last else 0, prefix.head.generation if prefix.head else 0
    if now < generation and job.entry.manifest:
        text = f"{prefix.place} went back from generation {generation:,} to {now:,}; the next one is {generation + 1:,}"
        context.emit(events.Warned(context.entry, text))
    return generation


def _check_prefix(place: S3Path, job: Job, agent: AgentContext) -> None:
    """Refuse a prefix whose exact sync would delete other things that live there.

    Raises:
        Refused: it holds, or lies in, the maps or another entry's prefix.
    """
    if place.overlaps(agent.settings.maps):
        raise Refused(
            f"{place} and the maps at {agent.settings.maps} overlap, and a push would delete the maps",
            hint="give the entry a prefix of its own",
        )
    for name, other in job.others.items():
        if place.overlaps(S3Path.parse(other)):
            raise Refused(
                f"{place} and the prefix of entry {paths.quote(name)}, {other}, overlap, "
                "and each push would delete the other's files",
                hint="give every entry a prefix of its own",
            )


def _without_manifest(source: Tree) -> Tree:
    """What plain objects can carry: files, and a marker for each empty directory.

    Raises:
        Unreadable: there are symbolic links.
    """
    links = [item.path for item in source if item.kind is Kind.LINK]
    if links:
        raise Unreadable(
            f"symbolic links cannot be replicated without a manifest: {paths.some(links)}",
            hint='set "manifest": true in the entry, or leave them out with a rule of ignore',
            paths=tuple(links),
        )
    holding = {above for item in source for above in paths.ancestors(item.path)}
    return tree.make(item for item in source if item.kind is not Kind.DIR or item.path not in holding)
