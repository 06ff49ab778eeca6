"""Earlier trees beside a target: whatever has happened, going back brings what was there."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import snapshot

from s32s.agent.roles.pull import live_of
from s32s.core.errors import EntryFailed, IntegrityError, Refused
from s32s.core.guards import HALF, Limits
from s32s.core.plan import Plan, Verb
from s32s.core.rules import EVERYTHING
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.local import keeper, kept, pruning, target
from s32s.stores.local.kept_source import KeptStore
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.local.target import walk_target
from s32s.stores.memory import MemoryStore

JOB = Job(Verb.SYNC, EVERYTHING, Limits(HALF, force=True))
RUN = RunContext("site", jobs=2)
OLD_NS = 1_600_000_000_000_000_000
EACH_WAY = pytest.mark.parametrize("in_place", [False, True], ids=["swap", "in-place"])


class Slave:
    """A target that keeps earlier trees, as a slave does it."""

    def __init__(self, root: Path, *, keep: int = 3, in_place: bool = False) -> None:
        self.root = root
        self.keep = keep
        self.in_place = in_place
        self.generation = 0
        self.told: list[str] = []
        self.index = StatCache()

    @property
    def store(self) -> LocalStore:
        return LocalStore(
            str(self.root),
            in_place=self.in_place,
            load_cache=lambda: self.index,
            save_cache=self._save,
            warn=self.told.append,
            keeps=self.generation,
        )

    def pull(self, files: Mapping[str, bytes], generation: int = 0) -> Outcome:
        """The next generation, or one with a number."""
        done = replicate(store_of(files), self.store, JOB, RUN)
        self.generation = generation or self.generation + 1
        self._prune(done.plan)
        return done

    def pull_a_part(self, files: Mapping[str, bytes], below: str) -> None:
        """What is in one directory of another generation, as `--below` does it; the target follows the one before."""
        job = JOB._replace(rules=EVERYTHING.limited(below), limits=Limits(HALF, force=True, below=below))
        done = replicate(store_of(files), self.store, job, RUN)
        self._prune(done.plan, generation=0)

    def copy(self, files: Mapping[str, bytes], generation: int = 0) -> None:
        """The same, and nothing is deleted."""
        done = replicate(store_of(files), self.store, JOB._replace(verb=Verb.COPY), RUN)
        self.generation = generation or self.generation + 1
        self._prune(done.plan)

    def repair(self, files: Mapping[str, bytes]) -> None:
        """The same generation once more."""
        self._prune(replicate(store_of(files), self.store, JOB, RUN).plan)

    def go_back(self, generation: int, *, partial: bool = False) -> Outcome:
        """To a generation that is kept."""
        record = next(tree for tree in self.kept if tree.generation == generation)
        source = KeptStore(self.store, record, is_partial=partial, warn=self.told.append)
        done = replicate(source, self.store, JOB, RUN)
        self.generation = generation
        self._prune(done.plan)
        return done

    @property
    def kept(self) -> list[kept.KeptTree]:
        return kept.kept_of(str(self.root), in_place=self.in_place)

    @property
    def place(self) -> Path:
        """Where the earlier trees are."""
        return next((self.root if self.in_place else self.root.parent).glob(".s32s-kept-*"))

    @property
    def files(self) -> dict[str, object]:
        """What the target holds."""
        return {path: what for path, what in snapshot(self.root).items() if not path.startswith(".s32s-kept-")}

    def _prune(self, plan: Plan | None = None, *, generation: int | None = None) -> None:
        def live(contents: Collection[str]) -> set[str]:
            return live_of(plan, contents) if plan is not None else set()

        generation = self.generation if generation is None else generation
        pruning.prune(str(self.root), in_place=self.in_place, keep=self.keep, generation=generation, live=live)

    def _save(self, index: StatCache) -> None:
        self.index = index


def store_of(files: Mapping[str, bytes]) -> MemoryStore:
    """A source whose files have a time that goes by what they hold."""
    store = MemoryStore()
    for path, data in files.items():
        store.write(path, data, mtime_ns=OLD_NS + len(data))
    return store


@pytest.fixture
def slave(tmp_path: Path) -> Slave:
    """One whose target is not there yet."""
    return Slave(tmp_path / "site")


@EACH_WAY
@pytest.mark.parametrize("seed", range(6))
def test_any_kept_tree_comes_back_exactly(tmp_path: Path, seed: int, in_place: bool) -> None:
    """Random histories of pulls and of ways back, in which names, contents and kinds of names change."""
    dice = random.Random(seed)
    slave = Slave(tmp_path / "site", keep=dice.randint(1, 4), in_place=in_place)
    slave.root.mkdir()
    were: dict[int, dict[str, object]] = {}
    newest = 0
    names = ["a", "b", "d/a", "d/b", "d/e/a", "c"]
    for _ in range(14):
        if slave.kept and dice.random() < 0.4:
            generation = dice.choice(slave.kept).generation
            if generation in were:
                slave.go_back(generation)
                assert slave.files == were[generation]
            continue
        files = {name: dice.choice([b"1", b"22", b"", b"333"]) * 100 for name in names if dice.random() < 0.7}
        if dice.random() < 0.3:
            files = {path: data for path, data in files.items() if not path.startswith("d/")} | {"d": b"now a file"}
        if dice.random() < 0.3 and any(path.startswith("d/") for path in files):
            slave.pull_a_part(files, "d")
        newest += 1
        if dice.random() < 0.3 and "d" not in files:
            slave.copy(files, newest)
            slave.repair(files)
        else:
            slave.pull(files, newest)
        were[newest] = slave.files
        assert len(slave.kept) <= slave.keep
    assert slave.told == []


def test_what_stays_takes_no_room(slave: Slave) -> None:
    """A kept file is a second name of the old one, and a file that stays has no second name."""
    slave.pull({"same": b"s" * 10_000, "changes": b"1" * 10_000})
    old = (slave.root / "changes").stat()
    slave.pull({"same": b"s" * 10_000, "changes": b"2" * 10_000})
    (held,) = slave.place.glob("*/files/*")
    assert (held.stat().st_ino, held.stat().st_nlink) == (old.st_ino, 1)
    assert (slave.root / "same").stat().st_nlink == 1
    assert slave.place.stat().st_mode & 0o777 == 0o700


def test_the_next_run_knows_the_files(slave: Slave, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeping spoils no stat cache: a later run reads nothing again."""
    slave.pull({"same": b"s", "changes": b"1"})
    slave.pull({"same": b"s", "changes": b"2"})
    slave.go_back(1)
    monkeypatch.setattr("s32s.stores.local.hashing.read_hashes", lambda *args, **named: pytest.fail("a file was read"))
    assert not replicate(store_of({"same": b"s", "changes": b"1"}), slave.store, JOB, RUN).plan.bodies


