"""A folder that several people share: what goes which way, what is asked, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Machine
from support.peers import Peer, lines_on
from support.servers import S3Server, get, keys, make_bucket, put
from support.terminal import terminal

from s32s.core.errors import S32sError


@pytest.fixture
def bucket(moto: S3Server) -> str:
    """A bucket of its own."""
    name = f"test-{uuid.uuid4().hex}"
    make_bucket(moto, name)
    return name


@pytest.fixture(params=["plain", "packed"])
def layout(request: pytest.FixtureRequest) -> str:
    """Of the place."""
    return str(request.param)


@pytest.fixture
def join(tmp_path: Path, moto: S3Server, bucket: str, layout: str) -> Callable[[str], Peer]:
    """Somebody else comes to the team."""
    return lambda name: Peer(tmp_path / name, moto, f"s3://{bucket}/team", layout)


@pytest.fixture
def two(join: Callable[[str], Peer]) -> tuple[Peer, Peer]:
    """Ann and Bob, who both have `plan.txt` and `old/a.txt`."""
    ann, bob = join("ann"), join("bob")
    write(ann, "plan.txt", "walls\n")
    write(ann, "old/a.txt", "a\n")
    assert ann.sync().status == 0
    assert bob.sync().status == 0
    assert ann.tree() == bob.tree()
    return ann, bob


@pytest.fixture
def machines(tmp_path: Path, moto: S3Server, bucket: str, layout: str) -> tuple[Machine, Machine]:
    """Ann and Bob with the entry TEAM, in step."""
    entry = {"name": "TEAM", "s3": f"{bucket}/t", "peer": "~/team", "layout": layout}
    put(moto, bucket, "maps/team.json", json.dumps([entry]).encode())
    made = Machine(tmp_path / "ann", moto), Machine(tmp_path / "bob", moto)
    for machine in made:
        machine.write_config("peer", f"{bucket}/maps")
        machine.extra = dict.fromkeys(("USER", "LOGNAME", "USERNAME"), machine.root.name)
        (machine.root / "team").mkdir()
    folder = made[0].root / "team"
    (folder / "d/e").mkdir(parents=True)
    for name in ("plan.txt", "d/1.txt", "d/e/2.txt"):
        (folder / name).write_text(name)
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
        (folder / name).chmod(0o640)
    assert made[0].run("sync", "--update-maps").status == 0
    assert made[1].run("sync", "--update-maps").status == 0
    return made


def write(peer: Peer, path: str, text: str) -> Path:
    """Write a file of a folder."""
    file = peer.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def names(peer: Peer) -> set[str]:
    """The files of a folder."""
    return {str(file.relative_to(peer.folder)) for file in peer.files()}


class TestBothWays:
    def test_what_each_changes_comes_to_the_other(self, two: tuple[Peer, Peer]) -> None:
        """New, modified, deleted, another mode, a directory, a link."""
        ann, bob = two
        write(ann, "plan.txt", "walls\ndoors\n")
        write(bob, "new/b.txt", "b\n").chmod(0o755)
        (bob.folder / "empty").mkdir()
        (bob.folder / "old/a.txt").unlink()
        (bob.folder / "link").symlink_to("plan.txt")

        assert ann.sync().status == 0
        assert bob.sync().status == 0
        assert ann.sync().status == 0

        assert ann.tree() == bob.tree()
        assert names(ann) == {"plan.txt", "new/b.txt", "link"}
        assert (ann.folder / "empty").is_dir()
        assert (ann.folder / "plan.txt").read_text() == "walls\ndoors\n"
        assert (ann.folder / "new/b.txt").stat().st_mode & 0o777 == 0o755

    def test_nothing_new_is_nothing_done(self, two: tuple[Peer, Peer]) -> None:
        """And it says so."""
        ended = two[0].sync()

        assert ended.status == 0
        assert ended.changed_nothing

    def test_a_dry_run_says_who_and_when(self, two: tuple[Peer, Peer]) -> None:
        """Every path that comes; nothing is written, not even a marker."""
        ann, bob = two
        write(bob, "plan.txt", "roof\n")
        assert bob.sync().status == 0
        write(ann, "mine.txt", "x")
        before = ann.tree()

        ended = ann.sync("--dryrun")
        facts = ann.sync("--dryrun", "--json").lines[1]["paths"]

        assert ended.status == 0
        assert "to upload (1)" in ended.out
        assert "to download (1)" in ended.out
        assert "bob@" in ended.out
        assert facts["downloads"][0]["by"].startswith("bob@")
        assert facts["downloads"][0]["kind"] == "modified"
        assert ann.tree() == before

    def test_copy_deletes_nothing_on_either_side(self, two: tuple[Peer, Peer]) -> None:
        """What is new travels all the same."""
        ann, bob = two
        (ann.folder / "plan.txt").unlink()
        write(ann, "new.txt", "n")

        assert ann.sync("--copy").status == 0
        assert bob.sync("--copy").status == 0

        assert names(bob) == {"plan.txt", "old/a.txt", "new.txt"}
        assert names(ann) == {"old/a.txt", "new.txt"}

        assert ann.sync().status == 0  # still known as deleted here
        assert bob.sync().status == 0
        assert names(bob) == {"old/a.txt", "new.txt"}

    def test_one_way_alone(self, two: tuple[Peer, Peer]) -> None:
        """The other way waits for its turn."""
        ann, bob = two
        write(ann, "from-ann.txt", "1")
        write(bob, "from-bob.txt", "2")

        assert ann.sync("--upload-only").status == 0
        assert bob.sync("--download-only").status == 0
        assert names(bob) >= {"from-ann.txt", "from-bob.txt"}
        assert ann.sync().status == 0
        assert "from-bob.txt" not in names(ann)

        assert bob.sync().status == 0
        assert ann.sync().status == 0
        assert ann.tree() == bob.tree()

    def test_a_renamed_file_is_not_fetched_again(self, two: tuple[Peer, Peer]) -> None:
        """Its bytes are in the folder already."""
        ann, bob = two
        (ann.folder / "plan.txt").rename(ann.folder / "house.txt")
        assert ann.sync().status == 0

        events = bob.sync("--json").lines

        assert names(bob) == {"house.txt", "old/a.txt"}
        assert (bob.folder / "house.txt").read_text() == "walls\n"
        assert events[-2]["ok"]

    def test_entries_of_maps(self, tmp_path: Path, moto: S3Server, bucket: str) -> None:
        """The role peer: the folder is where the map says, or where this computer's configuration says."""
        entry = {"name": "TEAM", "s3": f"{bucket}/t", "peer": "~/shared", "ignore": ["*.bak"]}
        put(moto, bucket, "maps/team.json", json.dumps([entry]).encode())
        ann, bob = Machine(tmp_path / "ann", moto), Machine(tmp_path / "bob", moto)
        ann.write_config("peer", f"{bucket}/maps")
        bob.write_config("peer", f"{bucket}/maps")
        with bob.config.open("a") as file:
            file.write(f'[peer]\nignore = ["*.raw"]\nfolders = {{ TEAM = "{bob.root}/elsewhere" }}\n')
        (ann.root / "shared").mkdir()
        (bob.root / "elsewhere").mkdir()
        for name in ("a.txt", "a.bak", "a.raw"):
            (ann.root / "shared" / name).write_text(name)

        assert ann.run("sync", "--update-maps").status == 0
        assert bob.run("sync", "TEAM").status == 0

        assert {file.name for file in (bob.root / "elsewhere").iterdir()} == {".s32s", "a.txt"}
        assert "team.json" not in bob.run("status").err
        assert f"{bob.root}/elsewhere <> {bucket}/t" in bob.run("status").out
        shown = bob.run("status", "--json").lines[0]
        assert (shown["source"], shown["state"]) == (f"{bob.root}/elsewhere", "up to date")
        assert f"{bob.root}/elsewhere" in bob.run("maps", "list").out
        (bob.root / "elsewhere/b.txt").write_text("b")
        assert f"{bob.root}/elsewhere <> " in bob.run("dryrun").out
        assert ann.run("sync").status == 0
        assert (ann.root / "shared/a.raw").exists()

    def test_what_each_has_pushed_is_a_generation(self, tmp_path: Path, moto: S3Server, bucket: str) -> None:
        """In a bucket with versions: who pushed what, and a file of then comes back into the folder."""
        moto.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        put(moto, bucket, "maps/t.json", json.dumps([{"name": "TEAM", "s3": f"{bucket}/t", "peer": "~/t"}]).encode())
        ann, bob = Machine(tmp_path / "ann", moto), Machine(tmp_path / "bob", moto)
        for who, text in ((ann, "walls\n"), (bob, "doors\n")):
            who.write_config("peer", f"{bucket}/maps")
            who.extra |= dict.fromkeys(("USER", "LOGNAME", "USERNAME"), who.root.name)
            (who.root / "t").mkdir()
            assert who.run("sync").status == 0
            (who.root / "t/plan.txt").write_text(text)
            assert who.run("sync", "--yes").status == 0

        log = ann.run("log", "TEAM", "--json").lines
        assert [(one["host"].split("@")[0], one["new"], one["modified"]) for one in log[:2]] == [
            ("bob", 0, 1),
            ("ann", 1, 0),
        ]
        assert "  bob@" in ann.run("log", "TEAM").out
        assert bob.run("restore", "TEAM", "plan.txt", "--generation", str(log[1]["generation"]), "--yes").status == 0
        assert (bob.root / "t/plan.txt").read_text() == "walls\n"
        assert_failed(bob.run("rollback", "TEAM"), 3, says="only a master")


