"""`rollback` on a slave, and `release`: back to an earlier tree that is kept here, and on again."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import UsageError
from s32s.core.text import number_words, tree_words
from s32s.frontends.cli.commands.common import open_machine, print_json

if TYPE_CHECKING:
    import argparse
    import threading

    from s32s.agent.agent import Agent
    from s32s.config.maps import Entry, MapSet
    from s32s.core.events import Event
    from s32s.stores.local.kept import KeptTree


def go_back(options: argparse.Namespace, entry: Entry, loaded: MapSet, agent: Agent, stop: threading.Event) -> int:
    """Bring an earlier tree back, and hold the entry there."""
    from s32s.agent import kept_trees
    from s32s.agent.options import Options
    from s32s.frontends.render.text import Screen

    if options.message:
        raise UsageError("--message is for a master, whose rollback is a generation of its own")
    screen = Screen(os.environ, quiet=options.json)

    def show(event: Event) -> None:
        if not options.json:
            screen.on_event(event)

    with contextlib.closing(screen):
        ended = kept_trees.go_back(
            entry,
            loaded,
            agent,
            generation=options.generation,
            options=Options(force_delete=options.force_delete, partial=options.partial),
            emit=show,
            stop=stop,
        )
    if ended.error is not None:
        if options.json:
            raise ended.error
        return ended.error.exit_status
    if options.json:
        print_json(
            {"event": "went_back", "entry": entry.name, "generation": ended.generation, "changed": ended.changed}
        )
        return 0
    print(f"{paths.escape(entry.name)}: {tree_words(ended.generation)} is back on this machine, and held there")
    way_out = f"s32s release {paths.word(entry.name)} lets it follow S3 again"
    print(f"{way_out}; other machines are as they were", file=sys.stderr)
    return 0


def release(options: argparse.Namespace, stop: threading.Event) -> int:
    """Let an entry follow S3 again."""
    from s32s.agent import kept_trees

    with open_machine(options) as agent:
        hold = kept_trees.release(options.name, agent)
    if options.json:
        print_json({"event": "released", "entry": options.name, "generation": hold.generation})
    else:
        print(f"{paths.escape(options.name)} is not held any more: a sync follows S3 again")
    return 0


def kept_words(found: list[KeptTree]) -> str:
    """Which earlier trees are kept on this machine, for people."""
    from s32s.frontends.render import moments

    told = (f"{number_words(tree.generation)} (until {moments.minute(tree.until_s)})" for tree in found)
    return f"{', '.join(told)}, {moments.zone(tree.until_s for tree in found)}"
