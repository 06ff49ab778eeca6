"""A local directory as the target of a pull.

It is checked before any network is touched: where it lies, what is mounted, who else works on it. Then it is held: the
way to it opened by descriptors, its lock taken. How it is changed stands in `staging.py`, `swap.py` and `in_place.py`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from s32s.core import guards, paths, tree
from s32s.core import plan as planner
from s32s.core.errors import EntryFailed, Interrupted, Refused, S32sError
from s32s.core.plan import Plan
from s32s.core.rules import Rules
from s32s.core.tree import Columns, Item, Tree
from s32s.stores.base import Change, Progress
from s32s.stores.local import in_place, outer, staging, swap, walk
from s32s.stores.local.meanwhile import Policy
from s32s.stores.local.stat_cache import RACY_CTIME_NS, CachedHash, StatCache, is_past
from s32s.stores.local.walk import DirectoryListing
from s32s.system import disk, mounts
from s32s.system.concurrency import for_each


@dataclass(frozen=True, slots=True)
class TargetRules:
    """Where a slave may write, and what it must never replace.

    Attributes:
        allow: a target lies strictly below one of these.
        kept: directories that no target may be, hold or lie in: state and cache.
        homes: home directories, which no target may be or hold.
        others: targets of the other entries, none of which may nest with this one.
        allow_system: whether a target may lie in a directory of the system.
    """

    allow: Sequence[str]
    kept: Sequence[str] = ()
    homes: frozenset[str] = frozenset()
    others: Mapping[str, str] | None = None
    allow_system: bool = False


def check_target(root: str, rules: TargetRules) -> None:
    """Refuse a target by its path alone; nothing is opened.

    Raises:
        Refused: with the rule that it breaks.
    """
    shown = paths.escape(root)
    if problem := guards.target_problem(root, allow_system=rules.allow_system):
        raise Refused(f"{shown} {problem}")
    for home in sorted(rules.homes):
        if paths.is_within(home, root):
            raise Refused(f"{shown} is or holds the home directory {home} and is never replaced")
    for kept in rules.kept:
        if paths.overlaps(root, kept):
            raise Refused(f"{shown} and {kept}, where s32s keeps its state, overlap")
    for name, other in (rules.others or {}).items():
        if paths.overlaps(root, other):
            raise Refused(
                f"{shown} and the target of entry {paths.quote(name)}, {paths.escape(other)}, overlap",
                hint="give every entry a directory of its own",
            )
    if not any(paths.is_below(root, allowed) for allowed in rules.allow):
        listed = ", ".join(rules.allow) or "nothing"
        raise Refused(
            f"{shown} does not lie below a directory that this machine allows ({listed})",
            hint='add its parent directory to "allow" in the configuration if the map is right',
        )


class LocalTarget:
    """The directory that a slave rebuilds.

    Args:
        root: absolute path; its parent must exist.
        in_place: change file by file instead of by exchange.
        index: asked once for what is known of the files; nothing is known to read every file.
        warn: told what people should know and stops nothing.
    """

    def __init__(
        self,
        root: str,
        *,
        in_place: bool,
        index: Callable[[], StatCache],
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.root = root
        self._warn = warn
        self._in_place = in_place
        self._read_index = index
        self._walked: DirectoryListing | None = None  # of which no tree was made yet
        self._found = DirectoryListing()  # of which the last tree was made
        self._exists = False
        self._recalled = 0  # rows of the index that held for it
        self._salvage: staging.Salvage = staging.Salvage()
        self._outcome = staging.Outcome()
        self._hashed = False
        self._parent = -1
        self._name = root.rpartition("/")[2]
        self._ours = outer.ours(self._name)

    @contextlib.contextmanager
    def held(self, *, changing: bool) -> Iterator[LocalTarget]:
        """Hold the target: check the way to it, take its lock, remove what a killed run has left.

        With `changing=False` it is only opened: nothing is locked, removed or written.

        The lock and the staging directory are siblings of the target, so that every configuration, user and container
        that reaches the target agrees on them. In place they lie in the target itself, whose parent may be out of
        reach; where it is not, its lock is taken too, which is the one of a run that swaps. No run waits for a lock, so
        their order does not matter.

        Raises:
            Refused: a link on the way, an unsafe parent, a target that cannot be changed this way.
            Locked: another run works on it.
        """
        # What is not there yet is made in one step either way.
        self._in_place = self._in_place and os.path.isdir(self.root)
        base_path = self.root if self._in_place else self.root.rpartition("/")[0] or "/"
        self._parent = self._open_base(base_path)
        try:
            self._check_kind()
            if not changing:
                yield self
                return
            with contextlib.ExitStack() as held:
                if self._in_place:
                    self._lock_beside(held)
                try:
                    self._lock(self._parent, held)
                except OSError as exc:
                    raise Refused(
                        f"{paths.escape(base_path)} cannot be written: {exc.strerror}",
                        hint="the user that runs s32s must be able to write there",
                    ) from exc
                outer.tidy(self._parent, self._name, where=base_path, warn=self._warn)
                try:
                    yield self
                finally:
                    self._salvage.drop()
        finally:
            os.close(self._parent)

    def _lock(self, parent: int, held: contextlib.ExitStack) -> None:
        held.enter_context(disk.lock(parent, outer.lock_name(self._name), what=self.root, holder=disk.holder()))

    def _lock_beside(self, held: contextlib.ExitStack) -> None:
        """Take the lock in the parent of a target that is changed in place, where that can be written."""
        try:
            parent = disk.open_dir(self.root.rpartition("/")[0] or "/")
        except OSError:
            return
        held.callback(os.close, parent)
        try:
            self._lock(parent, held)
        except OSError as exc:
            if exc.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise

    def tree(self, beside: Tree | None = None, *, progress: Progress) -> Tree:
        """List the target; an absent one is an empty tree. Files are hashed where `beside` may hold them equal.

        Raises:
            EntryFailed: part of it cannot be read.
        """
        self._outcome = staging.Outcome()
        fd = self._open_root()
        self._exists = fd is not None
        if fd is None:
            self._found, self._walked = DirectoryListing(), None
            return tree.make(())
        try:
            walked = self._walked or self._walk(fd)
            for path, error in walked.errors.items():
                raise EntryFailed(f"{paths.quote(path)} in {self.root} cannot be read: {error.strerror}")
            columns, rows = walk.recall(walked, self._index)
            self._recalled = len(rows) - rows.count(-1)
            self._found, self._walked = walked, None
            if beside is not None:
                self._hash(fd, walked, columns, beside, progress)
        finally:
            os.close(fd)
        return columns.tree()

    def check_changeable(self) -> None:
        """Find out before anything is fetched whether the target can be changed the way the entry says.

        Raises:
            Refused: a mount point, a bind mount, or a file system without exchange; names the option.
        """
        if self._in_place:
            return
        real = self._real_path()
        way_out = 'set "apply": "in-place" in the map'
        if mounted := mounts.mounted_at_or_below(real):
            what = "is a mount point" if mounted == real else f"has a mount point in it, {mounted},"
            raise Refused(f"{paths.escape(self.root)} {what} and cannot be swapped", hint=way_out)
        if bound := mounts.bound_elsewhere(real):
            raise Refused(
                f"{paths.escape(self.root)} is bind-mounted at {bound}, which would keep showing the old files",
                hint=way_out,
            )
        swap.probe(self._parent, self._name, shown=self.root, way_out=way_out)

    def change(self, plan: Plan, policy: Policy) -> contextlib.AbstractContextManager[Change]:
        """Open the change that carries out `plan`; see `staging.py`."""
        opened = staging.TargetHandle(
            warn=self._warn,
            parent=self._parent,
            name=self._name,
            shown=self.root,
            found=self._found,
            salvage=self._salvage,
            walk=self._walk,
            policy=policy,
            outcome=self._outcome,
        )
        return in_place.change(plan, opened) if self._in_place else swap.change(plan, opened)

    @property
    def told(self) -> list[str]:
        """What moved in the target while the last change went on, and is left to the next run."""
        return self._outcome.told

    @property
    def exists(self) -> bool:
        """Whether the last listing found the directory."""
        return self._exists

    def looks(self) -> str | None:
        """How the directory looks to stat(2); None where it is absent, cannot be read, or is too new to tell.

        The next tree is made of this very look.
        """
        fd = self._open_root()
        if fd is None:
            return None
        try:
            self._walked = self._walk(fd)
        finally:
            os.close(fd)
        return self._walked.looks()

    @property
    def listed_looks(self) -> str | None:
        """How the directory looked in the last listing; see `looks`."""
        return self._found.looks()

    def remember(self, plan: Plan, *, changed: bool, save: Callable[[StatCache], None]) -> None:
        """Save the index, when there is something new to save."""
        if changed or self._hashed or len(self._index) != self._recalled:
            if changed:
                # An edit within one tick of our last link or unlink would get the same change time.
                time.sleep(RACY_CTIME_NS / 1e9)
            save(self._seen(plan))

    def _seen(self, plan: Plan) -> StatCache:
        """What to remember of the files, after `plan` was carried out (or was empty).

        The stamps are those that we have seen or left ourselves, and no later ones: a file that somebody has changed
        since shows another one, if only its change time has moved, and the next run reads it.
        """
        index, brought, kept = StatCache(), {put.item.path: put.item for put in plan.puts}, plan.unchanged.contents()
        meant = self._index.meant()
        before, written, now_ns = self._found, self._outcome.written, time.time_ns()
        left = self._outcome.kept or before
        paths = sorted([*kept, *brought])
        for path, was, at in zip(paths, before.rows(paths), left.rows(paths), strict=True):
            if path in brought:
                item = brought[path]
                if path in written:
                    meant_ns = item.mtime_ns if item.mtime_ns != written[path][3] else None
                    index.add(path, CachedHash(written[path], now_ns, item.sha256, item.md5, item.etag, meant_ns))
                continue
            if path in written:  # a copy that we have made
                stamp = array("q", written[path])
            elif at >= 0 and left.stamps[5 * at + 4] >= 0:
                stamp = left.stamps[5 * at : 5 * at + 5]
            else:
                continue
            if was < 0:
                continue
            # One that may have changed within the tick of the walk keeps its place here, for the count of drift, and is
            # never believed.
            is_sure = is_past(before.stamps[5 * was + 3], before.stamps[5 * was + 4], before.began_ns)
            seen_ns = now_ns if is_sure else 0
            content, known = kept[path], meant.get(path)
            if known is not None and known.stamp[3] == stamp[3]:
                if isinstance(content, bytes):
                    content = content[:32].hex(), None, content[32:].hex()
                index.add(path, CachedHash(tuple(stamp), seen_ns, *content, known.meant_ns))
            elif isinstance(content, bytes):
                index.add_known(path, stamp, seen_ns, content)
            else:
                index.add(path, CachedHash(tuple(stamp), seen_ns, *content))
        return index

    def _walk(self, fd: int) -> DirectoryListing:
        ours = self._ours
        walked = walk.walk(fd, prunes=lambda path: path.startswith(ours), ignores=lambda path, _: path.startswith(ours))
        walked.file_bits = 0o7777
        return walked

    def drift(self, followed: Tree | None, rules: Rules) -> int | None:
        """How many names differ from what the last run left, by stat(2) alone; None when nothing is known.

        Args:
            followed: the source's tree in the last run; None where that is not at hand.
            rules: which of its names take part.
        """
        if not len(self._index):
            return None
        try:
            fd = disk.open_dir(self.root)
        except Interrupted:
            raise
        except (OSError, S32sError):
            return len(self._index)
        try:
            walked = self._walk(fd)
            if followed is None:
                return walk.files_drifted(walked, self._index)
            plan = planner.make(followed, walk.unread(walked, self._index), rules=rules)
            return len(plan.puts) + len(plan.extras)
        finally:
            os.close(fd)

    @functools.cached_property
    def _index(self) -> StatCache:
        return self._read_index()

    def _hash(self, fd: int, walked: DirectoryListing, columns: Columns, beside: Tree, progress: Progress) -> None:
        def read(wanted: tuple[int, bool]) -> None:
            row, md5 = wanted
            # A file that changes or cannot be read stays unknown, and an unknown file is replaced.
            with contextlib.suppress(OSError):
                if done := walk.read_hashes(fd, walked.found(row), md5=md5, progress=progress):
                    hashed[row] = done[0]

        hashed: dict[int, Item] = {}
        for_each(walk.to_hash(columns.tree(), beside, strays=True), read, jobs=walk.HASHERS)
        self._hashed = self._hashed or bool(hashed)
        for row, item in hashed.items():
            columns.replace(row, item)

    def _open_base(self, path: str) -> int:
        try:
            fd = disk.open_dir(path)
        except FileNotFoundError as exc:
            raise Refused(
                f"the directory {paths.escape(path)} does not exist", hint=f"create it: mkdir -p {paths.escape(path)}"
            ) from exc
        except NotADirectoryError as exc:
            raise Refused(f"{paths.escape(path)} is not a directory") from exc
        except OSError as exc:
            raise Refused(f"{paths.escape(path)} cannot be opened: {exc.strerror}") from exc
        try:
            disk.check_ancestors(path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _check_kind(self) -> None:
        """Refuse a target that is there and is not a plain directory."""
        if self._in_place:
            return
        try:
            status = os.stat(self._name, dir_fd=self._parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISLNK(status.st_mode):
            raise Refused(
                f"{paths.escape(self.root)} is a symbolic link",
                hint=f"name the real path in the map, {paths.escape(os.path.realpath(self.root))}",
            )
        if not stat.S_ISDIR(status.st_mode):
            raise Refused(f"{paths.escape(self.root)} is a file, not a directory", hint="move it away")

    def _open_root(self) -> int | None:
        if self._in_place:
            return os.dup(self._parent)
        try:
            return disk.open_below(self._parent, self._name)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(f"{paths.escape(self.root)} is not a directory any more") from exc
            raise EntryFailed(f"{paths.escape(self.root)} cannot be read: {exc.strerror}") from exc

    def _real_path(self) -> str:
        parent = os.readlink(f"/proc/self/fd/{self._parent}")
        return f"{parent.rstrip('/')}/{self._name}"
