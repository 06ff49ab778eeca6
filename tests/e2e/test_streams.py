"""Output that cannot be written, or not as it is, stops no work."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from support.machine import Loop, Machine
from support.servers import S3Server, keys
from support.trees import make_tree, snapshot

NAMES = {"a.txt": b"a", "größe/日本.txt": b"b"}
LEGACY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """One server will do."""
    return moto


@pytest.fixture
def pushed(loop: Loop) -> Loop:
    """A master that has pushed names beyond ASCII, and a slave that has the maps and nothing else."""
    make_tree(loop.source, NAMES)
    loop.push()
    loop.slave.run("maps", "update")
    return loop


def shell(machine: Machine, rest: str, **environment: str) -> tuple[int, bytes]:
    """Run `s32s REST` by a shell; its status, and what arrived on the two streams that are left open."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {rest}', "sh", *machine.command()],
        env=machine.environment() | environment,
        cwd=machine.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("where", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>&1"])
@pytest.mark.parametrize("options", ["", "--json", "--log-format text"])
def test_a_sync_is_done_wherever_its_words_go(pushed: Loop, options: str, where: str) -> None:
    """Streams that are closed or full: the files arrive, and the status is that of the work."""
    status, said = shell(pushed.slave, f"sync {options} {where}")

    assert (status, snapshot(pushed.target)) == (0, snapshot(pushed.source)), said
    assert b"Traceback" not in said
    assert b"unexpected" not in said


def test_a_push_is_done_without_streams(loop: Loop) -> None:
    """No word for people ends up in a file or a request."""
    make_tree(loop.source, NAMES)

    status, _ = shell(loop.master, "sync <&- >&- 2>&-")

    assert status == 0
    assert len([key for key in keys(loop.server, loop.bucket, "data/web/") if "/.s32s/" not in key]) == len(NAMES)


@pytest.mark.parametrize("command", ["dryrun", "dryrun --json", "status", "status --json", "maps list", "--help"])
def test_an_answer_that_is_lost_is_an_error(pushed: Loop, command: str) -> None:
    """Status 1 and a sentence; there is nothing else that such a command does."""
    status, said = shell(pushed.slave, f"{command} >/dev/full")

    assert status == 1
    assert said.splitlines()[-1] == b"s32s: standard output could not be written: No space left on device"


def test_a_reader_that_has_gone_is_told_nothing(pushed: Loop) -> None:
    """The status of a command that SIGPIPE ended, as for other programs."""
    here, there = socket.socketpair()
    there.close()

    ended = subprocess.run(
        pushed.slave.command("maps", "list"),
        env=pushed.slave.environment(),
        stdout=here.fileno(),
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )

    here.close()
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        pytest.param({"PYTHONIOENCODING": "ascii"}, rb"gr\xf6\xdfe/\u65e5\u672c.txt", id="ASCII"),
        pytest.param({"PYTHONIOENCODING": "latin-1"}, b"gr\xf6\xdfe/" + rb"\u65e5\u672c.txt", id="Latin-1"),
        pytest.param(LEGACY, rb"gr\xf6\xdfe/\u65e5\u672c.txt", id="the locale C, and Python told to obey it"),
    ],
)
def test_what_cannot_be_shown_is_shown_as_an_escape(
    pushed: Loop, environment: dict[str, str], shown: bytes, tmp_path: Path
) -> None:
    """On the stream; the files get their names, and the report is UTF-8."""
    status, said = shell(pushed.slave, "dryrun", **environment)
    synced, more = shell(pushed.slave, f"sync --report {tmp_path}/report", **environment)

    assert (status, synced) == (0, 0), said + more
    assert shown in said
    assert snapshot(pushed.target) == snapshot(pushed.source)
    assert sorted(os.listdir(os.fsencode(pushed.target))) == [b"a.txt", "größe".encode()]
    assert (tmp_path / "report/WEB/new.txt").read_text("utf-8").splitlines() == list(NAMES)
