"""An HTTP proxy that stands before an S3 server and breaks what a rule tells it to break.

It forwards requests byte for byte, the Host header included, so that a signature made for the proxy's address still
holds behind it. Bodies are streamed in both directions. Plain HTTP on a loopback port only; one thread a connection.

A test edits `proxy.rules` while clients run. The first rule that matches a request and is due acts on it, alone. A rule
counts in `fired` only what a client was really made to feel: a bit that lies behind the end of the body flips nothing,
and counts nothing. So `assert rule.fired` proves that the injector did its work. The count rises just before the client
can notice, never after.

An exception in a rule's own function is not a fault of the network: it is raised where the `with` block ends.
"""

from __future__ import annotations

import array
import fcntl
import http.client
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

BLOCK = 64 * 1024
UPSTREAM_TIMEOUT_S = 60.0
LONGEST_PAUSE_S = 120.0
CLOSE_TIMEOUT_S = 10.0

T = TypeVar("T")

# RFC 9110, 7.6.1: these belong to one connection and are never forwarded. `expect` is answered by the proxy itself.
_HOP_BY_HOP = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(slots=True, eq=False)
class Request:
    """One request as it reached the proxy, and the status that went back."""

    method: str
    path: str
    """The path as it was sent: percent-encoded, without the query."""
    query: dict[str, str]
    headers: dict[str, str]
    """By lower-case name; of a repeated header the last one."""
    status: int | None = None
    """The status the client was sent; None before, and when no answer was sent at all."""
    fault: Fault | None = None
    """What was done to the request; None when nothing was."""

    @property
    def bucket(self) -> str:
        """The first segment of the path."""
        return unquote(self.path).removeprefix("/").partition("/")[0]

    @property
    def key(self) -> str:
        """The path without the bucket, decoded; empty for a request to the bucket itself."""
        return unquote(self.path.removeprefix("/").partition("/")[2])

    @property
    def is_list(self) -> bool:
        """Whether this asks for a page of a listing."""
        return self.method == "GET" and not self.key and ("list-type" in self.query or "prefix" in self.query)


@dataclass(frozen=True, slots=True)
class Status:
    """Answers for the server, with an S3 error in XML; the server is not asked."""

    code: int
    s3_code: str
    message: str = ""
    retry_after: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reset:
    """Passes `at_byte` bytes of the answer's body, then resets the TCP connection."""

    at_byte: int = 0


@dataclass(frozen=True, slots=True)
class Truncate:
    """Ends the answer's body at `at_byte`, with a Content-Length that agrees."""

    at_byte: int = 0


@dataclass(frozen=True, slots=True)
class FlipBit:
    """Flips one bit of one byte of the answer's body; the length stays."""

    at_byte: int = 0
    bit: int = 0


@dataclass(frozen=True, slots=True)
class Delay:
    """Waits before it forwards the request."""

    seconds: float
    _released: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)

    def release(self) -> None:
        """End the waiting now, also of requests to come."""
        self._released.set()


