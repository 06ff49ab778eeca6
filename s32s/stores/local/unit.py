"""What a change exchanges: a unit, the smallest path of a target that holds all that is to change.

It may be a directory, a file, or a name at which nothing is, or will be. Whatever it is, it changes in one step, and
what comes out of the target is looked at once more: where it is not what was seen, it goes back.
"""

from __future__ import annotations

import errno
import os
import stat

from s32s.core import paths
from s32s.core.item import Kind
from s32s.core.plan import Plan
from s32s.stores.local import meanwhile
from s32s.stores.local.stat_cache import CTIME, SIZE, stamp
from s32s.stores.local.walk import DirectoryListing
from s32s.system import atomic, directories


def choose(plan: Plan, found: DirectoryListing, root: int) -> str:
    """The smallest path that holds all changes, in a directory that is there and that we may write; "" for everything.

    Args:
        found: what the target holds.
        root: descriptor of the target.
    """
    changed = [*(put.item.path for put in plan.puts), *(item.path for item in plan.extras)]
    closed = {put.item.path for put in plan.puts if put.item.kind is Kind.DIR and _is_closed(put.item.mode)}

    def is_movable(path: str) -> bool:
        row = found.find(path)
        return path not in closed and not (row is not None and found.is_dir(row) and _is_closed(found.modes[row]))

    unit = os.path.commonpath(changed) if changed else ""
    while unit and not (is_movable(unit) and _may_change(paths.parent(unit), found, root)):
        unit = paths.parent(unit)
    return unit


def exchange(path: str, now: DirectoryListing, *, staged: int, live: int, shown: str) -> None:
    """Exchange what is staged at a path with what is live there, let it come, or let it go, in one step.

    Args:
        now: what the unit held at the last look.
        staged, live: descriptors of the two trees.
        shown: the target's path, for messages.

    Raises:
        SourceChanged: something else is there by now; it stays.
    """
    directory, _, name = path.rpartition("/")
    row = now.find(path)
    try:
        with directories.directory(live, directory) as there, directories.directory(staged, directory) as here:
            is_coming = _status(here, name) is not None
            if not _is_as_seen(row, now, _status(there, name)):
                raise meanwhile.changed(path, shown)
            if row is None and is_coming:
                atomic.rename_new(here, name, there, name)
            elif row is not None:
                _swap(here, there, name, both=is_coming)
                if not _is_as_seen(row, now, _status(here, name), moved=True):
                    # Between that look and the exchange somebody was quicker.
                    _swap(there, here, name, both=is_coming)
                    raise meanwhile.changed(path, shown)
    except OSError as exc:
        if exc.errno in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise meanwhile.changed(path, shown) from exc
        raise


def _is_closed(mode: int | None) -> bool:
    """Whether a directory cannot get another one above it, for which its own ".." is written: rename(2), EACCES."""
    return mode is not None and not mode & stat.S_IWUSR


def _swap(here: int, there: int, name: str, *, both: bool) -> None:
    """Exchange a name of two directories; where only `there` has it, move it `here`."""
    if both:
        atomic.exchange(here, name, there, name)
    else:
        atomic.rename_new(there, name, here, name)


def _may_change(path: str, found: DirectoryListing, root: int) -> bool:
    """Whether a name in a directory of the target may be exchanged with another directory's."""
    row = found.find(path)
    if path and (row is None or not found.is_dir(row)):
        return False
    try:
        with directories.directory(root, path) as fd:
            # In a sticky directory a name belongs to the owner of the file: rename(2), EPERM.
            is_sticky = os.fstat(fd).st_mode & stat.S_ISVTX and os.geteuid() != 0
            return not is_sticky and os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True)
    except OSError:
        return False


def _is_as_seen(row: int | None, now: DirectoryListing, status: os.stat_result | None, *, moved: bool = False) -> bool:
    """Whether what stands at the unit is what was seen there.

    Args:
        moved: our own rename may have moved its change time.
    """
    if row is None or status is None:
        return row is None and status is None
    if now.is_file(row) and not moved:
        return now.is_as_found(row, status)
    facts = CTIME if now.is_file(row) else SIZE
    is_same_kind = stat.S_IFMT(now.modes[row]) == stat.S_IFMT(status.st_mode)
    return is_same_kind and tuple(now.stamp(row))[:facts] == stamp(status)[:facts]


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
