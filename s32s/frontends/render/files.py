"""A run as files for people and scripts: one path a line (design 6), each replaced in one step.

A report says how the last run ended, also when it ended early: what is not known of it is empty, and `error.txt` says
why. With several entries each line is led by the entry's name and a colon. A directory ends in a slash, and is only
listed where nothing that lies in it is.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from s32s.agent.report import Report, fold
from s32s.core import paths
from s32s.core.errors import EntryFailed, S32sError, UsageError
from s32s.core.events import Emit, EntryFinished, Event
from s32s.core.item import Item
from s32s.core.merge import Merge, Step
from s32s.core.steps import kind_of
from s32s.frontends.render.merges import telling as telling_steps
from s32s.frontends.render.plans import shown, telling
from s32s.system import atomic

_SHARED = ("uploaded.txt", "downloaded.txt", "conflicts.txt")
NAMES = ("new.txt", "modified.txt", "deleted.txt", "unchanged.txt", "success.txt", "error.txt")
#: What the files say, by name, and how they looked then: a run that ends the same need not write them again.
_SAME_AS = ".same-as"


@contextlib.contextmanager
def recorded(emit: Emit, directory: Path | None) -> Iterator[Emit]:
    """Hand on events to `emit`, and write the report of the run when the block ends, however it ends.

    Args:
        directory: where to; it is made. None for no report.

    Raises:
        UsageError: it cannot be written, before the block begins.
        EntryFailed: it cannot be written any more, after the run.
    """
    if directory is None:
        yield emit
        return
    _check(directory)
    ended: list[EntryFinished] = []

    def record(event: Event) -> None:
        if isinstance(event, EntryFinished):
            ended.append(event)
        emit(event)

    try:
        yield record
    except S32sError as exc:
        # An entry that was interrupted has said so itself.
        told = any(end.error is exc for end in ended)
        write(fold(ended, error=None if told else exc), directory)
        raise
    write(fold(ended), directory)


def write(report: Report, directory: Path) -> None:
    """Write the report; a file that would not change is left alone.

    Raises:
        EntryFailed: the disk is full, or the directory has gone.
    """
    try:
        fingerprint = _same_as(report)
        if fingerprint and _said(directory) == [fingerprint, *_stamps(directory)]:
            return
        ends = [(end.entry, _lines(end)) for end in report.finished]
        # Those of a shared folder are written for one alone, or where they are from before.
        shared = [name for name in _SHARED if any(name in found for _, found in ends) or (directory / name).exists()]
        for name in (*NAMES, *shared):
            lines = [
                f"{paths.escape(entry)}: {line}" if len(ends) > 1 else line
                for entry, by_name in ends
                for line in by_name.get(name, ())
            ]
            if name == "error.txt" and report.error is not None:
                lines += _of(report.error)
            _replace(directory / name, "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"))
        if fingerprint:
            _replace(directory / _SAME_AS, "\n".join([fingerprint, *_stamps(directory)]).encode())
    except OSError as exc:
        raise EntryFailed(
            f"the report in {paths.escape(str(directory))} could not be written: {exc.strerror}",
            hint="the run itself finished",
        ) from exc


def _check(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        if taken := next((name for name in NAMES if (directory / name).is_dir()), None):
            raise IsADirectoryError(0, f"{taken} in it is a directory")
    except OSError as exc:
        raise UsageError(
            f"the report directory {paths.escape(str(directory))} cannot be written: {exc.strerror}",
            hint="the run has not begun",
        ) from exc


def _replace(file: Path, data: bytes) -> None:
    with contextlib.suppress(OSError):
        if file.stat().st_size == len(data) and file.read_bytes() == data:
            return
    atomic.write_atomic(file, data)


def _same_as(report: Report) -> str:
    """What tells that another report has the same lines as this one; "" where only the lines do."""
    if report.error is not None or not all(end.fingerprint and end.error is None for end in report.finished):
        return ""
    return " ".join(f"{paths.escape(end.entry)}={end.fingerprint}" for end in report.finished)


def _said(directory: Path) -> list[str]:
    try:
        return (directory / _SAME_AS).read_text("utf-8", "replace").split("\n")
    except OSError:
        return []


def _stamps(directory: Path) -> Iterator[str]:
    """What changes when one of the files does."""
    for name in NAMES:
        with contextlib.suppress(OSError):
            status = (directory / name).stat()
            yield f"{name} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _lines(end: EntryFinished) -> dict[str, list[str]]:
    """The lines of each file about one entry."""
    found = {"error.txt": _errors(end)}
    if end.merge is not None:
        return found | _shared(end.merge)
    if end.plan is None:
        return found
    same = list(end.plan.unchanged.sources())
    puts = [put.item for put in end.plan.puts]
    listed: dict[str, Iterable[Item]] = {
        "new.txt": (put.item for put in end.plan.new),
        "modified.txt": (put.item for put in end.plan.modified),
        "deleted.txt": end.plan.extras,
        "unchanged.txt": same,
        "success.txt": sorted([*puts, *same], key=lambda item: item.path),
    }
    return found | {name: list(map(shown, telling(items))) for name, items in listed.items()}


def _shared(made: Merge) -> dict[str, list[str]]:
    """The lines about a shared folder: what went each way, with what happened to it, and what is undecided."""

    def steps(listed: tuple[Step, ...]) -> list[str]:
        return [f"{paths.escape(step.path)}\t{kind_of(step)}" for step in telling_steps(listed)]

    return {
        "uploaded.txt": steps(made.uploads),
        "downloaded.txt": steps(made.downloads),
        "conflicts.txt": [f"{paths.escape(one.path)}\t{one.clash.value}" for one in made.conflicts],
    }


def _errors(end: EntryFinished) -> list[str]:
    rejected = end.plan.rejected if end.plan else ()
    lines = [f"{paths.escape(gone.path)}\t{paths.escape(gone.reason)}" for gone in rejected]
    return lines + (_of(end.error) if end.error is not None else [])


def _of(error: S32sError) -> list[str]:
    said = " ".join(error.what.split())
    return [f"{paths.escape(path)}\t{paths.escape(error.reasons.get(path, said))}" for path in error.paths or ("",)]