@EACH_WAY
def test_a_file_that_a_program_has_changed_stays(tmp_path: Path, in_place: bool) -> None:
    """Its old bytes are nowhere, so nothing changes; or, if that is accepted, all others go back."""
    slave = Slave(tmp_path / "site", in_place=in_place)
    slave.root.mkdir()
    slave.pull({"config": b"theirs", "page": b"1", "gone": b"x"})
    slave.pull({"config": b"theirs", "page": b"2", "gone": b"x"})
    (slave.root / "config").write_bytes(b"edited here")
    (slave.root / "gone").unlink()
    (slave.root / "stray").write_bytes(b"s")
    before = slave.files
    with pytest.raises(EntryFailed, match=r"2 files of that time are not to be had any more.*config"):
        slave.go_back(1)
    assert slave.files == before
    slave.go_back(1, partial=True)
    assert (slave.root / "page").read_bytes() == b"1"
    assert (slave.root / "config").read_bytes() == b"edited here"
    assert not (slave.root / "stray").exists()
    (told,) = slave.told
    assert "they stay as they are" in told, told


def test_a_kept_file_that_grows_is_lost(slave: Slave) -> None:
    """A program that has a file open writes into the old one."""
    slave.pull({"log": b"a line", "page": b"1"})
    with (slave.root / "log").open("ab") as file:
        slave.pull({"log": b"2", "page": b"2"})
        file.write(b"more")
    slave.go_back(1, partial=True)
    assert ((slave.root / "log").read_bytes(), (slave.root / "page").read_bytes()) == (b"2", b"1")
    assert "1 file of that time is not to be had any more" in slave.told[0]


@pytest.mark.parametrize("harm", ["gone", "a link", "a directory", "cut"])
def test_a_kept_file_that_is_damaged_is_named(slave: Slave, harm: str) -> None:
    """And nothing changes: a mixture of two generations is none of them."""
    slave.pull({"page": b"old", "other": b"1"})
    slave.pull({"page": b"new", "other": b"2"})
    held = next(path for path in slave.place.glob("*/files/*") if path.read_bytes() == b"old")
    held.unlink()
    match harm:
        case "a link":
            held.symlink_to(slave.root / "page")
        case "a directory":
            held.mkdir()
        case "cut":
            held.write_bytes(b"ol")
        case _:
            pass
    with pytest.raises(EntryFailed, match=r'1 file of that time is not to be had any more.*"page"'):
        slave.go_back(1)
    assert (slave.root / "other").read_bytes() == b"2"


