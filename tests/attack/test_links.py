"""Links that lead elsewhere: planted before a run, planted while it runs, or sent by whoever writes to the prefix.

Each attack aims at a canary, a directory beside the target that nobody named to s32s. It must keep its names, bytes,
modes, owners and inodes, and none of its inodes may turn up in the target.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.checks import assert_failed, assert_untouched, left_overs
from support.faultproxy import FaultProxy, Request
from support.machine import Loop, make_loop
from support.servers import S3Server, get, make_bucket, put
from support.trees import Link, Spec, make_tree, snapshot

from s32s.manifest import Head, ManifestRef
from s32s.state import digest

NOBODY = 65534
RACE_S = 3.0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the attacker is another user, so the run must be root's")
traced = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
both_ways = pytest.mark.parametrize("apply", ["swap", "in-place"])

ONE: Spec = {"a": b"one", "d/b": b"one", "d/e/c": b"one", "many/1": b"1", "many/2": b"2", "kept/deep/k": b"kept"}
TWO: Spec = {"a": b"two", "d/b": b"TWO!", "d/e/c": b"two", "d/new": b"n", "many/3": b"3", "kept/deep/k": b"kept"}

Publish = Callable[[str], Loop]


@pytest.fixture(scope="module")
def published(moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Publish:
    """Returns a master whose source, ONE or TWO, is pushed."""

    @functools.cache
    def publish(name: str) -> Loop:
        bucket = f"test-{uuid.uuid4().hex}"
        make_bucket(moto, bucket)
        loop = make_loop(tmp_path_factory.mktemp(name), moto, bucket)
        make_tree(loop.source, {"ONE": ONE, "TWO": TWO}[name])
        assert loop.push().status == 0
        return loop

    return publish


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """One server is enough: these tests are about links."""
    return moto


@pytest.fixture
def slave(tmp_path: Path, bucket: str, proxy: FaultProxy, published: Publish) -> Loop:
    """A slave that is in step with TWO after one more run: its target holds ONE."""
    master = published("TWO")
    loop = make_loop(tmp_path, master.server, bucket, endpoint_url=proxy.endpoint_url)
    loop = replace(loop, source=master.source)
    make_tree(loop.target, ONE)
    write_map(loop, s3=f"{master.bucket}/data/web")
    return loop


def write_map(loop: Loop, key: str = "maps/web.json", **properties: Any) -> None:
    """Upload the slave's map with other properties than before."""
    known = json.loads(get(loop.server, loop.bucket, "maps/web.json"))[0]
    put(loop.server, loop.bucket, key, json.dumps([{**known, **properties}]).encode())


