"""File verbs that hold under hostile neighbours and power cuts, and the only system calls by ctypes.

Directories are opened component by component without following a symbolic link; after that everything happens relative
to descriptors, so a link planted while we work leads nowhere. `exchange` is renameat2(2) with RENAME_EXCHANGE: both
names exist before, during and after. What must survive a power cut is made durable here too: syncfs(2) for a whole
tree, fsync(2) for a directory.

Nothing here decides; callers do.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from s32s.core import paths
from s32s.core.errors import Locked, Refused

_RENAME_NOREPLACE = 1  # <linux/fs.h>
_RENAME_EXCHANGE = 2
_FICLONE = 0x40049409  # ioctl_ficlonerange(2)
_SYNC_FILE_RANGE_WRITE = 2  # <linux/fs.h>
_COPY_CHUNK = 1024 * 1024
#: Of a write: ext4 makes large folios for larger ones, which took ten times as long on a virtual machine (Linux 6.18).
_WRITE = 64 * 1024
#: The least that becomes a hole: a block of nearly every file system.
_LEAST_HOLE = 4096
_ZEROS = bytes(_COPY_CHUNK)

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Of a descent: directories that stay open at once, far below the 1,024 descriptors of a usual process.
_KEPT_OPEN = 32
# On the way a directory need only be searchable, like the /home/* of others; O_PATH asks for no more (open(2)).
_PASS_DIR = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


# -- directories by descriptor ---------------------------------------------------------------------------------------


def open_dir(path: str) -> int:
    """Open the absolute directory `path`, refusing a symbolic link anywhere in it.

    Raises:
        Refused: a component is a symbolic link.
        OSError: any other failure, such as a missing component.
    """
    fd = os.open("/", _OPEN_DIR)
    done = ""
    parts = [part for part in path.split("/") if part]
    try:
        for number, part in enumerate(parts, start=1):
            done += "/" + part
            flags = _OPEN_DIR if number == len(parts) else _PASS_DIR
            fd, above = _open_part(part, fd, flags, shown=done), fd
            os.close(above)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_below(root: int, path: str) -> int:
    """Open the directory at the relative `path` below the descriptor `root`, never through a symbolic link.

    Raises:
        OSError: a component is missing, a link (ELOOP or ENOTDIR), or no directory.
    """
    fd = os.dup(root)
    parts = path.split("/") if path else []
    try:
        for number, part in enumerate(parts, start=1):
            flags = _OPEN_DIR if number == len(parts) else _PASS_DIR
            fd, above = os.open(part, flags, dir_fd=fd), fd
            os.close(above)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def directory(root: int, path: str) -> Iterator[int]:
    """`open_below` as a context manager."""
    fd = open_below(root, path)
    try:
        yield fd
    finally:
        os.close(fd)


class Descent:
    """The open directories on the way down from one, of which only the nearest stay open.

    A tree may be deeper than a process may open files. A directory that was closed is opened again from the one below
    it, by "..", and must still be the same.

    Args:
        root: descriptor of the directory at the top, which stays the caller's.
    """

    def __init__(self, root: int) -> None:
        self._fds = [root]
        self._closed: list[os.stat_result] = []

    @property
    def fd(self) -> int:
        """Descriptor of the lowest directory."""
        return self._fds[-1]

    def enter(self, fd: int) -> None:
        """Go down into a directory of the lowest one; its descriptor is ours from now on."""
        self._fds.append(fd)
        if len(self._fds) > _KEPT_OPEN:
            above = self._fds[-_KEPT_OPEN]
            self._closed.append(os.fstat(above))
            os.close(above)
            self._fds[-_KEPT_OPEN] = -1

    def leave(self) -> None:
        """Go up again.

        Raises:
            OSError: ESTALE when the directory was moved meanwhile. The descent is of no more use but for `close`.
        """
        left = self._fds.pop()
        try:
            if self._fds[-1] < 0:
                fd = os.open("..", _OPEN_DIR, dir_fd=left)
                if not os.path.samestat(os.fstat(fd), self._closed.pop()):
                    os.close(fd)
                    raise OSError(errno.ESTALE, "a directory above was moved meanwhile")
                self._fds[-1] = fd
        finally:
            os.close(left)

    def close(self) -> None:
        """Close all that is open, but for the root."""
        for fd in self._fds[1:]:
            if fd >= 0:
                os.close(fd)
        del self._fds[1:]


def check_ancestors(path: str) -> None:
    """Refuse a directory whose way down another user could redirect.

    A directory that everybody may write to without the sticky bit lets any local user rename what lies in it.

    Raises:
        Refused: names the directory.
    """
    at = Path(path)
    for above in (at, *at.parents):
        status = above.lstat()
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise Refused(
                f"every user may write to {above}, so nothing below it is safe",
                hint=f"chmod o-w {above}",
            )


def _open_part(part: str, above: int, flags: int, *, shown: str) -> int:
    try:
        return os.open(part, flags, dir_fd=above)
    except OSError as exc:
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode):
                where = os.path.realpath(shown)
                raise Refused(
                    f"{paths.escape(shown)} is a symbolic link", hint=f"name the real path, {paths.escape(where)}"
                ) from exc
        raise OSError(exc.errno, exc.strerror, shown) from exc


# -- names that change in one step -----------------------------------------------------------------------------------


def exchange(a_dir: int, a: str, b_dir: int, b: str) -> None:
    """Swap two names on one file system in one step: renameat2(2), RENAME_EXCHANGE.

    Raises:
        OSError: EINVAL or ENOSYS where the file system or kernel cannot; EXDEV, EBUSY for mounts.
    """
    _renameat2(a_dir, a, b_dir, b, _RENAME_EXCHANGE)


def rename_new(a_dir: int, a: str, b_dir: int, b: str) -> None:
    """Rename `a` to `b`, failing with EEXIST where `b` is there: renameat2(2), RENAME_NOREPLACE."""
    _renameat2(a_dir, a, b_dir, b, _RENAME_NOREPLACE)


def write_atomic(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace the file at `path` in one step, durably; its directory must exist.

    Args:
        mode: its permission bits, exactly; None for 0644 less the umask.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644 if mode is None else mode)
        with open(fd, "wb") as file:
            if mode is not None:
                os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def fsync_path(directory_path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_filesystem(fd: int) -> None:
    """Write everything that the file system of `fd` holds in memory to the disk: syncfs(2).

    One call for a whole tree; since Linux 5.8 it reports write errors.
    """
    if _libc().syncfs(fd) != 0:
        _raise_errno("syncfs")


def begin_writing_back(fd: int, start: int, size: int) -> None:
    """Let the disk begin with bytes of a file that were written, without waiting: sync_file_range(2).

    It makes nothing durable by itself; it leaves little to do for a later `sync_filesystem`.
    """
    libc = _libc()
    if hasattr(libc, "sync_file_range"):
        libc.sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


# -- content -----------------------------------------------------------------------------------------------------------


def reflink(source: int, target: int) -> bool:
    """Let the empty file `target` share the blocks of `source`, where the file system can."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def read_chunks(fd: int) -> Iterator[bytes]:
    """The content of an open file, from its start. Of a large one the disk is not asked for the holes."""
    at = 0
    while chunk := os.read(fd, _COPY_CHUNK):
        yield chunk
        at += len(chunk)
        if at == _COPY_CHUNK and _has_holes(fd):
            yield from _read_around_holes(fd, at)
            return


