"""Where a slave may write: what is refused by the path of a target alone, before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from s32s.core import guards, paths
from s32s.core.errors import Refused


class TargetRules(NamedTuple):
    """Where a slave may write, and what it must never replace.

    Attributes:
        allow: a target lies strictly below one of these.
        kept: directories that no target may be, hold or lie in: state and cache.
        homes: home directories, which no target may be or hold.
        others: targets of the other entries, none of which may nest with this one.
        allow_system: whether a target may lie in a directory of the system.
    """

    allow: Sequence[str]
    kept: Sequence[str] = ()
    homes: frozenset[str] = frozenset()
    others: Mapping[str, str] | None = None
    allow_system: bool = False


def check_target(root: str, rules: TargetRules) -> None:
    """Refuse a target by its path alone; nothing is opened.

    Raises:
        Refused: with the rule that it breaks.
    """
    shown = paths.escape(root)
    if problem := guards.target_problem(root, allow_system=rules.allow_system):
        raise Refused(f"{shown} {problem}")
    for home in sorted(rules.homes):
        if paths.is_within(home, root):
            raise Refused(f"{shown} is or contains the home directory {home} and is never replaced")
    for kept in rules.kept:
        if paths.overlaps(root, kept):
            raise Refused(f"{shown} and {kept}, where s32s keeps its state, overlap")
    for name, other in (rules.others or {}).items():
        if paths.overlaps(root, other):
            raise Refused(
                f"{shown} and the target of entry {paths.quote(name)}, {paths.escape(other)}, overlap",
                hint="give every entry a directory of its own",
            )
    if not any(paths.is_below(root, allowed) for allowed in rules.allow):
        listed = ", ".join(rules.allow) or "nothing"
        raise Refused(
            f"{shown} is not below a directory that this machine allows ({listed})",
            hint='add its parent directory to "allow" in the configuration if the map is right',
        )
