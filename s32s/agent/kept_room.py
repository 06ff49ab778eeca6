"""The room that earlier trees take on the disk of a slave: given up before a change, or named where that lacks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from s32s.core import paths
from s32s.core.errors import DiskFull, EntryFailed, Locked, Refused
from s32s.core.text import tree_words
from s32s.replication.job import RunContext
from s32s.stores.local import kept, pruning
from s32s.stores.local.kept import KeptTree
from s32s.stores.local.space import MAKE_ROOM
from s32s.stores.local.store import LocalStore


def give_up(target: LocalStore, keep: int, run: RunContext, *, wanted: KeptTree | None = None) -> None:
    """Give up the oldest trees beyond `keep`: that number may be smaller now because the disk is full.

    Args:
        wanted: that a rollback is to bring back; it stays, and so do those after it, which may hold its files.
    """
    try:
        pruning.give_up(target.location, in_place=target.in_place, keep=keep, wanted=wanted)
    except Locked:  # the change itself says who works there
        pass
    except (Refused, EntryFailed) as exc:
        run.warn(f"earlier trees could not be given up: {exc}")


@contextlib.contextmanager
def helped(target: LocalStore, name: str, *, wanted: KeptTree | None = None) -> Iterator[None]:
    """Where the disk lacks room, let the error say what earlier trees take of it, and which command gives them up.

    Args:
        name: of the entry.
        wanted: see `give_up`.
    """
    try:
        yield
    except DiskFull as exc:
        with contextlib.suppress(Refused, OSError):
            found = kept.taken(target.location, in_place=target.in_place)
            oldest = [size for tree, size in found if wanted is None or tree.number < wanted.number]
            if sum(oldest):
                exc.hint = f"{MAKE_ROOM}; {_what_helps(oldest, len(found), exc.missing, name, wanted)}"
        raise


def _what_helps(oldest: list[int], kept_now: int, missing: int, name: str, wanted: KeptTree | None) -> str:
    """Which trees take how much, and the command that gives up as few of them as it takes.

    Args:
        oldest: bytes of each that may go, the oldest first.
        kept_now: how many trees there are.
        missing: bytes; 0 where that is not known.
    """
    gone = freed = 0
    while gone < len(oldest) and (not gone or freed < missing):
        freed += oldest[gone]
        gone += 1
    which = f" from before {tree_words(wanted.generation)}" if wanted is not None else ""
    named = paths.word(name)
    command = f"rollback {named} {wanted.generation}" if wanted is not None else f"sync {named}"
    return (
        f"earlier trees{which} that are kept here hold {sum(oldest):,} bytes, and "
        f"s32s --set keep={kept_now - gone} {command} gives up {freed:,} of them first"
    )
