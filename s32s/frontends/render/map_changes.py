"""What an upload of map files changes, and for which machines."""

from __future__ import annotations

from collections.abc import Sequence

from s32s.agent.map_upload import Change
from s32s.core.paths import escape
from s32s.frontends.render.layout import table

_SIGNS = {"new": "+", "modified": "~", "deleted": "-"}


def change_lines(changes: Sequence[Change]) -> list[str]:
    """A line for each kind of machine that is concerned; what is taken away comes first."""
    rows: list[list[str]] = []
    for kind in ("deleted", "modified", "new"):
        for change in changes:
            if change.kind != kind:
                continue
            told = [[role.value, escape(text)] for role, text in change.concerns]
            told += [["", escape(text)] for text in change.settings]
            first, *rest = told or [["", "for no role"]]
            rows.append([f"{_SIGNS[kind]} {kind}", escape(change.name), *first])
            rows += (["", "", *more] for more in rest)
    return table(rows)
