"""Runs that nobody watches: commands afterwards, logs, metrics."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Loop
from support.servers import S3Server
from support.trees import make_tree, snapshot


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """One server will do."""
    return moto


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens like journald's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.settimeout(10)
        yield listening


def configured(loop: Loop, text: str, **entry: object) -> Loop:
    """A loop whose slave has more in its configuration, and whose entry has more properties."""
    loop.write_map(**entry)
    loop.slave.write_config("slave", f"{loop.bucket}/maps", allow=[loop.target.parent], text=text)
    make_tree(loop.source, {"a": b"1", "b": b"2"})
    loop.push()
    return loop


class TestAfter:
    def test_the_command_finds_the_changes_in_a_file(self, loop: Loop) -> None:
        """S32S_CHANGED lists them, one a line; the command's words are in the log."""
        configured(loop, "commands.note = 'cat $S32S_CHANGED; echo $S32S_ENTRY > $S32S_TARGET.note'", after="note")
        loop.pull()
        (loop.source / "a").unlink()
        make_tree(loop.source, {"b": b"22", "c": b"3"})
        loop.push()

        ended = loop.pull()

        assert ended.status == 0, ended.err
        assert [line.split("note: ")[1] for line in ended.err.splitlines() if "note: " in line] == ["+ c", "~ b", "- a"]
        assert loop.target.with_name("site.note").read_text() == "WEB\n"

    def test_a_command_that_takes_too_long_is_stopped(self, loop: Loop) -> None:
        """With all that it has started; the files stay, and the status says it."""
        configured(loop, 'after_timeout = "1s"\ncommands.slow = "sleep 300 & sleep 300"', after="slow")

        ended = loop.pull()

        assert_failed(ended, 1, says="the command slow was stopped after 1 s")
        assert snapshot(loop.target) == snapshot(loop.source)

    def test_a_command_that_is_not_there_is_found_with_the_maps(self, loop: Loop) -> None:
        """At once, and not after the sync."""
        configured(loop, "", after="reload")

        updated = loop.slave.run("maps", "update")
        ended = loop.pull()

        assert "reload" in updated.err
        assert_failed(ended, 2, says="reload")
        assert not loop.target.exists()


class TestMetrics:
    def test_numbers_of_every_entry(self, loop: Loop, tmp_path: Path) -> None:
        """In the format of Prometheus, readable for others."""
        file = tmp_path / "s32s.prom"
        configured(loop, f'metrics.textfile = "{file}"')

        loop.pull()

        numbers = dict(line.rsplit(" ", 1) for line in file.read_text().splitlines() if not line.startswith("#"))
        assert numbers['s32s_last_run_files{entry="WEB",role="slave"}'] == "2"
        assert numbers['s32s_last_run_bytes{entry="WEB",role="slave"}'] == "2"
        assert numbers['s32s_last_run_success{entry="WEB",role="slave"}'] == "1"
        assert numbers['s32s_generation{entry="WEB",role="slave"}'] == "1"
        assert float(numbers['s32s_last_success_timestamp_seconds{entry="WEB",role="slave"}']) > 1_700_000_000
        assert file.stat().st_mode & 0o777 == 0o644

    def test_drift_that_was_mended_is_counted(self, loop: Loop, tmp_path: Path) -> None:
        """Somebody has changed files on the server, and the master had not."""
        file = tmp_path / "s32s.prom"
        configured(loop, f'metrics.textfile = "{file}"')
        loop.pull()
        make_tree(loop.target, {"a": b"local", "mine": b"x"})

        loop.pull()

        assert 's32s_last_run_drift{entry="WEB",role="slave"} 2' in file.read_text()

    def test_numbers_that_cannot_be_left_fail_no_run(self, loop: Loop) -> None:
        """The sync still runs, and it is said."""
        configured(loop, 'metrics.textfile = "/nonexistent/s32s.prom"')

        ended = loop.pull()

        assert ended.status == 0
        assert "/nonexistent/s32s.prom cannot be written" in ended.err
        assert snapshot(loop.target) == snapshot(loop.source)


