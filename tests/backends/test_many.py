"""Many requests under way on one thread: whole, of the right object, each again by itself, and no more than is good."""

from __future__ import annotations

import collections
import contextlib
import itertools
import random
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.faultproxy import Delay, DropAnswer, FaultProxy, FlipBit, Reset, Rule, Status, on
from support.network import listening, make_certificate, raw_server, tcp_front
from support.servers import S3Server, get, put

from s32s.backends.base import GetRequest, GetResult, PutRequest
from s32s.backends.retry import Pace
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.backends.s3.sigv4 import Signer
from s32s.backends.s3.window import FIRST, Window
from s32s.config.settings import S3Connection
from s32s.core.errors import ConfigError, Interrupted, Unreachable
from s32s.core.location import S3Path
from s32s.system.limits import open_files

BODY = random.Random(1).randbytes(70_000)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, moto: S3Server) -> None:
    """Those of the servers, which all have the same."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)


def backend_of(url: str, bucket: str, prefix: str = "", **settings: object) -> S3Backend:
    """A place by a service of its own."""
    connection = S3Connection(endpoint_url=url, region="us-east-1", **{"retries": 2, **settings})  # type: ignore[arg-type]
    return S3Backend(S3Service(connection), S3Path(bucket, prefix))


def bytes_of(answers: Iterator[tuple[int, GetResult | None]]) -> dict[int, bytes | None]:
    """What has come, by the number of the request."""
    return {number: got and b"".join(map(bytes, got.chunks)) for number, got in answers}


def requests(count: int, limit: int = len(BODY)) -> list[GetRequest]:
    """So many keys."""
    return [GetRequest(f"k{number}", None, limit) for number in range(count)]


def test_each_comes_whole_over_few_connections(server: S3Server, bucket: str) -> None:
    """Empty ones and larger ones; connections are used again, by the next call too."""
    bodies = {number: BODY[: number * 997] for number in range(60)}
    for number, data in bodies.items():
        put(server, bucket, f"k{number}", data)

    with tcp_front(server.endpoint_url) as front:
        backend = backend_of(front.url, bucket)
        first = bytes_of(backend.get_many(requests(60), concurrency=8))
        second = bytes_of(backend.get_many(requests(60), concurrency=8))

    assert first == second == bodies
    assert server.name == "moto" or 1 < front.connections <= 9  # moto closes each


def test_writes_and_reads_of_many_agree(server: S3Server, bucket: str) -> None:
    """What was written is there, and its ETag is the one that was told."""
    data = {number: BODY[number : number * 300] for number in range(100)}
    backend = backend_of(server.endpoint_url, bucket, "p")

    stored = dict(backend.put_many((PutRequest(f"k{number}", one) for number, one in data.items()), concurrency=16))

    assert {number: get(server, bucket, f"p/k{number}") for number in data} == data
    assert all(one is not None and one.etag == backend.head(f"k{number}").etag for number, one in stored.items())


def test_who_leaves_early_leaves_no_answer_for_the_next_one(server: S3Server, bucket: str) -> None:
    """A connection with an answer under way is never used again."""
    for number in range(8):
        put(server, bucket, f"k{number}", b"%d" % number * 5000)
    backend = backend_of(server.endpoint_url, bucket)
    answers = backend.get_many(requests(8), concurrency=4)
    next(answers)
    answers.close()  # type: ignore[attr-defined]

    assert bytes_of(backend.get_many(requests(8), concurrency=4)) == {
        number: b"%d" % number * 5000 for number in range(8)
    }


@pytest.mark.parametrize(
    "fault",
    [Status(503, "SlowDown"), Status(500, "InternalError"), Reset(at_byte=0), Reset(at_byte=40_000), DropAnswer()],
)
def test_what_fails_for_the_moment_is_asked_for_again_by_itself(
    server: S3Server, bucket: str, proxy: FaultProxy, fault: object
) -> None:
    """All others come meanwhile, and it comes last."""
    for number in range(20):
        put(server, bucket, f"k{number}", BODY)
    rule = proxy.add(Rule(on("GET", "k3"), fault, times=1))  # type: ignore[arg-type] # of the parameters
    backend = backend_of(proxy.endpoint_url, bucket)

    answers = [(number, got and len(b"".join(map(bytes, got.chunks)))) for number, got in
               backend.get_many(requests(20), concurrency=4)]  # fmt: skip

    assert rule.fired
    assert sorted(answers) == [(number, len(BODY)) for number in range(20)]
    assert answers[-1][0] == 3


def test_what_cannot_be_had_is_left_to_be_asked_for_alone(server: S3Server, bucket: str) -> None:
    """It is missing, or larger than it may be."""
    for number in range(4):
        put(server, bucket, f"k{number}", BODY)
    wanted = [*requests(4), GetRequest("missing", None, 10), GetRequest("k1", None, len(BODY) - 1)]

    answers = bytes_of(backend_of(server.endpoint_url, bucket).get_many(wanted, concurrency=4))

    assert answers == {**dict.fromkeys(range(4), BODY), 4: None, 5: None}


def test_what_fails_too_often_ends_all_of_them(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """After as many attempts as a single request gets."""
    for number in range(4):
        put(server, bucket, f"k{number}", BODY)
    proxy.add(Rule(on("GET", "k2"), Status(500, "InternalError")))

    with pytest.raises(Unreachable, match=f"InternalError.*{bucket}/k2"):
        list(backend_of(proxy.endpoint_url, bucket, retries=1).get_many(requests(4), concurrency=4))
    assert proxy.count(on("GET", "k2")) == 2


def test_another_object_is_not_taken_for_the_one_that_was_meant(server: S3Server, bucket: str) -> None:
    """Where the server keeps conditions; the reader compares the ETag where it does not."""
    etag = put(server, bucket, "k", BODY)
    put(server, bucket, "k", b"other")
    backend = backend_of(server.endpoint_url, bucket)

    (_, got), = backend.get_many([GetRequest("k", etag, len(BODY))], concurrency=1)  # fmt: skip

    assert got is None or got.etag != etag


@pytest.mark.parametrize("etag", ['a"b', "a\r\nx: y", "a b", "\u00fc"])
def test_no_etag_breaks_the_line_that_it_stands_in(server: S3Server, bucket: str, proxy: FaultProxy, etag: str) -> None:
    put(server, bucket, "k", BODY)

    list(backend_of(proxy.endpoint_url, bucket).get_many([GetRequest("k", etag, len(BODY))], concurrency=1))

    assert all("x" not in request.headers for request in proxy.requests)


def test_wrong_bytes_are_not_its_business(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """Who stages them compares hashes."""
    put(server, bucket, "k0", BODY)
    flipped = proxy.add(Rule(on("GET", "k0"), FlipBit(at_byte=7), times=1))

    (data,) = bytes_of(backend_of(proxy.endpoint_url, bucket).get_many(requests(1), concurrency=1)).values()

    assert flipped.fired
    assert data is not None
    assert len(data) == len(BODY)
    assert data != BODY


def test_silence_is_waited_for_only_so_long(
    server: S3Server, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the request is made again, and holds up no other one meanwhile."""
    monkeypatch.setattr("s32s.backends.s3.session.READ_TIMEOUT_S", 1)
    for number in range(6):
        put(server, bucket, f"k{number}", BODY)
    pause = Delay(60)
    proxy.add(Rule(on("GET", "k2"), pause, times=1))
    try:
        numbers = [number for number, _ in backend_of(proxy.endpoint_url, bucket).get_many(requests(6), concurrency=2)]
    finally:
        pause.release()

    assert sorted(numbers) == list(range(6))
    assert numbers[-1] == 2


