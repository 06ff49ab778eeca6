"""The menu at a terminal: what a person types, and what then stands on the screen."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.checks import left_overs
from support.faultproxy import Delay, FaultProxy, Rule, on
from support.machine import Loop, Machine, make_loop
from support.servers import S3Server, keys, make_bucket, put
from support.terminal import Terminal, terminal
from support.trees import make_tree, snapshot


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """The menu is the same before every server."""
    return moto


@pytest.fixture
def bucket(moto: S3Server) -> str:
    """A new bucket with a short name, which fits a screen."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    make_bucket(moto, name)
    return name


@pytest.fixture
def loop(tmp_path: Path, moto: S3Server, bucket: str) -> Loop:
    """A master and a slave; the source has two files and is pushed."""
    made = make_loop(tmp_path, moto, bucket)
    make_tree(made.source, {"index.html": b"hello", "css/site.css": b"body {}"})
    assert made.push().status == 0
    return made


def at(machine: Machine, *arguments: str, columns: int = 80, rows: int = 24) -> AbstractContextManager[Terminal]:
    """Sit down at a machine and run `s32s ARGUMENTS`."""
    return terminal(
        machine.command(*arguments),
        {"LANG": "C.UTF-8", **machine.environment()},
        machine.root,
        columns=columns,
        rows=rows,
    )


