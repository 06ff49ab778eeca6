"""What is a machine's own affair stays when its directory is rebuilt: ACLs, labels, attributes, groups."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from support.checks import left_overs
from support.local import PATIENT, Run
from support.machine import Loop
from support.trees import make_tree, snapshot

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="foreign owners and labels need root")
with_acls = pytest.mark.skipif(not shutil.which("setfacl"), reason="setfacl is not installed")
both_ways = pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])

FIRST = {"d/changes": b"old", "d/kept": b"kept", "e/f/kept": b"deep"}
SECOND = {**FIRST, "d/changes": b"newer", "d/new": b"n", "d/more/new": b"n", "new": b"n"}
LABEL = b"system_u:object_r:httpd_sys_content_t:s0\0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A target that holds the first tree."""
    target = tmp_path / "target"
    Run(target).go(FIRST)
    return target


def set_acl(path: Path, *arguments: str) -> None:
    """Call setfacl(1)."""
    subprocess.run(["setfacl", *arguments, str(path)], check=True)


def acl(path: Path) -> list[str]:
    """What getfacl(1) says, without owner and name."""
    ended = subprocess.run(["getfacl", "-cpEn", str(path)], check=True, capture_output=True, text=True)
    return ended.stdout.split()


def attributes(path: Path) -> dict[str, bytes]:
    """Every extended attribute."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


@with_acls
@pytest.mark.parametrize("name", ["", "d", "e/f"])
def test_a_directory_keeps_its_acls(root: Path, name: str) -> None:
    """Its own and the one for what is made in it, and its mode with them."""
    set_acl(root / name, "-m", "u:33:rwx,g::---,d:u:33:rx")
    before = attributes(root / name), acl(root / name), (root / name).stat().st_mode

    Run(root).go(SECOND)

    assert (attributes(root / name), acl(root / name), (root / name).stat().st_mode) == before
    assert "group::---" in before[1]


@with_acls
@both_ways
def test_a_group_that_is_shut_out_stays_so(root: Path, in_place: bool) -> None:
    """The mask of a file that is replaced does not become its group's right."""
    set_acl(root / "d/changes", "-m", "u:33:r,g::---")

    Run(root, in_place=in_place).go(SECOND)

    assert acl(root / "d/changes") == ["user::rw-", "user:33:r--", "group::---", "mask::r--", "other::r--"]


@with_acls
@both_ways
def test_the_mode_of_the_source_is_the_mask(root: Path, in_place: bool) -> None:
    """What the master has recorded limits everybody but the owner."""
    set_acl(root / "d/kept", "-m", "u:33:rw,g::r")

    Run(root, in_place=in_place).go(SECOND, mode=0o604)

    assert acl(root / "d/kept") == ["user::rw-", "user:33:rw-", "group::r--", "mask::---", "other::r--"]
    assert stat.S_IMODE((root / "d/kept").stat().st_mode) == 0o604


@with_acls
@both_ways
def test_what_is_new_inherits_from_its_directory(root: Path, in_place: bool) -> None:
    """As if it had been made there: files and directories, and not what lies elsewhere."""
    set_acl(root / "d", "-m", "d:u:33:rwx,d:o:---")

    Run(root, in_place=in_place).go(SECOND)

    assert "user:33:rwx" in acl(root / "d/new")
    assert "user:33:rwx" in acl(root / "d/more/new")
    assert "default:user:33:rwx" in acl(root / "d/more")
    assert "mask::r--" in acl(root / "d/new")
    assert [attributes(root / name) for name in ("new", "d/kept", "d/changes")] == [{}, {}, {}]


@with_acls
@both_ways
def test_a_rebuilt_directory_gets_no_acl_from_its_parent(root: Path, in_place: bool) -> None:
    """Nobody gets in whom the old tree had shut out."""
    set_acl(root.parent, "-m", "d:u:33:rwx")

    Run(root, in_place=in_place).go(SECOND)

    assert all(attributes(path) == {} for path in [root, *root.rglob("*")])


@both_ways
def test_attributes_of_an_administrator_stay(root: Path, in_place: bool) -> None:
    """On the target, on its directories, and on a file that is replaced."""
    names = ["", "d", "e/f", "d/changes", "d/kept"]
    for name in names:
        os.setxattr(root / name, "user.note", name.encode())

    Run(root, in_place=in_place).go(SECOND)

    assert [attributes(root / name) for name in names] == [{"user.note": name.encode()} for name in names]
    assert (root / "d/changes").read_bytes() == b"newer"


@as_root
@both_ways
def test_labels_stay_and_power_goes(root: Path, in_place: bool) -> None:
    """A replaced file keeps its SELinux label; capabilities were given to other bytes."""
    names = ["", "d", "e/f", "d/changes"]
    for name in names:
        os.setxattr(root / name, "security.selinux", LABEL)
    os.setxattr(root / "d/changes", "security.capability", struct.pack("<5I", 0x02000001, 0x400, 0, 0, 0))

    Run(root, in_place=in_place).go(SECOND)

    assert [attributes(root / name) for name in names] == [{"security.selinux": LABEL}] * 4


@as_root
@both_ways
def test_a_directory_keeps_its_group_and_gives_it(root: Path, in_place: bool) -> None:
    """A setgid directory stays one, and what is new in it belongs to its group."""
    os.chown(root, 33, 33)
    os.chown(root / "d", 34, 35)
    (root / "d").chmod(0o2775)
    (root / "e").chmod(0o1777)

    Run(root, in_place=in_place).go(SECOND)

    def owner(name: str) -> tuple[int, int]:
        status = (root / name).stat()
        return status.st_uid, status.st_gid

    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("", "d", "e", "e/f", "d/more")}
    assert modes == {"": 0o755, "d": 0o2775, "e": 0o1777, "e/f": 0o755, "d/more": 0o2755}
    assert [owner(name) for name in ("", "d", "d/new", "d/more", "d/more/new", "new")] == [
        (33, 33),
        (34, 35),
        (33, 35),
        (33, 35),
        (33, 35),
        (33, 33),
    ]


@both_ways
@pytest.mark.parametrize("bit", [0o4000, 0o2000, 0o1000])
def test_a_special_bit_of_a_file_goes(root: Path, bit: int, in_place: bool) -> None:
    """No master sends one, so none belongs there."""
    (root / "d/kept").chmod(0o644 | bit)

    Run(root, in_place=in_place).go(FIRST, PATIENT)

    assert stat.S_IMODE((root / "d/kept").stat().st_mode) == 0o644


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
def test_directories_that_nobody_may_write_are_rebuilt(loop: Loop) -> None:
    """An owner without the power of root replaces and removes files in them, and their modes stay."""
    make_tree(loop.source, {"d/changes": b"old", "d/kept": b"kept", "d/gone": b"x"})
    (loop.source / "d").chmod(0o555)
    assert (loop.push().status, loop.pull().status) == (0, 0)
    (loop.source / "d").chmod(0o755)
    (loop.source / "d/gone").unlink()
    make_tree(loop.source, {"d/changes": b"newer"})
    (loop.source / "d").chmod(0o555)
    assert loop.push().status == 0
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []

    ended = subprocess.run(
        [*powerless, *loop.slave.command("sync")],
        env=loop.slave.environment(),
        cwd=loop.slave.root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert snapshot(loop.target) == snapshot(loop.source)
    assert left_overs(loop) == []
