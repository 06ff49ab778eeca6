"""What only packs can do, on every S3 server: look back, go back, tidy up, change the layout, share a folder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from support.anywhere import fill, good, keep_versions, second_slave
from support.checks import left_overs
from support.machine import Ended, Loop
from support.peers import Crowd, Peer, lines_on
from support.servers import S3Server, keys
from support.trees import make_tree, snapshot

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(params=["unversioned", "versioned"])
def packed(request: pytest.FixtureRequest, loop: Loop) -> Loop:
    """A loop in packs, in a bucket without versions and in one with them."""
    loop.write_map(layout="packed", keep=4)
    if request.param == "versioned":
        keep_versions(loop)
    return loop


def told(ended: Ended, event: str) -> list[dict[str, Any]]:
    """Lines of one kind of a run that ended well."""
    good(ended)
    return [line for line in ended.lines if line["event"] == event]


def test_a_prefix_in_packs_can_be_looked_at_and_put_back(packed: Loop) -> None:
    """Log, diff, restore, rollback, prune and verify, with a file of 20 MiB; a slave follows all of it."""
    master = packed.master.run
    fill(packed.source, 300)
    good(packed.push("--message", "the first"), packed.pull())
    first = snapshot(packed.source)
    with (packed.source / "big.bin").open("r+b") as big:
        big.seek(9_000_000)
        big.write(b"in the middle")
    (packed.source / "d2/file 2.txt").unlink()
    good(packed.push(), packed.pull())
    assert snapshot(packed.target) == snapshot(packed.source) != first

    log = told(master("log", "WEB", "--json"), "generation")
    assert [(one["generation"], one["message"]) for one in log] == [(2, ""), (1, "the first")]
    differ = told(master("diff", "WEB", "--json"), "difference")
    assert [(one["path"], one["what"]) for one in differ] == [("big.bin", "modified"), ("d2/file 2.txt", "deleted")]
    back = packed.source.parent / "back"
    good(master("restore", "WEB", ".", "--generation", "1", "--to", str(back)))
    assert snapshot(back) == first
    good(master("rollback", "WEB"), packed.pull("--verify"))
    assert snapshot(packed.target) == first
    good(packed.push(), packed.pull())
    assert [one["generation"] for one in told(master("log", "WEB", "--json"), "generation")] == [4, 3, 2, 1]

    make_tree(packed.source, {"big.bin": random.Random(9).randbytes(12_000_000)})
    good(packed.push())
    before = keys(packed.server, packed.bucket, packed.prefix)
    pruned = told(master("prune", "WEB", "--keep", "1", "--yes", "--grace", "0s", "--json"), "pruned")
    assert [one["generations"] for one in pruned] == [[4, 3, 2]]
    after = keys(packed.server, packed.bucket, packed.prefix)
    assert sum(before.values()) - sum(after.values()) > 19_000_000
    assert told(master("verify", "WEB", "--json"), "verified")[0]["damaged"] == {}
    good(packed.pull("--verify"))
    assert snapshot(packed.target) == snapshot(packed.source)
    assert left_overs(packed) == []


def test_both_ways_between_the_layouts(packed: Loop, tmp_path: Path) -> None:
    """A slave goes along, and one that begins afterwards is equal, too; nothing is left of the other layout."""
    master = packed.master.run
    fill(packed.source, 60)
    good(packed.push(), packed.pull())
    for layout in ("plain", "packed"):
        good(master("convert", "WEB", "--layout", layout, "--yes"))
        packed.write_map(layout=layout, keep=4)
        make_tree(packed.source, {"d1/file 1.txt": layout.encode()})

        good(packed.push("--update-maps"), packed.pull("--update-maps", "--verify"))

        beginner = second_slave(packed, tmp_path / layout)
        good(beginner.pull())
        for slave in (packed, beginner):
            assert snapshot(slave.target) == snapshot(packed.source)
        found = keys(packed.server, packed.bucket, f"{packed.prefix}/")
        of_other = "/.s32s/packs/" if layout == "plain" else "/d1/"
        assert [key for key in found if of_other in key] == []


def test_three_people_share_a_folder_at_once(tmp_path: Path, server: S3Server, bucket: str, layout: str) -> None:
    """Random edits and kills for three rounds: no line is lost, and in the end all are equal."""
    place = f"s3://{bucket}/team"
    crowd = Crowd([Peer(tmp_path / f"p{number}", server, place, layout) for number in range(3)], seed=3)
    for _ in range(3):
        crowd.round(kills=0.25)
    crowd.settle()

    first, *others = [peer.tree() for peer in crowd.peers]
    assert [other == first for other in others] == [True, True]
    assert crowd.written
    left = lines_on(server, bucket, "team").union(*(peer.lines() for peer in crowd.peers))
    assert crowd.written <= left
