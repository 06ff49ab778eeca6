"""Targets that must not be replaced: what is mounted, linked, nested, forbidden or full is found out in time."""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import subprocess
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.checks import assert_failed, assert_untouched, left_overs
from support.faultproxy import Delay, FaultProxy, Request, Rule
from support.machine import Ended, Loop, make_loop
from support.servers import S3Server, get, make_bucket, put
from support.trees import Link, make_tree, snapshot

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users need root")


Publish = Callable[[str], Loop]


@pytest.fixture(scope="module")
def published(moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Publish:
    """Returns a master whose source is pushed, the same one for the same kind of source."""

    @functools.cache
    def publish(kind: str) -> Loop:
        bucket = f"test-{uuid.uuid4().hex}"
        make_bucket(moto, bucket)
        loop = make_loop(tmp_path_factory.mktemp(kind), moto, bucket)
        make_tree(loop.source, {"a": b"A" * 2_000, "d/b": b"b" * 1_000, "d/e/c": b"c", "link": Link("d/b")})
        make_tree(loop.source, {"new": os.urandom(300_000)})
        if kind == "many bytes":
            make_tree(loop.source, {f"large/{number}": os.urandom(500_000) for number in range(8)})
        if kind == "many files":
            make_tree(loop.source, {f"many/{number}": b"x" for number in range(60)})
        assert loop.push().status == 0
        return loop

    return publish


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """One server is enough: these tests are about the disk."""
    return moto


@pytest.fixture
def ready(request: pytest.FixtureRequest, tmp_path: Path, bucket: str, proxy: FaultProxy, published: Publish) -> Loop:
    """A slave with an older tree in its target, behind a proxy that only counts; what it lacks is published."""
    options = getattr(request.node, "callspec", None)
    kind = options.params.get("kind", "plain") if options else "plain"
    master = published(kind)
    loop = make_loop(tmp_path, master.server, bucket, endpoint_url=proxy.endpoint_url)
    loop = replace(loop, source=master.source)
    make_tree(loop.target, {"a": b"a" * 1_000, "d/b": b"b" * 1_000, "d/e/c": b"c", "link": Link("d/b")})
    for path in ("d/b", "d/e/c"):
        shutil.copystat(loop.source / path, loop.target / path)
    write_map(loop, s3=f"{master.bucket}/data/web")
    return loop


def write_map(loop: Loop, **properties: Any) -> None:
    """Upload the slave's map, of which no cache exists yet, with other properties than before."""
    key = "maps/web.json"
    known = json.loads(get(loop.server, loop.bucket, key))[0]
    put(loop.server, loop.bucket, key, json.dumps([{**known, **properties}]).encode())


def is_body(request: Request) -> bool:
    """Whether this asks for the content of one of the entry's files."""
    return request.method == "GET" and request.key.startswith("data/web/") and ".s32s" not in request.key


def shell(loop: Loop, script: str, **names: object) -> Ended:
    """Run a script as root in a mount namespace of its own, which takes its mounts with it when it ends.

    $S32S is the slave's command, $T the target, $P the directory that holds it, $TMP a directory beside that.
    """
    beside = loop.slave.root / "beside"
    beside.mkdir(exist_ok=True)
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-eu", "-c", textwrap.dedent(script)],
        env={
            **loop.slave.environment(),
            "S32S": " ".join(loop.slave.command()),
            "T": str(loop.target),
            "P": str(loop.target.parent),
            "TMP": str(beside),
            **{name: str(value) for name, value in names.items()},
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=loop.slave.root,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def allow(loop: Loop, *directories: Path | str) -> None:
    """Let the slave write below these directories only."""
    loop.slave.write_config("slave", f"{loop.bucket}/maps", allow=[Path(directory) for directory in directories])


# -- by the path alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "says"),
    [
        pytest.param("/", "directory of the system", id="/"),
        pytest.param("/etc", "directory of the system", id="/etc"),
        pytest.param("/usr/lib", "directory of the system", id="/usr/lib"),
        pytest.param("/var//lib/", "directory of the system", id="/var/lib, written oddly"),
        pytest.param("/home", "directory of the system", id="the directory of all homes"),
        pytest.param("{home}", "home directory", id="a home directory"),
        pytest.param("{root}/slave/state", "keeps its state", id="the state directory"),
        pytest.param("{root}/slave/state/below", "keeps its state", id="a directory in the state directory"),
        pytest.param("{root}/slave/cache", "keeps its state", id="the cache"),
        pytest.param("{root}", "keeps its state", id="a directory that holds the state directory"),
    ],
)
def test_some_places_are_refused_even_where_everything_is_allowed(
    ready: Loop, tmp_path: Path, proxy: FaultProxy, target: str, says: str
) -> None:
    """Status 3 by the path alone: nothing is opened, made or asked of S3 beyond the maps."""
    home = next(user.pw_dir for user in pwd.getpwall() if user.pw_dir.count("/") >= 3)
    write_map(ready, slave=target.format(root=tmp_path, home=home))
    allow(ready, "/")
    before = snapshot(ready.target)

    ended = ready.pull("--update-maps", "--force-delete")

    assert_failed(ended, 3, says=says)
    assert "WEB" in ended.err
    assert proxy.count(lambda request: request.key.startswith("data/")) == 0
    assert_untouched(ready, before)


@pytest.mark.parametrize(
    "target",
    ["{srv}", "{srv}2/site", "{root}/slave/elsewhere/site", "{root}/slave"],
    ids=["the allowed directory itself", "a name that begins like it", "outside of it", "above it"],
)
def test_a_target_outside_of_allow_is_refused(ready: Loop, tmp_path: Path, proxy: FaultProxy, target: str) -> None:
    """Status 3, and the message names what is allowed and where to change it."""
    place = Path(target.format(root=tmp_path, srv=ready.target.parent))
    make_tree(place, {"precious": b"p"})
    write_map(ready, slave=str(place))
    ready.slave.extra["STATE_DIRECTORY"] = str(tmp_path / "state")
    ready.slave.extra["CACHE_DIRECTORY"] = str(tmp_path / "cache")
    before = snapshot(tmp_path / "slave")

    ended = ready.pull("--update-maps", "--force-delete")

    assert_failed(ended, 3, says="does not lie below")
    assert str(ready.target.parent) in ended.err
    assert '"allow"' in ended.err
    assert proxy.count(lambda request: request.key.startswith("data/")) == 0
    assert snapshot(tmp_path / "slave") == before


@pytest.mark.parametrize("below", ["", "/below", "/below/../../site"], ids=["the same", "below", "by dots"])
def test_targets_of_two_entries_that_nest_are_refused(ready: Loop, below: str) -> None:
    """Each would delete the other's files; neither is done, and each message names the other entry."""
    text = json.dumps(
        [
            {"name": name, "s3": f"{ready.bucket}/data/web", "slave": f"{ready.target}{place}"}
            for name, place in (("ONE", ""), ("TWO", below))
        ]
    )
    put(ready.server, ready.bucket, "maps/web.json", text.encode())
    before = snapshot(ready.target)

    ended = ready.pull("--update-maps")

    # Dots are refused by the map itself, before any guard.
    assert_failed(ended, 2 if ".." in below else 3)
    assert "TWO" in ended.err
    assert ".." in below or ("ONE" in ended.err and "lie in one another" in ended.err)
    assert_untouched(ready, before)


# -- by what is there --------------------------------------------------------------------------------------------------


def test_a_symbolic_link_as_target_is_refused(ready: Loop, proxy: FaultProxy) -> None:
    """An exchange would swap the link as gladly; the message names the real path."""
    real = ready.target.rename(ready.target.with_name("real"))
    ready.target.symlink_to(real)
    before = snapshot(real)

    ended = ready.pull("--force-delete")

    assert_failed(ended, 3, says="is a symbolic link")
    assert str(real) in ended.err
    assert snapshot(real) == before
    assert ready.target.readlink() == real
    assert left_overs(ready) == []
    assert proxy.count(is_body) == 0


@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_a_symbolic_link_on_the_way_is_refused(ready: Loop, proxy: FaultProxy, apply: str) -> None:
    """Whoever owns the link decides where it leads, so only the real path counts."""
    write_map(ready, apply=apply)
    real = ready.target.parent.rename(ready.target.parent.with_name("real"))
    ready.target.parent.symlink_to(real)
    before = snapshot(real)

    ended = ready.pull("--update-maps", "--force-delete")

    assert_failed(ended, 3, says="is a symbolic link")
    assert str(real) in ended.err
    assert snapshot(real) == before
    assert proxy.count(is_body) == 0


@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_a_file_where_the_directory_should_be_stays(ready: Loop, apply: str) -> None:
    """Nobody replaces a file that he did not expect: status 3."""
    write_map(ready, apply=apply)
    shutil.rmtree(ready.target)
    ready.target.write_text("precious")

    ended = ready.pull("--update-maps", "--force-delete")

    assert_failed(ended, 3, says="is a file")
    assert ready.target.read_text() == "precious"
    assert left_overs(ready) == []


def test_a_parent_that_is_missing_is_not_made(ready: Loop) -> None:
    """A volume that is not mounted looks like that: status 3, with the command that makes the directory."""
    shutil.rmtree(ready.target.parent)

    ended = ready.pull()

    assert_failed(ended, 3, says="does not exist")
    assert f"mkdir -p {ready.target.parent}" in ended.err
    assert not ready.target.parent.exists()


@pytest.mark.parametrize("above", [0, 1], ids=["the parent", "its parent"])
def test_a_way_that_every_user_may_redirect_is_refused(ready: Loop, above: int) -> None:
    """A directory that everybody may write, without the sticky bit: status 3, with the cure."""
    before = snapshot(ready.target)
    place = ready.target.parents[above]
    mode = place.stat().st_mode
    place.chmod(0o777)

    ended = ready.pull()
    place.chmod(mode)

    assert_failed(ended, 3, says=f"chmod o-w {place}")
    assert_untouched(ready, before)


def test_a_sticky_directory_is_good_enough(ready: Loop) -> None:
    """In a directory like /tmp nobody may rename what is not his."""
    ready.target.parent.chmod(0o1777)

    ended = ready.pull()

    assert ended.status == 0, ended.err
    assert snapshot(ready.target) == snapshot(ready.source)


def unprivileged(loop: Loop, *arguments: str) -> Ended:
    """Run the slave's command as nobody, who may read everything and write nothing of root's."""
    ended = subprocess.run(
        [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            # The interpreter may lie in a private home: reading stays allowed, writing does not.
            "--inh-caps=-all,+dac_read_search",
            "--ambient-caps=-all,+dac_read_search",
            "--bounding-set=-all,+dac_read_search",
            *loop.slave.command(*arguments),
        ],
        env=loop.slave.environment(),
        cwd=loop.slave.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def give_to_nobody(loop: Loop, *places: Path) -> None:
    """Make configuration, state and cache nobody's, and the given directories too."""
    for place in (loop.slave.config, loop.slave.root / "state", loop.slave.root / "cache", *places):
        for path in (place, *(place.rglob("*") if place.is_dir() else ())):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@as_root
@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_a_target_that_this_user_may_not_write_is_refused(ready: Loop, proxy: FaultProxy, apply: str) -> None:
    """Status 3 before anything is fetched, and the message says who must be able to write where."""
    write_map(ready, apply=apply)
    give_to_nobody(ready)
    before = snapshot(ready.target)

    ended = unprivileged(ready, "sync", "--update-maps")

    assert_failed(ended, 3, says="cannot be written")
    assert "the user that runs s32s" in ended.err
    assert proxy.count(is_body) == 0
    assert_untouched(ready, before)


@as_root
def test_a_user_without_rights_over_the_old_files_still_replaces_the_tree(ready: Loop) -> None:
    """Whoever owns the parent may exchange what lies in it: status 0, and the files are his."""
    give_to_nobody(ready, ready.target.parent)

    ended = unprivileged(ready, "sync")

    assert ended.status == 0, ended.err
    assert snapshot(ready.target) == snapshot(ready.source)
    assert left_overs(ready) == []


# -- by what is mounted ------------------------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param("mount -t tmpfs none $T; echo old >$T/old", "is a mount point", id="a tmpfs on the target"),
        pytest.param("mount --bind $TMP $T", "is a mount point", id="another directory bound on the target"),
        pytest.param("mount --bind $T $T", "is a mount point", id="the target bound on itself"),
        pytest.param("mount -t tmpfs none $T/d/e", "has a mount point in it", id="a tmpfs inside the target"),
        pytest.param("mount --bind $TMP $T/d", "has a mount point in it", id="a directory bound inside the target"),
        pytest.param("mount --bind $T $TMP", "is bind-mounted at", id="the target bound elsewhere"),
        pytest.param("mount --bind $T/d/e $TMP", "is bind-mounted at", id="a directory of the target bound elsewhere"),
        pytest.param(
            "mount --bind $T $TMP; mount -o remount,ro,bind $TMP",
            "is bind-mounted at",
            id="the target bound elsewhere, read-only",
        ),
    ],
)
def test_what_is_mounted_on_the_target_is_found_out_before_the_download(
    ready: Loop, proxy: FaultProxy, script: str, says: str
) -> None:
    """Status 3 with the option that works there; the files are the same in and outside the mount."""
    before = snapshot(ready.target)

    ended = shell(
        ready,
        f"{script}\nfind $T $TMP -type f | sort >{ready.slave.root}/before; status=0\n"
        f"$S32S sync --force-delete || status=$?\nfind $T $TMP -type f | sort >{ready.slave.root}/after; exit $status",
    )

    assert_failed(ended, 3, says=says)
    assert '"apply": "in-place"' in ended.err
    assert str(ready.target) in ended.err
    assert (ready.slave.root / "before").read_text() == (ready.slave.root / "after").read_text()
    assert proxy.count(is_body) == 0
    assert_untouched(ready, before)


