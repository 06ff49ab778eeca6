"""What several commands need."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from s32s.core.errors import Declined

if TYPE_CHECKING:
    import argparse

    from s32s.agent.agent import Agent
    from s32s.config.maps import Problem
    from s32s.frontends.render.json_schema import Line


@contextlib.contextmanager
def open_machine(options: argparse.Namespace, *, writable: bool = True, attended: bool = True) -> Iterator[Agent]:
    from s32s.agent.agent import open_agent
    from s32s.config import settings_file

    settings = settings_file.load(settings_file.find(options.config, os.environ), os.environ, options.set)
    with open_agent(settings, writable=writable, attended=attended) as agent:
        agent.services.listen(lambda text: print(f"s32s: {text}", file=sys.stderr, flush=True))
        yield agent


def report_problems(problems: Sequence[Problem]) -> int:
    """Say what is wrong with the maps; the exit status that belongs to it."""
    for problem in problems:
        print(f"s32s: {chr(10).join(problem.told())}", file=sys.stderr)
    return 2 if problems else 0


def print_json(line: Line) -> None:
    from s32s.frontends.render.jsonl import Lines

    Lines().write(line)


def show_trace(error: BaseException) -> None:
    if os.environ.get("S32S_DEBUG"):
        import traceback

        traceback.print_exception(error)


def has_person() -> bool:
    """Whether somebody at a terminal can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def says_yes(question: str) -> bool:
    """Whether the person who is there says yes; Enter is no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return os.fsdecode(sys.stdin.readline().strip().lower()) in ("y", "yes")


def confirm(question: str, *, yes: bool, kept: str = "nothing was changed") -> None:
    """Ask before something is done, unless the command line has said yes.

    Raises:
        Declined: the answer was no, or nobody is there to ask.
    """
    if yes:
        return
    if not has_person():
        raise Declined("there is no interactive terminal to confirm it", hint="--yes continues without a question")
    if not says_yes(question):
        raise Declined("cancelled", hint=kept)
