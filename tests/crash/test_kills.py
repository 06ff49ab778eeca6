"""Random SIGKILLs over all roles and ways; `S32S_KILLS` says how many a way and server gets in the long variant.

`kills.py` beside this file does the work, and does it against any other server as a script.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kills import HEADER, WAYS, kill_way
from support.servers import S3Server

KILLS = int(os.environ.get("S32S_KILLS", "17"))


@pytest.mark.parametrize("way", ["push", "copy"])
def test_a_few_kills_tear_nothing(tmp_path: Path, moto: S3Server, way: str) -> None:
    """Old or new after every kill; one plain run later all is equal and nothing is left over."""
    tally = kill_way(tmp_path, moto, way, 2)

    print(HEADER, tally.line(), sep="\n")
    assert tally.problems == []


@pytest.mark.long
@pytest.mark.timeout(60 + 12 * KILLS)
@pytest.mark.parametrize("way", list(WAYS))
def test_many_kills_tear_nothing(tmp_path: Path, server: S3Server, way: str) -> None:
    """The same for every role and way, many times, on every server."""
    tally = kill_way(tmp_path, server, way, KILLS)

    print(HEADER, tally.line(), sep="\n")
    assert tally.hits >= KILLS, "too few kills hit"
    assert tally.problems == []