class TestConflicts:
    @pytest.fixture
    def clash(self, two: tuple[Peer, Peer]) -> tuple[Peer, Peer]:
        """Both have changed the plan, and Ann was quicker."""
        ann, bob = two
        write(ann, "plan.txt", "walls\nby ann\n")
        write(bob, "plan.txt", "walls\nby bob\n")
        write(bob, "other.txt", "o")
        assert ann.sync().status == 0
        return ann, bob

    def test_without_a_terminal_none_is_decided(self, clash: tuple[Peer, Peer], tmp_path: Path) -> None:
        """All else is done; the report names what is left."""
        ann, bob = clash

        ended = bob.sync("--report", str(tmp_path / "report"))

        assert ended.status == 1
        assert "1 conflict is left undecided" in ended.err
        assert (tmp_path / "report/conflicts.txt").read_text() == "plan.txt\tmodified on both sides\n"
        assert (tmp_path / "report/uploaded.txt").read_text() == "other.txt\tnew\n"
        assert (tmp_path / "report/downloaded.txt").read_text() == ""
        assert (bob.folder / "plan.txt").read_text() == "walls\nby bob\n"
        assert ann.sync().status == 0
        assert (ann.folder / "plan.txt").read_text() == "walls\nby ann\n"
        assert (ann.folder / "other.txt").exists()

    @pytest.mark.parametrize(("keep", "text"), [("mine", "bob"), ("theirs", "ann")])
    def test_one_is_kept(self, clash: tuple[Peer, Peer], keep: str, text: str) -> None:
        """The other one is in the trash of who had it."""
        ann, bob = clash

        assert bob.sync("--keep", keep).status == 0
        assert ann.sync().status == 0

        assert ann.tree() == bob.tree()
        assert (ann.folder / "plan.txt").read_text() == f"walls\nby {text}\n"
        loser = ann if keep == "mine" else bob
        assert f"by {loser.name}" in loser.lines()

    def test_both_are_kept(self, clash: tuple[Peer, Peer]) -> None:
        """Ours gets a name that says so, and opens as before."""
        ann, bob = clash

        assert bob.sync("--keep", "both").status == 0
        assert ann.sync().status == 0
        assert bob.sync().status == 0

        assert ann.tree() == bob.tree()
        (copy,) = [name for name in names(ann) if "(conflict, " in name]
        assert copy.startswith("plan (conflict, ")
        assert copy.endswith(").txt")
        assert (ann.folder / copy).read_text() == "walls\nby bob\n"
        assert (ann.folder / "plan.txt").read_text() == "walls\nby ann\n"

    def test_deleted_here_and_modified_there(self, two: tuple[Peer, Peer]) -> None:
        """A conflict, too: neither wins in silence."""
        ann, bob = two
        write(ann, "plan.txt", "walls\nroof\n")
        (bob.folder / "plan.txt").unlink()
        assert ann.sync().status == 0

        ended = bob.sync()

        assert ended.status == 1
        assert "deleted here, modified there" in ended.err
        assert not (bob.folder / "plan.txt").exists()
        assert bob.sync("--keep", "both").status == 0
        assert (bob.folder / "plan.txt").read_text() == "walls\nroof\n"

    def test_the_same_change_on_both_sides_asks_nothing(self, two: tuple[Peer, Peer]) -> None:
        """Content decides, and not who was when where."""
        for peer in two:
            write(peer, "plan.txt", "the same\n")
            (peer.folder / "old/a.txt").unlink()
            os.utime(peer.folder / "plan.txt", (5, 5))

        assert [peer.sync().status for peer in two] == [0, 0]
        assert two[0].tree() == two[1].tree()

    def test_a_folder_meets_one_that_is_full_already(self, join: Callable[[str], Peer]) -> None:
        """Nothing was common: what differs is a conflict, nothing is deleted."""
        ann, bob = join("ann"), join("bob")
        write(ann, "same.txt", "s")
        write(ann, "ann.txt", "a")
        write(ann, "both.txt", "from ann")
        write(bob, "same.txt", "s")
        write(bob, "bob.txt", "b")
        write(bob, "both.txt", "from bob")
        assert ann.sync().status == 0

        ended = bob.sync()

        assert ended.status == 1
        assert '"both.txt": new on both sides, with different content' in ended.err
        assert names(bob) == {"same.txt", "ann.txt", "bob.txt", "both.txt"}


