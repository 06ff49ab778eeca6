"""What is large: 100,000 files in one directory, a file of 6 GiB, twenty slaves on one target.

Times and memory are printed (run with `-s`, or `-rA`), and bounded generously: a broken order of growth fails, a busy
machine does not. `S32S_SCALE_FILES` and `S32S_SCALE_GIB` make a trial smaller. The temporary directory (`--basetemp`)
needs 20 GB for the large file.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.checks import left_overs
from support.machine import Loop, Machine, make_loop
from support.servers import S3Server, make_bucket, start_rclone
from support.trees import Entry, make_tree, snapshot

FILES = int(os.environ.get("S32S_SCALE_FILES", "100000"))
GIB = float(os.environ.get("S32S_SCALE_GIB", "6"))
SLAVES = 20
MIB = 1024 * 1024


@pytest.fixture
def large_loop(tmp_path: Path) -> Iterator[Loop]:
    """A loop on an rclone of its own; all of it goes at the end, since it is large."""
    served = tmp_path / "served"
    served.mkdir()
    with start_rclone(served) as server:
        bucket = f"scale-{uuid.uuid4().hex[:12]}"
        make_bucket(server, bucket)
        yield make_loop(tmp_path, server, bucket)
    for entry in tmp_path.iterdir():
        shutil.rmtree(entry, ignore_errors=True)


#: Starts a command from a small process, and writes its peak of memory (KiB) into a file: what a process is started
#: from counts in the peak of its own (getrusage(2)), and pytest grows to a gigabyte.
_SMALL = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:], check=False).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


def measured(machine: Machine, what: str, *arguments: str, timeout_s: float = 3600) -> tuple[float, int]:
    """Run a command to its good end; print and return seconds and peak memory in bytes."""
    began = time.monotonic()
    peak = machine.root / "peak"
    with (machine.root / "out").open("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _SMALL, str(peak), *machine.command(*arguments)],
            env=machine.environment(),
            cwd=machine.root,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watchdog = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            watchdog.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    seconds, memory = time.monotonic() - began, int(peak.read_text()) * 1024
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{what:44} {seconds:8.1f} s  {cpu:7.1f} s CPU  {memory / 1e6:6.0f} MB", flush=True)
    assert process.returncode == 0, text[-2000:]
    return seconds, memory


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_directory_of_many_files(large_loop: Loop) -> None:
    """Push, pull, nothing new, one changed: right, and within bounds of memory."""
    loop = large_loop
    for number in range(FILES):
        (loop.source / f"file-{number:07}").write_bytes(b"%d" % number)

    runs = [
        measured(loop.master, f"first push, {FILES:,} files", "sync"),
        measured(loop.slave, "first pull", "sync"),
        measured(loop.master, "push, nothing new", "sync"),
        measured(loop.slave, "pull, nothing new", "sync"),
    ]
    (loop.source / "file-0000001").write_bytes(b"changed")
    (loop.source / "file-0000002").unlink()
    (loop.source / "new").write_bytes(b"new")
    runs += [
        measured(loop.master, "push, one changed, one new, one gone", "sync"),
        measured(loop.slave, "pull, one changed, one new, one gone", "sync"),
        measured(loop.slave, "pull --verify", "sync", "--verify"),
    ]

    assert snapshot(loop.target) == snapshot(loop.source)
    assert left_overs(loop) == []
    assert max(memory for _, memory in runs) < 700e6
    assert runs[3][0] < 60, "a pull with nothing new"


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_file_of_6_gib(large_loop: Loop) -> None:
    """Above what one PUT takes (5 GiB): it travels in parts, with the same SHA-256, in bounded memory."""
    loop = large_loop
    block, wanted = bytearray(random.Random(6).randbytes(MIB)), hashlib.sha256()
    with (loop.source / "large").open("wb") as file:
        for number in range(int(GIB * 1024)):
            # A counter in each block, so that blocks in another order are another file.
            block[:8] = number.to_bytes(8, "big")
            file.write(block)
            wanted.update(block)

    runs = [
        measured(loop.master, f"push of {GIB:g} GiB", "sync"),
        measured(loop.slave, f"pull of {GIB:g} GiB", "sync"),
        measured(loop.slave, "pull, nothing new", "sync"),
    ]

    with (loop.target / "large").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == wanted.hexdigest()
    assert left_overs(loop) == []
    assert max(memory for _, memory in runs) < 500e6


@pytest.mark.parametrize(
    ("slaves", "rounds", "apply"),
    [
        pytest.param(5, 1, "swap", id="5 slaves"),
        pytest.param(SLAVES, 3, "swap", id="20 slaves", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
        pytest.param(SLAVES, 3, "in-place", id="20 in place", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_many_slaves_on_one_target(tmp_path: Path, moto: S3Server, slaves: int, rounds: int, apply: str) -> None:
    """While the master pushes, each run ends with 0 or 75, and the target always is a published tree."""
    bucket = f"crowd-{uuid.uuid4().hex[:12]}"
    make_bucket(moto, bucket)
    loop = make_loop(tmp_path, moto, bucket)
    loop.write_map(apply=apply)
    rng = random.Random(20)
    make_tree(loop.source, {f"d{n % 5}/f{n}": rng.randbytes(3000) for n in range(100)})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    published = {_frozen(snapshot(loop.source))}
    stop, problems = threading.Event(), list[str]()

    def push_on() -> None:
        while not stop.is_set():
            for _ in range(10):
                (loop.source / f"d{rng.randrange(5)}/f{rng.randrange(100)}").write_bytes(rng.randbytes(3000))
            published.add(_frozen(snapshot(loop.source)))
            pushed = loop.push()
            if pushed.status:
                problems.append(f"the master ended with {pushed.status}: {pushed.err}")

    master = threading.Thread(target=push_on)
    master.start()
    ends: dict[int, int] = {}
    torn = 0
    try:
        for _ in range(rounds):
            crowd = [loop.slave.start("sync") for _ in range(slaves)]
            for process in crowd:
                while process.poll() is None and apply == "swap":
                    torn += not _seen(loop.target, published)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(0.05)
                _, errors = process.communicate(timeout=300)
                ends[process.returncode] = ends.get(process.returncode, 0) + 1
                if process.returncode not in (0, 75):
                    problems.append(f"a slave ended with {process.returncode}: {errors[-300:]}")
            if apply == "swap" and _frozen(snapshot(loop.target)) not in published:
                problems.append("a torn tree between two rounds")
    finally:
        stop.set()
        master.join()

    print(f"{rounds} rounds of {slaves} slaves, {apply}: {len(published)} trees published, ends {ends}, torn {torn}")
    assert problems == []
    assert torn == 0
    assert ends.get(0), "none ever came through"
    assert loop.push().status == 0
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)
    assert left_overs(loop) == []


def _seen(target: Path, published: set[tuple[tuple[str, Entry], ...]]) -> bool:
    """Whether the target, held by a descriptor so that no exchange comes between, is a published tree.

    A tree that was exchanged meanwhile is being removed, and proves nothing: then the answer is yes.
    """
    held = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        mine = os.fstat(held)
        try:
            found = _frozen(snapshot(Path(f"/proc/self/fd/{held}/.")))
        except FileNotFoundError:
            return True
        now = os.stat(target)
        return (mine.st_dev, mine.st_ino) != (now.st_dev, now.st_ino) or found in published
    finally:
        os.close(held)


def _frozen(tree: dict[str, Entry]) -> tuple[tuple[str, Entry], ...]:
    return tuple(sorted(tree.items()))
