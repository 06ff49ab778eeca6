"""The first thing anybody does: push, pull, and both again."""

from __future__ import annotations

from support.machine import Loop
from support.trees import make_tree, snapshot


def test_a_push_and_a_pull_carry_a_tree_over(loop: Loop) -> None:
    """`s32s sync` on the master, then on the slave, and again without work."""
    make_tree(loop.source, {"index.html": b"hello", "css/site.css": b"body {}", "empty": None})

    pushed, pulled = loop.push(), loop.pull()
    again = loop.push(), loop.pull()

    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert snapshot(loop.target) == snapshot(loop.source)
    assert all(ended.changed_nothing for ended in again)