class Canary:
    """A directory that must stay as it is, and the proof that it did."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # The names are those of the target, so that a path that leads here finds what it looks for.
        make_tree(root, {**ONE, "precious": b"precious"})
        for path in (root, *root.rglob("*")):
            os.utime(path, ns=(1_000_000_000, 1_000_000_000))
        root.chmod(0o711)
        self.before = self.facts()

    def facts(self) -> dict[str, tuple[object, ...]]:
        """Inode, mode, owner, links, size, times and bytes of everything in it; a change of the change time counts."""
        found = {}
        for path in sorted((self.root, *self.root.rglob("*"))):
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path.relative_to(self.root))] = (
                status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_size,
                status.st_mtime_ns, status.st_ctime_ns, content,
            )  # fmt: skip
        return found

    def assert_untouched(self, target: Path) -> None:
        """Nothing here has changed, and nothing of here is in the target."""
        assert self.facts() == self.before
        inodes = {facts[0] for facts in self.before.values()}
        assert not inodes & {path.lstat().st_ino for path in (target, *target.rglob("*"))}


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    """A directory beside all that s32s may touch."""
    return Canary(tmp_path / "canary")


# -- links that are there before ---------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    "place",
    [
        "a",
        "d",
        "d/b",
        "d/e",
        "d/e/c",
        "many",
        "kept",
        "kept/deep",
        "kept/deep/k",
        "extra",
        "d/extra",
        "d/new",
        "many/3",
    ],
)
def test_a_planted_link_is_replaced_and_not_followed(slave: Loop, canary: Canary, place: str, apply: str) -> None:
    """A user puts a link to the canary where a file or directory of the tree is, was or will be."""
    write_map(slave, apply=apply)
    at = slave.target / place
    if at.is_dir():
        shutil.rmtree(at)
    elif at.exists():
        at.unlink()
    twin = canary.root / place
    at.symlink_to(twin if twin.exists() else canary.root)

    ended = slave.pull("--force-delete")

    assert ended.status == 0, ended.err
    canary.assert_untouched(slave.target)
    assert snapshot(slave.target) == snapshot(slave.source)
    assert left_overs(slave) == []


@both_ways
def test_a_planted_hard_link_to_a_file_of_others_is_not_changed_through(
    slave: Loop, canary: Canary, apply: str
) -> None:
    """A user links files of the canary into the target: one with other bytes, one that only has another mode."""
    write_map(slave, apply=apply)
    (slave.target / "a").unlink()
    (slave.target / "kept/deep/k").unlink()
    os.link(canary.root / "a", slave.target / "a")
    os.link(canary.root / "kept/deep/k", slave.target / "kept/deep/k")

    ended = slave.pull("--force-delete")

    assert ended.status == 0, ended.err
    assert snapshot(slave.target) == snapshot(slave.source)
    changed = {name for name, facts in canary.facts().items() if facts[:4] != canary.before[name][:4]}
    assert not changed
    assert {name: facts[8] for name, facts in canary.facts().items()} == {
        name: facts[8] for name, facts in canary.before.items()
    }
    assert (canary.root / "kept/deep/k").stat().st_mtime_ns == 1_000_000_000


@pytest.mark.parametrize("kind", ["hard link", "symbolic link"])
@both_ways
def test_a_planted_lock_file_does_not_lead_elsewhere(slave: Loop, canary: Canary, apply: str, kind: str) -> None:
    """A user knows the name of the lock and makes it a link to a file of root: that file keeps its bytes."""
    write_map(slave, apply=apply)
    directory = slave.target if apply == "in-place" else slave.target.parent
    lock = directory / f".s32s-lock-{digest(slave.target.name)}"
    precious = canary.root / "precious"
    if kind == "hard link":
        os.link(precious, lock)
    else:
        lock.symlink_to(precious)

    ended = slave.pull("--force-delete")

    assert "Traceback" not in ended.err
    assert ended.status in (0, 3, 75), ended.err
    assert precious.read_bytes() == b"precious"
    assert stat.S_IMODE(precious.stat().st_mode) == 0o644


@as_root
@both_ways
def test_a_planted_staging_directory_is_not_followed(slave: Loop, canary: Canary, apply: str) -> None:
    """A user leaves a link, and a directory with a link, under names of ours: what they lead to stays."""
    write_map(slave, apply=apply)
    directory = slave.target if apply == "in-place" else slave.target.parent
    prefix = f".s32s-new-{digest(slave.target.name)}-"
    (directory / f"{prefix}0").symlink_to(canary.root)
    (directory / f"{prefix}1").mkdir()
    (directory / f"{prefix}1/tree").symlink_to(canary.root)

    ended = slave.pull("--force-delete")

    assert ended.status == 0, ended.err
    canary.assert_untouched(slave.target)
    assert snapshot(slave.target) == snapshot(slave.source)


# -- links that come while it runs -------------------------------------------------------------------------------------

# Started as root, since the interpreter may lie in a private home; it changes to the directory that holds the target,
# drops every right, and then makes three system calls of mischief after the other until it is told to end.
RACER = """
import os, signal, sys
directory, canary, what, *names = sys.argv[1:]
os.chdir(directory)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
turns, running = 0, True

def stop(*_):
    global running
    running = False

signal.signal(signal.SIGTERM, stop)

def swap(name, leads_to):
    global turns
    away = name + ".away"
    try:
        os.rename(name, away)
    except OSError:
        return
    try:
        os.symlink(leads_to, name)
        turns += 1
        os.unlink(name)
    except OSError:
        pass
    try:
        os.rename(away, name)
    except OSError:
        pass

def steal(where):
    global turns
    try:
        mine = [name for name in os.listdir(where) if name.startswith(".s32s-new-")]
    except OSError:
        return
    for name in mine:
        try:
            os.rename(f"{where}/{name}", f"{where}/stolen-{turns}")
            os.symlink(canary, f"{where}/{name}")
            turns += 1
        except OSError:
            pass

print("ready", flush=True)
while running:
    if what == "steal":
        steal(names[0])
    else:
        for name in names:
            swap(name, canary if what == "swap" else canary + "/" + name.partition("/")[2])