class TestQuestions:
    def test_lists_are_picked_by_number_and_conflicts_one_by_one(self, two: tuple[Peer, Peer]) -> None:
        """With a look at what differs."""
        ann, bob = two
        write(ann, "plan.txt", "walls\nby ann\n")
        write(ann, "x.txt", "x")
        assert ann.sync().status == 0
        write(bob, "plan.txt", "walls\nby bob\n")
        for number in (1, 2, 3):
            write(bob, f"up{number}.txt", "u")

        command = bob.command(*bob.words())
        with terminal(command, {"LANG": "C.UTF-8", **bob.environment()}, bob.root) as screen:
            screen.wait_for("upload: 3", "Upload which?")
            screen.press("2-4", "enter")
            screen.wait_for("2-4 is not between 1 and 3")
            screen.press("1, 3", "enter")
            screen.wait_for("download: 1", "ann@")
            screen.press("all", "enter")
            screen.wait_for("modified on both sides; there by ann@", "Keep mine, theirs, both, or leave it?")
            screen.press("d", "enter")
            screen.wait_for("-by ann", "+by bob")
            screen.press("b", "enter")
            assert screen.ended() == 0

        assert names(bob) >= {"x.txt", "up1.txt", "up2.txt", "up3.txt", "plan.txt"}
        assert (bob.folder / "plan.txt").read_text() == "walls\nby ann\n"
        assert ann.sync().status == 0
        assert names(ann) >= {"up1.txt", "up3.txt"}
        assert "up2.txt" not in names(ann)
        assert any("(conflict, " in name for name in names(ann))

    def test_what_is_for_shared_folders_is_not_for_others(self, tmp_path: Path, moto: S3Server, bucket: str) -> None:
        """A master has nothing to settle."""
        entry = {"name": "WEB", "s3": f"{bucket}/web", "master": str(tmp_path / "site")}
        put(moto, bucket, "maps/web.json", json.dumps([entry]).encode())
        master = Machine(tmp_path / "m", moto)
        master.write_config("master", f"{bucket}/maps")

        ended = master.run("sync", "WEB", "--yes", "--keep", "mine")
        both = master.run("peer", str(tmp_path), f"s3://{bucket}/x", "--upload-only", "--download-only")

        assert ended.status == 2
        assert "--yes, --keep is for shared folders (role peer), and this machine is a master" in ended.err
        assert both.status == 2
        assert "exclude each other" in both.err

    def test_yes_asks_nothing(self, two: tuple[Peer, Peer]) -> None:
        """Everything but conflicts is taken."""
        _, bob = two
        write(bob, "b.txt", "b")
        command = bob.command(*bob.words("--yes"))
        with terminal(command, {"LANG": "C.UTF-8", **bob.environment()}, bob.root) as screen:
            screen.wait_for("uploaded 1 new")
            assert screen.ended() == 0


