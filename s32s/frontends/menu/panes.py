"""The list of entries, and the details of the one under the cursor: beside it where there is room, else below.

A state is told by symbol, colour and words, on the row under the cursor as well: that one has a marker and is bold.
"""

from __future__ import annotations

from collections.abc import Sequence

from s32s.agent.status import EntryState
from s32s.core.paths import escape
from s32s.frontends.menu.model import KEYS, Listing, Row
from s32s.frontends.menu.views import Line, bar, filled, notice_lines, plain
from s32s.frontends.render.layout import count, fit, width, wrap

#: From so many columns on, details are beside the list.
WIDE = 100
_BELOW = 8  # lines that details below the list take at the most

_GOOD, _WARN, _BAD, _DIM = "class:good", "class:warn", "class:bad", "class:dim"
_SYMBOLS = {
    EntryState.UP_TO_DATE: ("●", _GOOD),
    EntryState.RUNNING: ("◑", "class:strong"),
    EntryState.FAILED: ("✗", _BAD),
    EntryState.UNREACHABLE: ("✗", _BAD),
    EntryState.WENT_BACK: ("✗", _BAD),
    EntryState.NEVER_RUN: ("○", _DIM),
    EntryState.HELD: ("‖", _WARN),
    None: ("·", _DIM),
}
_OTHERWISE = ("◐", _WARN)


def list_screen(
    listing: Listing,
    *,
    title: str,
    notice: str,
    filtering: bool,
    details: bool,
    columns: int,
    rows: int,
) -> list[Line]:
    """The list of entries, with the keys below it."""
    visible = listing.visible()
    below = [_key_line(columns)]
    if filtering or listing.filter:
        cursor = "_" if filtering else ""
        below = [[("class:strong", fit(f" / {escape(listing.filter)}{cursor}", columns), None)], *below]
    if notice:
        below = [*notice_lines(notice, columns), *below]
    room = max(1, rows - 1 - len(below))
    if details and columns >= WIDE and room >= 4:
        body = _side_by_side(listing, visible, columns, room)
    else:
        body = _one_above_the_other(listing, visible, columns, room, details=details)
    return filled([bar(title, _place(listing, visible), columns)], body, below, columns, rows)


def _place(listing: Listing, visible: Sequence[Row]) -> str:
    """Where one is in the list."""
    told = [f"{len(listing.marked):,} marked"] if listing.marked else []
    of = f" of {count(len(listing.rows), 'entry')}" if listing.filter else ""
    if not visible or of:
        told.append(f"{len(visible):,}{of}" if of else count(0, "entry"))
    else:
        told.append(f"{listing.cursor + 1:,}/{len(visible):,}")
    return "  ".join(told)


def _side_by_side(listing: Listing, visible: Sequence[Row], columns: int, height: int) -> list[Line]:
    left = columns * 11 // 20
    right = columns - left
    listing.scroll(height - 2)
    inner = left - 2
    rows = [
        _row(listing, row, at, inner, with_direction=False, visible=visible)
        for at, row in _seen(listing, visible, height - 2)
    ]
    if not visible:
        rows = [plain(_nothing(listing), inner)]
    rows += [plain("", inner)] * (height - 2 - len(rows))
    chosen = listing.chosen
    told = _details(chosen, right - 4)[: height - 2]
    told += [plain("", right - 4)] * (height - 2 - len(told))
    edge: Line = [(_DIM, "│", None)]
    lines: list[Line] = [[*_top("Entries", left), *_top(escape(chosen.name) if chosen else "", right)]]
    for one, other in zip(rows, told, strict=True):
        lines.append([*edge, *one, *edge, *edge, ("", " ", None), *other, ("", " ", None), *edge])
    lines.append([(_DIM, f"╰{'─' * (left - 2)}╯╰{'─' * (right - 2)}╯", None)])
    return lines


def _top(title: str, columns: int) -> Line:
    shown = fit(title, min(width(title), columns - 5)) if title else ""
    head = f" {shown} " if shown else ""
    return [(_DIM, "╭", None), ("class:strong", head, None), (_DIM, "─" * (columns - 2 - width(head)) + "╮", None)]