def test_a_kept_file_with_other_bytes_is_refused(slave: Slave) -> None:
    """Of the same size: it is found when it is read, and nothing changes."""
    slave.pull({"page": b"1"})
    slave.pull({"page": b"2"})
    (held,) = slave.place.glob("*/files/*")
    held.write_bytes(b"x")
    with pytest.raises(IntegrityError, match="does not hold its bytes"):
        slave.go_back(1)
    assert (slave.root / "page").read_bytes() == b"2"


@EACH_WAY
def test_a_change_that_fails_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool) -> None:
    """The disk is full while the old files get their second names."""
    slave = Slave(tmp_path / "site", in_place=in_place)
    slave.root.mkdir()
    slave.pull({"page": b"1", "other": b"1"})
    before, known = slave.files, slave.kept

    def full(*args: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keeper.os, "link", full)
        with pytest.raises(EntryFailed, match="could not be kept: No space left"):
            slave.pull({"page": b"2"})
    assert (slave.files, slave.kept) == (before, known)
    slave.pull({"page": b"2"})
    assert [tree.generation for tree in slave.kept][-1] == 1


def test_where_no_link_is_possible_the_file_is_copied(slave: Slave, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a file of another user: protected_hardlinks, proc(5)."""
    slave.pull({"page": b"1" * 5000})

    def denied(*args: object, **named: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(keeper.os, "link", denied)
        slave.pull({"page": b"2"})
    slave.go_back(1)
    assert (slave.root / "page").read_bytes() == b"1" * 5000


def test_drift_displaces_no_tree(slave: Slave) -> None:
    """Repairs of the same generation are not worth a way back, and the trees before stay."""
    slave.pull({"page": b"1"})
    slave.pull({"page": b"2"})
    for number in range(5):
        (slave.root / "page").write_bytes(b"drift %d" % number)
        replicate(store_of({"page": b"2"}), slave.store, JOB, RUN)
        slave._prune()
    assert [tree.generation for tree in slave.kept] == [1]
    slave.go_back(1)
    assert (slave.root / "page").read_bytes() == b"1"


def test_none_are_left_where_none_are_kept(slave: Slave) -> None:
    """A smaller number in the configuration takes effect."""
    for number in range(4):
        slave.pull({"page": b"%d" % number})
    assert [tree.generation for tree in slave.kept] == [1, 2, 3]
    slave.keep = 1
    slave._prune()
    assert [tree.generation for tree in slave.kept] == [3]
    slave.keep = 0
    slave._prune()
    assert not list(slave.root.parent.glob(".s32s-kept-*"))


@EACH_WAY
@pytest.mark.parametrize("what", ["others may write to it", "somebody else's", "a file", "a link"])
def test_what_somebody_else_has_made_is_refused(tmp_path: Path, what: str, in_place: bool) -> None:
    """Before anything is fetched, with its path, what is wrong with it, and what to do."""
    slave = Slave(tmp_path / "site", in_place=in_place)
    slave.root.mkdir()
    slave.pull({"page": b"1"})
    slave.pull({"page": b"2"})
    place = slave.place
    why = _spoil(place, what)
    phases: list[str] = []

    with pytest.raises(Refused) as caught:
        replicate(store_of({"page": b"3"}), slave.store, JOB, replace(RUN, emit=lambda one: phases.append(repr(one))))

    assert str(caught.value).startswith(f"{place}, where earlier trees are kept, {why}, so it may not be s32s's own; ")
    assert "look into it, then move it away" in str(caught.value)
    assert phases
    assert not [phase for phase in phases if "moving files" in phase]
    assert (slave.root / "page").read_bytes() == b"2"


def _spoil(place: Path, what: str) -> str:
    """Put something of somebody else where earlier trees are kept; return what is told of it."""
    if what == "others may write to it":
        place.chmod(0o777)
        return "is open for others to write to"
    if what == "somebody else's":
        if os.geteuid() != 0:
            pytest.skip("only root gives a directory away")
        os.chown(place, 1234, -1)
        return "belongs to the user with the id 1234"
    shutil.rmtree(place)
    if what == "a file":
        place.write_bytes(b"")
    else:
        place.symlink_to("/etc")
    return "is not a directory"


def test_nothing_of_somebody_else_goes_with_what_is_kept(slave: Slave) -> None:
    """A directory of that name may hold more than records, and a name alone makes nothing ours."""
    for number in range(3):
        slave.pull({"page": b"%d" % number})
    others = ("notes.new/a", "20260101/photo.jpg", "readme")
    for name in others:
        (slave.place / name).parent.mkdir(exist_ok=True)
        (slave.place / name).write_bytes(b"of somebody else")
    (slave.place / "00000077").mkdir()
    slave.keep = 0
    with pytest.raises(EntryFailed, match=re.escape(str(slave.place))):
        slave._prune()
    left = {str(path.relative_to(slave.place)) for path in slave.place.rglob("*") if path.is_file()}
    assert left == set(others)
    assert not (slave.place / "00000077").exists()


def test_what_a_kill_leaves_is_removed(slave: Slave) -> None:
    """A record that is not whole is none, and goes."""
    slave.pull({"page": b"1"})
    slave.pull({"page": b"2"})
    half = slave.place / "00000009.new/files"
    half.mkdir(parents=True)
    (slave.place / "00000008").mkdir()
    assert [tree.generation for tree in slave.kept] == [1]
    slave.pull({"page": b"3"})
    assert not half.exists()


def test_links_modes_and_empty_directories_come_back(slave: Slave) -> None:
    """All that a tree is, not only bytes."""
    slave.pull({"page": b"1"})
    with _edited(slave.root) as root:
        (root / "empty").mkdir(mode=0o750)
        (root / "to").symlink_to("page")
        (root / "page").chmod(0o640)
    before = slave.files
    slave.pull({"page": b"2"})
    slave.go_back(1)
    assert slave.files == before


def test_a_way_back_walks_the_target_as_often_as_a_pull(slave: Slave, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is to be had, nothing more has to be found out than for the same change from elsewhere."""
    walks: list[str] = []

    def counted(fd: int, name: str, **how: str | bool) -> object:
        walks.append(name)
        return walk_target(fd, name, **how)  # type: ignore[arg-type] # as it came

    monkeypatch.setattr(target, "walk_target", counted)
    one, two = {"a": b"1", "d/b": b"1"}, {"a": b"two", "d/c": b"2"}
    slave.pull(one)
    walks.clear()
    slave.pull(two)
    as_often = len(walks)
    assert as_often
    walks.clear()
    slave.go_back(1)
    assert len(walks) == as_often


@contextlib.contextmanager
def _edited(root: Path) -> Iterator[Path]:
    """What is made in there gets an old time, so that a run believes it."""
    yield root
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1_600_000_000, 1_600_000_000))


