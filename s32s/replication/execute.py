"""Bodies on their way: what a source hands out, a transaction takes, on as many threads as the run may have."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from s32s.core import events
from s32s.core.errors import Interrupted, S32sError
from s32s.core.item import Item
from s32s.replication.job import RunContext
from s32s.stores.base import (
    Body,
    OpensNearby,
    Progress,
    Reading,
    S,
    Source,
    TakesMany,
    TakesNearby,
    Transaction,
)
from s32s.system.concurrency import Future, for_each


def transfer(source: Source[S], transaction: Transaction, run: RunContext) -> None:
    """Bring all that a transaction wants.

    Raises:
        BaseException: the first error that a thread has met; what is under way is not finished.
    """
    halted = threading.Event()
    failures: list[BaseException] = []

    def progress(size: int) -> None:
        if halted.is_set() or run.stop.is_set():
            raise Interrupted(0)
        run.emit(events.Progress(run.entry, size))

    def moved(body: Body, error: S32sError | None) -> None:
        if error is not None:
            raise error
        run.emit(events.FilePut(run.entry, body.item.path, body.item.size))

    def noting(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:
            failures.append(exc)
            halted.set()
            raise

    try:
        put_all(source, transaction, progress, moved, jobs=run.jobs, around=noting)
    except BaseException as exc:
        halted.set()
        if any(exc is failure for failure in failures):
            raise failures[0] from None  # what the others met was only our own halt
        raise


def put_all(
    source: Source[S],
    transaction: Transaction,
    progress: Progress,
    moved: Callable[[Body, S32sError | None], None],
    *,
    jobs: int,
    around: Callable[[Callable[[], None]], None] = lambda work: work(),
) -> None:
    """Bring all that a transaction wants: small items together where it takes them so, the others each on a thread.

    Args:
        moved: told of each body, when it is there, and of what was wrong with it; may raise that.
        around: calls all work that a thread does.
    """

    # To ask a protocol takes as long as to write a small file, so each kind of body is asked once.
    takes_nearby = functools.cache(lambda kind: issubclass(kind, TakesNearby))

    def read(items: Sequence[Item]) -> Reading:
        return source.read(items, jobs=jobs, as_objects=transaction.takes_objects)

    open_nearby = transaction.open_nearby if isinstance(transaction, OpensNearby) else None

    def single(body: Body) -> None:
        error = None
        if open_nearby is not None and takes_nearby(type(body)):
            cast("TakesNearby", body).take_nearby(functools.partial(open_nearby, body.item.path))
        try:
            transaction.put(body, progress)
        except S32sError as exc:
            error = exc
        moved(body, error)

    def each(reading: Reading) -> None:
        for_each(reading.bodies, lambda body: around(lambda: single(body)), jobs=reading.threads, first=reading.first)

    small = transaction.small if isinstance(transaction, TakesMany) else 0
    together = [item for item in transaction.wanted if item.size <= small] if small else []
    reading = read(together)
    if not isinstance(transaction, TakesMany) or not together or reading.are_objects:
        each(read(transaction.wanted))
        return

    def many(bodies: Iterator[Body]) -> None:
        for body, error in transaction.put_many(bodies, progress, jobs=jobs):
            moved(body, error)

    crowd = Future(lambda: around(lambda: many(reading.bodies)))
    each(read([item for item in transaction.wanted if item.size > small]))
    crowd.result()
