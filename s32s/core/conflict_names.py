"""The names under which both sides of a conflict are kept."""

from __future__ import annotations

from collections.abc import Callable

from s32s.core import paths


def copy_name(path: str, *, host: str, when: str, is_taken: Callable[[str], bool]) -> str:
    """A name beside `path` for ours, so that theirs may have that: `plan (conflict, HOST, 2026-11-23 10.15).dwg`.

    The ending stays, so that the file opens as before; a name that is taken is counted up, and one that no file system
    could hold is cut.

    Args:
        host: this machine's name.
        when: the time of day, as the name is to show it.
    """
    above, _, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > 16:
        stem, dot, ending = name, "", ""
    host = "".join(char for char in host if char.isalnum() or char in "-_") or "here"
    for number in range(1, 10_000):
        count = f" {number}" if number > 1 else ""
        note = f" (conflict, {host[:40]}, {when}){count}"
        room = paths.MAX_SEGMENT - len(f"{note}{dot}{ending}".encode())
        cut = stem.encode()[:room].decode("utf-8", "ignore")
        made = f"{above}/{cut}{note}{dot}{ending}" if above else f"{cut}{note}{dot}{ending}"
        if not is_taken(made):
            return made
    raise AssertionError("ten thousand copies in one minute")
