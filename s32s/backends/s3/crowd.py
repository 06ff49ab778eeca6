"""Hundreds of requests under way on one thread, each over a connection of its own (HTTP/1.1 answers in turn)."""

from __future__ import annotations

import collections
import heapq
import itertools
import selectors
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from s32s.backends.s3.connection import Connection, Request, Response, Steps
from s32s.core.errors import Interrupted, S32sError, TemporaryFailure

if TYPE_CHECKING:
    from s32s.backends.s3.http import Host
    from s32s.backends.s3.window import Window

T = TypeVar("T")

#: How often requests are looked at for their timeouts.
_LOOK_S = 0.5
#: How often one that has found no room looks again; answers to its own caller's requests wake it sooner.
_CROWDED_S = 0.01


class Exchanges(NamedTuple, Generic[T]):
    """Requests that are to be under way together.

    Attributes:
        names: what each is about; taken when there is room for it.
        make: the request, made when it is sent, how many bytes its answer may have, and how many both take in memory.
        again: asked what is to become of an answer: after so many seconds it is sent again; None for that is it.
        most: how many of them may be under way.
        read_timeout_s: how long the server may be silent.
    """

    names: Iterator[T]
    make: Callable[[T], tuple[Request, int, int]]
    again: Callable[[T, Response | S32sError], float | None]
    most: int
    read_timeout_s: float


def send_many(host: Host, exchanges: Exchanges[T], window: Window) -> Iterator[tuple[T, Response | S32sError]]:
    """Have many requests under way on this thread; yield what has become of each, in the order of the answers.

    What is not taken any more is given up.
    """
    crowd = _Crowd(host, exchanges, window)
    try:
        yield from crowd.run()
    finally:
        crowd.close()


class _Flight(Generic[T]):
    """A request that is under way.

    Attributes:
        fd: by which it is waited for; -1 while it is not.
    """

    __slots__ = ("connection", "fd", "holds", "limit", "name", "request", "sent_s", "since_s", "steps")

    def __init__(self, name: T, request: Request, limit: int, holds: int) -> None:
        self.name = name
        self.request = request
        self.limit = limit
        self.holds = holds
        self.fd = -1
        self.connection: Connection
        self.steps: Steps[Response]
        self.sent_s = self.since_s = time.monotonic()