@as_root
def test_a_bind_mount_in_another_namespace_is_found_out(ready: Loop, proxy: FaultProxy) -> None:
    """A container that shows the target would go on with the old files, and then see them vanish."""
    before = snapshot(ready.target)
    view = ready.slave.root / "view"
    view.mkdir()
    container = subprocess.Popen(
        ["unshare", "-m", "sh", "-euc", f"mount --bind {ready.target}/d {view}; echo mounted; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert container.stdout is not None
    try:
        assert container.stdout.readline() == "mounted\n"
        ended = ready.pull()
    finally:
        container.communicate("\n", timeout=20)

    assert_failed(ended, 3, says="is bind-mounted at")
    assert f"process {container.pid}" in ended.err
    assert proxy.count(is_body) == 0
    assert_untouched(ready, before)
    assert ready.pull().status == 0, "without the container"


@as_root
def test_a_parent_that_was_mounted_read_only_is_refused(ready: Loop, proxy: FaultProxy) -> None:
    """Status 3, and the message says that it is read-only."""
    before = snapshot(ready.target)

    ended = shell(ready, "mount --bind $P $P; mount -o remount,ro,bind $P; $S32S sync")

    assert_failed(ended, 3, says="Read-only file system")
    assert "cannot be written" in ended.err
    assert proxy.count(is_body) == 0
    assert_untouched(ready, before)


@as_root
def test_what_stays_the_same_may_be_mounted_anyhow(ready: Loop) -> None:
    """A run without work exchanges nothing, so nothing is refused: status 0."""
    assert ready.pull().status == 0

    ended = shell(ready, "mount --bind $T $T; $S32S sync")

    assert ended.status == 0, ended.err
    assert "in step" in ended.out


@as_root
def test_in_place_changes_a_mount_point(ready: Loop) -> None:
    """On a tmpfs at the target every file arrives, what is extra goes, and the mount stays the same."""
    write_map(ready, apply="in-place")

    ended = shell(
        ready,
        """
        mount -t tmpfs none $T; mkdir $T/old; echo old >$T/old/file; stat -c %i $T
        $S32S sync --update-maps --force-delete --quiet
        stat -c %i $T; cd $T; find . -mindepth 1 | sort; sha256sum new a
        """,
    )

    assert ended.status == 0, ended.err
    inode, same, *names = ended.out.splitlines()
    assert inode == same
    assert names[:-2] == ["./a", "./d", "./d/b", "./d/e", "./d/e/c", "./link", "./new"]
    there = snapshot(ready.source)
    assert [line.split()[0] for line in names[-2:]] == [there["new"].content, there["a"].content]


# -- by what is free ---------------------------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize("mount_at", ["$P", "$T"], ids=["swap", "in-place"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("many bytes", "size=2m"), ("many files", "size=8m,nr_inodes=30")],
    ids=["too few bytes", "too few inodes"],
)
def test_a_disk_that_is_too_small_is_found_out(ready: Loop, kind: str, options: str, mount_at: str) -> None:
    """Status 1, the old files are all there, no staging is; with room the next run succeeds by itself."""
    write_map(ready, apply="swap" if mount_at == "$P" else "in-place")

    ended = shell(
        ready,
        f"""
        mount -t tmpfs -o {options} none {mount_at}; mkdir -p $T; echo old >$T/old
        $S32S sync --update-maps --force-delete || echo status $?
        ls -A {mount_at}; cat $T/old
        mount -o remount,size=20m,nr_inodes=500 {mount_at}
        $S32S sync --force-delete --quiet
        ls -A {mount_at} $T | grep s32s || find $T -type f | wc -l
        """,
    )

    assert ended.status == 0, ended.out + ended.err
    held = "site" if mount_at == "$P" else "old"
    assert ended.out.splitlines()[:3] == ["status 1", held, "old"]
    assert str(ready.target) in ended.err
    assert "make room" in ended.err
    assert int(ended.out.splitlines()[-1]) == sum(entry.kind == "file" for entry in snapshot(ready.source).values())


@as_root
@pytest.mark.parametrize("mount_at", ["$P", "$T"], ids=["swap", "in-place"])
@pytest.mark.parametrize("kind", ["many bytes"])
def test_a_disk_that_fills_up_during_the_download_leaves_the_target_as_it_was(
    ready: Loop, proxy: FaultProxy, mount_at: str, kind: str
) -> None:
    """Another program takes the room after it was measured: status 1, "the disk is full", no staging is left."""
    write_map(ready, apply="swap" if mount_at == "$P" else "in-place")
    filled = ready.slave.root / "filled"
    held = Delay(30)
    # The first body waits until the other program has written.
    rule = proxy.add(Rule(is_body, held))
    script = f"""
        mount -t tmpfs -o size=30m none {mount_at}; mkdir -p $T; echo old >$T/old
        $S32S sync --update-maps --force-delete & run=$!
        until ls -d {mount_at}/.s32s-new-*/tree >$TMP/seen 2>&1; do sleep 0.05; done
        head -c 29m /dev/zero >{mount_at}/.s32x-other || true
        touch {filled}
        wait $run || echo status $?
        rm {mount_at}/.s32x-other
        ls -A {mount_at}; cat $T/old
    """

    def release() -> None:
        deadline = time.monotonic() + 30
        while not filled.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        held.release()

    waiting = threading.Thread(target=release)
    waiting.start()
    ended = shell(ready, script)
    waiting.join()

    assert rule.fired
    assert ended.status == 0, ended.out + ended.err
    assert ended.out.splitlines() == ["status 1", "site" if mount_at == "$P" else "old", "old"]
    assert "the disk is full" in ended.err
    assert "the target is as it was" in ended.err
    assert "Traceback" not in ended.err


# -- what the file system refuses --------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EXDEV", "EOPNOTSUPP"])
def test_a_file_system_that_cannot_exchange_is_found_out_before_the_download(
    ready: Loop, proxy: FaultProxy, error: str
) -> None:
    """The two empty directories of the trial tell: status 3 with the option that works there."""
    before = snapshot(ready.target)

    ended = injected(ready, [f"renameat2:error={error}"])

    assert_failed(ended, 3, says="cannot exchange two directories")
    assert '"apply": "in-place"' in ended.err
    assert proxy.count(is_body) == 0
    assert_untouched(ready, before)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("syncfs:error=EIO", id="a sync that fails"),
        pytest.param("renameat2:error=EIO:when=2", id="an exchange that fails"),
        pytest.param("renameat2:error=EBUSY:when=2", id="an exchange of something busy"),
        pytest.param("mkdirat:error=ENOSPC:when=5+", id="no room for a directory"),
        pytest.param("fchmod:error=EPERM:when=1+", id="a mode that may not be set"),
        pytest.param("linkat:error=EIO:when=1", id="a hard link that fails"),
    ],
)
def test_a_system_call_that_fails_leaves_the_target_as_it_was(ready: Loop, fault: str) -> None:
    """Status 1 or 3 with the target's path, nothing left behind; and the next run succeeds by itself."""
    before = snapshot(ready.target)
    log = ready.slave.root / "strace"

    ended = injected(ready, [fault], log=log)

    assert "(INJECTED)" in log.read_text(), "the fault never struck"
    assert_failed(ended, 1, 3, says=str(ready.target))
    assert_untouched(ready, before)
    assert ready.pull().status == 0
    assert snapshot(ready.target) == snapshot(ready.source)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("error", ["EMLINK", "EPERM"])