class TestFirstRun:
    def test_from_nothing_to_a_finished_sync(self, loop: Loop) -> None:
        """Somebody who has never read the manual sets a server up and sees its files arrive."""
        loop.slave.config.unlink()
        with at(loop.slave) as screen:
            screen.wait_for("What is this machine?", "slave", "master", "more")
            screen.press("1", "enter")
            screen.wait_for("S3 server")
            screen.press(loop.server.endpoint_url, "enter")
            screen.wait_for("S3 path of the maps")
            screen.press(f"{loop.bucket}/maps", "enter")
            screen.wait_for("1 entry found", "Allowed directories", str(loop.target.parent)[:30])
            screen.press("enter")
            screen.wait_for("WEB", "never run", "slave")
            screen.press("enter")
            screen.wait_for("sync: 1 done", "2 new; 2 files")
            screen.press("q")
            screen.wait_for("up to date")
            screen.press("q")

            assert screen.ended() == 0
        assert snapshot(loop.target) == snapshot(loop.source)
        assert f'allow = ["{loop.target.parent}"]' in loop.slave.config.read_text()

    def test_a_configuration_of_stores_alone_is_added_to(self, loop: Loop) -> None:
        """It is none for entries yet, so the first questions come; what it has stays."""
        stores = '[stores.nas]\ntype = "file"\npath = "/mnt/nas"\n'
        for words in ((), ("configure",)):
            loop.master.config.write_text(stores)
            with at(loop.master, *words) as screen:
                screen.wait_for("What is this machine?", "slave", "master", "more")
                screen.press("master", "enter")
                screen.wait_for("S3 server")
                screen.press(loop.server.endpoint_url, "enter")
                screen.wait_for("S3 path of the maps")
                screen.press(f"{loop.bucket}/maps", "enter")
                screen.wait_for("1 entry found")
                if not words:
                    screen.wait_for("WEB", "up to date")
                    screen.press("q")
                assert screen.ended() == 0
            text = loop.master.config.read_text()
            assert 'role = "master"' in text
            assert stores in text, text
        loop.master.config.write_text(stores)
        made = loop.master.run("maps", "new", "--name", "NEW", "--s3", "bkt/new", "--slave", "/srv/new")
        assert made.status == 0, made.err

    def test_a_directory_of_the_system_is_not_allowed_and_a_missing_one_is_made(self, loop: Loop) -> None:
        """With the sentence of the configuration; and the first sync then finds its place."""
        loop.slave.config.unlink()
        loop.target.parent.rmdir()
        with at(loop.slave) as screen:
            screen.wait_for("What is this machine?")
            screen.press("1", "enter")
            screen.wait_for("S3 server")
            screen.press(loop.server.endpoint_url, "enter")
            screen.wait_for("S3 path of the maps")
            screen.press(f"{loop.bucket}/maps", "enter")
            screen.wait_for("Allowed directories")
            screen.press("/etc", "enter")
            screen.wait_for('"/etc" cannot be allowed')
            screen.press("\x15", str(loop.target.parent), "enter")
            screen.wait_for("1)  make")
            screen.press("enter")
            screen.wait_for("WEB", "never run", "slave")
            screen.press("q")

            assert screen.ended() == 0
        assert loop.target.parent.is_dir()

    def test_buckets_and_prefixes_are_completed(self, loop: Loop) -> None:
        """Tab helps where the credentials allow listing."""
        loop.slave.config.unlink()
        with at(loop.slave) as screen:
            screen.wait_for("What is this machine?")
            screen.press("master", "enter")
            screen.wait_for("S3 server")
            screen.press(loop.server.endpoint_url, "enter")
            screen.wait_for("S3 path of the maps")
            screen.press(loop.bucket[:-1])
            screen.wait_for(f"{loop.bucket}/")
            screen.press(loop.bucket[-1] + "/")
            screen.wait_for(f"{loop.bucket}/maps/")

    def test_wrong_credentials_and_back(self, tmp_path: Path, rclone: S3Server) -> None:
        """S3 does not accept the key: it is said in plain words, and another profile is taken without starting over."""
        make_bucket(rclone, "cred-bucket")
        entry = {"name": "WEB", "s3": "cred-bucket/web", "master": str(tmp_path / "site")}
        put(rclone, "cred-bucket", "maps/web.json", json.dumps([entry]).encode())
        machine = Machine(tmp_path / "machine", rclone)
        machine.extra = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n"
            f"[good]\naws_access_key_id = {rclone.access_key}\naws_secret_access_key = {rclone.secret_key}\n"
        )
        environment = machine.environment()
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        with terminal(machine.command(), {"LANG": "C.UTF-8", **environment}, machine.root) as screen:
            screen.wait_for("What is this machine?")
            screen.press("2", "enter")
            screen.wait_for("S3 server")
            screen.press(rclone.endpoint_url, "enter")
            screen.wait_for("S3 path of the maps")
            screen.press("cred-bucket/maps", "enter")
            screen.wait_for("That did not work", "does not accept the credentials", "What do you want to correct?")
            screen.press("profile", "enter")
            screen.wait_for("Name of the profile")
            screen.press("good", "enter")
            screen.wait_for("s32s  master · cred-bucket/maps", "WEB")

        assert 'profile = "good"' in machine.config.read_text()

    def test_no_credentials_are_told_the_three_ways(self, loop: Loop) -> None:
        """And one may leave: nothing is written."""
        loop.slave.config.unlink()
        environment = loop.slave.environment()
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        with terminal(loop.slave.command(), environment, loop.slave.root, rows=40) as screen:
            screen.wait_for("What is this machine?")
            screen.press("2", "enter")
            screen.wait_for("S3 server")
            screen.press(loop.server.endpoint_url, "enter")
            screen.wait_for("S3 path of the maps")
            screen.press(f"{loop.bucket}/maps", "enter")
            screen.wait_for("no AWS credentials", "three usual ways", "AWS_ACCESS_KEY_ID", "role of this machine")
            screen.press("leave", "enter")
            screen.wait_for("nothing was written")

            assert screen.ended() == 0
        assert not loop.slave.config.exists()

    def test_configure_asks_again_with_the_values_of_today(self, loop: Loop) -> None:
        """Enter keeps each of them; comments stay."""
        loop.slave.config.write_text("# mine\n" + loop.slave.config.read_text())
        before = loop.slave.config.read_text()
        with at(loop.slave, "configure", rows=40) as screen:
            for question in (
                "Number or word [slave]",
                "S3 server",
                f"maps [{loop.bucket}/maps]",
                "Allowed directories",
            ):
                screen.wait_for(question)
                screen.press("enter")

            assert screen.ended() == 0
        assert loop.slave.config.read_text() == before


