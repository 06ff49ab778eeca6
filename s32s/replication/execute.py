"""Bodies on their way: what a source hands out, a transaction takes, on as many threads as the run may have."""

from __future__ import annotations

import threading

from s32s.core import events
from s32s.core.errors import Interrupted
from s32s.replication.job import RunContext
from s32s.stores.base import Batch, S, Source, Transaction
from s32s.system.concurrency import for_each


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

    def put(batch: Batch) -> None:
        try:
            for body in batch:
                transaction.put(body, progress)
                run.emit(events.FilePut(run.entry, body.item.path, body.item.size))
        except BaseException as exc:
            failures.append(exc)
            halted.set()
            raise

    reading = source.read(transaction.wanted, jobs=run.jobs, as_objects=transaction.takes_objects)
    try:
        for_each(reading.batches, put, jobs=run.jobs, width=reading.width)
    except BaseException as exc:
        halted.set()
        if any(exc is failure for failure in failures):
            raise failures[0] from None  # what the others met was only our own halt
        raise
