"""Bytes of objects as they come: large ones in ranges, some of them ahead of who takes them.

A stream that breaks off goes on where it was. Every piece is of the one object that was opened: its ETag is a
condition, and as servers may ignore that, what the answer names is looked at, too.
"""

from __future__ import annotations

import collections
import functools
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence

from s32s.backends.base import Chunk, GetResult
from s32s.backends.retry import StreamAttempts
from s32s.backends.s3.buffers import Buffers
from s32s.backends.s3.client import Call
from s32s.backends.s3.errors import shown
from s32s.backends.s3.http import Stream
from s32s.backends.s3.listing import bare, http_ns
from s32s.backends.s3.objects import version_of
from s32s.backends.s3.session import READ_TIMEOUT_S, S3Session
from s32s.core.errors import PreconditionFailed, StoreError, Unreachable
from s32s.system.concurrency import Future

#: A larger object is read in ranges of this size, some of them ahead of who takes them; and how many, of all objects.
RANGE = 8 * 1024 * 1024
_RANGES_AHEAD = 8


class Downloads:
    """Reads objects by one connection. Thread-safe."""

    def __init__(self, connection: S3Session) -> None:
        self._connection = connection
        self._has_ranges = True  # until the server shows otherwise
        self._places = threading.Semaphore(_RANGES_AHEAD)
        self._buffers = Buffers(RANGE)

    def open(self, bucket: str, key: str, *, etag: str | None, version: str | None, is_large: bool) -> GetResult:
        """See `S3Backend.get`."""
        if is_large and self._has_ranges and (opened := self._by_range(bucket, key, etag=etag, version=version)):
            return opened
        return self._from(0, bucket, key, etag=etag, version=version)

    def _ask(
        self, bucket: str, key: str, *, etag: str | None, version: str | None, part: tuple[int, int] | None = None
    ) -> Stream:
        """The answer to a GET; its body is still to come."""
        headers: dict[str, str] = {}
        if part is not None:
            headers["range"] = f"bytes={part[0]}-{part[1] - 1}"
        if etag and not version:
            headers["if-match"] = f'"{etag}"'
        call = Call("GET", key, {"versionId": version} if version else None, headers)
        return self._connection.client(bucket).open(call, read_timeout_s=READ_TIMEOUT_S)

    def _from(self, start: int, bucket: str, key: str, *, etag: str | None, version: str | None) -> GetResult:
        """An object as one stream, its first `start` bytes left out."""
        response = self._connection.call(
            lambda: self._ask(bucket, key, etag=etag, version=version), bucket=bucket, key=key
        )
        size = length_of(response.headers, bucket, key)
        got = got_of(response.headers, size=size, chunks=iter(()))
        return got._replace(
            chunks=self._stream(response, start, size, bucket, key, etag=got.etag or etag, version=version)
        )

    def _stream(
        self, response: Stream, start: int, size: int, bucket: str, key: str, *, etag: str | None, version: str | None
    ) -> Iterator[Chunk]:
        """The bytes of a stream from `start` on; one that breaks off is asked for once more."""
        attempts, done, at = StreamAttempts(self._connection.retry), start, 0
        while True:
            try:
                for chunk in response.chunks(size):
                    at += len(chunk)
                    if at > done:
                        fresh = at - done
                        done = at
                        yield memoryview(chunk)[-fresh:]
                return
            except Unreachable as exc:
                response.close()
                attempts.wait_after(exc, done=done, is_certain=bool(etag or version))
            response, at = self._connection.call(
                lambda: self._ask(bucket, key, etag=etag, version=version), bucket=bucket, key=key
            ), 0  # fmt: skip
            if length_of(response.headers, bucket, key) != size:
                raise PreconditionFailed(f"{shown(bucket, key)} was changed by somebody else")
            _check_etag(bare(response.headers.get("etag")), etag, bucket=bucket, key=key)

    def _by_range(self, bucket: str, key: str, *, etag: str | None, version: str | None) -> GetResult | None:
        """A large object, opened by its first range; None from a server that gives no ranges."""
        opened = self._part(bucket, key, 0, RANGE, etag=etag, version=version)
        if opened is None or not (size := opened[0]["content-range"].rpartition("/")[2]).isdecimal():
            self._has_ranges = False  # RFC 9110, 14.4: a server need not tell the size
            return None
        got = got_of(opened[0], size=int(size), chunks=iter((opened[1],)))
        return self._with_rest(got, bucket, key, version=version)

    def _part(
        self, bucket: str, key: str, start: int, end: int, *, etag: str | None, version: str | None
    ) -> tuple[Mapping[str, str], Chunk] | None:
        """Headers and bytes of a range; None where the server gives something else."""

        def read() -> tuple[Mapping[str, str], Chunk] | None:
            stream = self._ask(bucket, key, etag=etag, version=version, part=(start, end))
            if not _is_part(stream, start, end):
                stream.close()
                return None
            return stream.headers, stream.read(end - start, self._buffers.room())

        return self._connection.call(read, bucket=bucket, key=key)

    def _with_rest(self, got: GetResult, bucket: str, key: str, *, version: str | None) -> GetResult:
        """A large object whose first range has come; as one stream where nothing tells ranges of two objects apart."""
        if got.etag is None and version is None:
            return self._from(0, bucket, key, etag=None, version=None)
        rest = self._large(bucket, key, got.size, etag=got.etag, version=version)
        return got._replace(chunks=itertools.chain(got.chunks, rest))

    def _large(self, bucket: str, key: str, size: int, *, etag: str | None, version: str | None) -> Iterator[Chunk]:
        """The bytes behind the first range: in ranges, or in one piece from a server that stops to give them."""
        done = RANGE
        with self._buffers.used():
            for piece in self._ranges(bucket, key, range(RANGE, size, RANGE), size, etag=etag, version=version):
                if piece is None:
                    got = self._from(done, bucket, key, etag=etag, version=version)
                    _check_etag(got.etag, etag, bucket=bucket, key=key)
                    yield from got.chunks
                    return
                done += len(piece)
                yield piece

    def _ranges(
        self, bucket: str, key: str, where: Sequence[int], size: int, *, etag: str | None, version: str | None
    ) -> Iterator[Chunk | None]:
        """Some ranges ahead of who takes them, as one connection seldom fills a line.

        How many are under way is bounded for all objects together; who finds no place reads the next range alone.

        Args:
            where: the first byte of each.

        Yields:
            Their bytes; None for one that did not come as a range.
        """

        def read(start: int) -> Chunk | None:
            return self._get_range(bucket, key, start, min(start + RANGE, size), etag=etag, version=version)

        ahead_of: collections.deque[Future[Chunk | None]] = collections.deque()
        starts = iter(where)
        try:
            while True:
                while len(ahead_of) < _RANGES_AHEAD and self._places.acquire(blocking=False):
                    start = next(starts, None)
                    if start is None:
                        self._places.release()
                        break
                    ahead_of.append(Future(functools.partial(read, start)))
                if ahead_of:
                    try:
                        yield ahead_of[0].result()
                    finally:
                        ahead_of.popleft()
                        self._places.release()
                elif (start := next(starts, None)) is not None:
                    yield read(start)
                else:
                    return
        finally:
            for _ in ahead_of:
                self._places.release()

    def _get_range(
        self, bucket: str, key: str, start: int, end: int, *, etag: str | None, version: str | None
    ) -> Chunk | None:
        came = self._part(bucket, key, start, end, etag=etag, version=version)
        if came is None:
            return None
        _check_etag(bare(came[0].get("etag")), etag, bucket=bucket, key=key)
        return came[1]


