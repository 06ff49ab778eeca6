"""How a watch stands: what it leaves for `status` and the menu, who are other processes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchState:
    """How a pair is watched, for `status`.

    Attributes:
        how: "watching", "polling" or "waiting".
        watches: how many directories are watched.
        changed_s, compared_s: when something last changed, and when all was last compared; as of time.time(), or 0.
        missed: changes that a comparison has found and nobody had told of.
        overflows: how often the kernel's queue was full.
    """

    how: str
    watches: int = 0
    changed_s: float = 0.0
    compared_s: float = 0.0
    missed: int = 0
    overflows: int = 0
