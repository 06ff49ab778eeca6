"""A bounded pool of threads that can be left behind.

`concurrent.futures` joins its threads when the interpreter ends, so one request that hangs in a library would keep a
stopped run alive. These threads are daemons: after an interruption the caller goes on at once, and workers stop at
their next look at the flag. The first error ends the pool: what is under way is finished, what waits is dropped.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: How long an interrupted pool may take to notice, before it is left behind.
_PATIENCE_S = 2.0
#: With how many threads a pool begins, how often it is asked whether more are worth it, what gain they must bring, and
#: up to which share of a processor there is something to gain.
_FIRST_THREADS = 8
_LOOK_S = 0.4
_GAIN = 1.15
_BUSY = 0.7


def for_each(things: Iterable[T], do: Callable[[T], object], *, jobs: int, first: int = _FIRST_THREADS) -> None:
    """Call `do` with every thing, on threads that do at most `jobs` jobs at once; return when all are done.

    It begins with few threads and takes more for as long as that makes it quicker and the processor is not busy: over a
    long line few leave it idle, and where the processor is what holds it up many only get in each other's way.

    Args:
        first: with how many threads it begins.

    Raises:
        BaseException: the first error of `do` or of `things`, or whatever interrupts the waiting thread.
    """
    rest = iter(things)
    begun = list(itertools.islice(rest, min(jobs, first)))
    if not begun:
        return
    pool = _Pool(itertools.chain(begun, rest), do)
    try:
        pool.grow(len(begun))
        rate = 0.0
        while not pool.has_ended(_LOOK_S):
            before = rate
            rate, busy = pool.pace()
            if pool.size < jobs and busy < _BUSY and rate > _GAIN * before:
                pool.grow(min(pool.size, jobs - pool.size))
    except BaseException:
        pool.stop()
        raise
    if pool.errors:
        raise pool.errors[0]


def run_interruptible(do: Callable[[], R]) -> R:
    """Call `do` so that a signal can interrupt the wait for it.

    A call into a library written in another language does not see Python's signals. On the main thread it therefore
    runs on a thread beside it; on a worker it is called as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        return do()
    return Future(do).result()


def gather(first: Callable[[], R], second: Callable[[], T]) -> tuple[R, T]:
    """Call both at the same time; return both results.

    Raises:
        BaseException: the first error of either, at once, or whatever interrupts the waiting thread.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    firsts: list[R] = []
    seconds: list[T] = []

    def run(do: Callable[[], object]) -> None:
        try:
            do()
        except BaseException as exc:
            ended.put(exc)
        else:
            ended.put(None)

    for do in (lambda: firsts.append(first()), lambda: seconds.append(second())):
        threading.Thread(target=run, args=(do,), daemon=True).start()
    for _ in range(2):
        error = ended.get()
        if error is not None:
            raise error
    return firsts[0], seconds[0]


class Future(Generic[R]):
    """What `do` returns, on a thread of its own from now on."""

    def __init__(self, do: Callable[[], R]) -> None:
        self._do = do
        self._results: list[R] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether `result` would not wait."""
        return not self._thread.is_alive()

    def result(self) -> R:
        """Wait for it.

        Raises:
            BaseException: what `do` has raised.
        """
        self._thread.join()
        if self._errors:
            raise self._errors[0]
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._do())
        except BaseException as exc:
            self._errors.append(exc)


def prefetch(things: Callable[[], Iterator[T]], *, limit: int) -> Iterator[T]:
    """Yield what `things` yields, read on a thread of its own, `limit` pieces ahead of who takes them.

    A consumer that leaves early ends the thread at its next piece.
    """
    ready: queue.Queue[T | BaseException | _End] = queue.Queue(maxsize=limit)
    left = threading.Event()

    def offer(piece: T | BaseException | _End) -> bool:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(piece, timeout=0.5)
                return True
        return False

    def run() -> None:
        try:
            for thing in things():
                if not offer(thing):
                    return
        except BaseException as exc:
            offer(exc)
        else:
            offer(_END)

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            piece = ready.get()
            if isinstance(piece, _End):
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        left.set()


class _End:
    pass


_END = _End()


class _Pool:
    def __init__(self, things: Iterator[Any], do: Callable[[Any], object]) -> None:
        self._things = things
        self._do = do
        self._taking = threading.Lock()  # never taken by the thread that signals may interrupt
        self._left = 0
        self._all_left = threading.Lock()
        self._all_left.acquire()
        self._done = 0
        self._looked_s, self._used_s = time.monotonic(), time.process_time()
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self.errors: list[BaseException] = []

    @property
    def size(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    def grow(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()

    def pace(self) -> tuple[float, float]:
        """Things a second since the last call, and processors that this process has used meanwhile."""
        now, used = time.monotonic(), time.process_time()
        seconds = max(now - self._looked_s, 1e-6)
        pace = self._done / seconds, (used - self._used_s) / seconds
        self._looked_s, self._used_s, self._done = now, used, 0  # may miss one or two, which does not matter
        return pace

    def has_ended(self, timeout_s: float) -> bool:
        """Whether nobody works any more, waiting so long for it."""
        return self._all_left.acquire(timeout=timeout_s)

    def stop(self) -> None:
        self._stopped = True
        until = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while self._take_one():
            self._done += 1
        with self._taking:
            self._left += 1
            if self._left == len(self._threads):
                with contextlib.suppress(RuntimeError):  # released already, before the last ones were hired in vain
                    self._all_left.release()

    def _take_one(self) -> bool:
        try:
            with self._taking:
                if self.errors or self._stopped:
                    return False
                thing = next(self._things, _END)
            if thing is _END:
                return False
            self._do(thing)
        except BaseException as exc:
            self.errors.append(exc)
            return False
        return True