class TestSafety:
    def test_an_emptied_folder_is_no_deletion_of_everything(self, two: tuple[Peer, Peer]) -> None:
        """With its marker still there, the guard says how many."""
        ann, _ = two
        for file in list(ann.files()):
            file.unlink()

        ended = ann.sync()

        assert ended.status == 3
        assert "this folder contains no files any more, and 2 would be deleted on S3" in ended.err
        assert ann.sync("--force-delete").status == 0

    def test_a_folder_without_its_marker_is_not_the_folder(self, two: tuple[Peer, Peer]) -> None:
        """As an empty mount point."""
        ann, _ = two
        ann.folder.rename(ann.root / "real")
        ann.folder.mkdir()

        ended = ann.sync()

        assert ended.status == 3
        assert "has lost its marker" in ended.err
        assert not list(ann.folder.iterdir()) or not names(ann)

    def test_nor_is_another_folder(self, two: tuple[Peer, Peer]) -> None:
        """Its marker has another id, as one that was made by hand."""
        ann, bob = two
        (ann.folder / ".s32s/id").write_bytes((bob.folder / ".s32s/id").read_bytes())

        ended = ann.sync()

        assert ended.status == 3
        assert "another folder than the one that was synced here before" in ended.err

    def test_a_folder_that_is_not_there_is_refused(self, two: tuple[Peer, Peer]) -> None:
        """It says what to do."""
        ann, _ = two
        ann.folder.rename(ann.root / "away")

        ended = ann.sync()

        assert ended.status == 3
        assert "does not exist; check whether its disk is mounted" in ended.err

    def test_most_of_it_gone_there_is_refused_too(self, join: Callable[[str], Peer]) -> None:
        """The guard holds both ways; what was only moved does not count."""
        ann, bob = join("ann"), join("bob")
        for number in range(40):
            write(ann, f"f{number:02}.txt", f"{number}")
        assert ann.sync().status == 0
        assert bob.sync().status == 0
        (ann.folder / "sub").mkdir()
        for file in [file for file in ann.files() if file.parent == ann.folder]:
            file.rename(ann.folder / "sub" / file.name)
        assert ann.sync().status == 0
        assert bob.sync().status == 0
        for number in range(30):
            (ann.folder / f"sub/f{number:02}.txt").unlink()
        assert ann.sync().status == 3
        assert ann.sync("--force-delete").status == 0

        ended = bob.sync()

        assert ended.status == 3
        assert "30 of 40 files would be deleted in this folder" in ended.err
        assert len(names(bob)) == 40

    def test_an_older_generation_stops(self, two: tuple[Peer, Peer], moto: S3Server, bucket: str) -> None:
        """S3 came back from a backup: nothing newer is deleted."""
        ann, bob = two
        old = {key: get(moto, bucket, key) for key in keys(moto, bucket)}
        write(ann, "new.txt", "n")
        assert ann.sync().status == 0
        moto.client().delete_object(Bucket=bucket, Key="team/new.txt")
        for key, data in old.items():
            put(moto, bucket, key, data)

        ended = ann.sync()

        assert ended.status == 3
        assert "went back from generation" in ended.err
        assert ann.sync("--accept-older").status == 0
        assert (ann.folder / "new.txt").exists()
        assert bob.sync().status == 0
        assert "new.txt" in names(bob)

    def test_what_cannot_be_read_is_not_deleted(self, two: tuple[Peer, Peer]) -> None:
        """A socket stands where the plan was: that path waits, all else goes on."""
        ann, bob = two
        (ann.folder / "plan.txt").unlink()
        here = os.getcwd()
        os.chdir(ann.folder)
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind("plan.txt")
        finally:
            os.chdir(here)
        write(ann, "new.txt", "n")

        ended = ann.sync()

        assert ended.status == 1
        assert '"plan.txt": it is a socket' in ended.err
        assert bob.sync().status == 0
        assert names(bob) == {"plan.txt", "old/a.txt", "new.txt"}

    def test_a_file_that_grows_waits(self, two: tuple[Peer, Peer]) -> None:
        """The others go; the next run takes it."""
        ann, bob = two
        file = write(ann, "log.txt", "x" * 6_000_000)
        write(ann, "still.txt", "s")
        grow = (
            "import sys, time\nopened = open(sys.argv[1], 'a', buffering=1)\nend = time.monotonic() + 30\n"
            "while time.monotonic() < end:\n    opened.write('more\\n')\n    time.sleep(0.0001)\n"
        )
        with subprocess.Popen([sys.executable, "-c", grow, str(file)]) as writer:
            time.sleep(0.3)
            try:
                ended = ann.sync()
            finally:
                writer.kill()
        assert ended.status == 1
        assert '"log.txt": somebody writes to it just now' in ended.err
        assert bob.sync().status == 0
        assert "still.txt" in names(bob)
        assert "log.txt" not in names(bob)

        assert ann.sync().status == 0
        assert bob.sync().status == 0
        assert ann.tree() == bob.tree()

    def test_what_does_not_take_part_is_left_on_both_sides(self, two: tuple[Peer, Peer]) -> None:
        """A rule that comes or goes is neither a deletion nor a creation."""
        ann, bob = two

        assert ann.sync("--ignore", "old/*").status == 0
        (ann.folder / "old/a.txt").unlink()
        assert ann.sync("--ignore", "old/*").status == 0
        assert bob.sync().status == 0
        assert "old/a.txt" in names(bob)

        assert ann.sync().status == 0  # without the rule it is what it is: deleted here
        assert bob.sync().status == 0
        assert names(bob) == {"plan.txt"}

    def test_names_that_others_cannot_hold_are_told_at_upload(self, two: tuple[Peer, Peer]) -> None:
        """Case twins, and what Windows forbids."""
        ann, _ = two
        for name in ("Plan.txt", "aux.nfo", "what?.txt", "dot."):
            write(ann, name, name)

        ended = ann.sync()

        assert ended.status == 0
        assert '"Plan.txt" cannot be held by every computer: on Windows and macOS it is the same name' in ended.err
        assert '"aux.nfo" cannot be held by every computer: aux.nfo is a device on Windows' in ended.err
        assert "Windows allows no ? in a name" in ended.err
        assert 'Windows drops the dot at the end of "dot."' in ended.err

    def test_a_folder_belongs_to_one_place(self, two: tuple[Peer, Peer], bucket: str) -> None:
        """And neither a system directory nor a home directory is ever shared."""
        ann, _ = two

        other = ann.run("peer", str(ann.folder), f"s3://{bucket}/elsewhere")
        home = ann.run("peer", str(ann.root), f"s3://{bucket}/home")
        system = ann.run("peer", "/etc", f"s3://{bucket}/etc")
        nowhere = ann.run("peer", str(ann.folder), "sftp://host/path")

        assert (other.status, home.status, system.status, nowhere.status) == (3, 3, 3, 2)
        assert "is shared through" in other.err
        assert "is a home directory" in home.err
        assert "a folder is shared through s3://bucket/prefix" in nowhere.err


