"""The servers and the proxy as fixtures; every worker process of a parallel run starts its own."""

from __future__ import annotations

import inspect
import os
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from support import forks
from support.faultproxy import FaultProxy, fault_proxy
from support.machine import Loop, make_loop
from support.servers import S3Server, foreign_server, make_bucket, start_moto, start_rclone

_BOTH = ("moto", "rclone")
#: Folders of tests that start the command, again and again.
_WHOLE = ("e2e", "crash", "attack")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long` for the tests that take minutes."""
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--servers", action="store_true", help="also start Ceph, Swift and others, and run tests/servers")


def pytest_configure(config: pytest.Config) -> None:
    """The long run starts each command for real; no example has a deadline, as the machine may be busy."""
    hypothesis.settings.register_profile("tests", deadline=None)
    hypothesis.settings.load_profile("tests")
    if config.getoption("--long"):
        forks.start_for_real()


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
        _share_servers(config, items)


def _share_servers(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each test of the whole command run with one of two servers, half of them with either; `--long` takes both.

    A test that asks what its server can do runs with both all the same, as it may skip one of them. One that is marked
    with `usually` runs with the server that it names, wherever it is.
    """
    kept, left = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        callspec = getattr(item, "callspec", None)
        name = callspec.params.get("server") if callspec is not None else None
        is_shared = name in _BOTH and item.path.parent.name in _WHOLE and not _asks(item)
        test = item.nodeid.replace(str(name), "")
        wanted = _BOTH[zlib.crc32(test.encode()) % 2] if is_shared else name
        if name in _BOTH and (usually := item.get_closest_marker("usually")):
            (wanted,) = usually.args
        (kept if name == wanted else left).append(item)
    items[:] = kept
    if left:
        config.hook.pytest_deselected(items=left)


def _asks(item: Any) -> bool:
    """Whether a test, or a fixture of it, asks what its server can do."""
    fixtures = [found.func for name in item.fixturenames for found in item._fixtureinfo.name2fixturedefs.get(name, ())]
    return any("server.needs(" in inspect.getsource(code) for code in (item.function, *fixtures))


@pytest.fixture
def in_forks() -> Iterator[None]:
    """Hundreds of commands, none of which is about its start: they are forks even with `--long`."""
    with forks.forked():
        yield


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


@pytest.fixture(params=["foreign"] if os.environ.get("S32S_TEST_S3") else _BOTH)
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
