"""What a head says against a run, whatever the layout: somebody else pushes, or the prefix has gone back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from s32s.backends.base import Backend
from s32s.core import cures, paths
from s32s.core.errors import Refused
from s32s.format import packs
from s32s.format.head import Head
from s32s.stores.objects.prefix import FoundHead

if TYPE_CHECKING:
    from s32s.stores.objects.publisher import Writer


def check_not_lost(backend: Backend, found: FoundHead) -> None:
    """Refuse a prefix that has packs and no head: it is not empty, and its history can be found again.

    Raises:
        Refused: it is such a one.
    """
    if found.head is None and any(packs.pack_of(one.key) for page in backend.list(packs.PACKS) for one in page):
        raise lost_head(backend.location)


def lost_head(location: str, *, for_plain: bool = False) -> Refused:
    """The error that a prefix has packs and no head.

    Args:
        for_plain: it was to be used in the plain layout.
    """
    cure = cures.IS_LOST if for_plain else cures.REBUILD
    return Refused(f"{location} has packs and no head", hint=cure)


def packs_there(location: str) -> Refused:
    """The error that a prefix was to be used without a manifest, and has packs: it is not empty, nor plain objects."""
    return Refused(f"{location} has packs, and can only be used with its manifest", hint=cures.WITH_MANIFEST)


def check_generation(head: Head, followed: int, location: str) -> None:
    """Refuse a prefix that has gone back.

    Args:
        followed: the generation that this machine has followed last.

    Raises:
        Refused: it has.
    """
    if head.generation >= followed:
        return
    raise Refused(
        f"{location} is at generation {head.generation:,} (pushed from {paths.escape(head.host)}, "
        f"{paths.escape(head.time)}), and this machine has followed generation {followed:,}: "
        "an older state was put back, or the prefix was deleted and pushed again",
        hint="if that is intended, follow it with --accept-older",
    )


def warn_of_other_writer(found: FoundHead, writer: Writer, location: str, warn: Callable[[str], None]) -> None:
    """Say that another machine has pushed last."""
    head = found.head
    if head is not None and head.generation and head.writer != writer.id:
        warn(
            f"{location} was last pushed from {paths.escape(head.host)} ({paths.escape(head.time)}); "
            "let one machine push to a prefix"
        )


def warn_of_return(found: FoundHead, writer: Writer, location: str, warn: Callable[[str], None]) -> None:
    """Say that the prefix has gone back since this machine has pushed last."""
    now = found.head.generation if found.head else 0
    if now < writer.generation:
        warn(
            f"{location} went back from generation {writer.generation:,} to {now:,}; "
            f"the next one is {writer.generation + 1:,}"
        )
