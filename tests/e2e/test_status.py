"""`s32s status`: what it has compared, how long it takes, and what the mistake of one entry does to the others."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.checks import assert_failed
from support.machine import Loop, Machine, make_loop
from support.servers import S3Server, make_bucket, put
from support.trees import Link, make_tree, snapshot


@pytest.fixture
def ready(tmp_path: Path, moto: S3Server) -> Loop:
    """A loop whose slave has followed the first push."""
    bucket = f"status-{tmp_path.name[-40:].lower().replace('_', '-')}-{time.time_ns()}"[-60:].lstrip("-.")
    make_bucket(moto, bucket)
    loop = make_loop(tmp_path, moto, bucket)
    make_tree(loop.source, {"a": b"1", "d/b": b"2"})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    return loop


def write_maps(loop: Loop, entries: list[dict[str, Any]]) -> None:
    """Replace the map by one with these entries."""
    put(loop.server, loop.bucket, "maps/web.json", json.dumps(entries).encode())


def entry(loop: Loop, name: str, **properties: Any) -> dict[str, Any]:
    """An entry with a prefix and directories of its own."""
    return {
        "name": name,
        "s3": f"{loop.bucket}/data/{name}",
        "master": str(loop.source.parent / name),
        "slave": str(loop.target.parent / name),
    } | properties


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def move(machine: Machine, loop: Loop, url: str) -> None:
    """Let the server of a machine answer at another address from now on; the maps that it has stay."""
    machine.config.write_text(machine.config.read_text().replace(machine.endpoint_url, url))
    for file in (machine.root / "cache").glob("maps-*.json"):
        facts = json.loads(file.read_bytes())
        facts["source"] = facts["source"].replace(machine.endpoint_url, url)
        from s32s.system.locks import digest

        (file.parent / f"maps-{digest(facts['source'])}.json").write_text(json.dumps(facts))


class TestUnreachable:
    def test_many_entries_are_told_at_once(self, ready: Loop) -> None:
        """S3 refuses connections: the table of 300 entries comes within seconds, in one sentence, with status 75."""
        write_maps(ready, [entry(ready, f"E{number}") for number in range(300)])
        assert ready.slave.run("maps", "update").status == 0
        move(ready.slave, ready, f"http://127.0.0.1:{closed_port()}")
        began = time.monotonic()

        ended = ready.slave.run("status")

        assert time.monotonic() - began < 8
        assert_failed(ended, 75, says="S3 unreachable")
        assert ended.err.count("could not be reached") == 1
        assert len(ended.out.splitlines()) == 302

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it(self, ready: Loop, silent: str, number: signal.Signals) -> None:
        """Whatever S3 does, an answer to a signal comes at once."""
        move(ready.slave, ready, silent)
        process = ready.slave.start("status")
        with pytest.raises(Exception, match="timed out"):
            process.wait(2)

        process.send_signal(number)

        process.communicate(timeout=8)
        assert process.returncode == 128 + number

    def test_a_server_that_says_nothing_is_given_up(self, ready: Loop, silent: str) -> None:
        """After a deadline, with what is known here."""
        move(ready.slave, ready, silent)
        began = time.monotonic()

        ended = ready.slave.run("status")

        assert time.monotonic() - began < 20
        assert_failed(ended, 75, says="S3 did not answer within 10 s")
        assert "WEB" in ended.out

    def test_a_server_without_tls_is_told_once(self, ready: Loop) -> None:
        """What is wrong with the connection is one sentence for all entries, with the table and status 2."""
        write_maps(ready, [entry(ready, f"E{number}") for number in range(3)])
        assert ready.slave.run("maps", "update").status == 0
        move(ready.slave, ready, ready.slave.endpoint_url.replace("http:", "https:"))

        ended = ready.slave.run("status")

        assert_failed(ended, 2, says="S3 unreachable")
        assert ended.err.count("does not speak TLS") == 1
        assert len(ended.out.splitlines()) == 5

    def test_without_maps_it_is_a_sentence(self, ready: Loop) -> None:
        """There is nothing to show, and the status says to try again."""
        move(ready.slave, ready, f"http://127.0.0.1:{closed_port()}")
        shutil.rmtree(ready.slave.root / "cache")

        assert_failed(ready.slave.run("status"), 75, says="could not be reached")


class TestCheck:
    def test_what_was_compared_is_up_to_date(self, ready: Loop) -> None:
        """On both sides, with status 0; without S3 nothing is called up to date."""
        for machine in (ready.master, ready.slave):
            ended = machine.run("status", "--check", "1h")
            assert (ended.status, "up to date" in ended.out) == (0, True), ended
            offline = machine.run("status", "--offline")
            assert (offline.status, "not compared since" in offline.out) == (0, True), offline

    def test_a_master_that_has_changed_since_its_push(self, ready: Loop) -> None:
        """A file that was deleted there is no file that S3 has up to date."""
        (ready.source / "a").unlink()

        assert "1 changed since the push" in ready.master.run("status").out

    def test_no_entry_for_this_machine(self, ready: Loop) -> None:
        """A server that got the wrong maps is not healthy."""
        write_maps(ready, [{"name": "X", "s3": f"{ready.bucket}/x", "master": "/x"}])
        ready.slave.run("maps", "update")

        assert_failed(ready.slave.run("status", "--check", "1h"), 1, says="no entry of the maps has a slave")

    def test_no_maps(self, ready: Loop) -> None:
        """What was never fetched says nothing; the maps of another configuration are not those of this one."""
        write = ready.slave.config.read_text()
        ready.slave.config.write_text(write.replace("/maps", "/other"))

        ended = ready.slave.run("status", "--check", "1h", "--offline")

        assert_failed(ended, 1, says="were never fetched here")
        ready.slave.config.write_text(write)
        assert ready.slave.run("status", "--check", "1h", "--offline").status == 0

    @pytest.mark.parametrize("options", [[], ["--offline"]], ids=["asked", "offline"])
    def test_a_path_that_has_changed(self, ready: Loop, options: list[str]) -> None:
        """The last success was that of another path."""
        ready.write_map(s3=f"{ready.bucket}/data/new")
        ready.slave.run("maps", "update")

        ended = ready.slave.run("status", "--check", "1h", *options)

        assert_failed(ended, 1, says="its path has changed since")
        assert "path changed, not synced yet" in ended.out


class TestDrift:
    """What counts are files, modes, links and directories, as far as stat(2) tells."""

    CHANGES = pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda root: (root / "a").chmod(0o600), id="mode of a file"),
            pytest.param(lambda root: (root / "d").chmod(0o700), id="mode of a directory"),
            pytest.param(lambda root: (root / "empty").rmdir(), id="directory removed"),
            pytest.param(lambda root: (root / "more").mkdir(), id="directory made"),
            pytest.param(lambda root: (root / "link").unlink(), id="link removed"),
            pytest.param(lambda root: (root / "more").symlink_to("a"), id="link made"),
            pytest.param(lambda root: ((root / "link").unlink(), (root / "link").symlink_to("d/b")), id="link changed"),
            pytest.param(lambda root: (root / "a").write_bytes(b"22"), id="file changed"),
            pytest.param(lambda root: (root / "a").unlink(), id="file removed"),
            pytest.param(lambda root: (root / "more").write_bytes(b"2"), id="file made"),
        ],
    )

    @pytest.fixture
    def rich(self, ready: Loop) -> Loop:
        make_tree(ready.source, {"empty": None, "link": Link("a")})
        assert ready.push().status == 0
        assert ready.pull().status == 0
        return ready

    @CHANGES
    def test_the_target_has_drifted(self, rich: Loop, change: Callable[[Path], object]) -> None:
        assert state_of(rich.slave) == "up to date"
        change(rich.target)

        assert state_of(rich.slave) == "1 drifted"
        assert rich.slave.run("status", "--check", "1h").status == 0, "drift is not a lack of a run"

    @CHANGES
    def test_the_source_has_changed(self, rich: Loop, change: Callable[[Path], object]) -> None:
        assert state_of(rich.master) == "up to date"
        change(rich.source)

        assert state_of(rich.master) == "1 changed since the push"

    def test_a_new_name_of_a_file_changes_nothing(self, rich: Loop) -> None:
        """A hard link from outside moves the change time and no byte."""
        (rich.target.parent / "outside").hardlink_to(rich.target / "a")

        assert state_of(rich.slave) == "up to date"

    def test_what_takes_no_part_is_no_drift(self, rich: Loop) -> None:
        """Neither names that are ignored nor those that are not accepted."""
        rich.write_map(ignore=["*.tmp"], accept=["a", "d/*", "*.txt"])
        assert rich.push("--update-maps", "--force-delete").status == 0
        (rich.source / "a.tmp").write_bytes(b"1")
        (rich.source / "a.html").write_bytes(b"1")

        assert state_of(rich.master) == "up to date"


def state_of(machine: Machine) -> str:
    """What `status` says of the only entry."""
    return str(machine.run("status", "--json").lines[0]["state"])


class TestRunning:
    def test_a_second_run_hides_nothing(self, ready: Loop) -> None:
        """While one works the state is `running since`; the result of the one that found the lock taken is not kept."""
        (ready.slave.root / "go").mkdir()
        fifo_taken = threading.Event()
        ready.write_map(after="wait")
        text = ready.slave.config.read_text()
        command = f"touch {ready.slave.root}/begun; while [ -e {ready.slave.root}/go ]; do sleep 0.05; done"
        ready.slave.config.write_text(text.replace("[s3]", f"[commands]\nwait = {json.dumps(command)}\n[s3]"))
        (ready.source / "a").write_bytes(b"news")
        ready.push("--update-maps")
        before = ready.slave.run("status", "--json").lines[0]["last"]
        first = ready.slave.start("sync", "--update-maps")
        try:
            until = time.monotonic() + 30
            while not (ready.slave.root / "begun").exists() and time.monotonic() < until:
                fifo_taken.wait(0.05)
            with holding(ready.target):
                second = ready.pull()
            shown = ready.slave.run("status")
            facts = ready.slave.run("status", "--json").lines[0]
        finally:
            (ready.slave.root / "go").rmdir()
        _, said = first.communicate(timeout=60)

        assert first.returncode == 0, said
        assert_failed(second, 75, says="another run works on")
        assert "running since" in shown.out
        assert {**facts["last"], "pending": False} == before
        assert facts["running_s"] is not None
        assert "up to date" in ready.slave.run("status").out


def holding(target: Path) -> Any:
    """Hold the lock of a target, as a run of another configuration does."""
    import contextlib
    import os

    from s32s.stores.local import outer

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        fd = os.open(target.parent / outer.lock_name(target.name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(fd)

    return held()


class TestOneMistake:
    def test_a_command_that_is_lacking_stops_its_entry_alone(self, ready: Loop) -> None:
        """The others are done, and the entry is named."""
        write_maps(ready, [entry(ready, "A", after="reload"), entry(ready, "B")])
        for name in "AB":
            make_tree(ready.source.parent / name, {"x": name.encode()})
        assert ready.push("--update-maps").status == 0

        ended = ready.pull("--update-maps")

        assert_failed(ended, 2, says="A: FAILED: the map names a command")
        assert not (ready.target.parent / "A").exists()
        assert snapshot(ready.target.parent / "B") == snapshot(ready.source.parent / "B")

    def test_a_name_of_another_role_fails_alone(self, ready: Loop) -> None:
        """The others that were named are done; an unknown name stops everything, as it may be a mistake of the hand."""
        other = {key: value for key, value in entry(ready, "A").items() if key != "slave"}
        write_maps(ready, [other, entry(ready, "B")])
        make_tree(ready.source.parent / "B", {"x": b"1"})
        ready.push("B", "--update-maps")

        ended = ready.pull("A", "B", "--update-maps")

        assert_failed(ended, 2, says='A: FAILED: the entry "A" has no slave')
        assert (ready.target.parent / "B/x").read_bytes() == b"1"


class TestNothingPushed:
    def test_a_prefix_without_a_push(self, ready: Loop) -> None:
        """It says what is missing, and recommends nothing that would empty the target."""
        write_maps(ready, [entry(ready, "NEW")])

        ended = ready.pull("--update-maps")

        assert_failed(ended, 3, says=f"nothing has been pushed to {ready.bucket}/data/NEW yet")
        assert "run s32s sync on the master" in ended.err
        assert "--force-delete" not in ended.err

    def test_a_path_that_has_changed_is_new(self, ready: Loop) -> None:
        """The manifest is not gone: the path is another one. The alarm stays where the path is the same."""
        before = snapshot(ready.target)
        ready.write_map(s3=f"{ready.bucket}/data/new")

        ended = ready.pull("--update-maps")

        assert_failed(ended, 3, says="this path is new for this machine")
        assert f"followed {ready.bucket}/data/web" in ended.err
        assert snapshot(ready.target) == before
        assert ready.push("--update-maps").status == 0
        assert ready.pull().status == 0
