"""Symbolic links that point out of the tree: refused, left behind, or kept where a slave allows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Loop, Machine
from support.servers import S3Server
from support.trees import make_tree, snapshot

OUTSIDE = {"abs": "/usr/share/zoneinfo", "d/rel": "../../elsewhere", "d/odd": "x/../../f"}


@pytest.fixture
def linked(loop: Loop) -> Loop:
    """A source with links that stay inside and links that do not."""
    make_tree(loop.source, {"f": b"f", "d/g": b"g"})
    (loop.source / "in").symlink_to("d/g")
    (loop.source / "d/up").symlink_to("../f")
    for path, target in OUTSIDE.items():
        (loop.source / path).symlink_to(target)
    return loop


def inside(root: Path) -> dict[str, object]:
    """The tree without the links that leave it."""
    return {path: entry for path, entry in snapshot(root).items() if path not in OUTSIDE}


def test_they_are_refused_unless_the_map_says_otherwise(linked: Loop) -> None:
    """With the name of each."""
    pushed = linked.push()

    assert_failed(pushed, 1, says="points out of the tree")
    assert all(f'"{path}"' in pushed.err for path in OUTSIDE)
    assert "--links" in pushed.err


def test_they_are_left_behind(linked: Loop) -> None:
    """All else travels, and the report names them; the next push finds nothing to do, and status no drift."""
    linked.write_map(links="skip")
    assert linked.master.run("maps", "update").status == 0

    report = linked.master.root / "report"
    pushed, pulled = linked.push("--report", str(report)), linked.pull()

    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert inside(linked.source) == snapshot(linked.target)
    told = (report / "WEB/error.txt").read_text()
    assert all(f"{path}\t" in told for path in OUTSIDE)
    assert linked.push().changed_nothing
    assert "up to date" in linked.master.run("status").out
    (linked.source / "in").unlink()
    (linked.source / "in").symlink_to("/elsewhere")
    assert "1 deleted" in linked.push().out


def test_they_are_kept_where_the_slave_allows_it(linked: Loop) -> None:
    """By its own configuration alone, which names places; a map cannot."""
    linked.write_map(links="keep")
    assert linked.master.run("maps", "update").status == 0
    assert linked.push().status == 0
    before = list(linked.target.parent.iterdir())

    refused = linked.pull()
    assert_failed(refused, 3, says="allow_links")
    assert list(linked.target.parent.iterdir()) == before

    def allow(*places: str) -> None:
        named = ", ".join(f'"{place}"' for place in places)
        maps = f"{linked.bucket}/maps"
        linked.slave.write_config("slave", maps, allow=[linked.target.parent], text=f"allow_links = [{named}]")

    allow("/usr/share")
    refused = linked.pull()
    assert_failed(refused, 3, says='"d/rel"')
    assert '"abs"' not in refused.err

    allow("/usr/share", str(linked.target.parent))
    pulled = linked.pull()
    assert pulled.status == 0, pulled.err
    assert snapshot(linked.target) == snapshot(linked.source)
    assert linked.pull().changed_nothing
    allow()
    assert_failed(linked.pull(), 3, says="allow_links")


def test_a_kept_link_is_never_written_through(linked: Loop, tmp_path: Path) -> None:
    """A source in which a link becomes a directory with files, and the other way round."""
    linked.write_map(links="keep")
    outside = tmp_path / "outside"
    make_tree(outside, {"mine": b"mine"})
    maps = f"{linked.bucket}/maps"
    linked.slave.write_config("slave", maps, allow=[linked.target.parent], text='allow_links = ["/"]')
    assert linked.master.run("maps", "update").status == 0
    (linked.source / "way").symlink_to(outside)
    assert (linked.push().status, linked.pull().status) == (0, 0)

    (linked.source / "way").unlink()
    make_tree(linked.source, {"way/mine": b"theirs", "way/new": b"n"})
    assert (linked.push().status, linked.pull().status) == (0, 0)

    assert snapshot(linked.target) == snapshot(linked.source)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"mine": b"mine"}


def test_they_are_followed(loop: Loop, tmp_path: Path) -> None:
    """Files and directories, links in them, rules on what they hold; changes behind them are seen."""
    outside = tmp_path / "outside"
    make_tree(outside, {"f": b"out", "deep/g": b"g", "deep/skipped.tmp": b"", "other/h": b"h", "none": None})
    (outside / "deep/stays").symlink_to("g")
    (outside / "deep/leaves").symlink_to("../other")
    make_tree(loop.source, {"mine": b"mine", "d/x": b"x"})
    (loop.source / "file").symlink_to(outside / "f")
    (loop.source / "d/dir").symlink_to(outside / "deep")
    (loop.source / "again").symlink_to(outside / "other")
    (loop.source / "inside").symlink_to("d/x")
    loop.write_map(links="follow", ignore=["*.tmp"])
    assert loop.master.run("maps", "update").status == 0

    pushed, pulled = loop.push(), loop.pull()

    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    there = [loop.target / path for path in snapshot(loop.target)]
    links = {str(path.relative_to(loop.target)): os.readlink(path) for path in there if path.is_symlink()}
    assert links == {"inside": "d/x", "d/dir/stays": "g"}
    files = {str(path.relative_to(loop.target)): path.read_bytes() for path in there if path.is_file()}
    assert files == {
        "mine": b"mine",
        "d/x": b"x",
        "inside": b"x",
        "file": b"out",
        "d/dir/g": b"g",
        "d/dir/stays": b"g",
        "d/dir/leaves/h": b"h",
        "again/h": b"h",
    }
    assert loop.push().changed_nothing
    assert "up to date" in loop.master.run("status").out
    (outside / "other/h").write_bytes(b"changed")
    assert "~ modified  d/dir/leaves/h" in loop.master.run("dryrun").out
    assert (loop.push().status, loop.pull().status) == (0, 0)
    assert (loop.target / "d/dir/leaves/h").read_bytes() == b"changed"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/nowhere/at/all", "No such file"),
        ("/dev/null", "neither a file nor a directory"),
        ("{source}", "leads back to"),
    ],
)
def test_a_link_that_cannot_be_followed(loop: Loop, target: str, says: str) -> None:
    """The entry fails, and names it."""
    make_tree(loop.source, {"mine": b"mine", "d/x": b"x"})
    (loop.source / "d/odd").symlink_to(target.format(source=loop.source))
    loop.write_map(links="follow")
    assert loop.master.run("maps", "update").status == 0

    pushed = loop.push()

    assert_failed(pushed, 1, says=says)
    assert '"d/odd"' in pushed.err


def test_a_link_to_the_target_is_refused(tmp_path: Path, moto: S3Server) -> None:
    """Each run would copy the copy of the run before."""
    machine, source, target = Machine(tmp_path / "m", moto), tmp_path / "source", tmp_path / "target"
    make_tree(source, {"f": b"f"})
    make_tree(target / "d", {"g": b"g"})
    for place, named in ((target, target), (target / "d", target), (target, target / "new")):
        (source / "way").unlink(missing_ok=True)
        (source / "way").symlink_to(place)
        ended = machine.run("sync", str(source), str(named), "--links", "follow", "--yes")
        assert_failed(ended, 3, says='the link "way" leads to')
    assert (target / "d/g").read_bytes() == b"g"


def test_a_circle_of_links_ends(loop: Loop, tmp_path: Path) -> None:
    """Two directories outside that lead to each other."""
    make_tree(tmp_path / "one", {"a": b"a"})
    make_tree(tmp_path / "two", {"b": b"b"})
    (tmp_path / "one/to").symlink_to(tmp_path / "two")
    (tmp_path / "two/to").symlink_to(tmp_path / "one")
    make_tree(loop.source, {"mine": b"mine"})
    (loop.source / "way").symlink_to(tmp_path / "one")
    loop.write_map(links="follow")
    assert loop.master.run("maps", "update").status == 0

    assert_failed(loop.push(), 1, says="leads back to")


def test_between_two_places(tmp_path: Path, moto: S3Server) -> None:
    """Who types the places decides."""
    machine = Machine(tmp_path / "m", moto)
    source, target = tmp_path / "source", tmp_path / "target"
    make_tree(source, {"f": b"f"})
    (source / "out").symlink_to("/etc/hostname")

    assert machine.run("sync", str(source), str(target)).status == 1
    assert machine.run("sync", str(source), str(target), "--links", "skip").status == 0
    assert os.listdir(target) == ["f"]
    assert machine.run("sync", str(source), str(target), "--links", "keep").status == 0
    assert (target / "out").readlink() == Path("/etc/hostname")
    assert machine.run("sync", str(source), str(target), "--links", "follow").status == 0
    assert (target / "out").read_bytes() == Path("/etc/hostname").read_bytes()
    assert not (target / "out").is_symlink()
