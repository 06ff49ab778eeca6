"""What has changed below a directory, by inotify(7): a hint where to look, never what has happened there.

Directories are watched, each by a watch of its own, which follows the directory wherever it is moved. So a directory
that moves or goes loses all its watches below, and one that comes is watched first and marked as changed afterwards:
a look at what is marked misses nothing, and sees some things twice.

The kernel's queue is finite. When it overflows nobody knows what was lost: all watches are made again, and all of the
directory counts as changed. What inotify cannot see at all (mmap(2), another client of a network file system, a write
through a hard link outside) is for a full comparison now and then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator

from inotify_simple import INotify, flags

from s32s.core.changes import Changes
from s32s.system import mounts
from s32s.system.unwatchable import Unwatchable

#: Never OPEN or ACCESS: our own reading would wake us.
_MASK = (
    flags.CREATE
    | flags.CLOSE_WRITE
    | flags.MODIFY
    | flags.ATTRIB
    | flags.DELETE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
    | flags.DONT_FOLLOW
    | flags.EXCL_UNLINK
)
_COMES = flags.CREATE | flags.MOVED_TO
_GOES = flags.DELETE | flags.MOVED_FROM
_ROOT_GOES = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED
#: How long events may gather before they are read (ms), so that the kernel merges what is alike.
_GATHER_MS = 20
#: How long the reader sleeps at most (ms) before it looks whether it is to end.
_SLEEP_MS = 500
#: How long it waits (seconds) before it makes its watches again when the queue keeps overflowing.
_PAUSES_S = (0.0, 0.5, 2.0, 10.0)
#: File systems on which others may write without an event here: inotify(7), "Limitations and caveats".
_REMOTE = frozenset(["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "afs", "vboxsf"])


class TreeWatch:
    """Listens to a directory and all below it, on a thread of its own, from `start` to `close`.

    Args:
        root: absolute path of the directory.
        prunes: tells of a directory that it is not to be watched, by its relative path.
        ignores: tells of a path that its changes do not matter.
        on_change: called on the thread when something has changed.
    """

    def __init__(
        self,
        root: str,
        *,
        prunes: Callable[[str], bool] = lambda path: False,
        ignores: Callable[[str], bool] = lambda path: False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._root = root
        self._prunes = prunes
        self._ignores = ignores
        self._on_change = on_change
        self._guard = threading.Lock()
        self._changes = Changes()
        self._inotify: INotify | None = None
        self._identity: tuple[int, int] | None = None
        self._paths: dict[int, str] = {}  # by watch descriptor
        self._watches: dict[str, int] = {}  # and the other way round
        self._trouble: Unwatchable | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.overflows = 0
        self.changed_s = 0.0  # when something last changed, as of time.time()

    def start(self) -> None:
        """Watch from now on.

        Raises:
            Unwatchable: it cannot be.
            OSError: the directory is not there, or cannot be read.
        """
        status = os.stat(self._root)
        self._identity = status.st_dev, status.st_ino
        kind = mounts.kind_at(os.path.realpath(self._root))
        if kind in _REMOTE or kind.startswith("fuse"):
            raise Unwatchable(f"on {kind} others can write without a sign of it here")
        try:
            self._watch_all()
        except BaseException:
            self._drop_all()
            raise
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._ended.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2 * _SLEEP_MS / 1000)
        self._drop_all()

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return len(self._watches)

    @property
    def trouble(self) -> Unwatchable | None:
        """Why it has ended by itself; None while it watches."""
        return self._trouble

    def is_same_root(self) -> bool:
        """Whether the path still leads to the directory that is watched: a mount over it gives no event."""
        try:
            status = os.stat(self._root)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def take(self) -> Changes:
        """What has changed since the last call."""
        with self._guard:
            taken, self._changes = self._changes, Changes()
        return taken

    def put_back(self, changes: Changes) -> None:
        """Let changes count as not yet taken: what was done about them has failed."""
        with self._guard:
            self._changes.add(changes)

    # -- on the thread

    def _run(self) -> None:
        try:
            while not self._ended.is_set() and self._trouble is None:
                self._read()
        except Unwatchable as exc:
            self._end(exc)
        except OSError as exc:
            if not self._ended.is_set():
                self._end(Unwatchable(f"watching failed: {exc.strerror}"))

    def _read(self) -> None:
        assert self._inotify is not None
        events = self._inotify.read(timeout=_SLEEP_MS, read_delay=_GATHER_MS)
        changed = Changes()
        for wd, mask, _, name in events:
            if mask & flags.Q_OVERFLOW:
                self._start_again()
                return
            self._heed(wd, mask, name, changed)
        if changed:
            self._tell(changed)

    def _heed(self, wd: int, mask: int, name: str, changed: Changes) -> None:
        above = self._paths.get(wd)
        if above is None:
            return  # of a watch that was removed while its events were queued
        if not name:
            if above == "" and mask & _ROOT_GOES:
                raise Unwatchable("the directory is gone, or was moved or unmounted")
            if mask & flags.IGNORED:
                self._forget(wd)
            elif mask & flags.ATTRIB and above:
                changed.mark(above)
            return
        path = f"{above}/{name}" if above else name
        if mask & flags.ISDIR:
            if mask & flags.DELETE:
                self._drop_one(path)  # what was below has gone before
            elif mask & (flags.MOVED_FROM | _COMES):
                self._drop(path)
            if mask & _COMES:
                self._watch(path)
        # What is below a directory may matter although its own name does not.
        if mask & flags.ISDIR or not self._ignores(path):
            changed.mark(path, deep=bool(mask & flags.ISDIR and mask & (_GOES | _COMES)))

    def _tell(self, changed: Changes) -> None:
        with self._guard:
            self._changes.add(changed)
        self.changed_s = time.time()
        self._on_change()

    def _end(self, trouble: Unwatchable) -> None:
        self._trouble = trouble
        self._drop_all()
        changed = Changes()
        changed.mark_all(str(trouble))
        self._tell(changed)

    def _start_again(self) -> None:
        """Make all watches again after an overflow, until the queue holds all that comes meanwhile."""
        for pause_s in (*_PAUSES_S, None):
            self.overflows += 1
            self._drop_all()
            self._watch_all()
            assert self._inotify is not None
            # What is read here has come after the watches were made; all of it is looked at anyway.
            if not any(event.mask & flags.Q_OVERFLOW for event in self._inotify.read(timeout=0)):
                break
            if self._ended.wait(pause_s if pause_s is not None else _PAUSES_S[-1]):
                return
        changed = Changes()
        changed.mark_all("more changed at once than the kernel's queue can take")
        self._tell(changed)

    # -- watches

    def _watch_all(self) -> None:
        try:
            self._inotify = INotify()
        except OSError as exc:
            raise self._unwatchable(exc) from exc
        self._watch("")
        if "" not in self._watches:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._root)

    def _watch(self, path: str) -> None:
        """Watch a directory, then look for directories in it."""
        left = [path]
        while left:
            path = left.pop()
            if path and self._prunes(path):
                continue
            if self._add(path):
                left += self._inside(path)

    def _add(self, path: str) -> bool:
        assert self._inotify is not None
        try:
            wd = self._inotify.add_watch(f"{self._root}/{path}" if path else self._root, _MASK)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False  # gone again
            if exc.errno == errno.EACCES and path:
                return False  # the comparison says so
            raise self._unwatchable(exc) from exc
        before = self._paths.get(wd)
        if before is not None and self._watches.get(before) == wd:
            del self._watches[before]
        self._paths[wd], self._watches[path] = path, wd
        return True

    def _inside(self, path: str) -> Iterator[str]:
        start = f"{path}/" if path else ""
        try:
            with os.scandir(f"{self._root}/{path}") as entries:
                inside = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return iter(())
        return (start + name for name in inside)

    def _drop(self, path: str) -> None:
        """Remove the watches of a directory that is not there any more, and of all below it."""
        if path not in self._watches:
            return
        start = f"{path}/"
        for below in [known for known in self._watches if known == path or known.startswith(start)]:
            self._drop_one(below)

    def _drop_one(self, path: str) -> None:
        wd = self._watches.pop(path, None)
        if wd is None:
            return
        self._paths.pop(wd, None)
        if self._inotify is not None:
            with contextlib.suppress(OSError):
                self._inotify.rm_watch(wd)

    def _forget(self, wd: int) -> None:
        path = self._paths.pop(wd)
        if self._watches.get(path) == wd:
            del self._watches[path]

    def _drop_all(self) -> None:
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify.close()
        self._paths, self._watches = {}, {}

    def _unwatchable(self, exc: OSError) -> Unwatchable:
        if exc.errno == errno.ENOSPC:
            return Unwatchable(
                f"the system allows no more watches than {_limit('max_user_watches')}; "
                "raise fs.inotify.max_user_watches with sysctl"
            )
        if exc.errno == errno.EMFILE:
            return Unwatchable(
                f"the system allows no more watchers than {_limit('max_user_instances')}; "
                "raise fs.inotify.max_user_instances with sysctl"
            )
        return Unwatchable(f"watching failed: {exc.strerror}")


def _limit(name: str) -> str:
    try:
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:
            return f"{int(file.read()):,}"
    except (OSError, ValueError):
        return "now"
