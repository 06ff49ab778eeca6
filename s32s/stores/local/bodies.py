"""The bytes of one local file: read once for their destination, and made sure that they stood still meanwhile."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core import paths
from s32s.core.errors import SourceChanged, Unreadable
from s32s.core.item import Item
from s32s.stores.base import Progress
from s32s.stores.local.stat_cache import CachedHash, is_recordable, stamp
from s32s.system import file_bytes, openat

LEAVES = "is a symbolic link that points out of the tree"
TIMELESS = "its modification time, before 1677-09-22 or after 2262-04-11, cannot be recorded; touch sets another one"


class Opened(Protocol):
    """A directory that is open, see `source.LocalSource`."""

    root: str

    def open_file(self, path: str) -> int:
        """Open a file of it for reading."""
        ...

    def note(self, path: str, seen: CachedHash) -> None:
        """Note what a file has held."""
        ...


def unreadable(root: str, problems: Mapping[str, str]) -> Unreadable:
    """The error that names of a directory cannot be replicated, and why."""
    count = f"{len(problems):,} name{'s' if len(problems) > 1 else ''}"
    links = any(LEAVES in why for why in problems.values())
    return Unreadable(
        f"{count} in {paths.escape(root)} cannot be replicated:{paths.listed(problems)}",
        hint="remove or rename them, or leave them out with a rule of ignore"
        + ("; links (in a map), or --links, says what else may happen to such links" if links else ""),
        reasons=problems,
    )


class FileBody:
    """The bytes of one file of a directory that is open as a source."""

    def __init__(self, source: Opened, item: Item) -> None:
        self._source = source
        self._item = item

    @property
    def item(self) -> Item:
        """See `stores.base.Body`."""
        return self._item

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """See `stores.base.Body`."""
        return None

    def chunks(self) -> Iterator[Chunk]:
        """Read the file, and make sure that it stood still meanwhile.

        A writer through a shared mapping can dodge the time stamps; the SHA-256 is of the bytes that were sent, so
        readers of the manifest still get one consistent file.
        """
        path = self._item.path
        try:
            fd = self._source.open_file(path)
        except FileNotFoundError as exc:
            raise SourceChanged(f"{paths.quote(path)} disappeared while it was uploaded") from exc
        except OSError as exc:
            raise unreadable(self._source.root, {path: f"it cannot be read: {exc.strerror}"}) from exc
        try:
            before = openat.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise SourceChanged(f"{paths.quote(path)} is not a file any more")
            sha256 = hashlib.sha256()
            for chunk in file_bytes.read_chunks(fd):
                sha256.update(chunk)
                yield chunk
            seen_ns = time.time_ns()
            after = openat.fstat(fd)
        finally:
            openat.close(fd)
        if stamp(before) != stamp(after):
            raise SourceChanged(f"{paths.quote(path)} changed while it was read")
        if not is_recordable(after.st_mtime_ns):
            raise unreadable(self._source.root, {path: TIMELESS})
        self._item = self._item._replace(
            size=after.st_size,
            mtime_ns=after.st_mtime_ns,
            mode=stat.S_IMODE(after.st_mode) & 0o777 if openat.HAS_MODES else self._item.mode,
            sha256=sha256.hexdigest(),
            md5=None,
        )
        seen = CachedHash(stamp(after), seen_ns, sha256=self._item.sha256)
        self._source.note(path, seen)
