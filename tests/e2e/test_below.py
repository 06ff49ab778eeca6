"""Runs that are limited to one directory of the tree: `--below`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Loop, Machine
from support.servers import S3Server, keys
from support.trees import make_tree, snapshot

TREE = {"top": b"t", "css/site.css": b"s", "css/deep/x": b"x", "css/old": b"o", "img/a": b"a", "img/b": b"b"}


@pytest.fixture
def changed(loop: Loop) -> Loop:
    """A pair that was equal, and a source in which something has changed, come and gone, within css and without."""
    make_tree(loop.source, TREE)
    assert (loop.push().status, loop.pull().status) == (0, 0)
    (loop.source / "css/site.css").write_bytes(b"changed")
    (loop.source / "css/old").unlink()
    make_tree(loop.source, {"css/new/y": b"y", "img/new": b"n"})
    (loop.source / "img/a").write_bytes(b"changed too")
    (loop.source / "top").unlink()
    return loop


def contents(root: Path) -> dict[str, bytes]:
    """The files of a tree."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


#: What a target holds after css alone has followed.
CSS_ALONE = {
    "top": b"t",
    "css/site.css": b"changed",
    "css/deep/x": b"x",
    "css/new/y": b"y",
    "img/a": b"a",
    "img/b": b"b",
}


def test_a_push_of_one_directory(changed: Loop) -> None:
    """All else stays as the manifest has it; the next whole push finds what is left."""
    looked = changed.master.run("dryrun", "--below", "css")
    pushed = changed.push("--below", "css/")

    assert pushed.status == 0, pushed.err
    assert "img" not in looked.out
    assert "1 new, 1 modified, 1 deleted" in pushed.out
    assert changed.pull().status == 0
    assert contents(changed.target) == CSS_ALONE
    assert "1 new, 1 modified, 1 deleted" in changed.push().out
    assert changed.pull().status == 0
    assert snapshot(changed.target) == snapshot(changed.source)
    assert changed.push().changed_nothing
    assert changed.push("--below", "css").changed_nothing
    assert "up to date" in changed.master.run("status").out


def test_a_pull_of_one_directory(changed: Loop) -> None:
    """The server does not count as up to date after it, and the next whole pull brings the rest."""
    assert changed.push().status == 0

    pulled = changed.pull("--below", "css")

    assert pulled.status == 0, pulled.err
    assert contents(changed.target) == CSS_ALONE
    assert "up to date" not in changed.slave.run("status").out
    assert changed.pull().status == 0
    assert snapshot(changed.target) == snapshot(changed.source)
    assert "up to date" in changed.slave.run("status").out
    assert changed.pull().changed_nothing


def test_a_first_pull_of_one_directory(loop: Loop) -> None:
    """Into nothing."""
    make_tree(loop.source, TREE)
    assert loop.push().status == 0

    pulled = loop.pull("--below", "css/deep")

    assert pulled.status == 0, pulled.err
    assert contents(loop.target) == {"css/deep/x": b"x"}
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)


def test_a_directory_that_has_gone(changed: Loop) -> None:
    """Is not deleted by the way; who means it says so."""
    for path in (changed.source / "img").iterdir():
        path.unlink()
    (changed.source / "img").rmdir()

    assert_failed(changed.push("--below", "img"), 3, says='no files in "img"; check the name after --below')
    assert changed.push("--below", "img", "--force-delete").status == 0
    assert changed.pull().status == 0
    assert {path for path in contents(changed.target) if path.startswith("img/")} == set()
    assert (changed.target / "css/old").exists()


def test_deletions_are_counted_within_it(loop: Loop) -> None:
    """A large tree around it allows no more of them."""
    make_tree(loop.source, {f"{above}/{number}": b"x" for above in ("d", "many", "more") for number in range(30)})
    assert loop.push().status == 0
    for number in range(20):
        (loop.source / "d" / str(number)).unlink()

    assert_failed(loop.push("--below", "d"), 3, says="20 of 30 files would be deleted")
    assert loop.push().status == 0


@pytest.mark.parametrize("path", ["/etc", "../up", "a/../b", "a//b"])
def test_a_path_that_cannot_be_meant(loop: Loop, path: str) -> None:
    """Says what would be right."""
    assert_failed(loop.push("--below", path), 2, says="relative to the top of the tree")


def test_between_two_places_and_without_a_manifest(tmp_path: Path, server: S3Server, bucket: str) -> None:
    """Directory to prefix and back, prefix to prefix."""
    machine = Machine(tmp_path / "m", server)
    machine.extra = {"AWS_ENDPOINT_URL": server.endpoint_url, "AWS_REGION": "us-east-1"}
    source, back = tmp_path / "source", tmp_path / "back"
    make_tree(source, TREE)
    place, copy = f"s3://{bucket}/site", f"s3://{bucket}/copy"

    assert machine.run("sync", str(source), place, "--below", "css", "--no-manifest").status == 0
    assert set(keys(server, bucket)) == {"site/css/site.css", "site/css/deep/x", "site/css/old"}
    assert machine.run("sync", str(source), place).status == 0
    assert machine.run("sync", place, copy, "--below", "img").status == 0
    assert {key for key in keys(server, bucket, "copy/") if "/.s32s/" not in key} == {"copy/img/a", "copy/img/b"}
    assert machine.run("sync", copy, str(back)).status == 0
    assert contents(back) == {"img/a": b"a", "img/b": b"b"}
    assert machine.run("sync", place, str(back), "--below", "css/deep").status == 0
    assert contents(back) == {"img/a": b"a", "img/b": b"b", "css/deep/x": b"x"}
