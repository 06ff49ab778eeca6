"""What this machine remembers: cached maps and manifests, the index, results, locks.

Everything here but the results and the writer's id is a cache. The id has a file of its own, so that it outlives the
database. A damaged database is thrown away and made again, at its opening or when it fails later; what is only locked,
read-only or out of space is reported and kept. A cached manifest is only used after its hash has been checked; the
cached maps are one file that is replaced as a whole, so an update that fails half-way leaves them as they were.

What the stat cache is, and when it is believed, is in `stores/local/stat_cache.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from s32s.agent import cached_maps
from s32s.agent.cached_maps import CachedMaps
from s32s.agent.database import (
    WRITER,
    is_damage,
    keep_writer,
    make_again,
    open_for_reading,
    open_for_writing,
    writer_of,
)
from s32s.agent.results import Result, of_facts
from s32s.config.settings import Directories
from s32s.core.errors import ConfigError
from s32s.replication.checkpoints import Checkpoint
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.objects.prefix import ManifestCache
from s32s.system import atomic, locks, marks, openat

if TYPE_CHECKING:
    from s32s.stores.objects.packed.prefix import SegmentCache


class State:
    """This machine's memory; open it with `State.open`, close it with `close`.

    Written by one thread, read by several. Several processes may have it open: SQLite orders their transactions.

    Attributes:
        is_lost: whether what was remembered could not be read, and is begun again.
    """

    def __init__(self, places: Directories, database: sqlite3.Connection, *, writable: bool) -> None:
        self._places = places
        self._database = database
        self._writable = writable
        self.is_lost = False

    @classmethod
    def open(cls, places: Directories, *, writable: bool = True) -> State:
        """Open the state, making or healing it; with `writable=False` nothing is made, written or healed.

        Raises:
            ConfigError: the directories cannot be made or written.
        """
        if not writable:
            return cls(places, open_for_reading(places.state / "state.db"), writable=False)
        try:
            for place in (places.state, places.cache):
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            database, is_lost = open_for_writing(places.state / "state.db")
            state = cls(places, database, writable=True)
            state.is_lost = is_lost
            keep_writer(places.state / "state.db")
            return state
        except (OSError, sqlite3.Error) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise ConfigError(
                f"the state directory {places.state} or the cache {places.cache} cannot be used: {reason}",
                hint="set STATE_DIRECTORY and CACHE_DIRECTORY to directories that this user may write",
            ) from exc

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # -- who we are

    def writer_id(self) -> str:
        """This machine's own random id as a master, made at first use and kept."""
        known = marks.read_id(self._writer_file)
        if known is not None:
            return known
        made = secrets.token_hex(16)
        if self._writable:
            with self._saved():  # the database decides between two processes that both make one
                self._database.execute("INSERT OR IGNORE INTO meta VALUES ('writer', ?)", (made,))
        kept = writer_of(self._database) or made
        if self._writable:
            marks.save_id(self._writer_file, kept)
        return kept

    # -- the index

    def stat_cache(self, root: str) -> StatCache:
        """What is known of the files below `root`, by relative path."""
        try:
            rows = self._database.execute("SELECT data FROM page WHERE root = ? ORDER BY number", (root,))
            return StatCache.of_pages(data for (data,) in rows)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return StatCache()  # only a cache: without it every file is read

    def save_stat_cache(self, root: str, cache: StatCache) -> None:
        """Replace what is known of the files below `root`, in one transaction."""
        if not self._writable:
            return
        rows = ((root, number, data) for number, data in enumerate(cache.pages()))
        with self._saved():
            self._database.execute("DELETE FROM page WHERE root = ?", (root,))
            self._database.executemany("INSERT INTO page VALUES (?, ?, ?)", rows)

    def checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint of a pair of places, or None."""
        try:
            row = self._database.execute("SELECT value FROM meta WHERE name = ?", (f"checkpoint {name}",)).fetchone()
            return of_facts(Checkpoint, row[0]) if row else None
        except (sqlite3.DatabaseError, UnicodeDecodeError, ValueError, TypeError, RecursionError):
            return None

    def save_checkpoint(self, name: str, checkpoint: Checkpoint | None) -> None:
        """Keep a checkpoint, or forget the one that was."""
        if not self._writable:
            return
        with self._saved():
            self._database.execute("DELETE FROM meta WHERE name = ?", (f"checkpoint {name}",))
            if checkpoint is not None:
                facts = {field: getattr(checkpoint, field) for field in Checkpoint.__dataclass_fields__}
                self._database.execute("INSERT INTO meta VALUES (?, ?)", (f"checkpoint {name}", json.dumps(facts)))

    # -- copies

    def copies(self, mirror: str) -> dict[str, tuple[str, str]]:
        """The ETags of originals and of their copies in `mirror`, by path, where the two differ."""
        try:
            rows = self._database.execute("SELECT path, original, copy FROM copy WHERE mirror = ?", (mirror,))
            return {path: (original, copy) for path, original, copy in rows}
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return {}  # only a cache: without it the times decide

    def save_copies(self, mirror: str, copies: Mapping[str, tuple[str, str]]) -> None:
        """Replace what is known of `mirror`, in one transaction."""
        if not self._writable:
            return
        with self._saved():
            self._database.execute("DELETE FROM copy WHERE mirror = ?", (mirror,))
            rows = ((mirror, path, original, copy) for path, (original, copy) in copies.items())
            self._database.executemany("INSERT INTO copy VALUES (?, ?, ?, ?)", rows)

    # -- results

    def result(self, entry: str, role: str) -> Result | None:
        """How the entry's last run ended, or None when it never ran."""
        try:
            row = self._database.execute(
                "SELECT facts FROM result WHERE entry = ? AND role = ?", (entry, role)
            ).fetchone()
            return of_facts(Result, row[0]) if row else None
        except (sqlite3.DatabaseError, ValueError, TypeError, RecursionError):
            return None

    def last_of(self, entry: str, role: str, source: str, target: str) -> Result | None:
        """How the last run between two places ended, also under another name; else the last of the entry, if any."""
        own = self.result(entry, role)
        with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError, ValueError, TypeError, RecursionError):
            rows = self._database.execute(
                "SELECT facts FROM result WHERE role = ? AND entry != ? AND instr(facts, ?)",
                (role, entry, json.dumps(target)),
            ).fetchall()
            found = [of_facts(Result, facts) for (facts,) in rows]
            there = [result for result in found if (result.source, result.target) == (source, target)]
            if own is not None and own.ran_between(source, target):
                there.append(own)
            return max(there, key=lambda result: result.time_s, default=own)
        return own

    def has_written(self, target: str) -> bool:
        """Whether a run has ever succeeded with this target, as far as this machine remembers."""
        try:
            rows = self._database.execute("SELECT facts FROM result").fetchall()
            results = [of_facts(Result, facts) for (facts,) in rows]
        except (sqlite3.DatabaseError, ValueError, TypeError, RecursionError):
            return False
        return any(result.target == target and result.success_s is not None for result in results)

    def save_result(self, entry: str, role: str, result: Result) -> None:
        """Remember how a run ended."""
        if not self._writable:
            return
        facts = json.dumps({name: getattr(result, name) for name in Result.__dataclass_fields__})
        with self._saved():
            self._database.execute("INSERT OR REPLACE INTO result VALUES (?, ?, ?)", (entry, role, facts))

    def mark_pending(self, entry: str, role: str, source: str, target: str, *, needed: bool) -> None:
        """Note that a command is owed after the change that begins now, so that a kill cannot make it forgotten."""
        last = self.last_of(entry, role, source, target)
        if needed and not (last and last.pending):
            base = last or Result(time_s=time.time(), ok=False, status=1, text="the first run was not finished")
            self.save_result(entry, role, replace(base, pending=True))

    # -- cached maps and manifests

    def cached_maps(self, source: str) -> CachedMaps | None:
        """The maps that were fetched last from `source`, or None when there are none."""
        return cached_maps.load(self._places.cache, source)

    def all_cached_maps(self) -> list[CachedMaps]:
        """The maps of each place that they were fetched from."""
        return list(cached_maps.all_of(self._places.cache))

    def cache_maps(self, maps: CachedMaps) -> None:
        """Replace the cached maps in one step."""
        if self._writable:
            cached_maps.save(self._places.cache, maps)

    def cached_manifest(self, source: str, sha256: str) -> bytes | None:
        """The manifest of a prefix, if exactly these bytes are cached."""
        with contextlib.suppress(OSError):
            data = self._manifest_file(source).read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        return None

    def cache_manifest(self, source: str, data: bytes) -> None:
        """Keep the newest manifest of a prefix."""
        if not self._writable:
            return
        file = self._manifest_file(source)
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, exist_ok=True)
            atomic.write_atomic(file, data, mode=0o600, durable=False)

    def bounds(self, source: str) -> list[str]:
        """Keys by which the listing of a prefix is parted; see `stores.objects.prefix.ManifestCache`."""
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self._bounds_file(source).read_bytes())
            if isinstance(known, list) and all(isinstance(key, str) for key in known):
                return known
        return []

    def save_bounds(self, source: str, keys: Sequence[str]) -> None:
        """Keep them; where there are none, nothing is kept."""
        if not self._writable:
            return
        file = self._bounds_file(source)
        with contextlib.suppress(OSError):
            if not keys:
                file.unlink(missing_ok=True)
                return
            file.parent.mkdir(mode=0o700, exist_ok=True)
            atomic.write_atomic(file, json.dumps(list(keys)).encode(), mode=0o600, durable=False)

    def manifests(self, kind: str = "") -> ManifestCache:
        """What is kept of prefixes between runs.

        Args:
            kind: of use, where one prefix is known for two.
        """

        def named(source: str) -> str:
            return f"{kind} {source}" if kind else source

        return ManifestCache(
            lambda source, sha256: self.cached_manifest(named(source), sha256),
            lambda source, data: self.cache_manifest(named(source), data),
            lambda source: self.bounds(named(source)),
            lambda source, keys: self.save_bounds(named(source), keys),
        )

    def segments(self, kind: str = "") -> SegmentCache:
        """What is kept of packed prefixes between runs; see `segment_cache`."""
        from s32s.agent.segment_cache import segment_cache

        return segment_cache(self._places.cache / "segments", writable=self._writable, kind=kind)

    # -- locks

    @contextlib.contextmanager
    def lock(self, name: str, *, hold: bool) -> Iterator[None]:
        """Hold this machine's lock on `name`, for work that has no target directory to lock.

        With `hold=False` nothing is locked or written.

        Raises:
            Locked: another run holds it.
        """
        if not hold:
            yield
            return
        directory = self._places.state / "locks"
        directory.mkdir(mode=0o700, exist_ok=True)
        fd = openat.open(str(directory), openat.OPEN_DIR)
        try:
            with locks.lock(fd, locks.digest(name) + ".lock", what=name, holder=locks.holder()):
                yield
        finally:
            openat.close(fd)

    @property
    def directories(self) -> Sequence[Path]:
        """State and cache, which no target may hold or lie in."""
        return self._places.state, self._places.cache

    @contextlib.contextmanager
    def running(self, entry: str, role: str) -> Iterator[None]:
        """Let `running_since` tell that a run of the entry is under way; it keeps no other run out."""
        if not self._writable:
            yield
            return
        with marks.mark(self._running_file(entry, role)):
            yield

    def running_since(self, entry: str, role: str) -> float | None:
        """When the run of the entry that is under way began, in seconds since the epoch; None without one."""
        return marks.marked_since(self._running_file(entry, role))

    @contextlib.contextmanager
    def watching(self, entry: str, role: str) -> Iterator[None]:
        """Let `watch_of` tell that a watch of the entry is at work."""
        with marks.mark(self._watching_file(entry, role)):
            yield

    def save_watch(self, entry: str, role: str, facts: str) -> None:
        """Remember how an entry is watched."""
        with self._saved():
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"watch {role} {entry}", facts))

    def watch_of(self, entry: str, role: str) -> str | None:
        """What was saved of the watch that is at work on an entry; None without one."""
        if marks.marked_since(self._watching_file(entry, role)) is None:
            return None
        try:
            row = self._database.execute("SELECT value FROM meta WHERE name = ?", (f"watch {role} {entry}",)).fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            row = None
        return str(row[0]) if row else "{}"

    @property
    def _file(self) -> Path:
        return self._places.state / "state.db"

    @property
    def _writer_file(self) -> Path:
        return self._places.state / WRITER

    def _running_file(self, entry: str, role: str) -> Path:
        return self._places.state / "locks" / f"{locks.digest(f'{role} {entry}')}.run"

    def _watching_file(self, entry: str, role: str) -> Path:
        return self._places.state / "locks" / f"{locks.digest(f'{role} {entry}')}.watch"

    def _bounds_file(self, source: str) -> Path:
        return self._places.cache / "manifests" / f"{locks.digest(source)}.bounds"

    def _manifest_file(self, source: str) -> Path:
        return self._places.cache / "manifests" / f"{locks.digest(source)}.jsonl.zst"

    @contextlib.contextmanager
    def _saved(self) -> Iterator[None]:
        """A transaction for what may get lost: a failure is not a reason to fail a run, damage one to start again."""
        try:
            with self._transaction():
                yield
        except sqlite3.DatabaseError as exc:
            if is_damage(exc, self._file):
                self._database.close()
                self._database = make_again(self._file)
                self.is_lost = True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._database.in_transaction:  # some errors have rolled back already
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
