"""Bytes of files: read in pieces and around holes, written sparsely, shared with another file."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import Final

from s32s.system import libc, openat

#: How files are opened: a new one that nobody has put there, and an old one, without waiting for a FIFO.
_SAFE: Final = openat.flag("O_NOFOLLOW") | openat.flag("O_CLOEXEC") | openat.flag("O_BINARY")
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
OPEN_FILE: Final = os.O_RDONLY | openat.flag("O_NONBLOCK") | _SAFE

_FICLONE = 0x40049409  # ioctl_ficlonerange(2)
_SYNC_FILE_RANGE_WRITE = 2  # <linux/fs.h>
_COPY_CHUNK = 1024 * 1024
#: Of a write: ext4 makes large folios for larger ones, which took ten times as long on a virtual machine (Linux 6.18).
_WRITE = 64 * 1024
#: A block of nearly every file system: the least that becomes a hole.
_BLOCK = 4096
_ZEROS = bytes(_COPY_CHUNK)


def reflink(source: int, target: int) -> bool:
    """Let the empty file `target` share the blocks of `source`, where the file system can."""
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONE, source)
    except (OSError, ImportError):
        return False
    return True


def read_chunks(fd: int) -> Iterator[bytes]:
    """The content of an open file, from its start. Of a large one the disk is not asked for the holes."""
    at, size = 0, os.fstat(fd).st_size
    # os.read makes room for all that it is asked for, and for a small file that took longer than to read it.
    while chunk := os.read(fd, max(_BLOCK, min(size + 1 - at, _COPY_CHUNK))):
        yield chunk
        at += len(chunk)
        if at == _COPY_CHUNK and _has_holes(fd):
            yield from _read_around_holes(fd, at)
            return


def _has_holes(fd: int) -> bool:
    status = os.fstat(fd)
    if not (hasattr(os, "SEEK_DATA") and hasattr(status, "st_blocks")):
        return False
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
        is_hole = len(piece) >= _BLOCK and _is_zeros(piece)
        done = len(piece) if is_hole else _write_at(fd, piece, at)
        at += done
        view = view[done:]
    return is_hole


def _write_at(fd: int, piece: memoryview, at: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, piece, at)
    os.lseek(fd, at, os.SEEK_SET)
    return os.write(fd, piece)


def _is_zeros(piece: memoryview) -> bool:
    # Hardly any other piece gets past three looks, and then comparing bytes is one memcmp(3).
    return not (piece[0] or piece[-1] or piece[len(piece) // 2]) and piece.tobytes() == _ZEROS[: len(piece)]


def copy(source: int, target: int) -> None:
    """Give an empty file the bytes of another one: shared where the file system can, else with its holes."""
    if reflink(source, target):
        return
    size = 0
    for chunk in read_chunks(source):
        write_sparsely(target, chunk, size)
        size += len(chunk)
    os.ftruncate(target, size)


def begin_writing_back(fd: int, start: int, size: int) -> None:
    """Let the disk begin with bytes of a file that were written, without waiting: sync_file_range(2).

    It makes nothing durable by itself; it leaves little to do for a later `sync_filesystem`.
    """
    loaded = libc.load()
    if hasattr(loaded, "sync_file_range"):
        loaded.sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)
