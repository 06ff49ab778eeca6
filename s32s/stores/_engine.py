"""S3 behind a few verbs: boto3 for listings, copies and rare operations, obstore for bodies.

boto3 spends about 3 ms of CPU on an object where obstore spends a tenth; boto3 alone reads a listing strictly, and
knows copies, tags and markers. Their exceptions end in `_answers`; retries and credentials are `_connection`'s.

obstore checks no content: it takes wrong bytes of the right length for good. Whoever reads a body verifies it.
"""

from __future__ import annotations

import contextlib
import datetime
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s32s import paths
from s32s.errors import AccessDenied, IntegrityError, NotFound, PreconditionFailed, SourceChanged, StoreError
from s32s.settings import S3Connection
from s32s.stores._answers import shown, translated
from s32s.stores._connection import Connection
from s32s.tree import is_md5
from s32s.workers import aside, each

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        CopySourceTypeDef,
        ListObjectsV2OutputTypeDef,
        ListObjectsV2RequestTypeDef,
    )
    from obstore import GetResult

#: Larger bodies are sent in parts. S3 takes 5 MiB to 5 GiB a part, and at most 10,000 of them.
PART_SIZE = 8 * 1024 * 1024
_MAX_PARTS = 10_000
_PARTS_AT_ONCE = 4

#: CopyObject takes no larger source (S3 API); what is larger is copied in parts of this size or more.
COPY_LIMIT = 5 * 1024**3
_COPY_PART = 512 * 1024**2
_COPIED_AT_ONCE = 8

_BATCH = 1000  # DeleteObjects takes no more keys (S3 API)


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int
    etag: str | None
    stored_ns: int | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What an object is and carries beside its bytes (S3 API, HeadObject).

    Attributes:
        has_md5: whether its ETag may be an MD5 at all: not with KMS or customer keys.
        headers: Content-Type, Cache-Control and their like, by their HTTP names.
        metadata: the user's own, without `x-amz-meta-`.
        tags: asked for only where there are any.
    """

    size: int
    etag: str | None
    has_md5: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Original:
    """The object that a copy is made of, as it was listed."""

    bucket: str
    key: str
    size: int
    etag: str | None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What S3 says of an object that was just written."""

    etag: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Got:
    """An object that is being read: facts first, then `chunks` once."""

    size: int
    etag: str | None
    version: str | None
    modified_ns: int
    chunks: Iterator[bytes]


