"""Targets that must not be replaced, and neighbours who try to redirect the work."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from support.checks import assert_failed, assert_untouched, left_overs
from support.machine import Loop, make_loop
from support.servers import S3Server, make_bucket, put
from support.trees import Entry, make_tree, snapshot

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users need root")


@pytest.fixture
def ready(tmp_path: Path, moto: S3Server) -> Loop:
    """A loop whose slave is up to date, while a second generation is published."""
    bucket = f"test-{tmp_path.name.lower().replace('_', '-')[:40]}-{os.getpid()}"
    make_bucket(moto, bucket)
    loop = make_loop(tmp_path, moto, bucket)
    make_tree(loop.source, {"a": b"a" * 1000, "d/b": b"b" * 1000})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    make_tree(loop.source, {"a": b"A" * 2000, "new": b"n" * 300_000})
    assert loop.push().status == 0
    return loop


def in_namespace(loop: Loop, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root in a mount namespace of its own; $S32S is the slave's command, $T the target."""
    command = " ".join([sys.executable, "-m", "s32s"])
    return subprocess.run(
        ["unshare", "-m", "sh", "-euc", textwrap.dedent(script)],
        env={**loop.slave.environment(), "S32S": command, "T": str(loop.target), "P": str(loop.target.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=loop.slave.root,
    )


@pytest.mark.parametrize(
    ("target", "says"),
    [
        pytest.param("/", "directory of the system", id="the root"),
        pytest.param("/etc", "directory of the system", id="a system directory"),
        pytest.param("/root", "directory of the system", id="root's home"),
        pytest.param("{home}", "home directory", id="a home directory"),
        pytest.param("{root}/slave/srv", "is not below", id="an allowed directory itself"),
        pytest.param("{root}/slave/other/x", "is not below", id="outside of allow"),
        pytest.param("{root}/slave/srv2/x", "is not below", id="a name that only begins like an allowed one"),
        pytest.param("{root}/slave/state/x", "keeps its state", id="in the state directory"),
        pytest.param("{root}/slave", "home directory", id="around the home and the state directory"),
        pytest.param("{root}/slave/srv/gone/x", "does not exist", id="below a directory that is missing"),
    ],
)
def test_a_target_is_refused_by_its_place(ready: Loop, tmp_path: Path, target: str, says: str) -> None:
    """Status 3, before anything is touched."""
    import pwd

    home = next(user.pw_dir for user in pwd.getpwall() if user.pw_dir.count("/") >= 3)
    ready.write_map(slave=target.format(root=tmp_path, home=home))
    allow = [ready.target.parent] if "is not below" in says or "not exist" in says else [Path("/")]
    text = "allow_system = true" if allow == [Path("/")] else ""
    ready.slave.write_config("slave", f"{ready.bucket}/maps", allow=allow, text=text)

    assert_failed(ready.pull("--update-maps"), 3, says=says)


def test_targets_that_nest_are_refused(ready: Loop) -> None:
    """Each would delete the other's files."""
    text = (
        f'[{{"name": "A", "s3": "{ready.bucket}/data/web", "slave": "{ready.target}"}},'
        f'{{"name": "B", "s3": "{ready.bucket}/data/web", "slave": "{ready.target}/below"}}]'
    )
    put(ready.server, ready.bucket, "maps/web.json", text.encode())
    before = snapshot(ready.target)

    assert_failed(ready.pull("--update-maps"), 3, says="overlap")
    assert_untouched(ready, before)


def test_a_symbolic_link_as_target_is_refused(ready: Loop) -> None:
    """An exchange would swap the link as gladly."""
    real = ready.target.rename(ready.target.with_name("real"))
    before = snapshot(real)
    ready.target.symlink_to(real)

    assert_failed(ready.pull(), 3, says="is a symbolic link")
    assert snapshot(real) == before
    assert ready.target.is_symlink()
    assert left_overs(ready) == []


def test_a_symbolic_link_on_the_way_is_refused(ready: Loop) -> None:
    """The message names the real path."""
    real = ready.target.parent.rename(ready.target.parent.with_name("real"))
    ready.target.parent.symlink_to(real)

    assert_failed(ready.pull(), 3, says=str(real))


def test_a_file_where_the_directory_should_be_is_refused(ready: Loop) -> None:
    """Nobody replaces a file that he did not expect."""
    ready.target.rename(ready.target.with_name("away"))
    ready.target.write_text("precious")

    assert_failed(ready.pull(), 3, says="is a file")
    assert ready.target.read_text() == "precious"


def test_a_parent_that_everybody_may_write_is_refused(ready: Loop) -> None:
    """Without the sticky bit any user could put another directory under the name."""
    before = snapshot(ready.target)
    ready.target.parent.chmod(0o777)

    assert_failed(ready.pull(), 3, says="every user may write")
    assert_untouched(ready, before)


@as_root
@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param("mount -t tmpfs none $T; $S32S sync", "is a mount point", id="a mount point"),
        pytest.param("mount -t tmpfs none $T/d; $S32S sync", "has a mount point in it", id="a mount point below"),
        pytest.param("mkdir m; mount --bind $T m; $S32S sync", "is bind-mounted at", id="bind-mounted elsewhere"),
        pytest.param("mkdir m; mount --bind $T/d m; $S32S sync", "is bind-mounted at", id="a part bind-mounted"),
        pytest.param(
            "mount --bind $P $P; mount -o remount,ro,bind $P; $S32S sync", "cannot be written", id="read-only"
        ),
        pytest.param("mount -t tmpfs none /proc; $S32S sync", "/proc is not mounted", id="without /proc"),
    ],
)
def test_a_target_that_cannot_be_swapped_is_found_out(ready: Loop, script: str, says: str) -> None:
    """Before anything is downloaded; the message names the way out."""
    before = snapshot(ready.target)

    ended = in_namespace(ready, script)

    assert ended.returncode == 3, ended.stderr
    assert says in ended.stderr
    assert "in-place" in ended.stderr or "written" in ended.stderr
    assert_untouched(ready, before)


