"""Room on a target's disk."""

from __future__ import annotations

import os

from s32s.core import paths
from s32s.core.errors import DiskFull
from s32s.core.plan import Plan

#: Room to leave on the disk, for the file system's own bookkeeping and for everybody else: this, or 1 % of a small one.
_SPARE = 16 * 1024 * 1024
MAKE_ROOM = "make room and run it again"


def check_space(plan: Plan, parent: int, *, shown: str) -> None:
    """Refuse before the first byte what the disk certainly cannot hold: statvfs(3).

    Args:
        parent: descriptor of the directory that holds staging.
        shown: the target's path, for messages.

    Raises:
        DiskFull: it has not enough room.
    """
    disk_room = os.fstatvfs(parent)
    bytes_needed = plan.size + min(_SPARE, disk_room.f_blocks * disk_room.f_frsize // 100)
    bytes_free = disk_room.f_bavail * disk_room.f_frsize
    files_needed = len(plan.puts)
    if plan.size and bytes_needed > bytes_free:
        full = DiskFull(
            f"the disk of {paths.escape(shown)} has {bytes_free:,} bytes free, and {bytes_needed:,} are needed: "
            f"{bytes_needed - bytes_free:,} are missing; nothing was changed",
            hint=MAKE_ROOM,
        )
        full.missing = bytes_needed - bytes_free
        raise full
    if disk_room.f_files and files_needed > disk_room.f_favail:
        raise DiskFull(
            f"the disk of {paths.escape(shown)} has room for {disk_room.f_favail:,} more files, "
            f"and {files_needed:,} are needed; nothing was changed",
            hint=MAKE_ROOM,
        )
