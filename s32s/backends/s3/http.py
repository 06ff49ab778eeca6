"""HTTP for every request to S3, over connections that are used again; `crowd.py` has hundreds under way on a thread.

The answer is hostile input. Its head and its body are bounded in bytes, and a server that sends next to nothing is
given up: an answer has to make progress over a window, not only within one recv(2). A redirect is an answer like any
other and is never followed, so no header of ours reaches a host that the configuration does not name.

A request is sent once, but for one whose connection was used before and breaks before a byte has come: the server has
closed it meanwhile, and the request goes over a new one. Whether anything else is repeated is for the caller to say.
"""

from __future__ import annotations

import collections
import functools
import random
import select
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from s32s.backends.base import Chunk
from s32s.backends.s3.answer import Answer
from s32s.backends.s3.connection import Connection, Request, Response, Route, Steps
from s32s.backends.s3.faults import TLS_ALERT, speaks_tls, told
from s32s.backends.s3.network import READ, Progress, proxy_of
from s32s.backends.s3.tls import Tls
from s32s.core import paths
from s32s.core.errors import S32sError, StoreError, TemporaryFailure
from s32s.system.concurrency import run_interruptible

if TYPE_CHECKING:
    import ssl

R = TypeVar("R")

#: An idle connection may be closed by the server at any time; a younger one hardly is.
_FRESH_S = 4.0
#: How long the addresses of a name are believed.
_NAMES_S = 60.0


