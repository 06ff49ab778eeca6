"""Names that change in one step, and what makes a change survive a power cut.

`exchange` is renameat2(2) with RENAME_EXCHANGE: both names exist before, during and after. syncfs(2) makes a whole tree
durable, fsync(2) a directory.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from s32s.system import libc, openat
from s32s.system.file_bytes import NEW_FILE

_RENAME_NOREPLACE = 1  # <linux/fs.h>
_RENAME_EXCHANGE = 2


def exchange(a_dir: int, a: str, b_dir: int, b: str) -> None:
    """Swap two names on one file system in one step: renameat2(2), RENAME_EXCHANGE.

    Raises:
        OSError: EINVAL or ENOSYS where the file system or kernel cannot; EXDEV, EBUSY for mounts.
    """
    _renameat2(a_dir, a, b_dir, b, _RENAME_EXCHANGE)


def rename_new(a_dir: int, a: str, b_dir: int, b: str) -> None:
    """Rename `a` to `b`, failing with EEXIST where `b` is there: renameat2(2), RENAME_NOREPLACE.

    Where system or file system have none, a file gets its new name by link(2), which does not replace either, and a
    directory after a look.
    """
    try:
        _renameat2(a_dir, a, b_dir, b, _RENAME_NOREPLACE)
    except OSError as exc:
        if exc.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        _rename_new_by_link(a_dir, a, b_dir, b)


def _rename_new_by_link(a_dir: int, a: str, b_dir: int, b: str) -> None:
    if openat.HAS_AT:
        try:
            os.link(a, b, src_dir_fd=a_dir, dst_dir_fd=b_dir, follow_symlinks=False)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):
            pass  # a directory, or a file system without links
        else:
            os.unlink(a, dir_fd=a_dir)
            return
    try:
        openat.stat(b, dir_fd=b_dir, follow_symlinks=False)
    except FileNotFoundError:
        openat.rename(a, b, src_dir_fd=a_dir, dst_dir_fd=b_dir)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), b)


def write_atomic(path: Path, data: bytes, *, mode: int | None = None, durable: bool = True) -> None:
    """Replace the file at `path` in one step; its directory must exist.

    Args:
        mode: its permission bits, exactly; None for 0644 less the umask.
        durable: whether it is on the disk when this returns; else a power cut may leave any part of it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        fd = os.open(temporary, NEW_FILE, 0o644 if mode is None else mode)
        with open(fd, "wb") as file:
            if mode is not None:
                openat.fchmod(fd, mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_path(path.parent)


def fsync_path(directory_path: Path) -> None:
    """Make the names in a directory durable; Windows does by itself."""
    if not openat.HAS_AT:
        return
    fd = os.open(directory_path, openat.OPEN_DIR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_filesystem(fd: int) -> None:
    """Write everything that the file system of `fd` holds in memory to the disk: syncfs(2).

    One call for a whole tree; since Linux 5.8 it reports write errors.
    """
    loaded = libc.load()
    if not hasattr(loaded, "syncfs"):
        if hasattr(os, "sync"):
            os.sync()
        return
    if loaded.syncfs(fd) != 0:
        libc.raise_errno("syncfs")


def _renameat2(a_dir: int, a: str, b_dir: int, b: str, flags: int) -> None:
    loaded = libc.load()
    if not openat.HAS_AT or not hasattr(loaded, "renameat2"):
        raise OSError(errno.ENOSYS, "this system has no renameat2")
    if loaded.renameat2(a_dir, os.fsencode(a), b_dir, os.fsencode(b), flags) != 0:
        libc.raise_errno("renameat2")
