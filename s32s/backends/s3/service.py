"""S3 behind a few verbs, each by the cheapest client that can do it.

boto3 spends about 3 ms of CPU on an object, `client.py` a tenth of that, and `http_client.py` a fiftieth. The last one
knows only the plain case, and what it leaves is asked for again: objects by `client.py`, listings by boto3, which alone
knows copies, tags and markers. All but the plain requests are sent by `http.py`, under the same bounds. `errors.py`
turns refusals into errors; retries and credentials are in `session.py`.

None of them checks content: wrong bytes of the right length pass. The reader of a body verifies it.
"""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s32s.backends.base import Chunk, GetResult, ListedObject, ObjectMeta, PutResult
from s32s.backends.s3.copying import COPY_LIMIT, COPY_PART, Copies
from s32s.backends.s3.downloads import Downloads, got_of, length_of
from s32s.backends.s3.errors import shown
from s32s.backends.s3.http_client import ETAG, GetRequest
from s32s.backends.s3.listing import bare, objects, plain_page
from s32s.backends.s3.objects import HEADERS, LARGE, META, SMALL, Condition, CopySource, to_headers, version_of
from s32s.backends.s3.session import READ_TIMEOUT_S, S3Session
from s32s.backends.s3.uploads import PART_SIZE, Uploads
from s32s.config.settings import S3Connection
from s32s.core.errors import StoreError, Unreachable
from s32s.system.concurrency import prefetch, run_interruptible

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        ListObjectsV2RequestTypeDef,
    )


#: Small objects that a thread asks for at the same time.
_SMALL_CONCURRENCY = 8
_SMALL_PUT = 256 * 1024  # by the plain client: on a thin line it must be sent within the time of one answer
_PAGES_AHEAD = 2
_MOST_KEYS = 5_000_000  # of a listing; a server that names more never ends

_BATCH = 1000  # DeleteObjects takes no more keys (S3 API)


