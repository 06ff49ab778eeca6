"""A plan for eyes: what would happen in counts and bytes, then path by path.

On a terminal long lists are cut so that a plan fits a screen, each kind by its fair share; what is cut is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from s32s.core import paths
from s32s.core.compare import Reason
from s32s.core.item import Item, Kind, only_directories
from s32s.core.plan import Plan, Put
from s32s.frontends.render.layout import amount, count, paint, table

_WORDS = {
    Reason.TARGET: "the link points elsewhere",
    Reason.SIZE: "size",
    Reason.CONTENT: "content",
    Reason.ETAG: "ETag",
    Reason.NEWER: "the source is newer, and the ETags cannot be compared",
    Reason.UNKNOWN: "content cannot be compared",
    Reason.MODE: "permissions",
    Reason.TIME: "modification time",
}

_KINDS = {Kind.FILE: "a file", Kind.LINK: "a link", Kind.DIR: "a directory", Kind.OTHER: "something else"}

_REJECTED = "! rejected"


@dataclass(frozen=True, slots=True)
class _Group:
    """One kind of change: its mark, its row in the overview, its paths."""

    mark: str
    colour: str
    number: str
    size: int
    lines: Sequence[str]


def plan_lines(plan: Plan, *, limit: int | None, colour: bool) -> Iterator[str]:
    """The plan, a line at a time.

    Args:
        limit: paths to show; None for all.
        colour: whether the marks are painted.
    """
    groups = [group for group in _groups(plan) if group.lines]
    rows = [[f"  {paint(group.mark, group.colour, on=colour)}", *_amounts(group)] for group in groups]
    if plan.unchanged:
        same = len(plan.unchanged)
        number = _counted(same, same - sum(1 for _ in plan.unchanged.directories()))
        at = len(rows) - bool(plan.rejected)
        rows.insert(at, ["  = unchanged", number, amount(plan.unchanged.size())])
    yield from table(rows, right={1, 2})
    if groups:
        yield ""
    cut = shares([len(group.lines) for group in groups], limit)
    for group, share in zip(groups, cut, strict=True):
        mark = paint(f"{group.mark:<10}", group.colour, on=colour)
        yield from (f"  {mark}  {line}" for line in group.lines[:share])
        if share < len(group.lines):
            yield f"  {mark}  … and {len(group.lines) - share:,} more (--all shows them)"


def telling(items: Iterable[Item]) -> list[Item]:
    """The items worth a line: files, links, and directories that hold none of the others."""
    listed = list(items)
    left_out = holders((item.path for item in listed), directories_of(listed))
    return [item for item in listed if item.path not in left_out]


def holders(listed: Iterable[str], directories: Set[str]) -> Set[str]:
    """Those of some directories in which one of the listed paths is: they get no line of their own."""
    return directories & {paths.parent(path) for path in listed} if directories else directories


def directories_of(items: Iterable[Item]) -> set[str]:
    """The paths of those that are directories."""
    return {item.path for item in items if item.kind is Kind.DIR}


def why(put: Put) -> str:
    """The reason for a put, in a word or two."""
    return reason_words(put.reason, put.item, put.old) if put.old is not None else ""


def reason_words(reason: Reason, new: Item, old: Item) -> str:
    """Why an item takes the place of another one, in a word or two."""
    if reason is Reason.KIND:
        return f"{_KINDS[new.kind]} instead of {_KINDS[old.kind]}"
    return _WORDS.get(reason, "")


def shown(item: Item) -> str:
    """A path for people; directories end in a slash."""
    return paths.escape(item.path) + ("/" if item.kind is Kind.DIR else "")


def change_lines(plan: Plan, *, colour: bool) -> Iterator[str]:
    """What a run has changed, path by path."""
    for group in _groups(plan):
        if group.mark != _REJECTED:
            mark = paint(f"{group.mark:<10}", group.colour, on=colour)
            yield from (f"  {mark}  {line}" for line in group.lines)


def _groups(plan: Plan) -> Iterator[_Group]:
    """What is destroyed comes first."""
    gone = plan.extras
    deleted = [shown(item) for item in telling(gone)]
    yield _Group("- deleted", "red", _number(gone), sum(item.size for item in gone), deleted)
    modified = {put.item.path: put for put in plan.modified}
    told = telling(put.item for put in plan.modified)
    yield _Group(
        "~ modified",
        "yellow",
        _counted(len(plan.modified), sum(not only_directories(put.item, put.old) for put in plan.modified)),
        sum(put.item.size for put in plan.modified if put.needs_bytes),
        [f"{shown(item)}  ({why(modified[item.path])})" for item in told],
    )
    new = [put.item for put in plan.new]
    yield _Group("+ new", "green", _number(new), sum(item.size for item in new), [shown(item) for item in telling(new)])
    rejected = [Item(rejection.path) for rejection in plan.rejected]
    lines = [f"{paths.escape(gone.path)}  ({paths.escape(gone.reason)})" for gone in plan.rejected]
    yield _Group(_REJECTED, "bold", _number(rejected), -1, lines)


def _amounts(group: _Group) -> list[str]:
    return [group.number, amount(group.size) if group.size >= 0 else ""]


def _number(items: Sequence[Item]) -> str:
    return _counted(len(items), sum(item.kind is not Kind.DIR for item in items))


def _counted(number: int, files: int) -> str:
    """How many files (and links), and directories where there are only these."""
    return count(files, "file") if files or not number else count(number, "directory")


def shares(lengths: Sequence[int], limit: int | None) -> list[int]:
    """Cut lengths so that they sum up to `limit`: the short ones whole, the long ones alike."""
    if limit is None or sum(lengths) <= limit:
        return list(lengths)
    parts = [0] * len(lengths)
    left = limit
    for done, at in enumerate(sorted(range(len(lengths)), key=lengths.__getitem__)):
        parts[at] = min(lengths[at], max(1, left // (len(lengths) - done)))
        left -= parts[at]
    return parts
