"""Two places for a program: what `s32s sync SOURCE TARGET` does, in one function."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping

from s32s.agent.between import Between, open_between
from s32s.agent.options import Options, verb_of
from s32s.agent.report import Report, fold
from s32s.agent.state import State
from s32s.config import settings_file
from s32s.config.settings import Directories, S3Connection, StoreSettings
from s32s.core import events
from s32s.core.events import Emit
from s32s.core.plan import Plan, Verb


def run_places(
    asked: Between,
    verb: Verb | str = "sync",
    *,
    s3: S3Connection | None = None,
    stores: Mapping[str, StoreSettings] | None = None,
    directories: Directories | None = None,
    options: Options | None = None,
    attended: bool = False,
    emit: Emit = events.silent,
    stop: threading.Event | None = None,
    approve: Callable[[str, Plan], bool] | None = None,
    ask: Callable[[str], bool] = lambda question: False,
) -> Report:
    """Make one place what another one holds, or plan it; no map and no configuration is needed.

    Args:
        asked: the two places, and which paths take part.
        verb: "sync", "copy" or "dryrun".
        s3: how S3 is reached; None for what the AWS_… variables say.
        stores: by the names under which `asked` may name them.
        directories: where state and cache are; None for where the command line would keep them.
        attended: somebody waits, so an address at which nothing answers is told at once.
        emit, stop, approve: see `Agent.run`.
        ask: puts the question whether a directory that s32s has never written may be taken over.

    Returns:
        How it ended; a failure is in there, not raised.

    Raises:
        UsageError: no such verb, or a place or a rule cannot be understood.
        ConfigError: the state cannot be used.
        Interrupted: `stop` was set, or a signal handler raised it.
    """
    chosen = verb_of(verb)
    state = State.open(directories or settings_file.directories(os.environ), writable=chosen.changes)
    with contextlib.closing(state):
        pair = open_between(
            asked,
            chosen,
            state,
            s3 or S3Connection(),
            options=options,
            stores=stores,
            homes=settings_file.homes(),
            attended=attended,
            stop=stop,
            approve=approve,
            ask=ask,
        )
        return fold([pair.run(emit)])
