"""What the steps of a merge need, and in which parts they are taken. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from s32s.core import paths
from s32s.core.item import Item, Kind, only_directories
from s32s.core.merge import Step, is_same

#: How much comes down before it takes its place: steps, and bytes.
_PART, _PART_SIZE = 2000, 512 * 1024 * 1024


def needs_bytes(step: Step) -> bool:
    """Whether a body has to move: not for links, directories and changes of mode or time alone."""
    new, old = step.new, step.old
    return new is not None and new.kind is Kind.FILE and not (old is not None and is_same(old, new))


def kind_of(step: Step) -> str:
    """What a step is: "new", "modified" or "deleted"."""
    return "deleted" if step.new is None else "new" if step.old is None else "modified"


def is_directory(step: Step) -> bool:
    """Whether it is about a directory alone; one that takes the place of a file or link is not."""
    return only_directories(step.new, step.old)


def clears(step: Step) -> bool:
    """Whether what stands at the path has to go before: a deletion, or a directory on one of the two sides."""
    new, old = step.new, step.old
    return new is None or (old is not None and old.kind is not new.kind and Kind.DIR in (old.kind, new.kind))


def parts_of(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps that are taken together: so many at once, then all for which something has to go first."""
    cleared = {step.path for step in steps if clears(step)}
    last = [step for step in steps if cleared and cleared & {step.path, *paths.ancestors(step.path)}]
    late = {step.path for step in last}
    part: list[Step] = []
    size = 0
    for step in steps:
        if step.path in late:
            continue
        part.append(step)
        size += step.new.size if step.new is not None and needs_bytes(step) else 0
        if size >= _PART_SIZE or len(part) >= _PART:
            yield part
            part, size = [], 0
    yield part
    yield last


def uploaded(new: Item, old: Item | None, changed: str) -> Item:
    """An item as it is named on S3; a system without permission bits leaves those that are there.

    Args:
        changed: see `Item.changed`.
    """
    mode = old.mode if new.mode is None and old is not None and old.kind is new.kind else new.mode
    return new._replace(changed=changed, etag=None, mode=mode)
