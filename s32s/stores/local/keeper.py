"""What a change takes away, kept as part of an earlier tree; see `kept`."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Mapping

from s32s.core.errors import DiskFull, EntryFailed
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.stores.local import hashing
from s32s.stores.local.holding import Holder
from s32s.stores.local.kept import KeptTree, open_kept
from s32s.stores.local.space import MAKE_ROOM
from s32s.stores.local.stat_cache import CTIME, stamp
from s32s.stores.local.walk import DirectoryListing, open_file
from s32s.system import directories, file_bytes

#: What link(2) says where a second name is not possible: too many, another user's file, another file system.
_NO_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EACCES, errno.EOPNOTSUPP)


class Keeper:
    """Keeps the tree that a change of a target is about to replace.

    Args:
        tree: what the target holds.
        generation: that it follows; 0 where there is none.
        holder: where the target is.
    """

    def __init__(self, tree: Tree, generation: int, holder: Holder) -> None:
        self._tree = tree
        self._generation = generation
        self._holder = holder
        self._made: KeptTree | None = None

    def check(self) -> None:
        """Find out before anything is fetched whether something can be kept there.

        Raises:
            Refused: what is there was made by somebody else.
        """
        with open_kept(self._holder):
            pass

    def keep(self, old: int, found: DirectoryListing, plan: Plan) -> None:
        """Keep what the plan takes away.

        Args:
            old: descriptor of the target.
            found: what it was found to hold.

        Raises:
            EntryFailed: that is not possible; nothing was changed.
        """
        leaving = _leaving(plan)
        try:
            known = {item.path: item for item in _hashed(leaving, old, found)}
            passed_over = {item.path: item for item in _hashed(_unknown(plan), old, found)}
            with open_kept(self._holder, make=True) as trees:
                assert trees is not None
                trees.tidy()
                record, is_new = trees.add(self._generation, self._with_hashes(plan, known | passed_over))
                self._made = record if is_new else None
                with trees.files(record) as files:
                    for item in known.values():
                        _link(old, item, found, files)
        except OSError as exc:
            self.undo()
            is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (DiskFull if is_full else EntryFailed)(
                f"the tree before this change could not be kept: {exc.strerror}; nothing was changed",
                hint=MAKE_ROOM if is_full else "",
            ) from exc

    def undo(self) -> None:
        """Take the record back, as nothing was changed."""
        record, self._made = self._made, None
        with contextlib.suppress(OSError), open_kept(self._holder) as trees:
            if trees is not None:
                if record is not None:
                    trees.drop(record)
                trees.tidy()

    def _with_hashes(self, plan: Plan, known: Mapping[str, Item]) -> Tree:
        """What the target holds, with every hash that is known."""
        unhashed = self._tree.unhashed()
        contents = plan.unchanged.contents() if unhashed else {}
        found: dict[int, Item] = {}
        for row in unhashed:
            path = self._tree.path(row)
            if path in known:
                found[row] = known[path]
            elif (content := contents.get(path)) is not None:
                sha256 = content[:32].hex() if isinstance(content, bytes) else content[0]
                found[row] = self._tree[row]._replace(sha256=sha256)
        return self._tree.replacing(found)


def _leaving(plan: Plan) -> list[Item]:
    """The files whose content the target does not hold after a plan."""
    olds = [put.old for put in plan.puts if put.old is not None and (put.needs_bytes or put.item.kind is not Kind.FILE)]
    stays = {put.item.sha256 for put in plan.puts if put.item.sha256}
    files = (item for item in (*olds, *plan.extras) if item.kind is Kind.FILE)
    return [item for item in files if not item.sha256 or item.sha256 not in stays]


def _unknown(plan: Plan) -> list[Item]:
    """The files that a run passes over and of which no hash is known: the next run may take them away."""
    return [item for item in plan.spared if item.kind is Kind.FILE and not item.sha256]


def _hashed(items: Iterable[Item], root: int, found: DirectoryListing) -> Iterator[Item]:
    """The items with their SHA-256; what cannot be read, or moves, is left out."""
    for item in items:
        if item.sha256:
            yield item
        elif (entry := found.get(item.path)) is not None:
            with contextlib.suppress(OSError):
                if done := hashing.read_hashes(root, entry, md5=False, progress=lambda size: None):
                    yield done[0]


def _link(root: int, item: Item, found: DirectoryListing, files: int) -> None:
    """Give a file of the target a second name, or copy it where it cannot have one.

    A link moves the change time of a file; `found` gets the new one, as that is our own doing.
    """
    above, _, name = item.path.rpartition("/")
    row = found.find(item.path)
    try:
        with directories.directory(root, above) as fd:
            if row is None or not found.is_as_found(row, os.stat(name, dir_fd=fd, follow_symlinks=False)):
                return  # somebody has changed it since, and its old bytes are gone
            try:
                os.link(name, item.sha256 or "", src_dir_fd=fd, dst_dir_fd=files, follow_symlinks=False)
                after = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stamp(after)[:CTIME] == tuple(found.stamp(row))[:CTIME]:
                    found.set_ctime(row, after.st_ctime_ns)
            except FileExistsError:
                return
            except OSError as exc:
                if exc.errno not in _NO_LINK:
                    raise
                _copy(root, item, files)
    except FileNotFoundError:
        return


def _copy(root: int, item: Item, files: int) -> None:
    source = open_file(root, item.path)
    try:
        target = os.open(item.sha256 or "", file_bytes.NEW_FILE, 0o600, dir_fd=files)
        try:
            file_bytes.copy(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)
