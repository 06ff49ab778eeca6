"""The check boxes of a shared folder: what goes up, what comes down, and what each conflict becomes."""

from __future__ import annotations

from dataclasses import dataclass, field

from s32s.agent.decisions import decided, with_hidden
from s32s.core.merge import Conflict, Merge, Resolution, Step
from s32s.core.paths import escape
from s32s.frontends.menu.views import Line, bar, filled, scrolled
from s32s.frontends.render.layout import fit
from s32s.frontends.render.merges import conflict_line, step_line, telling
from s32s.replication.merge_job import Contents

#: What a conflict may become, in the order in which Space goes through them.
_KEEPS = (None, Resolution.MINE, Resolution.THEIRS, Resolution.BOTH)
_WIDE = 8


@dataclass(slots=True)
class Picking:
    """One merge that somebody decides about.

    Attributes:
        entry: its name.
        cursor: the line that is chosen.
        top: the first line that is seen.
    """

    entry: str
    made: Merge
    contents: Contents
    cursor: int = 0
    top: int = 0
    _rows: list[tuple[str, Step | Conflict]] = field(init=False)
    _taken: set[int] = field(init=False)
    _keeps: dict[int, Resolution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rows = [
            *(("upload", step) for step in telling(self.made.uploads)),
            *(("download", step) for step in telling(self.made.downloads)),
            *(("conflict", conflict) for conflict in self.made.conflicts),
        ]
        self._taken = {at for at, (what, _) in enumerate(self._rows) if what != "conflict"}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to decide about."""
        return not self._rows

    @property
    def path(self) -> str:
        """The path of the chosen line."""
        return self._rows[self.cursor][1].path

    def move(self, by: int) -> None:
        """Choose another line."""
        self.cursor = max(0, min(self.cursor + by, len(self._rows) - 1))

    def toggle(self) -> None:
        """Take the chosen line or not; of a conflict, the next of its ends."""
        if self._rows[self.cursor][0] == "conflict":
            now = _KEEPS.index(self._keeps.get(self.cursor))
            keep = _KEEPS[(now + 1) % len(_KEEPS)]
            if keep is None:
                del self._keeps[self.cursor]
            else:
                self._keeps[self.cursor] = keep
        else:
            self._taken ^= {self.cursor}

    def take_all(self, *, taken: bool) -> None:
        """Take every line of the list in which the cursor is, or none; of conflicts all as the chosen one."""
        what = self._rows[self.cursor][0]
        rows = {at for at, (of, _) in enumerate(self._rows) if of == what}
        if what != "conflict":
            self._taken = self._taken | rows if taken else self._taken - rows
            return
        keep = self._keeps.get(self.cursor) if taken else None
        self._keeps = dict.fromkeys(rows, keep) if keep is not None else {}

    def merge(self) -> Merge:
        """The merge as it was decided."""
        sides: dict[str, set[str]] = {"upload": set(), "download": set()}
        dropped: dict[str, set[str]] = {"upload": set(), "download": set()}
        for at, (what, one) in enumerate(self._rows):
            if what != "conflict":
                (sides if at in self._taken else dropped)[what].add(one.path)
        up, down = (
            with_hidden(steps, sides[what], dropped[what])
            for what, steps in (("upload", self.made.uploads), ("download", self.made.downloads))
        )
        keeps = {self._rows[at][1].path: keep for at, keep in self._keeps.items()}
        return decided(self.made, uploads=up, downloads=down, keep=keeps)

    def lines(self, columns: int, rows: int) -> list[Line]:
        """The picture."""
        numbers = {what: sum(of == what for of, _ in self._rows) for what in ("upload", "download", "conflict")}
        told = ", ".join(f"{number:,} {word}" for word, number in _worded(numbers) if number)
        head = [bar(f"sync {escape(self.entry)}", told, columns)]
        keys = " Space picks  a all  n none  d what differs  Enter continues  Esc changes nothing"
        below: list[Line] = [[("class:keys", fit(keys, columns), None)]]
        height = max(1, rows - 2)
        self.top = scrolled(self.top, self.cursor, height)
        body: list[Line] = []
        for at, (what, one) in enumerate(self._rows[self.top : self.top + height], start=self.top):
            chosen = "class:chosen" if at == self.cursor else ""
            if isinstance(one, Conflict):
                keep = self._keeps.get(at)
                box, text = f"[{keep.value if keep else 'leave':<6}]", conflict_line(one).removeprefix("! conflict  ")
            else:
                arrow = "up  " if what == "upload" else "down"
                box, text = f"[{'x' if at in self._taken else ' '}] {arrow}", step_line(one)
            style = chosen or ("class:bad" if isinstance(one, Conflict) else "")
            body.append([(style, fit(f" {fit(box, _WIDE)}  {text}", columns), ("row", at))])
        return filled(head, body, below, columns, rows)


def _worded(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return [
        ("to upload", numbers["upload"]),
        ("to download", numbers["download"]),
        ("conflicts" if numbers["conflict"] != 1 else "conflict", numbers["conflict"]),
    ]