class TestTrash:
    def test_what_others_deleted_comes_back_as_it_was(self, machines: tuple[Machine, Machine]) -> None:
        """Out of the local trash: name, bytes, time, mode, also of a whole directory."""
        ann, bob = machines
        for name in ("plan.txt", "d/1.txt", "d/e/2.txt"):
            (ann.root / "team" / name).unlink()
        (ann.root / "team/keep.txt").write_text("k")
        assert ann.run("sync", "--force-delete").status == 0
        assert bob.run("sync", "--force-delete").status == 0
        assert not (bob.root / "team/d").exists() or not list((bob.root / "team/d").rglob("*.txt"))

        listed = bob.run("trash", "list", "TEAM")
        back = bob.run("trash", "restore", "TEAM", "d", "plan.txt", "--json")

        assert listed.status == 0
        assert "d/e/2.txt" in listed.out
        assert back.status == 0, back.err
        assert {line["path"] for line in back.lines} == {"plan.txt", "d/1.txt", "d/e/2.txt"}
        for name in ("plan.txt", "d/1.txt", "d/e/2.txt"):
            status = (bob.root / "team" / name).stat()
            assert (bob.root / "team" / name).read_text() == name
            assert (status.st_mtime, status.st_mode & 0o777) == (1_700_000_000, 0o640)
        assert bob.run("sync").status == 0
        assert ann.run("sync").status == 0
        assert (ann.root / "team/d/e/2.txt").read_text() == "d/e/2.txt"

    def test_what_is_deleted_on_s3_is_kept_with_who_and_when(self, machines: tuple[Machine, Machine]) -> None:
        """Who has deleted it gets it back from there, although it was in no trash here."""
        ann, _ = machines
        (ann.root / "team/d/1.txt").unlink()
        assert ann.run("sync").status == 0

        facts = ann.run("trash", "list", "TEAM", "--json").lines
        back = ann.run("trash", "restore", "TEAM", "d/1.txt")

        assert [(one["where"], one["path"]) for one in facts] == [("S3", "d/1.txt")]
        assert "@" in facts[0]["who"]
        assert back.status == 0, back.err
        status = (ann.root / "team/d/1.txt").stat()
        assert (ann.root / "team/d/1.txt").read_text() == "d/1.txt"
        assert (status.st_mtime, status.st_mode & 0o777) == (1_700_000_000, 0o640)

        again = ann.run("trash", "restore", "TEAM", "d/1.txt")
        assert again.status == 1
        assert "something else is there" in again.err
        missing = ann.run("trash", "restore", "TEAM", "nowhere.txt")
        assert missing.status == 2

    def test_it_is_emptied_after_a_question(
        self, machines: tuple[Machine, Machine], moto: S3Server, bucket: str
    ) -> None:
        """Here alone, or on S3 too."""
        ann, bob = machines
        (ann.root / "team/plan.txt").unlink()
        assert ann.run("sync").status == 0
        assert bob.run("sync").status == 0

        assert bob.run("trash", "empty", "TEAM").status == 3
        assert bob.run("trash", "empty", "TEAM", "--older", "30d", "--yes").out == "removed: 0 here\n"
        assert bob.run("trash", "empty", "TEAM", "--yes").out == "removed: 1 here\n"
        assert any("/deleted/" in key for key in keys(moto, bucket, "t"))
        assert bob.run("trash", "empty", "TEAM", "--everywhere", "--yes").out == "removed: 0 here, 1 on S3\n"
        assert not any("/deleted/" in key for key in keys(moto, bucket, "t"))

    def test_forget(self, machines: tuple[Machine, Machine], layout: str) -> None:
        """No file is touched, and the next sync starts from comparing: what is deleted here comes back."""
        ann, bob = machines
        (ann.root / "team/plan.txt").unlink()

        assert ann.run("forget", "TEAM").status == 3
        assert ann.run("forget", "TEAM", "--yes").status == 0
        assert ann.run("sync").status == 0
        assert (ann.root / "team/plan.txt").exists()

        if layout == "packed":
            assert_failed(ann.run("forget", "TEAM", "--everywhere", "--yes"), 3, says="packs cannot be read without it")
            return
        assert ann.run("forget", "TEAM", "--everywhere", "--yes").status == 0
        assert ann.run("sync").status == 0
        ended = bob.run("sync")
        assert ended.status == 0
        assert ended.changed_nothing
        status = (ann.root / "team/d/e/2.txt").stat()
        assert (status.st_mtime, status.st_mode & 0o777) == (1_700_000_000, 0o640)


