"""Every server in turn as `server`; each is started once a run, and one that is not installed is skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import pytest
from support.anywhere import keep_versions
from support.foreign import STARTERS, NotInstalledError
from support.machine import Loop
from support.servers import S3Server


class Servers:
    """The servers of other makers that run; each is started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._known: dict[str, S3Server | NotInstalledError] = {}

    def get(self, name: str) -> S3Server:
        """Return the running server, or skip the test."""
        if name not in self._known:
            try:
                self._known[name] = self._stack.enter_context(STARTERS[name]())
            except NotInstalledError as exc:
                self._known[name] = exc
        found = self._known[name]
        if isinstance(found, NotInstalledError):
            pytest.skip(f"{name}: {found}")
        return found


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """All of them end with the run."""
    with ExitStack() as stack:
        yield Servers(stack)


# Session scope, so that pytest runs all tests on one server before it comes to the next one.
PARAMS = ["foreign"] if os.environ.get("S32S_TEST_S3") else [*STARTERS, "moto", "rclone"]


@pytest.fixture(scope="session", params=PARAMS)
def server(request: pytest.FixtureRequest, servers: Servers) -> S3Server:
    """Each server of another maker, and the two of ours for comparison; or the one that S32S_TEST_S3 names."""
    if request.param in STARTERS:
        return servers.get(request.param)
    return cast("S3Server", request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def localstack(servers: Servers) -> S3Server:
    """LocalStack alone."""
    return servers.get("localstack")


@pytest.fixture(params=["plain", "packed"])
def layout(request: pytest.FixtureRequest) -> str:
    """Either."""
    return str(request.param)


@pytest.fixture(params=["unversioned", "versioned"])
def anywhere(request: pytest.FixtureRequest, loop: Loop, layout: str) -> Loop:
    """A loop in a bucket without versions, and in one with them, in both layouts."""
    loop.write_map(layout=layout)
    if request.param == "versioned":
        keep_versions(loop)
    return loop
