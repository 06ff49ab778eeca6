"""Backends around a backend: each does one thing, keeps the contract of `Backend`, and goes around any other.

A wrapper always has the methods of `ServerSideCopy` and `UnfinishedUploads`, since what it goes around is not known to
its class: `copies_from` says no and `abort_uploads` does nothing where the inner backend has no such thing.
"""

from __future__ import annotations

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
    ObjectMeta,
    PutMode,
    PutResult,
    ServerSideCopy,
    UnfinishedUploads,
    unwrapped,
)
from s32s.backends.retry import Attempts, RetryPolicy
from s32s.core.errors import PreconditionFailed, Unreachable, Unsupported
from s32s.system.rate_limit import RateLimiter

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

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self.inner.head(key, version=version, tags=tags)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        return self.inner.get(key, if_match=if_match, version=version, expected=expected)

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[GetResult | None]:
        """See `Backend`."""
        return self.inner.get_many(requests, concurrency=concurrency)

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

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[GetResult | None]:
        """See `Backend`."""
        return self._counted("get", super().get_many(requests, concurrency=concurrency))

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
        return replace(super().capabilities, concurrent_gets=1)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        got = super().get(key, if_match=if_match, version=version)
        return got._replace(chunks=_paid(got.chunks, self._incoming))

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[GetResult | None]:
        """See `Backend`."""
        return (None for _ in requests)

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


class Retrying(Wrapper):
    """Makes a request again that has failed for the moment; for backends that do not do so themselves.

    A stream that breaks off goes on where it was, if the object still is the same; a listing begins again only as long
    as nothing of it has been handed out. A write under a condition may meet its own earlier attempt, see `Backend.put`.
    """

    def __init__(self, inner: Backend, policy: RetryPolicy) -> None:
        super().__init__(inner)
        self._policy = policy

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""

        def begin() -> tuple[Sequence[ListedObject] | None, Iterator[Sequence[ListedObject]]]:
            pages = self.inner.list(prefix)
            return next(pages, None), pages

        first, rest = self._policy.call(begin)
        if first is not None:
            yield first
        yield from rest

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._policy.call(lambda: self.inner.head(key, version=version, tags=tags))

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""

        def open_(etag: str | None) -> GetResult:
            return self._policy.call(lambda: self.inner.get(key, if_match=etag, version=version, expected=expected))

        got = open_(if_match)
        return got._replace(chunks=self._whole(got, key, open_))

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[GetResult | None]:
        """See `Backend`; what fails is asked for again by `get`."""
        asked = [*requests]
        answered = 0
        try:
            for answer in self.inner.get_many(asked, concurrency=concurrency):
                answered += 1
                yield answer
        except Unreachable:
            yield from (None for _ in asked[answered:])

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        return self._policy.call(lambda: self.inner.read(key, limit=limit))

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
        return self._policy.call(lambda: self.inner.put(key, chunks, size=size, mode=mode, meta=meta))

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        return self._policy.call(lambda: self.inner.delete(keys))

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        """See `ServerSideCopy`."""
        return self._policy.call(lambda: super(Retrying, self).copy(source, source_key, key, **how))

    def _whole(self, got: GetResult, key: str, open_: Callable[[str | None], GetResult]) -> Iterator[Chunk]:
        attempts, done, skip, opened = Attempts(self._policy), 0, 0, got
        while True:
            try:
                for chunk in opened.chunks:
                    if skip >= len(chunk):
                        skip -= len(chunk)
                        continue
                    piece, skip = (memoryview(chunk)[skip:] if skip else chunk), 0
                    done += len(piece)
                    yield piece
                return
            except Unreachable as exc:
                attempts.wait_after(exc)
            opened, skip = open_(got.etag), done
            if (opened.etag, opened.size) != (got.etag, got.size):
                raise PreconditionFailed(f"{self.location}/{key} was changed by somebody else")


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
        pages = self.inner.list(prefix)
        try:
            first = next(pages, None)
        except Unsupported:
            first, pages = None, self._second.list(prefix)
        if first is not None:
            yield first
        yield from pages

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._either(lambda backend: backend.head(key, version=version, tags=tags))

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        return self._either(lambda one: one.get(key, if_match=if_match, version=version, expected=expected))

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[GetResult | None]:
        """See `Backend`; what the first cannot do is asked for again by `get`."""
        asked = [*requests]
        answered = 0
        try:
            for answer in self.inner.get_many(asked, concurrency=concurrency):
                answered += 1
                yield answer
        except Unsupported:
            yield from (None for _ in asked[answered:])

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

    def _either(self, ask: Callable[[Backend], R]) -> R:
        try:
            return ask(self.inner)
        except Unsupported:
            return ask(self._second)


def _paid(chunks: Iterator[Chunk], rate: RateLimiter) -> Iterator[Chunk]:
    for chunk in chunks:
        rate.acquire(len(chunk))
        yield chunk
