"""What must hold after a run that failed."""

from __future__ import annotations

import os

from support.machine import Ended, Loop
from support.trees import snapshot


def left_overs(loop: Loop) -> list[str]:
    """What s32s has left beside the target or in it."""
    places = [loop.target.parent, loop.target] if loop.target.is_dir() else [loop.target.parent]
    return [name for place in places for name in os.listdir(place) if name.startswith(".s32s")]


def assert_failed(ended: Ended, *statuses: int, says: str | tuple[str, ...] = "") -> None:
    """The documented status, and a message for people.

    Args:
        says: what is in there.
    """
    assert ended.status in statuses, f"{ended.status}: {ended.out}{ended.err}"
    assert "Traceback" not in ended.err
    assert ended.err.strip(), "a failure says something"
    for text in (says,) if isinstance(says, str) else says:
        assert text in ended.err, ended.err


def assert_untouched(loop: Loop, before: object) -> None:
    """The target is as it was, and nothing lies about."""
    assert snapshot(loop.target) == before
    assert left_overs(loop) == []