def _one_above_the_other(
    listing: Listing, visible: Sequence[Row], columns: int, height: int, *, details: bool
) -> list[Line]:
    told: list[Line] = []
    if details and listing.chosen is not None:
        free = height - len(visible) - 1
        most = max(min(_BELOW, height // 3), free)
        told = _details(listing.chosen, columns - 2)[: max(0, most)]
        told = [[(_DIM, "─" * columns, None)], *([("", " ", None), *line, ("", " ", None)] for line in told)]
        if height - len(told) < 3:
            told = []
    seen = height - len(told)
    listing.scroll(seen)
    lines = [
        _row(listing, row, at, columns, with_direction=not details, visible=visible)
        for at, row in _seen(listing, visible, seen)
    ]
    if not visible:
        lines = [plain(_nothing(listing), columns)]
    return [*lines, *([plain("", columns)] * (seen - len(lines))), *told]


def _seen(listing: Listing, visible: Sequence[Row], height: int) -> list[tuple[int, Row]]:
    return list(enumerate(visible[listing.top : listing.top + max(0, height)], start=listing.top))


def _row(listing: Listing, row: Row, at: int, columns: int, *, with_direction: bool, visible: Sequence[Row]) -> Line:
    """One entry: marker, symbol, name, and then as much as there is room for."""
    tag = ("row", at)
    is_chosen = at == listing.cursor
    strong = " class:cursor" if is_chosen else ""
    symbol, colour = _SYMBOLS.get(row.kind, _OTHERWISE)
    marker = ("▶" if is_chosen else " ") + ("✓" if row.name in listing.marked else " ")
    longest = max(width(escape(other.name)) for other in visible)
    wide = max(4, min(longest, columns // 3))
    left = columns - wide - 8
    pieces: Line = [
        (f"class:key{strong}", f"{marker} ", tag),
        (colour + strong, f"{symbol} ", tag),
        (strong.strip(), f"{fit(escape(row.name), wide)}  ", tag),
    ]
    if with_direction and left >= 50:
        taken = min(left - 36, max(10, max(width(escape(other.direction)) for other in visible)))
        pieces.append((strong.strip(), f"{direction(row.direction, taken)}  ", tag))
        left -= taken + 2
    last = 14 if left >= 30 else 0
    generation = 9 if left >= 40 and row.generation else 0
    pieces.append((colour + strong, fit(row.state, left - last - generation + 1), tag))
    if generation:
        pieces.append((_DIM + strong, fit(f" gen {row.generation}", generation), tag))
    if last:
        pieces.append((_DIM + strong, fit(f" {row.last}", last), tag))
    return pieces


def _details(row: Row | None, columns: int) -> list[Line]:
    lines: list[Line] = []
    for style, text in row.details if row else ():
        lines += [[(style, fit(part, columns), None)] for part in (wrap(text, columns) if text else [""])]
    return lines


def _nothing(listing: Listing) -> str:
    return "  nothing matches the filter" if listing.filter else ""


def _key_line(columns: int) -> Line:
    """One line of keys: those that fit, in the order of their weight; help and the way out always."""
    line: Line = []
    *others, more, leave = KEYS
    always = sum(width(key) + width(word) + 3 for key, word in (more, leave))
    used = 0
    for key, word in others:
        taken = width(key) + width(word) + 3
        if used + taken + always > columns:
            break
        line += _key(key, word)
        used += taken
    gap = columns - used - always
    if gap < 0:
        return [("class:keys", fit(" ? more  q quit", columns), ("key", "?"))]
    return [*line, ("class:keys", " " * gap, None), *_key(*more), *_key(*leave)]


def _key(key: str, word: str) -> Line:
    tag = ("key", {"Enter": "enter", "space": " "}.get(key, key))
    return [("class:key", f" {key}", tag), ("class:keys", f" {word} ", tag)]


def direction(text: str, columns: int) -> str:
    """From > to, each cut at its beginning where both do not fit."""
    arrow = " <> " if " <> " in text else " > "
    source, _, target = escape(text).partition(arrow)
    room = columns - len(arrow)
    if width(source) + width(target) <= room:
        return fit(f"{source}{arrow}{target}", columns)
    left = min(width(source), max(room // 2, room - width(target)))
    return f"{fit(source, left, keep_end=True)}{arrow}{fit(target, room - left, keep_end=True)}"
