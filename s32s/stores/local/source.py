"""A local directory as the source of a push.

It must be readable whole: what cannot be replicated is an error with its name, never a gap. Files that the destination
could already hold are hashed at the listing; the others are read for their upload anyway, and hashed then.
"""

from __future__ import annotations

import contextlib
import functools
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from s32s.core import guards, paths, tree
from s32s.core.errors import Refused, SourceChanged, Unreadable
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan, Rejection
from s32s.core.rules import Links, Rules, Verdict
from s32s.core.tree import Tree
from s32s.stores.base import Look, Progress, Published, Reading, Snapshot, StoreCapabilities
from s32s.stores.local import hashing, walk
from s32s.stores.local.bodies import LEAVES, TIMELESS, FileBody, unreadable
from s32s.stores.local.follow import followed
from s32s.stores.local.memory import LocalMemory
from s32s.stores.local.stat_cache import CachedHash, StatCache, is_recordable
from s32s.stores.local.walk import DirectoryListing, LocalSnapshot, Patch
from s32s.system import directories, openat
from s32s.system.concurrency import for_each

#: Threads that read files at the most, each for a target that takes one at a time.
_THREADS = 64
_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class LocalSource:
    """The directory with the originals, open for one attempt; `open_source` makes it.

    Args:
        root: absolute path of the directory.
        fd: descriptor of it.
        rules: what takes part; the rest is not even looked at.
        fits: what the place can hold that the items go to.
        load_cache: asked once for what is known of the files; nothing is known to read every file.
        save_cache: told what is known of them after a run.
        memory: of a watch; None for a run that walks the directory.
        is_shared: leave out what cannot be replicated, and find out which files were moved.

    Attributes:
        frozen: what was left out, and why; all that is below was left out, too.
    """

    def __init__(
        self,
        root: str,
        fd: int,
        *,
        rules: Rules,
        fits: StoreCapabilities,
        load_cache: Callable[[], StatCache],
        save_cache: Callable[[StatCache], None],
        memory: LocalMemory | None = None,
        is_shared: bool = False,
    ) -> None:
        self.frozen: dict[str, str] = {}
        self._is_shared = is_shared
        self.root = root
        self.fd = fd
        self._rules = rules
        self._fits = fits
        self._load_cache = load_cache
        self._save_cache = save_cache
        self._memory = memory
        self._seen: dict[str, CachedHash] = {}  # of files that were read
        self._guard = threading.Lock()
        self._led: Mapping[str, str] = {}

    @functools.cached_property
    def _cache(self) -> StatCache:
        known = self._memory.cache if self._memory is not None else None
        return self._load_cache() if known is None else known

    def look(self) -> Look[LocalSnapshot]:
        """See `stores.base.Source`."""
        patch = self._memory.look(self._look_at) if self._memory is not None else None
        if patch is None:
            listing = walk_source(self.fd, self._rules, root=self.root)
            self._led = listing.led
            return Look(listing.fingerprint, lambda: self._snapshot(listing))
        return Look(lambda: None, lambda: self._patched(patch))

    def _look_at(self, path: str, descends: bool) -> DirectoryListing:
        if any(self._rules.prunes(above) for above in paths.ancestors(path)):
            return DirectoryListing()
        return walk_source(self.fd, self._rules, only=path, descends=descends)

    def _patched(self, patch: Patch) -> LocalSnapshot:
        """What the directory holds, of which most was seen in an earlier run.

        Raises:
            Unreadable: see `_snapshot`.
        """
        if not (self._fits.links and self._fits.directories):
            return self._snapshot(patch.listing)
        self._check(patch.come)
        return self._without_leaving(
            LocalSnapshot(walk.patched(patch, self._cache), listing=patch.listing, patch=patch)
        )

    def _snapshot(self, listing: DirectoryListing) -> LocalSnapshot:
        """What the directory holds.

        Raises:
            Unreadable: with every name that cannot be replicated, and why.
        """
        self._check(listing)
        columns, rows = walk.recall(listing, self._cache)
        found = LocalSnapshot(self._fitting(self._thawed(Tree(columns))), listing=listing, rows=rows)
        return self._without_leaving(found)

    def _thawed(self, found: Tree) -> Tree:
        """Only what can be replicated."""
        gone = [item.path for path in self.frozen for item in found.within(path)]
        return found.patched(gone, ()) if gone else found

    def _without_leaving(self, found: LocalSnapshot) -> LocalSnapshot:
        """Leave links behind that point out of the tree, where the rules say so."""
        if self._rules.links is not Links.SKIP or not (left := guards.leaving(found.listing.targets)):
            return found
        why = f"it {LEAVES}"
        rejected = tuple(Rejection(path, why) for path in sorted(left))
        return replace(found, tree=found.tree.patched(left, ()), rejected=rejected)

    def _check(self, listing: DirectoryListing) -> None:
        problems = {path: why for row, path in enumerate(listing.paths) if (why := self._problem(listing, row, path))}
        if problems and not self._is_shared:
            raise unreadable(self.root, problems)
        self.frozen |= problems

    def refine(self, mine: LocalSnapshot, *, against: Snapshot, jobs: int, progress: Progress) -> LocalSnapshot:
        """Hash the files that the target could already hold; the others are read for their upload anyway.

        Raises:
            Unreadable: names what could not be read.
            SourceChanged: a file keeps changing.
        """
        hashed: dict[int, Item] = {}
        problems: dict[str, str] = {}

        def read(wanted: tuple[int, bool]) -> None:
            row, md5 = wanted
            found = mine.listing.get(mine.tree.path(row))
            if found is None:
                raise AssertionError("a tree of another listing")
            try:
                done = hashing.read_hashes(self.fd, found, md5=md5, progress=progress, led=self._led)
            except OSError as exc:
                problems[found.item.path] = f"it cannot be read: {exc.strerror}"
                return
            if done is None:
                if self._is_shared:
                    problems[found.item.path] = "somebody writes to it just now"
                    return
                raise SourceChanged(f"{paths.quote(found.item.path)} changed while it was read")
            hashed[row], self._seen[found.item.path] = done

        for_each(hashing.to_hash(mine.tree, against.tree, strays=self._is_shared), read, jobs=hashing.HASHERS)
        if problems and not self._is_shared:
            raise unreadable(self.root, problems)
        self.frozen |= problems
        return replace(mine, tree=self._thawed(mine.tree.replacing(hashed)))

    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """Files, read when their bytes are asked for."""
        return Reading((FileBody(self, item) for item in items), min(jobs, _THREADS))

    def confirm(self, mine: LocalSnapshot) -> None:
        """See `stores.base.Source`; each file was checked while it was read."""

    def remember(self, mine: LocalSnapshot, plan: Plan, published: Published | None) -> None:
        """Save the hashes of the files, and the ETags that their objects have now, if there is anything new."""
        cache = self._cache
        if mine.patch is not None:
            cache = self._cache_of_patch(mine, mine.patch, plan, published)
        elif published is not None or self._seen:
            cache = self._cache_of_all(mine, published.etags if published is not None else plan.unchanged.etags())
            if self._rules.below:
                cache = self._cache.patched(self._cache.within(self._rules.below), cache)
            self._save_cache(cache)
        if self._memory is not None:
            saved = mine.patch is None or (cache is self._memory.cache and not self._memory.unsaved)
            self._memory.keep(mine.listing, self._tree_as_read(mine, plan, cache), cache, saved=saved)

    def remember_hashes(self, mine: LocalSnapshot, placed: Mapping[str, CachedHash]) -> None:
        """Save the hashes of the files that were read, and those of files that have come since.

        Args:
            placed: what has come, by path.
        """
        if not (self._seen or placed):
            return
        cache = self._cache_of_all(mine, {})
        rows = sorted(row for path in placed if (row := cache.find(path)) is not None)
        self._save_cache(cache.patched(rows, StatCache(placed.items())))

    def _cache_of_all(self, mine: LocalSnapshot, etags: Mapping[str, str | None]) -> StatCache:
        if not etags:
            return self._cache_of_rest(mine)
        cache, listing = StatCache(), mine.listing
        for row, (path, at) in enumerate(zip(listing.paths, mine.rows, strict=True)):
            known = self._seen.get(path)
            etag = etags.get(path)
            if known is None and at >= 0:
                hashes = self._cache.hashes(at)
                if hashes is not None and (etag is None or hashes[32:].hex() == etag):
                    cache.add_known(path, listing.stamp(row), self._cache.seen_ns(at), hashes)
                    continue
                known = self._cache.seen(at)
            if known is not None:
                cache.add(path, known._replace(etag=etag or known.etag))
        return cache

    def _cache_of_rest(self, mine: LocalSnapshot) -> StatCache:
        """What was known and still holds, with what was read: the same, where objects have no ETags of their own."""
        seen = StatCache((path, known) for path, known in self._seen.items() if mine.listing.find(path) is not None)
        holds = bytearray(len(self._cache))
        for at in mine.rows:
            if at >= 0:
                holds[at] = 1
        for at in self._cache.rows(seen.paths):
            if at >= 0:
                holds[at] = 0
        gone = [at for at, is_held in enumerate(holds) if not is_held]
        return self._cache.patched(gone, seen) if len(gone) < len(holds) else seen

    def _cache_of_patch(self, mine: LocalSnapshot, patch: Patch, plan: Plan, published: Published | None) -> StatCache:
        """What is known of the files, where only some were looked at."""
        etags = published.etags if published is not None else {}
        names = {*patch.come.paths, *self._seen}
        new = StatCache()
        for path in sorted(names):
            known, row = self._seen.get(path), self._cache.find(path)
            if known is None and row is not None:
                known = self._cache.seen(row)
            if known is not None and mine.listing.find(path) is not None:
                etag = etags.get(path) if path in self._seen else None
                new.add(path, known._replace(etag=etag or known.etag))
        rows = (self._cache.find(path) for path in {*names, *patch.gone})
        return self._cache.patched(sorted(row for row in rows if row is not None), new)

    def _tree_as_read(self, mine: LocalSnapshot, plan: Plan, cache: StatCache) -> Tree:
        """The items, with what was learned while they were read for the target."""
        known: list[Item] = []
        for put in plan.puts:
            row, seen = mine.listing.find(put.item.path), self._seen.get(put.item.path)
            if row is not None and seen is not None and seen.stamp == tuple(mine.listing.stamp(row)):
                at = cache.find(put.item.path)
                etag = cache.seen(at).etag if at is not None else None
                known.append(put.item._replace(sha256=seen.sha256, md5=seen.md5, etag=etag))
        return mine.tree.patched((), known) if known else mine.tree

    def _problem(self, listing: DirectoryListing, row: int, path: str) -> str | None:
        if error := listing.errors.get(path):
            return f"it cannot be read: {error.strerror}"
        if why := paths.problem(path, room=self._fits.max_path_bytes):
            return why
        if paths.is_reserved(path):
            return "the name belongs to s32s itself"
        if listing.is_file(row):
            return None if is_recordable(listing.mtime_ns(row)) else TIMELESS
        item = listing.found(row).item
        if item.kind is Kind.OTHER:
            status = openat.stat(item.path, dir_fd=self.fd, follow_symlinks=False)
            return f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}"
        if item.kind is Kind.LINK:
            try:
                (item.target or "").encode()
            except UnicodeEncodeError:
                return "its target is not valid UTF-8"
            if self._rules.links is Links.REFUSE and guards.leaves(item):
                return f"it {LEAVES}, to {paths.quote(item.target or '')}"
        return None

    def _fitting(self, found: Tree) -> Tree:
        """Leave out directories that the target has anyway.

        Raises:
            Unreadable: there are symbolic links, and the target keeps none.
        """
        accepted = self._rules.verdict
        links = [
            item.path
            for item in (() if self._fits.links else found.of_kind(Kind.LINK))
            if accepted(item.path) is Verdict.ACCEPTED
        ]
        if links:
            raise Unreadable(
                f"symbolic links cannot be replicated without a manifest: {paths.some(links)}",
                hint='take "manifest": false out of the entry (or --no-manifest away between two places), '
                "or leave them out with a rule of ignore",
                paths=tuple(links),
            )
        if self._fits.directories:
            return found
        holding = {above for path in found.paths for above in paths.ancestors(path)}
        return tree.make(item for item in found if item.kind is not Kind.DIR or item.path not in holding)

    def open_file(self, path: str) -> int:
        """Open a file of the listing for reading.

        Raises:
            OSError: it is gone, or not readable.
        """
        return walk.open_file(self.fd, path, self._led)

    def note(self, path: str, seen: CachedHash) -> None:
        """Note what a file has held when it was read for its upload. Thread-safe."""
        with self._guard:
            self._seen[path] = seen


