"""A backend in memory: for tests, demonstrations, and as the smallest example of one."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
import uuid
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
    ListedVersion,
    ObjectMeta,
    Overwrite,
    PartRequest,
    PutMode,
    PutRequest,
    PutResult,
    Replace,
)
from s32s.core.errors import NotFound, PreconditionFailed, SourceChanged, StoreError, Unsupported

_PAGE = 1000


class MemoryBackend:
    """Objects in a dictionary, with conditions, pages, and copies from one to another. Thread-safe.

    Attributes:
        keeps_versions: whether what is overwritten or deleted stays, as a version.
    """

    def __init__(self, location: str = "memory:", *, keeps_versions: bool = False) -> None:
        self.location = location
        self.capabilities = Capabilities(small=1024 * 1024)
        self._objects: dict[str, _Object] = {}
        self.keeps_versions = keeps_versions
        self._stored: dict[str, tuple[_Object, ...]] = {}  # the versions of each key, the newest last
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

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        if not self.keeps_versions:
            raise Unsupported(f"{self.location} keeps no versions")
        with self._guard:
            found = sorted((key, self._versions(key)[::-1]) for key in {*self._objects, *self._stored})
        listed = [
            ListedVersion(key, one.version or "null", len(one.data), one.etag, one.stored_ns)
            for key, stored in found
            if key.startswith(start)
            for one in stored
        ]
        for at in range(0, max(1, len(listed)), _PAGE):
            yield listed[at : at + _PAGE]

    def forget_version(self, key: str, version: str) -> None:
        """Lose a version, as by a rule of a bucket that lets it expire; of the current one the object goes with it."""
        with self._guard:
            self._stored[key] = tuple(one for one in self._versions(key) if one.version != version)
            if key in self._objects and self._objects[key].version == version:
                del self._objects[key]

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
        chunks = iter((one.data,) if one.data else ())
        return GetResult(len(one.data), one.etag, one.version, lambda: one.stored_ns, chunks)

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
            one = self._keep(key, _Object.of(data, meta))
        return PutResult(one.etag, one.version)

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        with self._guard:
            for key in keys:
                if self.keeps_versions:
                    self._stored[key] = self._versions(key)
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
            copied = self._keep(key, one._replace(stored_ns=time.time_ns(), version=None))
        progress(size)
        return PutResult(copied.etag, copied.version)

    def _keep(self, key: str, one: _Object) -> _Object:
        if self.keeps_versions:
            one = one._replace(version=uuid.uuid4().hex)
            self._stored[key] = (*self._versions(key), one)
        self._objects[key] = one
        return one

    def _versions(self, key: str) -> tuple[_Object, ...]:
        """Those of a key, the newest last; what was stored while none were kept is one of them."""
        current = self._objects.get(key)
        return self._stored.get(key) or ((current,) if current is not None else ())

    def _find(self, key: str, version: str | None) -> _Object:
        with self._guard:
            one = self._objects.get(key)
            if version is not None:
                one = next((old for old in self._versions(key) if (old.version or "null") == version), None)
        if one is None:
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
    version: str | None = None

    @classmethod
    def of(cls, data: bytes, meta: ObjectMeta | None) -> _Object:
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        kept = meta or ObjectMeta(len(data), etag, True)
        return cls(data, etag, time.time_ns(), kept.headers, kept.metadata, kept.tags)

    def meta(self, *, tags: bool) -> ObjectMeta:
        return ObjectMeta(len(self.data), self.etag, True, self.headers, self.metadata, self.tags if tags else {})
