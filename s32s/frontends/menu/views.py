"""How the menu's screens look: values in, lines of styled pieces out, exactly as wide and high as the terminal is.

A piece is (style, text, tag). A tag says what a click on it means: ("row", number) or ("key", key).
"""

from __future__ import annotations

from collections.abc import Sequence

from s32s.core.paths import escape
from s32s.frontends.menu.model import Choosing, Progress, Running, Text
from s32s.frontends.render.layout import amount, count, fit, progress_words, width, wrap

Tag = tuple[str, int | str]
Piece = tuple[str, str, Tag | None]
Line = list[Piece]

_MARKS = {
    "+": "class:good",
    "~": "class:warn",
    "-": "class:bad",
    "!": "class:warn",
    "=": "class:dim",
    "✓": "class:good",
    "✗": "class:bad",
    "■": "class:warn",
}


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
    styles = _styles(wrapped)[text.top : text.top + height]
    body: list[Line] = [[(style, fit(line, columns), None)] for style, line in zip(styles, shown, strict=True)]
    return filled([bar(text.title, place, columns)], body, below, columns, rows)


def choice_screen(choosing: Choosing, *, notice: str, columns: int, rows: int) -> list[Line]:
    """A list to take one of."""
    wide = max((width(word) for word, _ in choosing.choices), default=0)
    body: list[Line] = [plain("", columns)]
    for at, (word, meaning) in enumerate(choosing.choices):
        style = "class:chosen" if at == choosing.cursor else ""
        body.append([(style, fit(f"  {fit(word, wide)}   {meaning}", columns), ("row", at))])
    below = notice_lines(notice, columns)
    below.append([("class:keys", fit(" Enter selects   Esc goes back", columns), None)])
    return filled([bar(choosing.title, "", columns)], body, below, columns, rows)


def run_screen(running: Running, *, now_s: float, columns: int, rows: int) -> list[Line]:
    """A run at work: entry by entry, and all of it in the last line."""
    of = len(running.entries)
    title = f"s32s  {running.verb.value}"
    head = [bar(title, f"{running.done:,} of {count(of, 'entry')} done", columns), plain("", columns)]
    said = " stopping: what is under way comes to its end first" if running.stopping else " Ctrl-C stops"
    below: list[Line] = [[("class:keys", fit(said, columns), None)]]
    if of > 1 and running.size_of:
        total = f"{amount(running.size)} of {amount(running.size_of)}"
        below = [[("", " " * 2, None), *_bar_line("total", running.size, running.size_of, total, columns - 2)], *below]
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
    name = fit(escape(entry.name), min(28, columns // 3))
    rest = columns - width(name) - 6
    if entry.outcome:
        mark, style = (
            ("✗", "class:bad") if entry.failed else ("■", "class:warn") if entry.stopped else ("✓", "class:good")
        )
        return [
            [(style, f"  {mark} ", None), ("", f"{name}  ", None), (style, fit(_one_line(entry.outcome), rest), None)]
        ]
    if entry.phase == "waiting" or not entry.files_of:
        style = "class:dim" if entry.phase == "waiting" else "class:strong"
        return [[("", f"    {name}  ", None), (style, fit(entry.phase, rest), None)]]
    seconds = now_s - entry.began_s if entry.began_s is not None else 0.0
    return [
        [("", f"    {name}  ", None), ("class:strong", fit(entry.phase, rest), None)],
        [("", "    ", None), *_bar_line("", entry.size, entry.size_of, "", columns - 4)],
        [("class:dim", fit(f"    {progress_words(entry, seconds)}", columns), None)],
    ]


def _bar_line(name: str, part: int, whole: int, told: str, columns: int) -> Line:
    """A bar with its percentage, as wide as there is room."""
    percent = f" {100 * part // whole if whole else 0:>3} %"
    before, after = f"{name}  " if name else "", f"  {told}" if told else ""
    room = columns - width(before) - width(percent) - width(after)
    if room < 4:
        return plain(f"{before}{percent}{after}", columns)
    full = min(room, room * part // whole) if whole else 0
    return [
        ("", before, None),
        ("class:good", "━" * full, None),
        ("class:dim", "─" * (room - full), None),
        ("", percent + after, None),
    ]


def scrolled(top: int, cursor: int, height: int) -> int:
    """The first line to show of a list, so that the chosen one is among `height`."""
    return min(max(top, cursor - height + 1), cursor)


def notice_lines(notice: str, columns: int) -> list[Line]:
    """A notice, on three lines at most."""
    return [[("class:warn", fit(f" {line}", columns), None)] for line in wrap(notice, columns - 2)[:3] if notice]


def bar(left: str, right: str, columns: int) -> Line:
    """The line at the top: reversed, and so seen without colours, too."""
    left = f" {left} "
    right = f" {right} " if right else ""
    return [("class:header", fit(left, columns - width(right)) + right, None)]


def _styles(lines: Sequence[str]) -> list[str]:
    """How lines are painted: by their marks; what belongs to an error is as red as its first line."""
    styles: list[str] = []
    for line in lines:
        bare = line.lstrip()
        is_marked = bare[1:2] == " " and line.startswith("  ")
        if styles and styles[-1] == "class:bad" and bare and len(line) - len(bare) >= 6:
            styles.append("class:bad")
        else:
            styles.append(_MARKS.get(bare[:1], "") if is_marked else "")
    return styles


def _one_line(text: str) -> str:
    """A text of several lines as one, with nothing in it that steers the terminal."""
    return escape(" ".join(text.split()))


def plain(text: str, columns: int) -> Line:
    return [("", fit(text, columns), None)]


def filled(head: list[Line], body: list[Line], below: list[Line], columns: int, rows: int) -> list[Line]:
    """Head on top, the keys at the bottom, and as many lines as the terminal has."""
    room = max(0, rows - len(head) - len(below))
    middle = body[:room] + [plain("", columns)] * (room - len(body[:room]))
    return (head + middle + below)[:rows]
