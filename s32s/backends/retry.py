"""How often a request is made again, and how fast requests follow each other after a server has asked for less.

One policy is shared by all requests to one server: what one of them learns, the others keep to.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from s32s.core.errors import ServerDown, Unreachable

R = TypeVar("R")

#: Each pause before another attempt is drawn between the first one and three times the last ("decorrelated jitter");
#: eight of them outlast a busy quarter of a minute in most cases.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_PATIENCE_S = 180.0  # after so long no other attempt is begun
_TELL_EVERY_S = 1.0
#: So many bytes between two breaks of a stream are progress, after which it is tried as often as a new one.
_PROGRESS = 1024 * 1024


class RetryPolicy:
    """What happens after `Unreachable`. Thread-safe.

    Args:
        retries: how often a request is repeated.
        sleep, clock: those of `time`.

    Attributes:
        is_attended: somebody watches, so an address at which nothing answers is an error at once.
        on_wait: told why a request is made once more; it may be called from several threads.
        pace: of all requests.
    """

    def __init__(
        self,
        retries: int,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.retries = retries
        self.is_attended = False
        self.on_wait: Callable[[str], None] = lambda text: None
        self.pace = Pace(sleep=sleep, clock=clock)
        self.sleep = sleep
        self.clock = clock
        self._guard = threading.Lock()
        self._told_s = float("-inf")

    def call(self, work: Callable[[], R]) -> R:
        """Run a request; repeat it while it fails for the moment.

        Raises:
            Unreachable: it failed too often or for too long.
        """
        attempts = Attempts(self)
        while True:
            self.pace.wait()
            try:
                result = work()
            except Unreachable as exc:
                attempts.wait_after(exc)
            else:
                self.pace.note_success()
                return result

    def tell(self, exc: Unreachable, *, number: int) -> None:
        """Say that a request is repeated; many that wait at the same time say it once."""
        now_s = self.clock()
        with self._guard:
            if now_s - self._told_s < _TELL_EVERY_S:
                return
            self._told_s = now_s
        self.on_wait(f"{exc.what}; trying again {number}/{self.retries}")


class Attempts:
    """How often one request was made, and how long it waits before the next time."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._number = 0
        self._pause_s = _FIRST_PAUSE_S
        self._until_s = policy.clock() + _PATIENCE_S

    def wait_after(self, exc: Unreachable) -> None:
        """Wait before another attempt; see `pause_after`."""
        self._policy.sleep(self.pause_after(exc))

    def pause_after(self, exc: Unreachable) -> float:
        """How many seconds lie between this attempt and the next one.

        Raises:
            Unreachable: it was the last one, or somebody watches and nothing answers at that address.
        """
        policy = self._policy
        if exc.is_busy:
            policy.pace.note_busy(exc.pause_s or 0.0)
        self._number += 1
        is_hopeless = isinstance(exc, ServerDown) and policy.is_attended
        pause_s = max(self._pause_s, exc.pause_s or 0.0)
        is_late = policy.clock() + pause_s > self._until_s
        if self._number > policy.retries or is_hopeless or is_late:
            raise exc
        policy.tell(exc, number=self._number)
        self._pause_s = min(random.uniform(_FIRST_PAUSE_S, 3 * self._pause_s), _LONGEST_PAUSE_S)  # noqa: S311 # no secret
        return pause_s


class StreamAttempts:
    """How often one stream of bytes was opened: each good piece of the way begins the count again."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._attempts = Attempts(policy)
        self._since = 0

    def wait_after(self, exc: Unreachable, *, done: int, is_certain: bool) -> None:
        """Wait before the stream is opened again.

        Args:
            done: how many bytes have come in all.
            is_certain: whether it can be told that the object still is the same, by its ETag or version.

        Raises:
            Unreachable: it broke off too often, or nobody can tell whether what follows belongs to what has come.
        """
        if done and not is_certain:
            raise exc
        if done - self._since >= _PROGRESS:
            self._attempts, self._since = Attempts(self._policy), done
        self._attempts.wait_after(exc)


class Pace:
    """How fast requests follow each other, over all threads: as fast as they come, until a server asks for less.

    Each such answer doubles the time between two requests, each success takes a twentieth of it away. S3 asks for that
    with 503 SlowDown (S3 user guide, "Best practices design patterns: optimizing Amazon S3 performance").
    """

    _FIRST_S = 0.02
    _MOST_S = 1.0
    _MOST_PAUSE_S = 30.0
    _LEAST_S = 0.002
    _SHARE = 0.05

    def __init__(self, *, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._sleep = sleep
        self._clock = clock
        self._guard = threading.Lock()
        self._between_s = 0.0
        self._next_s = 0.0
        self._held_s = 0.0
        self._slowed_s = float("-inf")

    @property
    def is_slowed(self) -> bool:
        """Whether requests have to wait for each other."""
        return self._between_s > 0 or self._held_s > 0

    def wait(self) -> None:
        """Wait for the turn of one request."""
        if wait_s := self.turn_s():
            self._sleep(wait_s)

    def turn_s(self) -> float:
        """Take the turn of one request; in how many seconds that is."""
        if not self._between_s and not self._held_s:
            return 0.0
        with self._guard:
            now_s = self._clock()
            begins_s = max(self._next_s, self._held_s, now_s)
            self._next_s = begins_s + self._between_s
            if self._held_s <= now_s:
                self._held_s = 0.0
        return begins_s - now_s

    def note_busy(self, pause_s: float = 0.0) -> None:
        """A server has asked for less; answers to requests that were under way at the same time count once.

        Args:
            pause_s: for how long it asks for no request at all; all threads keep to it.
        """
        with self._guard:
            now_s = self._clock()
            if pause_s:
                self._held_s = max(self._held_s, now_s + min(pause_s, self._MOST_PAUSE_S))
            if now_s - self._slowed_s < max(2 * self._between_s, self._FIRST_S):
                return
            self._slowed_s = now_s
            self._between_s = min(max(2 * self._between_s, self._FIRST_S), self._MOST_S)

    def note_success(self) -> None:
        """A request was answered."""
        if not self._between_s:
            return
        with self._guard:
            self._between_s *= 1 - self._SHARE
            if self._between_s < self._LEAST_S:
                self._between_s = 0.0
