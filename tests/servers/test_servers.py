"""What must work on every S3 server, in both layouts: Ceph, Swift, LocalStack, s3rver, moto and rclone."""

from __future__ import annotations

import dataclasses
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.anywhere import BIG, fill, good, keep_versions, second_slave, write_map
from support.checks import assert_failed, left_overs
from support.faultproxy import Do, FaultProxy, Request, Rule, Status
from support.machine import Loop, Machine
from support.servers import keys
from support.trees import make_tree, snapshot

pytestmark = pytest.mark.timeout(900)

KILLS = 5
MOST_TRIES = 15


#: What a URL, a query and XML give a meaning to.
ODD = ("a+b c%20d#?", "\u00e9\u2028", "&amp;<x>", "e\u0301")


def test_two_slaves_become_exact_copies_and_stay_so(anywhere: Loop, tmp_path: Path) -> None:
    """300 files, one of 20 MiB, odd names; then one in a hundred changes, and some go."""
    loop = anywhere
    fill(loop.source, 300)
    if loop.server.has("keys of any kind"):
        make_tree(loop.source, {f"odd/{name}": name.encode() for name in ODD})
    other = second_slave(loop, tmp_path / "other")
    good(loop.push(), loop.pull(), other.pull())
    first = snapshot(loop.source)
    for slave in (loop, other):
        assert snapshot(slave.target) == first
    make_tree(loop.source, {"d1/file 1.txt": b"changed", "d1/file 13.txt": b"changed", "d3/new": b"new"})
    (loop.source / "d2/file 2.txt").unlink()

    good(loop.push(), loop.pull(), other.pull("--verify"))

    assert snapshot(loop.source) != first
    for slave in (loop, other):
        assert snapshot(slave.target) == snapshot(loop.source)
        assert left_overs(slave) == []
    assert "data/web/d2/file 2.txt" not in keys(loop.server, loop.bucket)


def test_a_run_with_nothing_to_do_asks_little(proxied: Loop, proxy: FaultProxy, layout: str) -> None:
    """One GET for a slave; two pages of a listing, the map and the head for a master."""
    proxied.write_map(layout=layout)
    make_tree(proxied.source, {f"f{number}": b"x" for number in range(30)})
    good(proxied.push(), proxied.pull(), proxied.push(), proxied.pull())
    proxy.clear()

    good(proxied.pull())
    of_pull = [f"{asked.method} {asked.path}" for asked in proxy.requests]
    proxy.clear()
    good(proxied.push())
    of_push = [f"{asked.method} {asked.path}" for asked in proxy.requests]

    assert len(of_pull) <= 3, of_pull
    assert len(of_push) <= 5, of_push
    assert {one.split()[0] for one in of_pull + of_push} == {"GET"}


def test_a_mirror_takes_objects_of_several_parts(loop: Loop, tmp_path: Path, layout: str) -> None:
    """A slave that follows the copy is exact, and the second run has nothing to do."""
    loop.write_map(layout=layout)
    fill(loop.source, 40)
    make_tree(
        loop.source, {"second.bin": random.Random(2).randbytes(BIG), "third.bin": random.Random(3).randbytes(BIG)}
    )
    good(loop.push())
    mirror = Machine(tmp_path / "mirror", loop.server)
    mirror.write_config("mirror", write_map(loop, "mirror", mirror=f"{loop.bucket}/copy/web"))
    follower = second_slave(loop, tmp_path / "follower", s3=f"{loop.bucket}/copy/web")

    good(mirror.run("sync"), follower.pull("--verify"))
    again = mirror.run("sync")

    assert snapshot(follower.target) == snapshot(loop.source)
    assert again.status == 0, again.err
    assert again.changed_nothing


def test_two_masters_at_once_never_mix(anywhere: Loop, tmp_path: Path) -> None:
    """After each of four rounds a slave has the tree of one of them, which ended well."""
    loop = anywhere
    rival = dataclasses.replace(loop, master=Machine(tmp_path / "rival", loop.server), source=tmp_path / "rival/site")
    rival.master.write_config("master", write_map(loop, "rival", master=str(rival.source)))

    for turn in range(4):
        for who, loop_of in (("ours", loop), ("theirs", rival)):
            make_tree(loop_of.source, {f"f{number}": f"{who} {turn} {number}".encode() for number in range(25)})
        running = [one.master.start("sync") for one in (loop, rival)]
        errors = [process.communicate(timeout=300)[1] for process in running]
        statuses = [process.returncode for process in running]
        assert 0 in statuses, errors
        assert set(statuses) <= {0, 1, 75}, errors
        pulled = loop.pull("--verify")
        assert pulled.status == 0, (statuses, errors, pulled.err)
        winners = [one for one, status in zip((loop, rival), statuses, strict=True) if status == 0]
        assert snapshot(loop.target) in [snapshot(one.source) for one in winners], (statuses, errors)


