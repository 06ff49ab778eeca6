"""A prefix on S3: the source of a pull and the target of a push, one object a file.

With a manifest the head says what the prefix holds, and a LIST only confirms it; without one the LIST is all there is.
Where another tool writes to the same prefix the manifest goes stale behind an unchanged head, so every body is checked
against the ETag and hash that it names, and `tree` compares it with a LIST when asked to.

A push claims the head before its first object (`Head.push`) and gives the claim up with the new generation. A claim
that is not ours stops a second master before it has overwritten anything. The claim and the publish are conditional
writes, and both are read back: an endpoint that ignores conditions is found out by the nonce that it then holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from s32s import manifest, paths, tree
from s32s.errors import (
    AccessDenied,
    BadPath,
    Conflict,
    EntryFailed,
    IntegrityError,
    NotFound,
    PreconditionFailed,
    PushUnderway,
    SourceChanged,
    StaleManifest,
    StoreError,
)
from s32s.manifest import HEAD_KEY, Claim, Head, ManifestRef
from s32s.maps import S3Path
from s32s.plan import Plan
from s32s.rules import EVERYTHING, Rules
from s32s.stores._engine import Engine, Got, Listed, Stored
from s32s.stores.base import Batch, Body, Progress
from s32s.tree import Item, Kind, Tree, is_md5

_READS = 3  # of a file that does not stand still while it is uploaded


@dataclass(frozen=True, slots=True)
class Writer:
    """Who pushes.

    Attributes:
        id: this machine's own random id.
        host: its name, for people.
        now: the time as UTC in ISO 8601.
        take_over: whether a claim of another master is set aside.
    """

    id: str
    host: str
    now: Callable[[], str]
    take_over: bool = False


@dataclass(frozen=True, slots=True)
class ManifestCache:
    """Where manifests are kept between runs."""

    load: Callable[[str, str], bytes | None] = lambda source, sha256: None
    save: Callable[[str, bytes], None] = lambda source, data: None


class S3Prefix:
    """A bucket and prefix.

    Args:
        engine: the connection.
        place: bucket and prefix.
        rules: paths that they ignore are no reason to call a manifest stale.
        has_manifest: False to neither read nor write one.
        cache: of manifests.
    """

    def __init__(
        self,
        engine: Engine,
        place: S3Path,
        *,
        rules: Rules = EVERYTHING,
        has_manifest: bool = True,
        cache: ManifestCache | None = None,
    ) -> None:
        self.place = place
        self.head: Head | None = None
        self._head_etag: str | None = None
        self._engine = engine
        self._rules = rules
        self._has_manifest = has_manifest
        self._cache = cache or ManifestCache()
        self._listed: Tree | None = None

    # -- listing

    def tree(self, *, compare: bool, known: bool = False) -> Tree:
        """What a slave follows: the manifest's tree, or the LIST's where there is none.

        Args:
            compare: hold the manifest against a LIST.
            known: this machine has followed a manifest here before, so that a missing one is an alarm.

        Raises:
            StaleManifest: the manifest does not describe the objects, and no push is under way that would explain it.
            PushUnderway: a push explains it.
            BadPath: a key is no safe relative path.
        """
        if not self._has_manifest:
            return self._list()
        self.read_head()
        if self.head is None:
            if known:
                raise StaleManifest(
                    f"the manifest of {self.place} is gone, and this machine has followed one", hint=self._cures()
                )
            return self._list()
        if self.head.manifest is None:
            raise self._underway("its first push is not finished")
        made = self._manifest_tree(self.head, self.head.manifest)
        if compare:
            self._compare(made)
        note = f"unfinished push by {paths.escape(self.head.push.host)}" if self.head.push else ""
        return replace(made, note=note)

    def target_tree(self) -> Tree:
        """What a master finds: the objects by LIST, with what the manifest knows of them.

        Always a LIST, so that a push also heals what another tool has changed. `published` tells whether the manifest
        describes exactly this.
        """
        listed = self._list()
        if not self._has_manifest:
            return listed
        self.read_head()
        if self.head is None or self.head.manifest is None:
            return replace(listed, published=False, generation=self.head.generation if self.head else 0)
        try:
            known = self._manifest_tree(self.head, self.head.manifest)
        except (NotFound, IntegrityError, BadPath):
            # The push writes a new one.
            return replace(listed, published=False, generation=self.head.generation)
        different = set(_differences(known, listed))
        items: dict[str, Item] = {}
        for item in listed:
            told = known.get(item.path)
            items[item.path] = told if told is not None and item.path not in different else item
            if told is not None and told.kind is Kind.DIR and item.kind is Kind.DIR:
                items[item.path] = replace(told, etag=item.etag)
        for item in known:
            if item.kind is not Kind.FILE and item.path not in items:
                items[item.path] = item
        return tree.make(
            items.values(),
            published=not different and self.head.push is None,
            generation=self.head.generation,
        )

    def check_unchanged(self) -> None:
        """After a pull without a manifest: make sure that the prefix still holds what was listed.

        Raises:
            SourceChanged: it does not, so the files may be of two states.
        """
        if self.head is None and self._listed is not None and self._list_items() != self._listed.items:
            raise SourceChanged(f"the objects below {self.place} changed during the run")

    def read_head(self) -> Head | None:
        """Read the head afresh; None where there is none."""
        try:
            data, self._head_etag = self._engine.get_small(
                self.place.bucket, self.place.key(HEAD_KEY), limit=manifest.MAX_HEAD
            )
        except NotFound:
            self.head = self._head_etag = None
            return None
        self.head = manifest.read_head(data)
        return self.head

    # -- reading bodies

    def batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        """One object a batch: in this layout every file is an object of its own."""
        for item in items:
            yield (ObjectBody(self._engine, self.place, item),)

    # -- writing

    @contextlib.contextmanager
    def change(self, plan: Plan, writer: Writer) -> Iterator[S3Change]:
        """Open a push. Left early, the old head still names the old generation, with the claim of an unfinished push.

        Raises:
            Conflict: another master is at it.
        """
        change = S3Change(self._engine, self.place, plan, self._publisher(writer) if self._has_manifest else None)
        change.claim()
        yield change

    def _publisher(self, writer: Writer) -> _Publisher:
        return _Publisher(self._engine, self.place, writer, self.head, self._head_etag)

    # -- inside

    def _manifest_tree(self, head: Head, ref: ManifestRef) -> Tree:
        source = str(self.place)
        data = self._cache.load(source, ref.sha256)
        if data is None:
            data, _ = self._engine.get_small(self.place.bucket, self.place.key(ref.key), limit=ref.size)
            made = manifest.read(data, ref, generation=head.generation, room=self.place.room)
            self._cache.save(source, data)
            return made
        return manifest.read(data, ref, generation=head.generation, room=self.place.room)

    def _list(self) -> Tree:
        self._listed = tree.make(self._list_items())
        return self._listed

    def _list_items(self) -> tuple[Item, ...]:
        items: dict[str, Item] = {}
        bad: dict[str, str] = {}
        for found in self._engine.objects(self.place.bucket, self.place.prefix):
            path = found.key.removeprefix(self.place.prefix + "/") if self.place.prefix else found.key
            if paths.is_reserved(path) or not path:
                continue
            item = _listed_item(path, found)
            reason = paths.problem(item.path, room=self.place.room)
            if item.kind is Kind.DIR and found.size:
                reason = reason or "it ends in a slash and has content"
            if reason:
                bad[found.key] = reason
            items[item.path] = items.get(item.path, item) if item.kind is Kind.DIR else item
        if bad:
            lines = "\n  ".join(f"{paths.quote(key)}: {why}" for key, why in sorted(bad.items())[:20])
            rest = f"\n  and {len(bad) - 20:,} more" if len(bad) > 20 else ""
            raise BadPath(
                f"{len(bad):,} keys below {self.place} are no safe relative paths:\n  {lines}{rest}\n",
                hint="rename or delete these objects",
                paths=tuple(bad),
            )
        return tree.make(items.values()).items

    def _compare(self, made: Tree) -> None:
        different = [path for path in _differences(made, self._list()) if not self._rules.ignores(path)]
        if not different:
            return
        self._check_same_head()
        if self.head is not None and self.head.push is not None:
            if all((item := made.get(path)) is not None and item.version for path in different):
                return  # a versioned bucket: the old generation is whole, by its version ids
            raise self._underway(f"{len(different):,} objects are between two generations")
        raise StaleManifest(
            f"the objects below {self.place} are not those of the manifest: {paths.some(different)}",
            hint=self._cures(),
            paths=tuple(different),
        )

    def _check_same_head(self) -> None:
        """A push that began or ended between our look at the head and the LIST is no stale manifest."""
        before = self.head.nonce if self.head else None
        after = self.read_head()
        if (after.nonce if after else None) != before:
            raise SourceChanged(f"a push to {self.place} began or ended during the listing")

    def _cures(self) -> str:
        return 'run "s32s sync" on the master, or set "manifest": false in the entry if another tool writes there'

    def _underway(self, what: str) -> PushUnderway:
        claim = self.head.push if self.head else None
        who = f" by {paths.escape(claim.host)}, begun {paths.escape(claim.started)}" if claim else ""
        return PushUnderway(
            f"unfinished push{who}: {what}, so the old files stay",
            hint="wait for it; if the master died, run s32s sync there again",
        )


class ObjectBody:
    """The bytes of one object."""

    def __init__(self, engine: Engine, place: S3Path, item: Item) -> None:
        self._engine = engine
        self._place = place
        self._item = item

    @property
    def item(self) -> Item:
        """See `stores.base.Body`."""
        return self._item

    def chunks(self) -> Iterator[bytes]:
        """Read the object, if it still is the one that was listed.

        Without a SHA-256 an ETag that is an MD5 is all that the endpoint vouches for, so it is checked here.
        """
        item = self._item
        got = self._open()
        md5 = hashlib.md5(usedforsecurity=False) if not item.sha256 and is_md5(item.etag) else None
        for chunk in got.chunks:
            if md5 is not None:
                md5.update(chunk)
            yield chunk
        is_wrong = md5 is not None and md5.hexdigest() != item.etag
        if is_wrong and self._engine.is_md5_etag(self._place.bucket, self._place.key(item.path)):
            raise IntegrityError(f"{paths.quote(item.path)} arrived with wrong bytes: its MD5 is not the object's ETag")
        if item.mtime_ns is None:
            self._item = replace(item, mtime_ns=got.modified_ns)

    def _open(self) -> Got:
        """The object as it was listed: the current one, or in a versioned bucket the version of that time.

        The current one first, because reading versions needs a permission of its own (s3:GetObjectVersion).
        """
        item = self._item
        bucket, key = self._place.bucket, self._place.key(item.path)
        with contextlib.suppress(NotFound, PreconditionFailed):
            got = self._engine.get(bucket, key, etag=item.etag)
            if self._is_listed(got):
                return got
        if item.version:
            with contextlib.suppress(NotFound, AccessDenied):
                got = self._engine.get(bucket, key, version=item.version)
                if self._is_listed(got):
                    return got
        raise SourceChanged(
            f"{paths.quote(item.path)} was replaced or deleted on S3 during the run", paths=(item.path,)
        )

    def _is_listed(self, got: Got) -> bool:
        item = self._item
        return got.size == item.size and (item.etag is None or got.etag is None or got.etag == item.etag)


class S3Change:
    """A push between its claim and its last deletion; see `stores.base.Change`."""

    def __init__(self, engine: Engine, place: S3Path, plan: Plan, publisher: _Publisher | None) -> None:
        self.wanted: Sequence[Item] = tuple(put.item for put in plan.puts if put.needs_bytes)
        self.stored: dict[str, Item] = {}
        self._engine = engine
        self._place = place
        self._plan = plan
        self._publisher = publisher
        self._guard = threading.Lock()

    def claim(self) -> None:
        """Take the head, and clear what a push that died has left."""
        if self._publisher is not None:
            healing = self._publisher.claim()
            if healing:
                self._engine.abort_uploads(self._place.bucket, self._place.prefix)

    def put(self, body: Body, progress: Progress) -> None:
        """Upload one file, again from the start when it changes under the reading."""

        def chunks() -> Iterator[bytes]:
            for chunk in body.chunks():
                progress(len(chunk))
                yield chunk

        for turn in range(1, _READS + 1):
            try:
                stored = self._upload(body, chunks)
                break
            except SourceChanged as exc:
                if turn == _READS:
                    raise EntryFailed(
                        f"{paths.quote(body.item.path)} does not stand still: it changed during each of {_READS} reads",
                        hint="push when nobody writes to it, or leave it out with a rule of ignore",
                        paths=(body.item.path,),
                    ) from exc
        with self._guard:
            self.stored[body.item.path] = replace(body.item, etag=stored.etag, version=stored.version)

    def publish(self) -> int:
        """Write the manifest, then the head; from then on readers see the new generation."""
        self._put_markers()
        if self._publisher is None:
            return 0
        return self._publisher.publish(self._published_items())

    def sweep(self) -> None:
        """Delete the objects that the new state no longer names."""
        keys = [self._place.key(item.path) for item in self._plan.extras if item.kind is Kind.FILE]
        keys += [self._place.key(item.path) + "/" for item in self._plan.extras if item.kind is Kind.DIR and item.etag]
        keys += self._replaced_keys()
        failed = self._engine.delete(self._place.bucket, keys)
        if failed:
            lines = "\n  ".join(f"{paths.quote(key)}: {paths.escape(why)}" for key, why in sorted(failed.items())[:20])
            raise EntryFailed(
                f"{len(failed):,} objects could not be deleted; all else is published:\n  {lines}\n",
                hint="the next push tries again",
                paths=tuple(failed),
            )
        if self._publisher is not None:
            self._publisher.forget_old_manifests()

    def etags(self) -> dict[str, str | None]:
        """The ETag of every object that the prefix now holds for us, by path."""
        known = {keep.source.path: keep.target.etag for keep in self._plan.keeps}
        known |= {put.item.path: put.old.etag for put in self._plan.puts if put.old is not None and not put.needs_bytes}
        return known | {path: item.etag for path, item in self.stored.items()}

    def _upload(self, body: Body, chunks: Callable[[], Iterator[bytes]]) -> Stored:
        item = body.item
        return self._engine.put(self._place.bucket, self._place.key(item.path), chunks, size=item.size)

    def _put_markers(self) -> None:
        """Without a manifest an empty directory travels as an empty object whose key ends in a slash."""
        if self._publisher is None:
            for put in self._plan.puts:
                if put.item.kind is Kind.DIR:
                    self._engine.put_marker(self._place.bucket, self._place.key(put.item.path) + "/")

    def _replaced_keys(self) -> list[str]:
        """Objects whose path is now a link or a directory."""
        return [
            self._place.key(put.item.path) + ("/" if put.old.kind is Kind.DIR else "")
            for put in self._plan.puts
            if put.old is not None and put.old.kind is not put.item.kind and put.old.etag
        ]

    def _published_items(self) -> Iterator[Item]:
        for keep in self._plan.keeps:
            yield replace(
                keep.source,
                sha256=keep.source.sha256 or keep.target.sha256,
                etag=keep.target.etag,
                version=keep.target.version,
            )
        for put in self._plan.puts:
            if put.needs_bytes:
                yield self.stored[put.item.path]
            elif put.item.kind is Kind.FILE and put.old is not None:
                yield replace(
                    put.item,
                    sha256=put.item.sha256 or put.old.sha256,
                    etag=put.old.etag,
                    version=put.old.version,
                )
            else:
                yield put.item
        yield from self._plan.carried


class _Publisher:
    """One master's hold on a head."""

    def __init__(self, engine: Engine, place: S3Path, writer: Writer, head: Head | None, head_etag: str | None) -> None:
        self._engine = engine
        self._place = place
        self._writer = writer
        self._head = head
        self._etag = head_etag

    def claim(self) -> bool:
        """Write a head with our claim; return whether a push that died is being healed.

        Raises:
            Conflict: another master has a claim, or was quicker.
        """
        before = self._head
        claim = before.push if before else None
        if claim is not None and claim.writer != self._writer.id and not self._writer.take_over:
            raise Conflict(
                f"another master, {paths.escape(claim.host)}, began a push to {self._place} "
                f"at {paths.escape(claim.started)} and has not finished it",
                hint="wait for it; if it died, push from there again, or take over here with --take-over",
            )
        base = before or Head(generation=0, writer=self._writer.id, nonce="", host=self._writer.host, time="")
        mine = Claim(writer=self._writer.id, host=self._writer.host, started=self._writer.now())
        self._write(base.model_copy(update={"push": mine}), what="begin the push")
        return claim is not None

    def publish(self, items: Iterable[Item]) -> int:
        """Write the manifest and the head of the next generation; return its number.

        Raises:
            Conflict: the head is no longer ours.
        """
        held = self._held()
        ordered = tree.make(items)
        data, ref = manifest.to_bytes(ordered)
        self._engine.put(self._place.bucket, self._place.key(ref.key), lambda: iter([data]), size=len(data))
        head = Head(
            generation=held.generation + 1,
            writer=self._writer.id,
            nonce="",
            host=self._writer.host,
            time=self._writer.now(),
            files=ordered.files,
            size=ordered.size,
            manifest=ref,
            previous=held.manifest.key if held.manifest else None,
        )
        self._write(head, what="publish")
        return head.generation

    def forget_old_manifests(self) -> None:
        """Delete manifests that neither this generation nor the one before names; readers may still be at that one."""
        head = self._held()
        kept = {head.manifest.key if head.manifest else None, head.previous}
        # Tidying only: what stays costs a few bytes, and the next push tries again.
        with contextlib.suppress(StoreError):
            listed = self._engine.objects(self._place.bucket, self._place.key(paths.RESERVED))
            mine = {found.key.removeprefix(self._place.key("")) for found in listed}
            old = [key for key in mine if key.startswith(f"{paths.RESERVED}/manifest-") and key not in kept]
            self._engine.delete(self._place.bucket, [self._place.key(key) for key in old])

    def _held(self) -> Head:
        if self._head is None:
            raise AssertionError("publish without a claim")
        return self._head

    def _write(self, head: Head, *, what: str) -> None:
        """Replace the head by a conditional write, and believe only what is then there.

        An answer may be lost after the write was done, and the repeated request then meets its own result as a
        conflict; a server may ignore the condition; so the head is read back and its nonce decides.
        """
        if self._etag is not None:
            self._check_still_held(what)
        mine = head.model_copy(update={"nonce": secrets.token_hex(16)})
        with contextlib.suppress(PreconditionFailed):
            self._engine.put_if(self._place.bucket, self._place.key(HEAD_KEY), mine.to_bytes(), etag=self._etag)
        there, etag = self._read()
        if there is None or there.nonce != mine.nonce:
            raise self._lost(there, what)
        self._head, self._etag = there, etag

    def _check_still_held(self, what: str) -> None:
        """Where conditions are ignored, the last look before writing is what keeps two masters apart."""
        there, etag = self._read()
        if there is None or self._head is None or there.nonce != self._head.nonce:
            raise self._lost(there, what)
        self._etag = etag

    def _read(self) -> tuple[Head | None, str | None]:
        try:
            data, etag = self._engine.get_small(self._place.bucket, self._place.key(HEAD_KEY), limit=manifest.MAX_HEAD)
        except NotFound:
            return None, None
        return manifest.read_head(data), etag

    def _lost(self, there: Head | None, what: str) -> Conflict:
        host = paths.escape((there.push.host if there.push else there.host) if there else "somebody")
        return Conflict(
            f"could not {what}: {host} changed the head of {self._place} at the same time; nothing was deleted",
            hint="let one machine push to a prefix, and run the one that shall win again",
        )


def _differences(known: Tree, listed: Tree) -> list[str]:
    """Paths at which a manifest and a LIST disagree; the marker of a directory that both name is no difference."""
    different = []
    for item in listed:
        told = known.get(item.path)
        if item.kind is Kind.DIR:
            if told is None or told.kind is not Kind.DIR:
                different.append(item.path)
        elif told is None or told.kind is not Kind.FILE or told.size != item.size or told.etag != item.etag:
            different.append(item.path)
    different += [
        item.path
        for item in known
        if item.kind is Kind.FILE and ((there := listed.get(item.path)) is None or there.kind is not Kind.FILE)
    ]
    return sorted(set(different), key=paths.sort_key)


def _listed_item(path: str, found: Listed) -> Item:
    if path.endswith("/"):
        return Item(path[:-1], Kind.DIR, etag=found.etag)
    return Item(path, Kind.FILE, size=found.size, etag=found.etag)
