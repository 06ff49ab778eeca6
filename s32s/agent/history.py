"""The generations of an entry as one list: what S3 holds of them, and which trees are kept on this machine."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from s32s.agent.earlier import Logged, earlier_generations
from s32s.agent.kept_trees import kept_trees
from s32s.agent.roles.base import AgentContext, last_run
from s32s.config.maps import Entry, MapSet
from s32s.core.errors import S32sError
from s32s.core.role import Role
from s32s.stores.local.kept import KeptTree


@dataclass(frozen=True, slots=True)
class Past:
    """One generation.

    Attributes:
        number: of it; 0 for a tree that has none, or whose number is not known.
        time_s: when it was published, in seconds since the epoch; None where S3 does not know it any more.
        by: who has published it: a user and a machine, or a machine.
        files, size: files and links, and bytes.
        new, modified, deleted: paths, against the generation before; None where that is not known.
        message: what was said of it.
        is_current: whether it is the newest on S3.
        is_here: whether this machine follows it.
        kept_until_s: when this machine went on from it, where it has kept the tree; None where it has not.
    """

    number: int
    time_s: float | None = None
    by: str = ""
    files: int = 0
    size: int = 0
    new: int | None = None
    modified: int | None = None
    deleted: int | None = None
    message: str = ""
    is_current: bool = False
    is_here: bool = False
    kept_until_s: float | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the generations of an entry.

    Attributes:
        generations: the newest first.
        trouble: why S3 has told nothing; may be empty.
    """

    generations: tuple[Past, ...]
    trouble: str = ""


def history(entry: Entry, agent: AgentContext, maps: MapSet) -> History:
    """What S3 has of an entry's generations, and what is kept here; an S3 that does not answer hides only its part.

    Args:
        maps: all of them; see `earlier_generations`.

    Raises:
        Refused: what is kept here cannot be read.
    """
    role = agent.settings.role
    trouble, found = "", dict[int, Past]()
    try:
        logged = earlier_generations(entry, agent, maps).log()
        found = {one.published.number: _past(one) for one in logged}
    except S32sError as exc:
        trouble = str(exc)
    if role is Role.SLAVE:
        for tree in reversed(kept_trees(entry)):
            known = found.get(tree.generation) or _of_tree(tree)
            found[tree.generation] = replace(known, kept_until_s=tree.until_s)
    last = last_run(entry, role, agent)
    if last is not None and last.generation in found:
        found[last.generation] = replace(found[last.generation], is_here=True)
    return History(tuple(sorted(found.values(), key=lambda past: -past.number)), trouble)


def _past(logged: Logged) -> Past:
    one, is_counted = logged.published, logged.is_counted
    return Past(
        one.number,
        _seconds(one.time),
        f"{one.user}@{one.host}" if one.user else one.host,
        one.files,
        one.size,
        one.new if is_counted else None,
        one.modified if is_counted else None,
        one.deleted if is_counted else None,
        one.message,
        logged.is_current,
    )


def _of_tree(tree: KeptTree) -> Past:
    return Past(tree.generation, files=tree.files, size=tree.size)


def _seconds(moment: str) -> float | None:
    """A time as heads have it."""
    try:
        return datetime.datetime.fromisoformat(moment).timestamp()
    except (ValueError, OSError, OverflowError):
        return None
