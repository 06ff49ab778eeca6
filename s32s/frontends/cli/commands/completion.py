"""`completion`: what a shell needs to complete s32s."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from s32s.core.errors import UsageError

if TYPE_CHECKING:
    import argparse


def completion_usage(options: argparse.Namespace, stop: threading.Event) -> int:
    raise UsageError("completion needs a shell: bash, zsh or fish", hint="see s32s completion --help")


def script(options: argparse.Namespace, stop: threading.Event) -> int:
    """Print what the shell that was named needs."""
    from s32s.frontends.cli import completion

    made = {"bash": completion.bash, "zsh": completion.zsh, "fish": completion.fish}
    print(made[options.action](), end="")
    return 0


def names(options: argparse.Namespace, stop: threading.Event) -> int:
    """The names of the entries that are cached, a line each; S3 is not asked, as somebody waits for a key."""
    from s32s.agent import catalog
    from s32s.agent.agent import open_agent
    from s32s.config import settings_file

    settings = settings_file.load(settings_file.find(options.config, os.environ), os.environ)
    with open_agent(settings, writable=False) as agent:
        loaded = catalog.cached(agent.settings.maps, agent.state, agent.engine)
    for entry in loaded.entries if loaded else ():
        if entry.name.isprintable():
            print(entry.name)
    return 0
