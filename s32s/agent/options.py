"""What a command may ask for beyond its verb."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """What a command may ask for beyond its verb.

    Attributes:
        verify: read every file and every listing; trust no index and no time stamp.
        force_delete: override `max_delete` and the guard against an empty source.
        take_over: override another master's unfinished push.
        accept_older: follow a generation older than the one followed last.
        jobs: how many bodies move at once at most; None for the configuration's.
        bandwidth: bytes a second in each direction; None for the configuration's.
    """

    verify: bool = False
    force_delete: bool = False
    take_over: bool = False
    accept_older: bool = False
    jobs: int | None = None
    bandwidth: int | None = None
