"""What a watch remembers: a look at the places that were told of is as good as a walk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.trees import make_tree

from s32s.core.changes import Changes
from s32s.core.rules import compile_rules
from s32s.core.tree import Tree, make
from s32s.stores.local.memory import LocalMemory
from s32s.stores.local.source import walk_source
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.walk import DirectoryListing

NAMES = st.sampled_from(["a", "a/b", "a/b/c", "a/b/c/d", "a.x", "a-b", "e", "e/f", "ignored/x", "a/skip.tmp"])
ACTS = st.lists(
    st.tuples(st.sampled_from(["write", "mkdir", "remove", "chmod", "link", "move"]), NAMES, NAMES), max_size=12
)


def act(root: Path, what: str, name: str, other: str) -> dict[str, bool]:
    """Do something; return what a watch would tell of."""
    path, there = root / name, root / other
    try:
        match what:
            case "write":
                path.write_bytes(os.urandom(3))
            case "mkdir":
                path.mkdir()
            case "link":
                path.symlink_to("no/target")
            case "chmod":
                path.chmod(0o700)
            case "remove":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            case "move":
                path.rename(there)
                return {name: True, other: True}
    except OSError:
        return {}
    return {name: what in ("mkdir", "remove")}


def facts(listing: DirectoryListing) -> list[object]:
    """All that a listing says."""
    return [listing.found(row) for row in range(len(listing))]


@pytest.mark.parametrize("rules", [{}, {"ignore": ["ignored*", "*.tmp"]}], ids=["all", "some"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(acts=ACTS)
def test_a_patch_is_what_a_walk_finds(
    tmp_path_factory: pytest.TempPathFactory, rules: dict[str, list[str]], acts: list[tuple[str, str, str]]
) -> None:
    """Whatever was done, as long as it was told of."""
    root = tmp_path_factory.mktemp("memory")
    make_tree(root, {"a/b/c/d": b"d", "a/b/z": b"z", "e/f": b"f", "ignored/x": b"x"})
    told, compiled = Changes(), compile_rules(**rules)
    memory = LocalMemory(take=lambda: told)
    fd = os.open(root, os.O_RDONLY)
    try:
        before = walk_source(fd, compiled)
        memory.keep(before, before.tree(), StatCache(), saved=True)
        for what, name, other in acts:
            for path, deep in act(root, what, name, other).items():
                told.mark(path, deep=deep)

        patch = memory.look(
            lambda path, descends: (
                DirectoryListing()
                if any(compiled.prunes(above) for above in [path[:at] for at, char in enumerate(path) if char == "/"])
                else walk_source(fd, compiled, only=path, descends=descends)
            )
        )

        assert patch is not None
        after = walk_source(fd, compiled)
        assert facts(patch.listing) == facts(after)
        assert patch.tree.patched(patch.gone, tree_of(patch.come)) == after.tree()
    finally:
        os.close(fd)


def tree_of(listing: DirectoryListing) -> Tree:
    """The items of a listing."""
    return make(listing.found(row).item for row in range(len(listing)))


def test_what_was_not_kept_stays_marked(tmp_path: Path) -> None:
    """A run that fails has done nothing about it."""
    make_tree(tmp_path, {"a": b"a", "b": b"b"})
    told = [Changes({"a": False}), Changes(), Changes({"b": False})]
    memory = LocalMemory(take=lambda: told.pop(0))
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        listing = walk_source(fd, compile_rules())
        memory.keep(listing, listing.tree(), StatCache(), saved=True)

        def look() -> list[str]:
            patch = memory.look(lambda path, descends: walk_source(fd, compile_rules(), only=path, descends=descends))
            assert patch is not None
            return patch.come.paths

        assert look() == ["a"]
        assert look() == ["a"]
        assert look() == ["a", "b"]
    finally:
        os.close(fd)


def test_too_many_changes_are_everything() -> None:
    """And everything it stays; the root stands for everything too."""
    changes = Changes()
    for number in range(20_001):
        changes.mark(str(number))
    assert changes.everything
    assert not changes.paths
    changes.mark("more")
    assert not changes.paths
    root = Changes()
    root.mark("")
    assert root.everything


def test_what_is_below_something_that_is_looked_at_whole_is_not_looked_at_twice() -> None:
    """Paths in order, by their segments."""
    changes = Changes({"a": True, "a/b": True, "a.x": False, "a/b/c": False, "b": False, "b/c": True})

    assert changes.tops() == [("a", True), ("a.x", False), ("b", False), ("b/c", True)]
