"""Listings of versions: by S3, in memory, through wrappers, and where there are none."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import pytest
from support.servers import S3Server, make_bucket

from s32s.backends.base import Backend, ListedVersion, ListsVersions, PutRequest
from s32s.backends.below import Below
from s32s.backends.directory import DirectoryBackend
from s32s.backends.memory import MemoryBackend
from s32s.backends.own import Own
from s32s.backends.retry import RetryPolicy
from s32s.backends.retrying import Retrying
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.backends.wrappers import Counting, Fallback, Wrapper
from s32s.config.settings import S3Connection
from s32s.core.errors import StoreError, Unsupported
from s32s.core.location import S3Path
from s32s.testing import content, put


def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch, *, versioned: bool) -> S3Backend:
    """A place in a new bucket."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = f"test-{uuid.uuid4().hex}"
    make_bucket(server, bucket)
    if versioned:
        server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return S3Backend(S3Service(S3Connection(endpoint_url=server.endpoint_url, retries=0)), S3Path(bucket, "p"))


@pytest.fixture(params=["memory", "moto"])
def backend(request: pytest.FixtureRequest, moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A place that keeps versions."""
    return MemoryBackend(keeps_versions=True) if request.param == "memory" else s3(moto, monkeypatch, versioned=True)


def versions(backend: Backend, start: str = "") -> list[ListedVersion]:
    """All of some keys."""
    assert isinstance(backend, ListsVersions)
    return [one for page in backend.list_versions(start) for one in page]


def test_what_was_overwritten_and_deleted_is_listed_and_read(backend: Backend) -> None:
    """By the key's own name, the newest first; what only marks a deletion is not there."""
    for data in (b"1", b"22", b"333"):
        put(backend, "d/ä %+&", data)
    put(backend, "d/other", b"x")
    backend.delete(["d/ä %+&"])

    found = versions(backend, "d/ä")

    assert [(one.key, one.size) for one in found] == [("d/ä %+&", 3), ("d/ä %+&", 2), ("d/ä %+&", 1)]
    assert [content(backend, one.key, version=one.version) for one in found] == [b"333", b"22", b"1"]
    assert {one.key for one in versions(backend)} == {"d/ä %+&", "d/other"}
    assert versions(backend, "none") == []


def test_every_page_is_read(backend: Backend) -> None:
    """More versions than one answer of S3 names, of one key and of many."""
    for number in range(600):
        put(backend, "many", b"%d" % number)
    requests = [PutRequest(f"many/{number:04}", b"x") for number in range(600)]
    assert all(stored for _, stored in backend.put_many(iter(requests), concurrency=8))

    found = versions(backend, "many")

    assert len({(one.key, one.version) for one in found}) == len(found) == 1200


@pytest.mark.parametrize("wrap", [Wrapper, Counting, lambda inner: Retrying(inner, RetryPolicy(1))])
def test_wrappers_hand_it_on(wrap: type[Wrapper]) -> None:
    """As far as what they go around can do it."""
    inner = MemoryBackend(keeps_versions=True)
    put(inner, "p/k", b"1")
    put(inner, "p/k", b"2")

    assert len(versions(wrap(inner), "p/")) == 2
    assert [one.key for one in versions(Below(wrap(inner), "p"))] == ["k", "k"]
    assert len(versions(Fallback(MemoryBackend(), wrap(inner)), "p/")) == 2


def test_what_keeps_none_says_so(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And a bucket without versions names no version."""
    without: Sequence[Backend] = (
        MemoryBackend(),
        Wrapper(DirectoryBackend(str(tmp_path_factory.mktemp("nas")), "p")),
        Below(DirectoryBackend(str(tmp_path_factory.mktemp("nas")), "p"), "q"),
        s3(rclone, monkeypatch, versioned=False),
    )
    for backend in without:
        with pytest.raises(Unsupported):
            versions(backend)


def test_a_bucket_without_versions_names_none(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there has the name that S3 gives to what was stored without one."""
    backend = s3(moto, monkeypatch, versioned=False)
    put(backend, "k", b"1")
    put(backend, "k", b"2")

    assert [(one.key, one.version) for one in versions(backend)] == [("k", "null")]
    assert content(backend, "k", version="null") == b"2"


class Broken(MemoryBackend):
    """A backend of somebody's own that lists what is not a version."""

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        yield ["a"]  # type: ignore[list-item] # the mistake


def test_a_mistake_of_a_class_of_ones_own_is_told_with_its_name() -> None:
    """As with `list`."""
    with pytest.raises(StoreError, match=r"Broken: list_versions yields 'a', and not a ListedVersion"):
        versions(Own(Broken(), "Broken"))
