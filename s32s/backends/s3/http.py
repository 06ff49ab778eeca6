"""HTTP for every request to S3 of every client: one TLS context, the usual proxies, and a bound on all that comes.

The answer is hostile input. Its head and its body are bounded in bytes, and a server that sends next to nothing is
given up: an answer has to make progress over a window, not only within one recv(2). A redirect is an answer like any
other and is never followed, so no header of ours reaches a host that the configuration does not name.

It rests on `http.client`, which is strict about what it sends; it neither retries nor judges a status.
"""

from __future__ import annotations

import base64
import collections
import errno
import http.client
import io
import os
import select
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from s32s.backends.base import Chunk
from s32s.backends.s3.network import Progress, proxy_of
from s32s.core import paths
from s32s.core.errors import ConfigError, S32sError, ServerDown, StoreError, TemporaryFailure, Unreachable

_MAX_HEAD = 256 * 1024
_SEND = 128 * 1024  # each must be taken within the read timeout
_CHUNK = 1024 * 1024
#: An idle connection may be closed by the server at any time; a younger one hardly is.
_FRESH_S = 4.0


class Request(NamedTuple):
    """What is sent.

    Attributes:
        url: of the server: scheme, host and port.
        target: path and query, percent-encoded.
        headers: all but Content-Length; Host among them.
    """

    method: str
    url: str
    target: str
    headers: Mapping[str, str]
    body: Chunk = b""


