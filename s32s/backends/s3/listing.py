"""Pages of a listing, read by us from the XML that the plain client has brought, or by botocore.

botocore makes every field of every object by way of its model: 70 ms a page of 1,000 keys, where 10 ms do. It offers
its event `before-parse` for what is read another way (botocore.endpoint): there the objects are cut out of the
answer, to be read while the next page is on its way. All the rest is left to botocore, which knows errors of every
kind.
"""

from __future__ import annotations

import datetime
import functools
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from s32s.backends.base import ListedObject
from s32s.core import paths
from s32s.core.errors import StoreError, Unreachable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CUT = "S32sContents"
_BEGIN, _END = b"<Contents>", b"</Contents>"
_FIELDS = ("Key", "Size", "ETag", "LastModified")
_PLAIN = re.compile(
    r"""
    <Contents> \s* <Key>([^<>&]+)</Key> \s* <LastModified>([^<>&]+)</LastModified> \s*
    <ETag>(?:&quot;|&\#34;|")?([^<>&"]+)(?:&quot;|&\#34;|")?</ETag> \s*
    (?:<ChecksumAlgorithm>\w+</ChecksumAlgorithm> \s*)* (?:<ChecksumType>\w+</ChecksumType> \s*)?
    <Size>([0-9]{1,18})</Size> \s*
    (?:<Owner> \s* <ID>[^<>&]*</ID> \s* (?:<DisplayName>[^<>&]*</DisplayName> \s*)? </Owner> \s*)?
    (?:<StorageClass>\w+</StorageClass> \s*)? </Contents> \s*
    """,
    re.VERBOSE | re.ASCII,
)


_MOST_DIGITS = 18  # of a size: more would not fit into 64 bits
_MOST_SECONDS = 2**63 // 1_000_000_000 - 1


def bare(etag: str | None) -> str | None:
    """An ETag without quotes and weakness mark: servers and calls differ in both."""
    return etag.removeprefix("W/").strip('"') if etag else None


def whole_ns(moment: datetime.datetime | None) -> int | None:
    """A time of S3's in ns since the epoch, in whole seconds, which is what all servers and calls agree on.

    Raises:
        ValueError: it is too far away for 64 bits, before 1678 or after 2261.
    """
    if moment is None:
        return None
    try:
        seconds = int(moment.timestamp())
    except OverflowError as exc:
        raise ValueError(str(exc)) from exc
    if abs(seconds) > _MOST_SECONDS:
        raise ValueError("too far away")
    return seconds * 1_000_000_000


def http_ns(date: str | None) -> int | None:
    """The same of a date as HTTP writes it (RFC 9110, 5.6.7); None where it is not a date."""
    from email.utils import parsedate_to_datetime

    try:
        return whole_ns(parsedate_to_datetime(date)) if date else None
    except ValueError:
        return None


def cut_pages(client: S3Client) -> None:
    """Let `client.list_objects_v2` return what `objects` reads. The client is for nothing else."""
    import botocore.handlers

    # It reads the whole answer once more; what it looks for, an error in an answer 200, is looked for below.
    if builtin := getattr(botocore.handlers, "_handle_200_error", None):
        client.meta.events.unregister("before-parse.s3.*", builtin)
    client.meta.events.register("before-parse.s3.ListObjectsV2", _cut)


def plain_page(body: bytes) -> Mapping[str, Any] | None:
    """A page that came without botocore, for `objects`; None for what is not written as usual."""
    cut, rest = _parted(body)
    try:
        root = ElementTree.fromstring(rest)  # noqa: S314 # expat bounds entities
    except ElementTree.ParseError:
        return None
    names = [element.tag.rpartition("}")[2] for element in root]
    facts = {name: element.text or "" for name, element in zip(names, root, strict=True)}
    is_truncated = {"true": True, "false": False}.get(facts.get("IsTruncated", ""))
    if root.tag.rpartition("}")[2] != "ListBucketResult" or "Contents" in facts or is_truncated is None:
        return None
    page = {"IsTruncated": is_truncated, "EncodingType": facts.get("EncodingType"), _CUT: cut}
    return page | ({"NextContinuationToken": token} if (token := facts.get("NextContinuationToken")) else {})


