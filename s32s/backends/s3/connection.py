"""One connection to a server: an exchange on it is a generator that says what it waits for.

So one thread can have one exchange or hundreds of them under way, see `http.py` and `crowd.py`. Nothing here waits, or
tries a second time.
"""

from __future__ import annotations

import base64
import errno
import os
import socket
import time
import urllib.parse
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from httptools import HttpParserError

from s32s.backends.base import Chunk
from s32s.backends.s3.answer import MAX_HEAD, Answer
from s32s.backends.s3.faults import TooMuch
from s32s.backends.s3.network import READ, WRITE, Progress
from s32s.backends.s3.tls import Tls

R = TypeVar("R")

Steps = Generator[int, None, R]

_PIECE = 64 * 1024
#: Of a body that is large, so much is handed to the kernel at once.
_SEND = 256 * 1024
#: What the body of an error has at the most; what comes behind it is left.
_ERROR = 64 * 1024


class Request(NamedTuple):
    """What is sent.

    Attributes:
        target: path and query, percent-encoded.
        lines: all headers but Content-Length; Host among them; see `lines_of`.
    """

    method: str
    target: str
    lines: str
    body: Chunk = b""


class Response(NamedTuple):
    """What has come.

    Attributes:
        headers: by lower-case name; of several with one name the last.
        body: all of it; of an error no more than tells what is wrong.
    """

    status: int
    headers: Mapping[str, str]
    body: Chunk


class Route(NamedTuple):
    """The way to a server.

    Attributes:
        scheme, netloc: of the server.
        proxy: that stands on the way.
        addresses: asked for where to connect to, each as `socket.getaddrinfo` gives it.
        tls: what it is checked by, with the session of an earlier connection; None without TLS.
    """

    scheme: str
    netloc: str
    proxy: urllib.parse.SplitResult | None
    addresses: Callable[[], Sequence[Any]]
    tls: Tls | None


