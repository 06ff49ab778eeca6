"""A directory as bytes by key, such as one on a NAS that people share: a file an object, each written in one step.

A condition is kept by a lock (flock(2), which network file systems pass on), so that who is quicker is proved as on S3.
An ETag is size and modification time, of which the last thirty bits are random, so that no two writes have the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from s32s.backends.base import (
    OVERWRITE,
    Backend,
    Capabilities,
    Chunk,
    Create,
    GetResult,
    ListedObject,
    ObjectMeta,
    Overwrite,
    PartRequest,
    PutMode,
    PutResult,
    Replace,
)
from s32s.backends.simple import SimpleBackend
from s32s.core import paths
from s32s.core.errors import (
    AccessDenied,
    BucketMissing,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    Unreachable,
)
from s32s.system import atomic, exclusive, file_bytes, openat

_LOCK = f"{paths.LOCK_PREFIX}conditions"
#: How long a lock is waited for, in seconds: a condition is looked at and kept in a moment.
_PATIENCE_S = 30.0
_RANDOM_BITS = 30
#: What a network file system answers when its server has gone.
_AWAY = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV)
_COPY = 1024 * 1024


class DirectoryBackend(SimpleBackend):
    """A directory.

    Args:
        top: absolute path of a directory that is there, such as a mount point.
        prefix: of the keys, below it; made when something is written.
    """

    capabilities = Capabilities(metadata=False, max_key_bytes=1024)

    def __init__(self, top: str, prefix: str = "") -> None:
        self._top = top
        self._root = f"{top}/{prefix}".rstrip("/") if prefix else top
        self.location = self._root

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`; a page is a directory. An empty one is listed as a marker, its key ends in a slash."""
        self._check_there()
        left = [prefix]
        while left:
            directory = left.pop()
            page: list[ListedObject] = []
            try:
                with os.scandir(self._path(directory)) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise self._error(exc, directory) from exc
            for entry in found:
                key = f"{directory}/{entry.name}" if directory else entry.name
                if entry.name.startswith((paths.LOCK_PREFIX, paths.STAGING_PREFIX, paths.KEPT_PREFIX)):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    left.append(key)
                elif stat.S_ISREG(status.st_mode):
                    page.append(ListedObject(key, status.st_size, _etag(status), status.st_mtime_ns))
                else:
                    raise StoreError(
                        f"{self._named(key)} is neither a file nor a directory", hint="name a directory without it"
                    )
            if not found and directory not in ("", prefix):
                page.append(ListedObject(f"{directory}/", 0, None))
            yield page

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """See `ReadsParts`."""
        for number, one in enumerate(requests):
            fd = self._open(one.key)
            try:
                yield number, os.pread(fd, one.size, one.start)
            except OSError as exc:
                raise self._error(exc, one.key) from exc
            finally:
                os.close(fd)

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        status = self._stat(key)
        return ObjectMeta(status.st_size, _etag(status), has_md5=False)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        fd = self._open(key)
        status = os.fstat(fd)
        if if_match is not None and _etag(status) != if_match:
            os.close(fd)
            raise self._changed(key)
        return GetResult(status.st_size, _etag(status), None, lambda: status.st_mtime_ns, self._chunks(fd, key))

    def put(
        self,
        key: str,
        chunks: Callable[[], Iterator[Chunk]],
        *,
        size: int,
        mode: PutMode = OVERWRITE,
        meta: ObjectMeta | None = None,
    ) -> PutResult:
        """See `Backend`; headers and metadata have no place here."""
        self._check_there()
        try:
            os.makedirs(self._root, exist_ok=True)
            if key.endswith("/"):
                os.makedirs(self._path(key), exist_ok=True)
                return PutResult(None, None)
            with self._written(chunks) as (temporary, etag):
                self._place(temporary, key, mode)
            return PutResult(etag, None)
        except OSError as exc:
            raise self._error(exc, key) from exc

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`; a directory goes with the last object in it."""
        failed: dict[str, str] = {}
        for key in keys:
            path = self._path(key)
            try:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    os.rmdir(path) if key.endswith("/") else os.unlink(path)
            except OSError as exc:
                failed[key] = exc.strerror or str(exc)
                continue
            above = os.path.dirname(path.rstrip("/"))
            with contextlib.suppress(OSError):
                while above.startswith(self._root + "/"):
                    os.rmdir(above)
                    above = os.path.dirname(above)
        return failed

    def copies_from(self, source: Backend) -> bool:
        """See `ServerSideCopy`."""
        return isinstance(source, DirectoryBackend)

    def copy(
        self,
        source: Backend,
        source_key: str,
        key: str,
        *,
        size: int,
        etag: str | None,
        version: str | None = None,
        progress: Callable[[int], None],
    ) -> PutResult:
        """See `ServerSideCopy`."""
        try:
            got = source.get(source_key, if_match=etag)
        except (NotFound, PreconditionFailed) as exc:
            raise SourceChanged(f"{paths.quote(source_key)} was replaced or deleted during the run") from exc
        if got.size != size:
            raise SourceChanged(f"{paths.quote(source_key)} was replaced during the run")
        done = self.put(key, lambda: got.chunks, size=size)
        progress(size)
        return done

    # -- files

    @contextlib.contextmanager
    def _written(self, chunks: Callable[[], Iterator[Chunk]]) -> Iterator[tuple[str, str]]:
        """A new file with these bytes under a name of its own, and its ETag."""
        temporary = f"{self._root}/{paths.STAGING_PREFIX}{secrets.token_hex(8)}"
        fd = os.open(temporary, file_bytes.NEW_FILE, 0o666)
        try:
            try:
                for chunk in chunks():
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(fd, view) :]
                os.fsync(fd)
            finally:
                os.close(fd)
            mtime_ns = (time.time_ns() >> _RANDOM_BITS << _RANDOM_BITS) + secrets.randbits(_RANDOM_BITS)
            os.utime(temporary, ns=(mtime_ns, mtime_ns))
            yield temporary, _etag(os.stat(temporary))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _place(self, temporary: str, key: str, mode: PutMode) -> None:
        if isinstance(mode, Overwrite):
            self._rename(temporary, key)
            return
        with self._locked():
            try:
                there = _etag(self._stat(key))
            except NotFound:
                there = None
            if (isinstance(mode, Create) and there is not None) or (isinstance(mode, Replace) and there != mode.etag):
                raise self._changed(key)
            self._rename(temporary, key)
            atomic.fsync_path(Path(self._path(key)).parent)

    def _rename(self, temporary: str, key: str) -> None:
        path = self._path(key)
        for last in (False, False, True):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                os.replace(temporary, path)
                return
            except FileNotFoundError:  # the directory has gone with the last object in it
                if last:
                    raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(f"{self._root}/{_LOCK}", os.O_RDWR | os.O_CREAT | openat.flag("O_CLOEXEC"), 0o666)
        try:
            until_s = time.monotonic() + _PATIENCE_S
            while not exclusive.take(fd):
                if time.monotonic() > until_s:
                    raise Unreachable(f"{self.location} is locked by somebody for more than {_PATIENCE_S:g} s")
                time.sleep(0.01)
            yield
        finally:
            os.close(fd)

    def _chunks(self, fd: int, key: str) -> Iterator[Chunk]:
        try:
            while chunk := os.read(fd, _COPY):
                yield chunk
        except OSError as exc:
            raise self._error(exc, key) from exc
        finally:
            os.close(fd)

    def _open(self, key: str) -> int:
        try:
            fd = os.open(self._path(key), file_bytes.OPEN_FILE)
        except OSError as exc:
            raise self._error(exc, key) from exc
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotFound(f"{self._named(key)} does not exist")
        return fd

    def _stat(self, key: str) -> os.stat_result:
        try:
            status = os.stat(self._path(key), follow_symlinks=False)
        except OSError as exc:
            raise self._error(exc, key) from exc
        if not stat.S_ISREG(status.st_mode):
            raise NotFound(f"{self._named(key)} does not exist")
        return status

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _named(self, key: str) -> str:
        return f"{self.location}/{key}" if key else self.location

    def _check_there(self) -> None:
        """A directory that is not there is not an empty one.

        Raises:
            BucketMissing: as when its disk is not mounted.
        """
        if not os.path.isdir(self._top):
            raise self._not_there()

    def _not_there(self) -> BucketMissing:
        return BucketMissing(
            f"{paths.escape(self._top)} is not there", hint="check whether its disk is mounted, or make it"
        )

    def _changed(self, key: str) -> PreconditionFailed:
        return PreconditionFailed(f"{self._named(key)} was changed by somebody else")

    def _error(self, exc: OSError, key: str) -> Exception:
        named = paths.escape(self._named(key))
        if isinstance(exc, FileNotFoundError | NotADirectoryError) or exc.errno == errno.ELOOP:
            if not os.path.isdir(self._top):
                return self._not_there()
            return NotFound(f"{named} does not exist")
        if isinstance(exc, PermissionError):
            return AccessDenied(f"{named} may not be used: {exc.strerror}")
        if exc.errno in _AWAY:
            return Unreachable(f"{named} could not be reached: {exc.strerror}")
        return StoreError(f"{named}: {exc.strerror}")


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"
