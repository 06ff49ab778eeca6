"""The local trash of a shared folder: what a sync has replaced or deleted there, for a month.

    .s32s/trash/20261123T101500Z-4f9a1c2e/plans/house.dwg

Each run has a directory of its own, named by its time, so that a file and a later directory of the same name do not
meet. A file comes here by a rename: its bytes, time and mode stay as they were.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from s32s.core import paths
from s32s.core.errors import EntryFailed
from s32s.system import atomic, directories, openat

#: Where it is in the folder.
PLACE = f"{paths.RESERVED}/trash"
#: How long what is in it stays, in seconds.
KEEP_S = 30 * 86400.0
_RUN = re.compile(r"(\d{8}T\d{6})Z-[0-9a-f]{8}")


class Trashed(NamedTuple):
    """One file or link in the trash.

    Attributes:
        id: names the run that put it there.
        when_s: when that was, in seconds since the epoch.
        path: where it was in the folder.
        size: bytes of a file.
    """

    id: str
    when_s: float
    path: str
    size: int


class Trash:
    """The trash of one folder.

    Args:
        folder: descriptor of it.
    """

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._run = ""

    def take(self, parent: int, name: str, path: str) -> str:
        """Move what is at `path` into the trash; return where it is now, below the folder.

        Args:
            parent, name: where it is: a directory's descriptor, and the name in it.

        Raises:
            FileNotFoundError: nothing is there.
        """
        if not self._run:
            self._run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        to = f"{PLACE}/{self._run}/{path}"
        with directories.directory(self._folder, self.make_way(paths.parent(to))) as there:
            openat.rename(name, to.rpartition("/")[2], src_dir_fd=parent, dst_dir_fd=there)
        return to

    def put_back(self, there: str, parent: int, name: str) -> None:
        """Undo `take`, where nothing has come in its place."""
        above, _, last = there.rpartition("/")
        with directories.directory(self._folder, above) as fd, contextlib.suppress(FileExistsError):
            atomic.rename_new(fd, last, parent, name)

    def found(self) -> list[Trashed]:
        """All that is in it, the oldest first."""
        trashed: list[Trashed] = []
        for run, when_s in self._runs():
            with directories.directory(self._folder, f"{PLACE}/{run}") as top:
                for path, status in _files(top, ""):
                    trashed.append(Trashed(run, when_s, path, status.st_size))
        return trashed

    def restore(self, one: Trashed) -> None:
        """Bring one back to where it was, with its bytes, time and mode.

        Raises:
            EntryFailed: something else is there now.
        """
        above, _, name = one.path.rpartition("/")
        with (
            directories.directory(self._folder, self.make_way(above)) as parent,
            directories.directory(self._folder, paths.parent(f"{PLACE}/{one.id}/{one.path}")) as there,
        ):
            try:
                atomic.rename_new(there, name, parent, name)
            except FileExistsError as exc:
                raise EntryFailed(
                    f"{paths.quote(one.path)} is there again, and nothing is put in its place",
                    hint="move it aside first",
                ) from exc
        self._forget_if_empty(one.id)

    def empty(self, *, older_s: float = 0.0) -> int:
        """Remove what was put there longer ago than so many seconds; return how many runs' worth."""
        now_s = time.time()
        gone = [run for run, when_s in self._runs() if now_s - when_s >= older_s]
        if gone:
            with directories.directory(self._folder, PLACE) as place:
                for run in gone:
                    directories.remove_tree(place, run)
        return len(gone)

    def _runs(self) -> list[tuple[str, float]]:
        try:
            with directories.directory(self._folder, PLACE) as place:
                names = sorted(openat.listdir(place))
        except FileNotFoundError:
            return []
        found = ((name, _RUN.fullmatch(name)) for name in names)
        return [
            (name, float(calendar.timegm(time.strptime(match[1], "%Y%m%dT%H%M%S")))) for name, match in found if match
        ]

    def make_way(self, path: str) -> str:
        """Make a directory below the folder, with those above it, where they are not there; return it."""
        made = ""
        for part in path.split("/") if path else ():
            with directories.directory(self._folder, made) as above, contextlib.suppress(FileExistsError):
                openat.mkdir(part, 0o755 if path.split("/", 1)[0] != paths.RESERVED else 0o700, dir_fd=above)
            made = f"{made}/{part}" if made else part
        return path

    def _forget_if_empty(self, run: str) -> None:
        with contextlib.suppress(OSError), directories.directory(self._folder, PLACE) as place:
            with directories.directory(place, run) as top:
                if any(True for _ in _files(top, "")):
                    return
            directories.remove_tree(place, run)


def _files(fd: int, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    for name in sorted(openat.listdir(fd)):
        path = f"{prefix}{name}"
        status = openat.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            yield path, status
            continue
        try:
            below = openat.open(name, directories.OPEN_DIR, dir_fd=fd)
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENOTDIR):
                continue
            raise
        try:
            yield from _files(below, f"{path}/")
        finally:
            openat.close(below)
