"""How a watch stands: what it leaves for `status` and the menu, who are other processes."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass

from s32s.agent.state import State
from s32s.core import paths
from s32s.core.errors import EntryFailed

#: How long (seconds) a watch may take to end: a run that is at work comes to its end first.
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class WatchState:
    """How a pair is watched, for `status`.

    Attributes:
        how: "watching", "polling" or "waiting".
        watches: how many directories are watched.
        changed_s, compared_s: when something last changed, and when all was last compared; as of time.time(), or 0.
        missed: changes that a comparison has found and nobody had told of.
        overflows: how often the kernel's queue was full.
        process: the id of the process that watches; 0 as long as it is not known.
    """

    how: str
    watches: int = 0
    changed_s: float = 0.0
    compared_s: float = 0.0
    missed: int = 0
    overflows: int = 0
    process: int = 0


def of_entry(name: str, role: str, state: State) -> WatchState | None:
    """How an entry is watched; None where nobody does."""
    said = state.watch_of(name, role)
    if said is None:
        return None
    try:
        return WatchState(**json.loads(said))
    except (ValueError, TypeError):
        return WatchState("watching")  # it has only just begun


def end_watch(name: str, role: str, state: State) -> None:
    """End the watch of an entry, whose process then watches nothing any more, and wait for that.

    Raises:
        EntryFailed: it belongs to another user, or does not end.
    """
    watch = of_entry(name, role, state)
    if watch is None or not watch.process:
        return
    try:
        os.kill(watch.process, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as exc:
        raise EntryFailed(
            f"the watch of {paths.escape(name)} is process {watch.process} of another user",
            hint="end it as that user, or as root",
        ) from exc
    until = time.monotonic() + _PATIENCE_S
    while state.watch_of(name, role) is not None:
        if time.monotonic() > until:
            raise EntryFailed(f"the watch of {paths.escape(name)}, process {watch.process}, has not ended yet")
        time.sleep(0.1)