print(turns, flush=True)
"""


@contextmanager
def racing(directory: Path, canary: Canary, what: str, *names: str) -> Iterator[list[int]]:
    """Let nobody swap `names` in `directory` for links while the block lasts; how often he did is known afterwards."""
    turns: list[int] = []
    process = subprocess.Popen(
        [sys.executable, "-c", RACER, str(directory), str(canary.root), what, *names],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield turns
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
        turns.append(int(said))


@pytest.fixture
def alternating(slave: Loop, published: Publish) -> Callable[[], list[int]]:
    """Returns what syncs the target to ONE and TWO in turns for some seconds, and returns the statuses."""
    one = published("ONE")
    config = slave.slave.config.read_text()
    other = slave.slave.root / "one.toml"
    other.write_text(config.replace(f'"{slave.bucket}/maps"', f'"{slave.bucket}/maps1"'))

    def run() -> list[int]:
        known = json.loads(get(slave.server, slave.bucket, "maps/web.json"))[0]
        write_map(slave, "maps1/web.json", **{**known, "s3": f"{one.bucket}/data/web"})
        statuses = []
        end = time.monotonic() + RACE_S
        while time.monotonic() < end or len(statuses) < 4:
            for options in (["--config", str(other)], []):
                ended = slave.pull("--force-delete", *options)
                assert "Traceback" not in ended.err, ended.err
                assert "unexpected" not in ended.err, ended.err
                statuses.append(ended.status)
        return statuses

    return run


def give_to_nobody(*places: Path) -> None:
    """Let nobody own these directories and what is in them."""
    for place in places:
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@as_root
@both_ways
@pytest.mark.parametrize(
    "what",
    [
        pytest.param("swap", id="for links to the canary"),
        pytest.param("twin", id="for links to the same path in the canary"),
    ],
)
def test_directories_that_become_links_in_a_run_lead_nowhere(
    slave: Loop, canary: Canary, alternating: Callable[[], list[int]], what: str, apply: str
) -> None:
    """The owner of the target swaps its directories for links and back while root syncs again and again.

    Root must not write, chmod, chown or delete in the canary. A run may fail on what it meets; the first one in peace
    succeeds.
    """
    write_map(slave, apply=apply)
    give_to_nobody(slave.target)
    names = [f"{slave.target.name}/{name}" for name in ("d", "many", "kept", "d/e", "kept/deep", "a")]

    with racing(slave.target.parent, canary, what, *names) as turns:
        statuses = alternating()

    assert turns[0] > 100
    assert set(statuses) <= {0, 1, 3}
    canary.assert_untouched(slave.target)
    ended = slave.pull("--force-delete", "--verify")
    assert ended.status == 0, ended.err
    assert snapshot(slave.target) == snapshot(slave.source)
    assert left_overs(slave) == []


@as_root
@both_ways
def test_a_staging_directory_that_is_stolen_in_a_run_leads_nowhere(
    slave: Loop, canary: Canary, alternating: Callable[[], list[int]], apply: str
) -> None:
    """The owner of the directory that holds the staging renames it and puts a link to the canary under its name.

    What is built stays where its descriptor is; the name is never believed.
    """
    write_map(slave, apply=apply)
    give_to_nobody(slave.target if apply == "in-place" else slave.target.parent)
    where = slave.target.name if apply == "in-place" else "."

    with racing(slave.target.parent, canary, "steal", where) as turns:
        statuses = alternating()

    assert turns[0] > 0
    assert set(statuses) <= {0, 1, 3}
    assert canary.facts() == canary.before
    ended = slave.pull("--force-delete", "--verify")
    assert ended.status == 0, ended.err
    assert snapshot(slave.target) == snapshot(slave.source)


@as_root
def test_a_target_that_becomes_a_link_in_a_run_leads_nowhere(
    slave: Loop, canary: Canary, alternating: Callable[[], list[int]]
) -> None:
    """The owner of the parent swaps the target itself for a link to the canary and back while root syncs."""
    give_to_nobody(slave.target.parent)

    with racing(slave.target.parent, canary, "swap", slave.target.name) as turns:
        statuses = alternating()

    assert turns[0] > 100
    assert set(statuses) <= {0, 1, 3}
    assert canary.facts() == canary.before


@traced
@pytest.mark.parametrize("what", ["directory", "link"])
def test_what_takes_the_target_s_place_at_the_last_moment_is_not_deleted(
    slave: Loop, canary: Canary, tmp_path: Path, what: str
) -> None:
    """Between the last look and the exchange somebody renames another directory, or a link, to the target's name.

    strace holds the exchange for three seconds, so that this surely happens then. The exchange takes what is there,
    but what came out of it is not the old tree, so its files must not be removed.
    """
    log = tmp_path / "strace"
    stranger = slave.target.with_name("stranger")
    make_tree(stranger, {"precious": b"p", "deep/precious": b"p"})
    held = os.open(stranger, os.O_RDONLY | os.O_DIRECTORY)
    run = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=renameat2",
         "-e", "inject=renameat2:delay_enter=3000000:when=2", *slave.slave.command("sync", "--force-delete")],
        env=slave.slave.environment(),
        cwd=slave.slave.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not staged_tree_is_complete(slave):
            assert time.monotonic() < deadline, "the run never came to its exchange"
            time.sleep(0.005)
        time.sleep(0.5)  # past the last look, into the held exchange
        slave.target.rename(slave.target.with_name("aside"))
        if what == "directory":
            stranger.rename(slave.target)
        else:
            slave.target.symlink_to(canary.root)
    finally:
        _, errors = run.communicate(timeout=60)

    assert "(DELAYED)" in log.read_text(), "the exchange was not held"
    assert "Traceback" not in errors
    assert canary.facts() == canary.before
    assert sorted(os.listdir(held)) == ["deep", "precious"]
    os.close(held)
    assert (slave.target.with_name("aside") / "kept/deep/k").read_bytes() == b"kept"


def staged_tree_is_complete(loop: Loop) -> bool:
    """Whether the staged tree has the mode of the target, which it gets last of all."""
    wanted = stat.S_IMODE(loop.target.stat().st_mode)
    trees = list(loop.target.parent.glob(".s32s-new-*/tree"))
    try:
        return bool(trees) and stat.S_IMODE(trees[0].stat().st_mode) == wanted
    except FileNotFoundError:
        return False


# -- links and names in a manifest -------------------------------------------------------------------------------------


@pytest.fixture
def victim(slave: Loop) -> Loop:
    """A slave in step with TWO that trusts the manifest of a prefix which anybody may write."""
    write_map(slave, s3=f"{slave.bucket}/data/web")
    slave.slave.write_config("slave", f"{slave.bucket}/maps", allow=[slave.target.parent], text='list_every = "never"')
    return slave


def publish(loop: Loop, lines: list[dict[str, Any]], *, data: bytes | None = None) -> None:
    """Write a head and a manifest straight to S3, as no master of ours would."""
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    data = data or zstandard.ZstdCompressor().compress(text)
    sha256 = hashlib.sha256(data).hexdigest()
    ref = ManifestRef(key=f".s32s/manifest-{sha256}.jsonl.zst", size=len(data), sha256=sha256)
    head = Head(generation=9, writer="w", nonce="n", host="h", time="t", manifest=ref)
    put(loop.server, loop.bucket, f"data/web/{ref.key}", data)
    put(loop.server, loop.bucket, "data/web/.s32s/head.json", head.to_bytes())


def file(path: str, **facts: Any) -> dict[str, Any]:
    """A line of a file with one byte."""
    return {"path": path, "type": "file", "size": 1, **facts}


def link(path: str, target: str) -> dict[str, Any]:
    """A line of a symbolic link."""
    return {"path": path, "type": "link", "target": target}


def is_body(request: Request) -> bool:
    """Whether this asks for the content of one of the entry's files."""
    return request.method == "GET" and request.key.startswith("data/web/") and ".s32s" not in request.key


