"""The generations of an entry: what changed, who pushed, which are kept here, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, field

from s32s.agent.history import History, Past
from s32s.core.paths import escape
from s32s.core.text import number_words, tree_words
from s32s.frontends.menu.views import Line, bar, filled, notice_lines, scrolled
from s32s.frontends.render import moments
from s32s.frontends.render.layout import amount, count, fit, width

#: What stands above the columns.
HEAD = ["", "Generation", "Published", "By", "Changes", "Files", "Size", "Said of it"]
#: Those with numbers.
RIGHT = {1, 5, 6}


@dataclass(slots=True)
class PastList:
    """What is known of one entry's generations, the newest first.

    Attributes:
        entry: its name.
        history: the generations.
        held: at which one the entry is held, for people; empty where it is not.
        is_slave: whether going back means a tree that is kept on this machine.
        cursor: the line that is chosen.
        top: the first line that is seen.
        notice: what people should know.
    """

    entry: str
    history: History
    held: str = ""
    is_slave: bool = False
    cursor: int = 0
    top: int = 0
    notice: str = ""
    _cells: list[list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self._cells = [cells(past) for past in self.history.generations]

    @property
    def chosen(self) -> Past | None:
        """The generation under the cursor."""
        return self.history.generations[self.cursor] if self.history.generations else None

    def move(self, by: int) -> None:
        """Choose another line."""
        self.notice = ""
        self.cursor = max(0, min(self.cursor + by, len(self.history.generations) - 1))

    def why_not_back(self) -> str:
        """Why there is no way back to the chosen generation from here; empty where there is one."""
        past = self.chosen
        if past is None:
            return "there is nothing to go back to"
        if past.is_here and self.is_slave:
            return f"{tree_words(past.number)} is what is here"
        if not self.is_slave:
            return f"generation {past.number:,} is the newest one" if past.is_current else ""
        if past.kept_until_s is None:
            return f'{tree_words(past.number)} is not kept on this machine ("keep" in the configuration)'
        return ""

    def lines(self, columns: int, rows: int) -> list[Line]:
        """The picture."""
        told = self.held or count(len(self._cells), "generation")
        release = "   r releases it" if self.held else ""
        keys = f" Enter shows what changed   b goes back to it{release}   Esc goes back"
        below = notice_lines(self.notice or self.history.trouble, columns)
        below.append([("class:keys", fit(keys, columns), None)])
        wide = [max(width(row[at]) for row in [HEAD, *self._cells]) for at in range(len(HEAD))]
        head: list[Line] = [
            bar(f"generations of {escape(self.entry)}", told, columns),
            [("class:dim", _row(HEAD, wide, columns), None)],
        ]
        height = max(1, rows - len(head) - len(below))
        self.top = scrolled(self.top, self.cursor, height)
        body: list[Line] = [] if self._cells else [[("class:dim", fit("  None is known.", columns), None)]]
        for at, row in enumerate(self._cells[self.top : self.top + height], start=self.top):
            style = "class:chosen" if at == self.cursor else ""
            body.append([(style, _row(row, wide, columns), ("row", at))])
        return filled(head, body, below, columns, rows)


def _row(cells: list[str], wide: list[int], columns: int) -> str:
    parts = []
    for at, (cell, room) in enumerate(zip(cells, wide, strict=True)):
        space = " " * (room - width(cell))
        parts.append(space + cell if at in RIGHT else cell + space)
    return fit(" " + "  ".join(parts), columns)


def cells(past: Past) -> list[str]:
    """What is told of a generation, as of `HEAD`."""
    changes = f"+{past.new:,} ~{past.modified:,} -{past.deleted:,}" if past.new is not None else ""
    mark = "here" if past.is_here else "kept" if past.kept_until_s is not None else ""
    said = past.message
    if past.time_s is None and past.kept_until_s is not None:
        said = f"replaced here on {moments.short(past.kept_until_s)}"
    return [
        mark,
        number_words(past.number),
        moments.short(past.time_s) if past.time_s is not None else "",
        escape(past.by),
        changes,
        f"{past.files:,}",
        amount(past.size),
        escape(said),
    ]
