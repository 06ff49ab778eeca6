"""What a computer knows to be equal on both sides: kept whole, and path by path in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s.agent.common_memory import CommonMemory
from s32s.core import tree
from s32s.core.item import Item
from s32s.replication.merge_job import Common

A = Item("a", size=1, mtime_ns=5, mode=0o644, sha256="a" * 64, etag="b" * 32, changed="2026-11-23T10:15:00Z ann@studio")
B = Item("b", size=2, mtime_ns=5, mode=0o644, sha256="c" * 64)


def memory(root: Path, place: str = "bucket/team") -> CommonMemory:
    """That of one folder and place."""
    return CommonMemory(root, "/home/ann/team", place)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """With the generation and the folder."""
    for is_strict in (None, True, False):
        known = Common(tree.make([A, B]), 7, "id", is_strict, "d" * 64)
        memory(tmp_path).save(known)
        assert memory(tmp_path).load() == known

    assert memory(tmp_path, "bucket/other").load() == Common(tree.make(()))


def test_a_run_that_is_killed_loses_nothing_of_what_it_noted(tmp_path: Path) -> None:
    """But for a line that was cut off."""
    memory(tmp_path).save(Common(tree.make([A]), 7, "id"))
    killed = memory(tmp_path)
    killed.note("a", None)
    killed.note("b", B)
    (journal,) = tmp_path.glob("peers/*.journal")
    with journal.open("a") as file:
        file.write('{"gone": "b"')

    assert memory(tmp_path).load() == Common(tree.make([B]), 7, "id")

    memory(tmp_path).save(Common(tree.make([A, B]), 8, "id"))
    assert not journal.exists()
    assert memory(tmp_path).load() == Common(tree.make([A, B]), 8, "id")


@pytest.mark.parametrize("data", [b"", b"nonsense", bytes(100)])
def test_damage_is_a_memory_that_is_lost(tmp_path: Path, data: bytes) -> None:
    """Nothing is common then, so nothing is ever deleted for it."""
    memory(tmp_path).save(Common(tree.make([A]), 7, "id"))
    (file,) = tmp_path.glob("peers/*.zst")
    file.write_bytes(data)

    assert memory(tmp_path).load() == Common(tree.make(()))


def test_it_can_be_forgotten(tmp_path: Path) -> None:
    """As if it had never been."""
    one = memory(tmp_path)
    one.save(Common(tree.make([A]), 7, "id"))
    one.note("b", B)
    one.forget()

    assert memory(tmp_path).load() == Common(tree.make(()))
    assert list(tmp_path.glob("peers/*")) == []
