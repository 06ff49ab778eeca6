"""How many requests are under way at the same time: as many as the way to the server is long.

What fills a line is the wanted rate times the time of an answer (Little's law). The rate that is reached is measured,
and the shortest answer tells how far away the server is; twice their product keeps the line full and leaves no long
queue at the server. While the line is not full the product grows with every round, so a few rounds find the number.
"""

from __future__ import annotations

import threading
import time

from s32s.backends.retry import Pace

#: With how many requests it begins next door, and how many answers a second it expects from a server further away.
FIRST = 16
_WANTED = 2000
#: What those under way hold in memory together.
_BYTES = 64 * 1024 * 1024
_LOOK_S = 0.05
_SLACK = 2.0


class Window:
    """The number of requests under way to one server, of all threads. Thread-safe.

    Args:
        pace: of all requests, after the server has asked for less.
        most: the largest number.
        first: the number that it begins with, and the smallest.
    """

    def __init__(self, pace: Pace, *, most: int, first: int = FIRST) -> None:
        self.most = most
        self._first = first
        self._pace = pace
        self._guard = threading.Lock()
        self._limit = min(first, most)
        self._under_way = 0
        self._bytes = 0
        self._done = 0
        self._was_full = self._has_begun = False
        self._shortest_s = float("inf")
        self._looked_s = time.monotonic()

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return self._limit

    def note(self, seconds: float) -> None:
        """A request that was made alone was answered after so many seconds, which tells how far away the server is."""
        with self._guard:
            if seconds < self._shortest_s:
                self._shortest_s = seconds
                if not self._has_begun:
                    self._limit = int(min(self.most, max(self._first, _WANTED * seconds)))

    def widen(self) -> None:
        """The server is known to be quick: as many as may be are under way from now on, until they show otherwise."""
        with self._guard:
            self._limit = self.most

    def has_room(self, mine: int) -> bool:
        """Whether another one may be sent.

        Args:
            mine: how many the caller has under way; one is always allowed, so that nobody waits without an end.
        """
        if not mine:
            return True
        if self._under_way >= self._limit or self._bytes >= _BYTES:
            self._was_full = True
            return False
        return True

    def turn_s(self) -> float:
        """How long the next one has to wait because the server has asked for less."""
        return self._pace.turn_s()

    def enter(self, size: int) -> None:
        """One is sent, whose bytes may be so many."""
        with self._guard:
            if not self._under_way:
                self._looked_s, self._done = time.monotonic(), 0  # a pause tells nothing of the line
            self._under_way += 1
            self._bytes += size

    def leave(self, size: int, seconds: float | None = None) -> None:
        """It was answered after so many seconds; None where it was given up."""
        with self._guard:
            self._under_way -= 1
            self._bytes -= size
            if seconds is None:
                return
            self._done += 1
            self._has_begun = True
            if seconds < self._shortest_s:
                self._shortest_s = seconds
            now_s = time.monotonic()
            passed_s = now_s - self._looked_s
            if passed_s < _LOOK_S or passed_s < self._shortest_s:
                return
            useful = _SLACK * self._done / passed_s * self._shortest_s
            if self._was_full or useful < self._limit:
                # Down by steps: a pause of the caller's looks like a slow server.
                self._limit = int(min(self.most, max(useful, 0.8 * self._limit, self._first)))
            self._looked_s, self._done, self._was_full = now_s, 0, False
