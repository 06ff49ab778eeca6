"""The planner: two trees and the rules in, a plan out. Pure: no disk, no network, no clock.

A plan is a value. It is made, shown, checked by the guards and only then executed; a dry run is a plan that nobody
executes. Executing `sync` leaves the destination equal to the source under the rules; `copy` never removes a path.
"""

from __future__ import annotations

import enum
import functools
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from s32s.core import paths, tree
from s32s.core.compare import Reason, difference
from s32s.core.item import Item, Kind
from s32s.core.rules import EVERYTHING, Rules, Verdict
from s32s.core.tree import Tree
from s32s.core.unchanged import NONE, Joined, Unchanged


class Verb(enum.Enum):
    """How far a run goes; the same for every role. A dry run shows what `sync`, or what `copy`, would do."""

    DRYRUN = "dryrun"
    DRYRUN_COPY = "dryrun-copy"
    COPY = "copy"
    SYNC = "sync"

    @property
    def changes(self) -> bool:
        """Whether the plan is executed."""
        return self in (Verb.COPY, Verb.SYNC)

    @property
    def deletes(self) -> bool:
        """Whether paths that the source lacks are removed."""
        return self in (Verb.DRYRUN, Verb.SYNC)


class Put(NamedTuple):
    """An item to bring over; `old` is what is there now."""

    item: Item
    reason: Reason
    old: Item | None = None

    @property
    def needs_bytes(self) -> bool:
        """Whether a body has to move: not for links, directories and changes of mode or time alone."""
        return self.item.kind is Kind.FILE and self.reason not in (Reason.MODE, Reason.TIME)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A path that is not brought over, and why, for people."""

    path: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run would do. All tuples are in path order.

    Attributes:
        puts: new and modified items.
        keeps: what is the same.
        extras: what the destination holds beyond the source, to be deleted.
        carried: what the destination holds beyond the source and may keep: under `copy`, and ignored paths of a master.
        rejected: source paths that may not travel.
        source_files: files and links of the source that take part.
        target_files: files and links that the destination holds now.
    """

    puts: tuple[Put, ...]
    unchanged: Unchanged
    extras: tuple[Item, ...]
    spared: tuple[Item, ...]
    rejected: tuple[Rejection, ...]
    source_files: int
    target_files: int

    @property
    def is_empty(self) -> bool:
        """Whether the destination already is as it should be."""
        return not self.puts and not self.extras

    @functools.cached_property
    def new(self) -> tuple[Put, ...]:
        """The puts of paths that the destination lacks."""
        return tuple(put for put in self.puts if put.reason is Reason.NEW)

    @functools.cached_property
    def modified(self) -> tuple[Put, ...]:
        """The puts of paths that the destination has otherwise."""
        return tuple(put for put in self.puts if put.reason is not Reason.NEW)

    @property
    def deletions(self) -> int:
        """Extras that are files or links: what `max_delete` counts."""
        return sum(1 for item in self.extras if item.kind is not Kind.DIR)

    @functools.cached_property
    def bodies(self) -> int:
        """How many files move."""
        return sum(1 for put in self.puts if put.needs_bytes)

    @functools.cached_property
    def size(self) -> int:
        """How many bytes move."""
        return sum(put.item.size for put in self.puts if put.needs_bytes)


def make(
    source: Tree, target: Tree, *, rules: Rules = EVERYTHING, deletes: bool = True, spare_ignored: bool = False
) -> Plan:
    """Plan how `target` becomes equal to `source`.

    Args:
        source: what should be.
        target: what is.
        rules: which source paths take part; what is outside of their `below` is carried over.
        deletes: False for `copy`: extras are carried over, and nothing is put where that would remove something.
        spare_ignored: True for masters and mirrors: ignored paths of the destination are carried over.
    """
    wanted, rejected = _wanted(source, rules)
    if not deletes:
        wanted, blocked = _unblocked(wanted, source, target)
        rejected += blocked
    puts: list[Put] = []
    kept_here, kept_there = array("q"), array("q")
    target_only: list[Item] = []
    named = source.paths if len(wanted) == len(source) else [source.path(row) for row in wanted]
    for at, to, count in tree.join(named, target.paths):
        if at is None:
            if to is not None:
                target_only.append(target[to])
            continue
        rows = wanted[at : at + count]
        if to is None:
            puts.append(Put(source[rows[0]], Reason.NEW))
        elif rows[-1] - rows[0] == count - 1 and source.is_same_run(rows[0], target, to, count):
            kept_here.extend(rows)
            kept_there.extend(range(to, to + count))
        else:
            for row, there in zip(rows, range(to, to + count), strict=True):
                if source.is_same(row, target, there) or not (reason := difference(source[row], target[there])):
                    kept_here.append(row)
                    kept_there.append(there)
                else:
                    puts.append(Put(source[row], reason, target[there]))
    extras, spared = _split(target_only, wanted, source, rules=rules, deletes=deletes, spare_ignored=spare_ignored)
    return Plan(
        puts=tuple(puts),
        unchanged=Unchanged(len(kept_here), lambda: Joined(source, kept_here, target, kept_there)),
        extras=extras,
        spared=spared,
        rejected=tuple(rejected),
        source_files=source.files if named is source.paths else sum(source.kind(row) is not Kind.DIR for row in wanted),
        target_files=target.files - (sum(item.kind is not Kind.DIR for item in spared) if rules.below else 0),
    )


