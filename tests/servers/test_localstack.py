"""Two mistakes in the listing of LocalStack 2026.3, which stands here for every server that lists wrongly."""

from __future__ import annotations

import pytest
from support.checks import assert_failed, assert_untouched
from support.machine import Loop
from support.servers import S3Server
from support.trees import make_tree, snapshot

pytestmark = pytest.mark.timeout(900)

#: Sorted behind the first page of a thousand keys, whose last one is what the next page begins with.
SKIPPED = {f"{{odd {number}": b"odd" for number in range(20)}
NON_ASCII = {f"é{number:05}": b"x" for number in range(1_050)}


@pytest.fixture
def server(localstack: S3Server) -> S3Server:
    """This one only."""
    return localstack


@pytest.fixture
def behind(loop: Loop) -> Loop:
    """A slave up to date with a first generation of three files."""
    make_tree(loop.source, {"a": b"a", "b/c": b"c", "b/d": b"d"})
    assert loop.push().status == 0
    assert loop.pull("--verify").status == 0
    return loop


def test_keys_that_a_listing_skips_are_missed(behind: Loop) -> None:
    """It compares encoded keys with a plain one, so `%7B` comes before `f`: no file is deleted for that."""
    make_tree(behind.source, {f"f{number:05}": b"x" for number in range(1_050)} | SKIPPED)
    pushed = behind.push()
    before = snapshot(behind.target)

    verified = behind.pull("--verify")

    assert pushed.status == 0, pushed.err
    assert_failed(verified, 1, says="not those of the manifest")
    assert '"{odd 0"' in verified.err
    assert_untouched(behind, before)


def test_a_listing_that_breaks_at_a_page_is_a_failure(behind: Loop) -> None:
    """Its tokens cannot hold a letter beyond ASCII: the server's error is told, and no part is taken for the whole."""
    make_tree(behind.source, NON_ASCII)
    pushed = behind.push()
    before = snapshot(behind.target)

    verified = behind.pull("--verify")

    assert pushed.status == 0, pushed.err
    assert_failed(verified, 75, says="InternalError")
    assert_untouched(behind, before)
