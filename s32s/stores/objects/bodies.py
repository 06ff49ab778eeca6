"""The bytes of one object: read and checked here, or copied within S3 without coming here.

An object is taken as it was listed or not at all. What the endpoint vouches for is checked while the bytes pass: an
ETag that is an MD5, where no SHA-256 is known; the code that stages a file compares the SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

from s32s.backends.base import Backend, Chunk, GetRequest, GetResult, PutResult, ServerSideCopy, unwrapped
from s32s.core import compare, paths
from s32s.core.errors import AccessDenied, IntegrityError, NotFound, PreconditionFailed, SourceChanged
from s32s.core.item import Item, is_md5
from s32s.stores.base import Batch, Progress, Reading

#: Small objects of a batch, where several are under way at the same time, and their bytes, which are held in memory.
_BATCH = 32
_BATCH_SIZE = 8 * 1024 * 1024


class ObjectBody:
    """The bytes of one object.

    Args:
        got: the object as it has come already; the first reading takes it.
    """

    def __init__(self, backend: Backend, item: Item, got: GetResult | None = None) -> None:
        self._backend = backend
        self._item = item
        self._got = got

    @property
    def item(self) -> Item:
        """See `stores.base.Body`."""
        return self._item

    def chunks(self) -> Iterator[Chunk]:
        """Read the object, if it still is the one that was listed.

        Without a SHA-256 an ETag that is an MD5 is all that the endpoint vouches for, so it is checked here.
        """
        item = self._item
        got, self._got = self._got, None
        if got is None or not compare.is_object(item, size=got.size, etag=got.etag):
            got = self._open()
        md5 = hashlib.md5(usedforsecurity=False) if not item.sha256 and is_md5(item.etag) else None
        try:
            for chunk in got.chunks:
                if md5 is not None:
                    md5.update(chunk)
                yield chunk
        except (NotFound, PreconditionFailed) as exc:
            raise self._moved() from exc
        is_wrong = md5 is not None and md5.hexdigest() != item.etag
        if is_wrong and self._backend.head(item.path).has_md5:
            raise IntegrityError(
                f"{paths.quote(item.path)} arrived with wrong bytes: its MD5 is not the object's ETag",
                hint="run it again",
                paths=(item.path,),
            )
        if item.mtime_ns is None:
            self._item = item._replace(mtime_ns=got.stored_ns())

    def copy_to(self, target: Backend, progress: Progress) -> PutResult:
        """Copy the object to another place, with all that it carries: on the server where it can, else through here.

        Raises:
            SourceChanged: it is no longer the one that was listed.
            IntegrityError: the bytes are not those that were announced.
        """
        if not isinstance(target, ServerSideCopy) or not target.copies_from(unwrapped(self._backend)):
            return self._stream_to(target, progress)
        path, item = self._item.path, self._item

        def copy(version: str | None) -> PutResult:
            return target.copy(
                unwrapped(self._backend), path, path, size=item.size, etag=item.etag, version=version, progress=progress
            )

        try:
            return copy(None)
        except SourceChanged as exc:
            if item.version is None:
                raise self._moved() from exc
            return copy(item.version)

    def _stream_to(self, target: Backend, progress: Progress) -> PutResult:
        item = self._item
        try:
            meta = self._backend.head(item.path, tags=True)
        except NotFound as exc:
            raise self._moved() from exc

        def chunks() -> Iterator[Chunk]:
            sha256 = hashlib.sha256()
            for chunk in self.chunks():
                sha256.update(chunk)
                progress(len(chunk))
                yield chunk
            if item.sha256 and sha256.hexdigest() != item.sha256:
                raise IntegrityError(
                    f"{paths.quote(item.path)} does not hold the bytes that the manifest names",
                    hint="push again from the master with --verify",
                    paths=(item.path,),
                )

        return target.put(item.path, chunks, size=item.size, meta=meta)

    def _open(self) -> GetResult:
        """The object as it was listed: the current one, or in a versioned bucket the version of that time.

        The current one first, because reading versions needs a permission of its own (s3:GetObjectVersion).
        """
        item = self._item
        with contextlib.suppress(NotFound, PreconditionFailed):
            got = self._backend.get(item.path, if_match=item.etag, expected=item.size)
            if compare.is_object(item, size=got.size, etag=got.etag):
                return got
        if item.version:
            with contextlib.suppress(NotFound, AccessDenied):
                got = self._backend.get(item.path, version=item.version, expected=item.size)
                if compare.is_object(item, size=got.size, etag=got.etag):
                    return got
        raise self._moved()

    def _moved(self) -> SourceChanged:
        path = self._item.path
        return SourceChanged(f"{paths.quote(path)} was replaced or deleted on S3 during the run", paths=(path,))


def read_ahead(backend: Backend, items: Sequence[Item], *, jobs: int) -> Reading:
    """Objects that are to come here: small ones many a batch, read before they are asked for.

    A batch fits into a bound of memory; what is larger is a batch of its own, and comes in pieces.
    """
    width = min(jobs, backend.capabilities.concurrent_gets)
    return Reading(_batches(backend, items, width), width)


def _batches(backend: Backend, items: Sequence[Item], width: int) -> Iterator[Batch]:
    batch: list[Item] = []
    room = _BATCH_SIZE
    limit = _BATCH if width > 1 else 1
    for item in items:
        if item.size > _BATCH_SIZE:
            yield (ObjectBody(backend, item),)
            continue
        if batch and (item.size > room or len(batch) == limit):
            yield _bodies(backend, batch, width)
            batch, room = [], _BATCH_SIZE
        batch.append(item)
        room -= item.size
    if batch:
        yield _bodies(backend, batch, width)


def _bodies(backend: Backend, items: Sequence[Item], width: int) -> Iterator[ObjectBody]:
    wanted = (GetRequest(item.path, item.etag, item.size) for item in items)
    for item, got in zip(items, backend.get_many(wanted, concurrency=width), strict=True):
        yield ObjectBody(backend, item, got)
