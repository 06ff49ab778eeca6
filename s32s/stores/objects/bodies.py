"""The bytes of one object: read and checked here, or copied within S3 without coming here.

An object is taken as it was listed or not at all. What the endpoint vouches for is checked while the bytes pass: an
ETag that is an MD5, where no SHA-256 is known; whoever stages a file compares the SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from s32s.backends.base import Chunk
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.downloads import RANGE
from s32s.backends.s3.lane import GetRequest
from s32s.backends.s3.objects import CopySource, GetResult, PutResult
from s32s.config.maps import S3Path
from s32s.core import compare, paths
from s32s.core.errors import AccessDenied, IntegrityError, NotFound, PreconditionFailed, SourceChanged
from s32s.core.tree import Item, is_md5
from s32s.stores.base import Batch, Progress

#: Small objects of a batch, where several are under way at the same time.
_BATCH = 32


class ObjectBody:
    """The bytes of one object.

    Args:
        got: the object as it has come already; the first reading takes it.
    """

    def __init__(self, engine: S3Backend, place: S3Path, item: Item, got: GetResult | None = None) -> None:
        self._engine = engine
        self._place = place
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
        if is_wrong and self._engine.about(self._place.bucket, self._place.key(item.path)).has_md5:
            raise IntegrityError(
                f"{paths.quote(item.path)} arrived with wrong bytes: its MD5 is not the object's ETag",
                hint="run it again",
                paths=(item.path,),
            )
        if item.mtime_ns is None:
            self._item = item._replace(mtime_ns=got.stored_ns())

    def copy_to(self, engine: S3Backend, place: S3Path, progress: Progress) -> PutResult:
        """Copy the object to another place, with all that it carries: within S3, or through here to another endpoint.

        Raises:
            SourceChanged: it is no longer the one that was listed.
            IntegrityError: the bytes are not those that were announced.
        """
        item = self._item
        bucket, key = place.bucket, place.key(item.path)
        here = CopySource(self._place.bucket, self._place.key(item.path), item.size, item.etag)
        if engine is not self._engine:
            return self._stream_to(engine, bucket, key, progress)
        try:
            return engine.copy(here, bucket, key, progress=progress)
        except SourceChanged as exc:
            if item.version is None:
                raise self._moved() from exc
            return engine.copy(replace(here, version=item.version), bucket, key, progress=progress)

    def _stream_to(self, engine: S3Backend, bucket: str, key: str, progress: Progress) -> PutResult:
        item = self._item
        try:
            about = self._engine.about(self._place.bucket, self._place.key(item.path), tags=True)
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

        return engine.put(bucket, key, chunks, size=item.size, about=about)

    def _open(self) -> GetResult:
        """The object as it was listed: the current one, or in a versioned bucket the version of that time.

        The current one first, because reading versions needs a permission of its own (s3:GetObjectVersion).
        """
        item = self._item
        bucket, key = self._place.bucket, self._place.key(item.path)
        with contextlib.suppress(NotFound, PreconditionFailed):
            got = self._engine.get(bucket, key, etag=item.etag, is_large=item.size > RANGE)
            if compare.is_object(item, size=got.size, etag=got.etag):
                return got
        if item.version:
            with contextlib.suppress(NotFound, AccessDenied):
                got = self._engine.get(bucket, key, version=item.version, is_large=item.size > RANGE)
                if compare.is_object(item, size=got.size, etag=got.etag):
                    return got
        raise self._moved()

    def _moved(self) -> SourceChanged:
        path = self._item.path
        return SourceChanged(f"{paths.quote(path)} was replaced or deleted on S3 during the run", paths=(path,))


class ReadAhead:
    """The objects of a prefix as a source: small ones many a batch, read before they are asked for.

    Args:
        at_once: how many of a batch are under way at the same time.
    """

    def __init__(self, engine: S3Backend, place: S3Path, *, at_once: int) -> None:
        self.at_once = at_once
        self._engine = engine
        self._place = place

    def batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        """Batches that fit into the memory of one range; what has ranges of its own is a batch of its own."""
        batch: list[Item] = []
        room = RANGE
        most = _BATCH if self.at_once > 1 else 1
        for item in items:
            if item.size > RANGE:
                yield (ObjectBody(self._engine, self._place, item),)
                continue
            if batch and (item.size > room or len(batch) == most):
                yield self._bodies(batch)
                batch, room = [], RANGE
            batch.append(item)
            room -= item.size
        if batch:
            yield self._bodies(batch)

    def _bodies(self, items: Sequence[Item]) -> Iterator[ObjectBody]:
        wanted = (GetRequest(self._place.key(item.path), item.etag, item.size) for item in items)
        answers = self._engine.get_many(self._place.bucket, wanted, at_once=self.at_once)
        for item, got in zip(items, answers, strict=True):
            yield ObjectBody(self._engine, self._place, item, got)
