"""Three-way merge: what two sides have made of what they last had in common. Pure: no disk, no network, no clock.

A path was changed on a side when it is not what was last common, by content: kind, bytes, target. Who has changed it is
all that decides, never a time. The truth table; each line has a row in `tests/core/test_merge.py`:

    here                  there                    what happens
    --------------------  -----------------------  --------------------------------------------------------
    unchanged             unchanged                nothing
    new                   -                        upload
    modified              unchanged                upload
    deleted               unchanged                the deletion is uploaded
    kind changed          unchanged                upload, with all below
    -                     new                      download
    unchanged             modified                 download
    unchanged             deleted                  the deletion is downloaded
    unchanged             kind changed             download, with all below
    new                   new, the same            agreed
    modified              modified, to the same    agreed
    deleted               deleted                  agreed
    new                   new, another             conflict
    modified              modified, otherwise      conflict
    deleted               modified                 conflict
    modified              deleted                  conflict
    directory deleted     something new in it      conflict about what is new; the rest of the directory goes
    something new in it   directory deleted        conflict about what is new; the rest of the directory goes
    file or link          directory                conflict of all below, when both sides have changed something there
    mode or time changed  content unchanged        uploaded, and where both have changed only these, theirs are taken
    content unchanged     mode or time changed     downloaded
    not readable          anything                 frozen: neither side is touched
    a name                one of another case      two paths; told at the upload, see `portable.py`

A first merge has nothing in common: what only one side has goes to the other, what differs is a conflict, and nothing
is deleted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

from s32s.core import paths, tree
from s32s.core.item import Item, Kind
from s32s.core.tree import Tree


class Clash(enum.Enum):
    """Why two changes of one path do not go together."""

    NEW = "new on both sides, with different content"
    MODIFIED = "modified on both sides"
    DELETED_HERE = "deleted here, modified there"
    DELETED_THERE = "modified here, deleted there"
    DIRECTORY_DELETED_HERE = "new there, in a directory that was deleted here"
    DIRECTORY_DELETED_THERE = "new here, in a directory that was deleted there"
    KINDS = "a directory on one side, a file or link on the other, and changed on both"


class Resolution(enum.Enum):
    """How a conflict is settled."""

    MINE = "mine"
    THEIRS = "theirs"
    BOTH = "both"


class Step(NamedTuple):
    """One path that one side takes over from the other.

    Attributes:
        new: what it becomes; None where it is deleted.
        old: what it is there now; None where nothing is.
    """

    path: str
    new: Item | None
    old: Item | None


class Conflict(NamedTuple):
    """One path that both sides have changed, each in its way."""

    path: str
    mine: Item | None
    theirs: Item | None
    clash: Clash

    @property
    def is_tree(self) -> bool:
        """Whether it stands for all that is below, because there is a directory on a side."""
        return any(item is not None and item.kind is Kind.DIR for item in (self.mine, self.theirs))


class Copy(NamedTuple):
    """A path of ours that gets another name, so that both sides of a conflict are kept."""

    item: Item
    name: str


@dataclass(frozen=True, slots=True)
class Merge:
    """What is to be done so that both sides are equal.

    Attributes:
        mine, theirs, base: what was merged.
        uploads: what the other side takes from us, in the order of paths; a copy of ours is uploaded as new.
        downloads: what we take from the other side.
        conflicts: what neither side takes.
        copies: of ours, to be renamed before anything is downloaded.
        frozen: paths that could not be read here.
    """

    mine: Tree
    theirs: Tree
    base: Tree
    uploads: tuple[Step, ...] = ()
    downloads: tuple[Step, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    copies: tuple[Copy, ...] = ()
    frozen: tuple[str, ...] = ()


def merge(base: Tree, mine: Tree, theirs: Tree, *, frozen: Collection[str] = ()) -> Merge:
    """Find out what both sides have changed; see the table above.

    Args:
        base: what was last common; empty for two sides that have never met.
        frozen: paths that could not be read here, each with all that is below.
    """
    sides = _Sides(base, mine, theirs)
    different = apart(mine, theirs)
    clashing = sides.clashing_kinds(different)
    uploads: list[Step] = []
    downloads: list[Step] = []
    conflicts = [Conflict(path, mine.get(path), theirs.get(path), Clash.KINDS) for path in clashing]
    left_alone = {*frozen, *clashing}
    for path in different:
        if path in left_alone or any(above in left_alone for above in paths.ancestors(path)):
            continue
        here, there = mine.get(path), theirs.get(path)
        clash = sides.clash(path)
        if clash is not None:
            conflicts.append(Conflict(path, here, there, clash))
            if conflicts[-1].is_tree:
                left_alone.add(path)
        elif (way := sides.way(path)) is not None:
            (uploads if way else downloads).append(Step(path, here, there) if way else Step(path, there, here))
    made = Merge(
        mine, theirs, base, tuple(uploads), tuple(downloads), tuple(sorted(conflicts)), frozen=tuple(sorted(frozen))
    )
    return _with_directories(made)


def settled(made: Merge, choices: Mapping[str, Resolution], *, copy_name: Callable[[str], str]) -> Merge:
    """The same merge, in which some conflicts are settled; no content of either side is lost with `BOTH`.

    Args:
        choices: by the path of the conflict.
        copy_name: the name that ours gets where both are kept.
    """
    uploads, downloads = list(made.uploads), list(made.downloads)
    copies, left = list(made.copies), []
    for conflict in made.conflicts:
        choice = choices.get(conflict.path)
        if choice is None:
            left.append(conflict)
            continue
        if choice is Resolution.BOTH and (conflict.mine is None or conflict.theirs is None):
            choice = Resolution.THEIRS if conflict.mine is None else Resolution.MINE  # there is only one to be kept
        if choice is Resolution.BOTH:
            renamed = made.mine.within(conflict.path)
            top = copy_name(conflict.path)
            for item in renamed:
                copy = Copy(item, top + item.path[len(conflict.path) :])
                copies.append(copy)
                uploads.append(Step(copy.name, item._replace(path=copy.name), None))
        mine, theirs = (_below(side, conflict) for side in (made.mine, made.theirs))
        for path in sorted({*mine, *theirs}):
            here, there = mine.get(path), theirs.get(path)
            if choice is Resolution.MINE:
                uploads.append(Step(path, here, there))
            else:
                downloads.append(Step(path, there, here if choice is Resolution.THEIRS else None))
    settled_to = replace(
        made,
        uploads=tuple(sorted(uploads, key=itemgetter(0))),
        downloads=tuple(sorted(downloads, key=itemgetter(0))),
        conflicts=tuple(left),
        copies=tuple(copies),
    )
    return _with_directories(settled_to)


def chosen(made: Merge, uploads: Collection[str] | None = None, downloads: Collection[str] | None = None) -> Merge:
    """The same merge, of which only some steps are taken, with the directories that these need.

    Args:
        uploads, downloads: paths of the steps that are taken; None for all.
    """
    return _with_directories(
        replace(
            made,
            uploads=made.uploads if uploads is None else tuple(step for step in made.uploads if step.path in uploads),
            downloads=made.downloads
            if downloads is None
            else tuple(step for step in made.downloads if step.path in downloads),
        ),
        empties=False,
    )


def without_deletions(made: Merge) -> Merge:
    """What `copy` does: the same merge, in which neither side loses a path, nor what stands in the way of a step."""

    def kept(steps: tuple[Step, ...], taker: Tree) -> set[str]:
        return {
            step.path
            for step in steps
            if step.new is not None
            and (step.old is None or step.old.kind is step.new.kind or Kind.DIR not in (step.old.kind, step.new.kind))
            and not any(
                (there := taker.get(above)) is not None and there.kind is not Kind.DIR
                for above in paths.ancestors(step.path)
            )
        }

    return chosen(made, kept(made.uploads, made.theirs), kept(made.downloads, made.mine))


def outcome(made: Merge) -> tuple[Tree, Tree, Tree]:
    """Mine, theirs, and what is common, after all steps were taken.

    What is not the same on both sides then, and what is frozen, keeps the memory that there was of it.
    """
    moved = [copy.item.path for copy in made.copies]
    mine = made.mine.patched(moved, (copy.item._replace(path=copy.name) for copy in made.copies))
    mine, theirs = _taken(mine, made.downloads), _taken(made.theirs, made.uploads)

    def is_common(path: str) -> bool:
        is_frozen = any(paths.is_within(path, one) for one in made.frozen)
        return not is_frozen and is_same(mine.get(path), theirs.get(path))

    common = [item for item in mine if is_common(item.path)]
    remembered = [item for item in made.base if not is_common(item.path)]
    return mine, theirs, tree.make([*common, *remembered])


class _Sides:
    """The three trees, and questions about one path of them."""

    def __init__(self, base: Tree, mine: Tree, theirs: Tree) -> None:
        self._base, self._mine, self._theirs = base, mine, theirs

    def clashing_kinds(self, apart: Iterable[str]) -> list[str]:
        """Where a directory meets something else, and both sides have changed something at or below; tops alone."""
        found: list[str] = []
        for path in apart:
            item, other = self._mine.get(path), self._theirs.get(path)
            if item is None or other is None or (item.kind is Kind.DIR) is (other.kind is Kind.DIR):
                continue
            changed_here, changed_there = (
                self._has_changed_within(item.path, side) for side in (self._mine, self._theirs)
            )
            if changed_here and changed_there:
                found.append(item.path)
        return found

    def clash(self, path: str) -> Clash | None:
        """Why the two changes of a path do not go together; None where they do."""
        was, here, there = self._base.get(path), self._mine.get(path), self._theirs.get(path)
        changed_here, changed_there = not is_same(was, here), not is_same(was, there)
        if changed_here and changed_there:
            if is_same(here, there):
                return None
            if here is None or there is None:
                return Clash.DELETED_HERE if here is None else Clash.DELETED_THERE
            return Clash.NEW if was is None else Clash.MODIFIED
        if changed_there and there is not None and here is None and self._has_lost_directory(path, self._mine):
            return Clash.DIRECTORY_DELETED_HERE
        if changed_here and here is not None and there is None and self._has_lost_directory(path, self._theirs):
            return Clash.DIRECTORY_DELETED_THERE
        return None

    def way(self, path: str) -> bool | None:
        """Whether a path without a clash goes up, or down; None where there is nothing to do."""
        was, here, there = self._base.get(path), self._mine.get(path), self._theirs.get(path)
        if is_same(here, there):
            if here is None or there is None:
                return None
            if _are_alike(here, there):
                return True if _knows_more(here, there) else None
            return was is not None and is_same(was, there) and _are_alike(was, there)
        return is_same(was, there)

    def _has_changed_within(self, top: str, side: Tree) -> bool:
        """Whether a side has something new or modified at a path or below; of deletions alone nothing can be lost."""
        return any(not is_same(self._base.get(item.path), item) for item in side.within(top))

    def _has_lost_directory(self, path: str, side: Tree) -> bool:
        """Whether a side has deleted a directory above a path that both had."""
        return any(
            (was := self._base.get(above)) is not None and was.kind is Kind.DIR and side.get(above) is None
            for above in paths.ancestors(path)
        )


def apart(mine: Tree, theirs: Tree) -> list[str]:
    """Where two sides may differ, in order: of all other paths nothing is to be done, whatever was common."""
    found: list[str] = []
    for at, to, count in tree.join(mine.paths, theirs.paths):
        if at is None or to is None:
            found.append(theirs.path(to) if to is not None else mine.path(at or 0))
        elif not mine.is_same_run(at, theirs, to, count):
            found += (mine.path(at + nth) for nth in range(count) if not mine.is_same(at + nth, theirs, to + nth))
    return found


def is_same(one: Item | None, other: Item | None) -> bool:
    """Whether two items have the same content, whatever their modes and times; two that are not there have."""
    if one is None or other is None:
        return one is other
    if one.kind is not other.kind:
        return False
    if one.kind is Kind.FILE:
        return one.size == other.size and one.sha256 is not None and one.sha256 == other.sha256
    return one.kind is Kind.DIR or one.target == other.target


def _are_alike(one: Item, other: Item) -> bool:
    """Whether mode and time are the same, as far as both are known."""
    if one.mode != other.mode and one.mode is not None and other.mode is not None:
        return False
    is_timed = one.kind is Kind.FILE and one.mtime_ns is not None and other.mtime_ns is not None
    return not is_timed or one.mtime_ns == other.mtime_ns


def _knows_more(one: Item, other: Item) -> bool:
    """Whether mode or time of one are known, and not those of the other: of an object that no manifest names."""
    is_timed = one.kind is Kind.FILE and one.mtime_ns is not None and other.mtime_ns is None
    return is_timed or (one.mode is not None and other.mode is None)


def _with_directories(made: Merge, *, empties: bool = True) -> Merge:
    """Bring directories along that a step needs, and delete those that were deleted on a side and now hold nothing.

    Args:
        empties: False to delete none beyond those of the steps.
    """

    def completed(steps: tuple[Step, ...], giver: Tree, taker: Tree) -> tuple[Step, ...]:
        kept = {step.path: step for step in steps}
        for path in {above for step in steps if step.new is not None for above in paths.ancestors(step.path)}:
            known = kept.get(path)
            if known is not None and known.new is None:
                del kept[path]
            elif known is None and taker.get(path) is None and (item := giver.get(path)) is not None:
                kept[path] = Step(path, item, None)
        emptied = {
            item.path
            for item in made.base.of_kind(Kind.DIR)
            if (empties or item.path in kept)
            and giver.get(item.path) is None
            and (there := taker.get(item.path)) is not None
            and there.kind is Kind.DIR
        }
        gone = emptied | {path for path, step in kept.items() if step.new is None}
        stays = [path for path in taker.paths if path not in gone]
        stays += [path for path, step in kept.items() if step.new is not None]
        held = {above for path in stays for above in paths.ancestors(path)}
        frozen = {path for path in emptied if any(paths.is_within(path, one) for one in made.frozen)}
        for path in emptied - frozen:
            if path in held:
                kept.pop(path, None)
            else:
                kept[path] = Step(path, None, taker.get(path))
        return tuple(sorted(kept.values(), key=itemgetter(0)))

    return replace(
        made,
        uploads=completed(made.uploads, made.mine, made.theirs),
        downloads=completed(made.downloads, made.theirs, made.mine),
    )


def _below(side: Tree, conflict: Conflict) -> dict[str, Item]:
    """What a side has at a conflict, and below it where that belongs to it."""
    if not conflict.is_tree:
        item = side.get(conflict.path)
        return {} if item is None else {conflict.path: item}
    return {item.path: item for item in side.within(conflict.path)}


def _taken(side: Tree, steps: Iterable[Step]) -> Tree:
    listed = list(steps)
    gone = [step.path for step in listed if step.new is None]
    return side.patched(gone, (step.new for step in listed if step.new is not None))