class S3Service:
    """One endpoint with one set of credentials, and all its buckets; `S3Backend` is one place in there. Thread-safe.

    Args:
        settings: the [s3] table of the configuration.
        copy_limit: larger objects are copied in parts.
        copy_part: how large these are at least.
    """

    def __init__(self, settings: S3Connection, *, copy_limit: int = COPY_LIMIT, copy_part: int = COPY_PART) -> None:
        self._connection = S3Session(settings)
        self._copies = Copies(self._connection, self.about, limit=copy_limit, part=copy_part)
        self._downloads = Downloads(self._connection)
        self._uploads = Uploads(self._connection)
        self._condition: dict[str, Condition] = {}

    @property
    def endpoint_url(self) -> str | None:
        """The address of the server; None for AWS, or where a profile names it."""
        return self._connection.endpoint_url

    def attend(self) -> None:
        """Somebody watches: from now on an address at which nothing answers is an error at once."""
        self._connection.retry.is_attended = True

    def listen(self, on_wait: Callable[[str], None]) -> None:
        """Tell `on_wait` from now on why a request is made once more; it may be called from several threads."""
        self._connection.retry.on_wait = on_wait

    # -- reading

    def pages(self, bucket: str, prefix: str, *, skip: int = 0) -> Iterator[list[ListedObject]]:
        """Every object below `prefix/`, page by page, in any order; keys as S3 has them, all of them or an error.

        Args:
            skip: so many characters of each key are left out.

        A final slash (a directory marker) stays, and so do keys that no path can be, which are to be refused by name.

        Raises:
            StoreError: a page is not a listing, or the pages do not come to an end.
        """
        listing = _Listing(bucket, prefix)
        for number, page in enumerate(prefetch(lambda: self._pages(bucket, prefix), limit=_PAGES_AHEAD)):
            listed = objects(page, skip=skip)
            listing.add(listed)
            if number and not listed:
                raise _broken_off(bucket, prefix)  # the page before has promised more keys
            yield listed

    def buckets(self) -> list[str]:
        """The names of all buckets of these credentials.

        Raises:
            AccessDenied: they may not list them, as is common.
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
    ) -> GetResult:
        """Open an object for reading.

        Args:
            is_large: read it in ranges; it is expected to have more than one.
            etag: fail unless the object has it; the server may ignore that, so compare `GetResult.etag` too.
            version: read this version instead of the current one.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, Unreachable, …
        """
        return self._downloads.open(bucket, key, etag=etag, version=version, is_large=is_large)

    def concurrency(self, bucket: str) -> int:
        """How many small objects a thread may ask `get_many` for at the same time; 1 where it has nothing to say."""
        return _SMALL_CONCURRENCY if self._is_plain(bucket) else 1

    def get_many(self, bucket: str, wanted: Iterable[GetRequest], *, concurrency: int) -> Iterator[GetResult | None]:
        """Open many small objects, some at the same time, in their order; None for what `get` is to be asked for."""
        if self._connection.retry.pace.is_slowed:
            return (None for _ in wanted)  # several at once would come faster than the server wants
        http_client = self._connection.http_client(bucket)
        return (
            answer and got_of(answer.headers, size=len(answer.body), chunks=iter((answer.body,)))
            for answer in http_client.get_many(wanted, concurrency=concurrency)
        )

    def get_small(self, bucket: str, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """A whole small object and its ETag.

        Raises:
            StoreError: it is larger than `limit` bytes.
        """
        got = run_interruptible(lambda: next(self.get_many(bucket, [GetRequest(key, None, limit)], concurrency=1)))
        got = got or self.get(bucket, key)
        if got.size > limit:
            raise StoreError(f"{shown(bucket, key)} has {got.size:,} bytes, which is more than it should have")
        return run_interruptible(lambda: b"".join(got.chunks)), got.etag

    def about(self, bucket: str, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """What an object is and carries; its tags on demand.

        Raises:
            NotFound, AccessDenied, …
        """
        query = {"versionId": version} if version else None

        def look() -> Mapping[str, str]:
            response = self._connection.client(bucket).send("HEAD", key, query=query, read_timeout_s=READ_TIMEOUT_S)
            response.read(0)
            return response.headers

        def read_tags() -> dict[str, str]:
            which = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
            answer = self._connection.boto().get_object_tagging(**which)  # type: ignore[arg-type] # a TypedDict made step by step
            return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

        facts = self._connection.call(look, bucket=bucket, key=key)
        encryption = facts.get("x-amz-server-side-encryption", "")
        return ObjectMeta(
            size=length_of(facts, bucket, key),
            etag=bare(facts.get("etag")),
            has_md5="x-amz-server-side-encryption-customer-algorithm" not in facts and "kms" not in encryption,
            headers={header: value for header in HEADERS.values() if (value := facts.get(header.lower()))},
            metadata={name[len(META) :]: value for name, value in facts.items() if name.startswith(META)},
            tags=self._connection.call(read_tags, bucket=bucket, key=key)
            if tags and facts.get("x-amz-tagging-count", "0") != "0"
            else {},
        )

    # -- writing

    def put(
        self,
        bucket: str,
        key: str,
        chunks: Callable[[], Iterator[Chunk]],
        *,
        size: int,
        about: ObjectMeta | None = None,
    ) -> PutResult:
        """Write an object; a large one in parts, with bounded memory.

        SigV4 signs the SHA-256 of every payload, so S3 itself refuses bytes that were damaged on the way.

        Args:
            chunks: the bytes from the start; called again for a renewed token.
            size: expected number of bytes, which decides about parts.
            about: whose headers, metadata and tags the object gets.
        """

        headers = to_headers(about) if about is not None else {}
        if size > PART_SIZE:
            return self._uploads.put(bucket, key, chunks(), size=size, headers=headers)
        data = b"".join(chunks())
        if (
            not headers
            and len(data) <= _SMALL_PUT
            and not self._connection.retry.pace.is_slowed
            and (answer := run_interruptible(lambda: self._quick_put(bucket, key, data)))
        ):
            return answer
        return self._put(bucket, key, data, headers)

    def put_if(
        self, bucket: str, key: str, data: bytes, *, etag: str | None, condition: Condition = Condition.QUOTED
    ) -> PutResult:
        """Write a small object only if the one that is there has `etag`, or, with None, if there is none.

        Raises:
            PreconditionFailed: S3 says that it is otherwise. It may also be our own earlier attempt whose answer was
                lost; and a server that ignores conditions never says it. So read the object afterwards.
            Unsupported: the server knows no such condition.
        """
        headers = {"if-none-match": "*"} if etag is None else {"if-match": f'"{etag}"'}
        if condition is Condition.BARE and etag is not None:
            headers = {"if-match": etag}
        elif condition is Condition.NONE:
            headers = {}
        return self._put(bucket, key, data, headers)

    def conditions(self, bucket: str) -> Sequence[Condition]:
        """What to try for a conditional write: all, or the one that this server is known to take."""
        return [self._condition[bucket]] if bucket in self._condition else list(Condition)

    def took(self, bucket: str, condition: Condition) -> None:
        """Remember what this server has taken, for this bucket: with versions some are of another mind."""
        self._condition[bucket] = condition

    def copy(self, original: CopySource, bucket: str, key: str, *, progress: Callable[[int], None]) -> PutResult:
        """See `Copies.copy`."""
        return self._copies.copy(original, bucket, key, progress=progress)

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

    def abort_uploads(self, bucket: str, prefix: str, *, keys: Collection[str] | None = None) -> None:
        """Abort the multipart uploads that a dead run has left below `prefix/`; they cost money and are never seen.

        Args:
            keys: only of these; None for all.
        """

        def work() -> None:
            client = self._connection.boto()
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=bucket, Prefix=f"{prefix}/" if prefix else ""
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    if keys is not None and upload["Key"] not in keys:
                        continue
                    client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

        # Cleaning up only; some servers do not offer the listing, and some policies do not allow it.
        with contextlib.suppress(StoreError):
            self._connection.call(work, bucket=bucket, key=prefix)

    # -- how calls are made

    def _is_plain(self, bucket: str) -> bool:
        return not self._connection.retry.pace.is_slowed and self._connection.http_client(bucket).is_open

    def _quick_put(self, bucket: str, key: str, data: bytes) -> PutResult | None:
        answer = self._connection.http_client(bucket).put(key, data)
        return answer and _stored(answer.headers)  # None: not confirmed

    def _put(self, bucket: str, key: str, data: Chunk, headers: Mapping[str, str]) -> PutResult:
        def send() -> PutResult:
            client = self._connection.client(bucket)
            response = client.send("PUT", key, headers=headers, body=data, read_timeout_s=READ_TIMEOUT_S)
            response.read(SMALL)
            if (stored := _stored(response.headers)) is None:
                raise Unreachable(f"S3 does not confirm that it has stored {shown(bucket, key)}", hint="run it again")
            return stored

        return self._connection.call(send, bucket=bucket, key=key)

    def _plain_page(self, asked: ListObjectsV2RequestTypeDef) -> Mapping[str, Any] | None:
        query = {"list-type": "2", "encoding-type": "url", "prefix": asked["Prefix"]}
        if "ContinuationToken" in asked:
            query["continuation-token"] = asked["ContinuationToken"]
        text = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="")
        answer = self._connection.http_client(asked["Bucket"]).get(GetRequest("", None, LARGE, query=text))
        return plain_page(bytes(answer.body)) if answer is not None else None

    def _pages(self, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        asked: ListObjectsV2RequestTypeDef = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        is_plain = True
        tokens: set[str] = set()
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
            if not following or following in tokens:
                raise _broken_off(bucket, prefix)
            tokens.add(following)
            asked["ContinuationToken"] = following


class _Listing:
    """What was listed so far, to notice pages that come round again.

    Nearly every server lists in the order of the keys, and then it takes no memory to know that none comes twice.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._where = shown(bucket, prefix)
        self._last = ""
        self._count = 0
        self._seen: set[int] | None = None

    def add(self, listed: Sequence[ListedObject]) -> None:
        """Take another page.

        Raises:
            StoreError: it names a key of an earlier page, or the listing does not end.
        """
        if not listed:
            return
        self._count += len(listed)
        if self._count > _MOST_KEYS:
            raise StoreError(f"the listing of {self._where} names more than {_MOST_KEYS:,} objects")
        if self._seen is None and listed[0].key <= self._last:
            self._seen = set()
        self._last = listed[-1].key
        if self._seen is not None:
            keys = {hash(found.key) for found in listed}
            if not self._seen.isdisjoint(keys):
                raise StoreError(f"the listing of {self._where} names the same keys again", hint="check the endpoint")
            self._seen |= keys


def _stored(headers: Mapping[str, str]) -> PutResult | None:
    """What the answer to a PUT says; None where it names no ETag, and then nobody knows whether the object is there."""
    etag = bare(headers.get("etag"))
    if not etag or not ETAG.fullmatch(etag):
        return None
    return PutResult(etag, version_of(headers.get("x-amz-version-id")))


def _broken_off(bucket: str, prefix: str) -> StoreError:
    return StoreError(f"the listing of {shown(bucket, prefix)} breaks off before its end", hint="try again")
