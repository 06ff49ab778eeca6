"""Backends around a backend: each does one thing, keeps the contract of `Backend`, and goes around any other.

A wrapper always has the methods of all optional protocols, since what it goes around is not known to its class. Where
the inner backend has none, `list_versions` raises `Unsupported`, `copies_from` says no, `abort_uploads` does nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

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
from s32s.system.rate_limit import RateLimiter

Q = TypeVar("Q")
R = TypeVar("R")


class Wrapper:
    """Hands everything on; derive a class that does more.

    Attributes:
        inner: the backend that it goes around.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    @property
    def location(self) -> str:
        """See `Backend`."""
        return self.inner.location

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend`."""
        return self.inner.capabilities

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        return self.inner.list(prefix)

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        if not isinstance(self.inner, ListsVersions):
            raise Unsupported(f"{self.location} keeps no versions")
        return self.inner.list_versions(start)

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self.inner.head(key, version=version, tags=tags)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        return self.inner.get(key, if_match=if_match, version=version, expected=expected)

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        return self.inner.get_many(requests, concurrency=concurrency)

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`."""
        return read_parts(self.inner, requests, concurrency=concurrency)

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`."""
        return self.inner.put_many(requests, concurrency=concurrency)

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        return self.inner.read(key, limit=limit)

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
        return self.inner.put(key, chunks, size=size, mode=mode, meta=meta)

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        return self.inner.delete(keys)

    def copies_from(self, source: Backend) -> bool:
        """See `ServerSideCopy`."""
        return isinstance(self.inner, ServerSideCopy) and self.inner.copies_from(unwrapped(source))

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        """See `ServerSideCopy`."""
        if not isinstance(self.inner, ServerSideCopy):
            raise TypeError("copies_from says no")
        return self.inner.copy(unwrapped(source), source_key, key, **how)

    def abort_uploads(self, *, keys: Collection[str] | None = None) -> None:
        """See `UnfinishedUploads`."""
        if isinstance(self.inner, UnfinishedUploads):
            self.inner.abort_uploads(keys=keys)