class Connection:
    """One connection, and at most one exchange on it.

    Attributes:
        patience_s: how long the exchange may wait now; the driver throws TimeoutError into it then.
        is_fresh: whether nothing has come over it yet.
        is_open: whether another exchange may follow.
        is_connected: whether the way there is open.
        heard: the beginning of the answer under way.
    """

    def __init__(self, route: Route, connect_timeout_s: float) -> None:
        self._route = route
        self._connect_timeout_s = connect_timeout_s
        self.patience_s = connect_timeout_s
        self.socket: Any = None
        self.is_fresh = True
        self.is_open = True
        self.is_connected = False
        self.heard = b""

    def close(self) -> None:
        """Give it up."""
        self.is_open = False
        if self.socket is not None:
            self.socket.close()

    def fetch(self, request: Request, *, limit: int, read_timeout_s: float) -> Steps[Response]:
        """Send a request and take the whole answer.

        Args:
            limit: how many bytes its body may have.
            read_timeout_s: how long the server may be silent.

        Raises:
            OSError, ValueError, HttpParserError: the connection broke, or what comes is not an answer.
            TooMuch: it is larger.
        """
        answer, progress = yield from self.begin(request, read_timeout_s=read_timeout_s)
        if not 200 <= answer.status < 300:
            return Response(answer.status, answer.headers, (yield from self._beginning(answer, progress)))
        return Response(answer.status, answer.headers, (yield from self.body(answer, progress, limit)))

    def begin(self, request: Request, *, read_timeout_s: float) -> Steps[tuple[Answer, Progress]]:
        """Send a request and take the head of the answer, and what comes along with it."""
        self.heard = b""
        if self.socket is None:
            yield from self._connect()
            self.is_connected = True
        self.patience_s = read_timeout_s
        yield from self._send(request)
        answer = Answer(has_body=request.method != "HEAD")
        progress = Progress(read_timeout_s)
        yield from self._head_of(answer, progress)
        return answer, progress

    def body(self, answer: Answer, progress: Progress, limit: int, room: memoryview | None = None) -> Steps[Chunk]:
        """Take the whole body.

        Args:
            room: memory for it, if its length is known.
        """
        length = answer.length
        body: Chunk
        if length is None or answer.is_whole:
            body = yield from self._rest(answer, progress, limit)
        elif length > limit:
            raise self.too_much()
        else:
            view = memoryview(bytearray(length)) if room is None or len(room) < length else room[:length]
            body = yield from self._fill(view, answer, progress)
        self.end(answer)
        return body

    def more(self, answer: Answer, progress: Progress) -> Steps[int]:
        """Take more of the body; how many bytes have come, with the lines of chunks."""
        data = yield from self._receive(progress)
        if data:
            answer.feed(data)
        else:
            self.is_open = False
            answer.end()
        return len(data)

    def end(self, answer: Answer) -> None:
        """All of an answer has come."""
        answer.finish()
        if self.is_fresh and self._route.tls is not None and self.is_open:
            self._route.tls.keep(self.socket)  # once: Python copies a session by writing and reading it
        self.is_fresh = False
        if not self.is_open or not answer.keeps_alive:
            self.close()

    def too_much(self) -> TooMuch:
        """The error that an answer is larger than it may be."""
        return TooMuch(f"{self._route.netloc} sends more than it should", hint="check the endpoint")

    # -- the way there

    def _connect(self) -> Steps[None]:
        self.patience_s = self._connect_timeout_s
        if self._route.tls is not None:
            self._route.tls.prepare()
        failure: OSError | None = None
        for family, kind, protocol, _, address in self._route.addresses():
            self.socket = plain = socket.socket(family, kind, protocol)
            try:
                plain.setblocking(False)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                code = plain.connect_ex(address)
                if code in _UNDER_WAY:
                    yield WRITE
                    code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    break
                raise OSError(code, os.strerror(code))  # of the class that belongs to its number
            except OSError as exc:
                plain.close()
                self.socket = None
                failure = failure or exc
        if self.socket is None:
            raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        if self._route.tls is not None:
            if self._route.proxy is not None:
                yield from self._tunnel(self._route.proxy)
            yield from self._secure(self._route.tls)

    def _tunnel(self, proxy: urllib.parse.SplitResult) -> Steps[None]:
        """Let a proxy connect to the server (RFC 9110, 9.3.6)."""
        lines = lines_of({"host": self._route.netloc, **_proxy_headers(proxy)})
        yield from self._send_all(_head("CONNECT", self._route.netloc, lines))
        answer = Answer(has_body=False)
        yield from self._head_of(answer, Progress(self._connect_timeout_s))
        if not 200 <= answer.status < 300:
            raise OSError(None, f"the proxy answers with status {answer.status}")

    def _secure(self, tls: Tls) -> Steps[None]:
        self.socket = tls.wrap(self.socket)
        while (event := self.socket.shake_hands()) is not None:
            yield event

    # -- what goes and what comes

    def _send(self, request: Request) -> Steps[None]:
        route, target, lines = self._route, request.target, request.lines
        if route.proxy is not None and route.tls is None:
            target = f"{route.scheme}://{route.netloc}{target}"
            lines += lines_of(_proxy_headers(route.proxy))
        if request.body or request.method in ("PUT", "POST"):
            lines += f"content-length: {len(request.body)}\r\n"
        head = _head(request.method, target, lines)
        if len(request.body) <= _SEND:
            yield from self._send_all(head + request.body)
        else:
            yield from self._send_all(head)
            yield from self._send_all(request.body)

    def _send_all(self, data: Chunk) -> Steps[None]:
        left = memoryview(data)
        while left:
            try:
                left = left[self.socket.send(left[:_SEND]) :]
            except BlockingIOError:
                yield WRITE
            except (BrokenPipeError, ConnectionResetError):
                return  # the server has said no before it has heard all; what it said may still be there

    def _head_of(self, answer: Answer, progress: Progress) -> Steps[None]:
        """Take the head of an answer to what was just sent."""
        waits = True
        while not answer.status:
            data = yield from self._receive(progress, waits=waits)
            waits = False
            if not data:
                raise ConnectionError("cut")
            answer.feed(data)

    def _receive(self, progress: Progress, *, waits: bool = False) -> Steps[bytes]:
        """What has come, b"" at the end.

        Args:
            waits: nothing can be there yet.
        """
        waited_s = 0.0
        while True:
            if not waits:
                try:
                    data: bytes = self.socket.recv(_PIECE)
                    break
                except BlockingIOError:
                    pass
            waits = False
            began_s = time.monotonic()
            yield READ
            waited_s += time.monotonic() - began_s
        self.heard = self.heard or data[:2]
        progress.note(len(data), waited_s)
        return data

    def _fill(self, view: memoryview, answer: Answer, progress: Progress) -> Steps[Chunk]:
        """A body of which some has come, straight into the memory where it stays."""
        at = 0
        for piece in answer.pieces:
            view[at : at + len(piece)] = piece
            at += len(piece)
        while at < len(view):
            waited_s = 0.0
            while True:
                try:
                    count = self.socket.recv_into(view[at:])
                    break
                except BlockingIOError:
                    began_s = time.monotonic()
                    yield READ
                    waited_s += time.monotonic() - began_s
            if not count:
                raise ConnectionError("cut")
            progress.note(count, waited_s)
            at += count
        return view

    def _rest(self, answer: Answer, progress: Progress, limit: int) -> Steps[bytes]:
        """A body whose length is not known before, or that has come already."""
        size, checked = 0, 0
        raw_limit = 2 * limit + MAX_HEAD  # chunks have their own lines, and a trailer may follow
        while True:
            size += sum(map(len, answer.pieces[checked:]))
            checked = len(answer.pieces)
            if size > limit:
                raise self.too_much()
            if answer.is_whole:
                return b"".join(answer.pieces)
            raw_limit -= yield from self.more(answer, progress)
            if raw_limit < 0:
                raise ValueError("the answer does not end")

    def _beginning(self, answer: Answer, progress: Progress) -> Steps[bytes]:
        """Enough of an error, however long it is."""
        try:
            left = _ERROR
            while not answer.is_whole and sum(map(len, answer.pieces)) < _ERROR and left > 0:
                left -= yield from self.more(answer, progress)
        except (OSError, ValueError, HttpParserError):
            self.is_open = False  # what came says more than that no more came
        if answer.is_whole:
            self.end(answer)
        else:
            self.close()
        return b"".join(answer.pieces)[:_ERROR]


_UNDER_WAY = {errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)}


def lines_of(headers: Mapping[str, str]) -> str:
    """Headers as they are sent.

    Raises:
        ValueError: one holds a line break, and what follows would be read as another one.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header with a line break")
    return lines


def _head(method: str, target: str, lines: str) -> bytes:
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def _proxy_headers(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    """Who we are to a proxy."""
    if not proxy.username:
        return {}
    named = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(named.encode()).decode()}"}