@pytest.mark.parametrize("role", ["master", "slave"])
def test_one_run_heals_what_a_kill_has_left(anywhere: Loop, role: str) -> None:
    """Five times; right after the kill the target is the old tree or the new one."""
    rng = random.Random(seed := random.SystemRandom().randrange(10**6))
    print("seed", seed)
    make_tree(anywhere.source, {f"f{number}": rng.randbytes(2_000) for number in range(80)})
    good(anywhere.push(), anywhere.pull())
    killed = 0
    latest = 1.0
    for _turn in range(MOST_TRIES):
        make_tree(anywhere.source, {f"f{rng.randrange(90)}": rng.randbytes(3_000) for _ in range(30)})
        (anywhere.source / f"f{rng.randrange(80)}").unlink(missing_ok=True)
        if role == "slave":
            good(anywhere.push())
        before = snapshot(anywhere.target)
        process = (anywhere.master if role == "master" else anywhere.slave).start("sync")
        began = time.monotonic()
        try:
            process.communicate(timeout=rng.uniform(0.1, 1.0) * latest)
            latest = max(0.05, time.monotonic() - began)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            latest *= 1.3
        assert snapshot(anywhere.target) in (before, snapshot(anywhere.source))
        good(anywhere.push(), anywhere.pull("--verify"))
        assert snapshot(anywhere.target) == snapshot(anywhere.source)
        assert left_overs(anywhere) == []
        if killed == KILLS:
            break
    assert killed == KILLS, f"{killed} kills hit in {MOST_TRIES} tries"


def test_a_push_killed_before_its_deletions_stops_no_slave(proxied: Loop, proxy: FaultProxy) -> None:
    """What waits for its deletion is not taken for a stranger's object, and the next push deletes it."""
    make_tree(proxied.source, {"keep": b"k", "gone": b"g", "d/gone": b"g"})
    good(proxied.push(), proxied.pull())
    (proxied.source / "gone").unlink()
    (proxied.source / "d/gone").unlink()

    running: list[subprocess.Popen[str]] = []

    def kills_at_a_deletion(asked: Request) -> bool:
        if not (asked.method == "DELETE" or (asked.method == "POST" and "delete" in asked.query)):
            return False
        running[0].kill()
        return True

    # The proxy answers in the server's place: nothing is deleted.
    proxy.add(Rule(kills_at_a_deletion, Status(503, "SlowDown")))
    running.append(proxied.master.start("sync"))
    running[0].communicate(timeout=120)
    proxy.clear()
    assert running[0].returncode == -signal.SIGKILL
    assert "data/web/gone" in keys(proxied.server, proxied.bucket)

    good(proxied.pull("--verify"))

    assert snapshot(proxied.target) == snapshot(proxied.source)
    good(proxied.push(), proxied.pull("--verify"))
    assert "data/web/gone" not in keys(proxied.server, proxied.bucket)


def test_a_versioned_bucket_lets_a_slave_finish_the_generation_it_reads(
    loop: Loop, proxy: FaultProxy, tmp_path: Path
) -> None:
    """A push while it reads changes every file; the slave has the whole old tree, and the next run the new one."""
    keep_versions(loop)
    late = dataclasses.replace(loop, slave=Machine(loop.slave.root, loop.server, endpoint_url=proxy.endpoint_url))
    late.slave.write_config("slave", f"{loop.bucket}/maps", allow=[loop.target.parent])
    make_tree(loop.source, {f"f{number}": b"old %d" % number for number in range(40)})
    good(loop.push())
    old = snapshot(loop.source)
    pushed = []

    def push() -> None:
        make_tree(loop.source, {f"f{number}": b"quite new %d" % number for number in range(40)})
        pushed.append(loop.push())

    rule = proxy.add(
        Rule(lambda asked: asked.method == "GET" and asked.key.startswith("data/web/f"), Do(push), times=1)
    )

    first = late.pull()
    after_first = snapshot(loop.target)
    good(late.pull())

    assert rule.fired
    good(*pushed, first)
    assert after_first == old
    assert snapshot(loop.target) == snapshot(loop.source)


def test_more_keys_than_a_page_holds(loop: Loop) -> None:
    """1,100 objects; the run that lists them finds each, and no other."""
    make_tree(loop.source, {f"d{number % 7}/{number:05}": b"%d" % number for number in range(1_100)})
    good(loop.push(), loop.pull(), loop.pull("--verify"))

    assert snapshot(loop.target) == snapshot(loop.source)
    (loop.source / "d6/00006").unlink()
    good(loop.push(), loop.pull("--verify"))
    assert snapshot(loop.target) == snapshot(loop.source)


def test_a_wrong_secret_is_told_in_a_sentence(loop: Loop) -> None:
    """Status 1."""
    loop.server.needs("checked signatures")
    loop.slave.extra["AWS_SECRET_ACCESS_KEY"] = "wrong"

    assert_failed(loop.pull(), 1, says="does not accept the credentials")


def test_a_missing_bucket_is_told_in_a_sentence(loop: Loop) -> None:
    """Status 1, with its name."""
    loop.slave.write_config("slave", "no-such-bucket-here/maps", allow=[loop.target.parent])

    assert_failed(loop.pull(), 1, says="no-such-bucket-here")
