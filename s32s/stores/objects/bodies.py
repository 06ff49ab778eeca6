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
from s32s.core import compare, cures, paths
from s32s.core.errors import (
    AccessDenied,
    EntryFailed,
    IntegrityError,
    NotFound,
    PreconditionFailed,
    S32sError,
    SourceChanged,
)
from s32s.core.item import Item, is_md5
from s32s.stores.base import Progress, Reading

#: Threads that take bodies: enough for disks and hashes where one thread has all requests under way, and the most
#: where each waits for its own.
_FEW_THREADS, MANY_THREADS = 8, 64


class ObjectBody:
    """The bytes of one object.

    Args:
        got: the object as it has come already; the first reading takes it.
        of: the earlier generation that it is of, whose version is there and not the current one; 0 for the current.
    """

    def __init__(self, backend: Backend, item: Item, got: GetResult | None = None, *, of: int = 0) -> None:
        self._backend = backend
        self._item = item
        self._got = got
        self._of = of

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

        for version in self._versions:
            with contextlib.suppress(SourceChanged):
                return copy(version)
        raise self._moved()

    def _stream_to(self, target: Backend, progress: Progress) -> PutResult:
        item = self._item
        try:
            meta = self._backend.head(item.path, version=self._versions[0], tags=True)
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
        """The object as it was listed: the current one, or in a versioned bucket the version of that time."""
        item = self._item
        denied: AccessDenied | None = None
        for version in self._versions:
            try:
                got = self._backend.get(
                    item.path, if_match=None if version else item.etag, version=version, expected=item.size
                )
            except (NotFound, PreconditionFailed):
                continue
            except AccessDenied as exc:
                if not version:
                    raise
                denied = exc
                continue
            if compare.is_object(item, size=got.size, etag=got.etag):
                return got
        if self._of and denied is not None:
            raise denied
        raise self._moved()

    @property
    def _versions(self) -> Sequence[str | None]:
        """What to ask for, one after the other.

        The current one first where it is the one of the generation: to read versions takes a permission of its own
        (s3:GetObjectVersion).
        """
        version = self._item.version
        if version is None:
            return (None,)
        return (version,) if self._of else (None, version)

    def _moved(self) -> S32sError:
        path = self._item.path
        if self._of:
            return gone([path], self._of)
        return SourceChanged(f"{paths.quote(path)} was replaced or deleted on S3 during the run", paths=(path,))


def gone(lost: Sequence[str], number: int, kind: type[S32sError] = EntryFailed) -> S32sError:
    """The error that versions of an earlier generation are not there any more.

    Args:
        lost: their paths.
        kind: `Refused` as long as nothing was touched.
    """
    which = paths.quote(lost[0]) if len(lost) == 1 else f"{len(lost):,} files ({paths.some(lost)})"
    return kind(
        f"{which} of generation {number:,} cannot be read any more: a version was deleted, "
        "or a rule of the bucket has let it expire",
        hint=f"take a later generation, or leave them out; {cures.LOG}",
        paths=tuple(lost),
    )


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
