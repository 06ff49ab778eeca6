"""What a change touches: the smallest path that holds all of it, and nothing beside that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.local import COPY, LAST, PATIENT, Act, Run
from support.trees import make_tree

from s32s.core.errors import SourceChanged
from s32s.stores.base import Policy
from s32s.system import atomic

FIRST = {"kept": b"kept", "d/a": b"a", "d/b": b"b", "d/e/f": b"f", "other/x": b"x"}


def contents(root: Path) -> dict[str, bytes]:
    """The files below a directory."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def marks(root: Path) -> dict[str, tuple[int, int]]:
    """What a link or a rename would move: inode and change time of each name."""
    paths = [root, *root.rglob("*")]
    return {str(path.relative_to(root)): ((s := path.lstat()).st_ino, s.st_ctime_ns) for path in paths}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A target that holds the first tree."""
    target = tmp_path / "target"
    Run(target).go(FIRST)
    return target


def without(tree: Mapping[str, bytes], *paths: str) -> dict[str, bytes]:
    """The tree, less some files."""
    return {path: data for path, data in tree.items() if path not in paths}


#: A second tree, and which names may get another inode or change time: those of the unit, and the directory around it.
CHANGES: dict[str, tuple[dict[str, bytes], set[str]]] = {
    "one file is replaced": (FIRST | {"d/a": b"A"}, {"d", "d/a"}),
    "one file is new": (FIRST | {"d/e/new": b"n"}, {"d/e", "d/e/new"}),
    "one file goes": (without(FIRST, "d/b"), {"d", "d/b"}),
    "one file of the root is replaced": (FIRST | {"kept": b"K"}, {".", "kept"}),
    "a directory comes": (FIRST | {"d/n/1": b"1", "d/n/2": b"2"}, {"d", "d/n", "d/n/1", "d/n/2"}),
    "a directory goes": (without(FIRST, "d/e/f"), {"d", "d/e", "d/e/f"}),
    "a file becomes a directory": (without(FIRST, "d/a") | {"d/a/1": b"1"}, {"d", "d/a", "d/a/1"}),
    "a directory becomes a file": (without(FIRST, "d/e/f") | {"d/e": b"e"}, {"d", "d/e", "d/e/f"}),
    "a file is renamed": (without(FIRST, "d/a") | {"d/z": b"a"}, {".", "d", "d/a", "d/z", "d/b", "d/e", "d/e/f"}),
    "two directories change": (FIRST | {"d/a": b"A", "other/x": b"X"}, {*[".", "d", "kept", "other"], *FIRST, "d/e"}),
}


@pytest.mark.parametrize(("second", "touched"), CHANGES.values(), ids=CHANGES)
def test_only_the_unit_is_touched(root: Path, second: dict[str, bytes], touched: set[str]) -> None:
    """All else keeps inode and change time, and nothing is left over."""
    run = Run(root)
    run.go(FIRST)
    before = marks(root)

    run.go(second)

    assert contents(root) == second
    assert os.listdir(root.parent) == [root.name]
    after = marks(root)
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= touched


@pytest.mark.parametrize(("second", "touched"), CHANGES.values(), ids=CHANGES)
def test_what_is_remembered_is_true_and_enough(root: Path, second: dict[str, bytes], touched: set[str]) -> None:
    """The next run reads no file; `Run` checks that nothing is remembered wrongly."""
    run = Run(root)
    run.go(FIRST)
    run.go(second)

    assert {path for path, _ in run.index.items()} == set(second)
    run.go(second)
    assert contents(root) == second


def exchanging(patch: pytest.MonkeyPatch, root: Path, act: Act) -> None:
    """Let something happen in the target just before the unit is exchanged, after the last look."""
    acts = [act]
    for name in ("exchange", "rename_new"):
        real = getattr(atomic, name)

        def late(a_dir: int, a: str, b_dir: int, b: str, real: object = real) -> None:
            if {a, b} <= {"a", "b"} and a != b:
                real(a_dir, a, b_dir, b)  # type: ignore[operator] # the probe
                return
            if acts:
                acts.pop()(root)
            real(a_dir, a, b_dir, b)  # type: ignore[operator]

        patch.setattr(atomic, name, late)


RACES: dict[str, tuple[dict[str, bytes], Act, dict[str, bytes]]] = {
    "the file is replaced": (
        FIRST | {"d/a": b"A"},
        lambda root: make_tree(root, {"d/mine": b"mine"}) or (root / "d/mine").rename(root / "d/a"),
        {"d/a": b"mine"},
    ),
    "the file is edited": (FIRST | {"d/a": b"A"}, lambda root: (root / "d/a").write_bytes(b"mine"), {"d/a": b"mine"}),
    "the new file is there": (FIRST | {"d/n": b"N"}, lambda root: make_tree(root, {"d/n": b"mine"}), {"d/n": b"mine"}),
    "the file that goes is edited": (
        without(FIRST, "d/a"),
        lambda root: (root / "d/a").write_bytes(b"mine"),
        {"d/a": b"mine"},
    ),
    "the directory is another one": (
        FIRST | {"d/a": b"A", "d/b": b"B"},
        lambda root: (root / "d").rename(root / "moved") and make_tree(root, {"d/mine": b"mine"}),
        {"d/mine": b"mine", "moved/a": b"a"},
    ),
}


@pytest.mark.parametrize("policy", [PATIENT, LAST, COPY], ids=["sync", "last attempt", "copy"])
@pytest.mark.parametrize(("second", "act", "there"), RACES.values(), ids=RACES)
def test_what_comes_between_the_last_look_and_the_exchange_stays(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    second: dict[str, bytes],
    act: Act,
    there: dict[str, bytes],
    policy: Policy,
) -> None:
    """The run starts over, and finds it."""
    if policy is COPY and "d/a" not in second:
        pytest.skip("copy deletes nothing")
    with monkeypatch.context() as patch:
        exchanging(patch, root, act)
        with pytest.raises(SourceChanged):
            Run(root).go(second, policy)

    assert there.items() <= contents(root).items()
    assert os.listdir(root.parent) == [root.name]


def test_a_file_that_comes_into_a_directory_that_is_exchanged_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is carried over, as when the whole target is exchanged."""
    exchanging(monkeypatch, root, lambda root: make_tree(root, {"d/late": b"late", "d/e/late": b"late"}))

    told = Run(root).go(FIRST | {"d/a": b"A", "d/b": b"B"})

    assert contents(root) == FIRST | {"d/a": b"A", "d/b": b"B", "d/late": b"late", "d/e/late": b"late"}
    assert sorted(told) == ["d/e/late", "d/late"]


def test_a_target_that_was_replaced_is_left_alone(root: Path) -> None:
    """Also where one file would be renamed in the directory that was opened."""

    def act(root: Path) -> None:
        root.rename(root.with_name("moved"))
        make_tree(root, {"mine": b"mine"})

    with pytest.raises(Exception, match="replaced by somebody else"):
        Run(root).go(FIRST | {"d/a": b"A"}, moments={"downloads": act})

    assert contents(root) == {"mine": b"mine"}
    assert contents(root.with_name("moved")) == FIRST
