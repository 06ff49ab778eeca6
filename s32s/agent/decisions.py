"""What is to be done of a merge: decisions as a person makes them, for every front end."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence

from s32s.core import merge, paths
from s32s.core.conflict_names import copy_name
from s32s.core.merge import Merge, Resolution, Step


def decided(
    made: Merge,
    *,
    uploads: bool | set[str] = True,
    downloads: bool | set[str] = True,
    keep: Resolution | Mapping[str, Resolution] | None = None,
) -> Merge:
    """A merge as it was decided.

    Args:
        uploads, downloads: all, none, or the paths that are taken.
        keep: how conflicts are settled: all alike, or by path; those that are not named stay undecided.
    """
    taken = merge.chosen(made, _paths(uploads), _paths(downloads))
    if keep is None:
        return taken
    choices = {conflict.path: keep for conflict in made.conflicts} if isinstance(keep, Resolution) else keep
    host, when = socket.gethostname().partition(".")[0], time.strftime("%Y-%m-%d %H.%M")
    named: set[str] = set()

    def name(path: str) -> str:
        def is_taken(one: str) -> bool:
            return one in named or any(side.find(one) is not None for side in (made.mine, made.theirs))

        chosen = copy_name(path, host=host, when=when, is_taken=is_taken)
        named.add(chosen)
        return chosen

    return merge.settled(taken, choices, copy_name=name)


def with_hidden(steps: Sequence[Step], taken: set[str], dropped: set[str]) -> set[str]:
    """What is taken, where only some steps were shown: directories come along, and one goes if all shown in it goes.

    Args:
        taken, dropped: paths of the steps that were shown.
    """
    hidden = (step for step in steps if step.path not in taken | dropped)
    return taken | {
        step.path
        for step in hidden
        if step.new is not None or not any(paths.is_below(path, step.path) for path in dropped)
    }


def _paths(taken: bool | set[str]) -> set[str] | None:
    if isinstance(taken, set):
        return taken
    return None if taken else set()
