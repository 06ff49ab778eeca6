"""What several commands need."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from s32s.agent.agent import Agent
    from s32s.config.maps import MapSet


@contextlib.contextmanager
def open_machine(options: argparse.Namespace, *, writable: bool = True, attended: bool = True) -> Iterator[Agent]:
    from s32s.agent.agent import open_agent
    from s32s.config import settings_file

    with open_agent(settings_file.find(options.config, os.environ), writable=writable, attended=attended) as agent:
        agent.services.listen(lambda text: print(f"s32s: {text}", file=sys.stderr, flush=True))
        yield agent


def report_problems(loaded: MapSet) -> int:
    for problem in loaded.problems:
        print(f"s32s: {problem}", file=sys.stderr)
    return 2 if loaded.problems else 0


def print_json(facts: dict[str, Any]) -> None:
    from s32s.frontends.render.jsonl import Lines

    Lines().write(facts)


def show_trace(error: BaseException) -> None:
    if os.environ.get("S32S_DEBUG"):
        import traceback

        traceback.print_exception(error)