def got_of(headers: Mapping[str, str], *, size: int, chunks: Iterator[Chunk]) -> GetResult:
    return GetResult(
        size=size,
        etag=bare(headers.get("etag")),
        version=version_of(headers.get("x-amz-version-id")),
        stored_ns=lambda: http_ns(headers.get("last-modified")),
        chunks=chunks,
    )


def length_of(headers: Mapping[str, str], bucket: str, key: str) -> int:
    """Content-Length.

    Raises:
        StoreError: there is none.
    """
    length = headers.get("content-length", "")
    if not length.isdecimal() or len(length) > 18:
        raise StoreError(f"S3 does not tell the size of {shown(bucket, key)}", hint="check the endpoint")
    return int(length)


def _is_part(response: Stream, start: int, end: int) -> bool:
    """Whether an answer is the range that was asked for; some servers give it with status 200."""
    came, length = response.headers.get("content-range", ""), response.headers.get("content-length", "")
    return came.startswith(f"bytes {start}-{end - 1}/") and length == str(end - start)


def _check_etag(found: str | None, wanted: str | None, *, bucket: str, key: str) -> None:
    """Servers may ignore a condition.

    Raises:
        PreconditionFailed: it is not the object that was meant.
    """
    if wanted and found and found != wanted:
        raise PreconditionFailed(f"{shown(bucket, key)} was changed by somebody else")
