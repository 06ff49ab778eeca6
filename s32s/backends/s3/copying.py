"""Copies within one endpoint: no byte of them comes here.

An object is copied as it was listed or not at all. Its ETag is a condition, and as some servers ignore that, what came
out is looked at, too.
"""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from s32s.backends.base import ObjectMeta, PutResult
from s32s.backends.s3.errors import shown
from s32s.backends.s3.listing import bare
from s32s.backends.s3.objects import HEADERS, MAX_PARTS, CopySource, version_of
from s32s.backends.s3.session import S3Session
from s32s.core import paths
from s32s.core.errors import (
    AccessDenied,
    BucketMissing,
    IntegrityError,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    Unsupported,
)
from s32s.core.item import is_md5
from s32s.system.concurrency import for_each

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef

#: CopyObject takes no larger source (S3 API); what is larger is copied in parts of this size or more.
COPY_LIMIT = 5 * 1024**3
COPY_PART = 512 * 1024**2
_COPIED_AT_ONCE = 8


class Look(Protocol):
    """How one asks what an object is; see `S3Backend.about`."""

    def __call__(self, bucket: str, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """Look at one object."""
        ...


class Copies:
    """Copies by one connection. Thread-safe.

    Args:
        about: what tells of an object.
        limit: larger objects are copied in parts.
        part: how large these are at least.
    """

    def __init__(self, connection: S3Session, about: Look, *, limit: int, part: int) -> None:
        self._connection = connection
        self._about = about
        self._limit = limit
        self._takes_conditions = True  # until the server shows otherwise
        self._part = part

    def copy(self, original: CopySource, bucket: str, key: str, *, progress: Callable[[int], None]) -> PutResult:
        """Copy an object within this endpoint; no byte of it comes here, and all that it carries travels.

        Its ETag is a condition, and as some servers ignore it, the copy's own ETag is looked at, too.

        Args:
            progress: told of bytes that are copied.

        Raises:
            SourceChanged: the original is not there any more, or no longer as it was listed.
            AccessDenied: names the one of the two that may not be reached.
            IntegrityError: the copy is not as large as the original.
        """
        had_condition = self._takes_conditions  # another thread may find out meanwhile
        try:
            stored = self._copy(original, bucket, key, progress)
        except AccessDenied:
            self._check_readable(original)
            raise
        except (Unsupported, BucketMissing):
            raise
        except StoreError as exc:
            # Look before the original is blamed: some servers refuse a condition that holds, or miss odd keys.
            self._check_unmoved(original)
            if not isinstance(exc, PreconditionFailed) or not had_condition:
                raise _uncopied(original, exc) from exc
            self._takes_conditions = False
            stored = self._copy(original, bucket, key, progress)
        if stored.etag is None or stored.etag != original.etag:
            self._check_copy(original, bucket, key)
        return stored

    def _copy(self, original: CopySource, bucket: str, key: str, progress: Callable[[int], None]) -> PutResult:
        # Swift lists a whole copy of an object of parts with another ETag than HEAD shows, so no manifest can name it.
        is_listed_wrongly = not self._takes_conditions and "-" in (original.etag or "")
        if original.size > self._limit or is_listed_wrongly:
            return self._copy_parts(original, bucket, key, progress)
        stored = self._connection.call(lambda: self._copy_whole(original, bucket, key), bucket=bucket, key=key)
        progress(original.size)
        return stored

    def _copy_whole(self, original: CopySource, bucket: str, key: str) -> PutResult:
        answer = self._connection.patient_boto().copy_object(
            Bucket=bucket,
            Key=key,
            CopySource=_copy_source(original),
            **self._if_unchanged(original),
        )
        return PutResult(bare(answer["CopyObjectResult"].get("ETag")), version_of(answer.get("VersionId")))

    def _copy_parts(self, original: CopySource, bucket: str, key: str, progress: Callable[[int], None]) -> PutResult:
        about = self._about(original.bucket, original.key, version=original.version, tags=True)
        boto = self._connection.patient_boto  # asked for each time: an expired token makes a new client
        wanted: dict[str, Any] = {
            name: about.headers[header] for name, header in HEADERS.items() if header in about.headers
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
                    **self._if_unchanged(original),
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
            for_each(copy_ranges(original.size, part=self._part), copy_part, jobs=_COPIED_AT_ONCE)
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
        return PutResult(self._about(bucket, key).etag, version_of(answer.get("VersionId")))

    def _check_readable(self, original: CopySource) -> None:
        """Raises AccessDenied for the original, where it is that which may not be read."""
        with contextlib.suppress(NotFound):
            self._about(original.bucket, original.key, version=original.version)

    def _if_unchanged(self, original: CopySource) -> dict[str, Any]:
        """The condition that the original still is what was listed."""
        return {"CopySourceIfMatch": f'"{original.etag}"'} if original.etag and self._takes_conditions else {}

    def _check_unmoved(self, original: CopySource) -> ObjectMeta:
        """What the original is now.

        Raises:
            SourceChanged: it is not there any more, or no longer as it was listed.
        """
        try:
            now = self._about(original.bucket, original.key, version=original.version)
        except NotFound as exc:
            raise _moved(original) from exc
        if now.size != original.size or (original.etag and now.etag and now.etag != original.etag):
            raise _moved(original)
        return now

    def _check_copy(self, original: CopySource, bucket: str, key: str) -> None:
        """Where ETags differ: because of parts or keys, or because the original was replaced meanwhile?"""
        now = self._check_unmoved(original)
        copy = self._about(bucket, key)
        both_md5 = now.has_md5 and copy.has_md5 and is_md5(now.etag) and is_md5(copy.etag)
        if copy.size != now.size or (both_md5 and copy.etag != now.etag):
            raise IntegrityError(
                f"{shown(bucket, key)} is not what {shown(original.bucket, original.key)} is, although it was copied",
                hint="run it again",
            )


def copy_ranges(size: int, *, part: int) -> Iterator[tuple[int, int, int]]:
    """Cut an object for UploadPartCopy: (part number, first byte, last byte).

    Parts are as large as asked for, or larger where S3's 10,000 would not do; the last one is what remains.
    """
    part = max(part, -(-size // MAX_PARTS))
    for number, first in enumerate(range(0, size, part), start=1):
        yield number, first, min(first + part, size) - 1


def _copy_source(original: CopySource) -> CopySourceTypeDef:
    named: CopySourceTypeDef = {"Bucket": original.bucket, "Key": original.key}
    if original.version:
        named["VersionId"] = original.version
    return named


def _uncopied(original: CopySource, exc: StoreError) -> StoreError:
    where = shown(original.bucket, original.key)
    return StoreError(
        f"this S3 server does not copy {where}, although it is there and unchanged ({exc.what})",
        hint="leave it out with a rule of ignore, or rename it",
    )


def _moved(original: CopySource) -> SourceChanged:
    return SourceChanged(
        f"{paths.escape(original.key)} was replaced or deleted on S3 during the run", paths=(original.key,)
    )
