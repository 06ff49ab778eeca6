"""Containment of paths, and the word that was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s.core import paths
from s32s.core.text import closest

NAMES = st.lists(st.sampled_from(["a", "b", "ab", "a.b"]), min_size=1, max_size=4).map("/".join)


@given(NAMES, NAMES)
def test_containment_goes_by_segments(one: str, other: str) -> None:
    """`ab` does not lie in `a`, and two paths overlap only along one line."""
    mine, its = one.split("/"), other.split("/")

    assert paths.is_within(one, other) == (mine[: len(its)] == its)
    assert paths.is_below(one, other) == (mine[: len(its)] == its and one != other)
    assert (
        paths.overlaps(one, other)
        == paths.overlaps(other, one)
        == (mine[: len(its)] == its or its[: len(mine)] == mine)
    )


@pytest.mark.parametrize("path", ["/", "/a", "/a/b"])
def test_everything_lies_in_the_root(path: str) -> None:
    """And a trailing slash above changes nothing."""
    assert paths.is_within(path, "/")
    assert paths.is_within("/a/b", "/a/")
    assert not paths.is_below("/", "/")


@pytest.mark.parametrize(
    ("word", "meant"), [("slvae", "slave"), ("SLAVE", "slave"), ("list_evry", "list-every"), ("xyz", None), ("", None)]
)
def test_the_nearest_word(word: str, meant: str | None) -> None:
    """Case and underscores are slips like others."""
    assert closest(word, ["slave", "master", "list-every"]) == meant