class Stream:
    """An answer whose body is still to come.

    Attributes:
        headers: by lower-case name.
    """

    def __init__(self, host: Host, connection: Connection, answer: Answer, progress: Progress) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._host = host
        self._connection = connection
        self._answer = answer
        self._progress = progress

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The body.

        Raises:
            Unreachable: it breaks off, or comes too slowly.
            StoreError: it is longer than `limit` bytes.
        """
        came, answer = 0, self._answer
        try:
            while True:
                pieces, answer.pieces = answer.pieces, []
                for piece in pieces:
                    came += len(piece)
                    if came > limit:
                        raise self._connection.too_much()
                    yield piece
                if answer.is_whole:
                    break
                self._host.drive(self._connection, self._connection.more(answer, self._progress))
            self._connection.end(answer)
            self._host.take_back(self._connection)
        finally:
            if not answer.is_whole:
                self.close()

    def read(self, limit: int, room: memoryview | None = None) -> Chunk:
        """The whole body, in `room` where its length is known and it fits; see `chunks`."""
        body = self._host.drive(self._connection, self._connection.body(self._answer, self._progress, limit, room))
        self._host.take_back(self._connection)
        return body

    def beginning(self, limit: int) -> bytes:
        """At most so many bytes of the body, however long it is: enough of an error."""
        data = b""
        try:
            for piece in self.chunks(1 << 62):
                data += piece
                if len(data) >= limit:
                    break
        except (StoreError, TemporaryFailure):
            pass  # what came says more than that no more came
        finally:
            self.close()
        return data[:limit]

    def close(self) -> None:
        """Give up what is still to come; after the whole body, nothing."""
        if not self._answer.is_whole:
            self._connection.close()


class Http:
    """Connections to any server. Thread-safe.

    Args:
        tls: asked for what TLS connections are checked by.
        trusted: where that comes from, for people.
        connect_timeout_s: how long a connection may take.
    """

    def __init__(self, *, tls: Callable[[], ssl.SSLContext], trusted: str, connect_timeout_s: float) -> None:
        self._tls = tls
        self._trusted = trusted
        self._connect_timeout_s = connect_timeout_s
        self._hosts: dict[str, Host] = {}

    def host(self, url: str) -> Host:
        """The server of a URL."""
        parts = urllib.parse.urlsplit(url)
        key = f"{parts.scheme}://{parts.netloc}"
        if key not in self._hosts:
            self._hosts[key] = Host(parts, self._tls, self._trusted, self._connect_timeout_s)
        return self._hosts[key]


class Host:
    """Connections to one server. Thread-safe.

    Attributes:
        shown: it and its proxy, for people.
    """

    def __init__(
        self, url: urllib.parse.SplitResult, tls: Callable[[], ssl.SSLContext], trusted: str, connect_timeout_s: float
    ) -> None:
        self.netloc = url.netloc.rpartition("@")[2]
        self._trusted = trusted
        self._connect_timeout_s = connect_timeout_s
        proxy = proxy_of(url.geturl())
        self.shown = paths.escape(self.netloc)
        if proxy is not None:
            self.shown += f", by way of the proxy {paths.escape(proxy.netloc.rpartition('@')[2])},"
        is_tls = url.scheme == "https"
        to = proxy or url
        names = _Names(to.hostname or "", to.port or (443 if is_tls and proxy is None else 80))
        secured = Tls(tls, url.hostname or "") if is_tls else None
        self._route = Route(url.scheme, self.netloc, proxy, names.addresses, secured)
        self._idle: collections.deque[tuple[Connection, float]] = collections.deque()

    def send(self, request: Request, *, limit: int, read_timeout_s: float) -> Response:
        """Send a request and take the whole answer.

        Args:
            limit: how many bytes its body may have.
            read_timeout_s: how long the server may be silent.

        Raises:
            ServerDown: nothing listens there.
            Unreachable: the connection broke, or no answer came in time.
            StoreError: the answer is too large.
            ConfigError: the server cannot be trusted, or speaks TLS where plain HTTP is configured, or the reverse.
        """
        response, connection = self._exchange(
            lambda one: one.fetch(request, limit=limit, read_timeout_s=read_timeout_s)
        )
        self.take_back(connection)
        return response

    def open(self, request: Request, *, read_timeout_s: float) -> Stream:
        """Send a request and take the head of the answer; see `send`."""
        (answer, progress), connection = self._exchange(lambda one: one.begin(request, read_timeout_s=read_timeout_s))
        return Stream(self, connection, answer, progress)

    # -- for `Stream` and `crowd.py`

    def connection(self) -> Connection:
        """A connection, used before or new."""
        while self._idle:
            try:
                connection, since_s = self._idle.pop()
            except IndexError:
                break  # another thread was quicker
            if time.monotonic() - since_s < _FRESH_S and not _has_news(connection.socket):
                return connection
            connection.close()
        return self.new_connection()

    def new_connection(self) -> Connection:
        """A connection that nothing has come over."""
        return Connection(self._route, self._connect_timeout_s)

    def take_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, if more may follow."""
        if connection.is_open:
            self._idle.append((connection, time.monotonic()))

    def drive(self, connection: Connection, steps: Steps[R]) -> R:
        """Do all the steps, waiting where they wait.

        Raises:
            Unreachable, ConfigError, StoreError: see `send`.
        """
        try:
            event = next(steps)
            while True:
                if _is_ready(connection.socket, event, connection.patience_s):
                    event = next(steps)
                else:
                    event = steps.throw(TimeoutError("no answer in time"))
        except StopIteration as done:
            result: R = done.value
            return result
        except BaseException as exc:
            connection.close()
            if isinstance(exc, Exception) and (ours := self.told(exc, connection)):
                raise ours from exc
            raise

    def told(self, exc: Exception, connection: Connection) -> S32sError | None:
        """An exception of an exchange as one of ours."""
        if connection.heard.startswith(TLS_ALERT):
            return speaks_tls(self.shown)
        return told(self.shown, self._trusted, exc, is_connected=connection.is_connected)

    def _exchange(self, begin: Callable[[Connection], Steps[R]]) -> tuple[R, Connection]:
        connection = self.connection()
        if not connection.is_fresh:
            try:
                return self.drive(connection, begin(connection)), connection
            except TemporaryFailure:
                if connection.heard:
                    raise
            connection = self.new_connection()
        return self.drive(connection, begin(connection)), connection


class _Names:
    """The addresses of a host name, asked for once in a while; each connection begins with another one.

    A large service gives several, so that its clients spread over them.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._found: list[Any] = []
        self._found_s = float("-inf")

    def addresses(self) -> Sequence[Any]:
        """Where to connect to, in turn.

        Raises:
            OSError: nobody knows the name.
        """
        if time.monotonic() - self._found_s > _NAMES_S:
            look_up = functools.partial(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM)
            self._found = run_interruptible(look_up)
            self._found_s = time.monotonic()
        found = self._found
        if len(found) > 1:
            family = found[0][0]  # the kind that the system prefers stays first
            first = [one for one in found if one[0] == family]
            random.shuffle(first)
            found = first + [one for one in found if one[0] != family]
        return found


def _is_ready(there: Any, event: int, timeout_s: float) -> bool:
    """Wait until a socket can be read, or written to."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(there.fileno(), select.POLLIN if event == READ else select.POLLOUT)
        return bool(poll.poll(timeout_s * 1000))
    readers, writers = ([there], []) if event == READ else ([], [there])
    return any(select.select(readers, writers, writers, timeout_s))


def _has_news(there: Any) -> bool:
    """Whether an idle connection was closed, or sends what nobody has asked for."""
    try:
        return _is_ready(there, READ, 0)
    except (OSError, ValueError):
        return True
