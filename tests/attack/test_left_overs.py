"""What lies beside a target under our names: ours goes, what nobody can prove to be ours stays, and no run stops."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from support.checks import assert_failed, left_overs
from support.machine import Loop, make_loop
from support.servers import S3Server, make_bucket
from support.trees import fixed, make_tree, snapshot

from s32s.core import paths
from s32s.stores.local import outer
from s32s.system import directories, locks

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users and chattr need root")


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


def holder_of_staging(loop: Loop, apply: str) -> Path:
    """The directory in which staging lies."""
    return loop.target if apply == "in-place" else loop.target.parent


def staging(loop: Loop, where: Path) -> str:
    """A name as staging of this target has."""
    return f"{outer.ours(loop.target.name)[0]}{where.name}0123456789"


@pytest.mark.parametrize(("apply", "mode"), [("swap", 0o700), ("swap", 0o777), ("in-place", 0o755)])
def test_a_directory_that_was_renamed_to_look_like_ours_stays(ready: Loop, apply: str, mode: int) -> None:
    """The owner of the parent cannot have somebody else's directory removed by giving it our name."""
    ready.write_map(apply=apply)
    where = holder_of_staging(ready, apply)
    precious = where / staging(ready, where)
    make_tree(precious, {"tree/file": b"precious", "a": b"a"})
    precious.chmod(mode)
    before = snapshot(precious)

    ended = ready.pull("--update-maps")

    assert ended.status == 0, ended.err
    assert snapshot(precious) == before
    assert precious.name in ended.out + ended.err
    assert "stays" in ended.out + ended.err


@pytest.mark.parametrize("apply", ["swap"])
def test_staging_under_another_name_than_its_own_stays(ready: Loop, apply: str) -> None:
    """It may be that of a run on another target, which somebody has renamed."""
    ready.write_map(apply=apply)
    where = holder_of_staging(ready, apply)
    precious = where / staging(ready, where)
    other = f"{outer.ours('other')[0]}0123456789"
    make_tree(precious, {"tree/file": b"precious", other: b""})
    precious.chmod(0o700)
    before = snapshot(precious)

    assert ready.pull("--update-maps").status == 0

    assert snapshot(precious) == before


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param({}, id="killed before the mark"),
        pytest.param({"MARK": b""}, id="just made"),
        pytest.param({"MARK": b"", "tree/d/f": b"f"}, id="half full"),
        pytest.param({"MARK": b"", "a": None, "b": None}, id="in a probe"),
    ],
)
def test_what_a_kill_has_left_goes(ready: Loop, inside: dict[str, bytes | None]) -> None:
    """Whatever the moment."""
    where = ready.target.parent
    left = where / staging(ready, where)
    make_tree(left, {name.replace("MARK", left.name): what for name, what in inside.items()})
    left.chmod(0o700)

    ended = ready.pull()

    assert ended.status == 0
    assert left_overs(ready) == []
    assert "stays" not in ended.out + ended.err


@as_root
def test_a_mark_of_another_user_proves_nothing(ready: Loop) -> None:
    """Who may write into a directory of root's could otherwise make it look like ours."""
    where = ready.target.parent
    left = where / staging(ready, where)
    make_tree(left, {left.name: b"", "tree/f": b"precious"})
    os.chown(left / left.name, NOBODY, NOBODY)
    left.chmod(0o700)

    assert ready.pull().status == 0
    assert (left / "tree/f").read_bytes() == b"precious"


def test_a_directory_that_takes_the_place_of_staging_at_once_is_noticed(tmp_path: Path) -> None:
    """Between mkdir(2) and open(2) the owner of the parent may put another one there: with content, or of his own."""
    fd = os.open(tmp_path, os.O_RDONLY)
    made = outer.Outer(fd, "site", shown="/srv/site")
    precious = tmp_path / "precious"
    make_tree(precious, {"tree/f": b"precious"})
    inside = directories.open_below(fd, "precious")
    try:
        with pytest.raises(outer.Refused, match="was replaced by another directory"):
            outer._mark(inside, made.name, shown="/srv/site")
        if os.geteuid() == 0:
            (tmp_path / "his").mkdir()
            os.chown(tmp_path / "his", NOBODY, NOBODY)
            with (
                directories.directory(fd, "his") as his,
                pytest.raises(outer.Refused, match="was replaced by another directory"),
            ):
                outer._mark(his, made.name, shown="/srv/site")
    finally:
        os.close(inside)
        made.remove()
        os.close(fd)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name != "his") == ["f", "precious", "tree"]


def test_a_directory_that_takes_the_place_of_staging_later_stays(tmp_path: Path) -> None:
    """What we have made goes by its descriptor, and the name only when nothing is in it."""
    fd = os.open(tmp_path, os.O_RDONLY)
    made = outer.Outer(fd, "site", shown="/srv/site")
    os.mkdir("tree", dir_fd=made.fd)
    (tmp_path / made.name).rename(tmp_path / "away")
    make_tree(tmp_path / made.name, {"tree/f": b"precious"})

    with pytest.raises(OSError, match="not empty"):
        made.remove()

    os.close(fd)
    assert (tmp_path / made.name / "tree/f").read_bytes() == b"precious"
    assert os.listdir(tmp_path / "away") == []


