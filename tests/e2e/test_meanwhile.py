"""What somebody does in a slave's directory while the command runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checks import assert_failed, left_overs
from support.faultproxy import Do, FaultProxy, Rule, on
from support.machine import Loop
from support.trees import make_tree, snapshot


@pytest.fixture(params=["swap", "in-place"])
def behind(request: pytest.FixtureRequest, proxied: Loop) -> Loop:
    """A slave that is one file behind, and has a file of its own."""
    proxied.write_map(apply=request.param)
    make_tree(proxied.source, {"a": b"a" * 1000, "d/b": b"b"})
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    make_tree(proxied.source, {"new": b"n" * 3000})
    assert proxied.push().status == 0
    make_tree(proxied.target, {"local": b"1"})
    return proxied


def during_the_download(proxy: FaultProxy, act: Callable[[], object], *, times: int | None = 1) -> None:
    """Do something whenever the new file is asked for."""
    proxy.add(Rule(on("GET", "data/web/new"), Do(act), times=times))


def test_copy_deletes_nothing_that_appears(behind: Loop, proxy: FaultProxy) -> None:
    """A new file and another version of a local one are there afterwards."""

    def act() -> None:
        make_tree(behind.target, {"upload": b"u", "later": b"2"})
        (behind.target / "later").rename(behind.target / "local")

    during_the_download(proxy, act)

    copied = behind.slave.run("copy")

    assert (copied.status, copied.err) == (0, "")
    assert {name: (behind.target / name).read_bytes() for name in ("upload", "local")} == {
        "upload": b"u",
        "local": b"2",
    }
    assert (behind.target / "new").read_bytes() == b"n" * 3000
    assert left_overs(behind) == []


def test_sync_counts_what_appears(behind: Loop, proxy: FaultProxy) -> None:
    """More of it than `max_delete` allows, and the run is refused with everything in its place."""
    behind.slave.write_config("slave", f"{behind.bucket}/maps", allow=[behind.target.parent], text="max_delete = 5")
    before = snapshot(behind.target)
    names = [f"made{number}" for number in range(20)]
    during_the_download(proxy, lambda: make_tree(behind.target, dict.fromkeys(names, b"x")))

    assert_failed(behind.pull(), 3, says="21 of 23 files would be deleted")
    assert set(snapshot(behind.target)) == {*before, *names}
    assert left_overs(behind) == []


def test_sync_reports_what_appears(behind: Loop, proxy: FaultProxy, tmp_path: Path) -> None:
    """It goes, as the verb says, and the report names it."""
    during_the_download(proxy, lambda: make_tree(behind.target, {"upload": b"u"}))

    synced = behind.pull("--report", str(tmp_path / "report"))

    assert synced.status == 0, synced.err
    assert snapshot(behind.target) == snapshot(behind.source)
    assert next(tmp_path.glob("report/**/deleted.txt")).read_text().split() == ["local", "upload"]


@pytest.mark.long
def test_a_sync_ends_although_files_appear_all_the_time(behind: Loop) -> None:
    """Status 0 with the source's files in place, and a word on what was left to the next run."""
    made: list[str] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.002):
            made.append(f"made{len(made)}")
            make_tree(behind.target, {made[-1]: b"x"})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        synced = behind.pull("--force-delete")
    finally:
        stop.set()
        writer.join()

    assert synced.status == 0, synced.err
    assert "changed during the run and stayed as they are" in synced.err
    assert (behind.target / made[-1]).exists()
    assert (behind.target / "new").read_bytes() == b"n" * 3000
    assert left_overs(behind) == []


def test_an_edit_of_a_kept_file_during_a_run_is_put_right_by_the_next(behind: Loop, proxy: FaultProxy) -> None:
    """Same size, time put back: only the change time tells, and it is looked at."""
    kept = behind.target / "a"

    def act() -> None:
        before = kept.stat()
        kept.write_bytes(b"?" * 1000)
        os.utime(kept, ns=(before.st_atime_ns, before.st_mtime_ns))

    during_the_download(proxy, act)
    assert behind.pull().status == 0

    assert behind.pull().status == 0
    assert snapshot(behind.target) == snapshot(behind.source)
