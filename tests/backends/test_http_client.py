"""The plain client takes what is plain, whole and of the right object; the rest it leaves to the library."""

from __future__ import annotations

import calendar
import contextlib
import itertools
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from support.faultproxy import Delay, DropAnswer, FaultProxy, FlipBit, Reset, Rewrite, Rule, Status, Truncate, on
from support.network import make_certificate
from support.servers import S3Server, put

from s32s.backends.s3 import http_client as module
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.http_client import GetRequest, HttpClient, SmallResponse
from s32s.backends.s3.service import S3Service
from s32s.backends.s3.sigv4 import Keys, Signer
from s32s.backends.wrappers import Limited
from s32s.config.settings import S3Connection
from s32s.core.location import S3Path
from s32s.stores.objects.bodies import read_ahead
from s32s.system.rate_limit import RateLimiter

ODD_KEYS = [
    "plain",
    "with space",
    "a+b",
    "a%20b",
    "ü/ß",
    "日本",
    "a'b(c)!*",
    "a&b=c?d#e",
    "~x;y:z@$,",
    '"quoted"',
    "a//b",
]
BODY = random.Random(1).randbytes(70_000)


def http_client(server: S3Server, bucket: str, url: str = "", *, timeout_s: float = 5.0) -> HttpClient:
    environment = server.environment()
    keys = Keys(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    return HttpClient(
        f"{url or server.endpoint_url}/{bucket}",
        server.region,
        lambda: keys,
        connect_timeout_s=5,
        read_timeout_s=timeout_s,
    )


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_of_every_kind_are_signed_and_addressed(server: S3Server, bucket: str, key: str) -> None:
    """As S3 reads them: rclone checks the signature."""
    if "//" in key:
        server.needs("keys of any kind")
    etag = put(server, bucket, key, BODY)

    answer = http_client(server, bucket).get(GetRequest(key, etag, len(BODY)))

    assert answer is not None
    assert bytes(answer.body) == BODY
    assert answer.headers["etag"].strip('"') == etag


def test_many_come_in_their_order_over_few_connections(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """Empty ones and larger ones."""
    bodies = {f"k{number}": BODY[: number * 997] for number in range(60)}
    etags = {key: put(server, bucket, key, data) for key, data in bodies.items()}
    wanted = [GetRequest(key, etags[key], len(data)) for key, data in bodies.items()]
    one = http_client(server, bucket, proxy.endpoint_url)

    answers = list(one.get_many(wanted, concurrency=8))

    assert [bytes(answer.body) if answer else None for answer in answers] == list(bodies.values())
    assert len(one._idle) <= 8


def test_who_leaves_early_leaves_no_answer_for_the_next_one(server: S3Server, bucket: str) -> None:
    """A connection with an answer under way is never used again."""
    for number in range(8):
        put(server, bucket, f"k{number}", b"%d" % number * 5000)
    one = http_client(server, bucket)
    answers = one.get_many([GetRequest(f"k{number}", None, 5000) for number in range(8)], concurrency=4)
    next(answers)
    assert isinstance(answers, Iterator)
    answers.close()  # type: ignore[attr-defined]

    for number in range(8):
        answer = one.get(GetRequest(f"k{number}", None, 5000))
        assert answer is not None
        assert bytes(answer.body) == b"%d" % number * 5000


@pytest.mark.parametrize(
    "fault",
    [
        Status(503, "SlowDown"),
        Status(404, "NoSuchKey"),
        Reset(at_byte=0),
        Reset(at_byte=40_000),
        DropAnswer(),
        Rewrite(lambda status, headers, data: (206, headers, data)),
        Rewrite(lambda status, headers, data: (status, {**headers, "Content-Range": "bytes 0-69999/70001"}, data)),
    ],
)
def test_what_is_not_plain_is_left_to_the_library(
    server: S3Server, bucket: str, proxy: FaultProxy, fault: object
) -> None:
    """And the next object comes as ever."""
    etag = put(server, bucket, "k", BODY)
    one = http_client(server, bucket, proxy.endpoint_url)
    rule = proxy.add(Rule(on("GET", "k"), fault, times=1))  # type: ignore[arg-type] # of the parameters

    assert one.get(GetRequest("k", etag, len(BODY))) is None
    assert rule.fired
    answer = one.get(GetRequest("k", etag, len(BODY)))
    assert answer is not None
    assert bytes(answer.body) == BODY


def test_only_the_object_that_was_meant_is_taken(server: S3Server, bucket: str) -> None:
    """Another ETag, where the server knows conditions, a larger object, a part that is not there, and none at all."""
    put(server, bucket, "k", BODY)
    one = http_client(server, bucket)

    assert one.get(GetRequest("k", None, len(BODY) - 1)) is None
    assert one.get(GetRequest("k", None, 10, (len(BODY) - 5, len(BODY) + 5))) is None
    assert one.get(GetRequest("missing", None, 10)) is None
    part = one.get(GetRequest("k", None, 1000, (500, 1500)))
    assert part is not None
    assert bytes(part.body) == BODY[500:1500]


def test_wrong_bytes_are_not_its_business(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """Who stages them compares hashes; a truncated body whose length agrees is smaller than the object."""
    put(server, bucket, "k", BODY)
    one = http_client(server, bucket, proxy.endpoint_url)
    flipped = proxy.add(Rule(on("GET", "k"), FlipBit(at_byte=7), times=1))
    first = one.get(GetRequest("k", None, len(BODY)))
    cut = proxy.add(Rule(on("GET", "k"), Truncate(at_byte=7), times=1))
    second = one.get(GetRequest("k", None, len(BODY)))

    assert flipped.fired
    assert cut.fired
    assert first is not None
    assert len(first.body) == len(BODY)
    assert second is None or len(second.body) == 7


def test_a_way_that_breaks_often_is_left_for_good(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """Every broken request is sent twice, so there are not many."""
    put(server, bucket, "k", BODY)
    one = http_client(server, bucket, proxy.endpoint_url)
    proxy.add(Rule(on("GET", "k"), Reset(at_byte=0)))

    assert [one.get(GetRequest("k", None, len(BODY))) for _ in range(20)] == [None] * 20
    assert proxy.count(on("GET", "k")) == module._MOST_FAULTS


def test_a_way_that_breaks_seldom_is_kept(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """Some servers close a connection without a word after so many requests."""
    put(server, bucket, "k", BODY)
    one = http_client(server, bucket, proxy.endpoint_url)
    for number in range(2 * module._MOST_FAULTS):
        proxy.add(Rule(on("GET", "k"), DropAnswer(), times=1, after=20 * number))

    answers = [one.get(GetRequest("k", None, len(BODY))) for _ in range(40 * module._MOST_FAULTS + 20)]

    assert all(rule.fired for rule in proxy.rules)
    assert len([answer for answer in answers if answer is None]) == 2 * module._MOST_FAULTS


def test_silence_is_waited_for_only_so_long(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    put(server, bucket, "k", BODY)
    pause = Delay(60)
    proxy.add(Rule(on("GET", "k"), pause))
    try:
        assert (
            http_client(server, bucket, proxy.endpoint_url, timeout_s=0.3).get(GetRequest("k", None, len(BODY))) is None
        )
    finally:
        pause.release()


def test_nothing_goes_past_a_proxy(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the library knows how to use; but not every host is behind it."""
    put(server, bucket, "k", BODY)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert http_client(server, bucket).is_open
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert http_client(server, bucket).get(GetRequest("k", None, len(BODY))) is None
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")
    assert http_client(server, bucket).get(GetRequest("k", None, len(BODY))) is not None


def test_without_a_lane_there_are_as_many_threads_as_jobs(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every thread has one object under way."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    backend = backend_of(server, bucket)
    assert read_ahead(backend, [], jobs=64).width == 8
    assert read_ahead(backend, [], jobs=3).width == 3
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    assert read_ahead(backend_of(server, bucket), [], jobs=64).width == 1
    limited = Limited(backend, RateLimiter(1_000_000), RateLimiter(None))
    assert read_ahead(limited, [], jobs=64).width == 1


def backend_of(server: S3Server, bucket: str) -> S3Backend:
    """A prefix by a service of its own."""
    return S3Backend(
        S3Service(S3Connection(endpoint_url=server.endpoint_url, region=server.region)), S3Path(bucket, "p")
    )


def test_a_listing_is_the_same_by_client_and_by_library(
    server: S3Server, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a page of it, and odd keys."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    keys = [f"p/{key}" for key in ODD_KEYS if "//" not in key] + [f"p/d/{number:04}" for number in range(1001)]
    for key in keys:
        put(server, bucket, key, b"x")
    settings = S3Connection(endpoint_url=proxy.endpoint_url, region=server.region)

    by_client = list(itertools.chain(*S3Service(settings).pages(bucket, "p")))
    plain = proxy.count(on(listing=True))
    proxy.add(Rule(on(listing=True), Reset(at_byte=0), times=1))
    by_library = list(itertools.chain(*S3Service(settings).pages(bucket, "p")))

    assert sorted(found.key for found in by_client) == sorted(keys)
    assert by_client == by_library
    assert plain == 2
    assert proxy.count(on(listing=True)) == 2 + 3  # the broken one, and both pages by the library


@pytest.mark.parametrize("etag", ['a"b', "a\r\nx: y", "a b", "\u00fc"])
def test_no_etag_breaks_the_line_that_it_stands_in(server: S3Server, bucket: str, proxy: FaultProxy, etag: str) -> None:
    put(server, bucket, "k", BODY)

    assert http_client(server, bucket, proxy.endpoint_url).get(GetRequest("k", etag, len(BODY))) is None
    assert not proxy.requests


# -- by TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that nobody trusts yet, with its key, in one file."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@contextlib.contextmanager
def tls_server(authority: Path) -> Iterator[str]:
    """Answers every GET with BODY."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # a name of the library
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def test_tls_only_with_a_server_that_is_trusted(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the certificates of this machine, or those that SSL_CERT_FILE names."""
    keys = Keys("KEY", "SECRET")
    with tls_server(authority) as url:

        def get() -> SmallResponse | None:
            one = HttpClient(f"{url}/bucket", "us-east-1", lambda: keys, connect_timeout_s=5, read_timeout_s=5)
            return next(one.get_many([GetRequest("k", None, len(BODY))] * 2, concurrency=2))

        assert get() is None
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        answer = get()
    assert answer is not None
    assert bytes(answer.body) == BODY


# -- signatures


def test_signatures_are_those_of_the_documentation() -> None:
    """S3 API, "Examples: Signature Calculations": GET bucket lifecycle, and a listing."""
    signer = Signer("examplebucket.s3.amazonaws.com", "us-east-1")
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    moment = 1369353600  # 2013-05-24T00:00:00Z

    assert "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543\r\n" in signer.headers(
        "/", keys, query="lifecycle=", now_s=moment
    )
    assert "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7\r\n" in signer.headers(
        "/", keys, query="max-keys=2&prefix=J", now_s=moment
    )


@pytest.mark.parametrize("token", [None, "a+token/="])
def test_signatures_are_those_of_botocore(token: str | None) -> None:
    """With a session token too, and when the keys change under the signer."""
    signer = Signer("s3.example:9000", "eu-west-1")
    for secret in ("one", "two"):
        request = AWSRequest("GET", "https://s3.example:9000/bucket/a%20b/%C3%BC")
        request.context["payload_signing_enabled"] = True
        S3SigV4Auth(Credentials("KEY", secret, token), "s3", "eu-west-1").add_auth(request)
        moment = request.context["timestamp"]
        seconds = calendar.timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))

        ours = signer.headers("/bucket/a%20b/%C3%BC", Keys("KEY", secret, token), now_s=seconds)

        assert request.headers["Authorization"].rpartition("=")[2] in ours


# -- answers, in pieces of every size


def heard(pieces: list[bytes], wanted: GetRequest) -> SmallResponse | None:
    here, there = socket.socketpair()
    here.settimeout(5)

    def send() -> None:
        with contextlib.suppress(OSError):  # who has heard enough does not wait for the rest
            for piece in pieces:
                there.sendall(piece)
        there.close()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return module._read(module._Feed(here, 5), wanted)
    finally:
        here.close()
        sender.join()


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted({place % (len(data) + 1) for place in at}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


PLACES = st.lists(st.integers(0, 10_000), max_size=6)


@given(st.binary(max_size=3000), PLACES, st.integers(1, 700))
def test_an_answer_may_come_in_any_pieces(body: bytes, at: list[int], chunk: int) -> None:
    """With a length or in chunks."""
    whole = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)
    parts = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for start in range(0, len(body), chunk)
        if (part := body[start : start + chunk])
    )
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % parts

    for data in (whole, chunked):
        answer = heard(cut(data, at), GetRequest("k", None, len(body)))
        assert answer is not None
        assert bytes(answer.body) == body


@given(st.binary(min_size=1, max_size=500), st.integers(0, 10_000), st.booleans())
def test_an_answer_that_ends_early_is_none(body: bytes, at: int, in_chunks: bool) -> None:
    """Wherever the connection breaks."""
    if in_chunks:
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with pytest.raises(OSError):  # any of them
        heard([data[: at % len(data)]], GetRequest("k", None, len(body)))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_answers_of_another_shape_are_none(data: bytes) -> None:
    assert heard([data], GetRequest("k", None, 10)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"garbage" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (11, b"a" * 11),
    ],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises((OSError, ValueError)):  # any of them
        heard([data], GetRequest("k", None, 10))
