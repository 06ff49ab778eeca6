"""A run in few words: how far an entry has come, and how it went."""

from __future__ import annotations

from dataclasses import dataclass

from s32s.core import events
from s32s.core.item import Item, Kind, only_directories
from s32s.core.merge import Merge
from s32s.core.plan import Plan
from s32s.core.steps import is_directory, kind_of, needs_bytes


@dataclass(slots=True)
class Tally:
    """How far an entry has come, folded from its events.

    Attributes:
        phase: what goes on.
        files, size: files and bytes that have moved.
        files_of, size_of: how many there are to move; 0 before there is a plan.
    """

    phase: str = ""
    files: int = 0
    size: int = 0
    files_of: int = 0
    size_of: int = 0

    def on_event(self, event: events.Event) -> None:
        """Take a fact in."""
        match event:
            case events.Phase():
                self.phase = event.what
            case events.Waiting():
                self.phase = event.text
            case events.Planned():
                self.files = self.size = 0
                self.files_of, self.size_of = event.plan.bodies, event.plan.size
            case events.Merged():
                self.files = self.size = 0
                self.files_of, self.size_of = _bodies(event.merge)
            case events.Progress():
                self.size += event.size
            case events.FilePut():
                self.files += 1
            case _:
                pass


def summary(finished: events.EntryFinished) -> str:
    """One line on how an entry went, without its name."""
    plan = finished.plan
    if finished.error is not None:
        return str(finished.error)
    if finished.held:
        return finished.held
    if finished.merge is not None:
        return _merged(finished.merge, "ed" if finished.changed else "")
    if plan is None:
        return ""
    rejected = f", {len(plan.rejected):,} rejected" if plan.rejected else ""
    if plan.is_empty:
        text = "up to date" if not finished.changed else "manifest published"
        return f"{text}, {files(plan)}{rejected}"
    return f"{', '.join(counts(plan))}; {files(plan)}{rejected}"


def _merged(made: Merge, done: str) -> str:
    """What a shared folder has given and taken, or would; `done` is the end of the word."""
    told = []
    to = "" if done else "to "
    for word, steps in ((f"{to}upload{done}", made.uploads), (f"{to}download{done}", made.downloads)):
        found = [kind_of(step) for step in steps if not is_directory(step)]
        kinds = {kind: found.count(kind) for kind in ("new", "modified", "deleted")}
        if any(kinds.values()):
            told.append(f"{word} " + ", ".join(f"{number:,} {kind}" for kind, number in kinds.items() if number))
        elif steps:
            told.append(f"{word} {len(steps):,} director{'y' if len(steps) == 1 else 'ies'}")
    if made.conflicts:
        told.append(f"{len(made.conflicts):,} conflict{'s' if len(made.conflicts) > 1 else ''}")
    number = made.mine.files + sum(_files(step.new) - _files(step.old) for step in made.downloads)
    return f"{'; '.join(told) or 'up to date'}; {number:,} file{'' if number == 1 else 's'}"


def _files(item: Item | None) -> int:
    """How many files and links an item is: one, or none."""
    return int(item is not None and item.kind is not Kind.DIR)


def _bodies(made: Merge) -> tuple[int, int]:
    """Files and bytes that a merge moves."""
    moved = [step.new for step in (*made.uploads, *made.downloads) if step.new is not None and needs_bytes(step)]
    return len(moved), sum(item.size for item in moved)


def files(plan: Plan) -> str:
    """How many files and links take part."""
    return f"{plan.source_files:,} file{'' if plan.source_files == 1 else 's'}"


def counts(plan: Plan) -> list[str]:
    """What a plan changes, as people count: files and links by kind of change, directories only where alone."""
    kinds = by_kind(plan)
    found = [f"{count:,} {word}" for word, count in numbers(plan).items() if count]
    return found or [
        f"{len(items):,} director{'y' if len(items) == 1 else 'ies'} {word}" for word, items in kinds.items() if items
    ]


def numbers(plan: Plan) -> dict[str, int]:
    """How many files and links are new, modified and deleted; one that becomes a directory is modified."""
    return {
        "new": sum(not only_directories(put.item, put.old) for put in plan.new),
        "modified": sum(not only_directories(put.item, put.old) for put in plan.modified),
        "deleted": plan.deletions,
    }


def by_kind(plan: Plan) -> dict[str, list[Item]]:
    """What is new, modified and deleted."""
    return {
        "new": [put.item for put in plan.new],
        "modified": [put.item for put in plan.modified],
        "deleted": list(plan.extras),
    }
