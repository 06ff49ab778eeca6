"""A local directory as the target of a pull.

It is opened before any network is touched: where it is, what is mounted, who else works on it. Then it is held: the way
to it opened by descriptors, its lock taken. How it is changed is in `staging.py`, `swap.py` and `in_place.py`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from s32s.core import cures, paths, tree
from s32s.core.errors import EntryFailed, Refused
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.core.unchanged import Unchanged
from s32s.stores.base import Look, Policy, Progress, Published, Snapshot, Transaction
from s32s.stores.local import hashing, in_place, outer, swap, walk
from s32s.stores.local.handle import ChangeRecord, Salvage, TargetHandle
from s32s.stores.local.holding import Holder, open_holder
from s32s.stores.local.memory import LocalMemory
from s32s.stores.local.stat_cache import MTIME, RACY_CTIME_NS, CachedHash, StatCache, is_past
from s32s.stores.local.walk import DirectoryListing, LocalSnapshot, Patch
from s32s.system import directories, mounts
from s32s.system.concurrency import for_each

if TYPE_CHECKING:
    from s32s.stores.local.keeper import Keeper


class LocalTarget:
    """The directory that a slave rebuilds, open for one run; `open_target` makes it.

    Args:
        root: absolute path; its parent must exist.
        holder: the directory that holds what belongs to it.
        in_place: change file by file instead of by exchange.
        load_cache: asked once for what is known of the files; nothing is known to read every file.
        save_cache: told what is known of them after a run.
        warn: told what people should know and stops nothing.
        memory: of a watch; None for a run that walks the directory.
        keeps: the generation of what is there now, which is kept as an earlier tree; None to keep nothing of it.
    """

    def __init__(
        self,
        root: str,
        holder: Holder,
        *,
        in_place: bool,
        load_cache: Callable[[], StatCache],
        save_cache: Callable[[StatCache], None],
        warn: Callable[[str], None],
        memory: LocalMemory | None = None,
        keeps: int | None = None,
    ) -> None:
        self.root = root
        self.salvage = Salvage()
        self._holder = holder
        self._parent = holder.parent
        self._name = holder.name
        self._in_place = in_place
        self._load_cache = load_cache
        self._save_cache = save_cache
        self._warn = warn
        self._record = ChangeRecord()
        self._hashed = False
        self._memory = memory
        self._keeps = keeps
        self._looked = False

    @functools.cached_property
    def _cache(self) -> StatCache:
        known = self._memory.cache if self._memory is not None else None
        return self._load_cache() if known is None else known

    def look(self) -> Look[LocalSnapshot]:
        """See `stores.base.Target`; an absent directory is an empty tree that is yet to be published."""
        fd = self._open_root()
        if fd is None:
            if self._memory is not None:
                self._memory.forget()
            return Look(lambda: None, lambda: LocalSnapshot(tree.make(()), is_published=False))
        try:
            patch = self._look_again(fd)
            if patch is not None:
                return Look(lambda: None, lambda: self._patched(patch), tree=patch.listing.tree)
            listing = walk_target(fd, self._name)
        finally:
            os.close(fd)
        return Look(listing.fingerprint, lambda: self._snapshot(listing), tree=listing.tree)

    def _look_again(self, fd: int) -> Patch | None:
        """What the directory holds, by what a watch knows of it; None where all of it must be walked."""
        if self._memory is None:
            return None
        if self._looked:  # an attempt before has met changes that nobody had told of
            self._memory.forget()
        self._looked = True
        return self._memory.look(lambda path, descends: walk_target(fd, self._name, only=path, descends=descends))

    def _patched(self, patch: Patch) -> LocalSnapshot:
        self._check_read(patch.come)
        return LocalSnapshot(walk.patched(patch, self._cache), listing=patch.listing, patch=patch)

    def _check_read(self, listing: DirectoryListing) -> None:
        for path, error in listing.errors.items():
            raise EntryFailed(f"{paths.quote(path)} in {self.root} cannot be read: {error.strerror}")

    def _snapshot(self, listing: DirectoryListing) -> LocalSnapshot:
        self._check_read(listing)
        columns, rows = walk.recall(listing, self._cache)
        return LocalSnapshot(Tree(columns), listing=listing, rows=rows)

    def refine(self, mine: LocalSnapshot, *, against: Snapshot, jobs: int, progress: Progress) -> LocalSnapshot:
        """Read the files that may be what the source holds; see `stores.base.Target`.

        A file that changes or cannot be read stays unknown, and an unknown file is replaced.
        """
        hashed: dict[int, Item] = {}
        fd = self._open_root()
        if fd is None:
            return mine

        def read(wanted: tuple[int, bool]) -> None:
            row, md5 = wanted
            with contextlib.suppress(OSError):
                if done := hashing.read_hashes(fd, mine.listing.found(row), md5=md5, progress=progress):
                    hashed[row] = done[0]

        try:
            for_each(hashing.to_hash(mine.tree, against.tree, strays=True), read, jobs=hashing.HASHERS)
        finally:
            os.close(fd)
        self._hashed = self._hashed or bool(hashed)
        return replace(mine, tree=mine.tree.replacing(hashed))

    def check(self, mine: LocalSnapshot, plan: Plan, wanted: Tree) -> None:
        """See `stores.base.Target`; what a directory cannot hold is refused at the source."""

    def check_changeable(self) -> None:
        """Find out before anything is fetched whether the target can be changed the way the entry says.

        Raises:
            Refused: a mount point, a bind mount, a file system without exchange, or somebody else's directory where
                earlier trees are kept; names what helps.
        """
        if (keeper := self._keeper(tree.make(()))) is not None:
            keeper.check()
        if self._in_place:
            return
        hint = cures.IN_PLACE
        real = f"{mounts.path_of(self._parent, hint=hint)}/{self._name}"
        if mounted := mounts.mounted_at_or_below(real):
            what = "is a mount point" if mounted == real else f"has a mount point in it, {mounted},"
            raise Refused(f"{paths.escape(self.root)} {what} and cannot be swapped", hint=hint)
        if bound := mounts.bound_elsewhere(real):
            raise Refused(
                f"{paths.escape(self.root)} is bind-mounted at {bound}, which would keep showing the old files",
                hint=hint,
            )
        swap.probe(self._parent, self._name, shown=self.root, hint=hint)

    @contextlib.contextmanager
    def transaction(self, mine: LocalSnapshot, plan: Plan, policy: Policy) -> Iterator[Transaction]:
        """See `stores.base.Target` and `staging.py`."""
        self._record = ChangeRecord()
        opened = TargetHandle(
            warn=self._warn,
            parent=self._parent,
            name=self._name,
            shown=self.root,
            found=mine.listing,
            salvage=self.salvage,
            walk=lambda fd, only: walk_target(fd, self._name, only=only),
            policy=policy,
            record=self._record,
            keeper=self._keeper(mine.tree),
        )
        change = in_place.change if self._in_place else swap.change
        with change(plan, opened) as transaction:
            yield transaction
        if told := self._record.told:
            self._warn(
                f"{len(told):,} {'name' if len(told) == 1 else 'names'} in {paths.escape(self.root)} changed during "
                f"the run and stayed as they are: {paths.some(told)}; the next run looks at them again"
            )

    def _keeper(self, held: Tree) -> Keeper | None:
        if self._keeps is None:
            return None
        from s32s.stores.local.keeper import Keeper  # few targets keep earlier trees

        return Keeper(held, self._keeps, self._holder)

    def remember(self, mine: LocalSnapshot, plan: Plan, published: Published | None) -> None:
        """Save what is known of the files, when there is something new to save."""
        cache, saved = self._cache, True
        recalled = len(mine.rows) - mine.rows.count(-1)
        if published is not None:
            # An edit within one tick of our last link or unlink would get the same change time.
            time.sleep(RACY_CTIME_NS / 1e9)
        unit = self._record.unit
        if mine.patch is not None and (published is None or unit):
            saved = self._memory is not None and not self._memory.unsaved
            if published is not None or self._hashed:
                names = mine.patch.come.paths if self._hashed else []
                cache, saved = self._cache_of_part(mine.listing, plan, unit, names), False
        elif published is not None or self._hashed or len(cache) != recalled:
            cache = self._seen(mine.listing, plan, plan.unchanged)
            if plan.spared:
                cache = self._cache.among(item.path for item in plan.spared).patched((), cache)
            self._save_cache(cache)
        if self._memory is not None:
            self._memory.keep(mine.listing, mine.tree, cache, saved=saved)
            if published is not None:
                self._memory.mark(unit)

    def _cache_of_part(self, before: DirectoryListing, plan: Plan, unit: str, names: Sequence[str]) -> StatCache:
        """What to remember of the files where only some were read, and only a part of the target was touched."""
        new = self._seen(before, plan, plan.unchanged.among(names, within=unit))
        rows = {row for name in (*names, *new.paths, unit) if (row := self._cache.find(name)) is not None}
        rows.update(self._cache.below(unit) if unit else ())
        return self._cache.patched(sorted(rows), new)

    def _seen(self, before: DirectoryListing, plan: Plan, unchanged: Unchanged) -> StatCache:
        """What to remember of the files that stay and come, after `plan` was carried out (or was empty).

        The stamps are those that we have seen or left ourselves, and no later ones: a file that somebody has changed
        since shows another one, if only its change time has moved, and the next run reads it.
        """
        cache, brought, kept = StatCache(), {put.item.path: put.item for put in plan.puts}, unchanged.contents()
        meant = self._cache.meant()
        written, now_ns = self._record.written, time.time_ns()
        unit, part = self._record.unit, self._record.kept
        whole = part if part is not None and not unit else before
        names = sorted([*kept, *brought])
        for path, was, at in zip(names, before.rows(names), whole.rows(names), strict=True):
            left = whole
            if unit and part is not None and paths.is_within(path, unit):
                row = part.find(path)
                left, at = part, -1 if row is None else row
            if path in brought:
                item = brought[path]
                if path in written:
                    meant_ns = item.mtime_ns if item.mtime_ns != written[path][MTIME] else None
                    cache.add(path, CachedHash(written[path], now_ns, item.sha256, item.md5, item.etag, meant_ns))
                continue
            if path in written:  # a copy that we have made
                stamp = array("q", written[path])
            elif at >= 0 and left.ctime_ns(at) >= 0:
                stamp = left.stamp(at)
            else:
                continue
            if was < 0:
                continue
            # One that may have changed within the tick of the walk keeps its place here, for the count of drift, and is
            # never believed.
            is_sure = is_past(before.mtime_ns(was), before.ctime_ns(was), before.began_ns)
            seen_ns = now_ns if is_sure else 0
            content, known = kept[path], meant.get(path)
            if known is not None and known.stamp[MTIME] == stamp[MTIME]:
                if isinstance(content, bytes):
                    content = content[:32].hex(), None, content[32:].hex() or None
                cache.add(path, CachedHash(tuple(stamp), seen_ns, *content, known.meant_ns))
            elif isinstance(content, bytes):
                cache.add_known(path, stamp, seen_ns, content)
            else:
                cache.add(path, CachedHash(tuple(stamp), seen_ns, *content))
        return cache

    def _open_root(self) -> int | None:
        if self._in_place:
            return os.dup(self._parent)
        try:
            return directories.open_below(self._parent, self._name)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(f"{paths.escape(self.root)} is not a directory any more") from exc
            raise EntryFailed(f"{paths.escape(self.root)} cannot be read: {exc.strerror}") from exc


@contextlib.contextmanager
def open_target(
    root: str,
    *,
    writable: bool,
    in_place: bool,
    load_cache: Callable[[], StatCache],
    save_cache: Callable[[StatCache], None],
    warn: Callable[[str], None],
    memory: LocalMemory | None = None,
    keeps: int | None = None,
) -> Iterator[LocalTarget]:
    """Hold a target: check the way to it, take its lock, remove what a killed run has left.

    With `writable=False` it is only opened: nothing is locked, removed or written.

    Args:
        root, in_place, load_cache, save_cache, warn, memory, keeps: see `LocalTarget`.

    Raises:
        Refused: a link on the way, an unsafe parent, a target that cannot be changed this way.
        Locked: another run works on it.
    """
    # What is not there yet is made in one step either way.
    in_place = in_place and os.path.isdir(root)
    with open_holder(root, in_place=in_place, writable=writable) as holder:
        target = LocalTarget(
            root,
            holder,
            in_place=in_place,
            load_cache=load_cache,
            save_cache=save_cache,
            warn=warn,
            memory=memory,
            keeps=keeps,
        )
        if not writable:
            yield target
            return
        outer.tidy(holder.parent, holder.name, where=holder.where, warn=warn)
        try:
            yield target
        finally:
            target.salvage.drop()


def walk_target(fd: int, name: str, *, only: str = "", descends: bool = True) -> DirectoryListing:
    """All names of a target but our own; of its files every permission bit counts.

    Args:
        name: last component of the target.
        only, descends: see `walk.walk`.
    """
    ours = outer.ours(name)
    listing = walk.walk(
        fd,
        prunes=lambda path: path.startswith(ours),
        ignores=lambda path, _: path.startswith(ours),
        only=only,
        descends=descends,
    )
    listing.file_bits = 0o7777
    return listing