def _has_holes(fd: int) -> bool:
    status = os.fstat(fd)
    return status.st_blocks * 512 < status.st_size  # stat(2): blocks are of 512 bytes, whatever st_blksize says


def _read_around_holes(fd: int, at: int) -> Iterator[bytes]:
    """The content from a place on: zeros for each hole that lseek(2) finds."""
    size = os.fstat(fd).st_size
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as exc:
            # ENXIO: nothing but a hole up to the end. Else the file system does not know, and all of it is data.
            data = size if exc.errno == errno.ENXIO else at
        while at < data:
            zeros = _ZEROS[: min(len(_ZEROS), data - at)]
            yield zeros
            at += len(zeros)
        try:
            hole = os.lseek(fd, at, os.SEEK_HOLE) if at < size else size
        except OSError:
            hole = size
        os.lseek(fd, at, os.SEEK_SET)
        while at < hole:
            chunk = os.read(fd, min(_COPY_CHUNK, hole - at))
            if not chunk:
                return
            yield chunk
            at += len(chunk)


def write_sparsely(fd: int, data: bytes | memoryview, at: int) -> bool:
    """Write at a place of a new file what comes next there, and leave a hole for each block that is all zeros.

    Every run of zeros that fills a block becomes a hole, recorded or not: so the holes of an object that another tool
    has stored come back too, and nothing need be said of them in a manifest.

    Returns:
        Whether it ends in a hole, so that the file must still be made as long.
    """
    view, is_hole = memoryview(data), False
    while view:
        piece = view[: _WRITE - at % _WRITE]  # so that a hole begins where a block does
        is_hole = len(piece) >= _LEAST_HOLE and _is_zeros(piece)
        done = len(piece) if is_hole else os.pwrite(fd, piece, at)
        at += done
        view = view[done:]
    return is_hole


