"""S3 behind a few verbs: plain GETs by a lane of our own, other bodies by obstore, all the rest by boto3.

boto3 spends about 3 ms of CPU on an object, obstore a tenth, and `_lane` a fiftieth; but the lane knows nothing beyond
the plain case, and what it leaves is asked for again: bodies by obstore, listings by boto3, which alone knows copies,
tags and markers, too. Their exceptions end in `_answers`; retries and credentials are `_connection`'s.

None of them checks content: wrong bytes of the right length are taken for good. Whoever reads a body verifies it.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s32s.errors import NotFound, PreconditionFailed, StoreError
from s32s.pace import Pace
from s32s.settings import S3Connection
from s32s.stores._answers import NoRanges, shown, translated
from s32s.stores._connection import Connection
from s32s.stores._copying import COPY_LIMIT, COPY_PART, Copies
from s32s.stores._lane import Answer, Wanted
from s32s.stores._listing import Listed, bare, http_ns, objects, plain_page, whole_ns
from s32s.stores._objects import HEADERS, MAX_PARTS, About, Got, Original, Stored, version_of
from s32s.stores.base import Chunk
from s32s.workers import Promise, ahead, aside

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        ListObjectsV2RequestTypeDef,
    )
    from obstore import GetResult

#: Larger bodies are sent in parts. S3 takes 5 MiB to 5 GiB a part, and at most MAX_PARTS of them.
PART_SIZE = 8 * 1024 * 1024
_PARTS_AT_ONCE = 4
#: Bodies sent in parts at the same time; each holds its parts in memory.
_LARGE_AT_ONCE = 4

#: Small objects that a thread has under way by the lane at the same time.
_SMALL_AT_ONCE = 8
_PAGES_AHEAD = 2
_PAGE_SIZE = 64 * 1024 * 1024  # a bound for what a server may send; a page has about 500 KB
_CHUNK = 1024 * 1024

#: A larger object is read in ranges of this size, some of them ahead of who takes them; and how many, of all objects.
RANGE = 8 * 1024 * 1024
_RANGES_AHEAD = 8
_CHUNKS_AHEAD = 4

_BATCH = 1000  # DeleteObjects takes no more keys (S3 API)


class Engine:
    """One endpoint with one set of credentials. Thread-safe.

    Args:
        settings: the [s3] table of the configuration, or [s3.mirror].
        copy_limit: larger objects are copied in parts.
        copy_part: how large these are at least.
    """

    def __init__(self, settings: S3Connection, *, copy_limit: int = COPY_LIMIT, copy_part: int = COPY_PART) -> None:
        self._connection = Connection(settings)
        self._copies = Copies(self._connection, self.about, limit=copy_limit, part=copy_part)
        self._in, self._out = Pace(None), Pace(None)
        self._has_ranges = True  # until the server shows otherwise
        self._ranges_ahead = threading.Semaphore(_RANGES_AHEAD)
        self._large_puts = threading.Semaphore(_LARGE_AT_ONCE)

    def limit(self, incoming: Pace, outgoing: Pace) -> None:
        """Move bodies no faster than that from now on; copies within S3 move none."""
        self._in, self._out = incoming, outgoing

    # -- reading

    def pages(self, bucket: str, prefix: str) -> Iterator[list[Listed]]:
        """Every object below `prefix/`, page by page, in any order; keys as S3 has them, all of them or an error.

        Never by obstore, which takes an answer 200 with an error inside for an empty page, drops a final slash (a
        directory marker) and stops at keys that it cannot address, which here are to be refused by name.

        Raises:
            StoreError: a page is no listing, or the pages do not come to an end.
        """
        for number, page in enumerate(ahead(lambda: self._pages(bucket, prefix), most=_PAGES_AHEAD)):
            listed = objects(page)
            if number and not listed:
                raise _broken_off(bucket, prefix)  # the page before has promised more keys
            yield listed

    def buckets(self) -> list[str]:
        """The names of all buckets of these credentials.

        Raises:
            AccessDenied: they may not list them, which many rightly may not.
        """
        answer = self._connection.call(lambda: self._connection.boto().list_buckets(), bucket="", key="")
        return [bucket.get("Name", "") for bucket in answer.get("Buckets", [])]

    def below(self, bucket: str, start: str) -> list[str]:
        """What one may type after `start`: prefixes up to the next slash, and keys; at most a hundred."""
        answer = self._connection.call(
            lambda: self._connection.boto().list_objects_v2(Bucket=bucket, Prefix=start, Delimiter="/", MaxKeys=100),
            bucket=bucket,
            key=start,
        )
        prefixes = [found.get("Prefix", "") for found in answer.get("CommonPrefixes", [])]
        return prefixes + [found["Key"] for found in answer.get("Contents", [])]

    def get(
        self, bucket: str, key: str, *, etag: str | None = None, version: str | None = None, is_large: bool = False
    ) -> Got:
        """Open an object for reading.

        Args:
            is_large: read it in ranges; it is expected to have more than one.
            etag: fail unless the object has it; the server may ignore that, so compare `Got.etag` too.
            version: read this version instead of the current one.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, Unreachable, …
        """

        if is_large and not version and (opened := self._opened(bucket, key, etag=etag)):
            return opened

        def work() -> GetResult:
            import obstore

            options: dict[str, Any] = {}
            if version:
                options["version"] = version
            elif etag:
                options["if_match"] = f'"{etag}"'
            if is_large:
                options["head"] = True  # what follows is the size, and the object that the ranges must be of
            return obstore.get(self._connection.store(bucket), key, options=options or None)  # type: ignore[arg-type] # a TypedDict made step by step

        result = self._connection.call(work, bucket=bucket, key=key)
        meta = result.meta
        size, found = meta["size"], bare(meta["e_tag"])
        return Got(
            size=size,
            etag=found,
            version=version_of(meta["version"]),
            stored_ns=lambda: whole_ns(meta["last_modified"]),
            chunks=self._large(bucket, key, size, etag=found, version=version)
            if is_large
            else self._chunks(result, size=size, bucket=bucket, key=key),
        )

    def at_once(self, bucket: str) -> int:
        """How many small objects a thread may ask `get_many` for at the same time; 1 where it has nothing to say."""
        return _SMALL_AT_ONCE if not self._in.is_limited and self._connection.lane(bucket).is_open else 1

    def get_many(self, bucket: str, wanted: Iterable[Wanted], *, at_once: int) -> Iterator[Got | None]:
        """Open many small objects, some at the same time, in their order; None for what `get` is to be asked for."""
        if self._in.is_limited:
            return (None for _ in wanted)  # several at once would come faster than is allowed
        lane = self._connection.lane(bucket)
        return (answer and _got(answer) for answer in lane.each(wanted, at_once=at_once))

    def get_small(self, bucket: str, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """A whole small object and its ETag.

        Raises:
            StoreError: it is larger than `limit` bytes.
        """
        got = aside(lambda: next(self.get_many(bucket, [Wanted(key, None, limit)], at_once=1)))
        got = got or self.get(bucket, key)
        if got.size > limit:
            raise StoreError(f"{shown(bucket, key)} has {got.size:,} bytes, which is more than it can rightly have")
        return aside(lambda: b"".join(got.chunks)), got.etag

    def about(self, bucket: str, key: str, *, version: str | None = None, tags: bool = False) -> About:
        """What an object is and carries; its tags on demand.

        Raises:
            NotFound, AccessDenied, …
        """
        which = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}

        def work() -> About:
            client = self._connection.boto()
            facts: Mapping[str, Any] = client.head_object(**which)  # type: ignore[arg-type] # a TypedDict made step by step
            found: dict[str, str] = {}
            if tags and facts.get("TagCount"):
                answer = client.get_object_tagging(**which)  # type: ignore[arg-type] # as above
                found = {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}
            return About(
                size=facts["ContentLength"],
                etag=bare(facts.get("ETag")),
                has_md5="SSECustomerAlgorithm" not in facts and "kms" not in facts.get("ServerSideEncryption", ""),
                headers={header: facts[name] for name, header in HEADERS.items() if facts.get(name)},
                metadata=facts.get("Metadata", {}),
                tags=found,
            )

        return self._connection.call(work, bucket=bucket, key=key)

    # -- writing

    def put(
        self,
        bucket: str,
        key: str,
        chunks: Callable[[], Iterator[Chunk]],
        *,
        size: int,
        about: About | None = None,
    ) -> Stored:
        """Write an object; a large one in parts, with bounded memory.

        SigV4 signs the SHA-256 of every payload, so S3 itself refuses bytes that were damaged on the way.

        Args:
            chunks: the bytes from the start; called again for a renewed token.
            size: expected number of bytes, which decides about parts.
            about: whose headers, metadata and tags the object gets.
        """
        carried: dict[str, Any] = {}
        if about is not None:
            carried = {"attributes": {**about.metadata, **about.headers}, "tags": dict(about.tags) or None}

        failures: list[BaseException] = []

        def guarded() -> Iterator[Chunk]:
            try:
                for chunk in chunks():
                    self._out.pay(len(chunk))
                    yield chunk
            except BaseException as exc:
                failures.append(exc)  # obstore would wrap it
                raise

        def work() -> Stored:
            import obstore

            store = self._connection.store(bucket)
            if size <= PART_SIZE:
                result = obstore.put(store, key, b"".join(guarded()), use_multipart=False, **carried)
                return Stored(bare(result["e_tag"]), version_of(result["version"]))
            with self._large_puts:
                result = obstore.put(
                    store,
                    key,
                    # obstore asks for the next piece on the thread that also sends the last ones: let it be at hand.
                    ahead(guarded, most=_CHUNKS_AHEAD),
                    use_multipart=True,
                    chunk_size=max(PART_SIZE, -(-size // MAX_PARTS) + 1024 * 1024),
                    max_concurrency=_PARTS_AT_ONCE,
                    **carried,
                )
            # Some servers name another ETag in the answer than they list afterwards.
            meta = obstore.head(store, key)
            return Stored(bare(meta["e_tag"]), version_of(result["version"]))

        try:
            return self._connection.call(work, bucket=bucket, key=key)
        except Exception:
            if failures:
                raise failures[-1] from None
            raise

    def put_if(self, bucket: str, key: str, data: bytes, *, etag: str | None) -> Stored:
        """Write a small object only if the one that is there has `etag`, or, with None, if there is none.

        Raises:
            PreconditionFailed: S3 says that it is otherwise. It may also be our own earlier attempt whose answer was
                lost; and a server that ignores conditions never says it. So read the object afterwards.
        """

        def work() -> Stored:
            import obstore

            mode: Any = "create" if etag is None else {"e_tag": f'"{etag}"'}
            result = obstore.put(self._connection.store(bucket), key, data, mode=mode, use_multipart=False)
            return Stored(bare(result["e_tag"]), version_of(result["version"]))

        return self._connection.call(work, bucket=bucket, key=key)

    def copy(self, original: Original, bucket: str, key: str, *, progress: Callable[[int], None]) -> Stored:
        """See `Copies.copy`."""
        return self._copies.copy(original, bucket, key, progress=progress)

    def put_marker(self, bucket: str, key: str) -> None:
        """Write an empty object whose key ends in a slash; obstore cannot name one."""
        self._connection.call(
            lambda: self._connection.boto().put_object(Bucket=bucket, Key=key, Body=b""), bucket=bucket, key=key
        )

    def exists(self, bucket: str, key: str) -> bool:
        """Tell whether there is an object of exactly this key."""
        try:
            self.about(bucket, key)
        except NotFound:
            return False
        return True

    def delete(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        """Delete objects, a thousand a request; return why each of those that are still there is."""
        failed: dict[str, str] = {}

        def work(batch: Sequence[str]) -> None:
            answer = self._connection.boto().delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
            for error in answer.get("Errors", []):
                failed[error.get("Key", "")] = f"{error.get('Code', '')} {error.get('Message', '')}".strip()

        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            self._connection.call(lambda batch=batch: work(batch), bucket=bucket, key=batch[0])  # type: ignore[misc] # bound now
        return failed

    def abort_uploads(self, bucket: str, prefix: str) -> None:
        """Abort the multipart uploads that a dead run has left below `prefix/`; they cost money and are never seen."""

        def work() -> None:
            client = self._connection.boto()
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=bucket, Prefix=f"{prefix}/" if prefix else ""
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

        # Cleaning up only; some servers do not offer the listing, and some policies do not allow it.
        with contextlib.suppress(StoreError):
            self._connection.call(work, bucket=bucket, key=prefix)

    # -- how calls are made
    def _chunks(self, result: GetResult, *, size: int, bucket: str, key: str) -> Iterator[Chunk]:
        if size <= _CHUNK:
            # One wait instead of two: it counts when there are many of them.
            self._in.pay(size)
            yield translated(lambda: memoryview(result.bytes()), bucket=bucket, key=key)
            return
        stream = iter(result.stream(min_chunk_size=_CHUNK))
        while True:
            chunk = translated(lambda: next(stream, None), bucket=bucket, key=key)
            if chunk is None:
                return
            self._in.pay(len(chunk))
            yield memoryview(chunk)

    def _opened(self, bucket: str, key: str, *, etag: str | None) -> Got | None:
        """A large object, opened by its first range; None where that is not plain."""
        if self._in.is_limited or not self._has_ranges:
            return None
        answer = self._connection.lane(bucket).get(Wanted(key, etag, RANGE, (0, RANGE)))
        if answer is None:
            return None
        size = answer.headers["content-range"].rpartition("/")[2]
        if not size.isdecimal():
            return None  # RFC 9110, 14.4: a server need not tell it
        got = _got(answer)
        rest = self._large(bucket, key, int(size), etag=got.etag, version=None, start=RANGE)
        return got._replace(size=int(size), chunks=itertools.chain(got.chunks, rest))

    def _large(
        self, bucket: str, key: str, size: int, *, etag: str | None, version: str | None, start: int = 0
    ) -> Iterator[Chunk]:
        """The bytes of a large object in order: in ranges, or in one piece from a server that gives none."""
        done = start
        if self._has_ranges:
            try:
                for piece in self._ranges(bucket, key, range(start, size, RANGE), size, etag=etag, version=version):
                    yield piece
                    done += len(piece)
                return
            except NoRanges:
                # Also in the middle: the lane takes a part that comes with status 200, the library does not.
                self._has_ranges = done > 0
        for piece in ahead(lambda: self._whole(bucket, key, etag=etag, version=version), most=_CHUNKS_AHEAD):
            if done < len(piece):
                yield piece[done:]
            done = max(0, done - len(piece))

    def _ranges(
        self, bucket: str, key: str, where: Sequence[int], size: int, *, etag: str | None, version: str | None
    ) -> Iterator[Chunk]:
        """Some ranges ahead of who takes them, as one connection seldom fills a line.

        How many are under way is bounded for all objects together; who finds no place reads the next range alone.

        Args:
            where: the first byte of each.
        """

        def read(start: int) -> Chunk:
            return self._get_range(bucket, key, start, min(start + RANGE, size), etag=etag, version=version)

        ahead_of: collections.deque[Promise[Chunk]] = collections.deque()
        starts = iter(where)
        if where and not where[0]:
            yield read(next(starts))  # alone, as it shows whether there are ranges
        try:
            while True:
                while len(ahead_of) < _RANGES_AHEAD and self._ranges_ahead.acquire(blocking=False):
                    start = next(starts, None)
                    if start is None:
                        self._ranges_ahead.release()
                        break
                    ahead_of.append(Promise(functools.partial(read, start)))
                if ahead_of:
                    try:
                        yield ahead_of[0].result()
                    finally:
                        ahead_of.popleft()
                        self._ranges_ahead.release()
                elif (start := next(starts, None)) is not None:
                    yield read(start)
                else:
                    return
        finally:
            for _ in ahead_of:
                self._ranges_ahead.release()

    def _plain_page(self, asked: ListObjectsV2RequestTypeDef) -> Mapping[str, Any] | None:
        query = {"list-type": "2", "encoding-type": "url", "prefix": asked["Prefix"]}
        if "ContinuationToken" in asked:
            query["continuation-token"] = asked["ContinuationToken"]
        text = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="")
        answer = self._connection.lane(asked["Bucket"]).get(Wanted("", None, _PAGE_SIZE, query=text))
        return plain_page(bytes(answer.body)) if answer is not None else None

    def _whole(self, bucket: str, key: str, *, etag: str | None, version: str | None) -> Iterator[Chunk]:
        got = self.get(bucket, key, etag=etag, version=version)
        _check_etag(got.etag, etag, bucket=bucket, key=key)
        yield from got.chunks

    def _get_range(
        self, bucket: str, key: str, start: int, end: int, *, etag: str | None, version: str | None
    ) -> Chunk:
        self._in.pay(end - start)
        if version is None:
            answer = self._connection.lane(bucket).get(Wanted(key, etag, end - start, (start, end)))
            if answer is not None:
                _check_etag(bare(answer.headers.get("etag")), etag, bucket=bucket, key=key)
                return answer.body

        def work() -> tuple[GetResult, Chunk]:
            import obstore

            options: dict[str, Any] = {"range": (start, end)}
            if version:
                options["version"] = version
            elif etag:
                options["if_match"] = f'"{etag}"'
            result = obstore.get(self._connection.store(bucket), key, options=options)  # type: ignore[arg-type] # a TypedDict made step by step
            return result, memoryview(result.bytes())

        result, data = self._connection.call(work, bucket=bucket, key=key)
        _check_etag(bare(result.meta["e_tag"]), etag, bucket=bucket, key=key)
        return data

    def _pages(self, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        asked: ListObjectsV2RequestTypeDef = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        is_plain = True
        while True:
            page = self._plain_page(asked) if is_plain else None
            if page is None:
                is_plain = False
                page = self._connection.call(
                    lambda: self._connection.lister().list_objects_v2(**asked), bucket=bucket, key=prefix
                )
            yield page
            if page.get("IsTruncated") is False:
                return
            following = page.get("NextContinuationToken")
            if not following or following == asked.get("ContinuationToken"):
                raise _broken_off(bucket, prefix)
            asked["ContinuationToken"] = following


def _got(answer: Answer) -> Got:
    headers = answer.headers
    return Got(
        size=len(answer.body),
        etag=bare(headers.get("etag")),
        version=version_of(headers.get("x-amz-version-id")),
        stored_ns=lambda: http_ns(headers.get("last-modified")),
        chunks=iter((answer.body,)),
    )


def _broken_off(bucket: str, prefix: str) -> StoreError:
    return StoreError(f"the listing of {shown(bucket, prefix)} breaks off before its end", hint="try again")


def _check_etag(found: str | None, wanted: str | None, *, bucket: str, key: str) -> None:
    """Servers may ignore a condition.

    Raises:
        PreconditionFailed: it is not the object that was meant.
    """
    if wanted and found and found != wanted:
        raise PreconditionFailed(f"{shown(bucket, key)} was changed by somebody else")
