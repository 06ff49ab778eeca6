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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from s32s.backends.base import CREATE, Backend, Chunk, PutResult, Replace, UnfinishedUploads
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

#: Before a head that somebody else writes at the same time is written once more.
_CONFLICT_PAUSES_S = (0.2, 0.5, 1.0)
#: How long a claim is left alone, on a server that takes no conditions, before it is believed.
_SETTLE_S = 0.5
_MANIFESTS = f"{paths.RESERVED}/manifest-"
_READS = 3  # of a file that keeps changing while it is uploaded


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
        take_over: whether a claim of another master is overridden.
    """

    id: str
    host: str
    now: Callable[[], str]
    take_over: bool = False
    generation: int = 0


class ObjectChange:
    """A push between its claim and its last deletion; see `stores.base.Change`."""

    def __init__(self, backend: Backend, plan: Plan, publisher: Publisher | None) -> None:
        self.wanted: Sequence[Item] = tuple(put.item for put in plan.puts if put.needs_bytes)
        self.stored: dict[str, Item] = {}
        self._backend = backend
        self._plan = plan
        self._publisher = publisher
        self._guard = threading.Lock()

    def claim(self) -> None:
        """Take the head, and clear what a push that died has left; without a manifest, only see what can travel."""
        if self._publisher is None:
            self._put_markers()
            # Without a claim another tool may be uploading below this prefix: only what is sent again here is ours.
            self._abort_uploads({item.path for item in self.wanted})
        elif self._publisher.claim():
            self._abort_uploads(None)

    def _abort_uploads(self, keys: Collection[str] | None) -> None:
        if isinstance(self._backend, UnfinishedUploads) and (keys is None or keys):
            self._backend.abort_uploads(keys=keys)

    def put(self, body: Body, progress: Progress) -> None:
        """Bring one file: an object from where it lies, a local one again from the start when it changes meanwhile."""
        # What another object has become is the planner's to judge: SourceChanged goes up at once.
        if (copied := body.copy_to(self._backend, progress)) is not None:
            self._note(body.item, copied)
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
                        f"{paths.quote(body.item.path)} keeps changing: it changed during each of {_READS} reads",
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
        keys = [item.path for item in self._plan.extras if item.kind is Kind.FILE]
        keys += [item.path + "/" for item in self._plan.extras if item.kind is Kind.DIR and item.etag]
        keys += self._replaced_keys()
        failed = self._backend.delete(keys)
        if failed:
            raise EntryFailed(
                f"{len(failed):,} objects could not be deleted; all else is done:{paths.listed(failed)}",
                hint="the next run tries again",
                reasons=failed,
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

    def _note(self, item: Item, stored: PutResult) -> None:
        with self._guard:
            self.stored[item.path] = item._replace(etag=stored.etag, version=stored.version)

    def _upload(self, body: Body, chunks: Callable[[], Iterator[Chunk]]) -> PutResult:
        item = body.item
        return self._backend.put(item.path, chunks, size=item.size)

    def _put_markers(self) -> None:
        """Without a manifest an empty directory travels as an empty object whose key ends in a slash.

        Some servers drop the slash, which leaves an empty file of the directory's name.

        Raises:
            EntryFailed: this one does.
        """
        for put in self._plan.puts:
            if put.item.kind is not Kind.DIR:
                continue
            key = put.item.path
            self._backend.put(key + "/", lambda: iter(()), size=0)
            if put.old is None and self._has(key):
                self._backend.delete([key])
                raise EntryFailed(
                    f"this S3 server keeps no empty directories such as {paths.quote(put.item.path)}",
                    hint='set "manifest": true in the entry, or leave them out with a rule of ignore',
                    paths=(put.item.path,),
                )

    def _has(self, key: str) -> bool:
        try:
            self._backend.head(key)
        except NotFound:
            return False
        return True

    def _replaced_keys(self) -> list[str]:
        """Objects whose path is now a link or a directory."""
        return [
            put.item.path + ("/" if put.old.kind is Kind.DIR else "")
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
        backend: Backend,
        writer: Writer,
        head: Head | None,
        head_etag: str | None,
        cache: ManifestCache,
    ) -> None:
        self._backend = backend
        self._cache = cache
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
                f"another master, {paths.escape(claim.host)}, began a push to {self._backend.location} "
                f"at {paths.escape(claim.started)} and has not finished it",
                hint="wait for it; if it died, push from there again, or take over here with --take-over",
            )
        base = before or Head(generation=0, writer=self._writer.id, nonce="", host=self._writer.host, time="")
        mine = Claim(writer=self._writer.id, host=self._writer.host, started=self._writer.now())
        self._write(base.model_copy(update={"push": mine}), what="begin the push")
        if not self._backend.capabilities.conditional_put:
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
        self._backend.put(ref.key, lambda: iter([data]), size=len(data))
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
        self._cache.save(self._backend.location, data)
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
            mine = {found.key for page in self._backend.list(paths.RESERVED) for found in page}
            self._backend.delete([key for key in mine if key.startswith(_MANIFESTS) and key not in kept])

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
        is_refused = not self._try(mine)
        there, etag = self._read()
        if there is not None and there.nonce == mine.nonce:
            self._head, self._etag = there, etag
            return
        if not is_refused or not self._is_known(there):
            raise self._lost(there, what)
        place = self._backend.location
        raise Conflict(
            f"could not {what}: the head of {place} cannot be replaced, although nobody has changed it",
            hint="run it again; docs/servers.md says what S3 servers can do",
        )

    def _try(self, mine: Head) -> bool:
        """Write the head; tell whether the backend has taken it."""
        data = mine.to_bytes()
        for pause_s in (*_CONFLICT_PAUSES_S, None):
            mode = CREATE if self._etag is None else Replace(self._etag)
            try:
                self._backend.put(HEAD_KEY, lambda: iter([data]), size=len(data), mode=mode)
            except WriteConflict:
                there, etag = self._read()
                if pause_s is None or not self._is_known(there):
                    return False
                self._etag = etag
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
            data, etag = self._backend.read(HEAD_KEY, limit=manifest.MAX_HEAD)
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
        place = self._backend.location
        return Conflict(
            f"could not {what}: {who} changed the head of {place} at the same time; nothing was deleted",
            hint="let one machine push to a prefix, and run the one that is to win again",
        )
