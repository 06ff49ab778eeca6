"""Answers in pieces of every size, and what is none; signatures as S3 reads them."""

from __future__ import annotations

import calendar
import collections
import itertools
import re
import time

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from httptools import HttpParserError
from hypothesis import given
from hypothesis import strategies as st
from support.servers import S3Server, put

from s32s.backends.s3.answer import Answer
from s32s.backends.s3.connection import lines_of
from s32s.backends.s3.errors import Refusal, refusal_in, translated
from s32s.backends.s3.service import S3Service
from s32s.backends.s3.sigv4 import Keys, Signer
from s32s.config.settings import S3Connection
from s32s.core.errors import AccessDenied, Unsupported

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
    "a/../b/./c",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_of_every_kind_are_signed_and_addressed(
    server: S3Server, bucket: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As S3 reads them: rclone checks the signature."""
    if "//" in key or ".." in key:
        server.needs("keys of any kind")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    etag = put(server, bucket, key, b"body")
    service = S3Service(S3Connection(endpoint_url=server.endpoint_url, region=server.region))

    assert service.get_small(bucket, key, limit=10) == (b"body", etag)


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        ("NotImplemented", "NotImplemented", "NotImplemented"),
        ("NotImplemented", "Not Implemented.", "NotImplemented"),
        ("NotImplemented", "", "NotImplemented"),
        ("NotImplemented", "no versions here", "NotImplemented: no versions here"),
        ("", "", "HTTP 501"),
        ("", "no versions here", "no versions here"),
    ],
)
def test_what_s3_says_twice_is_told_once(code: str, message: str, says: str) -> None:
    """Some servers give their code for a message."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    def refuse() -> None:
        raise refusal_in(body, status=501, headers={})

    with pytest.raises(Unsupported, match=re.escape(f"of s3://b/k ({says})")):
        translated(refuse, bucket="b", key="k")


def test_a_denial_without_a_reason_has_none() -> None:
    """Brackets hold what the sentence does not say."""
    for message in ("", "AccessDenied", "Access Denied."):
        with pytest.raises(AccessDenied) as told:
            translated(lambda message=message: _denied(message), bucket="b", key="k")
        assert "(" not in str(told.value)


def _denied(message: str) -> None:
    raise Refusal("AccessDenied", message, status=403, headers={})


def heard(pieces: list[bytes], *, has_body: bool = True) -> tuple[Answer, bytes]:
    """What comes of an answer in pieces, and its body."""
    answer = Answer(has_body=has_body)
    for piece in pieces:
        answer.feed(piece)
    return answer, b"".join(answer.pieces)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted({place % (len(data) + 1) for place in at}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


PLACES = st.lists(st.integers(0, 10_000), max_size=6)


@given(st.binary(max_size=3000), PLACES, st.integers(1, 700))
def test_an_answer_may_come_in_any_pieces(body: bytes, at: list[int], chunk: int) -> None:
    """With a length or in chunks, after interim answers or not."""
    whole = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)
    parts = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for start in range(0, len(body), chunk)
        if (part := body[start : start + chunk])
    )
    chunked = b'HTTP/1.1 200 OK\r\nEtag:  "x" \r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n' % parts
    interim = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"

    for data in (whole, chunked, interim + whole, interim * 3 + chunked):
        answer, came = heard(cut(data, at))
        assert answer.is_whole
        assert answer.status == 200
        assert answer.headers["etag"] == '"x"'
        assert "x" not in answer.headers
        assert came == body
        assert answer.keeps_alive


@given(st.binary(min_size=1, max_size=500), st.integers(0, 10_000), st.booleans())
def test_an_answer_that_ends_early_is_cut(body: bytes, at: int, in_chunks: bool) -> None:
    """Wherever the connection breaks."""
    if in_chunks:
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    answer, _ = heard([data[: at % len(data)]])

    assert not answer.is_whole
    with pytest.raises(ConnectionError):
        answer.end()


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """HTTP allows it (RFC 9112, 6.3); the reader knows how long an object is."""
    answer, body = heard([b"HTTP/1.1 200 OK\r\n\r\nab", b"c"])
    assert not answer.is_whole
    answer.end()

    assert answer.is_whole
    assert body == b"abc"


def test_the_answer_to_head_has_no_body() -> None:
    """Whatever length it names."""
    answer, body = heard([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"], has_body=False)

    assert answer.is_whole
    assert answer.headers["content-length"] == "3"
    assert body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"garbage" * 20,
        b"\x15\x03\x03\x00\x02\x02\x0a",
    ],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    """Two lengths, a length beside chunks, more than was announced, and what is not HTTP."""
    with pytest.raises(HttpParserError):
        heard([data])


def test_a_server_that_changes_to_another_protocol_gives_no_answer() -> None:
    """Nobody has asked for one (RFC 9110, 15.2.2)."""
    with pytest.raises(ValueError, match="another protocol"):
        heard([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"])


@pytest.mark.parametrize("line", [b"X: y\r\n" * 100_000, b"X: " + b"y" * 600_000, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_head_that_does_not_end_is_an_error(line: bytes) -> None:
    """Also one of interim answers without end."""
    answer = Answer(has_body=True)
    if not line.startswith(b"HTTP"):
        answer.feed(b"HTTP/1.1 200 OK\r\n")

    with pytest.raises((HttpParserError, ValueError)):
        collections.deque((answer.feed(line) for _ in range(20_000)), maxlen=0)


def test_an_answer_is_freed_without_a_collector() -> None:
    """A run turns the collector of cycles off, so a parser must not keep what it has parsed."""
    import gc
    import weakref

    class Watched(Answer):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        answer = Watched(has_body=True)
        answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        gone = weakref.ref(answer)
        del answer
        assert gone() is None
    finally:
        gc.enable()


def test_no_header_ends_its_line() -> None:
    """What follows would be read as a header of its own."""
    assert lines_of({"a": "b"}) == "a: b\r\n"
    for value in ("b\r\nx: y", "b\n", "\rb"):
        with pytest.raises(ValueError, match="line break"):
            lines_of({"a": value})


# -- signatures


def signature(headers: dict[str, str]) -> str:
    """The last part of the header."""
    return headers["authorization"].rpartition("=")[2]


def test_signatures_are_those_of_the_documentation() -> None:
    """S3 API, "Examples: Signature Calculations": GET bucket lifecycle, and a listing."""
    signer = Signer("examplebucket.s3.amazonaws.com", "us-east-1")
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    moment = 1369353600  # 2013-05-24T00:00:00Z

    lifecycle = signer.sign("GET", "/", keys, query="lifecycle=", now_s=moment)
    listing = signer.sign("GET", "/", keys, query="max-keys=2&prefix=J", now_s=moment)

    assert signature(lifecycle) == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    assert signature(listing) == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"


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

        ours = signer.sign("GET", "/bucket/a%20b/%C3%BC", Keys("KEY", secret, token), now_s=seconds)

        assert signature(ours) == request.headers["Authorization"].rpartition("=")[2]