class TestWatch:
    def test_what_each_changes_comes_to_the_other_by_itself(
        self, tmp_path: Path, moto: S3Server, bucket: str, layout: str
    ) -> None:
        """Both watch; a conflict is told once, and waits."""
        entry = {"name": "TEAM", "s3": f"{bucket}/t", "peer": "~/team", "layout": layout}
        put(moto, bucket, "maps/team.json", json.dumps([entry]).encode())
        made = Machine(tmp_path / "ann", moto), Machine(tmp_path / "bob", moto)
        for machine in made:
            machine.write_config("peer", f"{bucket}/maps", text="")
            (machine.root / "team").mkdir()
        ann, bob = (machine.root / "team" for machine in made)
        watches = [machine.start("watch", "--update-maps", "--poll", "0.3s", "--settle", "0.1s") for machine in made]

        def wait_for(what: Callable[[], bool]) -> None:
            until = time.monotonic() + 40
            while not what():
                assert time.monotonic() < until
                time.sleep(0.05)

        def is_there(line: str) -> bool:
            try:
                return line in lines_on(moto, bucket, "t")
            except S32sError:
                return False  # what was listed has changed before it was read

        try:
            wait_for(lambda: (ann / ".s32s/id").exists() and (bob / ".s32s/id").exists())
            (ann / "a.txt").write_text("from ann")
            wait_for(lambda: (bob / "a.txt").exists())
            (bob / "b.txt").write_text("from bob")
            wait_for(lambda: (ann / "b.txt").exists())
            (ann / "a.txt").unlink()
            wait_for(lambda: not (bob / "a.txt").exists())

            watches[1].send_signal(signal.SIGSTOP)
            (ann / "b.txt").write_text("ann again")
            (bob / "b.txt").write_text("bob again")
            wait_for(lambda: is_there("ann again"))
            watches[1].send_signal(signal.SIGCONT)
            (bob / "c.txt").write_text("c")
            wait_for(lambda: (ann / "c.txt").exists())
            assert (bob / "b.txt").read_text() == "bob again"
        finally:
            for watch in watches:
                watch.send_signal(signal.SIGTERM)
            said = [watch.communicate(timeout=30)[1] for watch in watches]
        assert all(watch.returncode in (0, 143) for watch in watches)  # 143: a look was under way
        assert said[1].count("1 conflict is left undecided") == 1


