"""A prefix on S3 between two generations: claim, put, publish, sweep.

The claim and the publish are conditional writes of the head, and both are read back: an endpoint that ignores
conditions is found out by the nonce that the head then holds. Deletions come after the publish, so no reader misses a
file that its manifest names.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from s32s.backends.base import Chunk
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.objects import Condition, PutResult
from s32s.backends.s3.uploads import PART_SIZE
from s32s.config.maps import S3Path
from s32s.core import paths
from s32s.core.errors import (
    Conflict,
    EntryFailed,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    Unsupported,
    WriteConflict,
)
from s32s.core.plan import Plan
from s32s.core.tree import Item, Kind, Tree
from s32s.format import manifest
from s32s.format.manifest import HEAD_KEY, Claim, Head
from s32s.stores.base import Body, Progress
from s32s.stores.objects.bodies import ObjectBody

#: Before a head that somebody else writes at the same time is written once more.
_CONFLICT_PAUSES_S = (0.2, 0.5, 1.0)
#: How long a claim is left alone, on a server that takes no conditions, before it is believed.
_SETTLE_S = 0.5
_READS = 3  # of a file that does not stand still while it is uploaded


@dataclass(frozen=True, slots=True)
class ManifestCache:
    """Where manifests are kept between runs."""

    load: Callable[[str, str], bytes | None] = lambda source, sha256: None
    save: Callable[[str, bytes], None] = lambda source, data: None


@dataclass(frozen=True, slots=True)
class Writer:
    """Who pushes.

    Attributes:
        id: this machine's own random id.
        host: its name, for people.
        now: the time as UTC in ISO 8601.
        generation: the last one that this machine has published there; the next one is higher, whatever the head says.
        take_over: whether a claim of another master is set aside.
    """

    id: str
    host: str
    now: Callable[[], str]
    take_over: bool = False
    generation: int = 0


class S3Change:
    """A push between its claim and its last deletion; see `stores.base.Change`."""

    def __init__(self, engine: S3Backend, place: S3Path, plan: Plan, publisher: Publisher | None) -> None:
        self.wanted: Sequence[Item] = tuple(put.item for put in plan.puts if put.needs_bytes)
        self.stored: dict[str, Item] = {}
        self._engine = engine
        self._place = place
        self._plan = plan
        self._publisher = publisher
        self._guard = threading.Lock()

    def claim(self) -> None:
        """Take the head, and clear what a push that died has left; without a manifest, only see what can travel."""
        if self._publisher is None:
            self._put_markers()
            # Without a claim another tool may be uploading below this prefix: only what is sent again here is ours.
            if large := {self._place.key(item.path) for item in self.wanted if item.size > PART_SIZE}:
                self._engine.abort_uploads(self._place.bucket, self._place.prefix, keys=large)
        elif self._publisher.claim():
            self._engine.abort_uploads(self._place.bucket, self._place.prefix)

    def put(self, body: Body, progress: Progress) -> None:
        """Bring one file: an object from where it lies, a local one again from the start when it changes meanwhile."""
        if isinstance(body, ObjectBody):
            # What another object has become is the planner's to judge: SourceChanged goes up at once.
            self._note(body.item, body.copy_to(self._engine, self._place, progress))
            return

        def chunks() -> Iterator[Chunk]:
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
        self._note(body.item, stored)

    def publish(self) -> int:
        """Write the manifest, then the head; from then on readers see the new generation."""
        if self._publisher is None:
            return 0
        return self._publisher.publish(self._published())

    def sweep(self) -> None:
        """Delete the objects that the new state no longer names."""
        keys = [self._place.key(item.path) for item in self._plan.extras if item.kind is Kind.FILE]
        keys += [self._place.key(item.path) + "/" for item in self._plan.extras if item.kind is Kind.DIR and item.etag]
        keys += self._replaced_keys()
        failed = self._engine.delete(self._place.bucket, keys)
        if failed:
            at = {self._path(key): why for key, why in failed.items()}
            raise EntryFailed(
                f"{len(failed):,} objects could not be deleted; all else is done:{paths.listed(at)}",
                hint="the next run tries again",
                reasons=at,
            )
        if self._publisher is not None:
            self._publisher.forget_old_manifests()

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest that was published; "" without one."""
        return self._publisher.manifest_sha256 if self._publisher is not None else ""

    def etags(self) -> dict[str, str | None]:
        """The ETag of every object that the prefix now holds for us, by path."""
        known = self._plan.unchanged.etags()
        known |= {put.item.path: put.old.etag for put in self._plan.puts if put.old is not None and not put.needs_bytes}
        return known | {path: item.etag for path, item in self.stored.items()}

    def _path(self, key: str) -> str:
        return key.removeprefix(self._place.key(""))

    def _note(self, item: Item, stored: PutResult) -> None:
        with self._guard:
            self.stored[item.path] = item._replace(etag=stored.etag, version=stored.version)

    def _upload(self, body: Body, chunks: Callable[[], Iterator[Chunk]]) -> PutResult:
        item = body.item
        return self._engine.put(self._place.bucket, self._place.key(item.path), chunks, size=item.size)

    def _put_markers(self) -> None:
        """Without a manifest an empty directory travels as an empty object whose key ends in a slash.

        Some servers drop the slash, which leaves an empty file of the directory's name.

        Raises:
            EntryFailed: this one does.
        """
        bucket = self._place.bucket
        for put in self._plan.puts:
            if put.item.kind is not Kind.DIR:
                continue
            key = self._place.key(put.item.path)
            self._engine.put_marker(bucket, key + "/")
            if put.old is None and self._engine.exists(bucket, key):
                self._engine.delete(bucket, [key])
                raise EntryFailed(
                    f"this S3 server keeps no empty directories such as {paths.quote(put.item.path)}",
                    hint='set "manifest": true in the entry, or leave them out with a rule of ignore',
                    paths=(put.item.path,),
                )

    def _replaced_keys(self) -> list[str]:
        """Objects whose path is now a link or a directory."""
        return [
            self._place.key(put.item.path) + ("/" if put.old.kind is Kind.DIR else "")
            for put in self._plan.puts
            if put.old is not None and put.old.kind is not put.item.kind and put.old.etag
        ]

    def _published(self) -> Tree:
        columns = self._plan.unchanged.as_objects()
        for put in self._plan.puts:
            item = put.item
            if put.needs_bytes:
                item = self.stored[item.path]
            elif item.kind is Kind.FILE and put.old is not None:
                old = put.old
                item = item._replace(sha256=item.sha256 or old.sha256, etag=old.etag, version=old.version)
            columns.add(item)
        for item in self._plan.spared:
            columns.add(item)
        return columns.tree()


