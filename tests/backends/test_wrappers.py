"""Backends around backends: each keeps the contract of what it goes around, and does its one thing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import pytest

from s32s.backends.base import (
    CREATE,
    Backend,
    GetRequest,
    GetResult,
    ListedObject,
    PutRequest,
    PutResult,
    ServerSideCopy,
    unwrapped,
)
from s32s.backends.below import Below
from s32s.backends.memory import MemoryBackend
from s32s.backends.retry import Pace, RetryPolicy
from s32s.backends.retrying import Retrying
from s32s.backends.wrappers import Counting, Fallback, Limited, Wrapper
from s32s.core.errors import NotFound, PreconditionFailed, ServerDown, Unreachable, Unsupported
from s32s.system.rate_limit import RateLimiter
from s32s.testing import BackendContract, content, listed, put

T = TypeVar("T")


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Note it, and be there at once."""
        self.slept.append(seconds)
        self.now_s += seconds

    def clock(self) -> float:
        """The time."""
        return self.now_s


def policy(time: Time, retries: int = 3) -> RetryPolicy:
    """Retries that cost no time."""
    return RetryPolicy(retries, sleep=time.sleep, clock=time.clock)


class Recorded(RateLimiter):
    """A limit that nobody has to wait for."""

    def __init__(self) -> None:
        super().__init__(1)
        self.paid: list[int] = []

    def acquire(self, size: int) -> None:
        """Note it."""
        self.paid.append(size)


class Faulty(Wrapper):
    """Fails as it is told: `faults` is asked before each call and each piece that is handed out."""

    def __init__(self, inner: Backend, faults: Iterator[BaseException | None]) -> None:
        super().__init__(inner)
        self._faults = faults

    def __getattribute__(self, name: str) -> object:
        if name in ("head", "read", "put", "delete", "copy", "get", "list"):
            wrapped: Callable[..., object] = super().__getattribute__(name)

            def call(*arguments: object, **named: object) -> object:
                if name != "list":
                    self._maybe_fail()
                answer = wrapped(*arguments, **named)
                if isinstance(answer, GetResult):
                    return answer._replace(chunks=self._pieces(answer.chunks))
                return self._pieces(answer) if name == "list" else answer  # type: ignore[arg-type] # pages

            return call
        return super().__getattribute__(name)

    def _pieces(self, pieces: Iterator[T]) -> Iterator[T]:
        for piece in pieces:
            self._maybe_fail()
            yield piece

    def _maybe_fail(self) -> None:
        if (fault := next(self._faults, None)) is not None:
            raise fault


class InBytes(Wrapper):
    """Hands bodies out a byte at a time."""

    def get(self, key: str, **asked: object) -> GetResult:
        """See `Backend`."""
        got = super().get(key, **asked)  # type: ignore[arg-type] # handed on
        return got._replace(chunks=(bytes((byte,)) for chunk in got.chunks for byte in chunk))


