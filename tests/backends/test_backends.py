"""Every backend keeps the one contract; see `s32s.testing`."""

from __future__ import annotations

import threading
import uuid

import pytest
from support.servers import S3Server, make_bucket

from s32s.backends.base import Backend, Replace, UnfinishedUploads
from s32s.backends.memory import MemoryBackend
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.config.settings import S3Connection
from s32s.core.errors import PreconditionFailed
from s32s.core.location import S3Path
from s32s.testing import BackendContract, put


class TestMemory(BackendContract):
    """The one in memory."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A dictionary of its own."""
        return MemoryBackend()

    def test_one_of_many_masters_wins(self) -> None:
        """A condition and its write are one step."""
        backend = MemoryBackend()
        etag = put(backend, "k", b"0")
        won: list[int] = []

        def race(number: int) -> None:
            try:
                put(backend, "k", b"%d" % number, Replace(etag))
            except PreconditionFailed:
                return
            won.append(number)

        threads = [threading.Thread(target=race, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(won) == 1


@pytest.fixture
def service(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Service:
    """A service by the environment's credentials."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return S3Service(S3Connection(endpoint_url=server.endpoint_url, region=server.region, retries=1))


@pytest.fixture
def bucket(server: S3Server) -> str:
    """A bucket of its own."""
    name = f"backend-{uuid.uuid4().hex[:16]}"
    make_bucket(server, name)
    return name


class S3Contract(BackendContract):
    """What both have to keep."""

    @pytest.fixture
    def keeps_conditions(self, server: S3Server) -> bool:
        """The version of rclone that is pinned knows none."""
        return server.name != "rclone"


class TestS3Prefix(S3Contract):
    """A prefix of a bucket."""

    @pytest.fixture
    def backend(self, service: S3Service, bucket: str) -> Backend:
        """A prefix beside which others lie."""
        put(S3Backend(service, S3Path(bucket, "")), "in/other", b"x")
        return S3Backend(service, S3Path(bucket, "in/here"))

    def test_it_stays_in_its_prefix(self, backend: Backend, service: S3Service, bucket: str) -> None:
        """Keys are relative to it, in listings and deletions."""
        put(backend, "other", b"mine")
        backend.delete(["other"])

        assert [one.key for page in S3Backend(service, S3Path(bucket, "in")).list("") for one in page] == ["other"]

    def test_another_service_cannot_copy(self, backend: Backend, server: S3Server) -> None:
        """Its credentials may not read there."""
        other = S3Backend(S3Service(S3Connection(endpoint_url=server.endpoint_url)), S3Path("b", "p"))

        assert isinstance(backend, S3Backend)
        assert not backend.copies_from(other)

    def test_uploads_can_be_aborted(self, backend: Backend) -> None:
        """Where there are none, too."""
        assert isinstance(backend, UnfinishedUploads)
        backend.abort_uploads()
        backend.abort_uploads(keys=["k"])


class TestS3Bucket(S3Contract):
    """A whole bucket, whose keys have no prefix."""

    @pytest.fixture
    def backend(self, service: S3Service, bucket: str) -> Backend:
        """An empty bucket."""
        return S3Backend(service, S3Path(bucket, ""))
