"""A bucket and a prefix as a backend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from s32s.backends.base import (
    OVERWRITE,
    Backend,
    Capabilities,
    Chunk,
    Create,
    GetRequest,
    GetResult,
    ListedObject,
    ListedVersion,
    ObjectMeta,
    Overwrite,
    PartRequest,
    PutMode,
    PutRequest,
    PutResult,
)
from s32s.backends.s3.downloads import RANGE
from s32s.backends.s3.objects import Condition, CopySource
from s32s.backends.s3.service import S3Service
from s32s.backends.s3.uploads import PART_SIZE
from s32s.core.errors import NotFound, PreconditionFailed, Unsupported, WriteConflict
from s32s.core.location import S3Path


class S3Backend:
    """One place of a service; see `Backend` and the protocols of what only some can do."""

    def __init__(self, service: S3Service, place: S3Path) -> None:
        self._service = service
        self._place = place

    @property
    def location(self) -> str:
        """See `Backend`."""
        return str(self._place)

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend`."""
        bucket = self._place.bucket
        return Capabilities(
            conditional_put=self._service.conditions(bucket) != [Condition.NONE],
            max_key_bytes=self._place.room,
            small=PART_SIZE,
        )

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        below = self._place.key(prefix) if prefix else self._place.prefix
        return self._service.pages(self._place.bucket, below, skip=len(self._place.key("")))

    def list_parts(self, bounds: Sequence[str]) -> Iterator[Sequence[ListedObject]]:
        """See `ListsInParts`."""
        key = self._place.key
        return self._service.parts(
            self._place.bucket, self._place.prefix, [key(bound) for bound in bounds], skip=len(key(""))
        )

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        return self._service.versions(self._place.bucket, self._place.key(start), skip=len(self._place.key("")))

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._service.about(self._place.bucket, self._place.key(key), version=version, tags=tags)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        is_large = expected is not None and expected > RANGE
        return self._service.get(
            self._place.bucket, self._place.key(key), etag=if_match, version=version, is_large=is_large
        )

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        bucket, key = self._place.bucket, self._place.key
        wanted = (one._replace(key=key(one.key)) for one in requests)
        return self._service.get_many(bucket, wanted, most=concurrency)

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`."""
        bucket, key = self._place.bucket, self._place.key
        wanted = (one._replace(key=key(one.key)) for one in requests)
        return self._service.get_parts(bucket, wanted, most=concurrency)

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`."""
        bucket, key = self._place.bucket, self._place.key
        wanted = (one._replace(key=key(one.key)) for one in requests)
        return self._service.put_many(bucket, wanted, most=concurrency)

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        return self._service.get_small(self._place.bucket, self._place.key(key), limit=limit)

    def put(
        self,
        key: str,
        chunks: Callable[[], Iterator[Chunk]],
        *,
        size: int,
        mode: PutMode = OVERWRITE,
        meta: ObjectMeta | None = None,
    ) -> PutResult:
        """See `Backend`."""
        bucket, full = self._place.bucket, self._place.key(key)
        if isinstance(mode, Overwrite):
            return self._service.put(bucket, full, chunks, size=size, about=meta)
        return self._put_if(full, b"".join(chunks()), None if isinstance(mode, Create) else mode.etag)

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        failed = self._service.delete(self._place.bucket, [self._place.key(key) for key in keys])
        skip = len(self._place.key(""))
        return {key[skip:]: why for key, why in failed.items()}

    def copies_from(self, source: Backend) -> bool:
        """See `ServerSideCopy`."""
        return isinstance(source, S3Backend) and source._service is self._service

    def copy(
        self,
        source: Backend,
        source_key: str,
        key: str,
        *,
        size: int,
        etag: str | None,
        version: str | None = None,
        progress: Callable[[int], None],
    ) -> PutResult:
        """See `ServerSideCopy`."""
        if not isinstance(source, S3Backend):
            raise TypeError("copies_from says no")
        there = source._place
        original = CopySource(there.bucket, there.key(source_key), size, etag, version)
        return self._service.copy(original, self._place.bucket, self._place.key(key), progress=progress)

    def abort_uploads(self, *, keys: Collection[str] | None = None) -> None:
        """See `UnfinishedUploads`."""
        full = None if keys is None else {self._place.key(key) for key in keys}
        self._service.abort_uploads(self._place.bucket, self._place.prefix, keys=full)

    def _put_if(self, key: str, data: bytes, etag: str | None) -> PutResult:
        """Write where the object that is there has `etag`, or, with None, where there is none.

        A condition that is refused although nothing else is there is one that this server cannot take: the next way to
        write it is tried, at last none at all.
        """
        bucket = self._place.bucket
        for condition in self._service.conditions(bucket):
            try:
                stored = self._service.put_if(bucket, key, data, etag=etag, condition=condition)
            except WriteConflict:
                raise
            except (PreconditionFailed, Unsupported):
                if self._etag(key) != etag:
                    raise
                continue
            if etag is not None or condition is Condition.NONE:
                self._service.took(bucket, condition)
            return stored
        raise PreconditionFailed(f"S3 refuses to write {bucket}/{key}, although nobody has changed it")

    def _etag(self, key: str) -> str | None:
        try:
            return self._service.about(self._place.bucket, key).etag
        except NotFound:
            return None
