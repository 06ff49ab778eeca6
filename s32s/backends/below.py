"""A part of a backend as a backend: all keys below one prefix."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from s32s.backends.base import (
    OVERWRITE,
    Backend,
    Capabilities,
    Chunk,
    GetRequest,
    GetResult,
    ListedObject,
    ListedVersion,
    ListsVersions,
    ObjectMeta,
    PartRequest,
    PutMode,
    PutRequest,
    PutResult,
    ServerSideCopy,
    UnfinishedUploads,
    unwrapped,
)
from s32s.backends.parts import read_parts
from s32s.core.errors import Unsupported


class Below:
    """The keys of a backend that begin with `prefix/`, without it.

    It is not a wrapper in the sense of `wrappers.py`: its keys are others, so nothing may see through it.
    """

    def __init__(self, backend: Backend, prefix: str) -> None:
        self._backend = backend
        self._start = f"{prefix}/"

    @property
    def location(self) -> str:
        """See `Backend`."""
        return f"{self._backend.location}/{self._start.rstrip('/')}"

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend`."""
        of = self._backend.capabilities
        return replace(of, max_key_bytes=of.max_key_bytes - len(self._start.encode()))

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        skip = len(self._start)
        for page in self._backend.list(f"{self._start}{prefix}".rstrip("/")):
            yield [one._replace(key=one.key[skip:]) for one in page]

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        if not isinstance(self._backend, ListsVersions):
            raise Unsupported(f"{self.location} keeps no versions")
        skip = len(self._start)
        for page in self._backend.list_versions(self._start + start):
            yield [one._replace(key=one.key[skip:]) for one in page]

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._backend.head(self._start + key, version=version, tags=tags)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        return self._backend.get(self._start + key, if_match=if_match, version=version, expected=expected)

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        wanted = (one._replace(key=self._start + one.key) for one in requests)
        return self._backend.get_many(wanted, concurrency=concurrency)

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk]]:
        """See `ReadsParts`."""
        wanted = (one._replace(key=self._start + one.key) for one in requests)
        return read_parts(self._backend, wanted, concurrency=concurrency)

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`."""
        wanted = (one._replace(key=self._start + one.key) for one in requests)
        return self._backend.put_many(wanted, concurrency=concurrency)

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        return self._backend.read(self._start + key, limit=limit)

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
        return self._backend.put(self._start + key, chunks, size=size, mode=mode, meta=meta)

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        failed = self._backend.delete([self._start + key for key in keys])
        return {key[len(self._start) :]: why for key, why in failed.items()}

    def copies_from(self, source: Backend) -> bool:
        """See `ServerSideCopy`."""
        return isinstance(self._backend, ServerSideCopy) and self._backend.copies_from(_whole(source))

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        """See `ServerSideCopy`."""
        if not isinstance(self._backend, ServerSideCopy):
            raise TypeError("copies_from says no")
        if isinstance(inner := unwrapped(source), Below):
            source_key = inner._start + source_key
        return self._backend.copy(_whole(source), source_key, self._start + key, **how)

    def abort_uploads(self, *, keys: Collection[str] | None = None) -> None:
        """See `UnfinishedUploads`; without keys it is left to who has all of the place."""
        if isinstance(self._backend, UnfinishedUploads) and keys is not None:
            self._backend.abort_uploads(keys=[self._start + key for key in keys])


def _whole(source: Backend) -> Backend:
    """The backend that a part belongs to."""
    inner = unwrapped(source)
    return unwrapped(inner._backend) if isinstance(inner, Below) else inner