def nothing(*, files: int, unchanged: Unchanged = NONE) -> Plan:
    """The plan for a destination that is known to be as it should be."""
    return Plan((), unchanged, (), (), (), source_files=files, target_files=files)


def apply_to_model(plan: Plan, target: Tree) -> Tree:
    """What `target` is after `plan`: the executor's specification, used by tests and by previews."""
    items = {item.path: item for item in target}
    for extra in plan.extras:
        del items[extra.path]
    for put in plan.puts:
        items[put.item.path] = put.item
    return tree.make(items.values())


def taking_part(source: Tree, rules: Rules) -> Sequence[int]:
    """The rows of a source that take part."""
    return _wanted(source, rules)[0]


def _wanted(source: Tree, rules: Rules) -> tuple[Sequence[int], list[Rejection]]:
    """The rows of the source that take part, and what is rejected."""
    if rules.takes_all and not rules.accept:
        return range(len(source)), []
    wanted = array("q")
    rejected: list[Rejection] = []
    for row, path in enumerate(source.paths):
        match rules.verdict(path, is_dir=source.kind(row) is Kind.DIR):
            case Verdict.ACCEPTED:
                wanted.append(row)
            case Verdict.REJECTED:
                rejected.append(Rejection(path, rules.reason(path)))
            case Verdict.IGNORED:
                pass
    if not rules.accept:
        return wanted, rejected
    # A pattern speaks of files: of directories only those come along that hold one.
    holding = _above(source.path(row) for row in wanted if source.kind(row) is not Kind.DIR)
    return [row for row in wanted if source.kind(row) is not Kind.DIR or source.path(row) in holding], rejected


def _above(listed: Iterable[str]) -> set[str]:
    """All directories above some paths."""
    return {above for path in listed for above in paths.ancestors(path)}


_NAMED = {Kind.FILE: "a file", Kind.LINK: "a symbolic link", Kind.OTHER: "something else"}


def _unblocked(wanted: Sequence[int], source: Tree, target: Tree) -> tuple[Sequence[int], list[Rejection]]:
    """Leave out what `copy` cannot place: a directory stands where a file should, or the other way round."""
    above_target = _above(target.paths)
    free: list[int] = []
    blocked: list[Rejection] = []
    for row in wanted:
        path, is_dir = source.path(row), source.kind(row) is Kind.DIR
        old = target.get(path)
        has_dir = (old is not None and old.kind is Kind.DIR) or path in above_target
        in_the_way = next(
            (
                above
                for above in paths.ancestors(path)
                if (there := target.get(above)) is not None and there.kind is not Kind.DIR
            ),
            None,
        )
        if not is_dir and has_dir:
            blocked.append(Rejection(path, "there is a directory, and nothing is deleted"))
        elif is_dir and old is not None and old.kind is not Kind.DIR:
            blocked.append(Rejection(path, f"there is {_NAMED[old.kind]}, and nothing is deleted"))
        elif in_the_way is not None:
            blocked.append(Rejection(path, f"{paths.quote(in_the_way)} is not a directory, and nothing is deleted"))
        else:
            free.append(row)
    return free, blocked


def _split(
    target_only: list[Item],
    wanted: Sequence[int],
    source: Tree,
    *,
    rules: Rules,
    deletes: bool,
    spare_ignored: bool,
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split what the destination holds beyond the wanted rows of the source into extras and carried items."""
    if any(item.kind is Kind.DIR for item in target_only):
        # A directory that the source does not name, and in which something of the source lies, is neither.
        holding = _above(source.path(row) for row in wanted)
        target_only = [item for item in target_only if item.kind is not Kind.DIR or item.path not in holding]
    if not deletes:
        return (), tuple(target_only)
    if not spare_ignored and not rules.below:
        return tuple(target_only), ()
    carried = {
        item.path
        for item in target_only
        if (spare_ignored and rules.ignores(item.path)) or rules.is_outside(item.path, is_dir=item.kind is Kind.DIR)
    }
    # A directory that still holds a carried item is not empty, so it is carried too.
    holding = _above(carried)

    def stays(item: Item) -> bool:
        return item.path in carried or (item.kind is Kind.DIR and item.path in holding)

    return tuple(item for item in target_only if not stays(item)), tuple(item for item in target_only if stays(item))
