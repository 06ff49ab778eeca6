"""A quick client for the plain case: many small objects at once, ranges of large ones, small PUTs.

A client library spends more on a small object than its server does: boto3 3 ms of CPU, `client.py` 0.2 ms, this one
0.06 ms. A plain request is signed, and answered with a body and its length (RFC 9112, 6.3). Another status, a broken
connection or an answer of another shape is not an error here: the caller asks `client.py` again, which knows retries,
refusals and proxies.

Requests do not wait for a thread each: one thread sends several, and reads the answers in the same order.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import re
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from s32s.backends.base import Chunk
from s32s.backends.s3.network import Progress, proxy_of, tls_context
from s32s.backends.s3.sigv4 import Keys, Signer

if TYPE_CHECKING:
    import ssl

_TELLING = ("content-length", "content-range", "etag", "transfer-encoding", "connection")
#: What an ETag may hold.
ETAG = re.compile(r"[!#-~]{1,255}")  # RFC 9110, 8.8.3; another one would break its line
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]+")
_HEAD = 64 * 1024  # larger heads are not plain
_DIGITS = 20  # of a size; more are not plain
#: An idle connection may be closed by the server at any time; a younger one hardly is.
_FRESH_S = 4.0
#: With so many broken connections the way to this server is not plain; but one in so many answers is not news.
_MOST_FAULTS = 8
_ANSWERS_A_FAULT = 20


class GetRequest(NamedTuple):
    """An object, or some bytes of it.

    Attributes:
        etag: the object must have it; None for any.
        limit: its size is no larger.
        part: the first byte and the one after the last; None for the whole object.
        query: of the bucket itself, its fields in the order of their names; the key is empty then.
    """

    key: str
    etag: str | None
    limit: int
    part: tuple[int, int] | None = None
    query: str = ""


class SmallResponse(NamedTuple):
    """What has come: header values by lower-case name, and the bytes."""

    headers: Mapping[str, str]
    body: Chunk


class HttpClient:
    """Plain GETs from one bucket. Thread-safe.

    Args:
        url: of the bucket, without a final slash.
        keys: asked for the credentials of each request.
        connect_timeout_s: how long a connection may take.
        read_timeout_s: how long the server may be silent.
        tls: asked for what TLS connections are checked by.
    """

    def __init__(
        self,
        url: str,
        region: str,
        keys: Callable[[], Keys],
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        tls: Callable[[], ssl.SSLContext] = lambda: tls_context(None),
    ) -> None:
        self._parts = urllib.parse.urlsplit(url)
        self._signer = Signer(self._parts.netloc.rpartition("@")[2], region)
        self._keys = keys
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._idle: collections.deque[tuple[socket.socket, float]] = collections.deque()
        self._has_proxy = proxy_of(url) is not None
        self._tls = tls
        self._faults = self._answers = 0  # may miss one or two, which does not matter

    @property
    def is_open(self) -> bool:
        """Whether it is worth asking."""
        return not self._has_proxy and self._faults < _MOST_FAULTS + self._answers // _ANSWERS_A_FAULT

    def get(self, wanted: GetRequest) -> SmallResponse | None:
        """One object or range; None where that is not plain."""
        return self._receive(self._send(wanted), wanted)

    def put(self, key: str, body: Chunk) -> SmallResponse | None:
        """Write a small object; None where the answer is not plain, and then it may have been written or not."""
        wanted = GetRequest(key, None, _HEAD)
        return self._receive(self._send(wanted, body), wanted)

    def get_many(self, wanted: Iterable[GetRequest], *, concurrency: int) -> Iterator[SmallResponse | None]:
        """Many, in their order, so many of them under way at the same time."""
        rest = iter(wanted)
        under_way = collections.deque((one, self._send(one)) for one in itertools.islice(rest, concurrency))
        try:
            while under_way:
                one, connection = under_way.popleft()
                answer = self._receive(connection, one)
                if (following := next(rest, None)) is not None:
                    under_way.append((following, self._send(following)))
                yield answer
        finally:
            for _, connection in under_way:
                if connection is not None:
                    connection.close()

    def _send(self, wanted: GetRequest, body: Chunk | None = None) -> socket.socket | None:
        if not self.is_open or (wanted.etag and not ETAG.fullmatch(wanted.etag)):
            return None
        connection = None
        try:
            root = self._parts.path
            path = f"{root}/{urllib.parse.quote(wanted.key)}" if wanted.key else root or "/"
            where = f"{path}?{wanted.query}" if wanted.query else path
            if body is None:
                asked = f"GET {where} HTTP/1.1\r\n{self._signer.headers(path, self._keys(), query=wanted.query)}"
            else:
                payload = hashlib.sha256(body).hexdigest()
                lines = self._signer.headers(path, self._keys(), method="PUT", payload=payload)
                asked = f"PUT {where} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n"
            if wanted.etag:
                asked += f'if-match: "{wanted.etag}"\r\n'
            if wanted.part:
                asked += f"range: bytes={wanted.part[0]}-{wanted.part[1] - 1}\r\n"
            connection = self._connection()
            connection.sendall(f"{asked}user-agent: s32s\r\n\r\n".encode("ascii") + (body or b""))
        except (OSError, ValueError):
            self._drop(connection)
            return None
        except Exception:  # no credentials, for one of many reasons; the library meets it too, and there it is told
            return None
        return connection

    def _receive(self, connection: socket.socket | None, wanted: GetRequest) -> SmallResponse | None:
        if connection is None:
            return None
        try:
            answer = _read(_Feed(connection, self._read_timeout_s), wanted)
        except (OSError, ValueError):
            self._drop(connection)
            return None
        self._answers += 1
        if answer is None or answer.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._idle.append((connection, time.monotonic()))
        return answer

    def _connection(self) -> socket.socket:
        """A connection, used before or new."""
        while self._idle:
            try:
                connection, since_s = self._idle.pop()
            except IndexError:
                break  # another thread was quicker
            if time.monotonic() - since_s < _FRESH_S:
                return connection
            connection.close()
        host, is_tls = self._parts.hostname or "", self._parts.scheme == "https"
        address = host, self._parts.port or (443 if is_tls else 80)
        connection = socket.create_connection(address, timeout=self._connect_timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_tls:
            connection = self._tls().wrap_socket(connection, server_hostname=host)
        connection.settimeout(self._read_timeout_s)
        return connection

    def _drop(self, connection: socket.socket | None) -> None:
        self._faults += 1
        if connection is not None:
            connection.close()


class _Feed:
    """What comes over a connection, as long as it makes progress."""

    def __init__(self, connection: socket.socket, window_s: float) -> None:
        self._connection = connection
        self._progress = Progress(window_s)

    def more(self) -> bytes:
        """What has come.

        Raises:
            OSError: nothing, or too little for too long.
        """
        began_s = time.monotonic()
        data = self._connection.recv(_HEAD)
        if not data:
            raise ConnectionError("cut")
        self._progress.note(len(data), time.monotonic() - began_s)
        return data

    def fill(self, room: memoryview) -> None:
        """The same, until `room` is full."""
        while room:
            began_s = time.monotonic()
            count = self._connection.recv_into(room)
            if not count:
                raise ConnectionError("cut")
            self._progress.note(count, time.monotonic() - began_s)
            room = room[count:]


def _read(feed: _Feed, wanted: GetRequest) -> SmallResponse | None:
    """The answer to a request; None when it is not plain, and then the connection is of no more use.

    Raises:
        OSError, ValueError: the connection broke, or what came is not an answer.
    """
    data = feed.more()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > _HEAD:
            raise ValueError("no head")
        data += feed.more()
    status, *lines = data[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
    rest = data[end + 4 :]
    if (len(headers) != len(lines) and _is_ambiguous(lines)) or any(connection[:1] in " \t" for connection in lines):
        return None  # a line that begins with a space is folded (RFC 9112, 5.2)
    if not _is_plain(status, headers, wanted):
        return None
    if "content-length" not in headers:
        return SmallResponse(headers, _dechunked(feed, rest, wanted.limit))
    size = int(headers["content-length"]) if len(headers["content-length"]) < _DIGITS else wanted.limit + 1
    if size > wanted.limit or len(rest) > size:
        return None
    if len(rest) == size:
        return SmallResponse(headers, rest)
    body = bytearray(size)
    body[: len(rest)] = rest
    feed.fill(memoryview(body)[len(rest) :])
    return SmallResponse(headers, memoryview(body))


def _dechunked(feed: _Feed, data: bytes, limit: int) -> bytes:
    """A body whose length is not told before (RFC 9112, 7.1)."""
    came = bytearray(data)
    body = bytearray()
    at = 0

    def come(size: int) -> None:
        while len(came) < size:
            came.extend(feed.more())

    while True:
        while (end := came.find(b"\r\n", at, at + _DIGITS)) < 0:
            if len(came) >= at + _DIGITS:
                raise ValueError("no size of a chunk")  # also one with extensions, which nobody sends
            come(len(came) + 1)
        size = int(came[at:end], 16) if _HEXADECIMAL.fullmatch(came, at, end) else limit + 1
        at = end + 2
        if len(body) + size > limit:
            raise ValueError("no chunk")
        come(at + size + 2)
        if came[at + size : at + size + 2] != b"\r\n":
            raise ValueError("no end of a chunk")
        if not size:
            return bytes(body)
        body += came[at : at + size]
        at += size + 2


def _is_ambiguous(lines: Iterable[str]) -> bool:
    """Whether a header is listed twice that says where the answer ends or what it is of."""
    names = [connection.partition(":")[0].lower() for connection in lines]
    return any(names.count(name) > 1 for name in _TELLING)


def _is_plain(status: str, headers: Mapping[str, str], wanted: GetRequest) -> bool:
    """Whether it is a whole object, or exactly the part that was asked for; some servers give that as 200, not 206."""
    if not status.startswith(("HTTP/1.1 200", "HTTP/1.1 206")):
        return False
    came, length = headers.get("content-range", ""), headers.get("content-length", "")
    if wanted.part is not None:
        begin, end = wanted.part
        return came.startswith(f"bytes {begin}-{end - 1}/") and length == str(end - begin)
    is_whole = status.startswith("HTTP/1.1 200") and not came
    encoding = headers.get("transfer-encoding")
    return is_whole and (length.isdecimal() if encoding is None else encoding.lower() == "chunked" and not length)
