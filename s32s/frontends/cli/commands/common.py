"""What several commands need."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from s32s.agent.agent import Agent
    from s32s.config.maps import Problem


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


def print_json(facts: dict[str, Any]) -> None:
    from s32s.frontends.render.jsonl import Lines

    Lines().write(facts)


def show_trace(error: BaseException) -> None:
    if os.environ.get("S32S_DEBUG"):
        import traceback

        traceback.print_exception(error)
