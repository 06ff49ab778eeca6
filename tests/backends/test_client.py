"""Every request of every client: whom it trusts, where it goes, and how much it takes from a server."""

from __future__ import annotations

import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.network import forward_proxy, make_certificate, raw_server, tcp_front, tls_front
from support.servers import S3Server, get, make_bucket, put

from s32s.backends.retry import RetryPolicy
from s32s.backends.s3.client import Call, Client
from s32s.backends.s3.http import Http
from s32s.backends.s3.network import tls_context
from s32s.backends.s3.objects import CopySource
from s32s.backends.s3.service import S3Service
from s32s.backends.s3.sigv4 import Keys
from s32s.backends.s3.window import Window
from s32s.config.settings import S3Connection
from s32s.core.errors import AccessDenied, ConfigError, S32sError, ServerDown, SourceChanged, StoreError, Unreachable

XML = "<?xml version='1.0'?><ListBucketResult><IsTruncated>{more}</IsTruncated>{token}{keys}</ListBucketResult>"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, moto: S3Server) -> None:
    """With a session token, as instance roles have one; moto checks none of it."""
    for name, value in {**moto.environment(), "AWS_SESSION_TOKEN": "secret-token"}.items():
        monkeypatch.setenv(name, value)
    for name in (
        "AWS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "HTTP_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def made(moto: S3Server) -> str:
    """A new bucket on moto."""
    name = f"test-{uuid.uuid4().hex}"
    make_bucket(moto, name)
    return name


def engine(url: str | None, **settings: Any) -> S3Service:
    return S3Service(S3Connection(endpoint_url=url, **{"retries": 0, **settings}))


def answered(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def delete(one: S3Service) -> None:
    """What is refused is told of each key."""
    if failed := one.delete("bkt", [f"k{number}" for number in range(9)]):
        raise AccessDenied(failed["k0"])


VERBS: dict[str, Callable[[S3Service], object]] = {
    "get": lambda one: list(one.get("bkt", "k").chunks),
    "get a large one": lambda one: list(one.get("bkt", "k", is_large=True).chunks),
    "get a version": lambda one: list(one.get("bkt", "k", version="v").chunks),
    "get a small one": lambda one: one.get_small("bkt", "k", limit=1000),
    "head": lambda one: one.about("bkt", "k", tags=True),
    "list": lambda one: list(one.pages("bkt", "p")),
    "put": lambda one: one.put("bkt", "k", lambda: iter([b"x"]), size=1),
    "put in parts": lambda one: one.put("bkt", "k", lambda: iter([bytes(9 << 20)]), size=9 << 20),
    "put on a condition": lambda one: one.put_if("bkt", "k", b"x", etag="e"),
    "delete": delete,
    "copy": lambda one: one.copy(CopySource("bkt", "k", 1, "e"), "bkt", "l", progress=lambda size: None),
    "buckets": lambda one: one.buckets(),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_a_redirect_to_another_host_is_never_followed(verb: str, status: str) -> None:
    """It is told with the host's name, and that host hears nothing."""
    with raw_server(lambda head: iter([answered("200 OK", b"x")])) as other:
        redirect = answered(status, b"", f"Location: {other.url}/b/k")
        with raw_server(lambda head: iter([redirect])) as origin, pytest.raises(StoreError, match="redirect") as caught:
            VERBS[verb](engine(origin.url))

    assert other.heads == []
    assert origin.heads
    assert "not followed" in str(caught.value)


def test_a_redirect_to_the_region_says_which_one() -> None:
    """AWS names it in a header."""
    redirect = answered(
        "301 Moved", b"<Error><Code>PermanentRedirect</Code></Error>", "x-amz-bucket-region: eu-south-1"
    )
    with raw_server(lambda head: iter([redirect])) as origin, pytest.raises(StoreError, match="eu-south-1"):
        engine(origin.url).get("b", "k")


def endless(head: bytes, piece: bytes = b"x" * 65536, limit: int = 400 << 20) -> Callable[[str], Iterator[bytes]]:
    """An answer that goes on until nobody takes more."""

    def answer(_: str) -> Iterator[bytes]:
        yield head
        for _ in range(limit // len(piece)):
            yield piece

    return answer


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("head", "buckets")])
@pytest.mark.parametrize("length", ["Content-Length: 100000000000", "Transfer-Encoding: chunked", "X: y"])
def test_of_an_error_no_more_is_read_than_tells_what_is_wrong(verb: str, length: str) -> None:
    """However long the server says it is, and whichever client asks."""
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    first = b"%x\r\n%s\r\n" % (len(body), body) if "chunked" in length else body
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n" if "chunked" in length else b"x" * 65536
    head = f"HTTP/1.1 403 Forbidden\r\n{length}\r\n\r\n".encode() + first

    with raw_server(endless(head, piece)) as server, pytest.raises(AccessDenied):
        VERBS[verb](engine(server.url))

    assert server.sent < 60 << 20  # what the kernel holds on both sides, for each of a few requests


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(endless(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), id="continue"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000), id="headers"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\nX: "), id="a header"),
        pytest.param(endless(CHUNKED, b"0" * 65536), id="chunk size"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"T: t\r\n" * 1000), id="trailer"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"), id="body"),
        pytest.param(lambda head: iter([b"\xff" * 1000]), id="garbage"),
        pytest.param(lambda head: iter([]), id="nothing"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["get a small one", "list", "put", "delete", "copy"])
def test_an_answer_without_end_ends(verb: str, answer: Callable[[str], Iterator[bytes]]) -> None:
    """In an error, after a bounded number of bytes."""
    with raw_server(answer) as server, pytest.raises((StoreError, Unreachable, SourceChanged)):
        VERBS[verb](engine(server.url))

    assert server.sent < 300 << 20


@pytest.mark.parametrize("what", ["head", "body"])
def test_an_answer_that_makes_no_progress_is_given_up(what: str, moto: S3Server) -> None:
    """A byte now and then keeps no request alive."""

    def drip(_: str) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n" + (b"\r\n" if what == "body" else b"X: ")
        for _ in range(600):
            yield b"H"
            time.sleep(0.05)

    policy = RetryPolicy(0)
    http = Http(tls=lambda: tls_context(None), trusted="", connect_timeout_s=5)
    with raw_server(drip) as server:
        client = Client(http, "b", f"{server.url}/b", "us-east-1", lambda: Keys("k", "s"), Window(policy.pace, most=1))
        began = time.monotonic()
        with pytest.raises(Unreachable, match="slowly"):
            client.send(Call("GET", "k", limit=1_000_000), read_timeout_s=1)

    assert time.monotonic() - began < 15


@pytest.mark.parametrize("is_in_turn", [True, False], ids=["tokens in turn", "ever new tokens"])
def test_a_listing_that_comes_round_again_ends(is_in_turn: bool) -> None:
    """By its tokens, or by its keys."""
    count = iter(range(10_000))

    def page(head: str) -> Iterator[bytes]:
        number = next(count)
        token = f"<NextContinuationToken>t{number % 2 if is_in_turn else number}</NextContinuationToken>"
        keys = "<Contents><Key>p/a</Key><Size>1</Size></Contents>"
        yield answered("200 OK", XML.format(more="true", token=token, keys=keys).encode())

    with raw_server(page) as server, pytest.raises(StoreError, match=r"breaks off|again"):
        list(engine(server.url).pages("b", "p"))

    assert next(count) < 20


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that no machine trusts by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def use_all(one: S3Service, bucket: str) -> None:
    """A request of each client."""
    data = bytes(range(256)) * 40_000
    one.put(bucket, "p/large", lambda: iter([data]), size=len(data))
    one.put(bucket, "p/k", lambda: iter([b"x"]), size=1)
    assert b"".join(one.get(bucket, "p/k").chunks) == b"x"
    assert b"".join(one.get(bucket, "p/large", is_large=True).chunks) == data
    assert one.get_small(bucket, "p/k", limit=10)[0] == b"x"
    assert {found.key for page in one.pages(bucket, "p") for found in page} == {"p/k", "p/large"}
    assert one.about(bucket, "p/k").size == 1
    assert one.delete(bucket, ["p/large", "p/k"]) == {}


@pytest.mark.parametrize("by", ["ca_bundle", "AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_one_setting_is_enough_for_a_private_authority(
    by: str, moto: S3Server, made: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For reads, writes, listings and deletions."""
    if by != "ca_bundle":
        monkeypatch.setenv(by, str(certificate))
    with tls_front(moto.endpoint_url, certificate) as url:
        use_all(engine(url, **({by: str(certificate)} if by == "ca_bundle" else {})), made)


@pytest.mark.parametrize("verb", VERBS)
def test_a_certificate_that_is_not_trusted_is_a_mistake_of_the_configuration(
    verb: str, moto: S3Server, certificate: Path
) -> None:
    """Not a fault that passes; the hint names the setting."""
    with tls_front(moto.endpoint_url, certificate) as url, pytest.raises(ConfigError, match="ca_bundle"):
        VERBS[verb](engine(url, retries=3))


def test_an_untrusted_certificate_says_by_what_it_was_checked(
    moto: S3Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, and what has named it: many machines set one of these variables for all programs."""
    other = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with tls_front(moto.endpoint_url, certificate) as url:
        with pytest.raises(ConfigError, match="it was checked by the authorities of the system"):
            engine(url).get("b", "k")
        monkeypatch.setenv("SSL_CERT_FILE", other)
        with pytest.raises(ConfigError, match=rf"it was checked by {other} \(SSL_CERT_FILE\)"):
            engine(url).get("b", "k")
        monkeypatch.setenv("AWS_CA_BUNDLE", other)
        with pytest.raises(ConfigError, match=rf"it was checked by {other} \(AWS_CA_BUNDLE\)"):
            engine(url).get("b", "k")
        with pytest.raises(ConfigError, match=rf"it was checked by {other} \(ca_bundle\)"):
            engine(url, ca_bundle=other).get("b", "k")


def test_a_file_of_authorities_that_is_missing_is_told(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        engine("https://127.0.0.1:1", ca_bundle=str(tmp_path / "nowhere.pem")).get("b", "k")


@pytest.mark.parametrize("verb", ["get", "put", "list", "delete"])
def test_https_to_a_plain_port_and_the_reverse_are_told(verb: str, moto: S3Server, certificate: Path) -> None:
    """In a sentence that says what to write."""
    with pytest.raises(ConfigError, match="does not speak TLS; write http://"):
        VERBS[verb](engine(moto.endpoint_url.replace("http:", "https:"), retries=3))
    said = answered("400 Bad Request", b"Client sent an HTTP request to an HTTPS server.\n")
    with raw_server(lambda head: iter([said])) as go, pytest.raises(ConfigError, match="speaks TLS; write https://"):
        VERBS[verb](engine(go.url))
    with raw_server(lambda head: iter([b"\x15\x03\x03\x00\x02\x02\x0a"])) as alert:
        with pytest.raises(ConfigError, match="speaks TLS; write https://"):
            VERBS[verb](engine(alert.url))


# -- where requests go


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("has_keys", [True, False], ids=["keys in the environment", "keys in a file"])
def test_the_variable_of_the_endpoint_is_honoured(
    name: str, has_keys: bool, moto: S3Server, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every client; the one for S3 goes before the other."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(name, moto.endpoint_url)
    if not has_keys:
        file = tmp_path / "credentials"
        file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(variable)

    use_all(engine(None), made)


def test_a_variable_that_holds_no_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "nas:9000")

    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL_S3"):
        engine(None).get("b", "k")


@pytest.mark.parametrize("verb", ["get", "get a small one", "list", "put", "put in parts", "head", "delete"])
def test_a_bucket_can_be_addressed_as_a_virtual_host(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name goes before the server's."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve(host.removeprefix("bkt.local."), *rest, **more)
    )
    with raw_server(lambda head: iter([answered("403 Forbidden")])) as server:
        url = server.url.replace("127.0.0.1", "local.127.0.0.1")
        with pytest.raises(S32sError):
            VERBS[verb](engine(url, addressing="virtual"))

    hosts = {
        line.partition(": ")[2] for head in server.heads for line in head.split("\r\n") if line[:5].lower() == "host:"
    }
    assert hosts == {f"bkt.{url.removeprefix('http://')}"}
    assert all(not head.split(" ")[1].startswith("/bkt/") for head in server.heads)


def test_requests_go_by_the_proxy(
    moto: S3Server, made: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain ones with their whole address, those by TLS in a tunnel, with the name and password of the proxy."""
    with forward_proxy() as proxy, tls_front(moto.endpoint_url, certificate) as url:
        named = proxy.url.replace("http://", "http://me:p%40ss@")
        monkeypatch.setenv("http_proxy", named)
        monkeypatch.setenv("https_proxy", named)
        use_all(engine(moto.endpoint_url), made)
        use_all(engine(url, ca_bundle=str(certificate)), made)

    # By address, as a thread that reads ahead may come late.
    tunnels = [head for head in proxy.heads if url.removeprefix("https://") in head.split(" ")[1]]
    plain = [head for head in proxy.heads if head not in tunnels]
    assert len(plain) >= 8
    assert all(head.split(" ")[1].startswith("http://") for head in plain)
    assert {head.split(" ")[0] for head in tunnels} == {"CONNECT"}
    assert all("proxy-authorization: Basic bWU6cEBzcw==" in head for head in proxy.heads)


@pytest.mark.parametrize("verb", ["get", "put", "list", "delete"])
def test_a_proxy_that_is_down_is_named(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only the server behind it, which may be well."""
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(ServerDown) as told:
        VERBS[verb](engine("http://nas:9000"))

    assert "S3 at nas:9000, by way of the proxy 127.0.0.1:1, could not be reached: connection refused" in str(told)
    assert "secret" not in str(told)


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "[::1]:9000", "10.0.0.1"])
def test_an_address_of_numbers_has_no_virtual_hosts(host: str) -> None:
    """A bucket cannot be put before it."""
    with pytest.raises(ConfigError, match='host name in endpoint_url, or addressing = "path"'):
        engine(f"http://{host}", addressing="virtual").get("b", "k")


def test_what_no_proxy_names_goes_directly(moto: S3Server, made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a proxy is set."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    use_all(engine(moto.endpoint_url), made)


# -- who waits, and how long


def test_somebody_who_watches_is_told_at_once_that_nobody_listens() -> None:
    """No retry would change it soon."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for host in (url, "http://nowhere.invalid:9000"):
        one = engine(host, retries=8)
        one.attend()
        began = time.monotonic()
        with pytest.raises(ServerDown):
            one.get("b", "k")
        assert time.monotonic() - began < 5


def test_who_waits_says_so() -> None:
    """Why, and how often it was tried."""
    said: list[str] = []
    with raw_server(lambda head: iter([answered("503 Slow", b"<Error><Code>SlowDown</Code></Error>")])) as busy:
        one = engine(busy.url, retries=1)
        one.listen(said.append)
        with pytest.raises(Unreachable, match="SlowDown"):
            one.put("b", "k", lambda: iter([b"x"]), size=1)

    assert len(busy.heads) == 2
    assert len(said) == 1
    assert said[0].endswith("trying again 1/1")


# -- bodies


def test_a_stream_that_breaks_off_goes_on(moto: S3Server, made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where it was, without a byte twice."""
    data = bytes(range(256)) * 20_000
    etag = put(moto, made, "k", data)
    cuts = iter([100_000, 3_000_000, len(data)])

    def answer(head: str) -> Iterator[bytes]:
        yield f'HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\nETag: "{etag}"\r\n\r\n'.encode()
        yield data[: next(cuts)]

    with raw_server(answer) as server:
        one = engine(server.url, retries=3)
        assert b"".join(one.get(made, "k").chunks) == data

    assert len(server.heads) == 3


def test_headers_metadata_and_tags_of_any_text_arrive(moto: S3Server, made: str) -> None:
    """A space in a tag stays one."""
    from s32s.backends.base import ObjectMeta

    about = ObjectMeta(
        size=1,
        etag=None,
        has_md5=True,
        headers={"Content-Type": "text/plain", "Cache-Control": "max-age=60,  public"},
        metadata={"a": "b  c", "umlaut": "\xfc"},
        tags={"menu card": "a+b =c/:@"},
    )
    one = engine(moto.endpoint_url)

    one.put(made, "k", lambda: iter([b"x"]), size=1, about=about)

    found = one.about(made, "k", tags=True)
    assert dict(found.tags) == dict(about.tags)
    assert found.headers["Content-Type"] == "text/plain"
    assert get(moto, made, "k") == b"x"


def test_connections_are_used_again(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one for every request."""
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    name = f"test-{uuid.uuid4().hex}"
    make_bucket(rclone, name)
    with tcp_front(rclone.endpoint_url) as front:
        one = engine(front.url)
        for number in range(10):
            one.put(name, f"k{number}", lambda: iter([b"x"]), size=1)

    assert front.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answered("200 OK"), id="no ETag"),
        pytest.param(answered("200 OK", b"<html>hello</html>"), id="a web page"),
        pytest.param(answered("204 No Content"), id="no content"),
        pytest.param(answered("200 OK", b"", f"ETag: {'x' * 1000}"), id="an endless ETag"),
    ],
)
@pytest.mark.parametrize("verb", ["put", "put in parts"])
def test_an_object_is_stored_only_when_s3_says_so(verb: str, answer: bytes) -> None:
    """By its ETag; else nobody knows what is there."""
    upload = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    with raw_server(lambda head: iter([answered("200 OK", upload) if "uploads=" in head else answer])) as server:
        with pytest.raises((StoreError, Unreachable)):
            VERBS[verb](engine(server.url))


def test_a_completion_that_names_nothing_is_no_object() -> None:
    """The object that was there before has as many parts and bytes: it is not taken for the new one."""
    upload = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"

    def answer(head: str) -> Iterator[bytes]:
        if head.startswith("HEAD"):
            yield f'HTTP/1.1 200 OK\r\nContent-Length: {9 << 20}\r\nETag: "{"0" * 32}-2"\r\n\r\n'.encode()
        elif "uploads=" in head:
            yield answered("200 OK", upload)
        else:
            yield answered("200 OK", b"", f'ETag: "{"1" * 32}"')

    with raw_server(answer) as server, pytest.raises(Unreachable, match="did not assemble"):
        VERBS["put in parts"](engine(server.url))
