"""Checkpoints: a run that finds nothing new is quick, and nothing that is new escapes it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.faultproxy import FaultProxy
from support.machine import Loop
from support.servers import get, put
from support.trees import make_tree, snapshot

TREE = {"index.html": b"hello", "css/site.css": b"body {}", "css/old.css": b"p {}", "empty": None}


@pytest.fixture
def settled(proxied: Loop) -> Loop:
    """A loop behind a proxy, pushed and pulled until both sides have a checkpoint."""
    loop = proxied
    make_tree(loop.source, TREE)
    os.utime(loop.source / "index.html", (1_700_000_000, 1_700_000_000))
    for name in ("css/site.css", "css/old.css"):
        os.utime(loop.source / name, (1_700_000_001, 1_700_000_001))
    for _ in range(3):
        assert loop.push().status == 0
    for _ in range(3):
        assert loop.pull().status == 0
    return loop


def requests(proxy: FaultProxy, run: Callable[[], object]) -> list[str]:
    """What a run sends, as "METHOD key"."""
    proxy.clear()
    before = len(proxy.requests)
    run()
    return [
        "LIST" if request.is_list else f"{request.method} {request.key.rpartition('/')[2]}"
        for request in proxy.requests[before:]
    ]


def test_a_pull_without_news_is_one_request(settled: Loop, proxy: FaultProxy) -> None:
    """The head, and nothing else."""
    assert requests(proxy, settled.pull) == ["GET head.json"]


def test_a_push_without_news_lists_and_reads_the_head(settled: Loop, proxy: FaultProxy) -> None:
    """A master always looks at the objects."""
    assert sorted(requests(proxy, settled.push)) == ["GET head.json", "LIST"]


def test_a_pull_of_plain_objects_without_news_is_one_list(settled: Loop, proxy: FaultProxy) -> None:
    """The LIST stands for the manifest."""
    settled.write_map(manifest=False, slave=str(settled.target.parent / "plain"))
    settled.slave.run("maps", "update")
    for _ in range(3):
        assert settled.pull().status == 0

    assert requests(proxy, settled.pull) == ["LIST"]


def same_times(path: Path, change: Callable[[], object]) -> None:
    """Change a file and give it its modification time back."""
    status = path.stat()
    change()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


#: What may happen to either directory.
ANYWHERE = [
    pytest.param(lambda root: (root / "css/site.css").write_bytes(b"other"), id="another size"),
    pytest.param(
        lambda root: same_times(root / "css/site.css", lambda: (root / "css/site.css").write_bytes(b"BODY {}")),
        id="other bytes of the same size and time",
    ),
    pytest.param(lambda root: (root / "css/site.css").unlink(), id="a file is gone"),
    pytest.param(lambda root: (root / "more").mkdir(), id="an empty directory is new"),
    pytest.param(lambda root: (root / "css").chmod(0o700), id="another mode of a directory"),
]


@pytest.mark.parametrize(
    "disturb",
    [
        *ANYWHERE,
        pytest.param(lambda root: (root / "css/new.css").write_bytes(b"x"), id="a file is new"),
        pytest.param(lambda root: (root / "css/site.css").chmod(0o600), id="another mode"),
        pytest.param(lambda root: (root / "css/site.css").chmod(0o4644), id="a setuid bit"),
        pytest.param(lambda root: (root / "css/site.css").chmod(0o2644), id="a setgid bit"),
        pytest.param(lambda root: (root / "css/site.css").chmod(0o1644), id="a sticky bit"),
        pytest.param(lambda root: (root / "empty").rmdir(), id="an empty directory is gone"),
        pytest.param(lambda root: (root / "link").symlink_to("css"), id="a link is new"),
        pytest.param(
            lambda root: ((root / "css/site.css").rename(root / "x"), (root / "x").rename(root / "css/old.css")),
            id="two files change places",
        ),
    ],
)
def test_whatever_changes_at_the_target_is_put_right(settled: Loop, disturb: Callable[[Path], object]) -> None:
    """The next pull heals it, checkpoint or not."""
    disturb(settled.target)

    healed = settled.pull()

    assert healed.status == 0, healed.err
    assert snapshot(settled.target) == snapshot(settled.source)


@pytest.mark.parametrize("disturb", ANYWHERE)
def test_whatever_changes_at_the_source_travels(settled: Loop, disturb: Callable[[Path], object]) -> None:
    """A master's checkpoint hides nothing."""
    disturb(settled.source)

    pushed, pulled = settled.push(), settled.pull()

    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert snapshot(settled.target) == snapshot(settled.source)


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(
            lambda loop: put(loop.server, loop.bucket, f"{loop.prefix}/index.html", b"HELLO"), id="overwritten"
        ),
        pytest.param(
            lambda loop: loop.server.client().delete_object(Bucket=loop.bucket, Key=f"{loop.prefix}/index.html"),
            id="deleted",
        ),
        pytest.param(lambda loop: put(loop.server, loop.bucket, f"{loop.prefix}/stray", b"x"), id="added"),
        pytest.param(
            lambda loop: loop.server.client().delete_object(Bucket=loop.bucket, Key=f"{loop.prefix}/.s32s/head.json"),
            id="the head deleted",
        ),
    ],
)
def test_a_push_heals_what_another_tool_did_to_the_objects(settled: Loop, disturb: Callable[[Loop], object]) -> None:
    """The master's LIST is part of its checkpoint."""
    disturb(settled)

    pushed, pulled = settled.push(), settled.pull("--verify")

    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert get(settled.server, settled.bucket, f"{settled.prefix}/index.html") == b"hello"
    assert snapshot(settled.target) == snapshot(settled.source)


