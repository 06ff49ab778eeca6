"""The servers and the proxy as fixtures; every worker process of a parallel run starts its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.faultproxy import FaultProxy, fault_proxy
from support.machine import Loop, make_loop
from support.servers import S3Server, foreign_server, make_bucket, start_moto, start_rclone


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long` for the tests that take minutes."""
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--servers", action="store_true", help="also start Ceph, Swift and others, and run tests/servers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests and those of other servers out unless they are asked for."""
    if not config.getoption("--servers"):
        for item in items:
            if item.path.parent.name == "servers":
                item.add_marker(pytest.mark.skip(reason="starts other servers; ask for it with --servers"))
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; ask for it with --long"))


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


@pytest.fixture(scope="session")
def foreign() -> S3Server:
    """The server that S32S_TEST_S3 names."""
    return foreign_server(os.environ["S32S_TEST_S3"])


@pytest.fixture(params=["foreign"] if os.environ.get("S32S_TEST_S3") else ["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the two servers in turn, or only the one that S32S_TEST_S3 names."""
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


@pytest.fixture
def loop(tmp_path: Path, server: S3Server, bucket: str) -> Loop:
    """A master and a slave on `server`, each talking to it directly."""
    return make_loop(tmp_path, server, bucket)


@pytest.fixture
def proxied(tmp_path: Path, server: S3Server, bucket: str, proxy: FaultProxy) -> Loop:
    """A master and a slave whose requests all pass through `proxy`."""
    return make_loop(tmp_path, server, bucket, endpoint_url=proxy.endpoint_url)
