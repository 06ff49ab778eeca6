"""What a listing of a prefix shows, as a tree, and where it disagrees with a manifest."""

from __future__ import annotations

from collections.abc import Iterable

from s32s.backends.base import ListedObject
from s32s.core import compare, paths, tree
from s32s.core.columns import Columns
from s32s.core.errors import BadPath, StoreError
from s32s.core.item import Item, Kind, is_md5
from s32s.core.tree import Tree


def differences(known: Tree, listed: Tree) -> list[str]:
    """Paths at which a manifest and a LIST disagree; the marker of a directory that both name is not a difference.

    Some servers list no ETags at all, which proves nothing. Where others have one, an object without it is one that the
    server has lost sight of: `rclone serve s3` answers every GET of it with 500, until it is stored again.
    """
    different, without = [], []
    has_etags = False
    for at, to, count in tree.join(known.paths, listed.paths):
        if to is None:
            if at is not None and known.kind(at) is Kind.FILE:
                different.append(known.path(at))
        elif at is None:
            different.append(listed.path(to))
        elif known.is_same_object(at, listed, to, count):
            has_etags = True
        else:
            for here, there in zip(range(at, at + count), range(to, to + count), strict=True):
                told, found = known[here], listed[there]
                has_etags = has_etags or bool(found.etag)
                if not compare.agrees(told, found):
                    different.append(found.path)
                elif told.kind is Kind.FILE and told.etag and not found.etag:
                    without.append(found.path)
    return different + without if has_etags else different


def listed_tree(objects: Iterable[ListedObject], place: str, *, room: int, on_disk: bool = True) -> Tree:
    """The tree that a listing of a prefix shows, without what belongs to s32s itself.

    Args:
        place: of the prefix, for people.
        room, on_disk: see `paths.problem`.

    Raises:
        BadPath: a key is not a safe relative path; every such key is named.
        StoreError: the listing names a key twice.
    """
    bad: dict[str, str] = {}

    columns = Columns()
    for key, size, etag, stored_ns in objects:
        if not key or (key.startswith(paths.RESERVED) and paths.is_reserved(key)):
            continue
        is_marker = key.endswith("/")
        path = key.removesuffix("/")
        reason = paths.problem(path, room=room, on_disk=on_disk)
        if is_marker and size:
            reason = reason or "it ends in a slash and has content"
        if reason:
            bad[key] = reason
        if is_marker:
            columns.add(Item(path, Kind.DIR, etag=etag))
        elif etag and is_md5(etag):
            columns.append(path, size, etag=bytes.fromhex(etag), stored_ns=stored_ns)
        else:
            columns.add(Item(path, Kind.FILE, size=size, etag=etag, stored_ns=stored_ns))
    listed = Tree(columns)
    if bad:
        raise BadPath(
            f"{len(bad):,} of the keys below {place} are not safe relative paths:{paths.listed(bad)}",
            hint="rename or delete these objects",
            reasons=bad,
        )
    return _without_doubles(listed, place)


def _without_doubles(listed: Tree, place: str) -> Tree:
    """Let an object of a directory marker's name go before the marker.

    Raises:
        StoreError: the same key is listed twice.
    """
    doubles = [row for row in range(1, len(listed)) if listed.path(row - 1) == listed.path(row)]
    if not doubles:
        return listed
    for row in doubles:
        if listed.kind(row - 1) is listed.kind(row):
            name = paths.quote(listed.path(row))
            raise StoreError(f"the listing of {place} names {name} twice", hint="check the endpoint")
    markers = {listed.path(row) for row in doubles}
    return tree.make(item for item in listed if item.kind is not Kind.DIR or item.path not in markers)
