"""What is to be done with a shared folder: the job, what is remembered between runs, and who decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from s32s.core import paths
from s32s.core.errors import EntryFailed
from s32s.core.guards import Limits
from s32s.core.item import Item
from s32s.core.merge import Merge
from s32s.core.plan import Verb
from s32s.core.rules import Rules
from s32s.core.tree import Tree


class Common(NamedTuple):
    """What this machine knows to be equal on both sides.

    Attributes:
        tree: of both.
        generation: of the prefix, that was seen last.
        folder: the id of the folder; empty for one that was never synced.
        manifest: SHA-256 of that generation's manifest.
        is_strict: whether the server of the prefix keeps conditions; None where that was not tried.
    """

    tree: Tree
    generation: int = 0
    folder: str = ""
    is_strict: bool | None = None
    manifest: str = ""


class Memory(Protocol):
    """Where that is kept between runs."""

    def load(self) -> Common:
        """What is known."""
        ...

    def note(self, path: str, item: Item | None) -> None:
        """One path has become equal: it is this item, or is gone on both sides."""
        ...

    def save(self, common: Common) -> None:
        """Keep all of it."""
        ...


class Contents(NamedTuple):
    """What a file holds on either side, for who decides; None where it is not there, or larger than a megabyte."""

    mine: Callable[[str], bytes | None]
    theirs: Callable[[str], bytes | None]


Decide = Callable[[Merge, Contents], Merge]


def undecided(made: Merge, contents: Contents) -> Merge:
    """Everything is taken but the conflicts."""
    return made


class MergeJob(NamedTuple):
    """What is asked for.

    Attributes:
        rules: what takes part; the rest is neither sent nor deleted, on either side.
        accepts_older: go on from a generation that is older than the last one seen, as if nothing were common.
        verify: read every file.
        lists: look at the objects also where head and folder are as they were.
        changed: who this is and when, for what is uploaded: see `Item.changed`.
        decide: takes a merge, and gives back what is to be done of it; by default all but the conflicts.
        name: of the entry, for what people are told to type.
        via: the place that the folder is shared through, as it was named.
    """

    verb: Verb
    rules: Rules
    limits: Limits
    changed: Callable[[], str]
    accepts_older: bool = False
    verify: bool = False
    lists: bool = True
    decide: Decide = undecided
    name: str = ""
    via: str = ""


def left_undone(decided: Merge, waits: Mapping[str, str], moved: Sequence[str]) -> EntryFailed | None:
    """What is left undone, although all else was done; None where nothing is.

    Args:
        waits: paths that could not be synced, and why.
        moved: paths that changed here during the run.
    """
    told: list[str] = []
    names = {conflict.path: conflict.clash.value for conflict in decided.conflicts}
    if decided.conflicts:
        told.append(f"{len(names):,} conflict{'s are' if len(names) > 1 else ' is'} left undecided")
    if waits:
        told.append(f"{len(waits):,} path{'s' if len(waits) > 1 else ''} could not be synced")
        names |= waits
    if moved:
        told.append(f"{len(moved):,} changed here meanwhile and stayed")
        names |= dict.fromkeys(moved, "it changed here meanwhile")
    if not told:
        return None
    hint = "decide at a terminal, or with --keep mine, theirs or both" if decided.conflicts else "run it again"
    return EntryFailed(f"{' and '.join(told)}; all else is done:{paths.listed(names)}", hint=hint, reasons=names)
