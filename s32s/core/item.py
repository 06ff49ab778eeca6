"""One path of a tree, and what is known of it. An unknown fact is None, never a guess."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(enum.Enum):
    """What an item is. OTHER only appears in a destination: something there that cannot be replicated."""

    FILE = "file"
    LINK = "link"
    DIR = "dir"
    OTHER = "other"


class Item(NamedTuple):
    """One path of a tree.

    Attributes:
        path: safe relative path (see `paths.check`); an OTHER may carry surrogate escapes.
        kind: file, symbolic link, directory.
        size: bytes of a file; 0 for the rest.
        mtime_ns: modification time in ns since the epoch; None where the place keeps none.
        mode: permission bits, at most 0o777, of files of a slave 0o7777; None where the place keeps none.
        sha256: of the file's bytes, lower-case hex.
        md5: of the file's bytes, lower-case hex; only where it was needed to compare with an ETag.
        etag: of the S3 object, without quotes. On a local file: of the object it was last known equal to.
        version: S3 version id of the object.
        target: where a symbolic link points, verbatim.
        stored_ns: when S3 stored the object, by its own clock, in ns since the epoch.
        copy_of: ETag of the object that this one was copied from, where that is remembered.
        changed: in a folder that several people share, when it was changed last (UTC, ISO 8601) and by whom, with a
            space between, for people; see `changed_by`.
    """

    path: str
    kind: Kind = Kind.FILE
    size: int = 0
    mtime_ns: int | None = None
    mode: int | None = None
    sha256: str | None = None
    md5: str | None = None
    etag: str | None = None
    version: str | None = None
    target: str | None = None
    stored_ns: int | None = None
    copy_of: str | None = None
    changed: str | None = None


def is_md5(etag: str | None) -> bool:
    """Tell whether `etag` may be the MD5 of the object: 32 hex digits, no part count.

    It is one for single-part objects without KMS or customer keys (S3 API, "Object", ETag); with those it only looks
    like one, so a difference proves nothing while equality does.
    """
    return etag is not None and len(etag) == 32 and not etag.strip("0123456789abcdef")


def changed_by(item: Item) -> tuple[str, str]:
    """Who changed an item last, and when; empty where that is not known."""
    when, _, who = (item.changed or "").partition(" ")
    return who, when


def only_directories(*items: Item | None) -> bool:
    """Whether a change is about a directory alone; one that takes the place of a file or link, or makes way, is not.

    Args:
        items: what is there before and after; None for nothing.
    """
    return all(item is None or item.kind is Kind.DIR for item in items)
