"""What S3 says of objects, as values."""

from __future__ import annotations

import enum
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from s32s.backends.base import Chunk

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
class ObjectMeta:
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

    def to_headers(self) -> dict[str, str]:
        """The headers by which another object gets all that (S3 API, PutObject)."""
        named = {name.lower(): value for name, value in self.headers.items()}
        named |= {f"{META}{name}": value for name, value in self.metadata.items()}
        if self.tags:
            # Not every server takes a plus for a space.
            named["x-amz-tagging"] = urllib.parse.urlencode(self.tags, quote_via=urllib.parse.quote, safe="")
        return named


@dataclass(frozen=True, slots=True)
class CopySource:
    """The object that a copy is made of, as it was listed."""

    bucket: str
    key: str
    size: int
    etag: str | None
    version: str | None = None


class PutResult(NamedTuple):
    """What S3 says of an object that was just written."""

    etag: str | None
    version: str | None


class GetResult(NamedTuple):
    """An object that is being read: facts first, then `chunks` once.

    Attributes:
        stored_ns: tells when it was stored, in ns since the epoch.
    """

    size: int
    etag: str | None
    version: str | None
    stored_ns: Callable[[], int | None]
    chunks: Iterator[Chunk]


def version_of(version: str | None) -> str | None:
    """A version id that names one version: buckets without versioning may answer "null"."""
    return version if version != "null" else None