class TestLogs:
    def test_a_line_an_entry_and_run(self, loop: Loop) -> None:
        """`--log-format json`: one object a line; nothing when nothing changed."""
        configured(loop, "")

        first, second = loop.pull("--log-format", "json"), loop.pull("--log-format", "json")

        (line,) = [json.loads(line) for line in first.err.splitlines()]
        assert (line["level"], line["entry"], line["result"], line["generation"], line["new"]) == (
            "info",
            "WEB",
            "changed",
            1,
            2,
        )
        assert (first.out, second.out, second.err) == ("", "", "")

    def test_a_failure_is_an_error(self, loop: Loop) -> None:
        """With the status that it has."""
        configured(loop, "", s3="no-such-bucket-anywhere/x")

        ended = loop.pull("--log-format", "text")

        assert_failed(ended, 1, says="WEB: the bucket no-such-bucket-anywhere does not exist")

    def test_journald_gets_fields(self, loop: Loop, journal: socket.socket) -> None:
        """In its native protocol, when standard error is its stream."""
        from s32s.core import events, plan, tree
        from s32s.core.item import Item
        from s32s.frontends.render.log import Log

        made = plan.make(tree.make([Item("a")]), tree.make([]))
        Log("journal", journal=journal.getsockname()).on_event(
            events.EntryFinished("WEB", made, 1.5, changed=True, generation=7)
        )

        fields = dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines())
        assert fields["ENTRY"] == "WEB"
        assert (fields["PRIORITY"], fields["RESULT"], fields["GENERATION"], fields["NEW"]) == ("6", "changed", "7", "1")
        assert fields["MESSAGE"] == "WEB: 1 new; 1 file"

    def test_the_stream_of_journald_is_known_by_its_inode(self, loop: Loop) -> None:
        """$JOURNAL_STREAM; without a socket to send to, each line carries its priority."""
        configured(loop, "")
        reader, writer = os.pipe()
        status = os.fstat(writer)
        environment = {**loop.slave.environment(), "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        subprocess.run(
            loop.slave.command("sync"), env=environment, cwd=loop.slave.root, stderr=writer, stdin=subprocess.DEVNULL
        )
        os.close(writer)
        with open(reader) as file:
            said = file.read()

        assert said == "" or said.startswith("<6>WEB: 2 new")
        assert snapshot(loop.target) == snapshot(loop.source)

    def test_what_ends_a_run_as_a_whole_is_an_error_in_the_journal(self, loop: Loop) -> None:
        """Before there is any entry: the priority stands before the line."""
        reader, writer = os.pipe()
        status = os.fstat(writer)
        environment = {**loop.slave.environment(), "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        loop.slave.config.unlink()

        subprocess.run(loop.slave.command("sync"), env=environment, stderr=writer, stdin=subprocess.DEVNULL)
        os.close(writer)
        with open(reader) as file:
            assert file.read().startswith("<3>s32s: there is no configuration")

    def test_systemd_is_told_how_far_it_is(self, loop: Loop, journal: socket.socket) -> None:
        """Status lines of sd_notify."""
        configured(loop, "")
        loop.slave.extra["NOTIFY_SOCKET"] = str(journal.getsockname())

        loop.pull()

        said = []
        while not said or "done" not in said[-1]:
            said.append(journal.recv(4096).decode())
        assert said[0].startswith("STATUS=WEB: ")

    @pytest.mark.parametrize("verbose", [True, False])
    def test_no_secret_is_in_any_output(self, loop: Loop, verbose: bool) -> None:
        """Neither key, nor in errors with everything switched on."""
        configured(loop, "commands.env = 'env; exit 1'", after="env")
        if verbose:
            loop.slave.extra["S32S_DEBUG"] = "1"

        said = "".join(
            ended.out + ended.err
            for ended in (
                loop.pull("--log-format", "json"),
                loop.pull("--json", "--verify"),
                loop.slave.run("status"),
                loop.slave.run("sync", "--update-maps"),
            )
        )

        assert loop.server.secret_key not in said
        assert loop.server.access_key not in said
