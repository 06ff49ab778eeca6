"""Whether two items of one path are the same, and what one would have to find out to tell.

`difference` is the table, and the only one. First match decides:

    kinds differ                                   modified: kind
    links: targets differ                          modified: target
    files: sizes differ                            modified: size
    files: both SHA-256 known                      modified: content, when they differ
    files: ETags equal, or target a copy of it     same bytes
    files: an MD5 here, an MD5-like ETag there     modified: content, when they differ
    objects: both ETags are known to be MD5s       modified: etag, as they differ
    objects: source stored later                   modified: etag where both look like MD5, else newer
    objects: target stored later                   same bytes
    files: nothing to compare by                   modified: unknown (an unknown is never taken for the same)
    modes known on both sides and different        modified: mode
    files: times known on both sides and different modified: time

`Tree.is_same` and its siblings answer for many rows at once where the table would say "the same"; a test holds the
two against each other.
"""

from __future__ import annotations

import enum

from s32s.core.item import Item, Kind, is_md5


class Reason(enum.Enum):
    """Why an item is put."""

    NEW = "new"
    KIND = "kind"
    TARGET = "target"
    SIZE = "size"
    CONTENT = "content"
    ETAG = "etag"
    NEWER = "newer"
    UNKNOWN = "unknown"
    MODE = "mode"
    TIME = "time"


def difference(source: Item, target: Item) -> Reason | None:
    """Compare two items of one path by the table above; None means the same."""
    if source.kind is not target.kind:
        return Reason.KIND
    if source.kind is Kind.LINK:
        return Reason.TARGET if source.target != target.target else None
    if source.kind is Kind.FILE and (reason := _content(source, target)):
        return reason
    if source.mode is not None and target.mode is not None and source.mode != target.mode:
        return Reason.MODE
    if source.kind is Kind.FILE and None not in (source.mtime_ns, target.mtime_ns):
        return Reason.TIME if source.mtime_ns != target.mtime_ns else None
    return None


def _content(source: Item, target: Item) -> Reason | None:
    if source.size != target.size:
        return Reason.SIZE
    if source.sha256 and target.sha256:
        return Reason.CONTENT if source.sha256 != target.sha256 else None
    if source.etag and source.etag in (target.etag, target.copy_of):
        return None
    if source.stored_ns is None or target.stored_ns is None:
        for here, there in ((source, target), (target, source)):
            if here.md5 and is_md5(there.etag):
                return None if here.md5 == there.etag else Reason.CONTENT
        return Reason.UNKNOWN
    if source.md5 and target.md5:
        return None if source.md5 == target.md5 else Reason.ETAG
    if source.stored_ns < target.stored_ns:
        return None
    # Stored in the same second: the source may have been replaced after the copy was made.
    return Reason.ETAG if is_md5(source.etag) and is_md5(target.etag) else Reason.NEWER


def missing_hashes(item: Item, other: Item) -> tuple[bool, bool]:
    """Which hashes of a local file decide whether it equals `other`, of the same size: (SHA-256, MD5).

    None, where an ETag that we know to be this content's is the same. Of two files, neither of which was read, both
    need their SHA-256.
    """
    is_file = other.etag is None and other.stored_ns is None
    if other.sha256 or is_file:
        return item.sha256 is None, False
    if item.etag is not None and item.etag == other.etag:
        return False, False
    return False, item.md5 is None and is_md5(other.etag)


def is_object(item: Item, *, size: int, etag: str | None) -> bool:
    """Tell whether size and ETag agree; an ETag that is missing proves nothing (some servers leave it out)."""
    return size == item.size and (not etag or not item.etag or etag == item.etag)


def agrees(told: Item, listed: Item) -> bool:
    """Tell whether what a manifest says of a path and what a LIST shows there can be the same."""
    if told.kind is not listed.kind:
        return False
    return told.kind is not Kind.FILE or is_object(told, size=listed.size, etag=listed.etag)


def needs_md5(source: Item, target: Item) -> bool:
    """Tell whether two objects are told apart by whether their ETags are MD5s, which only a HEAD of each can say.

    An ETag of an object under KMS looks like one, too. Where the source was stored later it is copied either way.
    """
    return (
        source.kind is Kind.FILE
        and target.kind is Kind.FILE
        and source.size == target.size
        and source.etag not in (target.etag, target.copy_of)
        and is_md5(source.etag)
        and is_md5(target.etag)
        and not (source.sha256 and target.sha256)
        and source.stored_ns is not None
        and target.stored_ns is not None
        and source.stored_ns <= target.stored_ns
    )
