"""This machine as one that publishes."""

from __future__ import annotations

import getpass
import time

from s32s.agent.options import Options
from s32s.agent.state import State
from s32s.stores.objects.publisher import Writer


def writer(state: State, host: str, options: Options | None = None, *, generation: int = 0) -> Writer:
    """This machine as one that publishes.

    Args:
        host: its name, for people.
        generation: the last one that it has published there.
    """
    asked = options or Options()
    return Writer(state.writer_id(), host, now, asked.take_over, generation, user(), asked.message)


def user() -> str:
    """Who works here, for people."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def now() -> str:
    """The time as UTC in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
