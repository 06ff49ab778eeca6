"""A bounded crew of threads that can be left behind.

`concurrent.futures` joins its threads when the interpreter ends, so one request that hangs in a library would keep a
stopped run alive. These threads are daemons: after an interruption the caller goes on at once, and workers stop at
their next look at the flag. The first error ends the crew: what is under way is finished, what waits is dropped.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: How long an interrupted crew may take to notice, before it is left behind.
_PATIENCE_S = 2.0
#: How often a worker without work looks whether it is still wanted.
_LOOK_S = 0.5


def each(things: Iterable[T], do: Callable[[T], object], *, jobs: int) -> None:
    """Call `do` with every thing, on at most `jobs` threads; return when all are done.

    Raises:
        BaseException: the first error of `do`, or whatever interrupts the waiting thread.
    """
    crew = _Crew(do)
    threads: list[threading.Thread] = []
    try:
        for thing in things:
            if crew.failed:
                break
            crew.waiting.put(thing)  # blocks while the crew is busy: memory stays bounded
            if len(threads) < jobs and crew.waiting.qsize() > 0:
                thread = threading.Thread(target=crew.work, daemon=True)
                thread.start()
                threads.append(thread)
        for _ in threads:
            crew.waiting.put(_END)
        for thread in threads:
            thread.join()
    except BaseException:
        crew.stop(threads)
        raise
    if crew.errors:
        raise crew.errors[0]


def aside(do: Callable[[], R]) -> R:
    """Call `do` so that a signal can interrupt the wait for it.

    A call into a library written in another language does not see Python's signals. On the main thread it therefore
    runs on a thread beside it; on a worker it is called as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        return do()
    results: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(do())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def together(first: Callable[[], R], second: Callable[[], T]) -> tuple[R, T]:
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


def ahead(things: Callable[[], Iterator[T]], *, most: int) -> Iterator[T]:
    """Yield what `things` yields, read on a thread of its own, `most` pieces ahead of who takes them.

    A consumer that leaves early ends the thread at its next piece.
    """
    ready: queue.Queue[T | BaseException | _End] = queue.Queue(maxsize=most)
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


class _Crew:
    def __init__(self, do: Callable[..., object]) -> None:
        self._do = do
        self.waiting: queue.Queue[object] = queue.Queue(maxsize=1024)
        self.errors: list[BaseException] = []
        self._stopped = threading.Event()

    @property
    def failed(self) -> bool:
        return bool(self.errors)

    def work(self) -> None:
        while True:
            try:
                thing = self.waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                if self._stopped.is_set():
                    return
                continue
            if isinstance(thing, _End):
                return
            if self.errors or self._stopped.is_set():
                continue  # drain, so that whoever fills the queue never blocks
            try:
                self._do(thing)
            except BaseException as exc:
                self.errors.append(exc)

    def stop(self, threads: list[threading.Thread]) -> None:
        # No word through the queue: a signal may have struck while this thread held its lock.
        self._stopped.set()
        until = time.monotonic() + _PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