@dataclass(frozen=True, slots=True)
class Stall:
    """Sends the head and `at_byte` bytes of the answer's body, then nothing for `seconds`, then the rest."""

    seconds: float
    at_byte: int = 1
    _released: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)

    def release(self) -> None:
        """End the silence now, also of requests to come."""
        self._released.set()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Lets a function change status, headers (lower-case names) and body; the length is corrected afterwards."""

    function: Callable[[int, dict[str, str], bytes], tuple[int, dict[str, str], bytes]]


@dataclass(frozen=True, slots=True)
class DropAnswer:
    """Lets the server do what was asked, then closes the connection without a word: the answer is lost."""


@dataclass(frozen=True, slots=True)
class Do:
    """Calls a function, then forwards as if nothing had been: something changes under the client."""

    function: Callable[[], object]


Fault = Status | Reset | Truncate | FlipBit | Delay | Stall | Rewrite | DropAnswer | Do


@dataclass(slots=True, eq=False)
class Rule:
    """What is done to which requests: after the first `after` of them, `times` times (None: for ever)."""

    matches: Callable[[Request], bool]
    act: Fault
    times: int | None = None
    after: int = 0
    fired: int = field(default=0, init=False)
    """How often a client was made to feel it."""
    _passed: int = field(default=0, init=False, repr=False)
    _under_way: int = field(default=0, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def claim(self, request: Request) -> bool:
        """Take the request on if it matches and the rule is due; `settle` must follow."""
        if not self.matches(request):
            return False
        with self._lock:
            if self._passed < self.after:
                self._passed += 1
                return False
            if self.times is not None and self.fired + self._under_way >= self.times:
                return False
            self._under_way += 1
            return True

    def fire(self) -> None:
        """Count one blow, just before it falls."""
        with self._lock:
            self.fired += 1
            self._under_way -= 1

    def withdraw(self) -> None:
        """Give a claim back that came to nothing, so that it does not use up `times`."""
        with self._lock:
            self._under_way -= 1


def on(
    method: str = "", key: str | None = None, *, prefix: str = "", listing: bool = False
) -> Callable[[Request], bool]:
    """Return a condition for a rule; what is not given is not asked for."""

    def matches(request: Request) -> bool:
        return (
            (not method or request.method == method)
            and (key is None or request.key == key)
            and request.key.startswith(prefix)
            and (not listing or request.is_list)
        )

    return matches


class FaultProxy:
    """The running proxy; get one from `fault_proxy`."""

    def __init__(self, upstream_url: str) -> None:
        """Listen on a free loopback port and forward to `upstream_url`."""
        upstream = urlsplit(upstream_url)
        if upstream.scheme != "http" or upstream.hostname is None:
            raise ValueError(f"{upstream_url}: only plain http is proxied")
        self.upstream = (upstream.hostname, upstream.port or 80)
        self.rules: list[Rule] = []
        """The rules in force; a test may edit the list at any time."""
        self.errors: list[Exception] = []
        """What the functions of rules raised."""
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._pauses: set[threading.Event] = set()
        self._closing = False
        self._server = _Listener(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fault-proxy", daemon=True
        )
        self._thread.start()

    @property
    def endpoint_url(self) -> str:
        """The address a client is to use instead of the server's."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> list[Request]:
        """Every request since the start or the last `clear`, in the order of arrival."""
        with self._lock:
            return list(self._requests)

    def add(self, rule: Rule) -> Rule:
        """Put a rule behind the others and return it."""
        self.rules.append(rule)
        return rule

    def count(self, matches: Callable[[Request], bool]) -> int:
        """Return how many of `requests` match."""
        return sum(1 for request in self.requests if matches(request))

    def clear(self) -> None:
        """Forget all rules and all requests."""
        self.rules.clear()
        with self._lock:
            self._requests.clear()

    def note(self, request: Request) -> Rule | None:
        """Log a request; return the rule that takes it on."""
        with self._lock:
            self._requests.append(request)
        return next((rule for rule in list(self.rules) if rule.claim(request)), None)

    def fail(self, error: Exception) -> None:
        """Keep an exception of a rule's own function for the end of the block."""
        with self._lock:
            self.errors.append(error)

    def pause(self, seconds: float, released: threading.Event) -> None:
        """Wait until released, until the proxy closes, or until the time is over."""
        with self._lock:
            if self._closing:
                return
            self._pauses.add(released)
        released.wait(min(seconds, LONGEST_PAUSE_S))

    def close(self) -> None:
        """Stop listening, cut every connection, end every pause and every thread."""
        with self._lock:
            self._closing = True
            for released in self._pauses:
                released.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_all()
        self._thread.join(CLOSE_TIMEOUT_S)


@contextmanager
def fault_proxy(upstream_url: str) -> Iterator[FaultProxy]:
    """Run a proxy without any rule before `upstream_url` for as long as the block lasts.

    Raises:
        ExceptionGroup: when the block ended well but functions of its rules raised.
    """
    proxy = FaultProxy(upstream_url)
    try:
        yield proxy
    finally:
        proxy.close()
    if proxy.errors:
        raise ExceptionGroup("functions of the proxy's rules raised", proxy.errors)


class _Listener(ThreadingHTTPServer):
    """The listening socket, and the connections that came from it."""

    daemon_threads = True
    # The accept queue must hold the connections that many workers open at one moment.
    request_queue_size = 256

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.open: dict[threading.Thread, socket.socket] = {}
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    def register(self, connection: socket.socket) -> None:
        with self.lock:
            self.open[threading.current_thread()] = connection

    def deregister(self) -> None:
        with self.lock:
            self.open.pop(threading.current_thread(), None)

    def cut_all(self) -> None:
        with self.lock:
            left = dict(self.open)
        for connection in left.values():
            with suppress(OSError):  # The client may have been faster.
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for thread in left:
            thread.join(max(0.0, deadline - time.monotonic()))


