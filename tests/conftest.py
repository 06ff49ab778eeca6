"""The servers and the proxy as fixtures; every worker process of a parallel run starts its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from support.faultproxy import FaultProxy, fault_proxy
from support.servers import S3Server, make_bucket, start_moto, start_rclone


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """A server that honours conditions and versions, and checks neither signatures nor checksums."""
    with start_moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that checks signatures and checksums, and ignores conditions."""
    with start_rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the two servers in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


@pytest.fixture
def bucket(server: S3Server) -> str:
    """A new and empty bucket on `server`."""
    name = f"test-{uuid.uuid4().hex}"
    make_bucket(server, name)
    return name


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    """A proxy before `server` that has no rules yet."""
    with fault_proxy(server.endpoint_url) as running:
        yield running
