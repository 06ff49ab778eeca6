"""Runs that are stopped, killed, or meet another one: the target is old or new, and the next run tidies up."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support.checks import assert_untouched, left_overs
from support.faultproxy import Delay, FaultProxy, Request, Rule
from support.forks import Process
from support.machine import Loop, make_loop
from support.servers import S3Server, make_bucket
from support.trees import Entry, make_tree, snapshot

Frozen = tuple[tuple[str, Entry], ...]


def frozen(root: Path) -> Frozen:
    """A snapshot that a set can hold."""
    return tuple(sorted(snapshot(root).items()))


def is_body(request: Request) -> bool:
    """Reads and writes of the entry's files."""
    return request.key.startswith("data/web/") and ".s32s" not in request.key


@pytest.fixture
def two(proxied: Loop) -> Loop:
    """A slave up to date with a first generation; the second lies in the master's directory."""
    make_tree(proxied.source, {"a": b"a" * 1000, "d/b": b"b"})
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    make_tree(proxied.source, {"a": b"A" * 2000, "new": b"n" * 3000})
    return proxied


def stopped(process: Process, number: int, proxy: FaultProxy) -> tuple[int, str, float]:
    """Send the signal when the first body is under way; return status, errors and seconds until the end."""
    deadline = time.monotonic() + 20
    while not any(is_body(request) for request in proxy.requests):
        assert time.monotonic() < deadline, "the run never came to its files"
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors, time.monotonic() - began


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_pull_that_is_stopped_leaves_the_target_as_it_was(
    two: Loop, proxy: FaultProxy, number: int, status: int
) -> None:
    """Within 5 seconds, with the lock free and the staging removed."""
    assert two.push().status == 0
    before = snapshot(two.target)
    proxy.clear()
    held = Delay(20)
    proxy.add(Rule(is_body, held))

    ended, errors, seconds = stopped(two.slave.start("sync"), number, proxy)
    held.release()
    proxy.rules.clear()

    assert ended == status, errors
    assert "the target is as it was" in errors
    assert "Traceback" not in errors
    assert seconds < 5
    assert_untouched(two, before)
    assert two.pull().status == 0
    assert snapshot(two.target) == snapshot(two.source)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_push_that_dies_is_healed_by_the_next(two: Loop, proxy: FaultProxy, number: int) -> None:
    """Slaves keep the old generation meanwhile."""
    before = snapshot(two.target)
    proxy.clear()
    held = Delay(20)
    proxy.add(Rule(is_body, held))

    ended, errors, seconds = stopped(two.master.start("sync"), number, proxy)
    held.release()
    proxy.rules.clear()

    assert ended in (143, -9)
    assert seconds < 5
    assert "Traceback" not in errors
    between = two.pull()
    assert between.status in (0, 75), between.err
    assert snapshot(two.target) == before
    assert two.push().status == 0
    assert two.pull().status == 0
    assert snapshot(two.target) == snapshot(two.source)


def test_a_second_run_says_who_holds_the_target(two: Loop, proxy: FaultProxy) -> None:
    """Status 75, and the process id of the first."""
    assert two.push().status == 0
    proxy.clear()
    held = Delay(20)
    proxy.add(Rule(is_body, held))
    first = two.slave.start("sync")
    deadline = time.monotonic() + 20
    while not any(is_body(request) for request in proxy.requests):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    second = two.pull()
    held.release()
    _, errors = first.communicate(timeout=60)

    assert second.status == 75
    assert f"process {first.pid}" in second.err
    assert first.returncode == 0, errors
    assert left_overs(two) == []


def test_many_runs_at_once_never_tear_the_target(two: Loop) -> None:
    """Each succeeds or says that another one is at it."""
    assert two.push().status == 0

    crowd = [two.slave.start("sync") for _ in range(8)]
    statuses = []
    for process in crowd:
        process.communicate(timeout=100)
        statuses.append(process.returncode)

    assert set(statuses) <= {0, 75}
    assert 0 in statuses
    assert snapshot(two.target) == snapshot(two.source)
    assert left_overs(two) == []


