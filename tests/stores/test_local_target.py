"""What somebody does in a target while a run goes on: nothing of it is lost, and nothing is remembered wrongly.

The target is a real directory, and the change is carried out step by step, so that something can happen between any
two of them.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest
from support.local import COPY, LAST, MOMENTS, PATIENT, Act, Run
from support.trees import make_tree

from s32s.core.errors import SourceChanged
from s32s.stores.base import Policy

COARSE_CLOCK = 5  # CLOCK_REALTIME_COARSE, <linux/time.h>: what change times are taken from


def contents(root: Path) -> dict[str, bytes]:
    """The files below a directory."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


FIRST = {"kept": b"kept", "d/kept": b"deep", "changes": b"old"}
SECOND = {**FIRST, "changes": b"newer", "arrives": b"x"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target that holds the first tree."""
    target = tmp_path / "target"
    Run(target).go(FIRST, PATIENT, {}, monkeypatch)
    return target


def replace(path: Path, data: bytes) -> None:
    """Put another file under a name, as careful programs do."""
    other = path.with_name(path.name + "~")
    write(other, data)
    other.rename(path)


def write(path: Path, data: bytes) -> None:
    """Write a file, with a time long past: the index would believe it."""
    path.write_bytes(data)
    os.utime(path, (1_600_000_000, 1_600_000_000))


#: What a program may do in the target, and what must be there after a `copy`; None for a name that is gone.
DEEDS: dict[str, tuple[Act, dict[str, bytes | None]]] = {
    "a file is new": (lambda root: write(root / "upload", b"u"), {"upload": b"u"}),
    "a directory is new": (lambda root: make_tree(root, {"up/l/oad": b"u"}), {"up/l/oad": b"u"}),
    "a local file is replaced": (lambda root: replace(root / "local", b"2"), {"local": b"2"}),
    "a local file grows": (lambda root: write(root / "local", b"22"), {"local": b"22"}),
    "a local file is moved": (lambda root: (root / "local").rename(root / "d/l"), {"d/l": b"1"}),
    "a kept file is replaced": (lambda root: replace(root / "kept", b"KEPT"), {"kept": b"KEPT"}),
    "a kept file is edited": (lambda root: write(root / "kept", b"KEPT"), {"kept": b"KEPT"}),
    "a file that is to change is replaced": (lambda root: replace(root / "changes", b"mine"), {"changes": b"mine"}),
    "a file that is to change is edited": (lambda root: write(root / "changes", b"mine"), {"changes": b"mine"}),
    "a file that is to come is there": (lambda root: write(root / "arrives", b"mine"), {"arrives": b"mine"}),
    "a local directory is filled": (lambda root: write(root / "empty/x", b"x"), {"empty/x": b"x"}),
}


def deeds(*, but: str = "") -> list[object]:
    """Each as a parameter."""
    return [pytest.param(*deed, id=name) for name, deed in DEEDS.items() if not but or but not in name]


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
@pytest.mark.parametrize(("act", "there"), deeds())
def test_copy_keeps_what_happens_during_the_downloads(
    root: Path, monkeypatch: pytest.MonkeyPatch, act: Act, there: dict[str, bytes], in_place: bool
) -> None:
    """Whatever appears or changes is there afterwards, as its program has left it; all else is what the source says."""
    make_tree(root, {"local": b"1", "empty": None})

    Run(root, in_place=in_place).go(SECOND, COPY, {"downloads": act}, monkeypatch)

    local = {} if "moved" in str(there) or "d/l" in there else {"local": b"1"}
    assert contents(root) == {**SECOND, **local, **there}
    assert os.listdir(root.parent) == [root.name]


@pytest.mark.parametrize(("act", "there"), deeds(but="moved"))
@pytest.mark.parametrize("policy", [PATIENT, COPY], ids=["sync", "copy"])
def test_what_happens_in_the_old_tree_until_the_exchange_is_carried_over(
    root: Path, monkeypatch: pytest.MonkeyPatch, act: Act, there: dict[str, bytes], policy: Policy
) -> None:
    """As if it had come just after the run: `sync` deletes nothing that no plan has named."""
    make_tree(root, {"local": b"1", "empty": None})

    Run(root).go(SECOND, policy, {"synced": act}, monkeypatch)

    planned = {} if policy.deletes else {"local": b"1"}
    if policy.deletes and ("local" in there or "changes" in there):
        there = {}  # the plan has named it, whatever it holds by now
    assert contents(root) == {**SECOND, **planned, **there}
    assert os.listdir(root.parent) == [root.name]


UNPLANNED = ["a file is new", "a directory is new", "a kept file is replaced", "a kept file is edited", "is filled"]


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
@pytest.mark.parametrize(
    "act", [pytest.param(deed[0], id=name) for name, deed in DEEDS.items() if any(part in name for part in UNPLANNED)]
)
def test_sync_starts_over_when_something_moves_that_its_plan_has_not_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, act: Act, in_place: bool
) -> None:
    """The news pass planner, guards and report in the next turn, and then the target is exact."""
    make_tree(root, {"local": b"1", "empty": None})
    run = Run(root, in_place=in_place)

    with pytest.raises(SourceChanged, match="changed during the run"):
        run.go(SECOND, PATIENT, {"downloads": act}, monkeypatch)

    assert contents(root)["changes"] == b"old"
    run.go(SECOND, PATIENT, {}, monkeypatch)
    assert contents(root) == SECOND


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
@pytest.mark.parametrize(
    "name", ["a local file grows", "a local file is replaced", "a file that is to change is edited"]
)
def test_sync_does_what_it_has_planned_however_often_that_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, in_place: bool
) -> None:
    """A log in the target that is written all the time does not hold a sync up."""
    make_tree(root, {"local": b"1"})

    told = Run(root, in_place=in_place).go(SECOND, PATIENT, {"downloads": DEEDS[name][0]}, monkeypatch)

    assert contents(root) == SECOND
    assert told == []


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
def test_the_last_turn_of_a_sync_leaves_what_appears_and_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """A program that never stops making files cannot stop a sync; the next run plans what it has made."""
    make_tree(root, {"local": b"1"})
    act = DEEDS["a file is new"][0]

    told = Run(root, in_place=in_place).go(SECOND, LAST, {"downloads": act}, monkeypatch)

    assert contents(root) == {**SECOND, "upload": b"u"}
    assert told == ["upload"]


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
def test_copy_says_which_files_of_the_source_have_not_come(
    root: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """Somebody has changed them meanwhile, and the next run brings them."""
    make_tree(root, {"local": b"1"})

    def act(root: Path) -> None:
        replace(root / "changes", b"mine")
        (root / "upload").write_bytes(b"u")

    assert Run(root, in_place=in_place).go(SECOND, COPY, {"downloads": act}, monkeypatch) == ["changes"]


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
@pytest.mark.parametrize("policy", [LAST, COPY], ids=["sync", "copy"])
def test_a_kind_that_changes_meanwhile_stops_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy, in_place: bool
) -> None:
    """A file where the plan needs a directory: nothing is lost, and the next turn plans what is there."""
    source = {**SECOND, "way/file": b"f"}

    with pytest.raises(SourceChanged):
        Run(root, in_place=in_place).go(
            source, policy, {"downloads": lambda root: (root / "way").write_bytes(b"mine")}, monkeypatch
        )

    assert contents(root)["way"] == b"mine"


def test_a_name_that_nobody_can_place_stays_under_another(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that came into the old tree, of which the new one has made a directory."""
    source = {**SECOND, "way/file": b"f"}

    told = Run(root).go(source, COPY, {"synced": lambda root: (root / "way").write_bytes(b"mine")}, monkeypatch)

    assert [name[:4] for name in told] == ["way."]
    assert contents(root) == {**source, told[0]: b"mine"}


def test_what_cannot_be_carried_over_is_kept_for_good(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails at the very file that came last: it stays beside the target, and no later run removes it."""
    rename = os.rename

    def failing(name: str, to: str, **where: int) -> None:
        if name == "late":
            raise OSError(errno.EIO, "Input/output error")
        rename(name, to, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        Run(root).go(SECOND, COPY, {"synced": lambda root: (root / "late").write_bytes(b"mine")}, monkeypatch)
    Run(root).go({**SECOND, "more": b"m"}, COPY)

    assert [path.read_bytes() for path in root.parent.glob(".s32s-new-*/tree/late")] == [b"mine"]
    assert contents(root) == {**SECOND, "more": b"m"}


def same_times(path: Path, data: bytes) -> None:
    """Edit a file in place and put its time back, in another tick of the kernel's clock than what was done before."""
    tick = time.clock_gettime_ns(COARSE_CLOCK)
    while time.clock_gettime_ns(COARSE_CLOCK) == tick:
        pass
    before = path.stat()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
@pytest.mark.parametrize("policy", [PATIENT, COPY], ids=["sync", "copy"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", ["kept", "d/kept", "changes"])
def test_an_edit_whose_time_is_put_back_is_never_remembered(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: str, name: str, policy: Policy, in_place: bool
) -> None:
    """At whatever moment of a run it falls, the next run reads the file and brings the source's."""
    run = Run(root, in_place=in_place)
    run.go(FIRST, PATIENT, {}, monkeypatch)

    def edit(root: Path) -> None:
        same_times(root / name, b"????"[: (root / name).stat().st_size])

    real = os.link

    def link(source: str, path: str, **options: int) -> None:
        if moment == "links" and path != name:  # before or after its own
            edit(root)
        real(source, path, **options)

    with monkeypatch.context() as tap:
        tap.setattr(os, "link", link)
        run.go(SECOND, policy, {moment: edit}, monkeypatch)

    run.go(SECOND, PATIENT, {}, monkeypatch)
    assert contents(root) == SECOND


@pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])
def test_what_nobody_touches_is_remembered(root: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool) -> None:
    """Our own links and renames do not make the next run read everything again."""
    run = Run(root, in_place=in_place)

    run.go(SECOND, PATIENT, {}, monkeypatch)

    now = {path: os.stat(root / path) for path in SECOND}
    assert {path for path, _ in run.index.items()} == set(SECOND)
    assert all(
        seen.stamp[4] == now[path].st_ctime_ns and stat.S_ISREG(now[path].st_mode) for path, seen in run.index.items()
    )


@pytest.mark.parametrize("name", ["local", "kept", "d/kept"])
def test_what_disappears_while_it_is_linked_does_not_stop_a_copy(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Programs that make and remove files all the time would else stop every run."""
    make_tree(root, {"local": b"1"})
    real = os.link

    def link(source: str, path: str, **options: int) -> None:
        (root / name).unlink(missing_ok=True)
        real(source, path, **options)

    monkeypatch.setattr(os, "link", link)

    Run(root).go(SECOND, COPY, {}, monkeypatch)

    assert contents(root) == {path: data for path, data in {**SECOND, "local": b"1"}.items() if path != name}
