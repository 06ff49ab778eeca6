"""A source that goes back in time, and a run that takes too long."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.checks import assert_failed, assert_untouched
from support.faultproxy import Do, FaultProxy, Rule, on
from support.machine import Loop, Machine
from support.servers import S3Server, empty, get, keys, put
from support.trees import make_tree, snapshot


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """One server will do."""
    return moto


def stored(loop: Loop, prefix: str = "data/web/") -> dict[str, bytes]:
    """All objects of the prefix."""
    return {key: get(loop.server, loop.bucket, key) for key in keys(loop.server, loop.bucket, prefix)}


def put_back(loop: Loop, objects: dict[str, bytes]) -> None:
    """Make the prefix what it was."""
    kept = {key: get(loop.server, loop.bucket, key) for key in keys(loop.server, loop.bucket, "maps/")}
    kept |= stored(loop, "copy/")
    empty(loop.server, loop.bucket)
    for key, data in (kept | objects).items():
        put(loop.server, loop.bucket, key, data)


@pytest.fixture
def rolled_back(loop: Loop) -> Loop:
    """A slave that follows generation 2, and a prefix that holds generation 1 again."""
    make_tree(loop.source, {"a": b"1", "b": b"b"})
    loop.push()
    first = stored(loop)
    make_tree(loop.source, {"a": b"22"})
    loop.push()
    assert loop.pull("--update-maps").status == 0
    put_back(loop, first)
    return loop


class TestAnOlderGeneration:
    @pytest.mark.parametrize("is_gone", [False, True], ids=["an older head", "no head"])
    def test_the_master_goes_on_above_its_own_last_one(self, rolled_back: Loop, is_gone: bool) -> None:
        """It says so, and slaves follow without being told one by one."""
        if is_gone:
            rolled_back.server.client().delete_object(Bucket=rolled_back.bucket, Key="data/web/.s32s/head.json")

        pushed = rolled_back.push()

        assert pushed.status == 0, pushed.err
        assert "went back from generation 2 to" in pushed.err
        assert rolled_back.pull().status == 0
        assert snapshot(rolled_back.target) == snapshot(rolled_back.source)

    def test_status_tells_it_and_is_not_green(self, rolled_back: Loop) -> None:
        """On the slave and on the master."""
        for machine in (rolled_back.slave, rolled_back.master):
            ended = machine.run("status", "--check", "1h")

            assert ended.status == 1
            assert "S3 went back to generation 1" in ended.out

    @pytest.mark.parametrize("verb", ["sync", "copy", "dryrun"])
    def test_it_is_refused(self, rolled_back: Loop, verb: str) -> None:
        """Status 3 and both numbers; the target stays, run after run."""
        before = snapshot(rolled_back.target)

        ended = [rolled_back.slave.run(verb), rolled_back.slave.run(verb)]

        for each in ended:
            assert_failed(each, 3, says="is at generation 1 ")
            assert "followed generation 2" in each.err
            assert "--accept-older" in each.err
        assert_untouched(rolled_back, before)

    def test_it_is_followed_when_that_is_asked_for(self, rolled_back: Loop) -> None:
        """Once; afterwards it is the generation that this machine has followed."""
        asked = rolled_back.pull("--accept-older")
        again = rolled_back.pull()

        assert (asked.status, again.status) == (0, 0), asked.err + again.err
        assert (rolled_back.target / "a").read_bytes() == b"1"

    def test_a_prefix_that_was_deleted_and_pushed_again_is_one(self, rolled_back: Loop, tmp_path: Path) -> None:
        """By another master its generations begin with 1, so that somebody has to say that this is right."""
        put_back(rolled_back, {})
        other = Machine(tmp_path / "other", rolled_back.server)
        other.write_config("master", f"{rolled_back.bucket}/maps")
        assert other.run("sync").status == 0

        refused = rolled_back.pull()
        asked = rolled_back.pull("--accept-older")

        assert_failed(refused, 3, says="the prefix was deleted and pushed again")
        assert asked.status == 0, asked.err
        assert snapshot(rolled_back.target) == snapshot(rolled_back.source)

    def test_a_mirror_refuses_it_too(self, loop: Loop, tmp_path: Path) -> None:
        """What slaves follow there does not go back either."""
        loop.write_map(mirror=f"{loop.bucket}/copy")
        mirror = Machine(tmp_path / "mirror", loop.server)
        mirror.write_config("mirror", f"{loop.bucket}/maps")
        make_tree(loop.source, {"a": b"1"})
        loop.push()
        first = stored(loop)
        make_tree(loop.source, {"a": b"22"})
        loop.push()
        mirror.run("sync", "--update-maps")
        copied = stored(loop, "copy/")
        put_back(loop, first)

        refused = mirror.run("sync")
        assert_failed(refused, 3, says="is at generation 1 ")
        assert stored(loop, "copy/") == copied
        asked = mirror.run("sync", "--accept-older")

        assert asked.status == 0, asked.err
        assert get(loop.server, loop.bucket, "copy/a") == b"1"


class TestTimeout:
    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_a_run_that_takes_longer_is_stopped(self, proxied: Loop, proxy: FaultProxy, options: list[str]) -> None:
        """Status 75; the target is as it was, and the next run brings it up to date."""
        release = threading.Event()

        def wait() -> None:
            release.wait(60)

        make_tree(proxied.source, {"a": b"1"})
        proxied.push()
        assert proxied.pull("--update-maps").status == 0
        before = snapshot(proxied.target)
        make_tree(proxied.source, {"a": b"22"})
        proxied.push()
        proxy.add(Rule(on("GET", "data/web/a"), Do(wait)))

        ended = proxied.pull("--timeout", "2s", *options)
        release.set()

        assert_failed(ended, 75, says="stopped after 2s (--timeout)")
        assert_untouched(proxied, before)
        assert proxied.pull("--timeout", "1h").status == 0
        assert snapshot(proxied.target) == snapshot(proxied.source)

    def test_a_command_afterwards_counts_too(self, loop: Loop) -> None:
        """It is stopped with all that it has started."""
        loop.write_map(after="slow")
        loop.slave.write_config(
            "slave",
            f"{loop.bucket}/maps",
            allow=[loop.target.parent],
            text='commands.slow = "test -e $S32S_TARGET.done || exec sleep 300"',
        )
        make_tree(loop.source, {"a": b"1"})
        loop.push()

        ended = loop.pull("--update-maps", "--timeout", "3s")

        assert_failed(ended, 75, says="stopped after 3s (--timeout)")

    @pytest.mark.parametrize(("text", "says"), [("soon", "not a duration"), ("0s", "longer than zero")])
    def test_a_time_that_is_none_is_refused(self, loop: Loop, text: str, says: str) -> None:
        """Before anything begins."""
        assert_failed(loop.pull("--timeout", text), 2, says=says)
