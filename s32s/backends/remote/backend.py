"""Bytes by key in a directory of a server: SFTP, WebDAV, or another file system that fsspec reaches.

An object is written under another name and moved over its key, by the server's own move, so that nobody reads half of
it. No such server has conditional writes: conditions are looked at before a write, which keeps two masters apart only
where they do not write in the same moment. `capabilities` says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from s32s.backends.base import (
    OVERWRITE,
    Capabilities,
    Chunk,
    Create,
    GetResult,
    ListedObject,
    ObjectMeta,
    Overwrite,
    PutMode,
    PutResult,
    Replace,
)
from s32s.backends.remote.errors import translated
from s32s.backends.remote.files import TEMPORARY, Files, Info
from s32s.backends.simple import SimpleBackend
from s32s.core import paths
from s32s.core.errors import ConfigError, Interrupted, NotFound, PreconditionFailed, S32sError, StoreError, Unreachable
from s32s.core.location import REMOTE_SCHEMES

#: Connections at once: one thread uses one, and servers bound how many a client may have (sshd_config, MaxStartups).
_CONNECTIONS = 4


class RemoteBackend(SimpleBackend):
    """A directory of a server.

    Args:
        url: such as `sftp://user@host/dir` or `webdavs://host/dir`.
        options: for the library that reaches it, by its own names.

    Raises:
        ConfigError: the library for this kind of URL is not installed, or does not know the kind.
    """

    capabilities = Capabilities(conditional_put=False, reads_back=False, metadata=False)

    def __init__(self, url: str, **options: Any) -> None:
        self.location, self._top, self._open = _opener(url, options)
        self._idle: queue.SimpleQueue[Files | None] = queue.SimpleQueue()
        for _ in range(_CONNECTIONS):
            self._idle.put(None)
        self._made: set[str] = set()

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`; a page is a directory. An empty one is listed as a marker, its key ends in a slash."""
        left = [prefix]
        while left:
            directory = left.pop()
            page: list[ListedObject] = []
            found = self._names(directory)
            for info in found or ():
                key = _below(directory, info.name)
                if info.name.startswith(TEMPORARY):
                    continue
                if info.kind == "directory":
                    left.append(key)
                elif info.kind != "file":
                    raise StoreError(
                        f"{self.location}/{key} is neither a file nor a directory", hint="name a directory without it"
                    )
                else:
                    page.append(ListedObject(key, info.size, info.etag, info.stored_ns))
            if found == () and directory != prefix:
                page.append(ListedObject(f"{directory}/", 0, None))
            yield page

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        with self._connected(key) as files:
            info = self._info(files, key)
        return ObjectMeta(info.size, info.etag, has_md5=False)

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        with self._connected(key) as files:
            info = self._info(files, key)
        if if_match is not None and info.etag != if_match:
            raise self._changed(key)
        return GetResult(info.size, info.etag, None, lambda: info.stored_ns, self._chunks(key, info))

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
        with self._connected(key) as files:
            if key.endswith("/"):
                self._make_directory(files, key.rstrip("/"))
                return PutResult(None, None)
            self._check(files, key, mode)
            try:
                self._write(files, key, chunks(), size)
            except NotFound:  # its directory has gone meanwhile, or another connection is only just making it
                self._write(files, key, chunks(), size)
            return PutResult(self._info(files, key).etag, None)

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`; directories that become empty go too."""
        failed: dict[str, str] = {}
        for key in keys:
            try:
                with contextlib.suppress(NotFound), self._connected(key) as files:
                    if key.endswith("/"):
                        self._remove_directories(files, key.rstrip("/"))
                    else:
                        files.remove(self._path(key))
                        self._remove_directories(files, paths.parent(key))
            except (Unreachable, Interrupted):
                raise
            except S32sError as exc:
                failed[key] = exc.what
        return failed

    def abort_uploads(self, *, keys: Collection[str] | None = None) -> None:
        """Remove what writes that died have left; with `keys` only directories of these are looked at."""
        marks = None if keys is None else {_mark(key) for key in keys}
        left = [""] if keys is None else sorted({paths.parent(key.rstrip("/")) for key in keys})
        while left:
            directory = left.pop()
            for info in self._names(directory) or ():
                key = _below(directory, info.name)
                if info.kind == "directory" and marks is None:
                    left.append(key)
                mark = info.name.removeprefix(TEMPORARY).partition("-")[0]
                if info.name.startswith(TEMPORARY) and (marks is None or mark in marks):
                    with contextlib.suppress(NotFound), self._connected(key) as files:
                        if info.kind == "directory":
                            self._remove_directories(files, key)
                        else:
                            files.remove(self._path(key))

    def _names(self, directory: str) -> tuple[Info, ...] | None:
        """What a directory holds; None for one that is not there: it may go while its parent is read."""
        try:
            with self._connected(directory) as files:
                return tuple(files.names(self._path(directory)))
        except NotFound:
            return None

    def _write(self, files: Files, key: str, chunks: Iterator[Chunk], size: int) -> None:
        """Write an object beside its place, and move it there."""
        directory = paths.parent(key)
        temporary = self._path(_below(directory, f"{TEMPORARY}{_mark(key)}-{secrets.token_hex(8)}"))
        with translated(self.location, key):
            try:
                self._make_directory(files, directory)
                files.write(temporary, chunks, size)
                files.move(temporary, self._path(key))
            except BaseException:
                self._made.clear()
                with contextlib.suppress(Exception):
                    files.remove(temporary)
                raise

    def _info(self, files: Files, key: str) -> Info:
        info = files.info(self._path(key))
        if info.kind != "file":
            raise FileNotFoundError(key)
        return info

    def _check(self, files: Files, key: str, mode: PutMode) -> None:
        if isinstance(mode, Overwrite):
            return
        try:
            with translated(self.location, key):
                there = self._info(files, key).etag
        except NotFound:
            there = None
        holds = there is None if isinstance(mode, Create) else isinstance(mode, Replace) and there == mode.etag
        if not holds:
            raise self._changed(key)

    def _chunks(self, key: str, promised: Info) -> Iterator[Chunk]:
        with self._connected(key) as files:
            opened = files.read(self._path(key))
            try:
                info, chunks = next(opened)
                if (info.size, info.etag) != (promised.size, promised.etag):
                    raise self._changed(key)
                yield from chunks
            finally:
                opened.close()

    def _make_directory(self, files: Files, directory: str) -> None:
        if directory not in self._made:
            if path := self._path(directory):
                files.make_directory(path)
            self._made.add(directory)

    def _remove_directories(self, files: Files, directory: str) -> None:
        """Remove directories that hold nothing, from the lowest one up."""
        while directory:
            self._made.discard(directory)
            try:
                if any(files.names(self._path(directory))):
                    return
                files.remove_directory(self._path(directory))
            except Interrupted:
                raise
            except Exception:
                return  # somebody has just put something there, or may not look
            directory = paths.parent(directory)

    def _changed(self, key: str) -> PreconditionFailed:
        return PreconditionFailed(f"{self.location}/{key} was changed by somebody else")

    def _path(self, key: str) -> str:
        return f"{self._top}/{key}" if key else self._top or "/"

    @contextlib.contextmanager
    def _connected(self, key: str) -> Iterator[Files]:
        """A connection for one thread, until the block ends."""
        files = self._idle.get()
        try:
            with translated(self.location, key):
                if files is None:
                    files = self._opened()
                yield files
        except Unreachable:
            files = None  # what is broken is opened again
            raise
        finally:
            self._idle.put(files)

    def _opened(self) -> Files:
        try:
            return self._open()
        except TypeError as exc:
            raise ConfigError(
                f"{self.location} cannot be opened with these options: {paths.escape(str(exc))}",
                hint="its library says which there are: paramiko.SSHClient.connect, httpx.Client, or that of fsspec",
            ) from exc


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _mark(key: str) -> str:
    """What the temporary names of a key have in common."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _opener(url: str, options: Mapping[str, Any]) -> tuple[str, str, Callable[[], Files]]:
    """The location of a URL without its password, the path of its directory, and what opens a connection.

    Raises:
        ConfigError: see `RemoteBackend`.
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme, parts.hostname or ""
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    port = f":{parts.port}" if parts.port else ""
    top = unquote(parts.path).rstrip("/")
    location = f"{scheme}://{f'{user}@' if user else ''}{host}{port}{top}"
    try:
        if scheme == "sftp":
            from s32s.backends.remote.sftp import SftpFiles

            named = {"username": user, "password": password, "port": parts.port}
            home, _, below = top.lstrip("/").partition("/")
            top = (below or ".") if home == "~" else top
            given = {name: value for name, value in named.items() if value is not None} | dict(options)
            return location, top, lambda: SftpFiles(host, given)
        if scheme in ("webdav", "webdavs"):
            from s32s.backends.remote.webdav import WebdavFiles

            address = f"{'https' if scheme == 'webdavs' else 'http'}://{host}{port}"
            auth = (user, password or "") if user else None
            return location, top, lambda: WebdavFiles(address, auth, options)
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as exc:
        extra = "webdav" if scheme.startswith("webdav") else "sftp"
        raise ConfigError(
            f"{location} needs a library that is not installed: {exc.name or paths.escape(str(exc))}",
            hint=f"pip install 's32s[{extra}]'" if scheme in REMOTE_SCHEMES else "",
        ) from exc
    except ValueError as exc:
        raise ConfigError(f"fsspec does not reach {location}: {paths.escape(str(exc))}") from exc
    return (
        location,
        f"{host}{top}",
        lambda: Files(kind(use_listings_cache=False, skip_instance_cache=True, **options)),
    )
