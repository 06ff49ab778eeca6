"""What s32s promises, on servers that are neither AWS nor what the other tests start."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import pytest
from support.machine import Loop, Machine, make_loop
from support.servers import S3Server, make_bucket
from support.trees import make_tree, snapshot

pytestmark = pytest.mark.timeout(900)


def exact(loop: Loop, slave: Machine | None = None, target: Path | None = None) -> None:
    """A plain run and one that reads everything leave the slave with the source's tree."""
    for arguments in ((), ("--verify",)):
        ended = (slave or loop.slave).run("sync", *arguments)
        assert ended.status == 0, ended.err
    assert snapshot(target or loop.target) == snapshot(loop.source)


@pytest.fixture(params=["plain", "versioned"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, server: S3Server) -> Loop:
    """A loop in a bucket with and without versions."""
    bucket = f"test-{uuid.uuid4().hex}"
    make_bucket(server, bucket)
    if request.param == "versioned":
        server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return make_loop(tmp_path, server, bucket)


def test_files_come_go_and_change(anywhere: Loop) -> None:
    """More than a page of keys; a change, a deletion, odd names, and nothing to do."""
    files = {f"d{number % 7}/f{number}": f"{number}".encode() for number in range(1_200)}
    make_tree(anywhere.source, files | {"odd/a+b c%20d#?": b"x", "odd/\u00e9\u2028": b"y", "large": bytes(20 << 20)})
    assert (ended := anywhere.push()).status == 0, ended.err
    exact(anywhere)
    make_tree(anywhere.source, {f"d{number % 7}/f{number}": b"changed" for number in range(0, 1_200, 100)})
    for number in range(50, 1_200, 100):
        (anywhere.source / f"d{number % 7}/f{number}").unlink()

    assert (ended := anywhere.push()).status == 0, ended.err

    exact(anywhere)
    assert "in step" in anywhere.push().out
    assert "in step" in anywhere.pull().out


def test_two_masters_race(anywhere: Loop, tmp_path: Path) -> None:
    """However it ends, one sync later the slave holds the tree of the master that won."""
    rival = Machine(tmp_path / "rival", anywhere.server)
    (tmp_path / "rival").mkdir(exist_ok=True)
    rival.write_config("master", f"{anywhere.bucket}/maps")
    won = 0
    for turn in range(4):
        make_tree(anywhere.source, {f"f{number}": f"{turn} {number}".encode() for number in range(20)})
        both = [anywhere.master.start("sync"), rival.start("sync")]
        said = [process.communicate(timeout=120)[1] for process in both]
        statuses = [process.returncode for process in both]
        assert set(statuses) <= {0, 1, 75}, said
        assert all("Traceback" not in text for text in said)
        won += 0 in statuses
        if 0 not in statuses:
            assert anywhere.master.run("sync", "--take-over").status == 0
        exact(anywhere)
    assert won


@pytest.mark.parametrize("role", ["master", "slave"])
def test_a_run_that_is_killed_is_healed_by_the_next(anywhere: Loop, role: str) -> None:
    """At random moments."""
    rng = random.Random(seed := random.SystemRandom().randrange(10**6))
    print("seed", seed)
    make_tree(anywhere.source, {f"f{number}": rng.randbytes(2_000) for number in range(80)})
    assert anywhere.push().status == 0
    exact(anywhere)
    killed = 0
    for _ in range(10):
        make_tree(anywhere.source, {f"f{rng.randrange(90)}": rng.randbytes(3_000) for _ in range(30)})
        (anywhere.source / f"f{rng.randrange(80)}").unlink(missing_ok=True)
        if role == "slave":
            assert anywhere.push().status == 0
        before = snapshot(anywhere.target)
        process = (anywhere.master if role == "master" else anywhere.slave).start("sync")
        try:
            process.communicate(timeout=rng.uniform(0.3, 1.5))
        except Exception:  # the moment has come
            process.kill()
            process.communicate()
            killed += 1
        assert snapshot(anywhere.target) in (before, snapshot(anywhere.source))
        assert (ended := anywhere.push()).status == 0, ended.err
        exact(anywhere)
    assert killed


def test_a_mirror_takes_an_object_of_parts_along(anywhere: Loop, tmp_path: Path) -> None:
    """Copied within the server, with a manifest that a slave can follow."""
    make_tree(anywhere.source, {"large": random.Random(1).randbytes(20 << 20), "small": b"x"})
    anywhere.write_map(mirror=f"{anywhere.bucket}/copy")
    assert anywhere.push().status == 0
    mirror = Machine(tmp_path / "mirror", anywhere.server)
    mirror.write_config("mirror", f"{anywhere.bucket}/maps")

    ended = mirror.run("sync")

    assert ended.status == 0, ended.err
    assert "starting over" not in ended.err
    assert "in step" in mirror.run("sync").out


def test_a_missing_bucket_and_a_wrong_secret_are_told(loop: Loop) -> None:
    """In one sentence."""
    make_tree(loop.source, {"a": b"1"})
    loop.write_map(s3=f"no-such-bucket-{uuid.uuid4().hex}/x")
    missing = loop.push()
    wrong = loop.master.run("sync", environment={"AWS_SECRET_ACCESS_KEY": "wrong"})

    assert missing.status == 1
    assert "does not exist" in missing.err
    assert wrong.status in (1, 2)
    assert "credentials" in wrong.err
