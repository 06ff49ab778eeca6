"""What two generations do not have in common, for eyes."""

from __future__ import annotations

from typing import Literal

from s32s.core import compare
from s32s.core.compare import Reason
from s32s.frontends.render.plans import reason_words, shown
from s32s.stores.objects.packed.upkeep import Difference

_SIGNS = {"new": "+", "modified": "~", "deleted": "-"}


def change_of(one: Difference) -> Literal["new", "modified", "deleted"]:
    """In what a path differs, in a word."""
    return "new" if one.before is None else "deleted" if one.after is None else "modified"


def reason_of(one: Difference) -> Reason | None:
    """Why a path that both generations have is modified, as a plan tells it; None where a plan would bring nothing."""
    if one.before is None or one.after is None:
        return None
    return compare.difference(one.after, one.before)


def difference_line(one: Difference) -> str:
    """A path that differs."""
    change, reason, item = change_of(one), reason_of(one), one.after or one.before
    line = f"{_SIGNS[change]} {change:<9} {shown(item) if item else ''}"
    if reason is None or one.after is None or one.before is None:
        return line
    return f"{line}  ({reason_words(reason, one.after, one.before)})"