@as_root
def test_an_immutable_file_does_not_stop_the_updates(ready: Loop) -> None:
    """The target follows each push; what cannot be removed is told each time, and goes when it can."""
    with fixed(ready.target / "a"):
        for turn in range(2):
            make_tree(ready.source, {"d/b": f"turn {turn}".encode(), f"new{turn}": b"n"})
            assert ready.push().status == 0
            ended = ready.pull()
            assert ended.status == 0, ended.err
            assert snapshot(ready.target) == snapshot(ready.source)
            told = ended.out + ended.err
            assert "old files" in told
            assert "chattr -i" in told
            assert "tree/a" in told
        assert ready.pull().status == 0

    ended = ready.pull()

    assert ended.status == 0
    assert "old files" not in ended.out + ended.err
    assert left_overs(ready) == []


@as_root
@pytest.mark.parametrize("change", ["replace", "delete"])
def test_in_place_an_immutable_file_is_named(ready: Loop, change: str) -> None:
    """With its path and the cure; nothing else is lost, and the next run heals it."""
    ready.write_map(apply="in-place")
    if change == "replace":
        make_tree(ready.source, {"d/b": b"another"})
    else:
        (ready.source / "d/b").unlink()
    assert ready.push().status == 0
    with fixed(ready.target / "d/b"):
        ended = ready.pull("--update-maps")
        assert_failed(ended, 1, says='"d/b"')
        assert "chattr -i" in ended.err
        assert str(ready.target) in ended.err

    assert ready.pull().status == 0
    assert snapshot(ready.target) == snapshot(ready.source)


@pytest.mark.parametrize(("apply", "kind"), [("swap", "socket"), ("in-place", "directory")])
def test_what_stands_where_the_lock_belongs_is_named(ready: Loop, apply: str, kind: str) -> None:
    """Instead of "cannot be written"."""
    ready.write_map(apply=apply)
    path = holder_of_staging(ready, apply) / outer.lock_name(ready.target.name)
    if kind == "directory":
        path.mkdir()
    else:
        fd = os.open(path.parent, os.O_RDONLY)  # the address of a socket may have 108 bytes: unix(7)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{fd}/{path.name}")
        os.close(fd)

    ended = ready.pull("--update-maps")

    assert_failed(ended, 3, says=str(path))
    assert f"is a {kind}" in ended.err


@pytest.mark.parametrize(("apply", "held"), [("swap", "in-place"), ("in-place", "swap")])
def test_one_run_a_target_whichever_way_it_is_changed(ready: Loop, apply: str, held: str) -> None:
    """The entry may have been changed from one way to the other, or two configurations name one target."""
    ready.write_map(apply=apply)
    where = holder_of_staging(ready, held)
    second = ready.slave.root / "second-state"
    second.mkdir()
    fds = [os.open(where, os.O_RDONLY)]
    if held == "in-place":
        fds.append(os.open(ready.target.parent, os.O_RDONLY))
    name = outer.lock_name(ready.target.name)
    held = [locks.lock(fd, name, what="x", holder={"pid": "17"}) for fd in fds]
    for lock in held:
        lock.__enter__()
    try:
        ended = ready.slave.run("sync", "--update-maps", environment={"STATE_DIRECTORY": str(second)})
    finally:
        for lock in held:
            lock.__exit__(None, None, None)

    assert_failed(ended, 75, says="pid 17")


@as_root
def test_in_place_needs_no_lock_in_a_parent_that_cannot_be_written(ready: Loop) -> None:
    """A target that is mounted somewhere is changed in place, whoever owns the directory around it."""
    import subprocess
    import sys

    ready.write_map(apply="in-place")
    make_tree(ready.source, {"a": b"another"})
    assert ready.push().status == 0
    script = "mount --bind $P $P; mount --bind $T $T; mount -o remount,ro,bind $P; exec $S32S sync --update-maps"
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-euc", script],
        env={
            **ready.slave.environment(),
            "S32S": f"{sys.executable} -m s32s",
            "T": str(ready.target),
            "P": str(ready.target.parent),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ready.slave.root,
    )

    assert ended.returncode == 0, ended.stderr
    assert snapshot(ready.target) == snapshot(ready.source)


@pytest.mark.parametrize("prefix", [paths.LOCK_PREFIX, paths.STAGING_PREFIX])
def test_a_name_that_we_keep_for_ourselves_does_not_leave_the_master(ready: Loop, prefix: str) -> None:
    """In place it would be taken for a lock or for unfinished work."""
    make_tree(ready.source, {f"{prefix}x": b"x"})

    ended = ready.push()

    assert_failed(ended, 1, says=f'"{prefix}x"')
    assert "s32s keeps such names" in ended.err
    shutil.move(ready.source / f"{prefix}x", ready.source / f"d/{prefix}x")
    assert ready.push().status == 0
    assert ready.pull().status == 0
    assert snapshot(ready.target) == snapshot(ready.source)