class Publisher:
    """One master's hold on a head."""

    def __init__(
        self,
        engine: S3Backend,
        place: S3Path,
        writer: Writer,
        head: Head | None,
        head_etag: str | None,
        cache: ManifestCache,
    ) -> None:
        self._engine = engine
        self._cache = cache
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
        if self._engine.conditions(self._place.bucket) == [Condition.NONE]:
            time.sleep(_SETTLE_S)  # a rival who looked before we wrote has written by now
            self._check_still_held("begin the push")
        return claim is not None

    def publish(self, published: Tree) -> int:
        """Write the manifest and the head of the next generation; return its number.

        Raises:
            Conflict: the head is no longer ours.
        """
        held = self._held()
        data, ref = manifest.to_bytes(published)
        self._engine.put(self._place.bucket, self._place.key(ref.key), lambda: iter([data]), size=len(data))
        head = Head(
            # Slaves refuse one that is not higher than the last that they have followed.
            generation=max(held.generation, self._writer.generation) + 1,
            writer=self._writer.id,
            nonce="",
            host=self._writer.host,
            time=self._writer.now(),
            files=published.files,
            size=published.size,
            manifest=ref,
            previous=held.manifest.key if held.manifest else None,
        )
        self._write(head, what="publish")
        self._cache.save(str(self._place), data)
        return head.generation

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest that the head names; "" without one."""
        return self._head.manifest.sha256 if self._head and self._head.manifest else ""

    def forget_old_manifests(self) -> None:
        """Delete manifests that neither this generation nor the one before names; readers may still be at that one."""
        head = self._held()
        kept = {head.manifest.key if head.manifest else None, head.previous}
        # Tidying only: what stays costs a few bytes, and the next push tries again.
        with contextlib.suppress(StoreError):
            pages = self._engine.pages(self._place.bucket, self._place.key(paths.RESERVED))
            mine = {found.key.removeprefix(self._place.key("")) for page in pages for found in page}
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

        A condition that is refused while the head still is the one that we know is one that this server cannot take:
        the next one is tried, at last none at all, for which the looks before and after stand in.
        """
        if self._etag is not None:
            self._check_still_held(what)
        mine = head.model_copy(update={"nonce": secrets.token_hex(16)})
        bucket, key = self._place.bucket, self._place.key(HEAD_KEY)
        for condition in self._engine.conditions(bucket):
            is_refused = not self._try(bucket, key, mine, condition)
            there, etag = self._read()
            if there is not None and there.nonce == mine.nonce:
                if not is_refused and (self._etag is not None or condition is Condition.NONE):
                    self._engine.took(bucket, condition)
                self._head, self._etag = there, etag
                return
            if not is_refused or not self._is_known(there):
                raise self._lost(there, what)
            self._etag = etag
        raise Conflict(
            f"could not {what}: S3 refuses to replace the head of {self._place}, although nobody has changed it",
            hint="run it again; docs/servers.md says what S3 servers can do",
        )

    def _try(self, bucket: str, key: str, mine: Head, condition: Condition) -> bool:
        """Write the head; tell whether S3 has taken it."""
        for pause_s in (*_CONFLICT_PAUSES_S, None):
            try:
                self._engine.put_if(bucket, key, mine.to_bytes(), etag=self._etag, condition=condition)
            except WriteConflict:
                if pause_s is None or not self._is_known(self._read()[0]):
                    return False
                time.sleep(pause_s)
            except (PreconditionFailed, Unsupported):
                return False
            else:
                return True
        return False

    def _is_known(self, there: Head | None) -> bool:
        """Whether a head is the one that we mean to replace."""
        return (there.nonce if there else None) == (self._head.nonce if self._head else None)

    def _check_still_held(self, what: str) -> None:
        """Where conditions are ignored, the last look before writing is what keeps two masters apart."""
        there, etag = self._read()
        if not self._is_known(there):
            raise self._lost(there, what)
        self._etag = etag

    def _read(self) -> tuple[Head | None, str | None]:
        try:
            data, etag = self._engine.get_small(self._place.bucket, self._place.key(HEAD_KEY), limit=manifest.MAX_HEAD)
        except NotFound:
            return None, None
        return manifest.read_head(data), etag

    def _lost(self, there: Head | None, what: str) -> Conflict:
        claim = there.push if there else None
        writer = claim.writer if claim else there.writer if there else ""
        if writer == self._writer.id:
            who = "another run on this machine"
        else:
            who = paths.escape((claim.host if claim else there.host) if there else "somebody")
        return Conflict(
            f"could not {what}: {who} changed the head of {self._place} at the same time; nothing was deleted",
            hint="let one machine push to a prefix, and run the one that is to win again",
        )
