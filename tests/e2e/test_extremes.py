"""Times that hardly any file has, and trees deeper than a process may open files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Loop, make_loop
from support.servers import S3Server, make_bucket
from support.trees import deep, make_tree, snapshot

from s32s.system import directories

YEAR_S = 31_556_952


@pytest.fixture
def ready(tmp_path: Path, moto: S3Server) -> Loop:
    """A loop whose slave is up to date."""
    bucket = f"test-{tmp_path.name.lower().replace('_', '-')[:40]}-{os.getpid()}"
    make_bucket(moto, bucket)
    loop = make_loop(tmp_path, moto, bucket)
    make_tree(loop.source, {"a": b"a", "d/b": b"b"})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    return loop


def hold(path: Path, seconds: int) -> None:
    """Set a modification time, or skip where the file system cannot hold it."""
    os.utime(path, (seconds, seconds))
    if path.stat().st_mtime_ns != seconds * 10**9:
        pytest.skip("this file system cannot hold such a time")


def test_a_time_after_2262_is_refused_by_name(ready: Loop) -> None:
    """A manifest cannot record it; the cure is told."""
    hold(ready.source / "d/b", 450 * YEAR_S)

    ended = ready.push()

    assert_failed(ended, 1, says='"d/b": its modification time')
    assert "touch" in ended.err
    os.utime(ready.source / "d/b")
    assert ready.push().status == 0


@pytest.mark.parametrize(("apply", "verb"), [("swap", "sync"), ("swap", "copy"), ("in-place", "sync")])
def test_a_time_after_2262_in_the_target_is_only_another_time(ready: Loop, apply: str, verb: str) -> None:
    """Whoever may write there cannot stop the updates by it."""
    ready.write_map(apply=apply)
    hold(ready.target / "d/b", 450 * YEAR_S)
    (ready.target / "stray").write_text("s")
    hold(ready.target / "stray", 450 * YEAR_S)

    ended = ready.slave.run(verb, "--update-maps")

    assert ended.status == 0, ended.err
    if verb == "copy":
        assert (ready.target / "stray").read_text() == "s"
        (ready.target / "stray").unlink()
    assert snapshot(ready.target) == snapshot(ready.source)


@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_a_time_that_the_file_system_cannot_keep_is_not_modified_for_ever(
    ready: Loop, apply: str, tmp_path: Path
) -> None:
    """ext4 begins in 1901. What was left of the time is remembered, and holds also for a run that reads every file."""
    shm = Path("/dev/shm")  # a file system that can hold any time
    if not os.access(shm, os.W_OK):
        pytest.skip("no file system here stores such a time")
    source = shm / f"s32s-{os.getpid()}-{tmp_path.name}"
    make_tree(source, {"a": b"a", "d/b": b"b"})
    try:
        hold(source / "a", -150 * YEAR_S)
        ready.write_map(apply=apply, master=str(source))
        assert ready.push("--update-maps").status == 0
        assert ready.pull("--update-maps").status == 0
        if (ready.target / "a").stat().st_mtime == -150 * YEAR_S:
            pytest.skip("the file system of the target stores such a time")

        for options in ([], ["--verify"]):
            ended = ready.pull(*options)
            assert ended.status == 0, ended.err
            assert ended.changed_nothing

        make_tree(source, {"new": b"n"})
        assert ready.push().status == 0
        assert "1 new; 3 files" in ready.pull().out
        os.utime(ready.target / "a", (1, 1))
        assert "1 modified" in ready.pull().out
        assert ready.pull().changed_nothing
    finally:
        for path in sorted(source.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        source.rmdir()


@pytest.mark.parametrize("depth", [140, 1100])
def test_a_source_that_is_too_deep_is_refused_by_name(ready: Loop, depth: int) -> None:
    """Not by the recursion of Python."""
    deep(ready.source / "deep", depth, files=1)

    ended = ready.push()

    source = directories.open_dir(str(ready.source))
    directories.remove_tree(source, "deep")  # which shutil.rmtree cannot
    os.close(source)
    assert_failed(ended, 1, says="more than 128 directories deep")
    assert len(ended.err) < 30_000


@pytest.mark.parametrize(("apply", "depth"), [("swap", 1100), ("in-place", 400)])
def test_a_target_of_any_depth_is_made_exact(ready: Loop, apply: str, depth: int) -> None:
    """Whoever may write there cannot stop the updates by it, nor leave anything behind."""
    ready.write_map(apply=apply)
    deep(ready.target / "deep", depth, files=1)

    ended = ready.pull("--update-maps", "--force-delete")

    assert ended.status == 0, ended.err
    assert snapshot(ready.target) == snapshot(ready.source)
    assert [path.name for path in ready.target.parent.iterdir()] == ["site"]


def test_copy_into_a_target_too_deep_to_be_carried_over_says_so(ready: Loop) -> None:
    """And changes nothing."""
    deep(ready.target / "deep", 110, name="n" * 40)
    make_tree(ready.source, {"a": b"another", "new": b"n"})  # in one directory with it, which has to be exchanged
    assert ready.push().status == 0

    ended = ready.slave.run("copy")

    assert_failed(ended, 1, says="name too long")
    assert len(ended.err) < 2_500
    assert (ready.target / "a").read_bytes() == b"a"
    assert ready.pull("--force-delete").status == 0
