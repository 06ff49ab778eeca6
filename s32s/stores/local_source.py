"""A local directory as the source of a push.

It must be readable whole: what cannot travel is an error with its name, never a gap. Files that the destination could
already hold are hashed at the listing; the others are read for their upload anyway, and hashed then.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from s32s import disk, guards, paths, tree
from s32s.errors import Refused, SourceChanged, Unreadable
from s32s.index import Index, Seen, stamp
from s32s.rules import EVERYTHING, Rules, Verdict
from s32s.stores import scan
from s32s.stores.base import Batch, Progress
from s32s.stores.scan import Found
from s32s.tree import Item, Kind, Tree
from s32s.workers import each

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class LocalSource:
    """The directory with the originals.

    Args:
        root: absolute path of the directory.
        rules: what takes part; the rest is not even looked at.
        index: asked once for what is known of the files; nothing is known to read every file.
        room: bytes that the prefix leaves of a key.
    """

    def __init__(self, root: str, *, rules: Rules = EVERYTHING, index: Callable[[], Index], room: int) -> None:
        self.root = root
        self._rules = rules
        self._takes_all = rules.takes_all
        self._read_index = index
        self._room = room
        self._found: dict[str, Found] = {}
        self._looks = scan.Looks()
        self._seen: dict[str, Seen] = {}
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
    def _index(self) -> Index:
        return self._read_index()

    def looks(self) -> str | None:
        """How what takes part looks to stat(2); None where it cannot be read, or is too new to tell."""
        looks = scan.Looks()
        try:
            for path, status in scan.statuses(self._fd, prunes=self._rules.prunes):
                if not self._ignores(path, is_dir=stat.S_ISDIR(status.st_mode)):
                    looks.add(path, status.st_mode, stamp(status))
        except OSError:
            return None
        return looks.digest()

    @property
    def listed_looks(self) -> str | None:
        """How it looked in the last listing; see `looks`."""
        return self._looks.digest()

    def tree(self, beside: Tree | None = None, *, progress: Progress) -> Tree:
        """List the directory.

        Args:
            beside: the destination's tree; only files that it could hold equal are hashed now, as the others are read
                for their upload anyway.
            progress: told how many bytes were read for hashing.

        Raises:
            Unreadable: with every name that cannot travel, and why.
            SourceChanged: a file does not stand still.
        """
        problems: dict[str, str] = {}
        items: list[Item] = []
        for found in scan.walk(self._fd, prunes=self._rules.prunes):
            path = found.item.path
            is_dir = found.item.kind is Kind.DIR
            if self._ignores(path, is_dir=is_dir):
                continue
            self._looks.add(path, found.mode, found.stamp)
            if why := self._problem(found):
                problems[path] = why
                continue
            if found.item.kind is Kind.FILE:
                self._found[path] = found
                items.append(scan.recall(found, self._index.get(path)))
            else:
                items.append(found.item)
        if problems:
            raise _unreadable(self.root, problems)
        return tree.make(self._hashed(items, beside, progress))

    def batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        """One file a batch: uploads do not gain from company."""
        for item in items:
            yield (FileBody(self, item),)

    def missing(self, files: Sequence[str]) -> list[str]:
        """Those of `files` that the last listing did not find as files or links."""
        return [path for path in files if path not in self._found]

    @property
    def has_news(self) -> bool:
        """Whether files were read, so that there is something new to remember."""
        return bool(self._seen)

    def seen(self, etags: Mapping[str, str | None]) -> Iterator[tuple[str, Seen]]:
        """What to remember of the files: their hashes, and the ETags that their objects have now."""
        for path, found in self._found.items():
            known = self._seen.get(path)
            if known is None:
                old = self._index.get(path)
                known = old if old is not None and old.holds_for(found.stamp) else None
            if known is not None:
                yield path, known._replace(etag=etags.get(path) or known.etag)

    def _ignores(self, path: str, *, is_dir: bool) -> bool:
        return not self._takes_all and self._rules.verdict(path, is_dir=is_dir) is Verdict.IGNORED

    def _problem(self, found: Found) -> str | None:
        item = found.item
        if found.error is not None:
            return f"it cannot be read: {found.error.strerror}"
        if why := paths.problem(item.path, room=self._room):
            return why
        if paths.is_reserved(item.path):
            return "the name belongs to s32s itself"
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

    def _hashed(self, items: list[Item], other: Tree | None, progress: Progress) -> list[Item]:
        hashed: dict[str, Item] = {}
        problems: dict[str, str] = {}

        def read(wanted: tuple[Found, bool]) -> None:
            found, md5 = wanted
            try:
                done = scan.read_hashes(self._fd, found, md5=md5, progress=progress)
            except OSError as exc:
                problems[found.item.path] = f"it cannot be read: {exc.strerror}"
                return
            if done is None:
                raise SourceChanged(f"{paths.quote(found.item.path)} changed while it was read")
            hashed[found.item.path], self._seen[found.item.path] = done

        each(scan.to_hash(items, self._found, other, strays=False), read, jobs=scan.HASHERS)
        if problems:
            raise _unreadable(self.root, problems)
        return [hashed.get(item.path, item) for item in items]

    def _remember(self, path: str, found: Found, seen: Seen) -> None:
        with self._guard:
            self._found[path] = found
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

    def chunks(self) -> Iterator[bytes]:
        """Read the file, and make sure that it stood still meanwhile.

        A writer through a shared mapping can dodge the time stamps; the SHA-256 is of the bytes that were sent, so
        readers of the manifest still get one consistent file.
        """
        path = self._item.path
        try:
            fd = scan.open_file(self._source._fd, path)
        except FileNotFoundError as exc:
            raise SourceChanged(f"{paths.quote(path)} disappeared while it was uploaded") from exc
        except OSError as exc:
            raise _unreadable(self._source.root, {path: f"it cannot be read: {exc.strerror}"}) from exc
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise SourceChanged(f"{paths.quote(path)} is no file any more")
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
        self._item = self._item._replace(
            size=after.st_size,
            mtime_ns=after.st_mtime_ns,
            mode=stat.S_IMODE(after.st_mode) & 0o777,
            sha256=sha256.hexdigest(),
            md5=None,
        )
        seen = Seen(stamp(after), seen_ns, sha256=self._item.sha256)
        self._source._remember(path, Found(self._item, stamp(after)), seen)


def _unreadable(root: str, problems: Mapping[str, str]) -> Unreadable:
    count = f"{len(problems):,} name{'s' if len(problems) > 1 else ''}"
    return Unreadable(
        f"{count} in {paths.escape(root)} cannot travel:{paths.listed(problems)}",
        hint="remove or rename them, or leave them out with a rule of ignore",
        reasons=problems,
    )