def _is_zeros(piece: memoryview) -> bool:
    # Hardly any other piece gets past three looks, and then comparing bytes is one memcmp(3).
    return not (piece[0] or piece[-1] or piece[len(piece) // 2]) and piece.tobytes() == _ZEROS[: len(piece)]


# -- removal -----------------------------------------------------------------------------------------------------------


def remove_tree(parent: int, name: str) -> None:
    """Remove `name` and all below it, by descriptors, never through a link and never into another mount.

    What cannot be removed stays, and all the rest goes.

    Raises:
        OSError: something could not be removed; it names the first.
    """
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    _Removal(parent, status.st_dev).remove(name)


class _Removal:
    """One directory that goes with all it holds, however deep it is."""

    def __init__(self, parent: int, device: int) -> None:
        self._descent = Descent(parent)
        self._device = device
        self._way: list[str] = []
        self._left: list[list[str]] = []  # at each level, the directories that are still to be emptied
        self._error: OSError | None = None

    def remove(self, name: str) -> None:
        try:
            self._enter(name)
            while self._way:
                if self._left[-1]:
                    self._enter(self._left[-1].pop())
                else:
                    self._left.pop()
                    name = self._way.pop()
                    self._descent.leave()
                    self._try(os.rmdir, name)
        finally:
            self._descent.close()
        if self._error is not None:
            raise self._error

    def _enter(self, name: str) -> None:
        try:
            fd = _open_for_removal(self._descent.fd, name)
        except OSError as exc:
            self._note(exc, name)
            return
        self._descent.enter(fd)
        self._way.append(name)
        self._left.append([])
        if os.fstat(fd).st_dev != self._device:
            self._note(OSError(errno.EBUSY, "something is mounted on it"), "")
            return
        try:
            with os.scandir(fd) as entries:
                inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as exc:
            self._note(exc, "")
            return
        for child, is_dir in inside:
            if is_dir:
                self._left[-1].append(child)
            else:
                self._try(os.unlink, child)

    def _try(self, remove: Callable[..., None], name: str) -> None:
        try:
            remove(name, dir_fd=self._descent.fd)
        except FileNotFoundError:
            pass
        except OSError as exc:
            self._note(exc, name)

    def _note(self, exc: OSError, name: str) -> None:
        """Keep the first error, with the whole path. That the directories above are not empty is its consequence."""
        if self._error is None:
            path = "/".join([*self._way, name]).rstrip("/")
            self._error = OSError(exc.errno, exc.strerror, path)


def _open_for_removal(parent: int, name: str) -> int:
    """Open a directory that is going to be emptied; one without the owner's bits gets them first."""
    try:
        fd = os.open(name, _OPEN_DIR, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)  # by path, as fchmod needs an open file; the parent is ours
        return os.open(name, _OPEN_DIR, dir_fd=parent)
    if os.fstat(fd).st_mode & 0o700 != 0o700:
        with contextlib.suppress(PermissionError):
            os.fchmod(fd, 0o700)
    return fd


# -- locks -------------------------------------------------------------------------------------------------------------


def digest(text: str) -> str:
    """A short, safe file name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def holder() -> dict[str, str]:
    """What a lock file says of its holder."""
    since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    return {"process": str(os.getpid()), "on": socket.gethostname(), "since": since}


@contextlib.contextmanager
def lock(parent: int, name: str, *, what: str, holder: dict[str, str]) -> Iterator[None]:
    """Hold the lock file `name` in the directory `parent`; it disappears with the lock.

    flock(2) is dropped by the kernel when its holder dies, so a left-over file locks nobody out.

    Args:
        parent: descriptor of the directory.
        name: of the lock file.
        what: what is locked, for the message.
        holder: what the file says of us to a second run.

    Raises:
        Locked: another run holds it; the message says who.
        OSError: the file cannot be made.
    """
    fd = _locked_file(parent, name, what=what)
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(holder).encode(), 0)
        yield
    finally:
        # Unlinked while held: a process that opened it meanwhile finds another inode under the name, and tries again.
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=parent)
        os.close(fd)


def _locked_file(parent: int, name: str, *, what: str) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600, dir_fd=parent)
        except OSError as exc:
            if exc.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV):
                raise _no_lock(parent, name, what) from exc
            raise
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink > 1:
            os.close(fd)
            # Its name can be guessed; what is written into it must not land in a file that somebody has linked there.
            raise _no_lock(parent, name, what)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            said = os.pread(fd, 4096, 0)
            os.close(fd)
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise Locked(f"another run works on {what}{_holder(said)}", hint="try again when it has finished") from exc
        try:
            here = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            os.close(fd)
            continue
        if os.path.samestat(here, os.fstat(fd)):
            return fd
        os.close(fd)


def _no_lock(parent: int, name: str, what: str) -> Refused:
    where = f"{os.readlink(f'/proc/self/fd/{parent}').rstrip('/')}/{name}"
    kind = "something else"
    with contextlib.suppress(OSError):
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        kind = _LOCK_KINDS.get(stat.S_IFMT(mode), "something else")
    return Refused(
        f"{paths.escape(where)}, where the lock of {paths.escape(what)} belongs, is {kind}, so it is not ours",
        hint="look where it comes from and remove it",
    )


_LOCK_KINDS = {
    stat.S_IFREG: "a file of another user or one with two names",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
}


def _holder(said: bytes) -> str:
    try:
        facts = json.loads(said)
        text = ", ".join(f"{name} {value}" for name, value in facts.items())
    except (ValueError, AttributeError):
        return ""
    return f" ({paths.escape(text)[:200]})"


# -- libc --------------------------------------------------------------------------------------------------------------


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _renameat2(a_dir: int, a: str, b_dir: int, b: str, flags: int) -> None:
    libc = _libc()
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, "this system has no renameat2")
    if libc.renameat2(a_dir, os.fsencode(a), b_dir, os.fsencode(b), flags) != 0:
        _raise_errno("renameat2")


def _raise_errno(call: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{call}: {os.strerror(code)}")
