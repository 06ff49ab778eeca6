"""Many people at one folder at once: nothing is lost, nobody quarrels for ever, and in the end all are equal."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
from support.peers import Crowd, Peer, lines_on
from support.servers import S3Server

LAYOUTS = pytest.mark.parametrize("layout", ["plain", "packed"])


def crowd(root: Path, server: S3Server, bucket: str, layout: str, count: int, seed: int) -> Crowd:
    """So many people."""
    place = f"s3://{bucket}/team"
    return Crowd([Peer(root / f"p{number:02}", server, place, layout) for number in range(count)], seed)


def check(made: Crowd, server: S3Server, bucket: str) -> None:
    """All are equal, and every line is somewhere."""
    first, *others = [peer.tree() for peer in made.peers]
    assert all(other == first for other in others)
    left = lines_on(server, bucket, "team").union(*(peer.lines() for peer in made.peers))
    assert made.written <= left


@LAYOUTS
def test_three_people_at_once(tmp_path: Path, server: S3Server, bucket: str, layout: str) -> None:
    """A few rounds, with kills."""
    made = crowd(tmp_path, server, bucket, layout, 3, seed=7)
    for _ in range(3):
        made.round(kills=0.25)
    made.settle()

    check(made, server, bucket)
    assert made.written


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("in_forks")
@pytest.mark.parametrize("seed", [1, 2])
@LAYOUTS
def test_twenty_people_at_once(tmp_path: Path, server: S3Server, bucket: str, layout: str, seed: int) -> None:
    """The same with twenty."""
    made = crowd(tmp_path, server, bucket, layout, 20, seed)
    began_s = time.monotonic()
    for _ in range(8):
        made.round(kills=0.15)
    made.settle()
    copies = sum("conflict" in path for path in made.peers[0].tree())
    print(
        f"\n{server.name}, {layout}: {made.syncs} syncs, {made.kills} killed, {len(made.written)} lines, "
        f"{copies} conflict copies, {time.monotonic() - began_s:.0f} s; attempts of a sync: "
        f"{statistics.median(made.attempts)} in the middle, at most {max(made.attempts)}"
    )

    check(made, server, bucket)