class TestList:
    def test_two_hundred_entries_with_long_and_wide_names(self, loop: Loop) -> None:
        """24 by 80 is enough: the list scrolls, the filter finds, nothing runs over the edge."""
        entries = [
            {
                "name": f"エントリー {number} " + "long " * (number % 9),
                "s3": f"{loop.bucket}/data/{number}",
                "slave": str(loop.target.parent / f"深い場所/{'dir/' * (number % 7)}{number}"),
            }
            for number in range(200)
        ]
        put(loop.server, loop.bucket, "maps/many.json", json.dumps(entries).encode())
        assert loop.slave.run("maps", "update").status == 0
        with at(loop.slave) as screen:
            text = screen.wait_for("1/201", "エントリー 1 ")
            assert all(len(line) <= 80 for line in text.splitlines())
            screen.press("end")
            screen.wait_for("エントリー 199")
            screen.press("/", "ー 77")
            screen.wait_for("of 201 entries", "エントリー 77", without="エントリー 78")
            screen.press("enter", "escape")
            screen.wait_for("1/201", without="of 201")
            screen.resize(120, 40)
            screen.wait_for("エントリー 1 ", "q quit")

    def test_a_run_of_somebody_else_shows(self, loop: Loop) -> None:
        """The list keeps itself current, as a timer works beside it."""
        with at(loop.slave) as screen:
            screen.wait_for("WEB", "never run", "generation 1")
            assert loop.pull().status == 0
            screen.wait_for("up to date", without="never run")

    def test_marked_entries_are_meant_together(self, loop: Loop) -> None:
        """Space marks, the letters of vi move, and Escape takes the marks away."""
        entries = [
            {"name": name, "s3": f"{loop.bucket}/{name}", "slave": str(loop.target.parent / name)}
            for name in ("ONE", "TWO", "THREE")
        ]
        put(loop.server, loop.bucket, "maps/more.json", json.dumps(entries).encode())
        loop.slave.run("maps", "update")
        with at(loop.slave) as screen:
            screen.wait_for("ONE", "1/4")
            screen.press(" ", "j", " ")
            screen.wait_for("2 marked", "4/4")
            screen.press("escape", "up", "up", "up", "up")
            screen.wait_for("1/4", without="2 marked")
            screen.press("G", "k", " ")
            screen.wait_for("1 marked")
            screen.press("d")
            screen.wait_for("dryrun: 1 failed", "THREE")

    def test_details_are_beside_a_wide_list(self, loop: Loop) -> None:
        """And follow the cursor; options switch them off."""
        with at(loop.slave, columns=120, rows=30) as screen:
            screen.wait_for("╭ Entries", "╭ WEB", f"{loop.bucket}/data/web", "2 files, 12 B, generation 1", "pushed by")
            screen.press("o")
            screen.wait_for("show details")
            screen.press("down", "down", "enter", "escape")
            screen.wait_for("WEB", without="╭")

    def test_no_colours_where_nobody_wants_them(self, loop: Loop) -> None:
        """NO_COLOR is honoured; the chosen row is seen all the same."""
        loop.slave.extra["NO_COLOR"] = "1"
        with at(loop.slave) as screen:
            screen.wait_for("WEB", "never run")
            screen.press("d")
            screen.wait_for("dryrun: 1 done")

        coloured = [
            code for code in (b"\x1b[31m", b"\x1b[32m", b"\x1b[0;32m", b"\x1b[0;31m", b";38;") if code in screen.raw
        ]
        assert coloured == []
        assert "▶  ○ WEB".encode() in screen.raw or b"7m" in screen.raw

    def test_a_click_chooses_and_the_keys_below_can_be_clicked(self, loop: Loop) -> None:
        """The mouse works."""
        other = {"name": "ZWEI", "s3": f"{loop.bucket}/data/zwei", "slave": str(loop.target.parent / "zwei")}
        put(loop.server, loop.bucket, "maps/zwei.json", json.dumps([other]).encode())
        loop.slave.run("maps", "update")
        with at(loop.slave) as screen:
            lines = screen.wait_for("WEB", "ZWEI", "never run").splitlines()
            row = next(number for number, line in enumerate(lines) if "ZWEI" in line)
            screen.click(5, row)
            info = next(number for number, line in enumerate(lines) if "i info" in line)
            screen.click(lines[info].index("i info"), info)
            screen.wait_for("data/zwei", "manifest")

    def test_the_menu_is_alive_while_s3_is_not(self, loop: Loop, proxy: FaultProxy) -> None:
        """Keys work while S3 keeps everybody waiting."""
        loop.slave.config.write_text(
            loop.slave.config.read_text().replace(loop.server.endpoint_url, proxy.endpoint_url)
        )
        assert loop.slave.run("maps", "update").status == 0
        delay = Delay(60)
        proxy.add(Rule(on(), delay))
        with at(loop.slave) as screen:
            screen.wait_for("WEB", "never run")
            screen.press("?")
            screen.wait_for("The role of this machine is the direction")
            screen.press("q", "u")
            screen.wait_for("fetching the maps")
            screen.press("?")
            screen.wait_for("The role of this machine is the direction")
            screen.press("q", "q")

            assert screen.ended() == 0
        delay.release()

    def test_new_maps_are_shown_before_they_are_taken(self, loop: Loop) -> None:
        """Which entries come, go or change."""
        loop.slave.run("maps", "update")
        more = {"name": "NEW ONE", "s3": f"{loop.bucket}/data/new", "slave": str(loop.target.parent / "new")}
        put(loop.server, loop.bucket, "maps/new.json", json.dumps([more]).encode())
        with at(loop.slave) as screen:
            screen.wait_for("WEB", "1/1")
            screen.press("u")
            screen.wait_for("+ new", "NEW ONE", "work with these maps")
            screen.press("escape")
            screen.wait_for("1/1")
            screen.press("u")
            screen.wait_for("work with these maps")
            screen.press("enter")
            screen.wait_for("1/2", "NEW ONE")

    def test_other_maps_and_another_role_are_for_this_session(self, loop: Loop) -> None:
        """The configuration, and with it the timer, stays."""
        before = loop.slave.config.read_text()
        put(loop.server, loop.bucket, "other/o.json", json.dumps([{"name": "O", "s3": f"{loop.bucket}/o"}]).encode())
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("r")
            screen.wait_for("Role, for this session")
            screen.press("down", "enter")
            screen.wait_for("s32s  master", "for this session", "never run")
            screen.press("m")
            screen.wait_for("S3 path of the maps")
            screen.press(f"{loop.bucket}/other", "enter")
            screen.wait_for("work with these maps")
            screen.press("enter")
            screen.wait_for(f"{loop.bucket}/other", "no entry of the maps has a master")
            screen.press("q")
            assert screen.ended() == 0

        assert loop.slave.config.read_text() == before
        assert "WEB" in loop.slave.run("maps", "list").out

    def test_leaving_gives_the_terminal_back(self, loop: Loop) -> None:
        """The alternate screen is left, also on SIGTERM, which is status 143."""
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.process.send_signal(signal.SIGTERM)

            assert screen.ended() == 143
            screen.wait_for("s32s: interrupted")
            assert b"\x1b[?1049l" in screen.raw

    def test_sigterm_ends_the_numbered_questions_too(self, loop: Loop) -> None:
        """It is no mistake of an entry, after which one goes on."""
        loop.slave.extra["TERM"] = "dumb"
        with at(loop.slave) as screen:
            screen.wait_for("WEB", "Number or letter")
            screen.process.send_signal(signal.SIGTERM)

            assert screen.ended() == 143

    def test_sigterm_ends_the_first_questions_while_s3_is_silent(self, loop: Loop, proxy: FaultProxy) -> None:
        """Nothing was written."""
        loop.slave.config.unlink()
        delay = Delay(60)
        proxy.add(Rule(on(), delay))
        with at(loop.slave) as screen:
            screen.wait_for("What is this machine?")
            screen.press("2", "enter")
            screen.wait_for("S3 server")
            screen.press(proxy.endpoint_url, "enter")
            screen.wait_for("S3 path of the maps")
            screen.press(f"{loop.bucket}/maps", "enter")
            screen.wait_for("looking at")
            screen.process.send_signal(signal.SIGTERM)

            assert screen.ended() == 143
        delay.release()
        assert not loop.slave.config.exists()


