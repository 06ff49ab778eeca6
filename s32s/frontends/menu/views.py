"""How the menu looks: values in, lines of styled pieces out, exactly as wide and high as the terminal is.

A piece is (style, text, tag). A tag says what a click on it means: ("row", number) or ("key", key).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from s32s.agent.status import EntryState
from s32s.core.paths import escape
from s32s.frontends.menu.model import KEYS, Choosing, Listing, Progress, Running, Text
from s32s.frontends.render.layout import amount, count, fit, width, wrap

Tag = tuple[str, int | str]
Piece = tuple[str, str, Tag | None]
Line = list[Piece]

_STATES = {
    EntryState.UP_TO_DATE: "class:good",
    EntryState.FAILED: "class:bad",
    EntryState.NEVER_RUN: "class:dim",
    None: "class:dim",
}
_MARKS = {"+": "class:good", "~": "class:warn", "-": "class:bad", "!": "class:strong", "=": "class:dim"}
_DETAILS = 5  # lines of the pane below the list


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
    of = f"{len(visible):,} of " if listing.filter else ""
    head = [bar(title, f"{of}{count(len(listing.rows), 'entry')}", columns)]
    below = _key_lines(columns)
    if details:
        chosen = listing.chosen
        told = [line for text in (chosen.details if chosen else ()) for line in wrap(text, columns - 2)]
        pane: list[Line] = [[("class:dim", "─" * columns, None)]]
        pane += [_plain(f" {line}", columns) for line in told[: _DETAILS - 1]]
        below = [*pane, *([_plain("", columns)] * (_DETAILS - len(pane))), *below]
    if filtering or listing.filter:
        cursor = "_" if filtering else ""
        below = [[("class:strong", fit(f" / {escape(listing.filter)}{cursor}", columns), None)], *below]
    if notice:
        below = [*_notice_lines(notice, columns), *below]
    name, direction, last, state = _columns(visible, columns)
    titles = f" {fit('NAME', name)}  {fit('FROM > TO', direction)}  {fit('LAST RUN', last)}  {fit('STATE', state)}"
    head.append([("class:dim", fit(titles, columns), None)])
    height = max(1, rows - len(head) - len(below))
    listing.scroll(height)
    body: list[Line] = []
    for at, row in enumerate(visible[listing.top : listing.top + height], start=listing.top):
        chosen_style = "class:chosen" if at == listing.cursor else ""
        state_style = chosen_style or _STATES.get(row.kind, "class:warn")
        tag: Tag = ("row", at)
        left = f" {fit(escape(row.name), name)}  {_direction(row.direction, direction)}  {fit(row.last, last)}  "
        body.append([(chosen_style, left, tag), (state_style, fit(row.state, columns - width(left)), tag)])
    if not visible:
        body.append(_plain("  nothing matches the filter" if listing.filter else "", columns))
    return filled(head, body, below, columns, rows)


def text_screen(text: Text, *, wrapped: Sequence[str], footer: str, columns: int, rows: int) -> list[Line]:
    """Lines to read, as many as fit."""
    height = max(1, rows - 2)
    text.scroll(0, length=len(wrapped), height=height)
    shown = wrapped[text.top : text.top + height]
    place = ""
    if len(wrapped) > height:
        place = f"{text.top + 1:,}-{text.top + len(shown):,} of {len(wrapped):,} lines"
    style = "class:question" if text.question else "class:keys"
    below: list[Line] = [[(style, fit(f" {text.question or footer}", columns), None)]]
    body: list[Line] = [[(_line_style(line), fit(line, columns), None)] for line in shown]
    return filled([bar(text.title, place, columns)], body, below, columns, rows)


def choice_screen(choosing: Choosing, *, notice: str, columns: int, rows: int) -> list[Line]:
    """A list to take one of."""
    wide = max((width(word) for word, _ in choosing.choices), default=0)
    body: list[Line] = [_plain("", columns)]
    for at, (word, meaning) in enumerate(choosing.choices):
        style = "class:chosen" if at == choosing.cursor else ""
        body.append([(style, fit(f"  {fit(word, wide)}   {meaning}", columns), ("row", at))])
    below = _notice_lines(notice, columns)
    below.append([("class:keys", fit(" Enter takes it   Esc goes back", columns), None)])
    return filled([bar(choosing.title, "", columns)], body, below, columns, rows)


def run_screen(running: Running, *, now_s: float, columns: int, rows: int) -> list[Line]:
    """A run at work: all of it in two lines, then entry by entry."""
    of = len(running.entries)
    title = f"s32s  {running.verb.value}"
    seconds = max(0.001, now_s - running.began_s)
    parts = [
        count(running.files, "file"),
        amount(running.size),
        f"{amount(int(running.size / seconds))}/s",
        _time(seconds),
    ]
    head = [bar(title, f"{running.done:,} of {count(of, 'entry')} done", columns)]
    head += [_plain("", columns), _plain(f"  {_gauge(running.done, of, 20)}  {'   '.join(parts)}", columns)]
    head.append(_plain("", columns))
    said = " stopping: what is under way comes to its end first" if running.stopping else " Ctrl-C stops"
    below: list[Line] = [[("class:keys", fit(said, columns), None)]]
    lines: list[Line] = []
    at_work = 0
    for entry in running.entries.values():
        if not entry.outcome and entry.phase != "waiting":
            at_work = len(lines)
        lines += _entry_lines(entry, now_s, columns)
    lines += [[("class:warn", fit(f"  {_one_line(line)}", columns), None)] for line in running.warnings[-3:]]
    height = max(1, rows - len(head) - len(below))
    top = max(0, min(at_work - height // 2, len(lines) - height))
    return filled(head, lines[top : top + height], below, columns, rows)


def _entry_lines(entry: Progress, now_s: float, columns: int) -> list[Line]:
    style = "class:bad" if entry.failed else "class:warn" if entry.stopped else "class:good"
    name = fit(escape(entry.name), min(28, columns // 3))
    if entry.outcome:
        return [[("", f"  {name}  ", None), (style, fit(_one_line(entry.outcome), columns - width(name) - 4), None)]]
    if entry.phase == "waiting" or not entry.files_of:
        style = "class:dim" if entry.phase == "waiting" else "class:strong"
        return [[("", f"  {name}  ", None), (style, fit(entry.phase, columns - width(name) - 4), None)]]
    left = entry.left_s(now_s)
    parts = [
        f"{entry.files:,}/{entry.files_of:,} files",
        f"{amount(entry.size)} of {amount(entry.size_of)}",
        *([f"{_time(left)} left"] if left is not None else []),
    ]
    told = f"{_gauge(entry.size, entry.size_of, 20)}  {'   '.join(parts)}"
    return [
        [("", f"  {name}  ", None), ("class:strong", fit(entry.phase, columns - width(name) - 4), None)],
        _plain(f"    {told}", columns),
    ]


def _notice_lines(notice: str, columns: int) -> list[Line]:
    """A notice, on three lines at most."""
    return [[("class:warn", fit(f" {line}", columns), None)] for line in wrap(notice, columns - 2)[:3] if notice]


def bar(left: str, right: str, columns: int) -> Line:
    """The line at the top: reversed, and so seen without colours, too."""
    left = f" {left} "
    right = f" {right} " if right else ""
    return [("class:header", fit(left, columns - width(right)) + right, None)]


def _key_lines(columns: int) -> list[Line]:
    lines: list[Line] = [[]]
    used = 1
    for key, word in KEYS:
        taken = width(key) + width(word) + 3
        if used + taken > columns:
            lines.append([])
            used = 1
        tag: Tag = ("key", "enter" if key == "Enter" else key)
        lines[-1] += [("class:key", f" {key}", tag), ("class:keys", f" {word} ", tag)]
        used += taken
    return [[*line, ("class:keys", " " * (columns - sum(width(text) for _, text, _ in line)), None)] for line in lines]


def _columns(rows: Iterable[object], columns: int) -> tuple[int, int, int, int]:
    """Widths of name, direction, last run and state: the direction takes what is left."""
    listed = list(rows)
    longest = max((width(escape(getattr(row, "name", ""))) for row in listed), default=4)
    name = max(4, min(longest, columns // 4))
    last = 12
    state = max(9, min(max((width(getattr(row, "state", "")) for row in listed), default=9), columns // 4))
    return name, max(10, columns - name - last - state - 8), last, state


def _direction(text: str, columns: int) -> str:
    """From > to, each cut at its beginning where both do not fit."""
    source, _, target = escape(text).partition(" > ")
    if width(source) + width(target) + 3 <= columns:
        return fit(f"{source} > {target}", columns)
    half = (columns - 3) // 2
    left = min(width(source), max(half, columns - 3 - width(target)))
    return f"{fit(source, left, keep_end=True)} > {fit(target, columns - 3 - left, keep_end=True)}"


def _line_style(line: str) -> str:
    bare = line.lstrip()
    if ": FAILED: " in line:
        return "class:bad"
    return _MARKS.get(bare[:1], "") if bare[1:2] == " " and line.startswith("  ") else ""


def _gauge(part: int, whole: int, columns: int) -> str:
    full = columns if not whole else min(columns, columns * part // whole)
    return f"[{'#' * full}{'.' * (columns - full)}]"


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _one_line(text: str) -> str:
    """A text of several lines as one, with nothing in it that steers the terminal."""
    return escape(" ".join(text.split()))


def _plain(text: str, columns: int) -> Line:
    return [("", fit(text, columns), None)]


def filled(head: list[Line], body: list[Line], below: list[Line], columns: int, rows: int) -> list[Line]:
    """Head on top, the keys at the bottom, and as many lines as the terminal has."""
    room = max(0, rows - len(head) - len(below))
    middle = body[:room] + [_plain("", columns)] * (room - len(body[:room]))
    return (head + middle + below)[:rows]
