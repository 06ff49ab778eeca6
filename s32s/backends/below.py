"""A part of a backend as a backend: all keys below one prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from s32s.backends.base import (
    OVERWRITE,
    Backend,
    Capabilities,
    Chunk,
    GetRequest,
    GetResult,
    ListedObject,
    ObjectMeta,
    PutMode,
    PutResult,
)


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

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._backend.head(self._start + key, version=version, tags=tags)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        return self._backend.get(self._start + key, if_match=if_match, version=version, expected=expected)

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[GetResult | None]:
        """See `Backend`."""
        wanted = (one._replace(key=self._start + one.key) for one in requests)
        return self._backend.get_many(wanted, concurrency=concurrency)

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