class TestRuns:
    def test_nothing_is_deleted_without_a_yes(self, loop: Loop) -> None:
        """The plan is shown, and Enter means no."""
        loop.pull()
        (loop.source / "css/site.css").unlink()
        make_tree(loop.source, {"index.html": b"hello again"})
        loop.push()
        before = snapshot(loop.target)
        with at(loop.slave) as screen:
            screen.wait_for("WEB", "1 generation behind")
            screen.press("enter")
            screen.wait_for("delete 1, replace 1?", "- deleted", "css/site.css", "~ modified", "(size)", "Continue?")
            screen.press("enter")
            screen.wait_for("sync: 1 stopped", "cancelled")
            assert snapshot(loop.target) == before
            screen.press("q", "enter")
            screen.wait_for("Continue?")
            screen.press("y")
            screen.wait_for("1 modified, 1 deleted")
        assert snapshot(loop.target) == snapshot(loop.source)

    def test_the_question_can_be_switched_off_and_stays_off(self, loop: Loop) -> None:
        """An option, written into the configuration beside its comments."""
        loop.pull()
        make_tree(loop.source, {"index.html": b"hello again"})
        loop.push()
        loop.slave.config.write_text("# a comment of mine\n" + loop.slave.config.read_text())
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("o")
            screen.wait_for("ask before something is deleted or replaced: yes")
            screen.press("down", "enter")
            screen.wait_for("deleted or replaced: no")
            screen.press("escape", "enter")
            screen.wait_for("sync: 1 done", "1 modified")
        text = loop.slave.config.read_text()
        assert text.startswith("# a comment of mine\n")
        assert "ask = false" in text

    def test_a_sync_that_is_cancelled_leaves_the_target_as_it_was(
        self, tmp_path: Path, moto: S3Server, bucket: str, proxy: FaultProxy
    ) -> None:
        """Ctrl-C in the middle, while the window is being resized."""
        loop = make_loop(tmp_path, moto, bucket, endpoint_url=proxy.endpoint_url)
        make_tree(loop.source, {"a": b"1"})
        loop.push()
        loop.pull()
        make_tree(loop.source, {f"{number}": b"x" * 1000 for number in range(50)})
        loop.push()
        before = snapshot(loop.target)
        delay = Delay(60)
        slow = proxy.add(Rule(on("GET", prefix="data/web/1"), delay))
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("enter")
            screen.wait_for(" of 50 files", "Ctrl-C stops")
            screen.resize(100, 30)
            screen.wait_for(" of 50 files")
            screen.resize(80, 24)
            screen.wait_until(lambda: slow.fired)
            assert slow.fired
            screen.press("ctrl-c")
            screen.wait_for("stopping")
            delay.release()
            screen.wait_for("Stopped: the target is as it was")
            assert snapshot(loop.target) == before
            assert left_overs(loop) == []
            proxy.clear()
            screen.press("q", "enter")
            screen.wait_for("50 new")
        assert snapshot(loop.target) == snapshot(loop.source)

    def test_a_failure_can_be_read(self, loop: Loop) -> None:
        """The error is there in full, and the list says failed."""
        loop.slave.run("maps", "update")
        loop.write_map(s3="no-such-bucket-anywhere/web")
        loop.slave.run("maps", "update")
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("enter")
            screen.wait_for("1 failed", "FAILED: the bucket no-such-bucket-anywhere does not exist")
            screen.press("q")
            screen.wait_for("failed")
            screen.press("i")
            screen.wait_for("last run", "the bucket no-such-bucket-anywhere does not exist")

    def test_what_is_told_of_an_entry_follows_its_runs(self, loop: Loop) -> None:
        """Who reads about an entry while a timer runs it sees how that run ended."""
        assert loop.push().status == 0
        with at(loop.slave) as screen:
            screen.wait_for("WEB", "never run")
            screen.press("i")
            screen.wait_for("never run", without="last run")
            assert loop.pull().status == 0
            screen.wait_for("last run", "2 new")

    def test_all_entries_at_once(self, loop: Loop) -> None:
        """`a`, then what to do with them."""
        more = {"name": "MORE", "s3": f"{loop.bucket}/{loop.prefix}", "slave": str(loop.target.parent / "more")}
        put(loop.server, loop.bucket, "maps/more.json", json.dumps([more]).encode())
        loop.slave.run("maps", "update")
        with at(loop.slave) as screen:
            screen.wait_for("1/2")
            screen.press("a")
            screen.wait_for("All 2 entries", "dryrun", "copy", "sync")
            screen.press("enter")
            screen.wait_for("dryrun: 2 done", "index.html")
            screen.press("q")
            screen.wait_for("2 to do")
            screen.press("a", "down", "down", "enter")
            screen.wait_for("sync: 2 done")
        assert snapshot(loop.target.parent / "more") == snapshot(loop.source)


