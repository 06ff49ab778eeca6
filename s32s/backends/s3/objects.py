"""What S3 says of objects, as values."""

from __future__ import annotations

import enum
import urllib.parse
from dataclasses import dataclass

from s32s.backends.base import ObjectMeta

#: Of a multipart upload (S3 API).
MAX_PARTS = 10_000

#: What the body of a small answer has at the most.
SMALL = 64 * 1024
#: What a page of a listing has at the most: a thousand keys as long as S3 allows, percent-encoded; most have 500 KB.
LARGE = 8 * 1024 * 1024

#: How headers begin that carry the user's own metadata (S3 API, "User-defined object metadata").
META = "x-amz-meta-"

#: Arguments of boto3 by the header they stand for; all of them travel with a copy.
HEADERS = {
    "ContentType": "Content-Type",
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
}


class Condition(enum.Enum):
    """How the condition of a PUT names the object that must be there.

    Attributes:
        QUOTED: its ETag as RFC 9110, 8.8.3 writes it.
        BARE: its ETag without quotes, as some releases of Ceph compare it.
        NONE: no condition, for a server that takes none: one has to look before and after.
    """

    QUOTED = "quoted"
    BARE = "bare"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class CopySource:
    """The object that a copy is made of, as it was listed."""

    bucket: str
    key: str
    size: int
    etag: str | None
    version: str | None = None


def to_headers(meta: ObjectMeta) -> dict[str, str]:
    """The headers by which another object gets what one carries (S3 API, PutObject)."""
    named = {name.lower(): value for name, value in meta.headers.items()}
    named |= {f"{META}{name}": value for name, value in meta.metadata.items()}
    if meta.tags:
        # Not every server takes a plus for a space.
        named["x-amz-tagging"] = urllib.parse.urlencode(meta.tags, quote_via=urllib.parse.quote, safe="")
    return named


def version_of(version: str | None) -> str | None:
    """A version id that names one version: buckets without versioning may answer "null"."""
    return version if version != "null" else None