@pytest.fixture
def changing(tmp_path: Path, moto: S3Server) -> Loop:
    """A loop up to date, for many rounds."""
    bucket = f"crash-{os.getpid()}-{tmp_path.name.lower().replace('_', '-')[-30:]}"
    make_bucket(moto, bucket)
    loop = make_loop(tmp_path, moto, bucket)
    make_tree(loop.source, {f"d{number % 5}/f{number}": os.urandom(3000) for number in range(60)})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    return loop


def mutate(root: Path, rng: random.Random) -> None:
    """Change some files, their modes, and their number."""
    for _ in range(rng.randint(1, 30)):
        path = root / f"d{rng.randrange(6)}/f{rng.randrange(60)}"
        path.parent.mkdir(exist_ok=True)
        fate = rng.random()
        if fate < 0.2 and path.exists():
            path.unlink()
        elif fate < 0.3 and path.exists():
            path.chmod(rng.choice([0o600, 0o644, 0o755]))
        else:
            path.write_bytes(rng.randbytes(rng.randint(0, 20_000)))


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(10, id="10 kills"),
        pytest.param(40, id="40 kills", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_kill_9_at_random_moments_while_the_source_changes(changing: Loop, kills: int) -> None:
    """The target always is one of the published trees; one plain run later nothing is left over."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    published: set[Frozen] = {frozen(changing.source)}
    stop = threading.Event()
    problems: list[str] = []

    def push_on() -> None:
        while not stop.is_set():
            mutate(changing.source, rng)
            published.add(frozen(changing.source))
            pushed = changing.push()
            if pushed.status:
                problems.append(pushed.err)

    master = threading.Thread(target=push_on)
    master.start()
    killed = 0
    moments = random.Random(seed)  # of its own: the other thread draws from `rng` meanwhile
    try:
        for _ in range(kills):
            began = time.monotonic()
            assert changing.pull().status in (0, 75)
            took_s = time.monotonic() - began
            process = changing.slave.start("sync")
            time.sleep(moments.uniform(0.1, 1.0) * took_s)
            process.kill()
            _, errors = process.communicate(timeout=30)
            killed += process.returncode == -signal.SIGKILL
            assert process.returncode in (0, 75, -signal.SIGKILL), errors
            assert frozen(changing.target) in published, "a torn tree"
    finally:
        stop.set()
        master.join()

    assert killed, "no kill ever hit"
    assert problems == []
    assert changing.push().status == 0
    assert changing.pull().status == 0
    assert snapshot(changing.target) == snapshot(changing.source)
    assert left_overs(changing) == []


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("apply", ["swap", "in-place"])
@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("renameat2", 1),
        ("renameat2", 2),
        ("linkat", 1),
        ("linkat", 20),
        ("syncfs", 1),
        ("mkdirat", 2),
        ("unlinkat", 3),
        ("unlinkat", 30),
        ("fchmod", 2),
        ("utimensat", 2),
        ("renameat", 2),
        ("fsync", 2),
    ],
)
def test_kill_at_a_system_call(changing: Loop, call: str, when: int, apply: str) -> None:
    """Old tree or new tree with a swap; in place every file is old or new; then one plain run makes all good."""
    changing.write_map(apply=apply)
    assert changing.slave.run("maps", "update").status == 0
    before = snapshot(changing.target)
    mutate(changing.source, random.Random(when))
    assert changing.push().status == 0
    after = snapshot(changing.source)

    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={when}"]
    subprocess.run(
        [*strace, *changing.slave.command("sync")],
        env=changing.slave.environment(),
        cwd=changing.slave.root,
        capture_output=True,
        timeout=100,
        check=False,
    )

    found = snapshot(changing.target)
    if apply == "swap":
        assert found in (before, after), "a torn tree"
    else:
        for path, entry in found.items():
            if entry.kind == "file" and ".s32s" not in path:
                contents = {tree[path].content for tree in (before, after) if path in tree}
                assert entry.content in contents, path
    assert changing.pull().status == 0
    assert snapshot(changing.target) == after
    assert left_overs(changing) == []


SMALL = {"a file": {"d1/a": b"changed"}, "a directory": {"d1/a": b"changed", "d1/new": b"n", "d1/sub/x": b"x"}}


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("server", ["moto"], indirect=True)  # what is killed is the work on this disk
@pytest.mark.parametrize("what", SMALL)
@pytest.mark.parametrize(
    ("call", "when"),
    [
        *[("renameat2", when) for when in (1, 2)],
        *[("linkat", when) for when in (1, 2)],
        *[("fsync", when) for when in (1, 3)],
        ("syncfs", 1),
        *[("mkdirat", when) for when in (2, 5)],
        *[("unlinkat", when) for when in (1, 3, 6, 9)],
        ("utimensat", 1),
        *[
            pytest.param(call, when, marks=pytest.mark.long)
            for call, when in (("fsync", 2), ("mkdirat", 4), ("unlinkat", 5), ("unlinkat", 7), ("unlinkat", 8))
        ],
    ],
)
def test_kill_at_a_system_call_of_a_small_change(proxied: Loop, call: str, when: int, what: str) -> None:
    """Where only a directory or a file of the target is exchanged: old or new, and what lies beside is not touched."""
    loop = proxied
    make_tree(loop.source, {"d1/a": b"a", "d1/b": b"b", "d2/c": b"c", "e": b"e"})
    assert (loop.push().status, loop.pull().status) == (0, 0)
    before = snapshot(loop.target)
    beside = [(loop.target / path).stat() for path in ("d2/c", "e", ".")]
    make_tree(loop.source, dict(SMALL[what]))
    assert loop.push().status == 0
    after = snapshot(loop.source)

    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={when}"]
    subprocess.run(
        [*strace, *loop.slave.command("sync")],
        env=loop.slave.environment(),
        cwd=loop.slave.root,
        capture_output=True,
        timeout=100,
        check=False,
    )

    assert snapshot(loop.target) in (before, after), "a torn tree"
    assert loop.pull().status == 0
    assert snapshot(loop.target) == after
    assert left_overs(loop) == []
    now = [(loop.target / path).stat() for path in ("d2/c", "e", ".")]
    assert [(one.st_ino, one.st_nlink) for one in now] == [(one.st_ino, one.st_nlink) for one in beside]


def can_mount_images(root: Path) -> bool:
    """Whether an ext4 image can be made and mounted here."""
    probe = "truncate -s 8m i; mkfs.ext4 -q i; mkdir m; mount -o loop i m; umount m; rm -r i m"
    tried = subprocess.run(["unshare", "-m", "sh", "-ec", probe], cwd=root, capture_output=True, check=False)
    return tried.returncode == 0


def test_a_power_cut_after_the_exchange_loses_nothing(changing: Loop, tmp_path: Path) -> None:
    """The disk as it is at the moment when the run ends, without what the kernel still holds: a whole new tree.

    The image file of a mounted file system is copied as it lies on its disk; mounting the copy replays the journal, as
    after a power cut. Writing back is put off (commit=600), so that only what s32s itself has forced out is there.
    """
    if not can_mount_images(tmp_path):
        pytest.skip("no ext4 image can be mounted here")
    mutate(changing.source, random.Random(1))
    assert changing.push().status == 0
    script = f"""
        truncate -s 64m image; mkfs.ext4 -q image; mkdir -p copy
        mount -o loop,commit=600 image $P; mkdir $P/site; echo old >$P/site/old
        sync; {" ".join(changing.slave.command("sync", "--force-delete"))}
        cp --sparse=always image image2
        mount -o loop image2 copy; cp -a copy/site found; umount copy
    """

    ended = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script],
        env={**changing.slave.environment(), "P": str(changing.target.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert snapshot(tmp_path / "found") == snapshot(changing.source)
