"""What a remote file system is asked for, and any of fsspec that answers.

What fsspec promises differs from one file system to the next, so little is taken from it: what a directory holds, what
a file is, reading, writing, removing. Its own walk hides errors below the top (`find` and `walk` do not hand
`on_error` down), so directories are listed one by one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from s32s.backends.base import Chunk

#: How long (seconds) an answer may take.
PATIENCE_S = 30.0
#: How names begin under which files are written; they are never listed.
TEMPORARY = ".s32s-tmp-"
#: Bytes that are read at once.
READ_SIZE = 1024 * 1024


class Info(NamedTuple):
    """What a remote file system says of one name.

    Attributes:
        kind: "file", "directory", or anything else.
        etag: what tells one state of a file from another; None where nothing does.
        stored_ns: when it was written, in ns since the epoch.
    """

    name: str
    kind: str
    size: int
    etag: str | None
    stored_ns: int | None


class Files:
    """One connection to a file system of fsspec; one thread uses it at a time.

    Methods raise what the library raises; `errors.translated` makes errors of ours of that.
    """

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def names(self, path: str) -> Iterator[Info]:
        """What a directory holds."""
        self.fs.invalidate_cache()
        for found in self.fs.ls(path, detail=True):
            if found["name"].strip("/") != path.strip("/"):  # some list a directory with itself
                yield _info(found)

    def info(self, path: str) -> Info:
        """What a name is."""
        self.fs.invalidate_cache()
        return _info(self.fs.info(path))

    def read(self, path: str) -> Generator[tuple[Info, Iterator[Chunk]], None, None]:
        """Yield once: what the file is that has been opened, and its bytes. It is closed with the iterator."""
        info = self.info(path)
        with self.fs.open(path, "rb") as file:
            yield info, iter(lambda: file.read(READ_SIZE), b"")

    def write(self, path: str, chunks: Iterator[Chunk], size: int) -> None:
        """Write a new file whose directory exists."""
        with self.fs.open(path, "wb") as file:
            for chunk in chunks:
                file.write(bytes(chunk))

    def move(self, source: str, target: str) -> None:
        """Let a file take the place of another one, in one step where the server can."""
        self.fs.mv(source, target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self.fs.rm_file(path)

    def make_directory(self, path: str) -> None:
        """Make a directory and those above it."""
        self.fs.makedirs(path, exist_ok=True)

    def remove_directory(self, path: str) -> None:
        """Remove a directory if it is empty; raise OSError if it is not."""
        self.fs.rmdir(path)


def etag_of(size: int, stored_ns: int | None) -> str | None:
    """Size and time stand for an ETag where the server has none."""
    return None if stored_ns is None else f"{size:x}-{stored_ns:x}"


def clean_etag(text: str) -> str:
    """An ETag without its quotes and the mark of a weak one (RFC 9110, 8.8.3)."""
    return text.removeprefix("W/").strip('"')


def _info(found: Mapping[str, Any]) -> Info:
    size, stored_ns, own = int(found["size"] or 0), _stored_ns(found), found.get("etag")
    etag = clean_etag(own) if isinstance(own, str) and own else etag_of(size, stored_ns)
    return Info(found["name"].rstrip("/").rpartition("/")[2], found["type"], size, etag, stored_ns)


def _stored_ns(found: Mapping[str, Any]) -> int | None:
    """When a file was written: each file system has its own name for it."""
    for name in ("mtime", "modified", "LastModified", "last_modified", "created"):
        value = found.get(name)
        if isinstance(value, datetime):
            return int(value.timestamp()) * 10**9 + value.microsecond * 1000
        if isinstance(value, int | float):
            return int(value * 10**9)
    return None