@pytest.mark.parametrize("layout", ["packed"])
class TestGenerations:
    def test_whose_change_each_was(self, machines: tuple[Machine, Machine]) -> None:
        """`log` and `diff` name who; `restore` brings back, and `rollback` reaches all folders."""
        ann, bob = machines
        (bob.root / "team/plan.txt").write_text("by bob")
        (bob.root / "team/d/1.txt").unlink()
        assert bob.run("sync", "--message", "another plan").status == 0
        (ann.root / "team/new.txt").write_text("by ann")
        assert ann.run("sync").status == 0

        log = ann.run("log", "TEAM", "--json").lines
        assert [(one["generation"], one["user"], one["message"]) for one in log] == [
            (3, "ann", ""),
            (2, "bob", "another plan"),
            (1, "ann", ""),
        ]
        assert [(one["new"], one["modified"], one["deleted"]) for one in log] == [(1, 0, 0), (0, 1, 1), (3, 0, 0)]
        differ = ann.run("diff", "TEAM", "1", "3", "--json").lines
        by = {one["path"]: one.get("by", "").partition("@")[0] for one in differ}
        assert by == {"plan.txt": "bob", "d/1.txt": "", "new.txt": "ann"}
        assert "plan.txt  (size)  bob@" in ann.run("diff", "TEAM", "1", "3").out

        back = ann.run("restore", "TEAM", "plan.txt", "d/1.txt", "--generation", "1", "--yes")
        assert back.status == 0, back.err
        assert (ann.root / "team/plan.txt").read_text() == "plan.txt"
        assert ann.run("sync").status == 0
        assert bob.run("sync").status == 0
        assert (bob.root / "team/d/1.txt").read_text() == "d/1.txt"

        back = bob.run("rollback", "TEAM", "2")
        assert back.status == 0, back.err
        assert "the folders of all follow" in back.out
        for one in (bob, ann):
            assert one.run("sync").status == 0
            assert (one.root / "team/plan.txt").read_text() == "by bob"
            assert not (one.root / "team/new.txt").exists()
        assert ann.run("prune", "TEAM", "--keep", "1", "--yes").status == 0
        assert ann.run("verify", "TEAM").status == 0
        (ann.root / "team/after.txt").write_text("a")
        assert ann.run("sync").status == 0
        assert bob.run("sync").status == 0
        assert (bob.root / "team/after.txt").exists()


def test_a_message_that_no_generation_has_is_told(two: tuple[Peer, Peer]) -> None:
    """Who only downloads publishes nothing, and plain folders have no messages."""
    ann, bob = two
    write(ann, "new.txt", "n\n")
    sent, got = (one.sync("--yes", "--message", "news") for one in (ann, bob))
    says = "the message is not recorded: "
    if ann.layout == "plain":
        assert f"{says}in a shared folder only the packed layout has messages" in sent.err
    else:
        assert says not in sent.err
        assert f"{says}nothing was published" in got.err


def test_a_file_that_becomes_a_directory(two: tuple[Peer, Peer]) -> None:
    """It is in the figures and in the list of who sends it, and of who gets it."""
    ann, bob = two
    (ann.folder / "plan.txt").unlink()
    write(ann, "plan.txt/page 1", "walls\n")
    for person, way in ((ann, "upload"), (bob, "download")):
        shown = person.sync("--dryrun")
        assert f"to {way} (2)" in shown.out, shown.out + shown.err
        assert "plan.txt/  (a directory instead of a file)" in shown.out, shown.out
        assert "unchanged: 1 file" in shown.out
        done = person.sync("--yes")
        assert f"{way}ed 1 new, 1 modified; 2 files" in done.out, done.out + done.err
    assert ann.tree() == bob.tree()