@contextlib.contextmanager
def open_source(
    root: str,
    *,
    rules: Rules,
    fits: StoreCapabilities,
    load_cache: Callable[[], StatCache],
    save_cache: Callable[[StatCache], None],
    memory: LocalMemory | None = None,
    is_shared: bool = False,
) -> Iterator[LocalSource]:
    """Open a directory for reading.

    Args:
        root, rules, fits, load_cache, save_cache, memory, is_shared: see `LocalSource`.

    Raises:
        Refused: it is not there, or cannot be read.
    """
    try:
        fd = directories.open_dir(root)
    except FileNotFoundError as exc:
        raise Refused(
            f"the source directory {paths.escape(root)} does not exist",
            hint="check the path, or whether its disk is mounted",
        ) from exc
    except OSError as exc:
        raise Refused(f"the source directory {paths.escape(root)} cannot be read: {exc.strerror}") from exc
    try:
        yield LocalSource(
            root,
            fd,
            rules=rules,
            fits=fits,
            load_cache=load_cache,
            save_cache=save_cache,
            memory=memory,
            is_shared=is_shared,
        )
    finally:
        openat.close(fd)


def walk_source(fd: int, rules: Rules, *, root: str = "", only: str = "", descends: bool = True) -> DirectoryListing:
    """All names of a source that its rules do not ignore.

    Args:
        root: absolute path of it, for rules by which links are followed.
        only, descends: see `walk.walk`.
    """
    takes_all = rules.takes_all

    def ignores(path: str, is_dir: bool) -> bool:
        return not takes_all and rules.verdict(path, is_dir=is_dir) is Verdict.IGNORED

    found = walk.walk(fd, prunes=rules.prunes, ignores=ignores, only=only, descends=descends)
    return followed(root, found, rules) if rules.links is Links.FOLLOW else found
