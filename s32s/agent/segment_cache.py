"""Roots and segments of packed prefixes as files, so that a run fetches only those that are new."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import zstandard

from s32s.stores.objects.packed.prefix import SegmentCache
from s32s.system import atomic, locks

#: A file with a line for each pack that a push has written, until it is published.
_UNFINISHED = "unfinished"
#: Of one root or segment; see `format.packs.MAX_BLOB`.
_MOST = 64 * 1024 * 1024


def segment_cache(top: Path, *, writable: bool, kind: str = "") -> SegmentCache:
    """What is kept of packed prefixes between runs. All of it is made again where it is lost.

    Args:
        top: directory of it, made when something is kept.
        kind: of use, where one prefix is known for two.
    """

    def directory(place: str) -> Path:
        return top / locks.digest(f"{kind} {place}" if kind else place)

    def load(place: str, sha256: str) -> bytes | None:
        with contextlib.suppress(OSError, zstandard.ZstdError):
            packed = (directory(place) / sha256).read_bytes()
            data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MOST)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        return None

    def save(place: str, blobs: Mapping[str, bytes], used: Collection[str] | None) -> None:
        if not writable:
            return
        packer = zstandard.ZstdCompressor(level=1)
        with contextlib.suppress(OSError):
            here = directory(place)
            here.mkdir(mode=0o700, parents=True, exist_ok=True)
            there = {one.name for one in here.iterdir()} - {_UNFINISHED}
            for sha256, data in blobs.items():
                if sha256 not in there:
                    atomic.write_atomic(here / sha256, packer.compress(data), mode=0o600)
            for name in there - set(used) if used is not None else ():
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
