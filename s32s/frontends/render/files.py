"""A run as files for people and scripts: a directory per entry, one path a line (design 6), each replaced in one step.

A report says how the last run ended, also when it ended early: what is not known of it is empty, and `error.txt` says
why. What ended the run before any entry began is in `error.txt` beside the directories. A directory ends in a slash,
and is only listed where nothing that is in it is.
"""

from __future__ import annotations

import contextlib
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

from s32s.agent.report import Report, fold
from s32s.core import paths
from s32s.core.errors import EntryFailed, S32sError, UsageError
from s32s.core.events import Emit, EntryFinished, Event
from s32s.core.item import Item
from s32s.core.merge import Merge, Step
from s32s.core.steps import kind_of
from s32s.frontends.render.merges import telling as telling_steps
from s32s.frontends.render.plans import directories_of, holders
from s32s.system import atomic

_ERROR = "error.txt"
_SHARED = ("uploaded.txt", "downloaded.txt", "conflicts.txt")
NAMES = ("new.txt", "modified.txt", "deleted.txt", "unchanged.txt", "success.txt", _ERROR)
#: What the files say, by name, and how they looked then: a run that ends the same need not write them again.
_SAME_AS = ".same-as"
#: The directories of entries: only these are ever emptied.
_ENTRIES = ".entries"


@contextlib.contextmanager
def recorded(emit: Emit, directory: Path | None, *, by_entry: bool = True) -> Iterator[Emit]:
    """Hand on events to `emit`, and write the report of the run when the block ends, however it ends.

    Args:
        directory: where to; it is made. None for no report.
        by_entry: whether entries have names, and a directory each; without a map there is only one.

    Raises:
        UsageError: it cannot be written, before the block begins.
        EntryFailed: it cannot be written any more, after the run.
    """
    if directory is None:
        yield emit
        return
    _check(directory, () if by_entry else NAMES)
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
        write(fold(ended, error=None if told else exc), directory, by_entry=by_entry)
        raise
    write(fold(ended), directory, by_entry=by_entry)


def write(report: Report, directory: Path, *, by_entry: bool = True) -> None:
    """Write the report; a file that would not change is left alone.

    Raises:
        EntryFailed: the disk is full, or the directory has gone.
    """
    try:
        if by_entry:
            _write_entries(report, directory)
        else:
            _write(report.finished, directory, _of(report.error) if report.error is not None else [])
    except OSError as exc:
        raise EntryFailed(
            f"the report in {paths.escape(str(directory))} could not be written: {exc.strerror}",
            hint="the run itself finished",
        ) from exc


def directory_of(entry: str) -> str:
    """The name of an entry's directory: its own, where a file can have it."""
    is_free = "/" not in entry and entry.lower() not in {*NAMES, *_SHARED}
    return entry if is_free and paths.problem(entry) is None else urllib.parse.quote(entry, safe="")


def _write_entries(report: Report, directory: Path) -> None:
    if (directory / _SAME_AS).exists():
        _empty(directory)  # an older version has put the files of all entries here
    before = _read(directory / _ENTRIES)
    now = [directory_of(end.entry) for end in report.finished]
    # The names come first: what is not among them would never be emptied.
    _replace_lines(directory / _ENTRIES, sorted({*before, *now}))
    for end, name in zip(report.finished, now, strict=True):
        (directory / name).mkdir(exist_ok=True)
        _write((end,), directory / name)
    for name in {*before} - {*now}:
        _empty(directory / name)
        with contextlib.suppress(OSError):  # somebody has put something of his own there
            (directory / name).rmdir()
    _replace_lines(directory / _ENTRIES, sorted({*now}))
    _replace_lines(directory / _ERROR, _of(report.error) if report.error is not None else [])


def _empty(directory: Path) -> None:
    for name in (*NAMES, *_SHARED, _SAME_AS):
        (directory / name).unlink(missing_ok=True)


def _write(ended: Sequence[EntryFinished], directory: Path, errors: Iterable[str] = ()) -> None:
    """The files of one entry, or of none that has come to an end."""
    fingerprint = "" if errors else " ".join(end.fingerprint for end in ended if end.error is None)
    if fingerprint and _read(directory / _SAME_AS) == [fingerprint, *_stamps(directory)]:
        return
    found: dict[str, list[str]] = {}
    for end in ended:
        found |= _lines(end)
    # Those of a shared folder are written for one alone, or where they are from before.
    for name in (*NAMES, *(name for name in _SHARED if name in found or (directory / name).exists())):
        _replace_lines(directory / name, [*found.get(name, ()), *(errors if name == _ERROR else ())])
    if fingerprint:
        _replace_lines(directory / _SAME_AS, [fingerprint, *_stamps(directory)])


def _check(directory: Path, names: Iterable[str]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        if taken := next((name for name in (*names, _ERROR) if (directory / name).is_dir()), None):
            raise IsADirectoryError(0, f"{taken} in it is a directory")
    except OSError as exc:
        raise UsageError(
            f"the report directory {paths.escape(str(directory))} cannot be written: {exc.strerror}",
            hint="the run has not begun",
        ) from exc


def _replace_lines(file: Path, lines: Iterable[str]) -> None:
    _replace(file, "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"))


def _replace(file: Path, data: bytes) -> None:
    with contextlib.suppress(OSError):
        if file.stat().st_size == len(data) and file.read_bytes() == data:
            return
    # After a power cut a report may be a broken one; its size and time then show that it is to be written again.
    atomic.write_atomic(file, data, durable=False)


def _read(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
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
    found = {_ERROR: _errors(end)}
    if end.merge is not None:
        return found | _shared(end.merge)
    if end.plan is None:
        return found
    plan, same = end.plan, end.plan.unchanged.paths()
    directories = {keep.source.path for keep in plan.unchanged.directories()}
    puts = [put.item for put in plan.puts]

    def listed(items: Iterable[Item]) -> list[str]:
        some = list(items)
        return _paths([item.path for item in some], directories_of(some))

    return found | {
        "new.txt": listed(put.item for put in plan.new),
        "modified.txt": listed(put.item for put in plan.modified),
        "deleted.txt": listed(plan.extras),
        "unchanged.txt": _paths(same, directories),
        "success.txt": _paths(sorted([*(item.path for item in puts), *same]), directories | directories_of(puts)),
    }


def _paths(listed: Sequence[str], directories: Set[str]) -> list[str]:
    """A line for each path that is worth one; of what is unchanged there may be a million."""
    left_out = holders(listed, directories)
    return [paths.escape(path) + ("/" if path in directories else "") for path in listed if path not in left_out]


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
