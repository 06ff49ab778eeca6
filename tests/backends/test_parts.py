"""Listings in parts, and deletions of few and many."""

from __future__ import annotations

import functools
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from support.faultproxy import Delay, FaultProxy, Reset, Rewrite, Rule, Status, on
from support.network import raw_server
from support.servers import S3Server, keys, make_bucket, put, put_many

from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.config.settings import S3Connection
from s32s.core.errors import StoreError, Unreachable, Unsupported
from s32s.core.location import S3Path
from s32s.core.rules import EVERYTHING
from s32s.stores.objects.prefix import ManifestCache, Prefix


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, moto: S3Server) -> None:
    """Those of the servers, which all have the same."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)


def backend_of(url: str, bucket: str, prefix: str = "p") -> S3Backend:
    """A place by a service of its own."""
    return S3Backend(S3Service(S3Connection(endpoint_url=url, region="us-east-1", retries=2)), S3Path(bucket, prefix))


def listed(pages: Iterator[object]) -> list[object]:
    """All objects, in their order."""
    return sorted(one for page in pages for one in page)  # type: ignore[attr-defined,type-var]


NAMES = sorted({*(f"d/{number:04}" for number in range(2100)), "a b", "a+b", "d-x", "d.x", "ü", "日本", "z"})


@functools.cache  # it takes seconds, and nobody changes it
def _fill(server: S3Server) -> str:
    bucket = f"three-pages-{uuid.uuid4().hex}"
    make_bucket(server, bucket)
    put_many(server, bucket, [f"p/{name}" for name in NAMES])
    put(server, bucket, "q", b"beside")
    return bucket


@pytest.fixture
def filled(server: S3Server) -> str:
    """A bucket of three pages, only to be read."""
    return _fill(server)


def test_parts_show_what_pages_show(server: S3Server, filled: str, proxy: FaultProxy) -> None:
    """Wherever the bounds are, there or not, and however many."""
    whole = listed(backend_of(server.endpoint_url, filled).list(""))
    assert len(whole) == len(NAMES)
    rng = random.Random(3)
    for bounds in (
        ["d/0900", "d/1800"],
        ["0"],
        ["zz"],
        ["a", "d/0000", "d/0000x", "d/2099", "日本", "日本x"],
        sorted(rng.sample(NAMES, 10)),
        [],
    ):
        assert listed(backend_of(server.endpoint_url, filled).list_parts(bounds)) == whole

    list(backend_of(proxy.endpoint_url, filled).list_parts([NAMES[900], NAMES[1800]]))
    assert proxy.count(on(listing=True)) == 3


@pytest.mark.usually("rclone")  # what is asked for is counted; a page takes moto ten times as long
@pytest.mark.parametrize(("quick_s", "most"), [(60.0, 41), (0.0, 5)])
def test_of_many_pages_the_first_one_tells_how_many_a_server_is_asked_for(
    filled: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, quick_s: float, most: int
) -> None:
    """A quick server gets all at once, one that goes through all its keys for each page a few."""
    monkeypatch.setattr("s32s.backends.s3.pages._QUICK_S", quick_s)
    backend = backend_of(proxy.endpoint_url, filled)
    pause = Delay(60)
    first, *rest = sorted(random.Random(3).sample(NAMES, 40))
    proxy.add(Rule(on(listing=True), pause, after=1))
    found: list[object] = []
    reading = threading.Thread(target=lambda: found.extend(listed(backend.list_parts([first, *rest]))))

    reading.start()
    try:
        deadline = time.monotonic() + 30
        while proxy.count(on(listing=True)) < most and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # no more come

        assert proxy.count(on(listing=True)) == most
    finally:
        pause.release()
        reading.join()
    assert found == listed(backend.list(""))


@pytest.mark.parametrize("fault", [Status(503, "SlowDown"), Reset(at_byte=500)])
def test_a_part_that_fails_is_asked_for_again(filled: str, proxy: FaultProxy, fault: object) -> None:
    """The others are not."""
    rule = proxy.add(Rule(on(listing=True), fault, times=1))  # type: ignore[arg-type] # of the parameters

    found = listed(backend_of(proxy.endpoint_url, filled).list_parts([NAMES[900], NAMES[1800]]))

    assert rule.fired
    assert len(found) == len(NAMES)
    assert proxy.count(on(listing=True)) == 4


def test_a_part_that_cannot_be_had_is_an_error(filled: str, proxy: FaultProxy) -> None:
    """No key is left out without a word."""
    proxy.add(Rule(on(listing=True), Status(500, "InternalError"), after=1))

    with pytest.raises(Unreachable):
        list(backend_of(proxy.endpoint_url, filled).list_parts([NAMES[900], NAMES[1800]]))


def page(*names: str, more: bool = False) -> bytes:
    """A page of a listing, as the whole answer."""
    contents = "".join(f"<Contents><Key>p/{name}</Key><Size>1</Size></Contents>" for name in names)
    token = "<NextContinuationToken>t</NextContinuationToken>" if more else ""
    body = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda head: iter([page("a", "b", "c", "d")]), id="start-after means nothing"),
        pytest.param(lambda head: iter([page("c", "d") if "after" in head else page("b", "a")]), id="in another order"),
    ],
)
def test_a_server_with_an_order_of_its_own_is_asked_page_by_page(answer: Callable[[str], Iterator[bytes]]) -> None:
    """From then on; and nothing is listed twice or left out."""
    with raw_server(answer) as server:
        backend = backend_of(server.url, "bucket")
        with pytest.raises(Unsupported):
            list(backend.list_parts(["b"]))
        list(backend.list_parts(["b"]))

    assert len([head for head in server.heads if "start-after" not in head]) == 2
    assert len([head for head in server.heads if "start-after" in head]) <= 1


def test_a_prefix_remembers_the_bounds_of_its_listing(server: S3Server, filled: str, proxy: FaultProxy) -> None:
    """The next run asks for all pages at the same time, and needs no more requests for it."""
    kept: dict[str, list[str]] = {}
    cache = ManifestCache(
        bounds=lambda source: kept.get(source, []), save_bounds=lambda source, keys: kept.update({source: list(keys)})
    )

    def prefix() -> Prefix:
        return Prefix(backend_of(proxy.endpoint_url, filled), rules=EVERYTHING, cache=cache)

    first = prefix().list_objects()
    assert not any("start-after" in request.query for request in proxy.requests)
    (bounds,) = kept.values()
    assert bounds == [NAMES[990], NAMES[1980]]
    before = len(proxy.requests)
    second = prefix().list_objects()
    asked = [request.query.get("start-after", "") for request in proxy.requests[before:]]

    assert second.tree == first.tree
    assert sorted(asked) == ["", f"p/{NAMES[990]}", f"p/{NAMES[1980]}"]


# -- deletions

ODD = ["a&b", "a<b>c", "a'b\"c", "ü", "日本", "a\tb", "a b+c", "x]]>y"]


@pytest.mark.parametrize("count", [0, 1, 8, 9, 1001])
def test_as_many_are_deleted_as_are_named(server: S3Server, bucket: str, count: int) -> None:
    """A few one by one, and a thousand a request; what is not there is no error."""
    names = [f"k{number:04}" for number in range(count)]
    put_many(server, bucket, [f"p/{name}" for name in [*names, "stays"]])

    assert backend_of(server.endpoint_url, bucket).delete([*names, *["none"][:count]]) == {}

    assert set(keys(server, bucket)) == {"p/stays"}


def test_keys_of_every_kind_are_deleted(server: S3Server, bucket: str) -> None:
    """Also those that XML has other words for, few of them and many."""
    server.needs("keys of any kind")
    for extra in (0, 10):
        names = [*ODD, "a\rb", "a\x01b", *(f"k{number}" for number in range(extra))]
        backend = backend_of(server.endpoint_url, bucket)
        for name in names:
            backend.put(name, lambda: iter([b"x"]), size=1)
        assert backend.delete(names) == {}
        assert list(backend.list("")) == [[]]


def test_a_refused_deletion_is_told(bucket: str, proxy: FaultProxy) -> None:
    """Of a few each by itself, of many all of them; with what S3 says of the reason."""
    denied = Status(403, "AccessDenied", "Access Denied because object protected by object lock.")
    proxy.add(Rule(lambda request: request.method in ("DELETE", "POST"), denied))
    backend = backend_of(proxy.endpoint_url, bucket)
    for wanted in (["a", "b"], [f"k{number}" for number in range(20)]):
        failed = backend.delete(wanted)

        assert failed.keys() == set(wanted)
        assert all("denies access" in why and "protected by object lock" in why for why in failed.values())


@pytest.mark.parametrize(
    ("status", "code"), [(409, "FileImmutable"), (400, "InvalidRequest"), (451, "UnavailableForLegalReasons")]
)
def test_whatever_a_server_says_of_one_the_others_go(bucket: str, proxy: FaultProxy, status: int, code: str) -> None:
    """Servers refuse a locked object in several words."""
    proxy.add(Rule(on("DELETE", "p/locked"), Status(status, code, "it is under retention")))
    backend = backend_of(proxy.endpoint_url, bucket)
    for key in ("locked", "free"):
        backend.put(key, lambda: iter([b"x"]), size=1)

    failed = backend.delete(["locked", "free"])

    assert failed.keys() == {"locked"}
    assert [one.key for page in backend.list("") for one in page] == ["locked"]


def test_a_part_that_breaks_off_is_noticed(filled: str, proxy: FaultProxy) -> None:
    """It says that nothing follows, and another part shows that something does."""
    body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    empty = Rewrite(lambda _status, headers, _body: (200, headers, body))
    rule = proxy.add(Rule(lambda asked: asked.query.get("start-after") == f"p/{NAMES[900]}", empty))

    with pytest.raises(Unsupported):
        list(backend_of(proxy.endpoint_url, filled).list_parts([NAMES[900], NAMES[1800]]))
    assert rule.fired == 1
    prefix = Prefix(
        backend_of(proxy.endpoint_url, filled),
        rules=EVERYTHING,
        cache=ManifestCache(bounds=lambda source: [NAMES[900], NAMES[1800]]),
    )
    assert len(prefix.list_objects().tree) == len(NAMES)


def test_what_is_still_there_is_told_with_its_reason() -> None:
    """As the server gives it for each."""
    error = "<Error><Key>p/k3</Key><Code>AccessDenied</Code><Message>locked</Message></Error>"
    body = f"<DeleteResult>{error}</DeleteResult>"
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    with raw_server(lambda head: iter([answer])) as server:
        failed = backend_of(server.url, "bucket").delete([f"k{number}" for number in range(20)])

    assert failed == {"k3": "AccessDenied locked"}


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"<DeleteResult>", b"\xff"])
def test_an_answer_that_is_none_proves_no_deletion(body: bytes) -> None:
    """It is refused."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with raw_server(lambda head: iter([answer])) as server, pytest.raises(StoreError, match="not an answer of S3"):
        backend_of(server.url, "bucket").delete([f"k{number}" for number in range(20)])
