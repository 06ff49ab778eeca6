"""What several commands need."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from s32s.core.errors import Declined

if TYPE_CHECKING:
    import argparse
    import threading

    from s32s.agent.agent import Agent
    from s32s.agent.roles.base import AgentContext
    from s32s.config.maps import Problem
    from s32s.frontends.render.json_schema import Line

#: How often a line of progress is written, in seconds.
_SHOWN_S = 0.2


@contextlib.contextmanager
def open_machine(options: argparse.Namespace, *, writable: bool = True, attended: bool = True) -> Iterator[Agent]:
    from s32s.agent.agent import open_agent
    from s32s.config import settings_file

    settings = settings_file.load(settings_file.find(options.config, os.environ), os.environ, options.set)
    with open_agent(settings, writable=writable, attended=attended) as agent:
        agent.services.listen(lambda text: print(f"s32s: {text}", file=sys.stderr, flush=True))
        yield agent


@contextlib.contextmanager
def open_context(options: argparse.Namespace, *, writable: bool = True) -> Iterator[AgentContext]:
    """This machine; one without maps can still look after a folder, by what is said of S3 and of stores."""
    from s32s.agent.sharing import context_of
    from s32s.agent.state import State
    from s32s.config import settings_file

    settings = settings_file.load_for_places(options.config, os.environ, options.set)
    if settings.has_maps:
        with open_machine(options, writable=writable) as agent:
            yield agent
        return
    state = State.open(settings_file.directories(os.environ), writable=writable)
    with contextlib.closing(state):
        yield context_of(state, settings, None, attended=True)


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


@contextlib.contextmanager
def counted(what: str, stop: threading.Event) -> Iterator[Callable[[int], None]]:
    """A progress function for bytes that nobody else tells of: a line at a terminal says how many came so far.

    Raises, when it is called:
        Interrupted: `stop` was set.
    """
    from s32s.core.errors import Interrupted
    from s32s.frontends.render.layout import amount

    is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    total, shown_s = 0, 0.0

    def progress(size: int) -> None:
        nonlocal total, shown_s
        if stop.is_set():
            raise Interrupted(0)
        total += size
        if is_seen and (now := time.monotonic()) - shown_s > _SHOWN_S:
            shown_s = now
            print(f"\r\x1b[K{what}: {amount(total)}", end="", file=sys.stderr, flush=True)

    try:
        yield progress
    finally:
        if shown_s:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


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