def test_who_waits_for_room_leaves_the_processor_to_others(
    server: S3Server, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is to be made again is due, and the only place is taken by one that takes its time."""
    put(server, bucket, "k0", BODY)
    put(server, bucket, "k1", BODY)
    proxy.add(Rule(on("GET", "k0"), Status(503, "SlowDown"), times=1))
    proxy.add(Rule(on("GET", "k1"), Delay(1.5), times=1))
    looked = itertools.count()
    select = selectors.DefaultSelector.select
    monkeypatch.setattr(
        selectors.DefaultSelector, "select", lambda self, timeout=None: (next(looked), select(self, timeout))[1]
    )

    answers = bytes_of(backend_of(proxy.endpoint_url, bucket).get_many(requests(2), concurrency=1))

    assert answers == {0: BODY, 1: BODY}
    assert next(looked) < 1000


def test_a_connection_that_the_server_has_closed_costs_no_attempt(bucket: str) -> None:
    """Some close one without a word after so many requests."""

    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        """Answer three requests on a connection, and close it when the fourth has come."""
        with connection:
            for number in range(4):
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    data += piece
                heard.append(data)
                if number == 3:
                    return
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    with listening(serve) as port:
        backend = backend_of(f"http://127.0.0.1:{port}", bucket, retries=0)
        answers = bytes_of(backend.get_many(requests(30), concurrency=3))

    assert answers == dict.fromkeys(range(30), b"x")
    assert len(heard) > 30


def test_a_server_that_asks_for_less_gets_less_from_all(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """While one request has to wait, none is sent; `Retry-After` says how long."""
    for number in range(40):
        put(server, bucket, f"k{number}", b"x")
    times: list[float] = []
    backend = backend_of(proxy.endpoint_url, bucket)
    busy = proxy.add(Rule(on("GET", "k5"), Status(503, "SlowDown", retry_after=1), times=1))
    answers = backend.get_many(requests(40, 9), concurrency=2)
    for _, got in answers:
        assert got is not None
        times.append(time.monotonic())

    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert busy.fired
    assert len(times) == 40
    assert max(gaps) > 0.8


# -- by TLS


def test_tls_sessions_are_resumed(tmp_path: Path) -> None:
    """All connections but the first ones: a handshake costs the server more than an answer."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    resumed: collections.Counter[bool] = collections.Counter()

    def serve(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as connection:
            resumed[bool(connection.session_reused)] += 1
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")

    with listening(serve) as port:
        backend = backend_of(f"https://127.0.0.1:{port}", "bucket", ca_bundle=str(certificate))
        assert backend.read("k", limit=9)[0] == b"x"
        answers = bytes_of(backend.get_many(requests(10), concurrency=5))

    assert answers == dict.fromkeys(range(10), b"x")
    assert resumed == {False: 1, True: 10}


def test_an_untrusted_server_is_told_by_the_request_alone(tmp_path: Path) -> None:
    """Of many, each is left to be asked for alone, and that says what is wrong."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True):
            pass

    with listening(serve) as port:
        backend = backend_of(f"https://127.0.0.1:{port}", "bucket")
        assert bytes_of(backend.get_many(requests(3), concurrency=2)) == dict.fromkeys(range(3))
        with pytest.raises(ConfigError, match="not trusted"):
            backend.get("k0")


# -- how many


class Line:
    """A line of some length in simulated time: each request takes a round, and a server serves so many a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, round_s: float, rate: float) -> None:
        self.now_s = 0.0
        self.round_s = round_s
        self.between_s = 1 / rate
        monkeypatch.setattr("s32s.backends.s3.window.time.monotonic", lambda: self.now_s)

    def run(self, window: Window, count: int, size: int = 1000) -> tuple[float, int]:
        """How long so many requests take, and the most that were under way."""
        under_way: collections.deque[tuple[float, float]] = collections.deque()
        free_s, most, began_s = self.now_s, 0, self.now_s
        while count or under_way:
            while count and window.has_room(len(under_way)):
                window.enter(size)
                free_s = max(free_s, self.now_s) + self.between_s
                under_way.append((self.now_s, free_s + self.round_s))
                count -= 1
            most = max(most, len(under_way))
            sent_s, self.now_s = under_way.popleft()
            window.leave(size, self.now_s - sent_s)
        return self.now_s - began_s, most


def pace() -> Pace:
    """One that asks for nothing."""
    return Pace(sleep=time.sleep, clock=time.monotonic)


@pytest.mark.parametrize(("round_s", "most"), [(0.03, 512), (0.1, 512), (0.2, 512), (0.1, 64)])
def test_a_long_line_is_filled(monkeypatch: pytest.MonkeyPatch, round_s: float, most: int) -> None:
    """Little's law: rate times the time of an answer, up to what may be under way."""
    line = Line(monkeypatch, round_s=round_s, rate=2000)
    window = Window(pace(), most=most)

    passed_s, came = line.run(window, 20_000)

    rate = min(2000, most / round_s)
    assert passed_s < 1.15 * 20_000 / rate + 8 * round_s
    assert came <= most


def test_next_door_few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """More would only wait at the server."""
    line = Line(monkeypatch, round_s=0.0005, rate=4000)

    assert line.run(Window(pace(), most=512), 20_000)[1] == FIRST


def test_the_first_answer_tells_how_far_away_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the many begin with a good number."""
    line = Line(monkeypatch, round_s=0.1, rate=2000)
    window = Window(pace(), most=512)
    assert window.limit == FIRST
    window.note(0.1)

    assert window.limit == 200
    assert line.run(window, 2000)[0] < 1.5


def test_a_process_that_may_open_few_files_has_few_requests_under_way(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them are left for files."""
    assert open_files() > 0
    for number in range(40):
        put(server, bucket, f"k{number}", b"x")
    monkeypatch.setattr("s32s.system.limits.open_files", lambda: 9)
    with tcp_front(server.endpoint_url) as front:
        answers = bytes_of(backend_of(front.url, bucket).get_many(requests(40), concurrency=40))

    assert answers == dict.fromkeys(range(40), b"x")
    assert server.name == "moto" or front.connections <= 4  # moto closes each


def test_what_is_held_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of some megabytes are fewer under way; one always is."""
    line = Line(monkeypatch, round_s=0.1, rate=2000)

    assert line.run(Window(pace(), most=512), 200, size=8 * 1024 * 1024)[1] <= 9
    assert line.run(Window(pace(), most=512), 3, size=1 << 40)[1] == 1


@given(st.lists(st.tuples(st.floats(0.0001, 1), st.integers(0, 10**8)), max_size=60))
def test_the_number_stays_within_its_bounds(answers: list[tuple[float, int]]) -> None:
    """Whatever is measured."""
    window = Window(pace(), most=100)
    for seconds, size in answers:
        window.enter(size)
        window.leave(size, seconds)
        assert FIRST <= window.limit <= 100
    assert window.has_room(1)


def answered(body: bytes) -> Callable[[str], Iterator[bytes]]:
    """Always the same answer."""
    return lambda head: iter([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)])


def test_a_token_that_changes_is_used_at_once(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are asked for with every request, also in the middle of many."""
    backend = backend_of("http://127.0.0.1:1", bucket)
    with raw_server(answered(b"x")) as server:
        backend = backend_of(server.url, bucket)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "one")
        list(backend.get_many(requests(2), concurrency=1))

    assert all("x-amz-security-token: one" in head for head in server.heads)


def test_a_signal_is_no_answer_of_a_request(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler may raise anywhere on this thread, also while a request is made: the run ends."""

    def interrupt(*_: object, **__: object) -> dict[str, str]:
        raise Interrupted(15)

    backend = backend_of(server.endpoint_url, bucket)
    monkeypatch.setattr(Signer, "sign", interrupt)

    with pytest.raises(Interrupted):
        list(backend.get_many([GetRequest("a", None, 10)], concurrency=4))
