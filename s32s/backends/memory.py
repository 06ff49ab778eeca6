"""A backend in memory: for tests, demonstrations, and as the smallest example of one."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from s32s.backends.base import (
    OVERWRITE,
    Backend,
    Capabilities,
    Chunk,
    GetRequest,
    GetResult,
    ListedObject,
    ObjectMeta,
    Overwrite,
    PartRequest,
    PutMode,
    PutRequest,
    PutResult,
    Replace,
)
from s32s.core.errors import NotFound, PreconditionFailed, SourceChanged, StoreError

_PAGE = 1000


class MemoryBackend:
    """Objects in a dictionary, with conditions, pages, and copies from one to another. Thread-safe."""

    def __init__(self, location: str = "memory:") -> None:
        self.location = location
        self.capabilities = Capabilities(small=1024 * 1024)
        self._objects: dict[str, _Object] = {}
        self._guard = threading.RLock()

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        with self._guard:
            found = sorted(self._objects.items())
        start = f"{prefix}/" if prefix else ""
        listed = [
            ListedObject(key, len(one.data), one.etag, one.stored_ns) for key, one in found if key.startswith(start)
        ]
        for at in range(0, max(1, len(listed)), _PAGE):
            yield listed[at : at + _PAGE]

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._find(key, version).meta(tags=tags)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        one = self._find(key, version)
        if if_match and one.etag != if_match:
            raise PreconditionFailed(f"{self._named(key)} was changed by somebody else")
        return GetResult(len(one.data), one.etag, None, lambda: one.stored_ns, iter((one.data,) if one.data else ()))

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        for number, wanted in enumerate(requests):
            try:
                found = self.get(wanted.key, if_match=wanted.if_match)
            except (NotFound, PreconditionFailed):
                yield number, None
            else:
                yield number, found if found.size <= wanted.limit else None

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`."""
        for number, one in enumerate(requests):
            try:
                data = self._find(one.key, None).data
            except NotFound:
                yield number, None
            else:
                yield number, data[one.start : one.start + one.size]

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`."""
        for number, one in enumerate(requests):
            yield number, self.put(one.key, functools.partial(iter, (one.data,)), size=len(one.data))

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        one = self._find(key, None)
        if len(one.data) > limit:
            raise StoreError(f"{self._named(key)} has {len(one.data):,} bytes, which is more than it should have")
        return one.data, one.etag

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
        data = b"".join(chunks())
        with self._guard:
            there = self._objects.get(key)
            wanted = mode.etag if isinstance(mode, Replace) else None
            if not isinstance(mode, Overwrite) and (there.etag if there else None) != wanted:
                raise PreconditionFailed(f"{self._named(key)} was changed by somebody else")
            self._objects[key] = one = _Object.of(data, meta)
        return PutResult(one.etag, None)

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        with self._guard:
            for key in keys:
                self._objects.pop(key, None)
        return {}

    def copies_from(self, source: Backend) -> bool:
        """See `ServerSideCopy`."""
        return isinstance(source, MemoryBackend)

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
        if not isinstance(source, MemoryBackend):
            raise TypeError("copies_from says no")
        try:
            one = source._find(source_key, version)
        except NotFound as exc:
            raise SourceChanged(f"{source._named(source_key)} is gone") from exc
        if len(one.data) != size or (etag and one.etag != etag):
            raise SourceChanged(f"{source._named(source_key)} is another object by now")
        with self._guard:
            self._objects[key] = one._replace(stored_ns=time.time_ns())
        progress(size)
        return PutResult(one.etag, None)

    def _find(self, key: str, version: str | None) -> _Object:
        with self._guard:
            one = self._objects.get(key)
        if one is None or version is not None:
            raise NotFound(f"{self._named(key)} does not exist")
        return one

    def _named(self, key: str) -> str:
        return f"{self.location}/{key}"


class _Object(NamedTuple):
    data: bytes
    etag: str
    stored_ns: int
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, data: bytes, meta: ObjectMeta | None) -> _Object:
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        kept = meta or ObjectMeta(len(data), etag, True)
        return cls(data, etag, time.time_ns(), kept.headers, kept.metadata, kept.tags)

    def meta(self, *, tags: bool) -> ObjectMeta:
        return ObjectMeta(len(self.data), self.etag, True, self.headers, self.metadata, self.tags if tags else {})