@as_root
def test_a_bind_mount_in_another_namespace_is_seen(ready: Loop) -> None:
    """A container that shows the target would keep the old files, and then see them vanish."""
    before = snapshot(ready.target)
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-euc", f"mkdir {ready.slave.root}/m; mount --bind {ready.target} "
         f"{ready.slave.root}/m; echo ready; read line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "ready\n"
        ended = ready.pull()
    finally:
        holder.communicate("\n", timeout=20)

    assert_failed(ended, 3, says="is bind-mounted")
    assert_untouched(ready, before)


@as_root
def test_in_place_works_on_a_mount_point(ready: Loop) -> None:
    """It is what this way of changing is for."""
    ready.write_map(apply="in-place")

    ended = in_namespace(
        ready,
        """
        mount -t tmpfs none $T; echo old >$T/old
        $S32S sync --update-maps --force-delete
        ls -A $T; cat $T/a | head -c 3
        """,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[1:] == ["a", "d", "new", "AAA"]


@as_root
@pytest.mark.parametrize("options", ["size=200k", "size=4m,nr_inodes=12"], ids=["no space", "no inodes"])
@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_a_full_disk_leaves_the_target_as_it_was(ready: Loop, options: str, apply: str) -> None:
    """Status 1, nothing left behind; and with room the next run succeeds by itself."""
    ready.write_map(apply=apply)
    if "inodes" in options:
        make_tree(ready.source, {f"many/{number}": b"x" for number in range(50)})
        assert ready.push().status == 0

    ended = in_namespace(
        ready,
        f"""
        mount -t tmpfs -o {options} none $P; mkdir $T; echo old >$T/old
        $S32S sync --update-maps --force-delete || echo status $?
        ls -A $P; ls -A $T
        mount -o remount,size=9m,nr_inodes=500 $P
        $S32S sync --force-delete; ls -A $P; test -s $T/new
        """,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "status 1\nsite\nold\n" in ended.stdout
    assert "make room" in ended.stderr
    assert ended.stdout.endswith("site\n")


@as_root
def test_a_target_that_this_user_may_not_write_is_refused(ready: Loop) -> None:
    """As another user: the parent belongs to root."""
    before = snapshot(ready.target)
    for path in (ready.slave.root, *ready.slave.root.rglob("*")):
        if not path.is_relative_to(ready.target.parent):
            os.chown(path, NOBODY, NOBODY)
    opened = [above for above in ready.slave.root.parents if not above.stat().st_mode & 0o001]
    for above in opened:
        above.chmod(above.stat().st_mode | 0o011)
    try:
        ended = subprocess.run(
            ready.slave.command("sync"),
            env=ready.slave.environment(),
            cwd="/",
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except PermissionError:
        pytest.skip("another user may not run this interpreter, which is in a private directory")
    assert ended.returncode == 3, ended.stderr
    assert "cannot be written" in ended.stderr
    assert_untouched(ready, before)


def hostile(loop: Loop, lines: list[dict[str, object]]) -> None:
    """Publish a manifest that no master of ours would write, and objects for its files."""
    import hashlib
    import json

    import zstandard

    from s32s.format.head import Head, ManifestRef

    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    data = zstandard.ZstdCompressor().compress(text)
    sha256 = hashlib.sha256(data).hexdigest()
    key = f".s32s/manifest-{sha256}.jsonl.zst"
    head = Head(
        generation=9, writer="w", nonce="n", host="h", time="t",
        manifest=ManifestRef(key=key, size=len(data), sha256=sha256),
    )  # fmt: skip
    put(loop.server, loop.bucket, f"{loop.prefix}/{key}", data)
    put(loop.server, loop.bucket, f"{loop.prefix}/.s32s/head.json", head.to_bytes())


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param([{"path": "x", "type": "link", "target": "/etc"}], 3, id="a link out of the tree"),
        pytest.param([{"path": "d/x", "type": "link", "target": "../../x"}], 3, id="a link above the tree"),
        pytest.param(
            [{"path": "x", "type": "link", "target": "d"}, {"path": "x/passwd", "type": "file", "size": 1}],
            3,
            id="a file below a link",
        ),
        pytest.param([{"path": "../x", "type": "file", "size": 1}], 3, id="a path above the tree"),
        pytest.param([{"path": "/etc/x", "type": "file", "size": 1}], 3, id="an absolute path"),
        pytest.param([{"path": ".s32s/x", "type": "file", "size": 1}], 3, id="a path of ours"),
        pytest.param([{"path": ".s32s-new-x/a", "type": "file", "size": 1}], 3, id="a name as staging has"),
        pytest.param([{"path": "a", "type": "file", "size": 10**19}], 1, id="a size of 20 digits"),
        pytest.param([{"path": "a", "type": "file", "size": 1, "mtime_ns": 2**63}], 1, id="a time after 2262"),
        pytest.param([{"path": "x", "type": "device"}], 1, id="a device"),
        pytest.param([{"path": "big", "type": "file", "size": 10**13, "etag": "e"}], 1, id="10 TB"),
        pytest.param([{"path": "a\u001b[2J", "type": "file", "size": 1}], 3, id="an escape sequence"),
    ],
)
def test_a_hostile_manifest_is_refused(ready: Loop, lines: list[dict[str, object]], status: int) -> None:
    """Whoever can write to the prefix gets no further than the target's own content."""
    before = snapshot(ready.target)
    hostile(ready, lines)
    ready.slave.write_config("slave", f"{ready.bucket}/maps", allow=[ready.target.parent], text='list_every = "never"')

    ended = ready.pull("--force-delete")

    assert_failed(ended, status)
    assert "\x1b" not in ended.err
    assert_untouched(ready, before)


def test_dangerous_mode_bits_do_not_arrive(ready: Loop) -> None:
    """setuid, setgid and sticky are masked away."""
    etag = put(ready.server, ready.bucket, f"{ready.prefix}/suid", b"x").strip('"')
    hostile(ready, [{"path": "suid", "type": "file", "size": 1, "mode": 0o6755, "etag": etag}])
    ready.slave.write_config("slave", f"{ready.bucket}/maps", allow=[ready.target.parent], text='list_every = "never"')

    assert ready.pull("--force-delete").status == 0
    assert (ready.target / "suid").stat().st_mode & 0o7777 == 0o755


@as_root
@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_a_neighbour_who_plants_links_reaches_nothing(ready: Loop, tmp_path: Path, apply: str) -> None:
    """A user who may write in the target swaps a directory for a link to a canary, again and again, while root syncs.

    The canary must keep its bytes, modes and inodes, and get no new files.
    """
    ready.write_map(apply=apply)
    canary = tmp_path / "canary"
    make_tree(canary, {"b": b"precious", "deep/b": b"precious"})
    before: dict[str, Entry] = snapshot(canary)
    inodes = {path: path.lstat().st_ino for path in canary.rglob("*")}
    stop = threading.Event()
    turns = [0]

    def plant() -> None:
        while not stop.is_set():
            for name in ("d", "many"):
                here, away = ready.target / name, ready.target / f"{name}.away"
                try:
                    here.rename(away)
                    here.symlink_to(canary)
                    turns[0] += 1
                    here.unlink()
                    away.rename(here)
                except OSError:
                    continue

    racer = threading.Thread(target=plant)
    racer.start()
    try:
        for turn in range(3):
            make_tree(ready.source, {"d/b": f"turn {turn}".encode(), f"many/{turn}": b"x", "d/deep/b": b"y"})
            ready.push()
            ended = ready.pull("--update-maps", "--force-delete")
            assert "Traceback" not in ended.err
    finally:
        stop.set()
        racer.join()

    assert turns[0] > 0
    assert snapshot(canary) == before
    assert {path: path.lstat().st_ino for path in canary.rglob("*")} == inodes
    assert ready.pull("--force-delete").status == 0
    assert snapshot(ready.target) == snapshot(ready.source)


def test_links_that_were_planted_before_are_not_followed(ready: Loop, tmp_path: Path) -> None:
    """They are extras like others: removed, and what they point at stays."""
    canary = tmp_path / "canary"
    make_tree(canary, {"precious": b"p"})
    before = snapshot(canary)
    (ready.target / "link").symlink_to(canary)
    (ready.target / "d/link").symlink_to(canary)
    (ready.target / "d/b").unlink()
    (ready.target / "d/b").symlink_to(canary / "precious")

    assert ready.pull().status == 0

    assert snapshot(canary) == before
    assert snapshot(ready.target) == snapshot(ready.source)


def test_a_hard_link_planted_as_lock_file_is_not_written(ready: Loop, tmp_path: Path) -> None:
    """The name of a lock can be guessed; a file of root's that somebody has linked there keeps its bytes."""
    from s32s.stores.local.outer import lock_name

    canary = tmp_path / "canary"
    canary.write_text("precious")
    before = snapshot(ready.target)
    (ready.target.parent / lock_name(ready.target.name)).hardlink_to(canary)

    ended = ready.pull()

    assert_failed(ended, 3, says="is not ours")
    assert canary.read_text() == "precious"
    assert snapshot(ready.target) == before
