"""A manifest that is nearly like another one: read, or written, without looking at every path again.

A watch publishes and follows many manifests of one place, each of which differs from the one before in a few lines.
Lines that both have are taken as they are; only the others are decoded or encoded. What comes out is what
`manifest.read` and `manifest.to_bytes` would have made; where that is not certain, they are asked.
"""

from __future__ import annotations

import itertools
import json
import re
from bisect import bisect_left
from collections.abc import Collection, Iterator

from s32s.core import tree
from s32s.core.tree import Tree
from s32s.format import manifest
from s32s.format.head import ManifestRef

#: Lines that are taken at once.
_BLOCK = 1000
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
        return manifest.packed(text.encode() for text in _texts(after, before, changed))
    except _NotAlikeError:
        return manifest.to_bytes(after)


class _NotAlikeError(Exception):
    """The lines of a manifest are not those of its tree, one by one."""


def _texts(after: Tree, before: tuple[bytes, Tree], changed: Collection[str]) -> Iterator[str]:
    """The text of a manifest, in pieces of whole lines."""
    data, known = before
    lines = manifest.lines_of(data, "the manifest before")
    rows = sorted(row for path in changed if (row := after.find(path)) is not None)
    for at, to, count in tree.join(known.paths, after.paths):
        if to is None:
            _take(lines, known, at or 0, count)
        elif at is None:
            yield from (manifest.line_of(after[row]) for row in range(to, to + count))
        else:
            done = 0
            for row in rows[bisect_left(rows, to) : bisect_left(rows, to + count)]:
                yield from _kept(lines, known, at + done, row - to - done)
                _take(lines, known, at + row - to, 1)
                yield manifest.line_of(after[row])
                done = row - to + 1
            yield from _kept(lines, known, at + done, count - done)
    if next(lines, None) is not None:
        raise _NotAlikeError


def _kept(lines: Iterator[str], known: Tree, at: int, count: int) -> Iterator[str]:
    """The next lines, many at once."""
    for start in range(at, at + count, _BLOCK):
        yield "\n".join(_take(lines, known, start, min(_BLOCK, at + count - start))) + "\n"


def _take(lines: Iterator[str], known: Tree, at: int, count: int) -> list[str]:
    """The next lines, whose first and last are those of these rows: both are in order, so the others are too.

    Raises:
        _NotAlikeError: they are not.
    """
    taken = list(itertools.islice(lines, count))
    if len(taken) < count or any(not _names(taken[step], known.path(at + step)) for step in (0, count - 1)):
        raise _NotAlikeError
    return taken


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
