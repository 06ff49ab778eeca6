"""Roots and pages of packed prefixes as files, so that a run fetches and reads only segments that are new.

A page is a file. One file of all of a million paths, 37 MB, would come from a cold disk in 0.1 s instead of 0.33 s, and
be written again, in 0.15 s, whenever one path has changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

from s32s.stores.objects.packed.prefix import SegmentCache
from s32s.system import atomic, locks

#: A file with a line for each pack that a push has written, until it is published.
_UNFINISHED = "unfinished"


def segment_cache(top: Path, *, writable: bool, kind: str = "") -> SegmentCache:
    """What is kept of packed prefixes between runs. All of it is made again where it is lost.

    Args:
        top: directory of it, made when something is kept.
        kind: of use, where one prefix is known for two.
    """

    def directory(place: str) -> Path:
        return top / locks.digest(f"{kind} {place}" if kind else place)

    def load(place: str, name: str) -> bytes | None:
        with contextlib.suppress(OSError):
            return (directory(place) / name).read_bytes()
        return None

    def save(place: str, blobs: Mapping[str, bytes], used: Collection[str] | None) -> None:
        if not writable:
            return
        with contextlib.suppress(OSError):
            here = directory(place)
            here.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, data in blobs.items():
                # What a power cut leaves of it is not believed, so there is no need to wait for the disk.
                atomic.write_atomic(here / name, data, mode=0o600, durable=False)
            if used is not None:
                for name in {one.name for one in here.iterdir()} - {*used, _UNFINISHED}:
                    (here / name).unlink(missing_ok=True)

    def unfinished(place: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in (directory(place) / _UNFINISHED).read_text().splitlines():
                pack, _, size = line.partition(" ")
                found[pack] = int(size)
        return found

    def note(place: str, pack: tuple[str, int] | None) -> None:
        if not writable:
            return
        file = directory(place) / _UNFINISHED
        with contextlib.suppress(OSError):
            if pack is None:
                file.unlink(missing_ok=True)
                return
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file.open("a") as opened:
                opened.write(f"{pack[0]} {pack[1]}\n")

    return SegmentCache(load, save, unfinished, note)
