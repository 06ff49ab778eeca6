"""What two generations do not have in common, for eyes."""

from __future__ import annotations

from typing import Literal

from s32s.core.paths import escape
from s32s.stores.objects.packed.upkeep import Difference

_SIGNS = {"new": "+", "modified": "~", "deleted": "-"}


def kind_of(one: Difference) -> Literal["new", "modified", "deleted"]:
    """In what a path differs, in a word."""
    return "new" if one.before is None else "deleted" if one.after is None else "modified"


def difference_line(one: Difference) -> str:
    """A path that differs."""
    what = kind_of(one)
    return f"{_SIGNS[what]} {what:<9} {escape(one.path)}"
