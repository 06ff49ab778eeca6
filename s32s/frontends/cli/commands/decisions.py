"""Questions about a shared folder at a terminal: what goes up, what comes down, and what a conflict becomes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from s32s.agent.decisions import decided, with_hidden
from s32s.core.merge import Conflict, Merge, Resolution, Step
from s32s.core.paths import escape
from s32s.core.steps import kind_of
from s32s.frontends.render.merges import conflict_line, differing, step_line, telling
from s32s.replication.merge_job import Contents

_KEEPS = {"m": Resolution.MINE, "t": Resolution.THEIRS, "b": Resolution.BOTH}


@dataclass(slots=True)
class Decisions:
    """What a person wants of a merge; pass it as `decide`. Asked twice, it asks only about what is new.

    Attributes:
        keep: how every conflict is settled; None to ask, or to leave it.
        uploads, downloads: whether these are wanted at all.
        asks: whether somebody is there to be asked.
    """

    keep: Resolution | None = None
    uploads: bool = True
    downloads: bool = True
    asks: bool = False
    source: TextIO = field(default_factory=lambda: sys.stdin)
    out: TextIO = field(default_factory=lambda: sys.stderr)
    _known: dict[tuple[object, ...], bool] = field(default_factory=dict)
    _kept: dict[tuple[object, ...], Resolution | None] = field(default_factory=dict)

    def __call__(self, name: str, made: Merge, contents: Contents) -> Merge:
        """See `Agent.run`."""
        if not self.asks:
            return decided(made, uploads=self.uploads, downloads=self.downloads, keep=self.keep)
        up = self._chosen(f"{escape(name)}: upload", made.uploads, contents) if self.uploads else set[str]()
        down = self._chosen(f"{escape(name)}: download", made.downloads, contents) if self.downloads else set[str]()
        keeps = {conflict.path: self.keep for conflict in made.conflicts} if self.keep else self._settle(made, contents)
        return decided(
            made, uploads=up, downloads=down, keep={path: keep for path, keep in keeps.items() if keep is not None}
        )

    # -- lists

    def _chosen(self, what: str, steps: Sequence[Step], contents: Contents) -> set[str]:
        told = telling(steps)
        new = [step for step in told if _key(step) not in self._known]
        if new:
            self._say("", f"{what}: {len(new):,}")
            self._say(*(f"  {number:>3}  {step_line(step)}" for number, step in enumerate(new, start=1)))
            picked = self._ask(what, len(new), lambda number: self._details(new[number - 1].path, contents))
            for number, step in enumerate(new, start=1):
                self._known[_key(step)] = number in picked
        taken = {step.path for step in told if self._known[_key(step)]}
        return with_hidden(steps, taken, {step.path for step in told} - taken)

    def _ask(self, what: str, count: int, details: Callable[[int], None]) -> set[int]:
        verb, some = what.rpartition(": ")[2].capitalize(), f"1-{count}" if count > 1 else "1"
        while True:
            answer = self._read(f"{verb} which? [all, none, {some}, ? or d NUMBER] ")
            word = answer.strip().lower()
            if word in ("all", "a", "y", "yes"):
                return set(range(1, count + 1))
            if word in ("none", "n", "no", ""):
                return set()
            if asked := re.fullmatch(r"(?:\?|d)\s*(\d+)", word):
                if 1 <= int(asked[1]) <= count:
                    details(int(asked[1]))
                    continue
            elif word == "?":
                self._say(
                    "  all      take every line",
                    "  none     leave them as they are; the next sync asks again",
                    "  1-5, 8   take these lines",
                    "  d 3      show what differs in line 3",
                )
                continue
            try:
                return numbers(word, count)
            except ValueError as exc:
                self._say(f"  {exc}")

    # -- conflicts

    def _settle(self, made: Merge, contents: Contents) -> dict[str, Resolution | None]:
        keeps: dict[str, Resolution | None] = {}
        for conflict in made.conflicts:
            key = (conflict.path, _content(conflict.mine), _content(conflict.theirs))
            if key not in self._kept:
                self._kept[key] = self._settle_one(conflict, contents)
            keeps[conflict.path] = self._kept[key]
        return keeps

    def _settle_one(self, conflict: Conflict, contents: Contents) -> Resolution | None:
        self._say("", conflict_line(conflict))
        while True:
            word = self._read("Keep mine, theirs, both, or leave it? [m, t, b, leave, d] ").strip().lower()
            if word in ("", "l", "leave", "n", "none"):
                return None
            if word in ("d", "?"):
                self._details(conflict.path, contents)
            elif word[:1] in _KEEPS and (len(word) == 1 or word in [keep.value for keep in Resolution]):
                return _KEEPS[word[0]]
            else:
                self._say(f'  "{escape(word)}" is none of m, t, b, leave and d')

    def _details(self, path: str, contents: Contents) -> None:
        """Show what differs."""
        self._say(*(f"  {line}" for line in differing(path, contents)))

    def _read(self, question: str) -> str:
        print(question, end="", file=self.out, flush=True)
        line = self.source.readline()
        if not line:
            print(file=self.out)
        return line

    def _say(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self.out)


def numbers(text: str, count: int) -> set[int]:
    """The numbers that "1-5, 8" names.

    Raises:
        ValueError: for people.
    """
    found: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", text.strip())):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise ValueError(f'"{escape(part)}" is neither a number nor a range such as 1-5')
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            raise ValueError(f"{part} is not between 1 and {count}")
        found.update(range(first, last + 1))
    return found


def _key(step: Step) -> tuple[object, ...]:
    return kind_of(step), step.path, _content(step.new), _content(step.old)


def _content(item: object) -> object:
    return (getattr(item, "kind", None), getattr(item, "sha256", None), getattr(item, "size", None))


def is_attended(streams: Collection[TextIO | None]) -> bool:
    """Whether somebody sits at a terminal to be asked; a stream may have been closed."""
    return all(stream is not None and stream.isatty() for stream in streams)