@both_ways
@pytest.mark.parametrize(
    ("lines", "status", "says"),
    [
        pytest.param([link("x", "/etc"), file("x/passwd")], 3, "x", id="a link to /etc and a file below it"),
        pytest.param([link("x", "d"), file("x/b"), file("d/b")], 3, "x", id="a link inside and a file below it"),
        pytest.param([link("x", "/etc")], 3, "x", id="an absolute link"),
        pytest.param([link("x", "..")], 3, "x", id="a link to the parent"),
        pytest.param([link("d/x", "../../srv2")], 3, "d/x", id="a link above the tree from below"),
        pytest.param([link("x", "d/../../y"), file("d/b")], 3, "x", id="a link that goes down and up again"),
        pytest.param([link("up", "d"), link("x", "up/../.."), file("d/b")], 3, "x", id="a link through a link"),
        pytest.param([file("../x")], 3, "../x", id="a path above the tree"),
        pytest.param([file("d/../../x")], 3, "d/../../x", id="a path down and up again"),
        pytest.param([file("/etc/x")], 3, "/etc/x", id="an absolute path"),
        pytest.param([file("./x")], 3, "./x", id="a path with a dot"),
        pytest.param([file("d//x")], 3, "d//x", id="an empty segment"),
        pytest.param([file("d/")], 3, "d/", id="a file that ends in a slash"),
        pytest.param([file("")], 3, "", id="no path at all"),
        pytest.param([file("a\x00b")], 3, "", id="a NUL"),
        pytest.param([file("a\nb")], 3, "", id="a line feed"),
        pytest.param([file("a\x1b[2Jb")], 3, "", id="an escape sequence"),
        pytest.param([file("x" * 256)], 3, "xxx", id="a name of 256 bytes"),
        pytest.param([file("\ud800")], 3, "", id="half of a surrogate pair"),
        pytest.param([file("x"), file("x")], 3, "x", id="a path that stands twice"),
        pytest.param([file("x"), file("x/y")], 3, "x", id="a file that is a directory too"),
        pytest.param([file(".s32s/head.json")], 3, ".s32s", id="a path of s32s itself"),
        pytest.param([{"path": "x", "type": "device", "mode": 0o666}], 1, "device", id="a device"),
        pytest.param([{"path": "x", "type": "fifo"}], 1, "fifo", id="a named pipe"),
        pytest.param([file("x", size=-1)], 1, "x", id="a negative size"),
        pytest.param([file("x", size=2**80)], 1, "x", id="a size that no disk has"),
        pytest.param([file("x", size="1")], 1, "x", id="a size that is a text"),
        pytest.param([file("x", mtime_ns=2**70)], 1, "x", id="a time beyond all times"),
        pytest.param([file("big", size=10**13, etag="e")], 1, "bytes free", id="10 TB"),
        pytest.param([file(str(n), size=10**11, etag="e") for n in range(100)], 1, "bytes free", id="100 times 100 GB"),
    ],
)
def test_a_hostile_manifest_is_refused_before_any_file_is_fetched(
    victim: Loop, proxy: FaultProxy, lines: list[dict[str, Any]], status: int, says: str, apply: str
) -> None:
    """Whoever writes to the prefix cannot leave the target, fill the disk, or forge what people read."""
    write_map(victim, apply=apply)
    publish(victim, [file("a", etag="e"), *lines])
    before = snapshot(victim.target.parent)

    ended = victim.pull("--force-delete")

    assert_failed(ended, status, says=says)
    assert "WEB" in ended.err
    assert all(char.isprintable() or char == "\n" for char in ended.err)
    assert proxy.count(is_body) == 0
    assert snapshot(victim.target.parent) == before
    assert left_overs(victim) == []