class TestCommands:
    def test_a_command_runs_before_ones_eyes(self, loop: Loop) -> None:
        """Its output as it comes, and its status; then back."""
        with loop.slave.config.open("a") as file:
            file.write('\n[commands]\nhello = "echo one; echo two >&2; exit 3"\n')
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("x")
            screen.wait_for("Custom commands", "hello")
            screen.press("enter")
            screen.wait_for("one", "two", "it ended with status 3")
            screen.press("q")
            screen.wait_for("WEB")

    def test_ctrl_c_stops_the_command_and_not_the_menu(self, loop: Loop) -> None:
        """And whatever the command has started."""
        with loop.slave.config.open("a") as file:
            file.write('\n[commands]\nlong = "echo begun; sleep 300 & sleep 300"\n')
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("x")
            screen.wait_for("Custom commands")
            screen.press("enter")
            screen.wait_for("begun", "Ctrl-C stops it")
            screen.press("ctrl-c")
            screen.wait_for("stopped")
            screen.press("q")
            screen.wait_for("WEB", "q quit")

    def test_there_are_none(self, loop: Loop) -> None:
        """That is said where one looks."""
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("x")
            screen.wait_for("the configuration has no [commands]")


class TestWatch:
    def test_a_watch_runs_before_ones_eyes(self, loop: Loop) -> None:
        """What is saved meanwhile is brought over, and Ctrl-C ends the watch and not the menu."""
        with at(loop.master) as screen:
            screen.wait_for("WEB", "q quit")
            screen.press("w")
            screen.wait_for("Watch: what changes is brought over at once", "WEB alone")
            screen.press("enter")
            screen.wait_for("watching", "Ctrl-C stops it")
            (loop.source / "index.html").write_bytes(b"saved while it watches")
            screen.wait_for("1 modified")
            screen.press("ctrl-c")
            screen.wait_for("The watch has ended.", "Enter, Esc, q go back")
            screen.press("q")
            screen.wait_for("up to date")
            screen.press("q")

            assert screen.ended() == 0
        assert loop.pull().status == 0
        assert (loop.target / "index.html").read_bytes() == b"saved while it watches"

    def test_the_watch_of_another_process_is_shown_and_can_be_ended(self, loop: Loop) -> None:
        """The list says so, the details say how."""
        other = loop.master.start("watch")
        try:
            with at(loop.master, columns=120) as screen:
                screen.wait_for("WEB")
                until = time.monotonic() + 20
                while "watching" not in loop.master.run("status").out and time.monotonic() < until:
                    time.sleep(0.1)
                screen.press("u")
                screen.wait_for("up to date, watched", "the maps have not changed")
                screen.press("i")
                screen.wait_for("watch", "watching, 2 directories")
                screen.press("q")
                screen.press("w")
                screen.wait_for(f"WEB is watched by process {other.pid}", "end it")
                screen.press("down", "enter")
                screen.wait_for("up to date", without="watched")
                assert other.wait(20) == 0
                screen.press("q")
                assert screen.ended() == 0
        finally:
            other.kill()
            other.wait()


