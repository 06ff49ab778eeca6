"""A run as files for people and scripts: one path a line (design 6), replaced together or not at all by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from s32s import disk, paths
from s32s.errors import UsageError
from s32s.events import EntryFinished
from s32s.report import Report

NAMES = ("new.txt", "modified.txt", "deleted.txt", "unchanged.txt", "success.txt", "error.txt")


def check_directory(directory: Path) -> None:
    """Make sure before the run that its report can be written.

    Raises:
        UsageError: it cannot.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        disk.write_atomic(directory / "error.txt", b"")
    except OSError as exc:
        raise UsageError(
            f"the report directory {directory} cannot be written: {exc.strerror}", hint="the run has not begun"
        ) from exc


def write(report: Report, directory: Path) -> None:
    """Write the report; every file is replaced in one step.

    With several entries each path is led by the entry's name and a colon.
    """
    for name in NAMES:
        lines = [
            f"{paths.escape(end.entry)}: {line}" if len(report.finished) > 1 else line
            for end in report.finished
            for line in _lines(end, name)
        ]
        data = "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")
        disk.write_atomic(directory / name, data)


def _lines(end: EntryFinished, name: str) -> Iterable[str]:
    plan = end.plan
    if name == "error.txt":
        rejected = [f"{paths.escape(gone.path)}\t{gone.reason}" for gone in plan.rejected] if plan else []
        error = end.error
        if error is None:
            return rejected
        said = paths.escape(" ".join(error.what.split()))
        return [*rejected, *(f"{paths.escape(path)}\t{said}" for path in error.paths or ("",))]
    if plan is None:
        return []
    named = {
        "new.txt": [put.item.path for put in plan.new],
        "modified.txt": [put.item.path for put in plan.modified],
        "deleted.txt": [item.path for item in plan.extras],
        "unchanged.txt": [keep.source.path for keep in plan.keeps],
        "success.txt": sorted([put.item.path for put in plan.puts] + [keep.source.path for keep in plan.keeps]),
    }[name]
    return map(paths.escape, named)