@both_ways
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1755, 0o7777, 0o100777], ids=oct)
def test_dangerous_mode_bits_do_not_arrive(victim: Loop, mode: int, apply: str) -> None:
    """setuid, setgid and sticky are masked away, on files and on directories."""
    write_map(victim, apply=apply)
    etag = put(victim.server, victim.bucket, "data/web/x", b"x")
    publish(victim, [file("x", mode=mode, etag=etag), {"path": "dir", "type": "dir", "mode": mode}])

    ended = victim.pull("--force-delete")

    assert ended.status == 0, ended.err
    for name in ("x", "dir"):
        assert stat.S_IMODE((victim.target / name).stat().st_mode) == mode & 0o777


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\0" * 1024**3, id="zeros"),
        pytest.param(b'{"path": "x", "type": "file", "etag": "' + b"e" * 1024**3, id="one line without end"),
        pytest.param(b"[" * 1024**2, id="a million brackets"),
    ],
)
def test_a_manifest_that_swells_is_stopped(victim: Loop, text: bytes) -> None:
    """Some KiB of zstd that hold a GiB: status 1, and less memory than a tenth of that more than other runs take."""
    before = snapshot(victim.target)
    publish(victim, [], data=zstandard.ZstdCompressor(level=1).compress(text))

    with open(victim.slave.root / "errors", "w+") as errors:
        process = subprocess.Popen(
            victim.slave.command("sync", "--force-delete"),
            env=victim.slave.environment(),
            cwd=victim.slave.root,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read()

    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert ".s32s/manifest-" in said
    assert usage.ru_maxrss < 300 * 1024  # KiB
    assert_untouched(victim, before)
