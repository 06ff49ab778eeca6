"""The trash of a shared folder: what was replaced or deleted, and which of it comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from s32s.agent.trash import Lost
from s32s.core.paths import escape
from s32s.frontends.menu.views import Line, bar, filled, scrolled
from s32s.frontends.render import moments
from s32s.frontends.render.layout import amount, count, fit

_KEYS = " Space picks  a all  n none  Enter brings back what is picked  Esc goes back"


@dataclass(slots=True)
class TrashList:
    """What is in the trash of one entry, the latest first.

    Attributes:
        entry: its name.
        lost: what is in it.
        cursor: the line that is chosen.
        top: the first line that is seen.
        picked: the lines that are to come back.
    """

    entry: str
    lost: list[Lost]
    cursor: int = 0
    top: int = 0
    picked: set[int] = field(default_factory=set)

    @property
    def wanted(self) -> list[Lost]:
        """What is to come back: all that is picked, else the chosen line."""
        return [self.lost[at] for at in sorted(self.picked or {self.cursor})] if self.lost else []

    def move(self, by: int) -> None:
        """Choose another line."""
        self.cursor = max(0, min(self.cursor + by, len(self.lost) - 1))

    def toggle(self) -> None:
        """Pick the chosen line, or not, and go on to the next one."""
        if self.lost:
            self.picked ^= {self.cursor}
            self.move(1)

    def pick_all(self, *, picked: bool) -> None:
        """Pick every line, or none."""
        self.picked = set(range(len(self.lost))) if picked else set()

    def lines(self, columns: int, rows: int) -> list[Line]:
        """The picture."""
        told = f"{len(self.picked):,} picked of {count(len(self.lost), 'file')}"
        head = [bar(f"trash of {escape(self.entry)}", told, columns)]
        below: list[Line] = [[("class:keys", fit(_KEYS, columns), None)]]
        height = max(1, rows - 2)
        self.top = scrolled(self.top, self.cursor, height)
        body: list[Line] = [] if self.lost else [[("class:dim", fit("  It is empty.", columns), None)]]
        for at, one in enumerate(self.lost[self.top : self.top + height], start=self.top):
            by = f" by {escape(one.who)}" if one.who else ""
            box = "[x]" if at in self.picked else "[ ]"
            text = f" {box} {when_and_where(one)}  {escape(one.path)}{by}"
            body.append([("class:chosen" if at == self.cursor else "", fit(text, columns), ("row", at))])
        return filled(head, body, below, columns, rows)


def when_and_where(one: Lost) -> str:
    """When a file was lost, where it is kept, and how large it is."""
    when = moments.short(one.when_s)
    return f"{when}  {one.where:<4}  {amount(one.size):>9}"
