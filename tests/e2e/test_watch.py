"""s32s watch, with real processes: what is done to the source shows at the target, whatever comes in between."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.faultproxy import FaultProxy, Rule, Status
from support.machine import Loop, Machine
from support.servers import S3Server, put
from support.trees import make_tree, snapshot

FILES = {f"d{number}/f{number}": b"x%d" % number for number in range(10)}
PATIENCE_S = 30.0


class Watch:
    """A watch that runs, and what it has said."""

    def __init__(self, machine: Machine, *words: str) -> None:
        self.log = machine.root / "watch.log"
        with self.log.open("w") as log:
            self.process = machine.start("watch", *words, output=log)

    @property
    def said(self) -> str:
        """All of it up to now."""
        return self.log.read_text()

    def until(self, what: str | Callable[[], bool]) -> None:
        """Wait until it says something, or until something is so."""
        until = time.monotonic() + PATIENCE_S
        while not (what in self.said if isinstance(what, str) else what()):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, f"{what} did not come:\n{self.said}"
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it; it has a second for that."""
        self.process.send_signal(number)
        return self.process.wait(timeout=5)


@contextlib.contextmanager
def watching(machine: Machine, *words: str) -> Iterator[Watch]:
    """A watch for as long as the block runs."""
    watch = Watch(machine, "--poll", "0.3s", "--settle", "0.1s", *words)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()


