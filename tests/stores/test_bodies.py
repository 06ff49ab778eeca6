"""Large bodies: read in ranges, as one where a server has none, and of one object only."""

from __future__ import annotations

import random

import pytest
from support.faultproxy import FaultProxy, Reset, Rule
from support.servers import S3Server, put

from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.downloads import RANGE
from s32s.backends.s3.service import S3Service
from s32s.config.settings import S3Connection
from s32s.core.errors import SourceChanged
from s32s.core.item import Item
from s32s.core.location import S3Path
from s32s.stores.objects.bodies import ObjectBody


@pytest.fixture(autouse=True)
def _credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def body(server: S3Server, bucket: str, size: int, *, endpoint_url: str, etag: str | None = None) -> ObjectBody:
    """The body of the object `large`, by an engine of its own."""
    service = S3Service(S3Connection(endpoint_url=endpoint_url, region=server.region))
    return ObjectBody(S3Backend(service, S3Path(bucket, "p")), Item("large", size=size, etag=etag))


@pytest.mark.parametrize("size", [RANGE + 1, 2 * RANGE, 3 * RANGE - 1])
def test_a_large_object_arrives_in_order(server: S3Server, bucket: str, proxy: FaultProxy, size: int) -> None:
    """Every byte once, and in more than one request."""
    data = random.Random(size).randbytes(size)
    etag = put(server, bucket, "p/large", data)

    read = b"".join(body(server, bucket, size, endpoint_url=proxy.endpoint_url, etag=etag).chunks())

    assert read == data
    whole = [request for request in proxy.requests if request.method == "GET" and "range" not in request.headers]
    assert not whole


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_range_that_breaks_off_is_asked_for_again(
    server: S3Server, bucket: str, proxy: FaultProxy, after: int
) -> None:
    """By the library, which refuses ranges that come with a status 200; then the rest comes in one piece."""
    size = 5 * RANGE  # each of them long enough to break
    data = random.Random(after).randbytes(size)
    etag = put(server, bucket, "p/large", data)
    rule = proxy.add(Rule(lambda request: "range" in request.headers, Reset(at_byte=RANGE // 2), times=1, after=after))

    read = b"".join(body(server, bucket, size, endpoint_url=proxy.endpoint_url, etag=etag).chunks())

    assert rule.fired
    assert read == data


def test_an_object_that_is_replaced_meanwhile_is_noticed(server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    """No mixture of two objects."""
    size = 6 * RANGE
    etag = put(server, bucket, "p/large", bytes(size))
    chunks = body(server, bucket, size, endpoint_url=proxy.endpoint_url, etag=etag).chunks()
    assert next(chunks)[:1] == b"\0"
    put(server, bucket, "p/large", b"\1" * size)

    with pytest.raises(SourceChanged):
        list(chunks)
