"""Earlier trees that go: those beyond the number that is kept, and that of the generation that is live again.

A file that is kept lies in the record of the last tree that had it, and an older tree may need it all the same. So a
record from the middle hands on what an older tree still needs before it goes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Sequence, Set

from s32s.core.errors import EntryFailed, IntegrityError
from s32s.stores.local.holding import open_holder
from s32s.stores.local.kept import KeptTree, KeptTrees, groups, is_there, open_kept, place_of
from s32s.stores.local.outer import kept_name, left_over

_SHA256 = 64


def prune(
    root: str,
    *,
    in_place: bool,
    keep: int,
    generation: int,
    back: KeptTree | None = None,
    live: Callable[[Collection[str]], Set[str]] = lambda contents: frozenset(),
) -> None:
    """Remove the records of trees beyond `keep`, and of the generation that is live.

    Args:
        root, in_place: see `kept_of`.
        keep: how many trees stay.
        generation: that the target holds now, as a whole; 0 without one.
        back: the tree that was brought back just now.
        live: which of some contents, by SHA-256, the target is known to hold.

    Raises:
        Refused, EntryFailed: something could not be removed.
        Locked: another run works on the target.
    """
    if is_there(root, in_place=in_place):
        with open_holder(root, in_place=in_place, writable=True) as holder, open_kept(holder) as trees:
            if trees is None:
                return
            try:
                _prune(trees, keep, lambda tree: tree == back or 0 < generation == tree.generation, live)
                if not keep:
                    trees.clear()
                    os.rmdir(kept_name(holder.name), dir_fd=holder.parent)
            except OSError as exc:
                raise EntryFailed(left_over(place_of(holder), exc)) from exc


def give_up(root: str, *, in_place: bool, keep: int, wanted: KeptTree | None = None) -> None:
    """Remove the oldest trees beyond `keep` before a change, which may need their room.

    Args:
        root, in_place: see `kept_of`.
        wanted: a tree that the change needs, and with it those after.

    Raises:
        Refused, EntryFailed, Locked: see `prune`.
    """
    if not is_there(root, in_place=in_place):
        return
    with (
        open_holder(root, in_place=in_place, writable=True) as holder,
        open_kept(holder) as trees,
    ):
        if trees is None:
            return
        found = groups(trees.found())
        before = [group for group in found if wanted is None or group[0].number < wanted.number]
        try:
            for group in before[: max(len(found) - keep, 0)]:
                _drop(trees, group)
        except OSError as exc:
            raise EntryFailed(left_over(place_of(holder), exc)) from exc


def _prune(
    trees: KeptTrees,
    keep: int,
    is_live: Callable[[KeptTree], bool],
    live: Callable[[Collection[str]], Set[str]],
) -> None:
    trees.tidy()
    found = groups(trees.found())
    again = [group for group in found if is_live(group[0])]
    others = [group for group in found if group not in again]
    too_many = max(len(others) - keep, 0)
    for group in others[:too_many]:
        _drop(trees, group)
    for group in again:
        older = [other for other in others[too_many:] if other[0].number < group[0].number]
        if older:
            _hand_on(trees, group, older, live)
        _drop(trees, group)


def _hand_on(
    trees: KeptTrees,
    group: Sequence[KeptTree],
    older: Sequence[Sequence[KeptTree]],
    live: Callable[[Collection[str]], Set[str]],
) -> None:
    """Let the newest of the older trees have what one of them needs and the target has not got."""
    for record in group:
        with trees.files(record) as files:
            left = {name for name in os.listdir(files) if _is_sha256(name)}
        needed: set[str] = set()
        for first, *_ in older if left else ():
            with contextlib.suppress(IntegrityError):  # a tree whose list is damaged needs nothing any more
                held = trees.tree(first)
                needed |= {name for name in left if held.content_row(bytes.fromhex(name)) is not None}
        if needed:
            trees.hand_over(record, older[-1][-1], needed - live(needed))


def _is_sha256(name: str) -> bool:
    return len(name) == _SHA256 and not set(name) - set("0123456789abcdef")


def _drop(trees: KeptTrees, group: Sequence[KeptTree]) -> None:
    for record in group:
        trees.drop(record)