@EACH_WAY
def test_what_a_repair_replaces_stays_where_an_older_tree_needs_it(tmp_path: Path, in_place: bool) -> None:
    """And takes no room where none does, or where the target has it."""
    slave = Slave(tmp_path / "site", in_place=in_place)
    one, two = {"page": b"1", "goes": b"g", "d/a": b"1"}, {"page": b"22", "d/a": b"22"}
    slave.pull(one)
    slave.copy(two)
    (slave.root / "stray").write_bytes(b"s")
    slave.repair(two)
    assert [tree.generation for tree in slave.kept] == [1]
    assert sorted(path.read_bytes() for path in slave.place.glob("*/files/*")) == [b"1", b"g"]
    slave.go_back(1)
    assert {path: (slave.root / path).read_bytes() for path in one} == one
    assert [tree.generation for tree in slave.kept] == [2]


@EACH_WAY
def test_a_part_of_another_generation_does_not_make_it_live(tmp_path: Path, in_place: bool) -> None:
    """A tree that is kept stays where only a part of its generation comes again."""
    slave = Slave(tmp_path / "site", in_place=in_place)
    one, two = {"page": b"1", "d/a": b"1"}, {"page": b"22", "d/a": b"22"}
    slave.pull(one)
    slave.pull(two)
    slave.go_back(1)
    slave.pull_a_part(two, "d")
    assert [tree.generation for tree in slave.kept] == [2, 1]
    for generation, files in ((2, two), (1, one)):
        slave.go_back(generation)
        assert {path: (slave.root / path).read_bytes() for path in files} == files


def test_what_a_partial_run_passes_over_is_known_afterwards(slave: Slave) -> None:
    """The next run may take it away, so its hash is in the record, also where no cache has it."""
    slave.pull({"page": b"1", "d/a": b"1"})
    slave.index = StatCache()
    slave.pull_a_part({"page": b"22", "d/a": b"22"}, "d")
    slave.index = StatCache()
    slave.pull({"page": b"22", "d/a": b"22"})
    slave.go_back(1)
    assert ((slave.root / "page").read_bytes(), (slave.root / "d/a").read_bytes()) == (b"1", b"1")
