"""The crew: every thing is done, the first error ends it, and nobody waits for ever."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from s32s.system.concurrency import for_each, run_interruptible

# No test here should wait: a crew that blocks is a bug, and this finds it soon.
pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("jobs", [1, 2, 32])
@pytest.mark.parametrize("count", [0, 1, 31, 5000], ids=lambda count: f"{count} things")
def test_every_thing_is_done_once(count: int, jobs: int) -> None:
    """Whatever the number of things and threads, none is lost and none is done twice."""
    done: list[int] = []

    for_each(range(count), done.append, jobs=jobs)

    assert sorted(done) == list(range(count))


def test_things_are_done_at_the_same_time() -> None:
    """As many threads as jobs work beside each other."""
    together = threading.Barrier(4)

    for_each(range(4), lambda thing: together.wait(timeout=10), jobs=4)

    assert not together.broken


@pytest.mark.parametrize("jobs", [1, 3, 8])
def test_no_more_threads_than_jobs(jobs: int) -> None:
    """`jobs` bounds how many things are under way."""
    lock = threading.Lock()
    now = 0
    limit = 0
    names: set[int] = set()

    def do(thing: int) -> None:
        nonlocal now, limit
        with lock:
            now += 1
            limit = max(limit, now)
            names.add(threading.get_ident())
        with lock:
            now -= 1

    for_each(range(2000), do, jobs=jobs)

    assert limit <= jobs
    assert len(names) <= jobs


def test_few_things_need_few_threads() -> None:
    """One thing does not start 32 threads."""
    before = threading.active_count()
    counts: list[int] = []

    for_each([1], lambda thing: counts.append(threading.active_count()), jobs=32)

    assert counts[0] <= before + 1


def test_the_feeder_is_held_back_by_a_slow_crew() -> None:
    """What waits is bounded, so an endless source does not fill the memory."""
    go = threading.Event()
    fed = 0
    done: list[int] = []

    def things() -> Iterator[int]:
        nonlocal fed
        for number in range(10_000):
            fed += 1
            yield number

    def do(thing: int) -> None:
        go.wait(timeout=10)
        done.append(thing)

    thread = threading.Thread(target=for_each, args=(things(), do), kwargs={"jobs": 2})
    thread.start()
    seen = -1
    while seen != fed:  # until the feeder stands still
        seen = fed
        thread.join(timeout=0.1)
    held_at = fed
    go.set()
    thread.join(timeout=10)

    assert held_at < 2000
    assert len(done) == 10_000


def test_the_first_error_wins() -> None:
    """What others meet afterwards does not hide it."""
    both_begun = threading.Barrier(2)
    failing: list[threading.Thread] = []

    def do(thing: int) -> None:
        if thing == 0:
            failing.append(threading.current_thread())
        both_begun.wait(timeout=10)
        if thing == 0:
            raise ValueError("the first")
        failing[0].join(timeout=10)
        raise RuntimeError("a later one")

    with pytest.raises(ValueError, match="the first"):
        for_each(range(2), do, jobs=2)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
def test_every_kind_of_error_comes_out(kind: type[BaseException]) -> None:
    """An error in a thread is an error of the call, also one that would end a program."""

    def do(thing: int) -> None:
        raise kind

    with pytest.raises(kind):
        for_each(range(3), do, jobs=2)


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_failing_crew_does_not_block_its_feeder(jobs: int) -> None:
    """After an error what waits is dropped: many things are neither done nor waited for."""
    done: list[int] = []

    def do(thing: int) -> None:
        done.append(thing)
        raise ValueError(thing)

    with pytest.raises(ValueError, match=r"^\d+$"):
        for_each(range(100_000), do, jobs=jobs)

    assert len(done) <= 2 * jobs


def test_what_is_under_way_is_finished_after_an_error() -> None:
    """When the call returns no thread of it still works."""
    both_begun = threading.Barrier(2)
    failing: list[threading.Thread] = []
    finished: list[int] = []

    def do(thing: int) -> None:
        if thing == 0:
            failing.append(threading.current_thread())
        both_begun.wait(timeout=10)
        if thing == 0:
            raise ValueError("failed")
        failing[0].join(timeout=10)
        finished.append(thing)

    with pytest.raises(ValueError, match="failed"):
        for_each(range(2), do, jobs=2)

    assert finished == [1]


def test_an_error_of_the_feeder_ends_the_crew() -> None:
    """A source that fails half-way is the error of the call, and no thread is left."""
    before = threading.active_count()

    def things() -> Iterator[int]:
        yield from range(10)
        raise LookupError("the source failed")

    with pytest.raises(LookupError, match="the source failed"):
        for_each(things(), lambda thing: None, jobs=4)

    assert threading.active_count() == before


def test_no_thread_is_left_behind() -> None:
    """A crew goes home when its work is done."""
    before = threading.active_count()

    for_each(range(100), lambda thing: None, jobs=8)

    assert threading.active_count() == before


def test_aside_gives_the_result_and_the_error() -> None:
    """To its caller it is a plain call."""

    def fail() -> None:
        raise LookupError("inside")

    assert run_interruptible(lambda: 5) == 5
    assert run_interruptible(lambda: None) is None
    with pytest.raises(LookupError, match="inside"):
        run_interruptible(fail)


def test_aside_runs_beside_the_main_thread_only() -> None:
    """On the main thread it takes another, on a worker it stays where it is."""
    inside: list[tuple[int, int]] = []

    def on_worker(thing: int) -> None:
        inside.append((threading.get_ident(), run_interruptible(threading.get_ident)))

    for_each([1], on_worker, jobs=1)

    assert run_interruptible(threading.get_ident) != threading.get_ident()
    assert inside[0][0] == inside[0][1]


BLOCKED = """
import os, signal, sys
from s32s.system.concurrency import for_each, run_interruptible

class Stop(BaseException):
    pass

def stop(number, frame):
    raise Stop

signal.signal(signal.SIGTERM, stop)
reader, writer = os.pipe()

def block(thing=None):
    print("blocked", flush=True)
    os.read(reader, 1)  # started again after a signal: only another thread's end ends it

try:
    {call}
except Stop:
    print("stopped", flush=True)
    sys.exit(143)
"""


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("run_interruptible(block)", id="a call that is put aside"),
        pytest.param("for_each([1], block, jobs=1)", id="a crew with one thing"),
        pytest.param("for_each(range(100_000), block, jobs=1)", id="a crew whose feeder waits"),
    ],
)
def test_a_signal_interrupts_the_wait_for_a_call_that_hangs(call: str) -> None:
    """A request that hangs in a library does not keep a stopped run alive."""
    command = [sys.executable, "-c", BLOCKED.format(call=call)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocked\n"
        process.send_signal(signal.SIGTERM)
        try:
            said, _ = process.communicate(timeout=10)
        finally:
            process.kill()

    assert said == "stopped\n"
    assert process.returncode == 143


def test_a_crew_grows_while_it_only_waits() -> None:
    """Over a long line more threads are quicker than those it begins with."""
    names: set[int] = set()

    def do(thing: int) -> None:
        names.add(threading.get_ident())
        time.sleep(0.05)

    for_each(range(400), do, jobs=64)

    assert len(names) > 8