class Unable(Wrapper):
    """Can do nothing at all but say where it is."""

    def _cannot(self, *arguments: object, **named: object) -> object:
        raise Unsupported("not here")

    head = get = read = put = delete = _cannot  # type: ignore[assignment] # whatever is asked

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        raise Unsupported("not here")
        yield

    def get_many(self, requests: object, *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        raise Unsupported("not here")
        yield

    put_many = get_many  # type: ignore[assignment] # whatever is asked


def every(number: int, fault: Callable[[], BaseException]) -> Iterator[BaseException | None]:
    """A fault at every so many-th call."""
    return (fault() if at % number == 0 else None for at in itertools.count(1))


AROUND: dict[str, Callable[[Backend], Backend]] = {
    "nothing": Wrapper,
    "counting": Counting,
    "limited": lambda inner: Limited(inner, RateLimiter(None), RateLimiter(10**12)),
    "retrying": lambda inner: Retrying(inner, policy(Time())),
    "retrying, on a bad line": lambda inner: Retrying(
        Faulty(inner, every(3, lambda: Unreachable("a bad line"))), policy(Time(), retries=20)
    ),
    "fallback that is not needed": lambda inner: Fallback(inner, Unable(inner)),
    "fallback that is needed": lambda inner: Fallback(Unable(inner), inner),
    "all of them": lambda inner: Counting(
        Limited(Retrying(Fallback(Unable(inner), inner), policy(Time())), Recorded(), Recorded())
    ),
}


class TestWrappers(BackendContract):
    """The one contract, around a backend in memory."""

    @pytest.fixture(params=AROUND)
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        """An empty place."""
        return AROUND[request.param](MemoryBackend())


class TestBelow(BackendContract):
    """A part of a backend is one, whatever is beside it."""

    @pytest.fixture
    def backend(self) -> Backend:
        """An empty part of a place that is not."""
        inner = MemoryBackend()
        for key in ("part", "part-2/k", "other/k"):
            put(inner, key, b"x")
        return Below(inner, "part")


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_a_copy_sees_through_wrappers(around: Callable[[Backend], Backend]) -> None:
    """On either side."""
    inner, other = MemoryBackend("memory:one"), MemoryBackend("memory:two")
    source, target = around(inner), around(other)
    etag = put(inner, "k", b"x")

    assert isinstance(target, ServerSideCopy)
    assert target.copies_from(source)
    target.copy(source, "k", "copy", size=1, etag=etag, progress=lambda size: None)
    assert content(other, "copy") == b"x"
    assert unwrapped(target) is other


def test_what_copies_nothing_says_so() -> None:
    """A wrapper has the method, and its answer is that of the backend."""

    class Plain:
        location = "plain:"

    assert not Wrapper(Plain()).copies_from(MemoryBackend())  # type: ignore[arg-type] # enough for this
    Wrapper(Plain()).abort_uploads()  # type: ignore[arg-type] # enough for this


def test_requests_are_counted() -> None:
    """By verb, for tests of what a run costs."""
    backend = Counting(MemoryBackend())
    put(backend, "k", b"x")
    backend.head("k")
    listed(backend)
    backend.read("k", limit=9)
    list(backend.get_many([GetRequest("k", None, 9)] * 3, concurrency=2))
    list(backend.put_many([PutRequest("k", b"x")] * 2, concurrency=2))
    backend.delete(["k"])

    assert dict(backend.requests) == {"put": 3, "head": 1, "list": 1, "get": 4, "delete": 1}


def test_a_cap_is_paid_for_every_body() -> None:
    """Once for each byte, in its direction; nothing is read ahead."""
    incoming, outgoing = Recorded(), Recorded()
    backend = Limited(InBytes(MemoryBackend()), incoming, outgoing)
    put(backend, "k", b"12345")
    assert (sum(outgoing.paid), incoming.paid) == (5, [])

    got = backend.get("k", expected=100_000_000)
    assert incoming.paid == []
    assert next(got.chunks) == b"1"
    assert incoming.paid == [1]
    assert b"".join(got.chunks) == b"2345"
    backend.read("k", limit=9)
    assert sum(incoming.paid) == 10
    assert list(backend.get_many([GetRequest("k", None, 9)] * 2, concurrency=8)) == [(0, None), (1, None)]
    assert list(backend.put_many([PutRequest("k", b"9")] * 2, concurrency=8)) == [(0, None), (1, None)]
    assert backend.capabilities.small == 0


@pytest.mark.parametrize("at", range(1, 9))
def test_a_stream_that_breaks_off_goes_on_where_it_was(at: int) -> None:
    """At whatever byte, and more than once."""
    inner = MemoryBackend()
    put(inner, "k", b"1234567")
    faults = iter([None] * at + [Unreachable("gone")] + [None] * 3 + [Unreachable("gone")])
    backend = Retrying(Faulty(InBytes(inner), faults), policy(Time()))

    assert content(backend, "k") == b"1234567"


def test_a_stream_never_goes_on_with_another_object() -> None:
    """One that was replaced while the line was down."""
    inner = MemoryBackend()
    put(inner, "k", b"1234567")
    backend = Retrying(Faulty(InBytes(inner), iter([None, None, None, Unreachable("gone")])), policy(Time()))
    chunks = backend.get("k").chunks
    first = [next(chunks), next(chunks)]
    put(inner, "k", b"7654321")

    with pytest.raises(PreconditionFailed):
        next(chunks)
    assert b"".join(first) == b"12"


class Anonymous(Wrapper):
    """Gives no ETags."""

    def get(self, key: str, **asked: object) -> GetResult:
        """See `Backend`."""
        return super().get(key, **asked)._replace(etag=None)  # type: ignore[arg-type] # handed on


def test_a_stream_without_an_etag_is_not_put_together_of_two() -> None:
    """Nobody can tell whether what follows belongs to what has come, even where the sizes are the same."""
    inner = MemoryBackend()
    put(inner, "a", b"1234567")
    faults = iter([None, None, None, Unreachable("broken")])
    got = Retrying(Faulty(InBytes(Anonymous(inner)), faults), policy(Time())).get("a")
    came = [bytes(next(got.chunks)), bytes(next(got.chunks))]
    put(inner, "a", b"abcdefg")

    with pytest.raises(Unreachable):
        b"".join(map(bytes, got.chunks))
    assert came == [b"1", b"2"]


class InMegabytes(Wrapper):
    """Hands bodies out a MiB at a time, and a minute passes with each."""

    def __init__(self, inner: Backend, time: Time) -> None:
        super().__init__(inner)
        self._time = time

    def get(self, key: str, **asked: object) -> GetResult:
        """See `Backend`."""
        got = super().get(key, **asked)  # type: ignore[arg-type] # handed on
        data = b"".join(got.chunks)

        def pieces() -> Iterator[bytes]:
            for at in range(0, len(data), 1024 * 1024):
                self._time.now_s += 60
                yield data[at : at + 1024 * 1024]

        return got._replace(chunks=pieces())


def test_a_long_stream_may_break_again_and_again_as_long_as_it_comes_on() -> None:
    """However late it breaks, and more often than a request is tried; what is at hand comes quickly again."""
    time, inner = Time(), MemoryBackend()
    data = bytes(range(256)) * 4096 * 8
    put(inner, "a", data)
    breaks = [2, 3, 4, 5, 6, 7]  # after so many pieces of the stream that is open then

    def faults() -> Iterator[BaseException | None]:
        for pieces in breaks:
            yield None
            yield from [None] * pieces
            yield Unreachable("broken")

    backend = Retrying(Faulty(InMegabytes(inner, time), faults()), policy(time))

    assert content(backend, "a") == data
    assert time.now_s > 600


def test_a_stream_that_does_not_come_on_ends() -> None:
    """A byte at a time is not progress."""
    time, inner = Time(), MemoryBackend()
    put(inner, "a", b"x" * 100)

    def faults() -> Iterator[BaseException | None]:
        for pieces in itertools.count(1):
            yield None
            yield from [None] * pieces
            yield Unreachable("broken")

    with pytest.raises(Unreachable):
        content(Retrying(Faulty(InBytes(inner), faults()), policy(time)), "a")


class Many(Wrapper):
    """Opens small objects itself, and each of its streams breaks off after a byte."""

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`."""
        for number, one in enumerate(requests):
            got = self.inner.get(one.key, if_match=one.if_match)

            def broken(got: GetResult = got) -> Iterator[bytes]:
                yield b"".join(map(bytes, got.chunks))[:1]
                raise Unreachable("broken")

            yield number, got._replace(chunks=broken())


def test_a_body_of_many_goes_on_too() -> None:
    """It was opened by a method of its own."""
    inner = MemoryBackend()
    for key in ("a", "b"):
        put(inner, key, key.encode() * 5)
    backend = Retrying(Many(inner), policy(Time()))

    answers = backend.get_many([GetRequest("a", None, 10), GetRequest("b", None, 10)], concurrency=2)

    assert [b"".join(map(bytes, one.chunks)) for _, one in answers if one] == [b"aaaaa", b"bbbbb"]


class Uncopying(Wrapper):
    """Says that it copies, and then cannot."""

    def copy(self, source: Backend, source_key: str, key: str, **how: object) -> PutResult:
        """See `ServerSideCopy`."""
        raise Unsupported("not here")


def test_a_fallback_copies_where_the_first_cannot() -> None:
    """And is asked for unfinished uploads as well."""
    inner = MemoryBackend()
    put(inner, "a", b"data")
    both = Fallback(Uncopying(inner), inner)

    assert both.copies_from(inner)
    both.copy(inner, "a", "b", size=4, etag=inner.head("a").etag, progress=lambda size: None)
    both.abort_uploads()

    assert content(inner, "b") == b"data"


def test_a_part_copies_within_its_backend() -> None:
    """From another part, and from all of it."""
    inner = MemoryBackend()
    put(inner, "one/a", b"data")
    one, two = Below(inner, "one"), Below(inner, "two")
    etag = inner.head("one/a").etag

    assert two.copies_from(one)
    two.copy(one, "a", "b", size=4, etag=etag, progress=lambda size: None)
    two.copy(inner, "one/a", "c", size=4, etag=etag, progress=lambda size: None)

    assert {key: content(inner, key) for key in ("two/b", "two/c")} == {"two/b": b"data", "two/c": b"data"}


def test_a_listing_begins_again_as_long_as_nothing_was_handed_out() -> None:
    """Later it is an error: nobody may take half of a listing for a whole one, or a key twice."""
    inner = MemoryBackend()
    for number in range(1_500):
        put(inner, f"{number:04}", b"")

    early = Retrying(Faulty(inner, iter([Unreachable("gone")])), policy(Time()))
    assert len(listed(early)) == 1_500
    late = Retrying(Faulty(inner, iter([None, Unreachable("gone")])), policy(Time()))
    with pytest.raises(Unreachable):
        listed(late)


def test_it_gives_up() -> None:
    """After so many attempts, each after a longer pause; an answer that cannot change is not asked for again."""
    time = Time()
    counting = Counting(Faulty(MemoryBackend(), every(1, lambda: Unreachable("gone"))))
    with pytest.raises(Unreachable):
        Retrying(counting, policy(time, retries=4)).head("k")
    assert counting.requests["head"] == 5
    assert len(time.slept) == 4
    assert all(0.5 <= pause <= 10 for pause in time.slept)

    counting = Counting(MemoryBackend())
    with pytest.raises(NotFound):
        Retrying(counting, policy(time)).head("none")
    assert counting.requests["head"] == 1


def test_who_watches_is_told_at_once() -> None:
    """Nothing answers at that address; without a watcher it may come up again."""
    attended = policy(Time())
    attended.is_attended = True
    counting = Counting(Faulty(MemoryBackend(), every(1, lambda: ServerDown("nas", "refused"))))

    with pytest.raises(ServerDown):
        Retrying(counting, attended).head("k")
    assert counting.requests["head"] == 1


def test_a_server_says_how_long_to_wait() -> None:
    """Retry-After is a bound from below; what is told is told once a second."""
    time, told = Time(), list[str]()
    busy = Unreachable("busy")
    busy.pause_s = 7.0
    backend = Retrying(Faulty(MemoryBackend(), iter([busy])), told_by(policy(time), told))
    put(backend, "k", b"x")

    assert time.slept == [7.0]
    assert told == ["busy; trying again 1/3"]


def told_by(made: RetryPolicy, told: list[str]) -> RetryPolicy:
    """The same, listened to."""
    made.on_wait = told.append
    return made


def test_requests_slow_down_when_they_are_asked_to_and_speed_up_again() -> None:
    """The time between two doubles with each such answer, up to a second, and goes away by and by."""
    time = Time()
    pace = Pace(sleep=time.sleep, clock=time.clock)
    pace.wait()
    assert time.slept == []

    waits = []
    for _ in range(10):
        pace.note_busy()
        pace.note_busy()  # of a request that was under way at the same time
        pace.wait()
        time.slept.clear()
        pace.wait()
        waits += time.slept
        time.sleep(5)
    assert waits == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1, 1])
    for _ in range(200):
        pace.note_success()
    assert not pace.is_slowed
    time.slept.clear()
    pace.wait()
    assert time.slept == []


def test_a_condition_is_tried_again() -> None:
    """It may then meet its own write, which the contract says."""
    inner = MemoryBackend()
    lost = Unreachable("the answer was lost")

    class Lossy(Wrapper):
        """Writes, and then loses the answer once."""

        is_lossy = True

        def put(self, *arguments: object, **named: object) -> object:  # type: ignore[override] # handed on
            """See `Backend`."""
            answer = inner.put(*arguments, **named)  # type: ignore[arg-type] # handed on
            if self.is_lossy:
                self.is_lossy = False
                raise lost
            return answer

    with pytest.raises(PreconditionFailed):
        put(Retrying(Lossy(inner), policy(Time())), "k", b"x", CREATE)
    assert content(inner, "k") == b"x"


def test_a_fallback_is_asked_only_for_what_the_first_cannot_do() -> None:
    """Another error of the first goes up."""
    first, second = Counting(MemoryBackend()), Counting(MemoryBackend())
    backend = Fallback(first, second)
    put(backend, "k", b"x")
    with pytest.raises(NotFound):
        backend.head("none")

    assert not second.requests
