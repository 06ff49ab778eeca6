"""A push between its claim and its last deletion: put, publish, sweep.

Deletions come after the publish, so no reader misses a file that its manifest names.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from s32s.backends.base import Backend, Chunk, PutRequest, PutResult, UnfinishedUploads
from s32s.core import cures, paths
from s32s.core.columns import Columns
from s32s.core.errors import EntryFailed, NotFound, S32sError, SourceChanged
from s32s.core.item import Item, Kind, only_directories
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.stores.base import Body, Position, Progress, Published
from s32s.stores.objects.etags import Etags
from s32s.stores.objects.prefix import FoundHead
from s32s.stores.objects.publisher import Publisher

R = TypeVar("R")

_READS = 3  # of a file that keeps changing while it is uploaded


class ObjectTransaction:
    """A push between its claim and its last deletion; see `stores.base.Transaction`."""

    takes_objects = True

    def __init__(self, backend: Backend, plan: Plan, publisher: Publisher | None) -> None:
        self.wanted: Sequence[Item] = tuple(put.item for put in plan.puts if put.needs_bytes)
        self.stored: dict[str, Item] = {}
        self._backend = backend
        self._plan = plan
        self._publisher = publisher
        self._guard = threading.Lock()
        self._tree: Tree | None = None

    @property
    def is_staged(self) -> bool:
        """Readers of a manifest see nothing before the head moves; without one each object shows at once."""
        return self._publisher is not None

    def claim(self) -> None:
        """Take the head, and clear what a push that died has left; without a manifest, only see what can travel."""
        if self._publisher is None:
            self._put_markers()
            # Without a claim another tool may be uploading here: ours is only what is sent again or deleted.
            self._abort_uploads({item.path for item in (*self.wanted, *self._plan.extras)})
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

        stored = steadily(body, lambda: self._upload(body, chunks))
        self._note(body.item, stored)

    @property
    def small(self) -> int:
        """See `stores.base.TakesMany`."""
        return self._backend.capabilities.small

    def put_many(
        self, bodies: Iterator[Body], progress: Progress, *, jobs: int
    ) -> Iterator[tuple[Body, S32sError | None]]:
        """Bring small files together; what has grown too large meanwhile, and what fails, is brought alone."""
        under_way: dict[int, tuple[Body, int]] = {}
        aside: list[Body] = []
        failed: list[tuple[Body, S32sError]] = []

        def requests() -> Iterator[PutRequest]:
            number = 0
            for body in bodies:
                self._check_held()
                try:
                    data = steadily(body, functools.partial(bounded, body, self.small))
                except S32sError as exc:
                    failed.append((body, exc))
                    continue
                if data is None:
                    aside.append(body)
                    continue
                under_way[number] = body, len(data)
                number += 1
                yield PutRequest(body.item.path, data, body.item.sha256)  # S3 is told what the manifest will say

        for number, stored in self._backend.put_many(requests(), concurrency=jobs):
            body, size = under_way.pop(number)
            if stored is None:
                aside.append(body)
            else:
                progress(size)
                self._note(body.item, stored)
                yield body, None
            while failed:
                yield failed.pop()
            while aside:
                yield self._alone(aside.pop(), progress)
        yield from failed
        for body in aside:
            yield self._alone(body, progress)

    def _alone(self, body: Body, progress: Progress) -> tuple[Body, S32sError | None]:
        try:
            self.put(body, progress)
        except S32sError as exc:
            return body, exc
        return body, None

    def publish(self) -> Published:
        """Write the manifest, then the head; from then on readers see the new generation."""
        position = Position()
        if self._publisher is not None:
            self._tree = self._published()
            changed = {put.item.path for put in self._plan.puts}
            position = self._publisher.publish(self._tree, changed=changed, counts=self._counts())
        return Published(position, self._etags())

    def sweep(self) -> None:
        """Delete the objects that the new state no longer names."""
        keys = [item.path for item in self._plan.extras if item.kind is Kind.FILE]
        keys += [item.path + "/" for item in self._plan.extras if item.kind is Kind.DIR and item.etag]
        keys += self._replaced_keys()
        failed = self._backend.delete(keys)
        if failed:
            raise EntryFailed(
                f"{len(failed):,} objects could not be deleted; everything else is done:{paths.listed(failed)}",
                hint="the next run tries again",
                reasons=failed,
            )
        if self._publisher is not None:
            self._publisher.forget_old_manifests()

    def left(self, before: Tree) -> tuple[FoundHead, Tree] | None:
        """The head and the items that the prefix holds after all of it; None where only a LIST can tell.

        Args:
            before: what it held.
        """
        if self._publisher is not None and self._tree is not None:
            return self._publisher.found, self._tree
        if any(item.kind is not Kind.FILE for item in (*self._plan.extras, *(put.item for put in self._plan.puts))):
            return None
        come = (Item(path, size=item.size, sha256=item.sha256, etag=item.etag) for path, item in self.stored.items())
        return FoundHead(), before.patched([item.path for item in self._plan.extras], come)

    def _counts(self) -> tuple[int, int, int]:
        """How many files and links are new, modified and deleted."""
        puts = [put for put in self._plan.puts if not only_directories(put.item, put.old)]
        new = sum(put.old is None for put in puts)
        return new, len(puts) - new, self._plan.deletions

    def _check_held(self) -> None:
        """Called before each upload; may refuse it."""

    def _etags(self) -> Etags:
        """The ETag of every object that the prefix now holds for us, by path."""
        known = {path: item.etag for path, item in self.stored.items()}
        for put in self._plan.puts:
            if put.old is not None and not put.needs_bytes:
                known[put.item.path] = put.old.etag
        return Etags(known, self._plan.unchanged.etags)

    def _note(self, item: Item, stored: PutResult) -> None:
        with self._guard:
            self.stored[item.path] = item._replace(etag=stored.etag, version=stored.version)

    def _upload(self, body: Body, chunks: Callable[[], Iterator[Chunk]]) -> PutResult:
        self._check_held()
        return self._backend.put(body.item.path, chunks, size=body.item.size)

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
                    hint=f"{cures.WITH_MANIFEST}, or leave them out with a rule of ignore",
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
        kept, columns = self._plan.unchanged.as_objects(), Columns()
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
        return Tree(kept.in_order().patched((), columns.in_order()))


def steadily(body: Body, work: Callable[[], R]) -> R:
    """Read a file, again from the start when it changes meanwhile.

    Raises:
        EntryFailed: it keeps changing.
    """
    for _ in range(_READS - 1):
        with contextlib.suppress(SourceChanged):
            return work()
    try:
        return work()
    except SourceChanged as exc:
        raise EntryFailed(
            f"{paths.quote(body.item.path)} keeps changing: it changed during each of {_READS} reads",
            hint="push when nobody writes to it, or leave it out with a rule of ignore",
            paths=(body.item.path,),
        ) from exc


def bounded(body: Body, limit: int) -> bytes | None:
    """The bytes of a file; None where there are too many of them."""
    pieces: list[Chunk] = []
    size = 0
    for piece in body.chunks():
        size += len(piece)
        if size > limit:
            return None
        pieces.append(piece)
    return b"".join(pieces)
