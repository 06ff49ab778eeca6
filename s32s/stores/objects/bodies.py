"""The bytes of one object: read and checked here, or copied within S3 without coming here.

An object is taken as it was listed or not at all. What the endpoint vouches for is checked while the bytes pass: an
ETag that is an MD5, where no SHA-256 is known; the code that stages a file compares the SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Sequence

from s32s.backends.base import Backend, Chunk, GetRequest, GetResult, PutResult, ServerSideCopy, unwrapped
from s32s.core import compare, paths
from s32s.core.errors import AccessDenied, IntegrityError, NotFound, PreconditionFailed, SourceChanged
from s32s.core.item import Item, is_md5
from s32s.stores.base import Progress, Reading

#: Threads that take bodies: enough for disks and hashes where one thread has all requests under way, and the most
#: where each waits for its own.
_FEW_THREADS, MANY_THREADS = 8, 64


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
    """Objects that are to come here: large ones in pieces, and small ones read before they are asked for."""
    small = backend.capabilities.small
    if not small:
        return Reading((ObjectBody(backend, item) for item in items), min(jobs, MANY_THREADS))
    large = (ObjectBody(backend, item) for item in items if item.size > small)
    rest = [item for item in items if item.size <= small]
    bodies = itertools.chain(large, _small(backend, rest, jobs))
    return Reading(bodies, min(jobs, _FEW_THREADS), first=8 if len(rest) < len(items) else 2)


def _small(backend: Backend, items: Sequence[Item], jobs: int) -> Iterator[ObjectBody]:
    wanted = (GetRequest(item.path, item.etag, item.size) for item in items)
    for number, got in backend.get_many(wanted, concurrency=jobs):
        yield ObjectBody(backend, items[number], got)