class Counting(Wrapper):
    """Counts what is asked for, by verb: a page of a listing and an answer of `get_many` are one each.

    Attributes:
        requests: how often each verb was called.
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self._guard = threading.Lock()

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        return self._counted("list", super().list(prefix))

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        return self._counted("list", super().list_versions(start))

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        self._count("head")
        return super().head(key, version=version, tags=tags)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        self._count("get")
        return super().get(key, if_match=if_match, version=version, expected=expected)

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        return self._counted("get", super().get_many(requests, concurrency=concurrency))

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`."""
        return self._counted("get", super().get_parts(requests, concurrency=concurrency))

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`."""
        return self._counted("put", super().put_many(requests, concurrency=concurrency))

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        self._count("get")
        return super().read(key, limit=limit)

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
        self._count("put")
        return super().put(key, chunks, size=size, mode=mode, meta=meta)

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        self._count("delete")
        return super().delete(keys)

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        """See `ServerSideCopy`."""
        self._count("copy")
        return super().copy(source, source_key, key, **how)

    def _count(self, verb: str) -> None:
        with self._guard:
            self.requests[verb] += 1

    def _counted(self, verb: str, answers: Iterator[R]) -> Iterator[R]:
        for answer in answers:
            self._count(verb)
            yield answer


class Limited(Wrapper):
    """Moves bodies no faster than it may. A copy on the server moves none.

    What is read ahead would come faster than that, so small objects come one by one, and large ones as one stream.

    Args:
        incoming, outgoing: of all backends that share them.
    """

    def __init__(self, inner: Backend, incoming: RateLimiter, outgoing: RateLimiter) -> None:
        super().__init__(inner)
        self._incoming = incoming
        self._outgoing = outgoing

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend`."""
        return replace(super().capabilities, small=0)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        got = super().get(key, if_match=if_match, version=version)
        return got._replace(chunks=_paid(got.chunks, self._incoming))

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        return ((number, None) for number, _ in enumerate(requests))

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`."""
        return ((number, None) for number, _ in enumerate(requests))

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`."""
        for number, data in super().get_parts(requests, concurrency=1):
            self._incoming.acquire(len(data or b""))
            yield number, data

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        data, etag = super().read(key, limit=limit)
        self._incoming.acquire(len(data))
        return data, etag

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
        return super().put(key, lambda: _paid(chunks(), self._outgoing), size=size, mode=mode, meta=meta)


class Fallback(Wrapper):
    """Asks another backend of the same place for what the first one cannot do (`Unsupported`).

    Args:
        inner: asked first.
        second: does what the first cannot.
    """

    def __init__(self, inner: Backend, second: Backend) -> None:
        super().__init__(inner)
        self._second = second

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        return self._listed(lambda backend: backend.list(prefix))

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        return self._listed(lambda backend: Wrapper(backend).list_versions(start))

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._either(lambda backend: backend.head(key, version=version, tags=tags))

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        return self._either(lambda one: one.get(key, if_match=if_match, version=version, expected=expected))

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`; what the first cannot do is asked for again by `get`."""
        return unanswered(requests, lambda some: self.inner.get_many(some, concurrency=concurrency), Unsupported)

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`; what the first cannot do is read by `get`."""
        return unanswered(
            requests, lambda some: super(Fallback, self).get_parts(some, concurrency=concurrency), Unsupported
        )

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`; what the first cannot do is written by `put`."""
        return unanswered(requests, lambda some: self.inner.put_many(some, concurrency=concurrency), Unsupported)

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        return self._either(lambda backend: backend.read(key, limit=limit))

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
        return self._either(lambda backend: backend.put(key, chunks, size=size, mode=mode, meta=meta))

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        return self._either(lambda backend: backend.delete(keys))

    def copies_from(self, source: Backend) -> bool:
        """See `ServerSideCopy`."""
        return any(one.copies_from(unwrapped(source)) for one in self._copying)

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        """See `ServerSideCopy`."""
        able = [one for one in self._copying if one.copies_from(unwrapped(source))]
        for one in able[:-1]:
            with contextlib.suppress(Unsupported):
                return one.copy(unwrapped(source), source_key, key, **how)
        return able[-1].copy(unwrapped(source), source_key, key, **how)

    def abort_uploads(self, *, keys: Collection[str] | None = None) -> None:
        """See `UnfinishedUploads`."""
        for one in (self.inner, self._second):
            if isinstance(one, UnfinishedUploads):
                with contextlib.suppress(Unsupported):
                    one.abort_uploads(keys=keys)

    @property
    def _copying(self) -> Sequence[ServerSideCopy]:
        return [one for one in (self.inner, self._second) if isinstance(one, ServerSideCopy)]

    def _listed(self, ask: Callable[[Backend], Iterator[R]]) -> Iterator[R]:
        try:
            pages = ask(self.inner)
            first = [page] if (page := next(pages, None)) is not None else []
        except Unsupported:
            first, pages = [], ask(self._second)
        yield from first
        yield from pages

    def _either(self, ask: Callable[[Backend], R]) -> R:
        try:
            return ask(self.inner)
        except Unsupported:
            return ask(self._second)


def unanswered(
    requests: Iterable[Q], ask: Callable[[Iterator[Q]], Iterator[tuple[int, R | None]]], error: type[Exception]
) -> Iterator[tuple[int, R | None]]:
    """What `ask` answers to requests, and None to all that are left when it fails with `error`."""
    rest = enumerate(requests)
    left: set[int] = set()

    def taken() -> Iterator[Q]:
        for number, request in rest:
            left.add(number)
            yield request

    try:
        for number, answer in ask(taken()):
            left.discard(number)
            yield number, answer
    except error:
        yield from ((number, None) for number in sorted(left))
        yield from ((number, None) for number, _ in rest)


def _paid(chunks: Iterator[Chunk], rate: RateLimiter) -> Iterator[Chunk]:
    for chunk in chunks:
        rate.acquire(len(chunk))
        yield chunk