class _Crowd(Generic[T]):
    """The requests of one `send_many`."""

    def __init__(self, host: Host, exchanges: Exchanges[T], window: Window) -> None:
        self._host = host
        self._wanted = exchanges
        self._window = window
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, tuple[Any, int]] = {}  # socket and event by descriptor
        self._flights: dict[int, _Flight[T]] = {}
        self._free: dict[int, Connection] = {}
        self._later: list[tuple[float, int, T]] = []
        self._next: tuple[float, T] | None = None  # it waits for its turn, after the server has asked for less
        self._ended: collections.deque[tuple[T, Response | S32sError]] = collections.deque()
        self._count = itertools.count()
        self._has_more = True
        self._looked_s = time.monotonic()

    def run(self) -> Iterator[tuple[T, Response | S32sError]]:
        """Send all of them; see `send_many`."""
        ended, flights = self._ended, self._flights
        while True:
            self._fill()
            while ended:
                yield ended.popleft()
            if not flights:
                if self._next is None and not self._later and not self._has_more:
                    return
                time.sleep(self._patience_s())
                continue
            for key, _ in self._selector.select(self._patience_s()):
                if (flight := flights.get(key.fd)) is not None:
                    self._step(flight)
                    if ended:
                        self._fill()  # the line is kept full while the caller works
                        while ended:
                            yield ended.popleft()
                elif (idle := self._free.pop(key.fd, None)) is not None:
                    self._unwatch(key.fd)  # the server closes it
                    idle.close()
            self._give_up_late_ones()

    def close(self) -> None:
        """Give up what is under way, and hand back connections that others may use."""
        self._selector.close()
        for flight in self._flights.values():
            flight.connection.close()
            self._window.leave(flight.holds)
        self._flights.clear()
        for connection in self._free.values():
            self._host.take_back(connection)
        self._free.clear()

    def _fill(self) -> None:
        """Send as many as there is room for."""
        while self._later and self._later[0][0] <= time.monotonic() and self._has_room():
            self._start(heapq.heappop(self._later)[2])
        while self._has_room() and len(self._later) < self._window.limit:
            if self._next is None:
                if not self._has_more:
                    return
                try:
                    name = next(self._wanted.names)
                except StopIteration:
                    self._has_more = False
                    return
                if wait_s := self._window.turn_s():
                    self._next = time.monotonic() + wait_s, name
                    return
            else:
                due_s, name = self._next
                if due_s > time.monotonic():
                    return
                self._next = None
            self._start(name)

    def _has_room(self) -> bool:
        count = len(self._flights)
        return count < self._wanted.most and self._window.has_room(count)

    def _start(self, name: T) -> None:
        try:
            request, limit, holds = self._wanted.make(name)
        except Interrupted:
            raise  # by a signal handler on this thread, wherever it was: no answer of this request
        except S32sError as exc:
            self._ended.append((name, exc))
            return
        flight = _Flight(name, request, limit, holds)
        self._window.enter(holds)
        self._board(flight, self._free.popitem()[1] if self._free else self._host.connection())

    def _board(self, flight: _Flight[T], connection: Connection) -> None:
        """Let a request go over a connection."""
        flight.connection = connection
        flight.steps = connection.fetch(flight.request, limit=flight.limit, read_timeout_s=self._wanted.read_timeout_s)
        self._step(flight)

    def _step(self, flight: _Flight[T], error: Exception | None = None) -> None:
        """Do what can be done without waiting.

        Args:
            error: what the request met while it waited.
        """
        connection = flight.connection
        result: Response | S32sError
        try:
            self._watch(flight, flight.steps.throw(error) if error is not None else next(flight.steps))
            return
        except StopIteration as done:
            result = done.value
            self._window.leave(flight.holds, time.monotonic() - flight.sent_s)
        except Interrupted:
            raise
        except Exception as exc:
            connection.close()
            ours = self._host.told(exc, connection)
            if isinstance(ours, TemporaryFailure) and not connection.is_fresh and not connection.heard:
                self._land(flight)
                self._board(flight, self._host.new_connection())
                return
            self._window.leave(flight.holds)
            if ours is None:
                raise
            result = ours
        self._land(flight)
        if (wait_s := self._wanted.again(flight.name, result)) is not None:
            heapq.heappush(self._later, (time.monotonic() + wait_s, next(self._count), flight.name))
        else:
            self._ended.append((flight.name, result))

    def _watch(self, flight: _Flight[T], event: int) -> None:
        """Wait for what a request waits for."""
        flight.since_s = time.monotonic()
        there = flight.connection.socket
        fd = there.fileno()
        if flight.fd != fd:
            self._flights.pop(flight.fd, None)  # it tries another address
            self._flights[fd] = flight
            flight.fd = fd
        known = self._watched.get(fd)
        if known is not None and known[0] is there:
            if known[1] == event:
                return
            self._selector.modify(fd, event)
        else:
            if known is not None:
                self._unwatch(fd)  # of a connection that is closed by now
            self._selector.register(fd, event)
        self._watched[fd] = there, event

    def _unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def _land(self, flight: _Flight[T]) -> None:
        """A request waits no longer; its connection is free for another one, or closed."""
        self._flights.pop(flight.fd, None)
        connection = flight.connection
        if not connection.is_open:
            self._unwatch(flight.fd)
        elif flight.fd >= 0:
            self._free[flight.fd] = connection
        else:
            self._host.take_back(connection)
        flight.fd = -1

    def _patience_s(self) -> float:
        """How long there is nothing to do but to wait for answers."""
        due_s = [one[0] for one in (self._next, self._later[0] if self._later else None) if one is not None]
        # One that is due has found no room, and others may make it.
        return max(_CROWDED_S, min(min(due_s) - time.monotonic(), _LOOK_S)) if due_s else _LOOK_S

    def _give_up_late_ones(self) -> None:
        """End what has waited for too long."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        for flight in list(self._flights.values()):
            if now_s - flight.since_s > flight.connection.patience_s:
                self._step(flight, TimeoutError("no answer in time"))