def test_other_rules_break_the_seal(settled: Loop) -> None:
    """What a target is to be depends on them."""
    settled.write_map(ignore=["css/old.css"])
    settled.slave.run("maps", "update")

    pulled = settled.pull()

    assert pulled.status == 0, pulled.err
    assert not (settled.target / "css/old.css").exists()


def test_a_copy_that_left_something_seals_nothing(settled: Loop) -> None:
    """`copy` spares what the source lacks, and the next `sync` still deletes it."""
    (settled.source / "css/old.css").unlink()
    for _ in range(3):
        assert settled.master.run("copy").status == 0
    assert get(settled.server, settled.bucket, f"{settled.prefix}/css/old.css") == b"p {}"

    assert settled.push().status == 0
    assert settled.pull().status == 0

    assert snapshot(settled.target) == snapshot(settled.source)


def test_verify_looks_at_no_checkpoint(settled: Loop, proxy: FaultProxy) -> None:
    """It lists, and reads every file."""
    assert "LIST" in requests(proxy, lambda: settled.pull("--verify"))


def test_a_damaged_checkpoint_is_none(settled: Loop) -> None:
    """It is only a cache."""
    file = settled.slave.root / "state/state.db"
    with sqlite3.connect(file) as database:
        assert database.execute("UPDATE meta SET value = '{\"of\": 1' WHERE name LIKE 'checkpoint %'").rowcount == 1
    database.close()

    pulled = settled.pull()

    assert pulled.status == 0, pulled.err
    assert pulled.changed_nothing


def test_the_report_of_a_settled_run_is_that_of_a_full_one(settled: Loop, tmp_path: Path) -> None:
    """Every file of it, also when one has been lost or changed since."""
    full, quick = tmp_path / "full", tmp_path / "quick"
    assert settled.pull("--verify", "--report", str(full)).status == 0
    for _ in range(2):
        assert settled.pull("--report", str(quick)).status == 0
        (quick / "WEB/unchanged.txt").write_text("nonsense")
        (quick / "WEB/success.txt").unlink()
    assert settled.pull("--report", str(quick)).status == 0

    files = [file.relative_to(full) for file in full.rglob("*.txt")]
    assert len(files) > 6
    for file in files:
        assert (quick / file).read_bytes() == (full / file).read_bytes(), file


def test_a_settled_dry_run_counts_what_stays(settled: Loop) -> None:
    """Its JSON says how many names are unchanged."""
    ended = settled.slave.run("dryrun", "--json")

    planned = next(facts for line in ended.out.splitlines() if (facts := json.loads(line))["event"] == "planned")
    assert (planned["unchanged"], planned["files"], planned["new"]) == (3, 3, 0)
