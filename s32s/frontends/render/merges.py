"""What two sides have made of a shared folder, for eyes: three lists, each path with who changed it, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from s32s.core import paths
from s32s.core.compare import Reason
from s32s.core.item import Item, Kind, changed_by
from s32s.core.merge import Conflict, Merge, Step, is_same
from s32s.core.steps import is_directory, kind_of, needs_bytes
from s32s.frontends.render import moments
from s32s.frontends.render.layout import amount, count, paint
from s32s.frontends.render.plans import reason_words, shares
from s32s.replication.merge_job import Contents

#: Lines of a difference that are shown.
_MOST_DIFF = 200
#: Marks and colours by kind of step.
_KINDS = {"new": ("+ new", "green"), "modified": ("~ modified", "yellow"), "deleted": ("- deleted", "red")}


def telling(steps: Sequence[Step]) -> list[Step]:
    """The steps worth a line: directories only where nothing that is in them is told, deletions first."""
    holding = {paths.parent(step.path) for step in steps}
    told = [step for step in steps if step.path not in holding or not is_directory(step)]
    return sorted(told, key=lambda step: (step.new is not None, step.path))


def merge_lines(made: Merge, *, limit: int | None, colour: bool) -> Iterator[str]:
    """The merge, a line at a time.

    Args:
        limit: paths to show; None for all.
        colour: whether the marks are painted.
    """
    lists = (
        ("to upload", [step_line(step, colour=colour) for step in telling(made.uploads)]),
        ("to download", [step_line(step, colour=colour) for step in telling(made.downloads)]),
        ("conflicts", [conflict_line(conflict, colour=colour) for conflict in made.conflicts]),
    )
    cut = shares([len(lines) for _, lines in lists], limit)
    for (title, lines), share in zip(lists, cut, strict=True):
        if not lines:
            continue
        yield f"  {paint(f'{title} ({len(lines):,})', 'bold', on=colour)}"
        yield from (f"    {line}" for line in lines[:share])
        if share < len(lines):
            yield f"    … and {len(lines) - share:,} more (--all shows them)"
    for path in made.frozen:
        yield f"    ! left alone  {paths.escape(path)}"
    yield f"  unchanged: {count(unchanged(made), 'file')}"


def unchanged(made: Merge) -> int:
    """How many files and links are the same on both sides."""
    apart = {step.path for step in (*made.uploads, *made.downloads) if not is_directory(step)}
    apart |= {conflict.path for conflict in made.conflicts}
    apart |= set(made.frozen)
    here = [made.mine.kind(row) for path in apart if (row := made.mine.find(path)) is not None]
    return max(0, made.mine.files - sum(kind is not Kind.DIR for kind in here))


def step_line(step: Step, *, colour: bool = False) -> str:
    """A step with its size, and who has changed the path last."""
    mark, paint_as = _KINDS[kind_of(step)]
    item = step.new or step.old
    assert item is not None
    size = f"  {amount(item.size)}" if needs_bytes(step) else ""
    slash = "/" if item.kind is Kind.DIR else ""
    is_dressed = step.new is not None and step.old is not None and is_same(step.new, step.old)
    note = "  (permissions or time)" if is_dressed else ""
    if step.new is not None and step.old is not None and step.new.kind is not step.old.kind:
        note = f"  ({reason_words(Reason.KIND, step.new, step.old)})"
    return f"{paint(f'{mark:<10}', paint_as, on=colour)}  {paths.escape(step.path)}{slash}{size}{note}{who(step)}"


def conflict_line(conflict: Conflict, *, colour: bool = False) -> str:
    """A conflict, and who has changed the other side."""
    there = last_changed(conflict.theirs)
    return (
        f"{paint('! conflict', 'red', on=colour)}  {paths.escape(conflict.path)}  {conflict.clash.value}"
        f"{f'; there by {there}' if there else ''}"
    )


def differing(path: str, contents: Contents) -> list[str]:
    """What differs between the two sides of a path, for who decides: of text line by line, else in bytes."""
    import difflib

    sides = contents.mine(path), contents.theirs(path)
    texts = [_text(side) for side in sides]
    if None in texts:
        sizes = ["nothing to show" if side is None else f"{len(side):,} bytes" for side in sides]
        return [f"{paths.escape(path)} is not text, or too large to show: here {sizes[0]}, there {sizes[1]}"]
    here, there = ((text or "").splitlines() for text in texts)
    lines = list(difflib.unified_diff(there, here, "theirs", "mine", lineterm="", n=2)) or ["the text is the same"]
    more = [f"… and {len(lines) - _MOST_DIFF:,} more lines"] if len(lines) > _MOST_DIFF else []
    return [*map(paths.escape, lines[:_MOST_DIFF]), *more]


def _text(data: bytes | None) -> str | None:
    if data is None:
        return ""
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def who(step: Step) -> str:
    """Who has changed a path last, as far as the other side says so."""
    known = last_changed(step.new) or last_changed(step.old)
    return f"  {known}" if known else ""


def last_changed(item: Item | None) -> str:
    """Who has changed an item last, and when; empty where that is not known."""
    if item is None or not item.changed:
        return ""
    name, when = changed_by(item)
    seconds = moments.seconds_of(when)
    return paths.escape(name) if seconds is None else f"{paths.escape(name)}, {moments.short(seconds)}"
