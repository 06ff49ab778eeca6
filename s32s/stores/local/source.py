"""A local directory as the source of a push.

It must be readable whole: what cannot be replicated is an error with its name, never a gap. Files that the destination
could already hold are hashed at the listing; the others are read for their upload anyway, and hashed then.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core import guards, paths
from s32s.core import plan as planner
from s32s.core.errors import Refused, SourceChanged, Unreadable
from s32s.core.rules import EVERYTHING, Rules, Verdict
from s32s.core.tree import Columns, Item, Kind, Tree
from s32s.stores.base import Batch, Progress
from s32s.stores.local import walk
from s32s.stores.local.stat_cache import CachedHash, StatCache, is_recordable, stamp
from s32s.stores.local.walk import DirectoryListing
from s32s.system import disk
from s32s.system.concurrency import for_each

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}

_TIMELESS = "its modification time, before 1677-09-22 or after 2262-04-11, cannot be recorded; touch sets another one"


class LocalSource:
    """The directory with the originals.

    Args:
        root: absolute path of the directory.
        rules: what takes part; the rest is not even looked at.
        index: asked once for what is known of the files; nothing is known to read every file.
        room: bytes that the prefix leaves of a key.
    """

    at_once = 1

    def __init__(self, root: str, *, rules: Rules = EVERYTHING, index: Callable[[], StatCache], room: int) -> None:
        self.root = root
        self._rules = rules
        self._takes_all = rules.takes_all
        self._read_index = index
        self._room = room
        self._rows = array("q")  # of the index, for each name that was found
        self._seen: dict[str, CachedHash] = {}  # of files that were read
        self._guard = threading.Lock()
        self._fd = -1

    def __enter__(self) -> LocalSource:
        try:
            self._fd = disk.open_dir(self.root)
        except FileNotFoundError as exc:
            raise Refused(
                f"the source directory {paths.escape(self.root)} does not exist",
                hint="check the path, or whether its disk is mounted",
            ) from exc
        except OSError as exc:
            raise Refused(f"the source directory {paths.escape(self.root)} cannot be read: {exc.strerror}") from exc
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    @functools.cached_property
    def _index(self) -> StatCache:
        return self._read_index()

    def looks(self) -> str | None:
        """How what takes part looks to stat(2); None where it cannot be read, or is too new to tell."""
        return self._found.looks()

    def tree(self, beside: Tree | None = None, *, progress: Progress) -> Tree:
        """List the directory.

        Args:
            beside: the destination's tree; only files that it could hold equal are hashed now, as the others are read
                for their upload anyway.
            progress: told how many bytes were read for hashing.

        Raises:
            Unreadable: with every name that cannot be replicated, and why.
            SourceChanged: a file keeps changing.
        """
        walked = self._found
        problems = {path: why for row, path in enumerate(walked.paths) if (why := self._problem(walked, row, path))}
        if problems:
            raise _unreadable(self.root, problems)
        columns, self._rows = walk.recall(walked, self._index)
        if beside is not None:
            self._hash(columns, beside, progress)
        return columns.tree()

    def drift(self, pushed: Tree | None) -> int | None:
        """How many names differ from what the last push has read, by stat(2) alone; None when nothing is known.

        Args:
            pushed: what it has published; None where that is not at hand.
        """
        if not len(self._index):
            return None
        rules = self._rules
        if pushed is None:
            return walk.files_drifted(self._found, self._index, lambda path: rules.verdict(path) is Verdict.ACCEPTED)
        plan = planner.make(walk.unread(self._found, self._index), pushed, rules=rules, spare_ignored=True)
        return len(plan.puts) + len(plan.extras)

    def batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        """One file a batch: uploads do not gain from company."""
        for item in items:
            yield (FileBody(self, item),)

    def missing(self, files: Sequence[str]) -> list[str]:
        """Those of `files` that the last listing did not find as files or links."""
        rows = ((path, self._found.find(path)) for path in files)
        return [path for path, row in rows if row is None or stat.S_ISDIR(self._found.modes[row])]

    @property
    def has_news(self) -> bool:
        """Whether files were read, so that there is something new to remember."""
        return bool(self._seen)

    def seen(self, etags: Mapping[str, str | None]) -> StatCache:
        """What to remember of the files: their hashes, and the ETags that their objects have now."""
        index, walked = StatCache(), self._found
        for row, (path, at) in enumerate(zip(walked.paths, self._rows, strict=True)):
            known = self._seen.get(path)
            etag = etags.get(path)
            if known is None and at >= 0:
                hashes = self._index.hashes(at)
                if hashes is not None and (etag is None or hashes[32:].hex() == etag):
                    index.add_known(path, walked.stamps[5 * row : 5 * row + 5], self._index.seen_ns(at), hashes)
                    continue
                known = self._index.seen(at)
            if known is not None:
                index.add(path, known._replace(etag=etag or known.etag))
        return index

    @functools.cached_property
    def _found(self) -> DirectoryListing:
        return walk.walk(self._fd, prunes=self._rules.prunes, ignores=self._ignores)

    def _ignores(self, path: str, is_dir: bool) -> bool:
        return not self._takes_all and self._rules.verdict(path, is_dir=is_dir) is Verdict.IGNORED

    def _problem(self, walked: DirectoryListing, row: int, path: str) -> str | None:
        if error := walked.errors.get(path):
            return f"it cannot be read: {error.strerror}"
        if why := paths.problem(path, room=self._room):
            return why
        if paths.is_reserved(path):
            return "the name belongs to s32s itself"
        if walked.is_file(row):
            return None if is_recordable(walked.stamps[5 * row + 3]) else _TIMELESS
        item = walked.found(row).item
        if item.kind is Kind.OTHER:
            status = os.stat(item.path, dir_fd=self._fd, follow_symlinks=False)
            return f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}"
        if item.kind is Kind.LINK:
            try:
                (item.target or "").encode()
            except UnicodeEncodeError:
                return "its target is not valid UTF-8"
            if guards.leaves(item):
                return f"it is a symbolic link that points out of the tree, to {paths.quote(item.target or '')}"
        return None

    def _hash(self, columns: Columns, beside: Tree, progress: Progress) -> None:
        hashed: dict[int, Item] = {}
        problems: dict[str, str] = {}

        def read(wanted: tuple[int, bool]) -> None:
            row, md5 = wanted
            found = self._found.found(row)
            try:
                done = walk.read_hashes(self._fd, found, md5=md5, progress=progress)
            except OSError as exc:
                problems[found.item.path] = f"it cannot be read: {exc.strerror}"
                return
            if done is None:
                raise SourceChanged(f"{paths.quote(found.item.path)} changed while it was read")
            hashed[row], self._seen[found.item.path] = done

        for_each(walk.to_hash(columns.tree(), beside, strays=False), read, jobs=walk.HASHERS)
        if problems:
            raise _unreadable(self.root, problems)
        for row, item in hashed.items():
            columns.replace(row, item)

    def _remember(self, path: str, seen: CachedHash) -> None:
        with self._guard:
            self._seen[path] = seen


class FileBody:
    """The bytes of one file of a LocalSource."""

    def __init__(self, source: LocalSource, item: Item) -> None:
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
            fd = walk.open_file(self._source._fd, path)
        except FileNotFoundError as exc:
            raise SourceChanged(f"{paths.quote(path)} disappeared while it was uploaded") from exc
        except OSError as exc:
            raise _unreadable(self._source.root, {path: f"it cannot be read: {exc.strerror}"}) from exc
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise SourceChanged(f"{paths.quote(path)} is not a file any more")
            sha256 = hashlib.sha256()
            for chunk in disk.read_chunks(fd):
                sha256.update(chunk)
                yield chunk
            seen_ns = time.time_ns()
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if stamp(before) != stamp(after):
            raise SourceChanged(f"{paths.quote(path)} changed while it was read")
        if not is_recordable(after.st_mtime_ns):
            raise _unreadable(self._source.root, {path: _TIMELESS})
        self._item = self._item._replace(
            size=after.st_size,
            mtime_ns=after.st_mtime_ns,
            mode=stat.S_IMODE(after.st_mode) & 0o777,
            sha256=sha256.hexdigest(),
            md5=None,
        )
        seen = CachedHash(stamp(after), seen_ns, sha256=self._item.sha256)
        self._source._remember(path, seen)


def _unreadable(root: str, problems: Mapping[str, str]) -> Unreadable:
    count = f"{len(problems):,} name{'s' if len(problems) > 1 else ''}"
    return Unreadable(
        f"{count} in {paths.escape(root)} cannot be replicated:{paths.listed(problems)}",
        hint="remove or rename them, or leave them out with a rule of ignore",
        reasons=problems,
    )