def test_a_file_that_may_not_have_another_name_is_copied(ready: Loop, error: str) -> None:
    """The ceiling of hard links, or an immutable file: the bytes are copied and the run succeeds."""
    log = ready.slave.root / "strace"

    ended = injected(ready, [f"linkat:error={error}:when=1"], log=log)

    assert "(INJECTED)" in log.read_text(), "the fault never struck"
    assert ended.status == 0, ended.err
    assert snapshot(ready.target) == snapshot(ready.source)
    assert left_overs(ready) == []


@as_root
@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_a_write_that_fails_in_the_middle_of_a_file_leaves_the_target_as_it_was(ready: Loop, apply: str) -> None:
    """A limit on the size of files (EFBIG) strikes the largest one: status 1, and nothing is left behind."""
    write_map(ready, apply=apply)
    before = snapshot(ready.target)

    ended = shell(ready, "prlimit --fsize=150000 $S32S sync")

    assert_failed(ended, 1, says="File too large")
    assert str(ready.target) in ended.err
    assert "the target is as it was" in ended.err
    assert_untouched(ready, before)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_old_files_that_cannot_be_removed_are_told_and_removed_by_the_next_run(ready: Loop) -> None:
    """Status 1, since something is left to do, but the target is up to date; one plain run later all is tidy."""
    log = ready.slave.root / "strace"

    ended = injected(ready, ["unlinkat:error=EIO:when=4+"], log=log)  # the trial removes three directories

    assert "(INJECTED)" in log.read_text(), "the fault never struck"
    assert_failed(ended, 1, says="is up to date, but its old files could not all be removed")
    assert str(ready.target) in ended.err
    assert snapshot(ready.target) == snapshot(ready.source)
    assert ready.pull().status == 0
    assert left_overs(ready) == []


def injected(loop: Loop, faults: Sequence[str], *, log: Path | None = None) -> Ended:
    """Run the slave's sync under strace with faults."""
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    options = [option for fault in faults for option in ("-e", f"inject={fault}")]
    ended = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(log or os.devnull), "-e", f"trace={calls}", *options,
         *loop.slave.command("sync")],
        env=loop.slave.environment(),
        cwd=loop.slave.root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Ended(ended.returncode, ended.stdout, ended.stderr)
