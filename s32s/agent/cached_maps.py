"""Map files as a machine has fetched them last: in its cache, one JSON file for each place that they came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s32s.core.errors import ConfigError
from s32s.system import atomic, locks


@dataclass(frozen=True, slots=True)
class CachedMaps:
    """Map files as they were fetched last; `source` names the path and the server they come from."""

    source: str
    fetched_s: float
    files: tuple[tuple[str, bytes], ...]


def load(cache: Path, source: str) -> CachedMaps | None:
    """The maps that were fetched last from `source`, or None when there are none."""
    found = _read(_file(cache, source))
    return found if found is not None and found.source == source else None


def all_of(cache: Path) -> Iterator[CachedMaps]:
    """The maps of each place that they were fetched from, in no order."""
    for file in cache.glob("maps-*.json"):
        if (found := _read(file)) is not None:
            yield found


def save(cache: Path, maps: CachedMaps) -> None:
    """Replace the cached maps of a place in one step.

    Raises:
        ConfigError: the cache cannot be written.
    """
    facts = {
        "source": maps.source,
        "fetched_s": maps.fetched_s,
        "files": [(name, data.decode("utf-8-sig")) for name, data in maps.files],
    }
    try:
        atomic.write_atomic(_file(cache, maps.source), json.dumps(facts, indent=1).encode(), mode=0o600)
    except OSError as exc:
        raise ConfigError(f"the maps cannot be cached in {cache}: {exc.strerror}") from exc


def _read(file: Path) -> CachedMaps | None:
    try:
        facts = json.loads(file.read_bytes())
        files = tuple((str(name), str(text).encode()) for name, text in facts["files"])
        return CachedMaps(str(facts["source"]), float(facts["fetched_s"]), files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _file(cache: Path, source: str) -> Path:
    return cache / f"maps-{locks.digest(source)}.json"
