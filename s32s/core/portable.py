"""Names that the systems of other people cannot hold.

Facts: "Naming Files, Paths, and Namespaces" (Microsoft, Win32 documentation). macOS and Windows do not tell
upper and lower case apart.
"""

from __future__ import annotations

import re

from s32s.core import paths
from s32s.core.tree import Tree

_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_DEVICES = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])(\..*)?", re.IGNORECASE)


def problem(path: str) -> str | None:
    """Say why Windows cannot hold a path, or None."""
    for segment in path.split("/"):
        if found := _FORBIDDEN.search(segment):
            return f"Windows allows no {paths.escape(found[0])} in a name"
        if _DEVICES.fullmatch(segment):
            return f"{paths.escape(segment)} is a device on Windows"
        if segment[-1:] in (".", " "):
            return (
                f"Windows drops the {'dot' if segment.endswith('.') else 'space'} at the end of {paths.quote(segment)}"
            )
    return None


def twins(found: Tree) -> list[tuple[str, ...]]:
    """Names that are one name where upper and lower case do not count, as on Windows and macOS."""
    groups: dict[str, list[str]] = {}
    for path in found.paths:
        groups.setdefault(path.casefold(), []).append(path)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def problems(found: Tree, changed: set[str]) -> dict[str, str]:
    """Why other systems cannot hold some paths of a tree, for those that have just changed.

    Args:
        changed: paths that are new.
    """
    told = {path: why for path in changed if (why := problem(path))}
    for group in twins(found):
        for path in group:
            if path in changed:
                other = next(name for name in group if name != path)
                told[path] = f"on Windows and macOS it is the same name as {paths.quote(other)}"
    return told
