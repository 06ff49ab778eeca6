"""An entry's prefix from one layout into the other, from the directory of its master.

The other layout is complete before the head moves, in one step. Then what belonged to the one before is deleted, and
nothing else: objects that its manifests name or that hold what a kept generation has at their path, or packs.

A conversion that is cut off leaves objects that nobody needs. The result of the last run says so until the next one;
after that a push to a plain prefix tells of packs, and `prune` and `verify` of objects beside them.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from s32s.agent.advice import advised
from s32s.agent.results import INTERRUPTED, Result
from s32s.agent.roles.base import AgentContext, last_run
from s32s.agent.roles.writer import user, writer
from s32s.backends.base import Backend, Chunk
from s32s.config.maps import Entry
from s32s.core import compare, events, paths
from s32s.core import plan as planner
from s32s.core.errors import BadPath, EntryFailed, IntegrityError, NotFound, Refused, UsageError
from s32s.core.events import Emit
from s32s.core.guards import Limits
from s32s.core.item import Kind
from s32s.core.plan import Verb
from s32s.core.role import Role
from s32s.core.rules import EVERYTHING
from s32s.core.summary import counts
from s32s.format import manifest, packs
from s32s.format.head import MAX_MANIFEST, ManifestRef
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import NOWHERE, Position
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.objects.head_checks import check_not_lost
from s32s.stores.objects.heads import HeadWriter
from s32s.stores.objects.packed.prefix import PackedPrefix
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.prefix import ManifestCache, Prefix, read_head
from s32s.stores.objects.store import ObjectStore


def convert(
    entry: Entry,
    layout: str,
    agent: AgentContext,
    *,
    emit: Emit = events.silent,
    stop: threading.Event | None = None,
) -> tuple[Outcome | None, int]:
    """Bring an entry's prefix into a layout; return how the push went, and how many objects of the other are gone.

    A prefix that is in that layout already only loses what an earlier conversion, which was cut off, has left.

    Args:
        layout: "plain" or "packed".

    Raises:
        UsageError: there is no such layout.
        Refused: this machine is not a master of the entry, nothing was pushed yet, or the directory is not what S3
            holds: a conversion publishes nothing new, and takes nothing away.
        S32sError: the prefix is in the layout that it was in, or what is left of that is told.
    """
    if layout not in ("plain", "packed"):
        raise UsageError(f"{paths.quote(layout)} is not a layout", hint="use plain or packed")
    if agent.settings.role is not Role.MASTER or entry.master is None:
        raise Refused(
            f"only a master of {paths.quote(entry.name)} can convert its prefix, and this machine is not one",
            hint="run it on the master",
        )
    backend = agent.services.backend(entry.location)
    with advised(entry, agent), agent.state.lock(f"the push to {entry.s3}", hold=True):
        found = read_head(backend)
        if found.head is None or not found.is_published:
            check_not_lost(backend, found)
            raise Refused(
                f"nothing has been pushed to {entry.s3} yet, or it has no manifest",
                hint=f'set "layout": "{layout}" in the entry and run s32s sync',
            )
        outcome, last = None, last_run(entry, Role.MASTER, agent)
        if found.head.is_packed != (layout == "packed"):
            stop = stop or threading.Event()
            _check_equal(entry, "plain" if layout == "packed" else "packed", backend, agent, stop)
            outcome = _push(entry, layout, backend, agent, emit, stop)
        gone = _tidy(layout, backend, agent)
        if outcome is not None or (last is not None and last.text.startswith(_CUT_OFF)):
            stands = outcome.target if outcome is not None else found.position
            _note(entry, agent, f"converted to the {layout} layout", last, stands, ok=True)
        return outcome, gone


def given_up(entry: Entry, layout: str, agent: AgentContext) -> Sequence[int]:
    """The earlier generations that a conversion to a layout gives up: those of packs.

    Raises:
        S32sError: they cannot be read.
    """
    backend = agent.services.backend(entry.location)
    with advised(entry, agent):
        head = read_head(backend).head
        if layout == "packed" or head is None or head.root is None:
            return []
        root = PackedPrefix(backend, cache=agent.state.segments()).root(head.root)
        return [one.published.number for one in root.generations(head.root)][1:]


_CUT_OFF = "the conversion to the "


def _cut_off(entry: Entry, layout: str) -> str:
    other = "plain" if layout == "packed" else "packed"
    command = f"s32s convert {paths.word(entry.name)} --layout"
    return f"{_CUT_OFF}{layout} layout was cut off; {command} {layout} completes it, {command} {other} undoes it"


def _note(
    entry: Entry, agent: AgentContext, text: str, last: Result | None, stands: Position, *, ok: bool = False
) -> None:
    """Save how the conversion stands as the result of the last run."""
    now_s = time.time()
    source, target = entry.direction(Role.MASTER)
    before = last or Result(now_s, ok, 0, "", source=source, target=target)
    done = replace(before, time_s=now_s, ok=ok, status=0 if ok else INTERRUPTED, text=text)
    if ok:
        done = replace(done, success_s=now_s, generation=stands.generation, manifest=stands.manifest)
    agent.state.save_result(entry.name, Role.MASTER.value, done)


def _check_equal(entry: Entry, layout: str, backend: Backend, agent: AgentContext, stop: threading.Event) -> None:
    """Refuse a directory that is not what servers follow, in the layout that the prefix is in.

    Raises:
        Refused: with the numbers.
    """
    run = RunContext(entry.name, agent.settings.jobs, stop=stop)
    state, rules = agent.state, entry.rules()
    store = (
        PackedStore(backend, cache=state.segments())
        if layout == "packed"
        else ObjectStore(backend, rules=rules, manifests=state.manifests())
    )
    local = _source(entry, agent)
    with (
        store.open_source(target=local.capabilities, again=False) as there,
        local.open_source(target=store.capabilities, again=False) as here,
    ):
        published, mine = there.look().snapshot(), here.look().snapshot()
        mine = here.refine(mine, against=published, jobs=run.jobs, progress=run.heartbeat)
    plan = planner.make(mine.tree, published.tree, rules=rules, spare_ignored=True)
    if not plan.is_empty:
        raise Refused(
            f"the directory is not what S3 holds ({', '.join(counts(plan))}), and a conversion publishes nothing new",
            hint=f"s32s dryrun {paths.word(entry.name)} shows the difference, s32s sync publishes it; then convert",
        )


def _source(entry: Entry, agent: AgentContext, *, rehashes: bool = False) -> LocalStore:
    state, root = agent.state, entry.master or ""
    return LocalStore(
        root,
        rules=entry.rules(),
        load_cache=lambda: StatCache() if rehashes else state.stat_cache(root),
        save_cache=lambda cache: state.save_stat_cache(root, cache),
    )


def _push(
    entry: Entry, layout: str, backend: Backend, agent: AgentContext, emit: Emit, stop: threading.Event
) -> Outcome:
    state, rules, last = agent.state, entry.rules(), last_run(entry, Role.MASTER, agent)
    me = writer(state, agent.host, generation=last.generation if last else 0)
    source = _source(entry, agent, rehashes=layout == "plain")
    begin = functools.partial(_note, entry, agent, _cut_off(entry, layout), last, NOWHERE)
    run = RunContext(entry.name, agent.settings.jobs, emit, stop=stop, begin=begin)
    job = Job(Verb.SYNC, rules, Limits(agent.settings.max_delete), spare_ignored=True)
    if layout == "packed":
        history = History(entry.keep, "converted from the plain layout", user())
        packed = PackedStore(backend, cache=state.segments(), writer=me, history=history, warn=run.warn, converts=True)
        return replicate(source, packed, job, run)
    me = me._replace(message="converted from the packed layout")
    plain = ObjectStore(backend, rules=rules, manifests=state.manifests(), writer=me, warn=run.warn, converts=True)
    return replicate(source, plain, job, run)


def _tidy(layout: str, backend: Backend, agent: AgentContext) -> int:
    """Delete what belongs to the other layout; return how many objects that were.

    Raises:
        EntryFailed: some could not be deleted.
        Conflict: somebody else has published meanwhile.
    """
    heads = HeadWriter(backend, agent.state.writer_id(), read_head(backend))
    if layout == "plain":
        gone = [one.key for page in backend.list(packs.PACKS) for one in page]
    else:
        gone = list(_plain_objects(backend, agent))
    failed = heads.delete(gone, what="delete what is left of the other layout")
    if failed:
        raise EntryFailed(
            f"the prefix is in the {layout} layout, and {len(failed):,} objects of the other one could not be deleted:"
            f"{paths.listed(failed)}",
            hint="they are in nobody's way; run it again when the store allows it",
            reasons=failed,
        )
    return len(gone)


def _plain_objects(backend: Backend, agent: AgentContext) -> Iterator[str]:
    """Objects of the plain layout, then its manifests.

    Raises:
        EntryFailed: a manifest cannot be read, so that nobody knows what belonged to it.
    """
    stored = {one.key: one.size for page in backend.list("") for one in page}
    manifests = {key: sha256 for key in stored if (sha256 := manifest.sha256_of(key))}
    named = _named(backend, manifests) if manifests else set()
    beside = {key: size for key, size in stored.items() if not paths.is_reserved(key) and key not in named}
    yield from sorted(named | set(_uploaded_again(backend, beside, agent)))
    yield from sorted(manifests)


def _uploaded_again(backend: Backend, beside: dict[str, int], agent: AgentContext) -> Iterator[str]:
    """Objects that a conversion to the plain layout has left before it came to a manifest.

    Which it would have named nobody knows, but one that holds just what a kept generation has at its path is not
    missed.
    """
    hashes: dict[str, str] = {}
    prefix = PackedPrefix(backend, cache=agent.state.segments())
    mine = prefix.snapshot(prefix.read_head()) if beside else None
    if mine is None or mine.root is None or mine.found.head is None or mine.found.head.root is None:
        return
    for one in mine.root.generations(mine.found.head.root):
        tree = mine.tree if one.published.number == mine.root.number else prefix.generation(one.root)[1]
        for key, size in list(beside.items()):
            item = tree.get(key)
            if item is None or item.kind is not Kind.FILE or item.size != size:
                continue
            if key not in hashes:
                hashes[key] = _hash_of(backend.get(key, expected=size).chunks)
            if hashes[key] == item.sha256:
                del beside[key]
                yield key


def _hash_of(chunks: Iterable[Chunk]) -> str:
    """The SHA-256 of bytes that come in pieces."""
    made = hashlib.sha256()
    for chunk in chunks:
        made.update(chunk)
    return made.hexdigest()


def _named(backend: Backend, manifests: Mapping[str, str]) -> set[str]:
    """Objects that manifests, given as keys and hashes, name and that are as these say.

    Raises:
        EntryFailed: see `_plain_objects`.
    """
    listed = Prefix(backend, rules=EVERYTHING, cache=ManifestCache(), on_disk=False).list_objects().tree
    ours: set[str] = set()
    for key, sha256 in manifests.items():
        try:
            data, _ = backend.read(key, limit=MAX_MANIFEST)
            named = manifest.read(data, ManifestRef(key=key, size=len(data), sha256=sha256))
        except (NotFound, IntegrityError, BadPath) as exc:
            raise EntryFailed(f"the objects of the plain layout cannot be deleted: {exc.what}") from exc
        for item in named.of_kind(Kind.FILE):
            there = listed.get(item.path)
            # What others have put there is named without its SHA-256, which nobody has computed.
            if item.sha256 and there is not None and compare.agrees(item, there):
                ours.add(item.path)
    return ours
