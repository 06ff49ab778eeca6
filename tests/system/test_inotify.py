"""Listening to a directory: whatever happens below it, somebody who looks where he is told to misses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s32s.core.changes import Changes
from s32s.system import mounts
from s32s.system.inotify import TreeWatch, Unwatchable


class Ear:
    """A watch, and what it has told of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._heard = threading.Event()
        self.watch = TreeWatch(str(root), prunes=lambda path: path == "pruned", on_change=self._heard.set)
        self.watch.start()

    def told(self, *, least: int = 1) -> Changes:
        """What was told until nothing more came for a while."""
        told = Changes()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            heard = self._heard.wait(0.3)
            self._heard.clear()
            told.add(self.watch.take())
            if not heard and (told.everything or len(told.paths) >= least):
                break
        return told

    def names(self, told: Changes) -> set[str]:
        """The names that somebody sees who looks where he is told to."""
        seen: set[str] = set()
        for path, deep in told.paths.items():
            seen.add(path)
            if deep and (self.root / path).is_dir():
                seen.update(str(one.relative_to(self.root)) for one in (self.root / path).rglob("*"))
        return seen


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    """A watch of a directory with something in it."""
    root = tmp_path / "root"
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/b/f").write_bytes(b"f")
    (root / "pruned").mkdir()
    made = Ear(root)
    yield made
    made.watch.close()


def test_each_kind_of_change_is_told(ear: Ear) -> None:
    """A file that comes, is written, gets another mode, and goes."""
    file = ear.root / "a/b/c/new"
    for act in (lambda: file.write_bytes(b"1"), lambda: file.open("ab").write(b"2"), lambda: file.chmod(0o600)):
        act()
        assert set(ear.told().paths) == {"a/b/c/new"}
    file.rename(ear.root / "a/other")
    assert set(ear.told(least=2).paths) == {"a/b/c/new", "a/other"}
    (ear.root / "a/other").unlink()
    assert set(ear.told().paths) == {"a/other"}


def test_a_tree_that_is_copied_in_is_seen_whole(ear: Ear, tmp_path: Path) -> None:
    """However many directories come while the watches are being made; and what follows is told too."""
    for number in range(150):
        (tmp_path / f"many/{number % 10}/{number}/deep").mkdir(parents=True)
        (tmp_path / f"many/{number % 10}/{number}/deep/file").write_bytes(b"x")

    subprocess.run(["cp", "-r", str(tmp_path / "many"), str(ear.root / "many")], check=True)

    told = ear.told()
    assert {str(path.relative_to(ear.root)) for path in (ear.root / "many").rglob("*")} <= ear.names(told)
    (ear.root / "many/3/13/deep/later").write_bytes(b"x")
    assert set(ear.told().paths) == {"many/3/13/deep/later"}


def test_a_directory_that_moves_is_heard_at_its_new_place(ear: Ear, tmp_path: Path) -> None:
    """Within the tree, and no more once it is outside."""
    (ear.root / "a/b").rename(ear.root / "moved")
    assert ear.told(least=2).paths == {"a/b": True, "moved": True}
    (ear.root / "moved/c/new").write_bytes(b"x")
    assert set(ear.told().paths) == {"moved/c/new"}
    (ear.root / "moved").rename(tmp_path / "outside")
    assert ear.told().paths == {"moved": True}
    assert ear.watch.watches == 2

    (tmp_path / "outside/c/more").write_bytes(b"x")
    (ear.root / "a/seen").write_bytes(b"x")

    assert set(ear.told().paths) == {"a/seen"}


def test_a_directory_that_is_made_again_is_heard(ear: Ear) -> None:
    """Under its old name, at once."""
    for _ in range(20):
        shutil.rmtree(ear.root / "a/b")
        (ear.root / "a/b/c").mkdir(parents=True)
    ear.told()

    (ear.root / "a/b/c/new").write_bytes(b"x")

    assert set(ear.told().paths) == {"a/b/c/new"}


def test_what_is_pruned_is_not_heard(ear: Ear) -> None:
    """Nor is what only reads."""
    (ear.root / "pruned/new").write_bytes(b"x")
    subprocess.run(["grep", "-r", "nothing", str(ear.root)], check=False)
    (ear.root / "seen").write_bytes(b"x")

    assert set(ear.told().paths) == {"seen"}


def test_a_name_that_is_not_text_is_told(ear: Ear) -> None:
    """As the walk names it."""
    Path(os.fsdecode(bytes(ear.root) + b"/\xff")).write_bytes(b"x")

    assert set(ear.told().paths) == {os.fsdecode(b"\xff")}


@pytest.mark.parametrize("how", ["moved", "replaced"])
def test_a_root_that_goes_ends_the_watch(ear: Ear, how: str) -> None:
    """It is told as such, and never as a deletion of all that was in it."""
    ear.root.rename(ear.root.with_name("elsewhere"))
    if how == "replaced":
        ear.root.mkdir()

    assert ear.told().everything
    assert not ear.watch.is_same_root()
    assert ear.watch.trouble is not None


def test_a_root_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    """An ordinary error says so."""
    with pytest.raises(FileNotFoundError):
        TreeWatch(str(tmp_path / "none")).start()


def test_file_systems_of_others_are_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, others write without a sign of it here."""
    monkeypatch.setattr(
        mounts, "_mountinfo", lambda process: "1 0 0:5 / / rw - ext4 x rw\n2 1 0:6 / /tmp rw - nfs4 x rw\n"
    )

    assert mounts.kind_at("/srv") == "ext4"
    assert mounts.kind_at("/tmp/x") == "nfs4"
    monkeypatch.setattr(mounts, "_mountinfo", lambda process: "1 0 0:5 / / rw - nfs4 x rw\n")
    with pytest.raises(Unwatchable, match="nfs4"):
        TreeWatch(str(tmp_path)).start()


CHILD = textwrap.dedent(
    """
    import sys, threading
    from s32s.system.inotify import TreeWatch, Unwatchable
    heard = threading.Event()
    watch = TreeWatch(sys.argv[1], on_change=heard.set)
    try:
        watch.start()
    except Unwatchable as exc:
        print(exc, flush=True)
        sys.exit()
    print("watching", flush=True)
    while True:
        heard.wait()
        heard.clear()
        changes = watch.take()
        print(changes.everything or " ".join(sorted(changes.paths)), flush=True)
    """
)


def test_an_overflow_is_told_and_nothing_stays_unheard(tmp_path: Path) -> None:
    """What the kernel could not queue counts as a change of everything; a directory made meanwhile is watched."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "watching\n"
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)  # it takes a moment, in which the first changes would be heard
        (tmp_path / "new").mkdir()
        for number in range(9000):
            (tmp_path / f"f{number}").write_bytes(b"")
        (tmp_path / "late").mkdir()
        os.kill(child.pid, signal.SIGCONT)
        assert "queue" in child.stdout.readline()
        (tmp_path / "late/file").write_bytes(b"x")
        while "late/file" not in (line := child.stdout.readline()):
            assert line
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_limit_is_named(tmp_path: Path) -> None:
    """With what raises it; in a user namespace, which may have a lower one."""
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    script = 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$0" "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", script]

    ended = subprocess.run(
        [*words, sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )

    if ended.returncode:
        pytest.skip(f"no limit can be set here: {ended.stderr[-200:]}")
    assert "fs.inotify.max_user_watches" in ended.stdout
