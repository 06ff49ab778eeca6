"""S3 behind a few verbs.

Nearly all requests are made by `client.py`; boto3 finds the credentials, and makes the rare ones: copies, tags, lists
of buckets. `errors.py` turns refusals into errors; retries and credentials are in `session.py`.

Nothing here checks content: wrong bytes of the right length pass. The reader of a body verifies it.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from s32s.backends.base import (
    Chunk,
    GetRequest,
    GetResult,
    ListedObject,
    ListedVersion,
    ObjectMeta,
    PartRequest,
    PutRequest,
    PutResult,
)
from s32s.backends.s3.client import Call
from s32s.backends.s3.connection import Response
from s32s.backends.s3.copying import COPY_LIMIT, COPY_PART, Copies
from s32s.backends.s3.deletions import Deletions
from s32s.backends.s3.downloads import Downloads, got_of, length_of
from s32s.backends.s3.errors import shown
from s32s.backends.s3.faults import TooMuch
from s32s.backends.s3.listing import bare
from s32s.backends.s3.objects import HEADERS, META, Condition, CopySource, to_headers, version_of
from s32s.backends.s3.pages import Listings
from s32s.backends.s3.session import S3Session
from s32s.backends.s3.uploads import PART_SIZE, Uploads
from s32s.backends.s3.versions import version_pages
from s32s.config.settings import S3Connection
from s32s.core.errors import StoreError, Unreachable

#: What an ETag may hold; another one would break the line that it stands in (RFC 9110, 8.8.3).
_ETAG = re.compile(r"[!#-~]{1,255}")


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
        self._listings = Listings(self._connection)
        self._deletions = Deletions(self._connection)
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
        return self._listings.pages(bucket, prefix, skip=skip)

    def parts(self, bucket: str, prefix: str, bounds: Sequence[str], *, skip: int) -> Iterator[list[ListedObject]]:
        """The same, in parts that lie between some keys and are asked for at the same time.

        Args:
            bounds: in their order; they need not be there.

        Raises:
            Unsupported: the server does not list in the order of the keys; from then on it is asked page by page.
        """
        return self._listings.parts(bucket, prefix, bounds, skip=skip)

    def versions(self, bucket: str, start: str, *, skip: int = 0) -> Iterator[list[ListedVersion]]:
        """Every version of all keys that begin with `start`; see `ListsVersions`.

        Args:
            skip: so many characters of each key are left out.
        """
        return version_pages(self._connection, bucket, start, skip=skip)

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

    def get_many(
        self, bucket: str, wanted: Iterable[GetRequest], *, most: int
    ) -> Iterator[tuple[int, GetResult | None]]:
        """Read many small objects, some at the same time; see `Backend.get_many`."""
        for number, answer in self._connection.send_many(bucket, map(_to_call, wanted), most=most):
            if isinstance(answer, Response):
                got = got_of(answer.headers, size=len(answer.body), chunks=iter((answer.body,)))
                yield number, got
            else:
                yield number, None

    def get_parts(self, bucket: str, wanted: Iterable[PartRequest], *, most: int) -> Iterator[tuple[int, Chunk | None]]:
        """Read parts of objects, some at the same time; see `ReadsParts`."""
        parts: dict[int, PartRequest] = {}

        def calls() -> Iterator[Call]:
            for number, one in enumerate(wanted):
                parts[number] = one
                yield _to_part(one)

        for number, answer in self._connection.send_many(bucket, calls(), most=most):
            one = parts.pop(number)
            came = isinstance(answer, Response) and _is_range(answer.headers, one)
            yield number, answer.body if came and isinstance(answer, Response) else None

    def get_small(self, bucket: str, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """A whole small object and its ETag.

        Raises:
            StoreError: it is larger than `limit` bytes.
        """
        try:
            answer = self._connection.send(bucket, Call("GET", key, limit=limit))
        except TooMuch as exc:
            raise StoreError(
                f"{shown(bucket, key)} has more than {limit:,} bytes, which is more than it should have"
            ) from exc
        return bytes(answer.body), bare(answer.headers.get("etag"))

    def about(self, bucket: str, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """What an object is and carries; its tags on demand.

        Raises:
            NotFound, AccessDenied, …
        """
        query = {"versionId": version} if version else None

        def read_tags() -> dict[str, str]:
            which = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
            answer = self._connection.boto().get_object_tagging(**which)  # type: ignore[arg-type] # a TypedDict made step by step
            return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

        facts = self._connection.send(bucket, Call("HEAD", key, query)).headers
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
        return self._put(bucket, key, b"".join(chunks()), headers)

    def put_many(
        self, bucket: str, wanted: Iterable[PutRequest], *, most: int
    ) -> Iterator[tuple[int, PutResult | None]]:
        """Write many small objects, some at the same time; see `Backend.put_many`."""
        calls = (Call("PUT", one.key, body=functools.partial(_same, one.data), sha256=one.sha256) for one in wanted)
        for number, answer in self._connection.send_many(bucket, calls, most=most):
            yield number, _stored(answer.headers) if isinstance(answer, Response) else None

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
        """Delete objects; return why each of those that are still there is."""
        return self._deletions.delete(bucket, keys)

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

    def _put(self, bucket: str, key: str, data: Chunk, headers: Mapping[str, str]) -> PutResult:
        call = Call("PUT", key, headers=headers, body=lambda: data)

        def read(response: Response) -> PutResult:
            if (stored := _stored(response.headers)) is None:
                raise Unreachable(f"S3 does not confirm that it has stored {shown(bucket, key)}", hint="run it again")
            return stored

        return self._connection.read(bucket, call, read)


def _to_call(wanted: GetRequest) -> Call:
    headers = {"if-match": f'"{wanted.if_match}"'} if wanted.if_match and _ETAG.fullmatch(wanted.if_match) else None
    return Call("GET", wanted.key, headers=headers, limit=wanted.limit)


def _to_part(wanted: PartRequest) -> Call:
    headers = {"range": f"bytes={wanted.start}-{wanted.start + wanted.size - 1}"}
    return Call("GET", wanted.key, headers=headers, limit=wanted.size)


def _is_range(headers: Mapping[str, str], wanted: PartRequest) -> bool:
    """Whether an answer is the range that was asked for (RFC 9110, 14.4); some servers give it with status 200."""
    return headers.get("content-range", "").startswith(f"bytes {wanted.start}-{wanted.start + wanted.size - 1}/")


def _same(data: Chunk) -> Chunk:
    return data


def _stored(headers: Mapping[str, str]) -> PutResult | None:
    """What the answer to a PUT says; None where it names no ETag, and then nobody knows whether the object is there."""
    etag = bare(headers.get("etag"))
    if not etag or not _ETAG.fullmatch(etag):
        return None
    return PutResult(etag, version_of(headers.get("x-amz-version-id")))
