"""A slave whose disk has no room left: a real file system that fills during a pull, or before a way back."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checks import assert_failed, left_overs
from support.faultproxy import Do, FaultProxy, Request, Rule, fault_proxy
from support.machine import Loop, make_loop
from support.servers import S3Server, make_bucket
from support.trees import make_tree, snapshot

MIB = 1024 * 1024
LAYOUTS = pytest.mark.parametrize("layout", ["plain", "packed"])


class Disk:
    """A small file system that holds the target and what s32s makes beside it."""

    def __init__(self, at: Path) -> None:
        self.at = at
        self.filler = at / "of-others"

    def fill(self, *, leave: int) -> None:
        """Let others take all room but so many bytes."""
        room = os.statvfs(self.at)
        with self.filler.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(room.f_bavail * room.f_frsize - leave, 1))

    def empty(self) -> None:
        """Let others give it back."""
        self.filler.unlink()

    def limit_inodes(self, more: int) -> None:
        """Let there be so many more files and names than now."""
        room = os.statvfs(self.at)
        limit = room.f_files - room.f_ffree + more
        subprocess.run(["mount", "-o", f"remount,nr_inodes={limit}", str(self.at)], check=True)


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[FaultProxy]:
    """One server will do: what is full is the disk."""
    with fault_proxy(moto.endpoint_url) as running:
        yield running


@pytest.fixture
def loop(tmp_path: Path, moto: S3Server, proxy: FaultProxy) -> Loop:
    """A master, and a slave that keeps earlier trees."""
    bucket = f"full-{os.getpid()}-{re.sub('[^a-z0-9]', '-', tmp_path.name.lower())[-30:]}"
    make_bucket(moto, bucket)
    made = make_loop(tmp_path, moto, bucket, endpoint_url=proxy.endpoint_url)
    made.slave.write_config("slave", f"{bucket}/maps", allow=[made.target.parent], text="keep = 3")
    return made


@pytest.fixture
def disk(loop: Loop) -> Iterator[Disk]:
    """A tmpfs that holds the slave's target."""
    at = loop.target.parent
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(at)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield Disk(at)
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def generations(loop: Loop, numbers: range) -> None:
    """Push and pull them: of two files of 4 MiB one is another one each time."""
    for number in numbers:
        publish(loop, number)
        pulled = loop.pull()
        assert pulled.status == 0, pulled.err


def publish(loop: Loop, number: int) -> None:
    """Push a generation."""
    files = {"same": b"s" * MIB, "changes": os.urandom(4 * MIB), "d/number": b"%d" % number}
    make_tree(loop.source, dict(files))
    pushed = loop.push()
    assert pushed.status == 0, pushed.err


def number_in(tree: Path) -> int:
    """The generation that a tree is of."""
    return int((tree / "d/number").read_bytes())


def kept(loop: Loop) -> list[str]:
    """What is kept beside the target: all names, so that nothing half-made hides."""
    return sorted(str(path.relative_to(loop.target.parent)) for path in loop.target.parent.glob(".s32s-kept-*/**/*"))


def is_large(request: Request) -> bool:
    """Reads of bytes of a large file, in either layout."""
    first, _, last = request.headers.get("range", "bytes=0-0").removeprefix("bytes=").partition("-")
    return request.method == "GET" and (request.key.endswith("/changes") or int(last or 0) - int(first) > MIB)


@LAYOUTS
def test_a_disk_that_fills_during_a_pull(loop: Loop, disk: Disk, proxy: FaultProxy, layout: str) -> None:
    """The tree stays whole, nothing half-made stays, and the pull works once there is room."""
    loop.write_map(layout=layout)
    generations(loop, range(1, 3))
    publish(loop, 3)
    before, known = snapshot(loop.target), kept(loop)
    filled = proxy.add(Rule(is_large, Do(lambda: disk.fill(leave=MIB)), times=1))

    pulled = loop.pull()

    assert filled.fired
    assert_failed(pulled, 1, says=("the disk is full", "the target is as it was", "make room"))
    assert "earlier trees that are kept here hold" in pulled.err, pulled.err
    assert (snapshot(loop.target), kept(loop)) == (before, known)
    assert [name for name in left_overs(loop) if "kept" not in name and "lock" not in name] == []
    disk.empty()
    pulled = loop.pull()
    assert pulled.status == 0, pulled.err
    assert snapshot(loop.target) == snapshot(loop.source)
    assert loop.slave.run("rollback", "WEB").status == 0
    assert snapshot(loop.target) == before


def test_no_names_are_left_at_any_point_of_a_pull(loop: Loop, disk: Disk) -> None:
    """Staged files, the record of the tree before, its links: wherever it ends, the tree is whole."""
    generations(loop, range(1, 3))
    publish(loop, 3)
    before, known = snapshot(loop.target), kept(loop)
    said = []
    for more in range(4, 40, 3):
        disk.limit_inodes(more)
        pulled = loop.pull()
        if pulled.status == 0:
            break
        assert_failed(pulled, 1, says="make room")
        assert (snapshot(loop.target), kept(loop)) == (before, known), more
        said.append(pulled.err)

    assert snapshot(loop.target) == snapshot(loop.source)
    assert any("could not be kept" in text for text in said), said
    assert any("could not be written" in text for text in said), said
    disk.limit_inodes(100)
    assert loop.slave.run("rollback", "WEB").status == 0
    assert snapshot(loop.target) == before


def test_a_way_back_on_a_full_disk_says_what_is_missing_and_what_helps(loop: Loop, disk: Disk) -> None:
    """The command that the error names gives up older trees, and goes back."""
    generations(loop, range(1, 5))
    before, known = snapshot(loop.target), kept(loop)
    disk.fill(leave=2 * MIB)

    refused = loop.slave.run("rollback", "WEB", "3")

    assert_failed(
        refused,
        1,
        says=("bytes free", "are missing", "from before generation 3 that are kept here hold", "nothing was changed"),
    )
    assert (snapshot(loop.target), kept(loop)) == (before, known)
    assert loop.pull().changed_nothing, "it is not held"
    named = re.search(r"s32s (--set keep=\d rollback WEB 3)", refused.err)
    assert named, refused.err
    ended = loop.slave.run(*named[1].split())
    assert ended.status == 0, ended.err
    assert number_in(loop.target) == 3
    log = loop.slave.run("log", "WEB").out
    assert "kept on this machine: 4 " in log, log


def test_a_pull_on_a_full_disk_may_give_up_earlier_trees(loop: Loop, disk: Disk) -> None:
    """A smaller number takes effect before the change that needs the room."""
    generations(loop, range(1, 4))
    publish(loop, 4)
    disk.fill(leave=2 * MIB)

    refused = loop.pull()

    assert_failed(refused, 1, says=("bytes free", "are missing", "earlier trees that are kept here hold"))
    assert number_in(loop.target) == 3
    named = re.search(r"s32s (--set keep=\d sync WEB)", refused.err)
    assert named, refused.err
    ended = loop.slave.run(*named[1].split())
    assert ended.status == 0, ended.err
    assert snapshot(loop.target) == snapshot(loop.source)
    disk.empty()
    assert loop.slave.run("rollback", "WEB").status == 0
    assert number_in(loop.target) == 3
