"""A command that was forked is the same as one that was started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import forks
from .forks import COMMAND, Fork, Process
from .machine import Machine
from .servers import S3Server


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A computer that knows no server."""
    return Machine(tmp_path / "here", S3Server("none", "http://127.0.0.1:1"))


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(params=[True, False], ids=["forked", "for real"])
def process(
    request: pytest.FixtureRequest, machine: Machine, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Process]:
    """A command that waits for an answer until it is ended."""
    monkeypatch.setattr(forks, "_is_used", request.param)
    with waiting(machine, silent) as running:
        assert isinstance(running, Fork) is request.param
        yield running


@contextmanager
def waiting(machine: Machine, server: socket.socket) -> Iterator[Process]:
    """A command that waits for an answer of `server`."""
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with machine.start("dryrun", ".", "s3://bucket/to", "--endpoint-url", url) as running:
        try:
            connection, _ = server.accept()
            with connection:
                yield running
        finally:
            running.kill()


@pytest.mark.parametrize(
    "words",
    [("--version",), ("nonsense",), ("env",), ("sync", "--help"), ("status",), ("dryrun", ".", "beside")],
    ids=" ".join,
)
def test_a_fork_says_what_a_new_process_says(
    words: tuple[str, ...], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both streams, with the same status, in the same directory, with the same variables."""
    forked = machine.run(*words, environment={"S32S_MAX_DELETE": "7"})
    monkeypatch.setattr(forks, "_is_used", False)

    assert machine.run(*words, environment={"S32S_MAX_DELETE": "7"}) == forked
    assert forked.out or forked.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_it_and_its_status_comes_back(process: Process, number: int) -> None:
    """As from the shell: by its number."""
    os.kill(process.pid, number)
    process.communicate(timeout=30)

    assert process.returncode == process.wait() == (-9 if number == signal.SIGKILL else 128 + number)


def test_one_that_runs_can_be_waited_for_twice(process: Process) -> None:
    """A timeout takes nothing away."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.05)
    process.terminate()

    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.startswith("s32s: ")


def pipes(process: Process) -> set[str]:
    """The pipes and sockets that a process has open."""
    place = Path(f"/proc/{process.pid}/fd")
    return {link for file in place.iterdir() if (link := os.readlink(file)).startswith(("pipe", "socket"))}


def test_it_holds_no_descriptor_of_another(machine: Machine, silent: socket.socket) -> None:
    """A pipe would otherwise stay open for as long as any command runs."""
    with waiting(machine, silent) as first, waiting(machine, silent) as second:
        pipes = [
            {
                link
                for name in os.listdir(where)
                if (link := os.readlink(f"{where}/{name}")).startswith(("pipe", "sock"))
            }
            for where in (f"/proc/{process.pid}/fd" for process in (first, second))
        ]

    assert isinstance(second, Fork)
    assert pipes[0]
    assert not pipes[0] & pipes[1]


@pytest.mark.parametrize("name", ["PYTHONUTF8", "LC_ALL", "LANG", "TZ", "LD_PRELOAD"])
def test_what_is_read_at_the_start_starts_it_for_real(name: str, machine: Machine) -> None:
    """A fork comes too late for it, and for another program."""
    environment = machine.environment()
    with forks.start([*COMMAND, "--version"], cwd=machine.root, env={**environment, name: "C"}) as process:
        process.communicate()
    with forks.start(["true"], cwd=machine.root, env=environment) as other:
        other.communicate()

    assert not isinstance(process, Fork)
    assert not isinstance(other, Fork)