def _cut(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    if response_dict["status_code"] != 200:
        return
    customized_response_dict[_CUT], response_dict["body"] = _parted(response_dict["body"])
    try:
        is_error = ElementTree.fromstring(response_dict["body"]).tag == "Error"  # noqa: S314 # expat bounds entities
    except ElementTree.ParseError:
        is_error = True
    if is_error:
        response_dict["status_code"] = 500  # so that it is tried again


def _parted(body: bytes) -> tuple[bytes, bytes]:
    """The objects of a page, and the page without them."""
    begin, end = body.find(_BEGIN), body.rfind(_END)
    if not 0 <= begin < end:
        return b"", body
    end += len(_END)
    return body[begin:end], body[:begin] + body[end:]


def objects(page: Mapping[str, Any], *, skip: int = 0) -> list[ListedObject]:
    """The objects of a page.

    Args:
        skip: so many characters of each key are left out.

    Raises:
        Unreachable, StoreError: they are not a page.
    """
    cut: bytes = page.get(_CUT, b"")
    plain = _decoded if page.get("EncodingType") == "url" else str

    def decode(key: str) -> str:
        return plain(key)[skip:]

    listed = _plain(cut, decode)
    if listed is None:
        listed = [_listed(*fields, decode=decode) for fields in _parsed(cut)]
    for other in page.get("Contents", []):  # of a server that writes the name of the element another way
        stored = other["LastModified"].isoformat() if "LastModified" in other else None
        listed.append(
            _listed(other["Key"], str(other["Size"]), other.get("ETag"), stored, decode=lambda key: key[skip:])
        )
    return listed


def _plain(cut: bytes, decode: Callable[[str], str]) -> list[ListedObject] | None:
    """The objects of a page that is written as AWS, MinIO, Ceph and rclone write it; None for others.

    It takes a fifth of the time of a parser, and takes nothing that a parser would read in another way.
    """
    found: list[ListedObject] = []
    end = 0
    try:
        text = cut.decode()
    except UnicodeDecodeError:
        return None
    for match in _PLAIN.finditer(text):
        if match.start() != end:
            return None
        end = match.end()
        key, stored, etag, size = match.groups()
        found.append(ListedObject(decode(key), int(size), etag, _ns(stored)))
    return found if end == len(text) else None


def _parsed(cut: bytes) -> Iterator[tuple[str | None, ...]]:
    try:
        root = ElementTree.fromstring(b"<Page>" + cut + b"</Page>")  # noqa: S314 # expat bounds entities
    except ElementTree.ParseError as exc:
        raise Unreachable(f"a listing arrived damaged: {exc}", hint="run it again") from exc
    return (tuple(map(found.findtext, _FIELDS)) for found in root)


def _listed(
    key: str | None, size: str | None, etag: str | None, stored: str | None, *, decode: Callable[[str], str]
) -> ListedObject:
    if not key or not size or not size.isdecimal():
        raise StoreError(
            f"a listing holds an object without a key or a size ({paths.escape(key or '')})", hint="check the endpoint"
        )
    if len(size) > _MOST_DIGITS:
        raise StoreError(
            f"a listing holds an impossible size ({size[:_MOST_DIGITS]}… of {paths.escape(key)})",
            hint="check the endpoint",
        )
    return ListedObject(decode(key), int(size), bare(etag), _ns(stored))


def _decoded(key: str) -> str:
    return urllib.parse.unquote_plus(key, errors="surrogateescape")  # a space may be either, a plus is %2B


@functools.lru_cache(maxsize=1024)  # whole seconds, which many objects share
def _ns(stored: str | None) -> int | None:
    """A time such as 2026-11-20T10:00:00.000Z.

    Raises:
        StoreError: it is not a time.
    """
    if not stored:
        return None
    try:
        return whole_ns(datetime.datetime.fromisoformat(stored))
    except ValueError as exc:
        raise StoreError(
            f"a listing holds the time {paths.escape(stored)}, which is not a time", hint="check the endpoint"
        ) from exc
