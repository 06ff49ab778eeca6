"""Listings of versions (S3 API, ListObjectVersions): page by page, as they are rarely asked for.

Delete markers are left out: they hold nothing.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import NamedTuple

from s32s.backends.base import ListedVersion
from s32s.backends.s3.client import Call
from s32s.backends.s3.errors import refusal_in, shown
from s32s.backends.s3.listing import bare, decoded, stored_ns
from s32s.backends.s3.objects import LARGE
from s32s.backends.s3.session import S3Session
from s32s.core import paths
from s32s.core.errors import StoreError, Unreachable, Unsupported

_MOST_VERSIONS = 20_000_000  # of a listing; a server that names more never ends


class _Page(NamedTuple):
    """A page, and where the next one begins; None after the last one."""

    versions: list[ListedVersion]
    following: tuple[str, str] | None


def version_pages(connection: S3Session, bucket: str, start: str, *, skip: int) -> Iterator[list[ListedVersion]]:
    """Every version of all keys that begin with `start`, page by page.

    Args:
        skip: so many characters of each key are left out.

    Raises:
        Unsupported: the server lists no versions.
        StoreError: a page is not a listing, or the pages do not come to an end.
    """
    where = shown(bucket, start)
    after: tuple[str, str] | None = None
    seen: set[tuple[str, str]] = set()
    count = 0
    while True:
        query = {"versions": "", "encoding-type": "url", "prefix": start}
        if after is not None:
            query |= {"key-marker": after[0]} | ({"version-id-marker": after[1]} if after[1] else {})
        found = connection.read(
            bucket,
            Call("GET", "", query, limit=LARGE),
            lambda answer: _read_page(bytes(answer.body), where, skip=skip),
            about=start,
        )
        yield found.versions
        count += len(found.versions)
        if found.following is None:
            return
        if found.following in seen or count > _MOST_VERSIONS:
            raise StoreError(f"the versions of {where} do not come to an end", hint="check the endpoint")
        seen.add(found.following)
        after = found.following


def _read_page(body: bytes, where: str, *, skip: int) -> _Page:
    """What an answer holds.

    Raises:
        Refusal: it is an error, which may come with status 200.
        Unreachable: it is cut off.
        Unsupported: it is another listing, as of servers that know no versions.
    """
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 # expat bounds entities
    except ElementTree.ParseError as exc:
        raise Unreachable(f"a listing of S3 arrived damaged: {exc}", hint="run it again") from exc
    name = _bare_name(root)
    if name == "Error":
        raise refusal_in(body, status=500, headers={})
    if name != "ListVersionsResult":
        raise Unsupported(f"this S3 server lists no versions of {where}")
    facts = {_bare_name(element): element.text or "" for element in root}
    is_encoded = facts.get("EncodingType") == "url"
    versions = [_version(element, is_encoded, skip) for element in root if _bare_name(element) == "Version"]
    if facts.get("IsTruncated") != "true":
        return _Page(versions, None)
    marker = facts.get("NextKeyMarker", "")
    if not marker:
        raise StoreError(f"the versions of {where} break off before their end", hint="try again")
    return _Page(versions, (decoded(marker) if is_encoded else marker, facts.get("NextVersionIdMarker", "")))


def _version(element: ElementTree.Element, is_encoded: bool, skip: int) -> ListedVersion:
    facts = {_bare_name(one): one.text or "" for one in element}
    key, version, size = facts.get("Key", ""), facts.get("VersionId", ""), facts.get("Size", "")
    if not key or not version or not size.isdecimal() or len(size) > 18:  # more would not fit into 64 bits
        raise StoreError(
            f"a listing contains a version without a key, a name or a size ({paths.escape(key)})",
            hint="check the endpoint",
        )
    plain = decoded(key) if is_encoded else key
    return ListedVersion(
        plain[skip:], version, int(size), bare(facts.get("ETag")), stored_ns(facts.get("LastModified"))
    )


def _bare_name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
