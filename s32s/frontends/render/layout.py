"""Small words of every screen: amounts, counts, colours, columns."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from s32s.core import text as words

if TYPE_CHECKING:
    from s32s.core.summary import Tally

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}

#: Front ends take all their words from here.
count = words.count


def can_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether colour belongs on a stream: a terminal that knows it, and nobody objects (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream goes to journald: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return bool(device) and (device, inode) == (str(status.st_dev), str(status.st_ino))


def paint(text: str, colour: str, *, on: bool) -> str:
    """`text` in a colour, where there are colours."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if on else text


def amount(size: int) -> str:
    """Bytes for people, in powers of ten as disks and networks are sold."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def progress_words(tally: Tally, seconds: float, *, phase: bool = False) -> str:
    """How far a run is after so many seconds, in words; each number says what it is."""
    told = [tally.phase] if phase else []
    if tally.files_of:
        told.append(f"{tally.files:,} of {count(tally.files_of, 'file')}")
    if tally.size_of:
        told.append(f"{amount(tally.size)} of {amount(tally.size_of)}")
        rate = tally.size / seconds if seconds > 0 else 0.0
        told.append(f"{amount(int(rate))}/s")
        if rate:
            told.append(f"{duration((tally.size_of - tally.size) / rate)} left")
    return ", ".join(told)


def duration(seconds: float) -> str:
    """`8 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def ago(seconds: float) -> str:
    """How long ago something was, in the largest unit that it fills."""
    for size, word in ((86400, "day"), (3600, "h"), (60, "min")):
        if (number := int(seconds // size)) > 0:
            return f"{number:,} {word}{'s' if word == 'day' and number > 1 else ''} ago"
    return "just now"


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """Rows in aligned columns, as wide as their content (wide characters count as two).

    Args:
        right: columns whose cells end at the same place.
    """
    if not rows:
        return []
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]

    def padded(row: Sequence[str]) -> str:
        cells = []
        for column, (cell, wide) in enumerate(zip(row, widths, strict=True)):
            space = " " * (wide - width(cell))
            cells.append(space + cell if column in right else cell + space)
        return "  ".join(cells).rstrip()

    return [padded(row) for row in rows]


def width(text: str) -> int:
    """Columns that a text takes: colours none, wide characters two."""
    import re
    import unicodedata

    if text.isascii() and "\x1b" not in text:
        return len(text)
    bare = re.sub(r"\x1b\[\d+m", "", text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in bare
    )


def fit(text: str, columns: int, *, keep_end: bool = False) -> str:
    """`text` in exactly so many columns: cut with an ellipsis, or filled with spaces.

    Args:
        keep_end: cut at the beginning, as of paths the end tells more.
    """
    taken = width(text)
    if taken <= columns:
        return text + " " * (columns - taken)
    if columns <= 0:
        return ""
    kept = ""
    used = 1
    for char in reversed(text) if keep_end else text:
        used += width(char)
        if used > columns:
            break
        kept += char
    cut = "…" + kept[::-1] if keep_end else kept + "…"
    return cut + " " * (columns - width(cut))


def wrap(text: str, columns: int, *, indent: str = "    ") -> list[str]:
    """A line cut into lines of at most so many columns, at spaces where there are some."""
    if width(text) <= columns:
        return [text]
    lines: list[str] = []
    rest = text
    while width(rest) > columns and columns > len(indent) + 8:
        at = used = 0
        for at, char in enumerate(rest):  # noqa: B007 # the place where it is full is what is wanted
            used += width(char)
            if used > columns:
                break
        space = rest.rfind(" ", len(indent) + 1, at + 1)
        at = space if space > 0 else at
        lines.append(rest[:at].rstrip())
        rest = indent + rest[at:].lstrip()
    return [*lines, rest]