class TestOtherPlaces:
    def test_a_directory_that_people_share(self, tmp_path: Path, moto: S3Server, layout: str) -> None:
        """Such as one on a NAS: no S3 takes part, and one that is not mounted is not an empty one."""
        nas = tmp_path / "nas"
        nas.mkdir()
        people = [Peer(tmp_path / name, moto, "nas:team", layout) for name in ("ann", "bob")]
        for person in people:
            person.config.write_text(
                f'[stores.nas]\ntype = "file"\npath = "{nas}"\n'
                '[stores.web]\ntype = "fsspec"\nurl = "webdav://127.0.0.1:9/dir"\n'
            )
        ann, bob = people
        write(ann, "plan.txt", "walls\n")
        assert ann.sync().status == 0
        assert bob.sync().status == 0
        write(ann, "plan.txt", "walls\nby ann\n")
        write(bob, "plan.txt", "walls\nby bob\n")
        assert ann.sync().status == 0
        assert bob.sync("--keep", "both").status == 0
        (ann.folder / "plan.txt").unlink()
        assert ann.sync().status == 0
        assert bob.sync().status == 0
        assert ann.tree() == bob.tree()
        assert (nas / "team/.s32s/head.json").exists()
        assert any("/deleted/" in str(file) for file in nas.rglob("*"))

        nas.rename(tmp_path / "away")
        ended = ann.sync()
        assert ended.status == 1
        assert "is not there; check whether its disk is mounted" in ended.err
        nas.mkdir()
        ended = ann.sync()
        assert ended.status == 3
        assert "went back from generation" in ended.err
        assert not list(nas.iterdir())

        other = ann.run("peer", str(bob.folder), "web:team")
        assert other.status == 3
        assert "nothing proves there who was quicker" in other.err

    def test_a_store_on_its_own_server(self, tmp_path: Path, moto: S3Server, rclone: S3Server, layout: str) -> None:
        """What names the folder alone finds the server that it is shared through, and never asks another one."""
        bucket = f"test-{uuid.uuid4().hex}"
        make_bucket(rclone, bucket)
        ann = Peer(tmp_path / "ann", moto, f"nas:{bucket}/team", layout)
        text = f'[stores.nas]\ntype = "s3"\nendpoint_url = "{rclone.endpoint_url}"\nregion = "us-east-1"\n'
        ann.config.write_text(text)
        write(ann, "plan.txt", "walls\n")
        write(ann, "old.txt", "old\n")
        assert ann.sync().status == 0
        (ann.folder / "old.txt").unlink()
        assert ann.sync().status == 0
        folder = str(ann.folder)

        def looked_after() -> None:
            listed = ann.run("trash", "list", folder)
            assert listed.status == 0, listed.err
            assert "old.txt" in listed.out
            if layout == "packed":
                verified = ann.run("verify", folder)
                assert verified.status == 0, verified.err

        looked_after()
        marker = ann.folder / ".s32s/id"
        facts = json.loads(marker.read_text())
        del facts["via"]  # as an older s32s has left it
        marker.write_text(json.dumps(facts))
        for words in (("trash", "list", folder), ("forget", folder, "--everywhere", "--yes")):
            assert_failed(ann.run(*words), 2, says=("[s3] or of [stores.nas]", "sync it once", "s32s peer"))
        assert ann.sync().status == 0
        assert json.loads(marker.read_text())["id"] == facts["id"]
        looked_after()

        ann.config.write_text(text.replace("stores.nas", "stores.box"))
        assert_failed(ann.run("trash", "list", folder), 2, says="add the table [stores.nas]")
        ann.config.write_text(text)
        if layout == "packed":
            assert_failed(ann.run("forget", folder, "--everywhere", "--yes"), 3, says="packs cannot be read without it")
        else:
            forgotten = ann.run("forget", folder, "--everywhere", "--yes")
            assert forgotten.status == 0, forgotten.err
            assert "team/.s32s/head.json" not in keys(rclone, bucket)


def test_a_push_to_a_shared_folder_is_refused(two: tuple[Peer, Peer], tmp_path: Path, moto: S3Server) -> None:
    """By a machine that takes the prefix for its own: nobody's files go."""
    ann, _ = two
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("x")

    words = ("sync", str(site), ann.place, "--layout", ann.layout, "--endpoint-url", moto.endpoint_url)
    refused = Machine(tmp_path / "other", moto).run(*words)

    assert_failed(refused, 3, says="people share this prefix")
    assert ann.sync().status == 0
    assert (ann.folder / "plan.txt").exists()


def test_a_name_without_a_configuration_means_nothing(tmp_path: Path, moto: S3Server) -> None:
    """It is said so, and what to name instead."""
    machine = Machine(tmp_path / "new", moto)
    for words in (["trash", "list", "TEAM"], ["forget", "TEAM", "--yes"]):
        assert_failed(machine.run(*words), 2, says="no configuration of this machine says where maps are")