class Response:
    """An answer whose body is still to come.

    Attributes:
        headers: by lower-case name; of several with one name the last.
        length: of the body as announced; None where it is not.
    """

    def __init__(self, client: Http, connection: _Connection, answer: http.client.HTTPResponse, feed: _Feed) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.length = answer.length
        self.host = connection.host_shown
        self._told = connection.told
        self._client = client
        self._connection = connection
        self._answer = answer
        self._feed = feed

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The body.

        Raises:
            Unreachable: it breaks off, or comes too slowly.
            StoreError: it is longer than `limit` bytes.
        """
        came = 0
        self._feed.allow(2 * limit + _MAX_HEAD)
        try:
            while True:
                with self._told:
                    piece = self._answer.read1(_CHUNK)
                if not piece:
                    break
                came += len(piece)
                if came > limit:
                    raise StoreError(f"{self.host} sends more than it should", hint="check the endpoint")
                yield piece
            if self.length is not None and came < self.length:
                raise unreachable(self.host, CUT)
            self._client.take_back(self._connection, self._answer)
        finally:
            self.close()

    def read(self, limit: int) -> bytes:
        """The whole body; see `chunks`."""
        return b"".join(self.chunks(limit))

    def beginning(self, limit: int) -> bytes:
        """At most so many bytes of the body, however long it is: enough of an error."""
        data = b""
        try:
            for piece in self.chunks(1 << 62):
                data += piece
                if len(data) >= limit:
                    break
        except (StoreError, TemporaryFailure, ConfigError):
            pass  # what came says more than that no more came
        finally:
            self.close()
        return data[:limit]

    def close(self) -> None:
        """Give up what is still to come; after the whole body, nothing."""
        if not self._answer.isclosed():
            self._answer.close()
            self._connection.close()


class Http:
    """Connections to any host, used again where they can be. Thread-safe.

    Args:
        tls: asked for what TLS connections are checked by.
        trusted: where that comes from, for people.
        connect_timeout_s: how long a connection may take.
    """

    def __init__(self, *, tls: Callable[[], ssl.SSLContext], trusted: str, connect_timeout_s: float) -> None:
        self._tls = tls
        self._trusted = trusted
        self._connect_timeout_s = connect_timeout_s
        self._idle: collections.defaultdict[str, collections.deque[tuple[_Connection, float]]]
        self._idle = collections.defaultdict(collections.deque)

    def send(self, request: Request, *, read_timeout_s: float) -> Response:
        """Send a request and read the head of the answer.

        Args:
            read_timeout_s: how long the server may be silent.

        Raises:
            ServerDown: nothing listens there.
            Unreachable: the connection broke, or no answer came in time.
            ConfigError: the server cannot be trusted, or speaks TLS where plain HTTP is configured, or the reverse.
        """
        connection = self._idle_one(request.url)
        if connection is not None:
            try:
                return self._exchange(connection, request, read_timeout_s)
            except Unreachable:
                pass  # the server has closed it meanwhile; a new one tells what is really wrong
        return self._exchange(self._new(request.url), request, read_timeout_s)

    def take_back(self, connection: _Connection, answer: http.client.HTTPResponse) -> None:
        """Keep a connection whose answer was read to its end."""
        answer.close()
        if connection.sock is not None:
            self._idle[connection.key].append((connection, time.monotonic()))

    def _exchange(self, connection: _Connection, request: Request, read_timeout_s: float) -> Response:
        try:
            with connection.told:
                watched = connection.ready(read_timeout_s)
                connection.begin(request)
                for start in range(0, len(request.body), _SEND):
                    try:
                        connection.send(memoryview(request.body)[start : start + _SEND])
                    except (BrokenPipeError, ConnectionResetError):
                        break  # the server has said no before it has heard all; what it said may still be there
                answer = connection.getresponse()
            return Response(self, connection, answer, watched.feed)
        except BaseException:
            connection.close()
            raise

    def _idle_one(self, url: str) -> _Connection | None:
        idle = self._idle[url]
        while idle:
            try:
                connection, since_s = idle.pop()
            except IndexError:
                return None  # another thread was quicker
            if time.monotonic() - since_s < _FRESH_S and not _has_news(connection.sock):
                return connection
            connection.close()
        return None

    def _new(self, url: str) -> _Connection:
        tls = self._tls() if url.startswith("https:") else None
        return _Connection(url, tls, self._trusted, self._connect_timeout_s)


class _Connection(http.client.HTTPConnection):
    """A connection that watches what comes over it."""

    def __init__(self, url: str, tls: ssl.SSLContext | None, trusted: str, timeout_s: float) -> None:
        self.key = url
        self._tls = tls
        self._url = urllib.parse.urlsplit(url)
        self._proxy = proxy_of(url)
        self.host_shown = paths.escape(self._url.netloc.rpartition("@")[2])
        if self._proxy is not None:
            self.host_shown += f", by way of the proxy {paths.escape(self._proxy.netloc.rpartition('@')[2])},"
        self.told = _Told(self.host_shown, trusted)
        host, port = self._url.hostname or "", self._url.port or (443 if tls else 80)
        if self._proxy is None:
            super().__init__(host, port, timeout=timeout_s)
            return
        super().__init__(self._proxy.hostname or "", self._proxy.port or 80, timeout=timeout_s)
        if tls:
            self.set_tunnel(host, port, _proxy_headers(self._proxy))

    def connect(self) -> None:
        """Connect, by way of a proxy where there is one."""
        try:
            super().connect()
        except TimeoutError as exc:
            raise ServerDown(self.host_shown, "no answer in time") from exc
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._url.hostname)
        self.sock: Any = _Socket(self.sock)

    def ready(self, read_timeout_s: float) -> _Socket:
        """The socket for a request, connected if need be."""
        if self.sock is None:
            self.connect()
        self.sock.settimeout(read_timeout_s)
        watched: _Socket = self.sock  # `http.client` lets go of it when the server will close the connection
        watched.window_s = read_timeout_s
        return watched

    def begin(self, request: Request) -> None:
        """Send the head of a request."""
        forwarded = self._proxy is not None and self._tls is None
        target = f"{request.url}{request.target}" if forwarded else request.target
        self.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            self.putheader(name, value)
        if forwarded and self._proxy is not None:
            for name, value in _proxy_headers(self._proxy).items():
                self.putheader(name, value)
        if request.body or request.method in ("PUT", "POST"):
            self.putheader("content-length", str(len(request.body)))
        self.endheaders()


class _Socket:
    """A socket that `http.client` reads through a `_Feed`."""

    window_s: float
    feed: _Feed

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner

    def makefile(self, mode: str) -> io.BufferedReader:
        """What an answer is read from."""
        self.feed = _Feed(self._inner.makefile("rb", buffering=0), self.window_s)
        return io.BufferedReader(self.feed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Feed(io.RawIOBase):
    """The bytes of one answer as they come, bounded in number and in slowness."""

    def __init__(self, raw: Any, window_s: float) -> None:
        self._raw = raw
        self._progress = Progress(window_s)
        self._left = _MAX_HEAD

    def allow(self, size: int) -> None:
        """Let so many bytes more come."""
        self._left += size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        began_s = time.monotonic()
        size: int = self._raw.readinto(buffer)
        self._progress.note(size, time.monotonic() - began_s)
        self._left -= size
        if self._left < 0:
            raise http.client.HTTPException("the answer does not end")
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


_LATER = "check the endpoint and the network, and run it again"
CUT = "the connection was cut"
_TLS_ALERT = "\x15\x03"  # RFC 8446, 5.1: what a server says in TLS to one who does not


class _Told:
    """Exceptions of the network and of `http.client` as ours."""

    def __init__(self, host: str, trusted: str) -> None:
        self._host = host
        self._trusted = trusted

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, OSError | http.client.HTTPException | ValueError) and (
            ours := _error(self._host, exc, self._trusted)
        ):
            raise ours from exc


def _error(host: str, exc: BaseException, trusted: str) -> S32sError | None:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return ConfigError(
            f"the certificate of {host} is not trusted: {exc.verify_message}",
            hint=f"it was checked by {trusted}; ca_bundle of [s3], AWS_CA_BUNDLE or SSL_CERT_FILE names the file of a "
            "private authority; the authorities that everybody trusts come with the package ca-certificates",
        )
    if isinstance(exc, ssl.SSLError) and exc.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return ConfigError(f"{host} does not speak TLS", hint="write http:// in endpoint_url, or name the TLS port")
    if isinstance(exc, http.client.BadStatusLine) and _TLS_ALERT in str(exc):
        return ConfigError(f"{host} speaks TLS", hint="write https:// in endpoint_url")
    if isinstance(exc, ConnectionRefusedError):
        return ServerDown(host, "connection refused")
    if isinstance(exc, socket.gaierror):
        return ServerDown(host, "the host name is not known")
    if isinstance(exc, TimeoutError):
        return unreachable(host, str(exc) if "slowly" in str(exc) else "no answer in time")
    if isinstance(exc, ConnectionError | http.client.IncompleteRead | ssl.SSLError):
        return unreachable(host, CUT)
    if isinstance(exc, http.client.HTTPException | ValueError):
        return unreachable(host, "what comes is not HTTP", hint="check the endpoint")
    if isinstance(exc, OSError) and exc.errno in _NO_WAY:
        return ServerDown(host, os.strerror(exc.errno).lower())
    return unreachable(host, exc.strerror or str(exc)) if isinstance(exc, OSError) else None


_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}


def unreachable(host: str, why: str, *, hint: str = "") -> Unreachable:
    """A request that failed for the moment."""
    return Unreachable(f"S3 at {host} could not be reached: {paths.escape(why)[:300]}", hint=hint or _LATER)


def _proxy_headers(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    named = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(named.encode()).decode()}"}


def _has_news(sock: Any) -> bool:
    """Whether an idle connection was closed, or sends what nobody has asked for."""
    try:
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True