BOTH = pytest.mark.parametrize("server", ["moto", "rclone"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> S3Server:
    """One that honours conditions, as most tests are about this machine; `BOTH` also asks for one that does not."""
    name = "foreign" if os.environ.get("S32S_TEST_S3") else getattr(request, "param", "moto")
    found = request.getfixturevalue(name)
    assert isinstance(found, S3Server)
    return found


@pytest.fixture
def both(proxied: Loop) -> Iterator[tuple[Loop, Watch, Watch]]:
    """A master and a slave that watch, and a first tree that has come over."""
    loop = proxied
    make_tree(loop.source, FILES)
    loop.write_map()
    assert loop.push().status == 0
    with watching(loop.master) as master, watching(loop.slave) as slave:
        master.until("watching")
        slave.until(lambda: arrived(loop))
        yield loop, master, slave


def arrived(loop: Loop) -> bool:
    """Whether the target holds what the source holds."""
    try:
        return loop.target.is_dir() and snapshot(loop.target) == snapshot(loop.source)
    except OSError:
        return False  # something was just being exchanged


@BOTH
def test_what_changes_comes_over(both: tuple[Loop, Watch, Watch]) -> None:
    """Files and directories that come, change, move and go; the target never holds anything else in between."""
    loop, _, slave = both
    for act in (
        lambda: make_tree(loop.source, {"d1/f1": b"changed"}),
        lambda: make_tree(loop.source, {"d1/new": b"new", "n/e/w": b"w", "empty": None}),
        lambda: (loop.source / "d2").rename(loop.source / "n/moved"),
        lambda: shutil.rmtree(loop.source / "d3"),
        lambda: (loop.source / "d4/f4").chmod(0o600),
        lambda: (loop.source / "link").symlink_to("d5/f5"),
        lambda: (
            subprocess.run(["cp", "-r", str(loop.source), str(loop.source.parent / "copy")], check=True)
            and (loop.source.parent / "copy").rename(loop.source / "copy")
        ),
    ):
        act()
        slave.until(lambda: arrived(loop))

    make_tree(loop.source, {"d1/f1": b"changed again"})
    before = loop.target.stat().st_ino
    slave.until(lambda: arrived(loop))
    assert loop.target.stat().st_ino == before  # of one file, only that is exchanged


def test_a_change_costs_few_requests(proxied: Loop, proxy: FaultProxy) -> None:
    """A push sends the claim, the file, manifest and head, and removes one manifest; a pull asks for three objects."""
    loop = proxied
    loop.server.needs("conditional writes")
    make_tree(loop.source, FILES)
    loop.write_map()
    with watching(loop.master) as master:
        master.until("10 new")
        for number in range(3):  # so that there is an old manifest to be removed
            make_tree(loop.source, {"d1/f1": b"%d" % number})
            master.until(lambda number=number: master.said.count("1 modified") == number + 1)  # type: ignore[misc]
        proxy.clear()
        make_tree(loop.source, {"d1/f1": b"changed"})
        master.until(lambda: master.said.count("1 modified") == 4)
        master.until(lambda: len(proxy.requests) >= 5)
        time.sleep(0.5)
        kinds = [f"{request.method} {request.key.rpartition('/')[2][:8]}" for request in proxy.requests]
        assert kinds == ["PUT head.jso", "PUT f1", "PUT manifest", "PUT head.jso", "DELETE manifest"]
    with watching(loop.slave, "--poll", "1h") as slave:
        slave.until(lambda: arrived(loop))


@BOTH
def test_nothing_is_sent_while_nothing_changes(both: tuple[Loop, Watch, Watch], proxy: FaultProxy) -> None:
    """But for the head, which the slave asks for."""
    loop, master, slave = both
    assert master.process.poll() is None
    began = len(proxy.requests)
    slave.until(lambda: len(proxy.requests) >= began + 10)  # the first comparison of the master is over by then
    proxy.clear()

    slave.until(lambda: len(proxy.requests) >= 5)

    assert {request.key for request in proxy.requests} == {f"{loop.prefix}/.s32s/head.json"}


@BOTH
def test_s3_goes_away_and_comes_back(both: tuple[Loop, Watch, Watch], proxy: FaultProxy) -> None:
    """It is told once on either side, and nothing that changed meanwhile is lost."""
    loop, master, slave = both
    proxy.add(Rule(lambda request: True, Status(500, "InternalError"), times=None))
    make_tree(loop.source, {"d1/f1": b"changed", "later": b"1"})
    (loop.source / "d2/f2").unlink()
    master.until("it is tried again")
    slave.until("it is tried again")
    make_tree(loop.source, {"later": b"2"})

    proxy.clear()

    slave.until(lambda: arrived(loop))
    assert master.said.count("FAILED") == 1, master.said
    assert "it works again" in master.said


def test_a_source_that_vanishes_deletes_nothing(both: tuple[Loop, Watch, Watch]) -> None:
    """It is waited for, and what it holds when it is back comes over."""
    loop, master, slave = both
    before = snapshot(loop.target)
    elsewhere = loop.source.with_name("elsewhere")
    loop.source.rename(elsewhere)
    master.until("waiting for it")
    loop.source.mkdir()  # as the mount point of a disk that is gone
    master.until("contains no files")
    time.sleep(1)
    assert snapshot(loop.target) == before

    loop.source.rmdir()
    make_tree(elsewhere, {"d1/f1": b"meanwhile"})
    elsewhere.rename(loop.source)

    slave.until(lambda: arrived(loop))


@BOTH
def test_somebody_else_pushes(both: tuple[Loop, Watch, Watch]) -> None:
    """A sync beside the watch; the watch notices that its memory is out of date."""
    loop, master, slave = both
    time.sleep(1)  # a process that is stopped within a transaction keeps the others out of the database
    os.kill(master.process.pid, signal.SIGSTOP)
    make_tree(loop.source, {"d1/f1": b"by another run"})
    assert loop.push().status == 0
    os.kill(master.process.pid, signal.SIGCONT)
    make_tree(loop.source, {"d2/f2": b"by the watch"})

    slave.until(lambda: arrived(loop))

    assert "FAILED" not in master.said


def test_a_burst_of_changes_comes_over_whole(both: tuple[Loop, Watch, Watch]) -> None:
    """More of them than the kernel's queue holds, while the watch stands still."""
    loop, master, slave = both
    os.kill(master.process.pid, signal.SIGSTOP)
    for number in range(60):
        for again in range(160):
            (loop.source / f"d{number % 10}/burst{number}").write_bytes(b"%d" % again)
            (loop.source / f"d{number % 10}/gone").write_bytes(b"")
    make_tree(loop.source, {"new/deep/file": b"x"})
    os.kill(master.process.pid, signal.SIGCONT)

    slave.until(lambda: arrived(loop))
    make_tree(loop.source, {"new/deep/file": b"y"})
    slave.until(lambda: arrived(loop))
    assert "FAILED" not in master.said


def test_saving_as_editors_do(both: tuple[Loop, Watch, Watch]) -> None:
    """A backup, a temporary file, a rename: the target never loses the file."""
    loop, master, slave = both
    file, missing = loop.source / "d1/f1", []
    for number in range(10):
        file.rename(file.with_name("f1~"))
        file.with_name(".f1.tmp").write_bytes(b"%d" % number)
        file.with_name(".f1.tmp").rename(file)
        file.with_name("f1~").unlink()
        for _ in range(20):
            if not (loop.target / "d1/f1").exists():
                missing.append(number)
            time.sleep(0.01)

    slave.until(lambda: arrived(loop))
    assert missing == []
    assert master.process.poll() is None


def test_a_change_in_the_target_is_put_right(both: tuple[Loop, Watch, Watch]) -> None:
    """Where the source changes too, at the latest: what is there is looked at before it is replaced."""
    loop, _, slave = both
    (loop.target / "d1/f1").write_bytes(b"mine")
    make_tree(loop.source, {"d1/f1": b"changed"})

    slave.until(lambda: (loop.target / "d1/f1").read_bytes() == b"changed")


def test_maps_that_change_are_taken_up(both: tuple[Loop, Watch, Watch]) -> None:
    """An entry that comes is watched as soon as the maps are updated."""
    loop, master, _ = both
    other = loop.source.with_name("other")
    make_tree(other, {"o": b"o"})
    entries = [
        {"name": "WEB", "s3": f"{loop.bucket}/{loop.prefix}", "master": str(loop.source), "slave": str(loop.target)},
        {"name": "OTHER", "s3": f"{loop.bucket}/data/other", "master": str(other)},
    ]
    put(loop.server, loop.bucket, "maps/web.json", json.dumps(entries).encode())

    assert loop.master.run("maps", "update").status == 0

    master.until("OTHER: 1 new")
    make_tree(other, {"o": b"changed"})
    master.until("OTHER: 1 modified")


def test_a_second_watch_is_told_who_is_at_it(both: tuple[Loop, Watch, Watch]) -> None:
    """It ends at once, with the status of a lock; a single sync goes between the runs of the watch."""
    loop, _, _ = both

    second = loop.slave.run("watch")

    assert second.status == 75
    assert "the watch of WEB" in second.err
    assert loop.slave.run("sync").status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_a_second(both: tuple[Loop, Watch, Watch], number: int) -> None:
    """An idle watch ends well; what it knows is kept, so the next run reads no file."""
    loop, master, slave = both
    make_tree(loop.source, {"d1/f1": b"changed"})
    slave.until(lambda: arrived(loop))
    time.sleep(0.5)
    for watch in (master, slave):
        began = time.monotonic()
        assert watch.end(number) == 0
        assert time.monotonic() - began < 2

    assert loop.push().changed_nothing
    assert loop.pull().changed_nothing


def test_status_shows_how_it_is_watched(both: tuple[Loop, Watch, Watch]) -> None:
    """As long as the watch is at work, and no longer."""
    loop, master, slave = both
    make_tree(loop.source, {"d1/f1": b"changed"})
    slave.until(lambda: arrived(loop))
    shown = loop.master.run("status", "--json").lines[0]
    text = loop.master.run("status").out

    assert shown["watch"]["how"] == "watching"
    assert shown["watch"]["watches"] == 11
    assert shown["watch"]["changed_s"] > time.time() - 60
    assert (shown["watch"]["missed"], shown["watch"]["overflows"]) == (0, 0)
    assert "WEB: watching, 11 directories, last change" in text
    assert loop.slave.run("status", "--json").lines[0]["watch"]["how"] == "watching"
    master.end()
    assert loop.master.run("status", "--json").lines[0]["watch"] is None


def test_status_takes_what_a_watch_has_brought_for_what_it_is(both: tuple[Loop, Watch, Watch]) -> None:
    """The watch saves what it knows of files at its end; until then the list of files that it published tells."""
    loop, _, slave = both
    make_tree(loop.source, {"w/x/y": b"1", "d1/f1": b"again"})
    slave.until(lambda: arrived(loop))

    for machine in (loop.master, loop.slave):
        slave.until(lambda machine=machine: machine.run("status", "--json").lines[0]["state"] == "up to date")  # type: ignore[misc]
    time.sleep(0.5)
    loop.slave.run("status")
    (loop.target / "w/x/y").write_bytes(b"2")
    assert "1 drifted" in loop.slave.run("status").out


def test_the_service_manager_is_told(proxied: Loop) -> None:
    """sd_notify(3): ready after the first turn, signs of life, a reload with another configuration, the end."""
    loop = proxied
    make_tree(loop.source, FILES)
    loop.write_map()
    path = loop.master.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(PATIENCE_S)
        loop.master.extra = {"NOTIFY_SOCKET": str(path)}

        def until(line: str) -> None:
            while line not in (told.recv(4096).decode()).splitlines():
                pass

        with watching(loop.master) as watch:
            until("WATCHDOG=1")
            until("READY=1")
            assert "10 new" in watch.said
            text = loop.master.config.read_text()
            loop.master.config.write_text(f"{text}\n[watch]\nsettle = '0.2s'\n")
            watch.process.send_signal(signal.SIGHUP)
            until("RELOADING=1")
            until("READY=1")
            make_tree(loop.source, {"d1/f1": b"changed"})
            watch.until("1 modified")
            loop.master.config.write_text("nonsense")
            watch.process.send_signal(signal.SIGHUP)
            assert watch.process.wait(timeout=10) == 2
            until("STOPPING=1")


def test_a_killed_watch_loses_nothing(both: tuple[Loop, Watch, Watch]) -> None:
    """The next one begins with a comparison."""
    loop, master, slave = both
    make_tree(loop.source, {"d1/f1": b"changed"})
    master.process.kill()
    master.process.wait()
    make_tree(loop.source, {"d2/f2": b"changed while nobody watched"})

    with watching(loop.master):
        slave.until(lambda: arrived(loop))


@BOTH
def test_packs_are_watched(proxied: Loop, proxy: FaultProxy) -> None:
    """What changes comes over, in few requests where the server keeps conditions; a rollback follows too."""
    loop = proxied
    make_tree(loop.source, FILES)
    loop.write_map(layout="packed")
    assert loop.push().status == 0
    with watching(loop.master) as master, watching(loop.slave) as slave:
        master.until("watching")
        slave.until(lambda: arrived(loop))
        for act in (
            lambda: make_tree(loop.source, {"d1/f1": b"changed"}),
            lambda: make_tree(loop.source, {"d1/new": b"new", "n/e/w": b"w", "empty": None}),
            lambda: (loop.source / "d2").rename(loop.source / "n/moved"),
            lambda: shutil.rmtree(loop.source / "d3"),
        ):
            act()
            slave.until(lambda: arrived(loop))
        before = len(proxy.requests)
        make_tree(loop.source, {"d1/f1": b"changed again"})
        slave.until(lambda: arrived(loop))
        puts = [request for request in proxy.requests[before:] if request.method == "PUT"]
        assert len(puts) <= 4  # content, what is left of a thin pack, segment with root, head
        (loop.source / "d1/f1").write_bytes(b"a mistake")
        slave.until(lambda: arrived(loop))
    left = snapshot(loop.source)
    with watching(loop.slave) as slave:
        slave.until(lambda: arrived(loop))
        assert loop.master.run("rollback", "WEB").status == 0
        slave.until(lambda: (loop.target / "d1/f1").read_bytes() == b"changed again")
    assert snapshot(loop.source) == left


@BOTH
def test_without_a_manifest(proxied: Loop) -> None:
    """Plain objects: the slave lists."""
    loop = proxied
    make_tree(loop.source, {**FILES, "d2/stays": b"s"})
    loop.write_map(manifest=False)
    with watching(loop.master) as master:
        master.until("11 new")
        with watching(loop.slave) as slave:
            slave.until(lambda: (loop.target / "d1/f1").exists())
            make_tree(loop.source, {"d1/f1": b"changed", "d1/new": b"n"})
            (loop.source / "d2/f2").unlink()
            slave.until(lambda: (loop.target / "d1/new").exists() and not (loop.target / "d2/f2").exists())
            assert (loop.target / "d1/f1").read_bytes() == b"changed"


def test_from_a_directory_to_a_directory(tmp_path: Path, moto: S3Server) -> None:
    """No server, no map."""
    machine = Machine(tmp_path / "m", moto)
    source, target = tmp_path / "source", tmp_path / "target"
    make_tree(source, FILES)
    with watching(machine, str(source), str(target)) as watch:
        watch.until("10 new")
        make_tree(source, {"d1/f1": b"changed"})
        watch.until(lambda: snapshot(source) == snapshot(target))
        target_inode = target.stat().st_ino
        (source / "d1/f1").unlink()
        watch.until(lambda: snapshot(source) == snapshot(target))
        assert target.stat().st_ino == target_inode


def test_what_cannot_be_watched_is_refused(tmp_path: Path, moto: S3Server) -> None:
    """A file, a place in itself, an unknown entry."""
    machine = Machine(tmp_path / "m", moto)
    make_tree(tmp_path, {"file": b"f", "d/x": b"x"})

    file = machine.run("watch", str(tmp_path / "file"), str(tmp_path / "t"))
    assert file.status == 2
    assert "is a file" in file.err
    wrong = machine.run("watch", str(tmp_path / "d"), str(tmp_path / "t"), "--poll", "never")
    assert wrong.status == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_source_whose_disk_is_away_is_waited_for(loop: Loop) -> None:
    """What lies below the mount point is no replacement for what was mounted there."""
    script = """
    mount -t tmpfs none "$SOURCE"; echo b > "$SOURCE/b"; echo c > "$SOURCE/c"
    $S32S watch --settle 0.1s > watch.log 2>&1 &
    until grep -q "2 new" watch.log; do sleep 0.1; done
    umount -l "$SOURCE"
    until grep -q "mount it again" watch.log; do sleep 0.1; done
    mount -t tmpfs none "$SOURCE"; echo b > "$SOURCE/b"; echo c > "$SOURCE/c"; echo d > "$SOURCE/d"
    until grep -q "it works again" watch.log; do sleep 0.1; done
    kill $!; wait $! || true
    umount -l "$SOURCE"
    """
    make_tree(loop.source, {"ghost": b"g"})
    loop.write_map()
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-euc", script],
        env={**loop.master.environment(), "S32S": f"{sys.executable} -m s32s", "SOURCE": str(loop.source)},
        cwd=loop.master.root,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    said = (loop.master.root / "watch.log").read_text()
    if "mount" in ended.stderr and not said:
        pytest.skip(f"no mounts here: {ended.stderr}")

    assert ended.returncode == 0, ended.stderr + said
    assert "deleted" not in said
    assert loop.pull().status == 0
    assert {path.name: path.read_bytes() for path in loop.target.iterdir()} == {"b": b"b\n", "c": b"c\n", "d": b"d\n"}
