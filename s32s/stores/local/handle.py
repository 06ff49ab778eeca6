"""What a change of a slave's directory is handed, and what it leaves for the next run."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import DiskFull, EntryFailed
from s32s.stores.base import Policy
from s32s.stores.local.outer import FIXED, Outer
from s32s.stores.local.space import MAKE_ROOM
from s32s.stores.local.walk import DirectoryListing

if TYPE_CHECKING:
    from s32s.stores.local.keeper import Keeper


class Stage(enum.Enum):
    """How far a change has come, as a clause for the administrator who reads that it failed or was stopped."""

    FILLING = "the target is as it was"
    CHANGING = "some files of the target are new already, each of them whole, and the next run continues"
    PUBLISHED = "the target is up to date, and the next run tidies up"


@dataclass(slots=True)
class Salvage:
    """Verified files of an earlier attempt of this run, by content: a pull that starts over begins from what it has."""

    fd: int = -1
    outer: Outer | None = None
    files: dict[str, str] = field(default_factory=dict)

    def drop(self) -> None:
        """Remove what was kept."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.outer is not None:
            with contextlib.suppress(OSError):
                self.outer.remove()
            self.outer = None
        self.files.clear()


@dataclass(slots=True)
class ChangeRecord:
    """What a change knows of the files that it leaves, for the stat cache, and what people should know.

    Attributes:
        written: the stamps of the files that it wrote, by path.
        unit: what was exchanged: the smallest path that holds all changes; "" for all of the target.
        kept: of what is in the unit and stays, with the change times that our own links have left; None where none was
            made.
        told: names that moved in the target meanwhile, and are left to the next run.
    """

    written: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unit: str = ""
    kept: DirectoryListing | None = None
    told: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TargetHandle:
    """The target as the caller has it open.

    Attributes:
        warn: told what people should know and stops nothing.
        parent: descriptor of the directory that holds staging: the target's parent, or the target itself in place.
        name: last component of the target.
        shown: the target's path, for messages.
        found: what the last listing found.
        salvage: see `Salvage`.
        walk: lists the target by its descriptor once more; below a path alone, or all of it with "".
        policy: what to do about what has moved in it meanwhile.
        record: filled by the change.
        keeper: keeps what is there now as an earlier tree; None where none are kept.
    """

    warn: Callable[[str], None]
    parent: int
    name: str
    shown: str
    found: DirectoryListing
    salvage: Salvage
    walk: Callable[[int, str], DirectoryListing]
    policy: Policy
    record: ChangeRecord
    keeper: Keeper | None = None


def unwritable(exc: OSError, shown: str, stage: Stage = Stage.FILLING) -> EntryFailed:
    """The error that the new files could not be written.

    Args:
        shown: the target's path.
    """
    is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if is_full else (exc.strerror or str(exc))
    at = f" ({paths.quote(str(exc.filename))})" if exc.filename else ""
    return (DiskFull if is_full else EntryFailed)(
        f"the new files of {paths.escape(shown)} could not be written: {what}{at}; {stage.value}",
        hint=MAKE_ROOM if is_full else FIXED if exc.errno == errno.EPERM else "",
    )
