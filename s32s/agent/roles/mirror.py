"""Role mirror: from an S3 prefix to another one, within S3 wherever both are reached by the same connection.

Both sides are listed at the same time. What differs is judged from the listings; where ETags cannot be compared (parts,
KMS), by what this machine remembers of its own copies, else by which side was stored later. A prefix with a manifest
takes it along: objects first, then a manifest that names the copies, then deletions, so slaves may follow the mirror.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

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
    warn_of_other_writer,
    writer,
)
from s32s.backends.s3.backend import S3Backend
from s32s.config.maps import Role, S3Path
from s32s.core import compare, paths, tree
from s32s.core.errors import NotFound, Refused, StoreError, TemporaryFailure
from s32s.core.tree import Item, Kind, Tree, is_md5
from s32s.replication.replicate import RunContext, apply, until_still
from s32s.stores.objects.change import ManifestCache, ObjectChange
from s32s.stores.objects.store import ObjectStore
from s32s.system.concurrency import for_each, gather


def mirror(place: str, job: Job, agent: AgentContext, context: RunContext) -> Outcome:
    """Make the prefix `place` what the entry's prefix holds, or plan it.

    Raises:
        S32sError: what was copied so far is there, and nothing was deleted.
    """
    there = S3Path.parse(place)
    _check_places(there, job, agent)
    state = agent.state
    target = ObjectStore(
        S3Backend(agent.mirror_engine, there),
        rules=job.entry.rules(),
        has_manifest=job.entry.manifest,
        cache=ManifestCache(
            lambda source, sha256: state.cached_manifest(f"mirror {source}", sha256),
            lambda source, data: state.cache_manifest(f"mirror {source}", data),
        ),
        on_disk=False,
    )
    with state.lock(f"the mirror to {place}", hold=job.verb.changes):
        return until_still(
            lambda attempt: _turn(prefix_of(job.entry, agent, on_disk=False), target, job, agent, context),
            context=context,
        )


def _turn(source: ObjectStore, target: ObjectStore, job: Job, agent: AgentContext, context: RunContext) -> Outcome:
    entry, state = job.entry, agent.state
    name = str(target.place)
    context.phase("listing")
    last = last_run(entry, Role.MIRROR, agent)
    known = last is not None and last.generation > 0
    source_tree, target_tree = gather(lambda: _source_tree(source, known=known), lambda: _target_tree(target))
    check_pushed(entry, source_tree, known=known, job=job, role=Role.MIRROR, agent=agent)
    check_generation(source, last, job)
    warn_of_other_writer(target, agent, context)
    check_listed(entry.files, missing(entry, source_tree))
    published = source.head is not None or target.head is not None
    if not published:
        target_tree = target_tree.but(published=True)
    copies = {} if job.options.verify else state.copies(name)
    context.phase("comparing")
    source_tree, target_tree = _settled(source_tree, target_tree, copies, source, target, agent, context)
    plan = planned(source_tree, target_tree, job, agent, context, spare_ignored=True)
    due = not plan.is_empty or not target_tree.published
    changed = job.verb.changes and due
    etags: dict[str, str | None] = {}
    if changed:

        def done(change: ObjectChange) -> None:
            etags.update(change.etags())

        apply(source, target.change(plan, writer(job, agent) if published else None), context=context, done=done)
    if job.verb.changes:
        _remember(source_tree, etags if changed else plan.unchanged.etags(), copies, name, agent)
    note = "a sync will publish the manifest" if due and plan.is_empty and not changed else ""
    return Outcome(plan, due, changed, source_tree.generation, time.time(), source_tree.note or note)


def _source_tree(source: ObjectStore, *, known: bool) -> Tree:
    with _named(f"source {source.place}"):
        return source.tree(compare=True, known=known)


def _target_tree(target: ObjectStore) -> Tree:
    with _named(f"mirror {target.place}"):
        return target.target_tree()


@contextlib.contextmanager
def _named(side: str) -> Iterator[None]:
    """Say which of the two places an error of S3 is about."""
    try:
        yield
    except (StoreError, TemporaryFailure) as exc:
        exc.where = exc.where or side
        raise


def _settled(
    source: Tree,
    target: Tree,
    copies: dict[str, tuple[str, str]],
    from_: ObjectStore,
    to: ObjectStore,
    agent: AgentContext,
    context: RunContext,
) -> tuple[Tree, Tree]:
    """Add to both trees what tells whether objects of one size and two ETags are the same.

    A copy that this machine made and that has not changed since is known. Two ETags that look like MD5 may be ones of
    KMS; asking costs two requests, so it is asked only where the original is not the later one, and drift is to be told
    from encryption.
    """
    known: dict[str, Item] = {}
    unknown: list[Item] = []
    for item in source:
        there = target.get(item.path)
        if there is None or not compare.is_undecided(item, there):
            continue
        if copies.get(item.path) == (item.etag, there.etag):
            known[item.path] = there._replace(copy_of=item.etag)
        elif is_md5(item.etag) and is_md5(there.etag) and (item.stored_ns or 0) <= (there.stored_ns or 0):
            unknown.append(item)
    plain: dict[str, Item] = {}

    def ask(item: Item) -> None:
        context.heartbeat(0)
        with contextlib.suppress(NotFound):  # gone meanwhile: the copy will notice
            here, there = from_.backend.head(item.path), to.backend.head(item.path)
            if here.has_md5 and there.has_md5:
                plain[item.path] = item._replace(md5=item.etag)

    for_each(unknown, ask, jobs=context.jobs)
    return _with(source, plain), _with(target, known)


def _with(made: Tree, changed: dict[str, Item]) -> Tree:
    if not changed:
        return made
    items = (changed.get(item.path, item) for item in made)
    return tree.make(items, published=made.published, generation=made.generation, note=made.note)


def _remember(
    source: Tree, etags: dict[str, str | None], copies: dict[str, tuple[str, str]], name: str, agent: AgentContext
) -> None:
    """Keep which copy belongs to which original, where their ETags do not show it."""
    now: dict[str, tuple[str, str]] = {}
    for item in source:
        etag = etags.get(item.path)
        if item.kind is Kind.FILE and item.etag and etag and etag != item.etag:
            now[item.path] = (item.etag, etag)
    if now != copies:
        agent.state.save_copies(name, now)


def _check_places(there: S3Path, job: Job, agent: AgentContext) -> None:
    """Refuse a mirror that would feed on itself, or whose exact sync would delete other things that live there.

    Raises:
        Refused: it holds, or lies in, its own source, the maps, or another entry's place.
    """
    here = job.entry.s3_path
    # Two names of one server cannot be told apart, so nested places are refused there as well; equal ones do no harm.
    elsewhere = agent.mirror_engine.endpoint_url != agent.engine.endpoint_url
    if there.overlaps(here) and not (elsewhere and there == here):
        raise Refused(
            f"the mirror {there} and its source {here} overlap: it would feed on itself",
            hint="mirror to another bucket or to a prefix beside the source",
        )
    if not elsewhere and there.overlaps(agent.settings.maps):
        raise Refused(
            f"the mirror {there} and the maps at {agent.settings.maps} overlap, and a sync would delete the maps",
            hint="give the mirror a prefix of its own",
        )
    others = [*job.others.items(), *(() if elsewhere else job.pushed.items())]
    for name, other in others:
        if there.overlaps(S3Path.parse(other)):
            raise Refused(
                f"the mirror {there} and {other} of the entry {paths.quote(name)} overlap, "
                "and each sync would delete what the other brings",
                hint="give every entry prefixes of its own",
            )
