"""The verbs of the disk on trees that are deeper than a process may open files, and on what does not go."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.trees import deep, fixed

from s32s.core.errors import Locked, Refused
from s32s.stores.local import walk
from s32s.stores.local.stat_cache import MOST_NS
from s32s.system import directories, locks

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    """The directory of the test, open."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """At most 64 descriptors more than are in use, as where a service has few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 64, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
@pytest.mark.parametrize("depth", [1, 31, 32, 33, 600, 3000])
def test_a_tree_of_any_depth_is_walked_and_removed(tmp_path: Path, opened: int, depth: int) -> None:
    """Neither the recursion of Python nor the number of descriptors bounds it."""
    deep(tmp_path / "top", depth, files=2)
    (tmp_path / "top/z").write_text("after the deep ones")

    walked = walk.walk(opened)
    directories.remove_tree(opened, "top")

    assert len(walked) == 2 + 3 * depth
    assert walked.paths == sorted(walked.paths)
    assert walked.errors == {}
    assert sum(path.endswith("/f1") for path in walked.paths) == depth
    assert os.listdir(tmp_path) == []


def test_a_walk_ends_where_paths_would_fill_the_memory(tmp_path: Path, opened: int) -> None:
    """Each name costs its whole path; what lies deeper is told, not left out."""
    deep(tmp_path / "top", 300, name="n" * 250)

    walked = walk.walk(opened)
    directories.remove_tree(opened, "top")

    ((path, error),) = walked.errors.items()
    assert len(path) > 65_536
    assert error.strerror == "it is nested too deeply"


def test_a_descent_notices_that_a_directory_was_moved(tmp_path: Path, opened: int) -> None:
    """What ".." leads to must be what it was."""
    deep(tmp_path / "top", 40)
    descent = directories.Descent(opened)
    for name in ["top", *["d"] * 40]:
        descent.enter(os.open(name, os.O_RDONLY, dir_fd=descent.fd))
    half = tmp_path / "top" / "/".join(["d"] * 5)
    half.rename(tmp_path / "moved")

    for _ in range(35):
        descent.leave()
    with pytest.raises(OSError, match="moved"):
        descent.leave()
    descent.close()


@as_root
def test_what_cannot_be_removed_stays_and_all_the_rest_goes(tmp_path: Path, opened: int) -> None:
    """The error names the first such path."""
    for name in ("a/x", "b/fixed", "b/y", "c/z"):
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_text(name)

    with fixed(tmp_path / "top/b/fixed"):
        with pytest.raises(PermissionError) as caught:
            directories.remove_tree(opened, "top")

        assert caught.value.filename == "top/b/fixed"
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["b", "fixed", "top"]


def test_a_link_is_removed_and_not_followed(tmp_path: Path, opened: int) -> None:
    """Also where a directory was expected."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/precious").write_text("p")
    (tmp_path / "top").mkdir()
    (tmp_path / "top/link").symlink_to(tmp_path / "kept")

    directories.remove_tree(opened, "top")

    assert (tmp_path / "kept/precious").read_text() == "p"
    assert os.listdir(tmp_path) == ["kept"]


@as_root
def test_a_mount_inside_is_left_alone(tmp_path: Path, opened: int) -> None:
    """What is mounted belongs to somebody; the rest goes."""
    (tmp_path / "top/m").mkdir(parents=True)
    (tmp_path / "top/a").write_text("a")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path / "top/m")], check=True)
    try:
        (tmp_path / "top/m/precious").write_text("p")
        with pytest.raises(OSError, match=r"something is mounted on it: 'top/m'"):
            directories.remove_tree(opened, "top")
        assert (tmp_path / "top/m/precious").read_text() == "p"
        assert os.listdir(tmp_path / "top") == ["m"]
    finally:
        subprocess.run(["umount", str(tmp_path / "top/m")], check=True)


@pytest.mark.parametrize("kind", ["directory", "symbolic link", "socket", "FIFO", "file of another user or one with"])
def test_what_stands_where_a_lock_belongs_is_named(tmp_path: Path, opened: int, kind: str) -> None:
    """With its path and with what it is, so that somebody can look and remove it."""
    path = tmp_path / "lock"
    match kind.split()[0]:
        case "directory":
            path.mkdir()
        case "symbolic":
            path.symlink_to("/nowhere")
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        case "FIFO":
            os.mkfifo(path)
        case _:
            (tmp_path / "other").write_text("precious")
            path.hardlink_to(tmp_path / "other")

    with pytest.raises(Refused) as caught, locks.lock(opened, "lock", what="/srv/site", holder={}):
        pass

    assert str(path) in str(caught.value)
    assert kind in str(caught.value)
    assert "/srv/site" in str(caught.value)


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path, opened: int) -> None:
    """The second one learns who holds it, and its file is gone with it."""
    with (
        locks.lock(opened, "lock", what="/srv/site", holder={"pid": "17"}),
        pytest.raises(Locked, match="pid 17"),
        locks.lock(opened, "lock", what="/srv/site", holder={}),
    ):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("seconds", [2**34, -(2**34)])
def test_a_time_out_of_range_is_the_nearest_within(tmp_path: Path, opened: int, seconds: int) -> None:
    """Where the file system can hold it at all; such a file is listed like any other."""
    path = tmp_path / "f"
    path.write_text("f")
    os.utime(path, (seconds, seconds))
    real = path.stat().st_mtime_ns

    walked = walk.walk(opened)

    assert walked.found(0).item.mtime_ns == max(-MOST_NS, min(MOST_NS, real))
    assert walked.is_as_found(0, path.stat())
