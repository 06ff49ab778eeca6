"""A manifest that is nearly like another one: read, or written, without looking at every path again.

A watch publishes and follows many manifests of one place, each of which differs from the one before in a few lines.
Lines that both have are taken as they are; only the others are decoded or encoded. What comes out is what
`manifest.read` and `manifest.to_bytes` would have made; where that is not certain, they are asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

from s32s.core import tree
from s32s.core.tree import Tree
from s32s.format import manifest
from s32s.format.manifest import ManifestRef

#: A path without anything that JSON would escape.
_PATH = re.compile(r'\{"path":"([^"\\]*)"')


def read(data: bytes, ref: ManifestRef, before: tuple[bytes, Tree], *, room: int) -> Tree:
    """Decode a manifest into a Tree.

    Args:
        data, ref, room: see `manifest.read`.
        before: the bytes of another manifest, which were read into this tree.

    Raises:
        IntegrityError, BadPath: see `manifest.read`.
        Refused: it names more paths than fit into memory.
    """
    manifest.check_bytes(data, ref)
    known, gone, come = before[1], set[str](), list[str]()
    for old, new in _differing(manifest.lines_of(before[0], "the manifest before"), manifest.lines_of(data, ref.key)):
        if old is not None:
            gone.add(_path(old))
        if new is not None:
            come.append(new)
    added = manifest.tree_of(come, ref.key, room=room, weight=len(data))
    made = known.patched(gone, added)
    if len(made) != len(known) - len(gone) + len(added) or any(known.find(path) is None for path in gone):
        return manifest.read(data, ref, room=room)  # lines out of order, or a path twice: all of it decides
    manifest.check_size(made)
    return made


def write(after: Tree, before: tuple[bytes, Tree], changed: Collection[str]) -> tuple[bytes, ManifestRef]:
    """Encode a tree; return its bytes and the reference a head carries.

    Args:
        before: the bytes of another manifest, and the tree that they were made of.
        changed: paths whose items may be others than they were.
    """
    try:
        return manifest.packed(_lines(after, before, changed))
    except _NotAlikeError:
        return manifest.to_bytes(after)


class _NotAlikeError(Exception):
    """The lines of a manifest are not those of its tree, one by one."""


def _lines(after: Tree, before: tuple[bytes, Tree], changed: Collection[str]) -> Iterator[str]:
    data, known = before
    lines = manifest.lines_of(data, "the manifest before")
    for at, to, count in tree.join(known.paths, after.paths):
        for step in range(count):
            line = next(lines, "") if at is not None else ""
            if at is not None and not _names(line, known.path(at + step)):
                raise _NotAlikeError
            if to is None:
                continue
            if at is None or after.path(to + step) in changed:
                yield manifest.line_of(after[to + step])
            else:
                yield f"{line}\n"
    if next(lines, None) is not None:
        raise _NotAlikeError


def _differing(old: Iterator[str], new: Iterator[str]) -> Iterator[tuple[str | None, str | None]]:
    """The lines that only one of two manifests has; both are in order, or something is said to differ that does not."""
    here, there = next(old, None), next(new, None)
    while here is not None and there is not None:
        if here == there:
            here, there = next(old, None), next(new, None)
            continue
        mine, its = _path(here), _path(there)
        if mine <= its:
            yield here, None
        if mine >= its:
            yield None, there
        here, there = (next(old, None) if mine <= its else here), (next(new, None) if mine >= its else there)
    while here is not None:
        yield here, None
        here = next(old, None)
    while there is not None:
        yield None, there
        there = next(new, None)


def _path(line: str) -> str:
    """The path that a line names; "" where it is not one."""
    if found := _PATH.match(line):
        return found[1]
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    path = facts.get("path") if isinstance(facts, dict) else None
    return path if isinstance(path, str) else ""


def _names(line: str, path: str) -> bool:
    return line.startswith(f'{{"path":"{path}"') or _path(line) == path
