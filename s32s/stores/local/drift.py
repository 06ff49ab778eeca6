"""How much of a directory differs from what the last run has left, by stat(2) alone: for `status`."""

from __future__ import annotations

import os
from collections.abc import Callable

from s32s.core import guards
from s32s.core import plan as planner
from s32s.core.columns import Columns
from s32s.core.errors import Interrupted, S32sError
from s32s.core.item import Kind
from s32s.core.rules import Links, Rules, Verdict
from s32s.core.tree import Tree
from s32s.stores.local.source import walk_source
from s32s.stores.local.stat_cache import CTIME, CachedHash, StatCache
from s32s.stores.local.target import walk_target
from s32s.stores.local.walk import DirectoryListing
from s32s.system import directories


def of_source(root: str, cache: StatCache, pushed: Tree | None, rules: Rules, *, began_s: float = 0.0) -> int | None:
    """How many names of a master's directory differ from what the last push has read; None when nothing is known.

    Args:
        pushed: what it has published; None where that is not at hand.
        began_s: when the last run began, seconds since the epoch. A watch saves its cache at its end, so a file that
            the cache does not know is as it was left where it has not changed since.
    """
    if not len(cache):
        return None
    listing = _listed(root, lambda fd: walk_source(fd, rules, root=root))
    if listing is None:
        return len(cache)
    if pushed is None:
        return _files_drifted(listing, cache, lambda path: rules.verdict(path) is Verdict.ACCEPTED)
    found = _unread(listing, cache, pushed, began_s)
    if rules.links is Links.SKIP:
        found = found.patched(guards.leaving(listing.targets), ())
    plan = planner.make(found, pushed, rules=rules, spare_ignored=True)
    return len(plan.puts) + len(plan.extras)


def of_target(root: str, cache: StatCache, followed: Tree | None, rules: Rules, *, ended_s: float = 0.0) -> int | None:
    """How many names of a slave's directory differ from what the last run left; None when nothing is known.

    Args:
        followed: the source's tree in the last run; None where that is not at hand.
        rules: which of its names take part.
        ended_s: when the last run ended, which has written the files; see `of_source`.
    """
    if not len(cache):
        return None
    listing = _listed(root, lambda fd: walk_target(fd, root.rpartition("/")[2]))
    if listing is None:
        return len(cache)
    if followed is None:
        return _files_drifted(listing, cache)
    plan = planner.make(followed, _unread(listing, cache, followed, ended_s), rules=rules)
    return len(plan.puts) + len(plan.extras)


def _listed(root: str, walk: Callable[[int], DirectoryListing]) -> DirectoryListing | None:
    """What a directory holds; None where it cannot be read, so that all of it has drifted."""
    try:
        fd = directories.open_dir(root)
        try:
            return walk(fd)
        finally:
            os.close(fd)
    except Interrupted:
        raise
    except (OSError, S32sError):
        return None


def _files_drifted(
    listing: DirectoryListing, cache: StatCache, takes: Callable[[str], bool] = lambda path: True
) -> int:
    """How many files differ, by stat(2) alone, from what the cache knows; only those that `takes` allows count."""
    known = {path: seen for path, seen in cache.items() if takes(path)}
    drifted = 0
    for row, path in enumerate(listing.paths):
        if listing.is_file(row) and takes(path):
            seen = known.pop(path, None)
            drifted += seen is None or not _is_untouched(listing.found(row).stamp, seen)
    return drifted + len(known)


def _unread(listing: DirectoryListing, cache: StatCache, left: Tree, since_s: float) -> Tree:
    """The items that were found; a file that looks untouched is taken to hold what the cache says, or `left`."""
    columns = Columns()
    for row, at in enumerate(cache.rows(listing.paths)):
        found = listing.found(row)
        item = found.item
        if at >= 0 and item.kind is Kind.FILE and _is_untouched(found.stamp, seen := cache.seen(at)):
            mtime_ns = item.mtime_ns if seen.meant_ns is None else seen.meant_ns
            item = item._replace(sha256=seen.sha256, md5=seen.md5, etag=seen.etag, mtime_ns=mtime_ns)
        elif item.kind is Kind.FILE and found.stamp[CTIME] < since_s * 1e9:
            known = left.get(item.path) or item
            if (known.kind, known.size, known.mtime_ns) == (item.kind, item.size, item.mtime_ns):
                item = item._replace(sha256=known.sha256, md5=known.md5, etag=known.etag)
        columns.add(item)
    return Tree(columns)


def _is_untouched(stamp: tuple[int, ...], seen: CachedHash) -> bool:
    # Size, time and inode: the change time also moves when a link to the file comes or goes.
    return seen.stamp[:CTIME] == stamp[:CTIME]