class _CutError(Exception):
    """The connection to the client is at its end."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The head of the server's answer, and its body piece by piece."""

    status: int
    headers: list[tuple[str, str]]
    blocks: Iterable[bytes]
    length: int | None
    """The length of the body in bytes; None when the server did not say."""
    bodiless: bool
    """No body follows whatever the headers say: HEAD, 204, 304."""


class _Connection(BaseHTTPRequestHandler):
    """One connection of a client and, when needed, one to the server behind it."""

    protocol_version = "HTTP/1.1"
    # The head and the body are two writes: with Nagle's algorithm the second one waits for a delayed ACK, 40 ms.
    disable_nagle_algorithm = True
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.upstream: http.client.HTTPConnection | None = None
        self.server.register(self.connection)

    def finish(self) -> None:
        self.server.deregister()
        if self.upstream:
            self.upstream.close()
        with suppress(OSError):  # The client may be gone; there was nothing left to tell it.
            super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, _CutError):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Write nothing: the log is `proxy.requests`."""

    def do_any(self) -> None:
        request = self._request()
        try:
            rule = self.server.proxy.note(request)
        except Exception as exc:
            self.server.proxy.fail(exc)
            raise _CutError from exc
        claim = _Claim(rule, request)
        try:
            self._respond(request, claim)
        finally:
            claim.settle()

    # http.server looks the methods up by these names.
    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_any  # noqa: N815

    def _request(self) -> Request:
        # self.path is not what was sent: http.server folds leading slashes.
        path, _, query = self.requestline.split()[1].partition("?")
        return Request(
            method=self.command,
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
        )

    def _respond(self, request: Request, claim: _Claim) -> None:
        fault = claim.fault
        if isinstance(fault, Status):
            for _ in self._request_body():
                pass
            claim.fire()
            self._answer_for_the_server(request, fault)
            return
        if isinstance(fault, Delay):
            claim.fire()
            self.server.proxy.pause(fault.seconds, fault._released)
        if isinstance(fault, Do):
            claim.fire()
            self._guarded(fault.function)
        try:
            answer = self._forward(request)
        except (OSError, http.client.HTTPException) as exc:
            self._answer_for_the_server(request, Status(502, "BadGateway", f"the proxied server: {exc!r}"))
            self.close_connection = True
            return
        if isinstance(fault, DropAnswer):
            for _ in answer.blocks:
                pass
            claim.fire()
            raise _CutError
        if isinstance(fault, Rewrite):
            answer = self._rewritten(answer, fault, claim)
        if isinstance(fault, Truncate) and not answer.bodiless:
            body = b"".join(answer.blocks)
            if len(body) > fault.at_byte:
                claim.fire()
            answer = replace(answer, blocks=[body[: fault.at_byte]], length=min(len(body), fault.at_byte))
        request.status = answer.status
        self._send(answer, claim)

    def _forward(self, request: Request) -> _Answer:
        """Send the request on as it came and return the head of the answer."""
        upstream = self._upstream()
        target = self.requestline.split()[1]
        upstream.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                upstream.putheader(name, value)
        chunked = _is_chunked(self.headers)
        if chunked:
            upstream.putheader("Transfer-Encoding", "chunked")
        upstream.endheaders()
        refused = False
        for block in self._request_body():
            if refused:
                continue  # The rest must be read all the same, or the client would not read the answer.
            try:
                upstream.send(_chunk(block) if chunked else block)
            except OSError:
                refused = True
        if chunked and not refused:
            upstream.send(b"0\r\n\r\n")
        response = upstream.getresponse()
        bodiless = request.method == "HEAD" or response.status in {204, 304}
        length = response.headers["content-length"]
        return _Answer(
            status=response.status,
            headers=[(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP],
            blocks=iter(lambda: response.read(BLOCK), b""),
            length=None if length is None else int(length),
            bodiless=bodiless,
        )

    def _upstream(self) -> http.client.HTTPConnection:
        """Return a connection on which the server still listens."""
        if self.upstream and self.upstream.sock and select.select([self.upstream.sock], [], [], 0)[0]:
            # Readable while nothing was asked: the server has closed it. A request sent there could be lost or doubled.
            self.upstream.close()
        if self.upstream is None:
            self.upstream = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=UPSTREAM_TIMEOUT_S)
        return self.upstream

    def _request_body(self) -> Iterator[bytes]:
        if _is_chunked(self.headers):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self._exactly(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # Trailers.
            return
        left = int(self.headers.get("content-length") or 0)
        while left:
            block = self._exactly(min(left, BLOCK))
            left -= len(block)
            yield block

    def _exactly(self, size: int) -> bytes:
        block = self.rfile.read(size)
        if len(block) < size:
            raise _CutError
        return block

    def _rewritten(self, answer: _Answer, fault: Rewrite, claim: _Claim) -> _Answer:
        body = b"".join(answer.blocks)
        headers = {name.lower(): value for name, value in answer.headers}
        status, headers, body = self._guarded(lambda: fault.function(answer.status, headers, body))
        claim.fire()
        declared = headers.pop("content-length", None)
        length = int(declared) if answer.bodiless and declared is not None else len(body)
        return _Answer(status, list(headers.items()), [body], length, answer.bodiless)

    def _guarded(self, function: Callable[[], T]) -> T:
        """Call a function of the test; what it raises waits in `proxy.errors`."""
        try:
            return function()
        except Exception as exc:
            self.server.proxy.fail(exc)
            raise _CutError from exc

    def _answer_for_the_server(self, request: Request, fault: Status) -> None:
        bodiless = request.method == "HEAD" or fault.code in {204, 304}
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{escape(fault.s3_code)}</Code><Message>{escape(fault.message)}</Message>"
            f"<Resource>{escape(request.path)}</Resource><RequestId>0123456789ABCDEF</RequestId></Error>"
        ).encode()
        headers = [("Content-Type", "application/xml"), *fault.headers.items()]
        if fault.retry_after is not None:
            headers.append(("Retry-After", str(fault.retry_after)))
        request.status = fault.code
        self._send(_Answer(fault.code, headers, [body], 0 if bodiless else len(body), bodiless), _Claim(None, request))

    def _send(self, answer: _Answer, claim: _Claim) -> None:
        """Send head and body, and let the faults that live in the body strike."""
        chunked = answer.length is None and not answer.bodiless
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.length is not None and answer.status != 204:
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        if answer.bodiless:
            for _ in answer.blocks:
                pass  # Nothing comes; reading to the end sets the server's connection free.
            return
        sent = 0
        try:
            for block in answer.blocks:
                for part in self._struck(block, sent, claim):
                    self.wfile.write(_chunk(part) if chunked else part)
                sent += len(block)
        except http.client.HTTPException as exc:
            raise _CutError from exc
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        elif sent != answer.length:
            raise _CutError

    def _struck(self, block: bytes, start: int, claim: _Claim) -> Iterator[bytes]:
        """Yield the block that starts at byte `start` of the body, as the fault leaves it."""
        fault = claim.fault
        if not isinstance(fault, Reset | FlipBit | Stall) or not start <= fault.at_byte < start + len(block):
            yield block
            return
        before, after = block[: fault.at_byte - start], block[fault.at_byte - start :]
        if before:
            yield before
        claim.fire()
        match fault:
            case Reset():
                self._reset()
            case FlipBit():
                yield bytes([after[0] ^ (1 << fault.bit)]) + after[1:]
            case Stall():
                self.server.proxy.pause(fault.seconds, fault._released)
                yield after

    def _reset(self) -> None:
        """End the connection by RST, after the client's kernel has all that was sent before."""
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        unsent = array.array("i", [0])
        while time.monotonic() < deadline:
            fcntl.ioctl(self.connection, termios.TIOCOUTQ, unsent)
            if not unsent[0]:
                break
            time.sleep(0.001)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # shutdown() would send a FIN first; only close() of the last descriptor sends the RST.
        self.wfile.close()
        self.rfile.close()
        self.connection.close()
        raise _CutError


class _Claim:
    """A rule's hold on one request: it fires once or is given back."""

    def __init__(self, rule: Rule | None, request: Request) -> None:
        self.rule = rule
        self.request = request
        self.fault = rule.act if rule else None
        self._settled = rule is None

    def fire(self) -> None:
        if self.rule and not self._settled:
            self._settled = True
            self.request.fault = self.fault
            self.rule.fire()

    def settle(self) -> None:
        if self.rule and not self._settled:
            self._settled = True
            self.rule.withdraw()


def _is_chunked(headers: Message) -> bool:
    return (headers.get("transfer-encoding") or "").lower().endswith("chunked")


def _chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)
