"""Requests that are made again: a backend around one that does not do so itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from s32s.backends.base import (
    OVERWRITE,
    Backend,
    Chunk,
    GetRequest,
    GetResult,
    ListedObject,
    ListedVersion,
    ObjectMeta,
    PartRequest,
    PutMode,
    PutRequest,
    PutResult,
)
from s32s.backends.retry import RetryPolicy, StreamAttempts
from s32s.backends.wrappers import Wrapper, unanswered
from s32s.core.errors import PreconditionFailed, Unreachable

R = TypeVar("R")


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
        return self._listed(lambda: self.inner.list(prefix))

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        return self._listed(lambda: super(Retrying, self).list_versions(start))

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
        return got._replace(chunks=self._whole(got, key, open_, is_certain=bool(got.etag or version)))

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`; what fails is asked for again by `get`."""
        keys: list[str] = []

        def ask(some: Iterator[GetRequest]) -> Iterator[tuple[int, GetResult | None]]:
            def noted() -> Iterator[GetRequest]:
                for one in some:
                    keys.append(one.key)
                    yield one

            return self.inner.get_many(noted(), concurrency=concurrency)

        for number, answer in unanswered(requests, ask, Unreachable):
            yield number, answer and self._resumed(answer, keys[number])

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`; what fails is asked for again by `get`."""
        return unanswered(
            requests, lambda some: super(Retrying, self).get_parts(some, concurrency=concurrency), Unreachable
        )

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`; what fails is written by `put`."""
        return unanswered(requests, lambda some: self.inner.put_many(some, concurrency=concurrency), Unreachable)

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

    def _listed(self, ask: Callable[[], Iterator[R]]) -> Iterator[R]:
        def begin() -> tuple[R | None, Iterator[R]]:
            pages = ask()
            return next(pages, None), pages

        first, rest = self._policy.call(begin)
        if first is not None:
            yield first
        yield from rest

    def _resumed(self, got: GetResult, key: str) -> GetResult:
        """One that somebody else has opened."""

        def open_(etag: str | None) -> GetResult:
            return self._policy.call(lambda: self.inner.get(key, if_match=etag, expected=got.size))

        return got._replace(chunks=self._whole(got, key, open_, is_certain=bool(got.etag)))

    def _whole(
        self, got: GetResult, key: str, open_: Callable[[str | None], GetResult], *, is_certain: bool
    ) -> Iterator[Chunk]:
        attempts, done, skip, opened = StreamAttempts(self._policy), 0, 0, got
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
                attempts.wait_after(exc, done=done, is_certain=is_certain)
            opened, skip = open_(got.etag), done
            if (opened.etag, opened.size) != (got.etag, got.size):
                raise PreconditionFailed(f"{self.location}/{key} was changed by somebody else")
