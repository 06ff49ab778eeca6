"""The file of this machine's state: made, healed, thrown away and made again.

A damaged database is replaced, at its opening or when it fails later; what is only locked, read-only or out of space is
reported and kept.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from s32s.system import marks

_SCHEMA = 3
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS page (
    root TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (root, number)
);
CREATE TABLE IF NOT EXISTS copy (
    mirror TEXT NOT NULL, path TEXT NOT NULL, original TEXT NOT NULL, copy TEXT NOT NULL,
    PRIMARY KEY (mirror, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS result (
    entry TEXT NOT NULL, role TEXT NOT NULL, facts TEXT NOT NULL,
    PRIMARY KEY (entry, role)
) WITHOUT ROWID;
"""

WRITER = "writer"


def writer_of(database: sqlite3.Connection) -> str | None:
    """The id of this machine as a master, or None."""
    try:
        row = database.execute("SELECT value FROM meta WHERE name = 'writer'").fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    return str(row[0]) if row else None


def keep_writer(database: Path) -> None:
    """Copy the writer's id out of a database of a version that has kept it nowhere else, or that is about to go."""
    file = database.with_name(WRITER)
    if marks.read_id(file) is not None or not database.exists():
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(f"file:{_uri(database)}?mode=ro")) as opened:
        writer = writer_of(opened)
        if writer is not None:
            marks.save_id(file, writer)


def open_for_writing(file: Path) -> tuple[sqlite3.Connection, bool]:
    """Open the database, made or healed; and whether it was damaged, or of another version, and is begun again.

    Raises:
        sqlite3.Error: it cannot be used, and another one would fare no better.
    """
    database: sqlite3.Connection | None = None
    try:
        database = _connect(str(file))
        if _is_new(database):
            _make(database)
        elif not _is_sound(database):
            raise sqlite3.DatabaseError("another version, or damaged")
        # A header that is damaged may make the file read-only, which shows only here.
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
        return database, False
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        if database is not None:
            database.close()
        if not is_damage(exc, file):
            raise
        return make_again(file), True


def open_for_reading(file: Path) -> sqlite3.Connection:
    """Open the database and change nothing; an empty one in memory stands for what cannot be read.

    A run that was killed may have left a journal. It must be rolled back before anything can be read, and only who may
    write can do that (sqlite.org, "Hot journals").
    """
    is_cut_off = file.with_name(f"{file.name}-journal").exists()
    for mode in ("ro", "rw") if is_cut_off else ("ro",):
        database: sqlite3.Connection | None = None
        try:
            database = _connect(f"file:{_uri(file)}?mode={mode}")
            if _is_sound(database):
                return database
        except (sqlite3.Error, UnicodeDecodeError):
            pass
        if database is not None:
            database.close()
    database = _connect(":memory:")
    _make(database)
    return database


def _connect(name: str) -> sqlite3.Connection:
    # Both sides of a run are listed at the same time; SQLite is built to be used so (sqlite3.threadsafety is 3).
    database = sqlite3.connect(
        name, timeout=30, isolation_level=None, uri=name.startswith("file:"), check_same_thread=False
    )
    try:
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database


def _make(database: sqlite3.Connection) -> None:
    database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_SCHEMA}; COMMIT;")


def make_again(file: Path) -> sqlite3.Connection:
    """Throw a database away, and open an empty one; the id of this machine stays."""
    keep_writer(file)
    for suffix in ("", "-journal", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    database = _connect(str(file))
    _make(database)
    return database


def _is_new(database: sqlite3.Connection) -> bool:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(version == 0 and tables == 0)


def _is_sound(database: sqlite3.Connection) -> bool:
    """Of our version, with our very tables, and readable in each of them; its rows are only read when they are used."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version != _SCHEMA:
        return False
    found = database.execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    wanted = [text.replace(" IF NOT EXISTS", "").strip() for text in _TABLES.split(";") if text.strip()]
    if sorted(sql or "" for (sql,) in found) != sorted(wanted):
        return False
    for table in ("meta", "page", "copy", "result"):
        database.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 # names of our own
    return True


#: What a new file would not cure (sqlite.org/rescode.html): permission, busy, locked, no memory, read-only, I/O error,
#: full, cannot open.
_NOT_DAMAGE = {3, 5, 6, 7, 8, 10, 13, 14}


def is_damage(error: Exception, file: Path) -> bool:
    """Whether an error says that the file is damaged, so that a new one cures it."""
    if not isinstance(error, sqlite3.Error):
        return True
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF == sqlite3.SQLITE_READONLY:
        # A damaged header says so too, of a file that may well be written.
        return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
    return code is None or (code & 0xFF) not in _NOT_DAMAGE


def _uri(file: Path) -> str:
    return "".join(char if char not in "?#%" else f"%{ord(char):02X}" for char in str(file.absolute()))
