"""How questions are put to a person: two ways, one interface.

`PlainPrompter` prints and reads lines, and works on a pipe, a serial console, a terminal that can do nothing; that of
`prompts.py` completes and checks while one types. The asking code need not know which.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO, TypeVar

from s32s.core.errors import UsageError
from s32s.frontends.render.layout import table, wrap
from s32s.system.concurrency import run_interruptible

T = TypeVar("T")

#: Says what is wrong with an answer, or None.
Check = Callable[[str], str | None]
#: Answers that begin with what has been typed.
Complete = Callable[[str], Sequence[str]]


class Left(Exception):
    """The person has gone, by Ctrl-C, Ctrl-D or the end of the input."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several answers: its word, and what it means."""

    word: str
    meaning: str = ""


class Prompter(Protocol):
    """Puts questions, one at a time."""

    def say(self, text: str = "") -> None:
        """Show a line."""
        ...

    def ask(
        self, question: str, *, default: str = "", check: Check | None = None, complete: Complete | None = None
    ) -> str:
        """Ask for a text until it passes `check`; an empty answer is the default.

        Raises:
            Left: the person has gone.
        """
        ...

    def choose(self, question: str, choices: Sequence[Choice], *, default: str = "") -> str:
        """Ask for one of several words; its number, or the beginning of it, will do.

        Raises:
            Left: the person has gone.
        """
        ...

    def wait(self, text: str, work: Callable[[], T]) -> T:
        """Show `text` while `work` runs; return or raise what it comes to.

        Raises:
            Left: the person has not waited.
        """
        ...


class PlainPrompter:
    """Questions as lines. At the end of the input before the first answer nobody is there at all."""

    def __init__(self, reading: TextIO | None = None, writing: TextIO | None = None) -> None:
        self._in = reading or sys.stdin
        self._out = writing or sys.stdout
        self._answered = False

    def say(self, text: str = "") -> None:
        """See `Prompter`."""
        columns = shutil.get_terminal_size().columns if self._out.isatty() else 10_000
        for line in wrap(text, columns - 1, indent="  "):
            print(line, file=self._out, flush=True)

    def ask(
        self, question: str, *, default: str = "", check: Check | None = None, complete: Complete | None = None
    ) -> str:
        """See `Prompter`."""
        while True:
            answer = self._line(f"{question} [{default}]: " if default else f"{question}: ") or default
            problem = check(answer) if check else None
            if problem is None:
                return answer
            self.say(f"  {problem}")

    def choose(self, question: str, choices: Sequence[Choice], *, default: str = "") -> str:
        """See `Prompter`."""
        self.say(question)
        for line in numbered(choices):
            self.say(line)
        words = [choice.word for choice in choices]
        answer = self.ask("Number", default=default, check=lambda text: None if meant(text, words) else _which(words))
        return meant(answer, words) or default

    def wait(self, text: str, work: Callable[[], T]) -> T:
        """See `Prompter`."""
        self.say(text)
        try:
            return run_interruptible(work)
        except KeyboardInterrupt:
            raise Left from None

    def _line(self, question: str) -> str:
        print(question, end="", file=self._out, flush=True)
        try:
            line = self._in.readline()
        except KeyboardInterrupt:
            raise Left from None
        if not line:
            self.say()
            if not self._answered:
                raise UsageError(
                    "this is not a terminal, so nothing can be asked",
                    hint='a timer or script runs "s32s sync"; see s32s help',
                )
            raise Left
        self._answered = True
        return line.strip()


def numbered(choices: Sequence[Choice]) -> list[str]:
    """The choices as lines to pick from."""
    rows = [[f"  {number})", choice.word, choice.meaning] for number, choice in enumerate(choices, start=1)]
    return table(rows)


def meant(answer: str, words: Sequence[str]) -> str | None:
    """The word that an answer means: its number, itself, or how it alone begins."""
    if answer.isdigit():
        return words[int(answer) - 1] if 1 <= int(answer) <= len(words) else None
    if answer in words:
        return answer
    found = [word for word in words if answer and word.startswith(answer)]
    return found[0] if len(found) == 1 else None


def _which(words: Sequence[str]) -> str:
    return f"please answer with a number from 1 to {len(words)}"