class Engine:
    """One endpoint with one set of credentials. Thread-safe.

    Args:
        settings: the [s3] table of the configuration, or [s3.mirror].
        copy_limit: larger objects are copied in parts.
        copy_part: how large these are at least.
    """

    def __init__(self, settings: S3Connection, *, copy_limit: int = COPY_LIMIT, copy_part: int = _COPY_PART) -> None:
        self._connection = Connection(settings)
        self._copy_limit = copy_limit
        self._copy_part = copy_part

    # -- reading

    def objects(self, bucket: str, prefix: str) -> Iterator[Listed]:
        """Every object below `prefix/`, page by page, in any order; keys as S3 has them, all of them or an error.

        By boto3: obstore takes an answer 200 with an error inside for an empty page, drops a final slash (a directory
        marker) and stops at keys that it cannot address, which here are to be refused by name.

        Raises:
            StoreError: a page is no listing, or the pages do not come to an end.
        """
        token = ""
        while True:
            page = self._page(bucket, prefix, token)
            if token and not page.get("Contents"):
                # The page before has promised more keys.
                raise StoreError(f"the listing of {shown(bucket, prefix)} breaks off before its end", hint="try again")
            for entry in page.get("Contents", []):
                yield Listed(entry["Key"], entry["Size"], _bare(entry.get("ETag")), _ns(entry.get("LastModified")))
            if page.get("IsTruncated") is False:
                return
            following = page.get("NextContinuationToken")
            if not following or following == token:
                raise StoreError(f"the listing of {shown(bucket, prefix)} breaks off before its end", hint="try again")
            token = following

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

    def get(self, bucket: str, key: str, *, etag: str | None = None, version: str | None = None) -> Got:
        """Open an object for reading.

        Args:
            etag: fail unless the object has it; the server may ignore that, so compare `Got.etag` too.
            version: read this version instead of the current one.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, Unreachable, …
        """

        def work() -> GetResult:
            import obstore

            options: dict[str, Any] = {}
            if version:
                options["version"] = version
            elif etag:
                options["if_match"] = f'"{etag}"'
            return obstore.get(self._connection.store(bucket), key, options=options or None)  # type: ignore[arg-type] # a TypedDict made step by step

        result = self._connection.call(work, bucket=bucket, key=key)
        meta = result.meta
        return Got(
            size=meta["size"],
            etag=_bare(meta["e_tag"]),
            version=_version(meta["version"]),
            modified_ns=_ns(meta["last_modified"]) or 0,
            chunks=self._chunks(result, bucket=bucket, key=key),
        )

    def get_small(self, bucket: str, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """A whole small object and its ETag.

        Raises:
            StoreError: it is larger than `limit` bytes.
        """
        got = self.get(bucket, key)
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
                etag=_bare(facts.get("ETag")),
                has_md5="SSECustomerAlgorithm" not in facts and "kms" not in facts.get("ServerSideEncryption", ""),
                headers={header: facts[name] for name, header in _HEADERS.items() if facts.get(name)},
                metadata=facts.get("Metadata", {}),
                tags=found,
            )

        return self._connection.call(work, bucket=bucket, key=key)

    # -- writing

    def put(
        self,
        bucket: str,
        key: str,
        chunks: Callable[[], Iterator[bytes]],
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

        def guarded() -> Iterator[bytes]:
            try:
                yield from chunks()
            except BaseException as exc:
                failures.append(exc)  # obstore would wrap it
                raise

        def work() -> Stored:
            import obstore

            store = self._connection.store(bucket)
            if size <= PART_SIZE:
                result = obstore.put(store, key, b"".join(guarded()), use_multipart=False, **carried)
            else:
                part = max(PART_SIZE, -(-size // _MAX_PARTS) + 1024 * 1024)
                result = obstore.put(
                    store,
                    key,
                    guarded(),
                    use_multipart=True,
                    chunk_size=part,
                    max_concurrency=_PARTS_AT_ONCE,
                    **carried,
                )
                # Some servers name another ETag in the answer than they list afterwards.
                meta = obstore.head(store, key)
                return Stored(_bare(meta["e_tag"]), _version(result["version"]))
            return Stored(_bare(result["e_tag"]), _version(result["version"]))

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
            return Stored(_bare(result["e_tag"]), _version(result["version"]))

        return self._connection.call(work, bucket=bucket, key=key)

    def copy(self, original: Original, bucket: str, key: str, *, progress: Callable[[int], None]) -> Stored:
        """Copy an object within this endpoint; no byte of it comes here, and all that it carries travels.

        Its ETag is a condition, and as some servers ignore it, the copy's own ETag is looked at, too.

        Args:
            progress: told of bytes that are copied.

        Raises:
            SourceChanged: the original is not there any more, or no longer as it was listed.
            AccessDenied: names the one of the two that may not be reached.
            IntegrityError: the copy is not as large as the original.
        """
        try:
            if original.size > self._copy_limit:
                stored = self._copy_parts(original, bucket, key, progress)
            else:
                stored = self._connection.call(lambda: self._copy_whole(original, bucket, key), bucket=bucket, key=key)
                progress(original.size)
        except (NotFound, PreconditionFailed) as exc:
            raise _moved(original) from exc
        except AccessDenied:
            self._check_readable(original)
            raise
        if stored.etag is None or stored.etag != original.etag:
            self._check_copy(original, bucket, key)
        return stored

    def _copy_whole(self, original: Original, bucket: str, key: str) -> Stored:
        answer = self._connection.patient_boto().copy_object(
            Bucket=bucket,
            Key=key,
            CopySource=_copy_source(original),
            **_if_unchanged(original),
        )
        return Stored(_bare(answer["CopyObjectResult"].get("ETag")), _version(answer.get("VersionId")))

    def _copy_parts(self, original: Original, bucket: str, key: str, progress: Callable[[int], None]) -> Stored:
        about = self.about(original.bucket, original.key, version=original.version, tags=True)
        boto = self._connection.patient_boto  # asked for anew each time: an expired token makes a new client
        wanted: dict[str, Any] = {
            name: about.headers[header] for name, header in _HEADERS.items() if header in about.headers
        }
        if about.tags:
            wanted["Tagging"] = urllib.parse.urlencode(about.tags)
        begun = self._connection.call(
            lambda: boto().create_multipart_upload(Bucket=bucket, Key=key, Metadata=dict(about.metadata), **wanted),
            bucket=bucket,
            key=key,
        )
        upload = begun["UploadId"]
        parts: dict[int, str] = {}

        def copy_part(part: tuple[int, int, int]) -> None:
            number, first, last = part
            answer = self._connection.call(
                lambda: boto().upload_part_copy(
                    Bucket=bucket,
                    Key=key,
                    UploadId=upload,
                    PartNumber=number,
                    CopySource=_copy_source(original),
                    CopySourceRange=f"bytes={first}-{last}",
                    **_if_unchanged(original),
                ),
                bucket=bucket,
                key=key,
            )
            etag = answer.get("CopyPartResult", {}).get("ETag")
            if not etag:
                raise StoreError(
                    f"this S3 server cannot copy {shown(bucket, key)} in parts",
                    hint="it is too large for one copy; leave it out with a rule of ignore",
                )
            parts[number] = etag
            progress(last - first + 1)

        try:
            each(copy_ranges(original.size, part=self._copy_part), copy_part, jobs=_COPIED_AT_ONCE)
            ended: list[CompletedPartTypeDef] = [
                {"PartNumber": number, "ETag": etag} for number, etag in sorted(parts.items())
            ]
            answer = self._connection.call(
                lambda: boto().complete_multipart_upload(
                    Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": ended}
                ),
                bucket=bucket,
                key=key,
            )
        except BaseException:
            with contextlib.suppress(Exception):  # what remains costs money and is never seen; the error is the news
                boto().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            raise
        return Stored(self.about(bucket, key).etag, _version(answer.get("VersionId")))

    def _check_readable(self, original: Original) -> None:
        """Raises AccessDenied for the original, where it is that which may not be read."""
        with contextlib.suppress(NotFound):
            self.about(original.bucket, original.key, version=original.version)

    def _check_copy(self, original: Original, bucket: str, key: str) -> None:
        """Where ETags differ: because of parts or keys, or because the original was replaced meanwhile?"""
        try:
            now = self.about(original.bucket, original.key, version=original.version)
        except NotFound as exc:
            raise _moved(original) from exc
        if now.size != original.size or (original.etag and now.etag and now.etag != original.etag):
            raise _moved(original)
        copy = self.about(bucket, key)
        both_md5 = now.has_md5 and copy.has_md5 and is_md5(now.etag) and is_md5(copy.etag)
        if copy.size != now.size or (both_md5 and copy.etag != now.etag):
            raise IntegrityError(
                f"{shown(bucket, key)} is not what {shown(original.bucket, original.key)} is, although it was copied",
                hint="run it again",
            )

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
    def _chunks(self, result: GetResult, *, bucket: str, key: str) -> Iterator[bytes]:
        stream = iter(result.stream(min_chunk_size=1024 * 1024))
        while True:
            chunk = translated(lambda: next(stream, None), bucket=bucket, key=key)
            if chunk is None:
                return
            yield bytes(chunk)

    def _page(self, bucket: str, prefix: str, token: str) -> ListObjectsV2OutputTypeDef:
        asked: ListObjectsV2RequestTypeDef = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        if token:
            asked["ContinuationToken"] = token
        return self._connection.call(
            lambda: self._connection.boto().list_objects_v2(**asked), bucket=bucket, key=prefix
        )


def _version(version: str | None) -> str | None:
    """A version id that names one version: buckets without versioning may answer "null"."""
    return version if version != "null" else None


def _bare(etag: str | None) -> str | None:
    """An ETag without quotes and weakness mark: servers and calls differ in both."""
    return etag.removeprefix("W/").strip('"') if etag else None


def copy_ranges(size: int, *, part: int) -> Iterator[tuple[int, int, int]]:
    """Cut an object for UploadPartCopy: (part number, first byte, last byte).

    Parts are as large as asked for, or larger where S3's 10,000 would not do; the last one is what remains.
    """
    part = max(part, -(-size // _MAX_PARTS))
    for number, first in enumerate(range(0, size, part), start=1):
        yield number, first, min(first + part, size) - 1


#: Arguments of boto3 by the header they stand for; all of them travel with a copy.
_HEADERS = {
    "ContentType": "Content-Type",
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
}


def _copy_source(original: Original) -> CopySourceTypeDef:
    named: CopySourceTypeDef = {"Bucket": original.bucket, "Key": original.key}
    if original.version:
        named["VersionId"] = original.version
    return named


def _if_unchanged(original: Original) -> dict[str, Any]:
    """The condition that the original still is what was listed."""
    return {"CopySourceIfMatch": f'"{original.etag}"'} if original.etag else {}


def _moved(original: Original) -> SourceChanged:
    return SourceChanged(
        f"{paths.escape(original.key)} was replaced or deleted on S3 during the run", paths=(original.key,)
    )


def _ns(moment: datetime.datetime | None) -> int | None:
    return int(moment.timestamp()) * 1_000_000_000 if moment is not None else None
