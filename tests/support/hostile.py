"""An S3 server that means harm: it forwards what is not targeted, and answers the rest with whatever bytes it likes.

Raw sockets, because no HTTP library sends what an attacker sends. One connection carries one request. A second
listener, on another address of the loopback, is the host that redirects point to; it records who comes.

What an answer streams without end is bounded: by `ENOUGH` bytes, and by `Hostile.calm`, which ends all that goes on.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

#: A client that has taken so much of an answer without end has no bound.
ENOUGH = 300_000_000
_BLOCK = b"x" * 1_000_000
_PAGE_KEYS = "4"


@dataclass(slots=True)
class Asked:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def path(self) -> str:
        """The path, decoded, without the bucket."""
        return urllib.parse.unquote(self.target.partition("?")[0]).lstrip("/").partition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        """The query."""
        return dict(urllib.parse.parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@dataclass(slots=True)
class Wire:
    """The way back to the client, for an answer to write to."""

    socket: socket.socket
    calm: threading.Event
    asked: Asked
    hostile: Hostile
    sent: int = 0

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: the client has gone, or has taken enough.
        """
        if self.calm.is_set() or self.sent > ENOUGH:
            self.hostile.most = max(self.hostile.most, self.sent)
            raise ConnectionAbortedError
        self.socket.sendall(data)
        self.sent += len(data)
        self.hostile.most = max(self.hostile.most, self.sent)

    def flood(self, data: bytes = _BLOCK) -> None:
        """Send it again and again until the client goes or has taken enough."""
        block = data * max(1, 100_000 // len(data))
        while True:
            self.send(block)

    def drip(self, data: bytes, pause_s: float = 1.0) -> None:
        """Send it again and again, with pauses."""
        while True:
            self.send(data)
            self.calm.wait(pause_s)

    def reset(self) -> None:
        """End the connection by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self, status: int = 200, body: bytes = b"", *headers: str, reason: str = "Said") -> None:
        """Send a well-formed answer; HEAD gets no body."""
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self.send(head + (b"" if self.asked.method == "HEAD" else body))

    def truth(self) -> tuple[int, dict[str, str], bytes]:
        """What the server behind says to this request."""
        return self.hostile.ask(self.asked)


Answer = Callable[[Wire], None]


@dataclass
class Hostile:
    """The running server; get one from `start_hostile`."""

    upstream: tuple[str, int]
    matches: Callable[[Asked], bool] = lambda _: False
    reply: Answer | None = None
    hits: int = 0
    most: int = 0
    """Bytes of the longest answer since `arm`."""
    strangers: list[bytes] = field(default_factory=list)
    """Requests that reached the other host."""
    calm: threading.Event = field(default_factory=threading.Event)
    endpoint_url: str = ""
    other_url: str = ""
    closed: bool = False

    def arm(self, matches: Callable[[Asked], bool], reply: Answer) -> None:
        """Answer the requests that match from now on."""
        self.calm = threading.Event()
        self.hits = self.most = 0
        self.strangers.clear()
        self.matches, self.reply = matches, reply

    def disarm(self) -> None:
        """Forward everything again; end what goes on."""
        self.matches, self.reply = (lambda _: False), None
        self.calm.set()

    def ask(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        """Forward a request and return the whole answer."""
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            target = asked.target
            if asked.method == "GET" and "list-type" in asked.query:
                # Pages of a few keys, so that every listing has a second one.
                path, _, query = target.partition("?")
                pairs = [pair for pair in query.split("&") if not pair.startswith("max-keys=")]
                target = f"{path}?{'&'.join([*pairs, f'max-keys={_PAGE_KEYS}'])}"
            connection.putrequest(asked.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers.items():
                if name not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.endheaders(asked.body or None)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def serve(self, connection: socket.socket) -> None:
        """Read one request; answer it, or let the server behind answer."""
        with connection, suppress(OSError, http.client.HTTPException):
            connection.settimeout(300)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asked = _read(connection)
            if asked is None:
                return
            wire = Wire(connection, self.calm, asked, self)
            reply = self.reply
            if reply and self.matches(asked):
                self.hits += 1
                reply(wire)
                return
            relay(Wire(connection, threading.Event(), asked, Hostile(self.upstream)))

    def serve_stranger(self, connection: socket.socket) -> None:
        """Record what comes to the other host, and say yes to it."""
        with connection, suppress(OSError):
            connection.settimeout(10)
            self.strangers.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


def relay(wire: Wire, **changed: str) -> None:
    """Pass the true answer on, with some headers changed."""
    status, headers, body = wire.truth()
    kept = {
        name: value
        for name, value in headers.items()
        if name not in ("content-length", "transfer-encoding", "connection")
    }
    if wire.asked.method == "HEAD":
        lines = [f"{name}: {value}" for name, value in kept.items()] + ["Connection: close"]
        lines += [f"Content-Length: {headers['content-length']}"] if "content-length" in headers else []
        wire.send("\r\n".join([f"HTTP/1.1 {status} Said", *lines]).encode("latin-1") + b"\r\n\r\n")
        return
    kept.update({name.replace("_", "-"): value for name, value in changed.items()})
    wire.answer(status, body, *(f"{name}: {value}" for name, value in kept.items()))


@contextmanager
def start_hostile(upstream_url: str) -> Iterator[Hostile]:
    """Run the hostile server before another one, and the other host."""
    upstream = urllib.parse.urlsplit(upstream_url)
    hostile = Hostile((upstream.hostname or "", upstream.port or 80))
    with _listening("127.0.0.1") as mine, _listening("127.0.0.2") as other:
        hostile.endpoint_url = f"http://127.0.0.1:{mine.getsockname()[1]}"
        hostile.other_url = f"http://127.0.0.2:{other.getsockname()[1]}"
        for listener, serve in ((mine, hostile.serve), (other, hostile.serve_stranger)):
            threading.Thread(target=_accept, args=(hostile, listener, serve), daemon=True).start()
        try:
            yield hostile
        finally:
            hostile.disarm()
            hostile.closed = True


def _listening(address: str) -> socket.socket:
    return socket.create_server((address, 0), backlog=256)


def _accept(hostile: Hostile, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while not hostile.closed:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def _read(connection: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            return None
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    pieces, missing = [body], int(headers.get("content-length", "0")) - len(body)
    while missing > 0:
        block = connection.recv(min(missing, 1 << 20))
        if not block:
            return None
        pieces.append(block)
        missing -= len(block)
    method, target, _ = first.split(" ", 2)
    return Asked(method, target, headers, b"".join(pieces), head)
