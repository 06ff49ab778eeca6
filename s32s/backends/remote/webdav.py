"""WebDAV by webdav4, whose own ways to read and write are not used: they resume over a replaced file, and buffer."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from webdav4.fsspec import WebdavFileSystem

from s32s.backends.base import Chunk
from s32s.backends.remote.files import PATIENCE_S, READ_SIZE, TEMPORARY, Files, Info, clean_etag, etag_of


class WebdavFiles(Files):
    """One connection to a WebDAV server (RFC 4918).

    Args:
        address: of its top, http or https.
        auth: user and password; None for those of `~/.netrc`.
        options: of `httpx.Client`, such as `verify` for a private authority.
    """

    def __init__(self, address: str, auth: tuple[str, str] | None, options: Mapping[str, Any]) -> None:
        found = Path("~/.netrc").expanduser()
        login = httpx.NetRCAuth(str(found)) if auth is None and found.is_file() else auth
        named = {"timeout": PATIENCE_S, "auth": login, **options}
        super().__init__(WebdavFileSystem(address, skip_instance_cache=True, **named))

    def names(self, path: str) -> Iterator[Info]:
        """See `Files`."""
        return super().names(quote(path))

    def info(self, path: str) -> Info:
        """See `Files`."""
        return super().info(quote(path))

    def read(self, path: str) -> Generator[tuple[Info, Iterator[Chunk]], None, None]:
        """See `Files`; what is described is what the answer that holds the bytes says."""
        headers = {"Accept-Encoding": "identity"}
        with self.fs.client.http.stream("GET", self._url(path), headers=headers, follow_redirects=True) as answer:
            answer.raise_for_status()
            size, given = int(answer.headers.get("Content-Length", -1)), answer.headers.get("Last-Modified")
            stored_ns = int(parsedate_to_datetime(given).timestamp()) * 10**9 if given else None
            own = answer.headers.get("ETag")
            etag = clean_etag(own) if own else etag_of(size, stored_ns)
            yield Info(path.rpartition("/")[2], "file", size, etag, stored_ns), answer.iter_raw(READ_SIZE)

    def write(self, path: str, chunks: Iterator[Chunk], size: int) -> None:
        """See `Files`."""
        content = (bytes(chunk) for chunk in chunks)
        self.fs.client.http.put(
            self._url(path), content=content, headers={"Content-Length": str(size)}
        ).raise_for_status()

    def move(self, source: str, target: str) -> None:
        """See `Files`."""
        self.fs.client.move(quote(source), quote(target), overwrite=True)

    def remove(self, path: str) -> None:
        """See `Files`."""
        self.fs.client.remove(quote(path))

    def make_directory(self, path: str) -> None:
        """See `Files`."""
        super().make_directory(quote(path))

    def remove_directory(self, path: str) -> None:
        """See `Files`.

        DELETE removes a collection with all that is in it (RFC 4918, 9.6.1), also what somebody has put there a moment
        ago. So the directory is moved aside and looked into before it goes.
        """
        aside = f"{path.rpartition('/')[0]}/{TEMPORARY}{secrets.token_hex(8)}"
        self.fs.client.move(quote(path), quote(aside))
        if any(self.names(aside)):
            self.fs.client.move(quote(aside), quote(path))
            raise OSError(f"{path} is not empty")
        self.remove(aside)

    def _url(self, path: str) -> Any:
        return self.fs.client.join_url(quote(path))