class TestPoorTerminals:
    def test_a_dumb_terminal_gets_numbered_questions(self, loop: Loop) -> None:
        """One line each, and no sequence that it could not understand."""
        loop.slave.extra["TERM"] = "dumb"
        with at(loop.slave) as screen:
            screen.wait_for("1)  WEB", "Number or letter")
            screen.press("1\r")
            screen.wait_for("dryrun", "Number [back]")
            screen.press("sync\r")
            screen.wait_for("2 new; 2 files")
            screen.press("q\r")

            assert screen.ended() == 0
        assert b"\x1b" not in screen.raw
        assert snapshot(loop.target) == snapshot(loop.source)

    def test_a_pipe_can_answer(self, loop: Loop) -> None:
        """The same questions, from the first on."""
        loop.slave.config.unlink()
        answers = ["slave", loop.server.endpoint_url, f"{loop.bucket}/maps", "", "1", "sync", "q"]

        ended = piped(loop.slave, answers)

        assert ended.returncode == 0, ended.stderr
        assert snapshot(loop.target) == snapshot(loop.source)

    def test_a_question_is_asked_there_as_well(self, loop: Loop) -> None:
        """With no as the default."""
        loop.pull()
        (loop.source / "index.html").unlink()
        loop.push()

        refused = piped(loop.slave, ["1", "sync", "", "q"])
        before = (loop.target / "index.html").exists()
        agreed = piped(loop.slave, ["1", "sync", "y", "q"])

        assert "cancelled" in refused.stdout + refused.stderr
        assert before
        assert "1 deleted" in agreed.stdout
        assert not (loop.target / "index.html").exists()

    @pytest.mark.parametrize("configured", [True, False])
    @pytest.mark.parametrize("closed", [True, False], ids=["closed", "null device"])
    def test_nobody_is_told_what_to_run(self, loop: Loop, configured: bool, closed: bool) -> None:
        """Cron and timers have nobody to ask."""
        if not configured:
            loop.slave.config.unlink()
        command = [*loop.slave.command()]
        if closed:
            command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command]

        ended = subprocess.run(
            command,
            env=loop.slave.environment(),
            cwd=loop.slave.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ended.returncode == 2
        assert "s32s sync" in ended.stderr
        assert "Traceback" not in ended.stderr


def piped(machine: Machine, answers: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `s32s` with answers from a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "s32s"],
        env=machine.environment(),
        cwd=machine.root,
        input="".join(f"{answer}\n" for answer in answers),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def team(root: Path, server: S3Server, *names: str) -> tuple[str, list[Machine]]:
    """A new bucket whose map shares a folder, and the machines of people who have joined it."""
    make_bucket(server, bucket := f"test-{uuid.uuid4().hex}")
    entry = {"name": "TEAM", "s3": f"{bucket}/t", "peer": "~/team"}
    put(server, bucket, "maps/team.json", json.dumps([entry]).encode())
    machines = [Machine(root / name, server) for name in names]
    for machine in machines:
        machine.write_config("peer", f"{bucket}/maps")
        (machine.root / "team").mkdir()
    return bucket, machines


class TestSharedFolder:
    def test_what_goes_which_way_is_picked_by_check_boxes(self, tmp_path: Path, moto: S3Server) -> None:
        """Uploads, downloads and conflicts on one screen; a look at what differs comes back to it."""
        _, (ann, bob) = team(tmp_path, moto, "ann", "bob")
        (ann.root / "team/plan.txt").write_text("walls\n")
        assert ann.run("sync", "--update-maps").status == 0
        assert bob.run("sync", "--update-maps").status == 0
        (ann.root / "team/plan.txt").write_text("walls\nby ann\n")
        (ann.root / "team/x.txt").write_text("x")
        assert ann.run("sync").status == 0
        (bob.root / "team/plan.txt").write_text("walls\nby bob\n")
        (bob.root / "team/up1.txt").write_text("1")
        (bob.root / "team/up2.txt").write_text("2")

        with at(bob, columns=120) as screen:
            screen.wait_for("TEAM")
            screen.press("enter")
            screen.wait_for("sync TEAM", "2 to upload, 1 to download, 1 conflict", "[x] up", "[x] down", "[leave ]")
            screen.press("down", " ")
            screen.wait_for("[ ] up")
            screen.press("down", "d")
            screen.wait_for("-by ann", "+by bob")
            screen.press("q")
            screen.wait_for("[leave ]")
            screen.press(" ")
            screen.wait_for("[mine  ]")
            screen.press("enter")
            screen.wait_for("sync: 1 done", "uploaded 1 new, 1 modified; downloaded 1 new")
            screen.press("q", "q")
            assert screen.ended() == 0

        assert (bob.root / "team/x.txt").read_text() == "x"
        assert ann.run("sync").status == 0
        assert (ann.root / "team/plan.txt").read_text() == "walls\nby bob\n"
        assert (ann.root / "team/up1.txt").exists()
        assert not (ann.root / "team/up2.txt").exists()

    def test_leaving_the_boxes_changes_nothing(self, tmp_path: Path, moto: S3Server) -> None:
        """Neither here nor there."""
        bucket, (ann,) = team(tmp_path, moto, "ann")
        (ann.root / "team/a.txt").write_text("a")

        with at(ann) as screen:
            screen.wait_for("TEAM")
            screen.press("enter")
            screen.wait_for("1 to upload")
            screen.press("escape")
            screen.wait_for("sync: 1 stopped", "cancelled")
            screen.press("q", "q")
            assert screen.ended() == 0

        assert set(keys(moto, bucket)) == {"maps/team.json"}

    def test_what_was_deleted_comes_back(self, tmp_path: Path, moto: S3Server) -> None:
        """The trash lists it, the latest first; space picks, Enter brings it back."""
        _, (ann,) = team(tmp_path, moto, "ann")
        for name in ("a.txt", "b.txt", "c.txt", "stays"):
            (ann.root / "team" / name).write_text(name)
        assert ann.run("sync").status == 0
        for name in ("a.txt", "b.txt", "c.txt"):
            (ann.root / "team" / name).unlink()
        assert ann.run("sync", "--yes").status == 0

        with at(ann) as screen:
            screen.wait_for("TEAM")
            screen.press("t")
            screen.wait_for("trash of TEAM", "0 picked of 3 files", "a.txt", "b.txt")
            screen.press(" ")
            screen.wait_for("1 picked")
            screen.press(" ", "enter")
            screen.wait_for("2 files came back")
            screen.press("q")
            assert screen.ended() == 0

        assert sorted(path.name for path in (ann.root / "team").glob("*.txt")) == ["b.txt", "c.txt"]

    def test_who_shares_nothing_has_no_trash(self, loop: Loop) -> None:
        """It is said."""
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("t")
            screen.wait_for("only a shared folder")


class TestGenerations:
    """Look back, go back, and on again."""

    def test_a_slave_goes_back_and_is_released(self, tmp_path: Path, moto: S3Server) -> None:
        """What changed is shown; the way back asks as a sync does, and the entry is held until it is released."""
        bucket = f"menu-{uuid.uuid4().hex}"
        make_bucket(moto, bucket)
        loop = make_loop(tmp_path, moto, bucket)
        loop.write_map(layout="packed")
        loop.slave.write_config("slave", f"{bucket}/maps", allow=[loop.target.parent], text="keep = 2")
        for number, said in enumerate(("the first", "spring campaign"), start=1):
            (loop.source / "page").write_text("page" * number)
            (loop.source / f"new-{number}").write_text("n")
            assert loop.push("--message", said).status == 0
            assert loop.pull().status == 0

        with at(loop.slave) as screen:
            screen.wait_for("WEB", "up to date")
            screen.press("g")
            screen.wait_for("generations of WEB", "2 generations", "spring campaign", "the first", "here", "kept")
            screen.press("enter")
            screen.wait_for("what generation 2 has changed", "~ modified  page", "+ new       new-2")
            screen.press("q", "b")
            screen.wait_for("generation 2 is what is here")
            screen.press("down", "b")
            screen.wait_for("back to generation 1?", "hold the entry there")
            screen.press("enter")
            screen.wait_for("generations of WEB")
            screen.press("b")
            screen.wait_for("back to generation 1?")
            screen.press("down", "enter")
            screen.wait_for("back to generation 1 of WEB: delete 1, replace 1?")
            screen.press("y")
            screen.wait_for("generation 1 is back on this machine")
            screen.press("q")
            screen.wait_for("held at generation 1")
            assert (loop.target / "page").read_text() == "page"
            screen.press("s")
            screen.wait_for("held at generation 1", "s32s release WEB")
            screen.press("q", "g")
            screen.wait_for("r releases it")
            screen.press("r")
            screen.wait_for("is not held any more", "1 generation behind")
            screen.press("q")
            assert screen.ended() == 0
        assert loop.pull().status == 0
        assert (loop.target / "page").read_text() == "pagepage"

    def test_what_the_plain_layout_has_not_got_is_said(self, loop: Loop) -> None:
        """A bucket without versions has no generations, and the screen says what to do."""
        make_tree(loop.source, {"page": b"1"})
        assert loop.push().status == 0
        with at(loop.slave) as screen:
            screen.wait_for("WEB")
            screen.press("g")
            screen.wait_for("generations of WEB", "None is known", "versions")
            screen.press("b")
            screen.wait_for("there is nothing to go back to")
            screen.press("q", "q")
            assert screen.ended() == 0
