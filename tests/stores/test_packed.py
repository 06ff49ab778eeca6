"""The packed layout: what it keeps, what it refuses, and what it costs."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.packed import (
    DRYRUN,
    SYNC,
    FailingAt,
    NoDeletes,
    Packed,
    PruningAt,
    Weighing,
    kept_in_memory,
    stored_in_memory,
    write_tree,
)

from s32s.backends.base import OVERWRITE, Backend, Capabilities, PutMode, PutResult
from s32s.backends.directory import DirectoryBackend
from s32s.backends.memory import MemoryBackend
from s32s.backends.remote.backend import RemoteBackend
from s32s.backends.wrappers import Counting
from s32s.core.errors import Conflict, IntegrityError, Refused, S32sError, StaleManifest
from s32s.core.item import Item, Kind
from s32s.format import packs
from s32s.format.head import HEAD_KEY
from s32s.format.segments import Place
from s32s.replication.checkpoints import Checkpoints
from s32s.replication.job import RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Store
from s32s.stores.local.store import LocalStore
from s32s.stores.memory import MemoryStore
from s32s.stores.objects import heads
from s32s.stores.objects.packed import upkeep
from s32s.stores.objects.packed.prefix import PackedPrefix, SegmentCache
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.packed.target import PackedTarget
from s32s.stores.objects.prefix import FoundHead
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.store import ObjectStore
from s32s.testing import StoreContract

ONE = Writer("one", "one", lambda: "2026-01-01T00:00:00Z")
RANDOM = random.Random(7)  # test data


class TestPacked(StoreContract):
    """In memory."""

    @pytest.fixture
    def store(self) -> Store[Any, Any]:
        """An empty place."""
        return PackedStore(MemoryBackend(), writer=ONE)


class TestPackedWithCache(StoreContract):
    """Of a machine that knows the segments of the run before."""

    @pytest.fixture
    def store(self) -> Store[Any, Any]:
        """An empty place."""
        return PackedStore(MemoryBackend(), writer=ONE, cache=kept_in_memory())


class TestPackedInADirectory(StoreContract):
    """In a directory, such as one on a NAS."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store[Any, Any]:
        """An empty place."""
        return PackedStore(DirectoryBackend(str(tmp_path)), writer=ONE)


class TestPackedOnAServerOfFiles(StoreContract):
    """Which takes no conditions and reads no parts."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store[Any, Any]:
        """An empty place."""
        return PackedStore(RemoteBackend(f"file://{tmp_path}/place"), writer=ONE)


def test_a_tree_goes_there_and_comes_back(tmp_path: Path) -> None:
    """Names, bytes, modes, times, links, empty directories and holes, of files of any size."""
    large = RANDOM.randbytes(5_000_000)
    source = write_tree(
        tmp_path / "source",
        {"a": b"", "b/c": b"x", "b/large": large, "b/again": large, "z/ä %": b"y" * 300_000, "sparse": b""},
    )
    (source / "empty").mkdir()
    (source / "link").symlink_to("b/c")
    os.truncate(source / "sparse", 3_000_000)
    (source / "b/c").chmod(0o600)
    packed = Packed()
    packed.push(LocalStore(str(source)))

    replicate(PackedStore(packed.backend), LocalStore(str(tmp_path / "back")), SYNC, RunContext("pull", jobs=4))

    back = tmp_path / "back"
    names = [sorted(path.relative_to(root) for path in root.rglob("*")) for root in (source, back)]
    assert names[0] == names[1]
    for path in ("a", "b/c", "b/large", "b/again", "z/ä %", "sparse"):
        assert (back / path).read_bytes() == (source / path).read_bytes()
        assert (back / path).stat().st_mtime_ns == (source / path).stat().st_mtime_ns
        assert (back / path).stat().st_mode == (source / path).stat().st_mode
    assert os.readlink(back / "link") == "b/c"
    assert (back / "sparse").stat().st_blocks < 1000
    assert sum(packed.stored().values()) < 5_500_000  # what is there twice is stored once


def test_many_small_files_are_few_requests() -> None:
    """And one that changes is few bytes."""
    files = {f"d{n % 50:02}/f{n:05}": RANDOM.randbytes(RANDOM.randrange(1, 400)) for n in range(5000)}
    packed = Packed(Counting(MemoryBackend()))
    packed.push(files)
    counting = packed.backend
    assert isinstance(counting, Counting)
    assert sum(counting.requests.values()) <= 6
    counting.requests.clear()
    assert packed.files() == files
    assert sum(counting.requests.values()) <= 4

    counting.requests.clear()
    before = sum(packed.stored().values())
    packed.push(files | {"d07/f00007": b"changed"})

    assert sum(packed.stored().values()) - before < 200_000
    assert counting.requests["put"] == 3  # content, segment with root, head


def test_content_that_is_there_is_never_sent_again() -> None:
    """Renamed, copied, or gone back to."""
    data = RANDOM.randbytes(200_000)
    packed = Packed()
    packed.push({"a": data})
    before = packed.stored()

    packed.push({"b/moved": data, "b/copied": data})

    fresh = sum(size for pack, size in packed.stored().items() if pack not in before)
    assert fresh < 5000
    assert packed.files() == {"b/moved": data, "b/copied": data}


def test_a_change_in_a_large_file_moves_its_surroundings() -> None:
    """Files are cut by what they hold: 100 bytes in the middle are some chunks, not the half of it."""
    data = RANDOM.randbytes(24_000_000)
    packed = Packed()
    packed.push({"large": data})
    before = packed.stored()
    changed = data[:12_000_000] + b"!" * 100 + data[12_000_000:]

    packed.push({"large": changed})

    assert sum(size for pack, size in packed.stored().items() if pack not in before) < 9_000_000
    assert packed.files() == {"large": changed}


def test_a_pull_of_a_large_file_takes_what_is_here(tmp_path: Path) -> None:
    """Only chunks that the old file has not got are fetched; one that is not what it was is fetched whole."""
    data = RANDOM.randbytes(24_000_000)
    packed = Packed()
    packed.push({"large": data})
    target = LocalStore(str(tmp_path / "t"))
    replicate(PackedStore(packed.backend), target, SYNC, RunContext("pull", jobs=4))
    changed = data[:12_000_000] + b"!" * 100 + data[12_000_000:]
    packed.push({"large": changed})
    weighing = Weighing(packed.backend)

    replicate(PackedStore(weighing), target, SYNC, RunContext("pull", jobs=4))

    assert (tmp_path / "t/large").read_bytes() == changed
    assert 0 < weighing.size < 9_000_000


def test_generations_stay_readable() -> None:
    """As many as are kept, each with what it held; going back brings one of them again."""
    packed = Packed(keep=3)
    history = [{"a": bytes([n]) * 10, f"only-{n}": b"x" * n} for n in range(1, 6)]
    for files in history:
        packed.push(files)

    assert packed.numbers() == [5, 4, 3]
    assert [packed.files(number) for number in (5, 4, 3)] == [history[4], history[3], history[2]]
    with pytest.raises(Refused, match=r"generation 2 is not kept; 3 to 5 are"):
        packed.files(2)
    upkeep.roll_back(packed.prefix(), packed.snapshot(), 3, packed.writer, History(3))
    assert packed.numbers() == [6, 5, 4]
    assert packed.files() == history[2]


class Overtaken(MemoryBackend):
    """A server that takes no conditions; a rival who has looked before writes once our head was read back."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = Capabilities(conditional_put=False, small=1024 * 1024)
        self._late = b""
        self._is_ours = False

    def overtake(self, late: bytes) -> None:
        """Write this head behind the next one."""
        self._late, self._is_ours = late, False

    def put(self, key: str, chunks: Any, *, size: int, mode: PutMode = OVERWRITE, meta: Any = None) -> PutResult:
        self._is_ours = key == HEAD_KEY
        return super().put(key, chunks, size=size)

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        found = super().read(key, limit=limit)
        if key == HEAD_KEY and self._late and self._is_ours:
            late, self._late = self._late, b""
            super().put(key, lambda: iter([late]), size=len(late))
        return found


def test_a_rival_of_the_same_moment_is_noticed_where_nothing_keeps_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our head was there, and read back; what is there half a second later decides, and the next push goes well."""
    monkeypatch.setattr(heads, "_SETTLE_S", 0)
    backend, theirs = Overtaken(), Packed(name="rival")
    ours = Packed(backend)
    ours.push({"a": b"1"})
    copy_all(backend, theirs.backend)
    theirs.push({"a": b"2"})
    head, _ = theirs.backend.read(HEAD_KEY, limit=10_000)
    mine, _ = backend.read(HEAD_KEY, limit=10_000)
    copy_all(theirs.backend, backend)
    backend.put(HEAD_KEY, lambda: iter([mine]), size=len(mine))
    backend.overtake(head)

    with pytest.raises(Conflict, match="could not publish: host of rival changed the head"):
        ours.push({"a": b"3"})

    assert ours.files() == {"a": b"2"}
    ours.push({"a": b"3"})
    assert ours.all_generations() == {1: {"a": b"1"}, 2: {"a": b"2"}, 3: {"a": b"3"}}


def copy_all(source: Backend, target: Backend) -> None:
    """Every object."""
    for key in [one.key for page in source.list("") for one in page]:
        data, _ = source.read(key, limit=1_000_000)
        target.put(key, lambda data=data: iter([data]), size=len(data))  # type: ignore[misc]


def test_two_masters_one_wins() -> None:
    """The other one finds that the head is not the one it has read; what it has written is garbage."""
    packed, other = Packed(), Packed(name="other")
    packed.push({"a": b"1"})
    other.backend = packed.backend
    target = other.store()
    with target.open_target(writable=True) as there:
        look = there.look().snapshot()
        packed.push({"a": b"2", "b": b"b"})
        from s32s.core import plan as planner
        from s32s.core.rules import EVERYTHING
        from s32s.stores.base import Policy

        source = MemoryStore({"a": b"3"})
        plan = planner.make(source.tree, look.tree, rules=EVERYTHING, deletes=True, spare_ignored=True)
        with (
            there.transaction(look, plan, Policy(deletes=True, patient=False)) as change,
            source.open_source(target=target.capabilities, again=False) as here,
        ):
            for body in here.read(change.wanted, jobs=1, as_objects=False).bodies:
                change.put(body, lambda size: None)
            with pytest.raises(Conflict, match="changed the head"):
                change.publish()

    assert packed.files() == {"a": b"2", "b": b"b"}
    garbage = len(packed.stored())
    pruned = upkeep.prune(packed.prefix(), packed.snapshot(), packed.writer, 10)
    assert (pruned.young, len(packed.stored())) == (2, garbage)  # a push may be about to name them
    pruned = upkeep.prune(packed.prefix(), packed.snapshot(), packed.writer, 10, grace_s=0)
    assert pruned.packs >= 2
    assert set(packed.stored()) == set(packed.needed(2)) | set(packed.needed(1))
    assert packed.files() == {"a": b"2", "b": b"b"}


def test_what_a_push_that_died_has_written_is_used_by_the_next() -> None:
    """Its packs need not be sent again."""
    data = {f"f{n}": RANDOM.randbytes(400_000) for n in range(60)}
    packed = Packed()
    packed.push({"a": b"a"})
    with pytest.raises(S32sError):
        packed.push({"a": b"a"} | data, FailingAt(packed.backend, 3))
    died = sum(packed.stored().values())
    assert died > 15_000_000  # one pack is there

    packed.push({"a": b"a"} | data)

    assert sum(packed.stored().values()) - died < 10_000_000
    assert packed.files() == {"a": b"a"} | data


# -- damage


def _damaged(packed: Packed, pack: str, data: bytes | None) -> None:
    if data is None:
        packed.backend.delete([packs.key_of(pack)])
    else:
        packed.backend.put(packs.key_of(pack), lambda: iter([data]), size=len(data))


def _pack_of_data(packed: Packed) -> tuple[str, bytes]:
    """The largest pack, and its bytes."""
    pack, size = max(packed.stored().items(), key=lambda one: one[1])
    return pack, packed.backend.read(packs.key_of(pack), limit=size)[0]


@pytest.mark.parametrize("kind", ["flipped", "cut", "empty", "swapped", "gone"])
def test_a_damaged_pack_is_found_and_named(kind: str, tmp_path: Path) -> None:
    """With the paths that it hits; nothing changes at a reader, and a push from the master heals it."""
    files = {"a": RANDOM.randbytes(50_000), "b": RANDOM.randbytes(40_000), "c": b""}
    packed = Packed()
    packed.push(MemoryStore({"c": b"", "old": b"1" * 100}))
    replicate(PackedStore(packed.backend), LocalStore(str(tmp_path / "t")), SYNC, RunContext("pull", jobs=1))
    source = MemoryStore(files)
    packed.push(source)
    pack, data = _pack_of_data(packed)
    flipped = bytes([data[100] ^ 1])
    changed = {
        "flipped": data[:100] + flipped + data[101:],
        "cut": data[:40_000],
        "empty": b"",
        "swapped": RANDOM.randbytes(len(data)),
        "gone": None,
    }
    _damaged(packed, pack, changed[kind])

    with pytest.raises(S32sError) as told:
        replicate(PackedStore(packed.backend), LocalStore(str(tmp_path / "t")), SYNC, RunContext("pull", jobs=1))
    assert "verify NAME --heal" in str(told.value)
    assert kind == "gone" or {"a", "b"}.intersection(told.value.paths)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["c", "old"]
    found = upkeep.verify(packed.prefix(), packed.snapshot(), progress=lambda size: None)
    assert list(found.damaged) == [pack]
    assert found.paths == {2: ["a", "b"]}

    healed = packed.heal(source)
    assert (healed.paths, healed.left) == (("a", "b"), {})
    assert packed.files() == files
    assert packed.numbers() == [3, 1]  # it takes the place of the damaged one
    assert packed.verify().is_sound


@pytest.mark.parametrize("kind", ["gone", "empty"])
def test_a_damaged_manifest_is_healed(kind: str) -> None:
    """Also where this machine has it in its cache, and no path has changed."""
    files = {f"f{n}": b"%d" % n for n in range(20)}
    packed = Packed()
    source = stored_in_memory(files)
    packed.push(source)
    root = packed.snapshot().root
    assert root is not None
    _damaged(packed, root.segments[0].pack, None if kind == "gone" else b"")
    prefix = PackedPrefix(packed.backend, cache=packed.cache)

    found = upkeep.verify(prefix, prefix.snapshot(prefix.read_head()), progress=lambda size: None)
    assert list(found.unreadable) == [1]
    assert packed.heal(source).left == {}

    assert packed.files() == files
    assert packed.verify().is_sound


def test_only_what_is_damaged_is_pushed_again() -> None:
    """By its SHA-256: what the directory has now goes there with the next push, and what is gone stays a hole."""
    large = RANDOM.randbytes(9_000_000)
    files = {"changed": b"1" * 40_000, "gone": b"2" * 40_000, "large": large, "same": RANDOM.randbytes(40_000)}
    packed = Packed()
    packed.push(files)
    for pack, size in packed.stored().items():
        data = packed.backend.read(packs.key_of(pack), limit=size)[0]
        if size > 1000:
            _damaged(packed, pack, data[:20_000])
    packed.push(files | {"new": b"n"})
    tree = packed.snapshot().tree
    before = sum(packed.stored().values())

    healed = packed.heal(MemoryStore({"changed": b"3", "large": large[:5_000_000] + b"!" + large[5_000_000:]}))

    assert (healed.position, healed.paths) == (None, ())
    assert healed.left == {
        "changed": "the directory has other content there",
        "gone": "the directory has no such file",
        "large": "the directory has other content there",
        "same": "the directory has no such file",
    }
    assert 4_000_000 < sum(packed.stored().values()) - before < 9_500_000  # chunks of the changed file that are alike
    source = stored_in_memory(files)
    healed = packed.heal(source)
    assert (healed.paths, healed.left) == (("changed", "gone", "large", "same"), {})
    assert packed.snapshot().tree == tree
    assert packed.files() == files | {"new": b"n"}
    assert packed.heal(source).position is None
    root = packed.snapshot().root
    assert root is not None
    assert (root.published.new, root.published.modified, root.published.deleted) == (0, 0, 0)
    assert root.published.message == "generation 2 was damaged: 4 paths pushed again"

    found = packed.verify()
    assert (found.generations, found.holed, found.is_sound) == ((3, 1), [1], False)
    upkeep.prune(packed.prefix(), packed.snapshot(), packed.writer, 1, grace_s=0)
    assert packed.verify().is_sound


def test_a_damaged_pack_stays_as_long_as_a_kept_generation_needs_it() -> None:
    """Most of it can be read; which earlier generation is the last one that needs it is known after healing."""
    one, two = RANDOM.randbytes(20_000), RANDOM.randbytes(40_000)
    packed = Packed()
    packed.push({"a": one, "b": two})
    packed.push({"b": two})
    packed.push({"c": b"c"})
    upkeep.roll_back(packed.prefix(), packed.snapshot(), 2, packed.writer, History())
    pack, data = _pack_of_data(packed)
    _damaged(packed, pack, bytes([data[0] ^ 1]) + data[1:])

    assert packed.heal(stored_in_memory({"b": two})).paths == ("b",)

    root = packed.snapshot().root
    assert root is not None
    assert [one.until for one in root.packs if one.pack == pack] == [2]
    assert packed.files(2) == {"b": two}
    assert packed.verify().holed == [2, 1]
    upkeep.prune(packed.prefix(), packed.snapshot(), packed.writer, 2, grace_s=0)
    assert packed.numbers() == [5, 3]
    assert packed.verify().is_sound


def test_a_lost_head_is_no_empty_prefix() -> None:
    """Neither for verify nor for the next push."""
    packed = Packed()
    packed.push({"a": b"1"})
    packed.backend.delete([HEAD_KEY])
    with pytest.raises(Refused, match="--rebuild"):
        upkeep.verify(packed.prefix(), packed.snapshot(), progress=lambda size: None)
    packed.writer = packed.writer._replace(generation=1)
    with pytest.raises(Refused, match=r"head.*gone.*--rebuild"):
        packed.push({"a": b"2"})
    with pytest.raises(Refused, match=r"head.*gone.*--rebuild"):
        replicate(stored_in_memory({"a": b"2"}), packed.store(), DRYRUN, RunContext("dryrun", jobs=1))


def test_a_machine_that_knows_nothing_begins_no_history_over_another() -> None:
    """The master was installed again, and has no memory of what it has published."""
    packed = Packed()
    packed.push({"a": b"1"})
    packed.push({"a": b"2"})
    packed.backend.delete([HEAD_KEY])
    before, again = packed.stored(), Packed(packed.backend)

    for job in (DRYRUN, SYNC):
        with pytest.raises(Refused, match=r"packs and no head.*--rebuild"):
            replicate(stored_in_memory({"a": b"3"}), again.store(), job, RunContext("push", jobs=1))

    assert packed.stored() == before
    upkeep.rebuild(again.prefix(), FoundHead(), again.writer)
    again.push({"a": b"3"})
    assert again.all_generations() == {1: {"a": b"1"}, 2: {"a": b"2"}, 3: {"a": b"3"}}


@pytest.mark.parametrize("kind", [Kind.LINK, Kind.DIR])
def test_what_was_a_file_and_is_none_any_more_needs_no_pack(kind: Kind) -> None:
    """Its bytes are garbage, as those of a file that is gone."""
    packed, tree = Packed(keep=1), stored_in_memory({"a": b"1" * 3000, "b": b"b"})
    packed.push(tree)
    (held,) = (where.pack for where in [packed.snapshot().places.get(0)] if isinstance(where, Place))
    tree.remove("a")
    tree.add(Item("a", kind, mode=0o755) if kind is Kind.DIR else Item("a", kind, target="b"))

    for n in range(3):
        tree.write("c", bytes([n]))
        packed.push(tree)

    mine = packed.snapshot()
    assert mine.places.get(0) is None
    assert mine.root is not None
    live = {pack.pack: pack.live for pack in mine.root.packs}
    assert live.get(held, 0) < 100
    assert packed.verify().damaged == {}


def test_a_new_history_begins_only_when_it_is_asked_for() -> None:
    """By --take-over, also where nothing is left of the one before."""
    packed = Packed()
    packed.push({"a": b"1"})
    packed.push({"a": b"2"})
    packed.backend.delete([HEAD_KEY])
    packed.writer = packed.writer._replace(take_over=True)

    packed.push({"a": b"3"})

    assert packed.all_generations() == {3: {"a": b"3"}}
    packed.backend.delete([HEAD_KEY, *map(packs.key_of, packed.stored())])
    packed.writer = packed.writer._replace(take_over=False, generation=1)
    with pytest.raises(Refused, match=r"gone, and so are its packs.*--take-over"):
        packed.push({"a": b"4"})


@pytest.mark.parametrize("is_known", [True, False], ids=["same-machine", "other-machine"])
def test_a_first_push_that_was_cut_at_any_request_is_no_lost_head(is_known: bool) -> None:
    """The next one goes on, also from a machine that has nothing of the one before, as a container has."""
    number, is_done = 0, False
    while not is_done:
        packed = Packed()
        cut = FailingAt(packed.backend, number)
        try:
            packed.push({"a": b"1" * 3000, "b": b"b"}, cut)
            is_done = True
        except S32sError:
            number += 1
        again = packed if is_known else Packed(packed.backend)
        again.push({"a": b"1" * 3000, "c": b"c"})
        assert again.files() == {"a": b"1" * 3000, "c": b"c"}
    assert number >= 4


def test_a_new_history_begins_above_the_one_that_is_given_up() -> None:
    """Servers follow it, and a head that is lost once more is found again as that of the new one."""
    packed = Packed()
    for n in range(1, 4):
        packed.push({"a": bytes([n])})
    packed.backend.delete([HEAD_KEY])
    again = Packed(packed.backend)
    again.writer = again.writer._replace(take_over=True)

    outcome = again.push({"b": b"new"})

    assert outcome.target.generation == 4
    again.backend.delete([HEAD_KEY])
    assert upkeep.rebuild(again.prefix(), FoundHead(), again.writer).number == 4
    assert again.files() == {"b": b"new"}


def test_where_there_is_a_head_no_pack_is_looked_for() -> None:
    """Only a prefix without one costs a LIST."""
    counting = Counting(MemoryBackend())
    packed = Packed(counting)
    packed.push({"a": b"1"})
    assert counting.requests["list"] == 1
    packed.push({"a": b"2"})
    assert counting.requests["list"] == 1


def test_the_head_is_found_again() -> None:
    """By the packs alone: the newest generation that is whole, with those that it keeps."""
    packed = Packed(keep=3)
    for n in range(1, 4):
        packed.push({"a": bytes([n]) * 1000, "b": b"b"})
    packed.backend.delete([HEAD_KEY])

    made = upkeep.rebuild(packed.prefix(), FoundHead(), packed.writer)

    assert (made.number, made.skipped) == (3, {})
    assert packed.all_generations() == {n: {"a": bytes([n]) * 1000, "b": b"b"} for n in (1, 2, 3)}
    newest = next(iter(packed.needed(3).keys() - packed.needed(2).keys()))
    packed.backend.delete([HEAD_KEY, packs.key_of(newest)])
    made = upkeep.rebuild(packed.prefix(), FoundHead(), packed.writer)
    assert made.number == 2


def test_another_layout_is_refused_with_the_way_out() -> None:
    """A plain reader before packs, and the reverse."""
    packed = Packed()
    packed.push({"a": b"1"})
    plain = ObjectStore(packed.backend, writer=ONE)
    with pytest.raises(Refused, match=r'packed layout.*"layout": "packed"'):
        replicate(plain, MemoryStore(), SYNC, RunContext("pull", jobs=1))
    with pytest.raises(Refused, match="packed layout"):
        replicate(MemoryStore({"a": b"2"}), plain, SYNC, RunContext("push", jobs=1))

    other = MemoryBackend()
    replicate(MemoryStore({"a": b"2"}), ObjectStore(other, writer=ONE), SYNC, RunContext("push", jobs=1))
    with pytest.raises(Refused, match=r"plain layout.*convert"):
        replicate(PackedStore(other), MemoryStore(), SYNC, RunContext("pull", jobs=1))


def test_a_mirror_copies_what_is_missing() -> None:
    """Packs as they are, then the head: servers may follow it, and go back as far."""
    packed = Packed(keep=2)
    packed.push({"a": b"1" * 2000, "b": b"b"})
    copy = MemoryBackend("memory:copy")

    def mirror() -> Any:
        target = PackedStore(copy, writer=ONE, mirrors=packed.backend)
        return replicate(PackedStore(packed.backend), target, SYNC, RunContext("mirror", jobs=1))

    assert mirror().changed
    assert not mirror().changed
    for n in range(2, 6):
        packed.push({"a": bytes([n]) * 2000, "b": b"b"})
        mirror()

    followed = Packed(copy)
    assert followed.all_generations() == packed.all_generations()
    assert len(followed.stored()) <= len(packed.stored()) + 3


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_mirror_sees_that_its_copy_has_lost_a_pack(harm: str) -> None:
    """By the names and sizes of what is there, also when nothing else has changed since the last run."""
    packed, copy, seen = Packed(), MemoryBackend("memory:copy"), dict[str, Any]()
    packed.push({"a": b"1" * 2000, "b": b"b"})
    packed.push({"a": b"2" * 2000, "b": b"b"})
    run = RunContext("mirror", jobs=1, checkpoints=Checkpoints(seen.get, seen.__setitem__))

    def mirror() -> bool:
        target = PackedStore(copy, writer=ONE, mirrors=packed.backend)
        return replicate(PackedStore(packed.backend), target, SYNC, run).changed

    assert [mirror() for _ in range(3)] == [True, False, False]
    for key in [one.key for page in copy.list(packs.PACKS) for one in page]:
        data, _ = copy.read(key, limit=10**6)
        copy.delete([key])
        if harm == "cut":
            copy.put(key, lambda data=data: iter([data[:-1]]), size=len(data) - 1)  # type: ignore[misc] # bound now
        assert mirror()
        assert copy.read(key, limit=10**6)[0] == data
    assert not mirror()
    assert Packed(copy).all_generations() == packed.all_generations()


@pytest.mark.parametrize("harm", ["cut", "gone", "bytes"])
@pytest.mark.parametrize("which", [0, 1], ids=["content", "manifest"])
def test_a_mirror_copies_damaged_packs_again_when_it_reads_all_of_them(harm: str, which: int) -> None:
    """With --verify; a manifest that is damaged is found without it."""
    packed = Packed()
    packed.push({"a": b"1" * 2000, "b": b"b"})
    copy = MemoryBackend("memory:copy")
    told: list[str] = []

    def mirror(*, verify: bool = False) -> Any:
        target = PackedStore(copy, writer=ONE, mirrors=packed.backend, warn=told.append, verify=verify)
        job = SYNC._replace(verify=verify)
        return replicate(PackedStore(packed.backend), target, job, RunContext("mirror", jobs=1))

    mirror()
    head = Packed(copy).snapshot().found.head
    assert head is not None
    assert head.root is not None
    packs_there = [one.key for page in copy.list(packs.PACKS) for one in page]
    manifest_key = packs.key_of(head.root.pack)
    (key,) = [manifest_key] if which else [one for one in packs_there if one != manifest_key]
    data, _ = copy.read(key, limit=10**6)
    copy.delete([key])
    if harm != "gone":
        bad = data[:-1] if harm == "cut" else bytes([data[0] ^ 1]) + data[1:]
        copy.put(key, lambda: iter([bad]), size=len(bad))
    assert mirror(verify=True).changed
    assert Packed(copy).all_generations() == packed.all_generations()
    assert copy.read(key, limit=10**6)[0] == data
    assert not mirror(verify=True).changed
    assert bool(told) == bool(which)


@pytest.mark.parametrize("kind", ["hash", "place", "text", "gone"])
def test_a_root_that_cannot_be_read_names_the_way_out(kind: str) -> None:
    """Another hash than the head says, another place, no root at all, or no pack."""
    packed = Packed()
    packed.push({"a": b"1" * 100})
    found = packed.prefix().read_head().head
    assert found is not None
    ref = found.root
    assert ref is not None
    if kind == "hash":
        ref = ref.model_copy(update={"sha256": "0" * 64})
    elif kind == "place":
        ref = ref.model_copy(update={"pack_size": ref.pack_size - 1})
    elif kind == "text":
        ref = ref.model_copy(update={"sha256": packed.snapshot().root.segments[0].sha256})  # type: ignore[union-attr]
    else:
        packed.backend.delete([packs.key_of(ref.pack)])
    data = found.model_copy(update={"root": ref}).to_bytes()
    packed.backend.put(HEAD_KEY, lambda: iter([data]), size=len(data))

    packed.cache = kept_in_memory()
    for work in (lambda: packed.push({"a": b"2"}), packed.files, lambda: _master(packed).look().snapshot()):
        with pytest.raises((IntegrityError, StaleManifest), match="s32s verify NAME --heal, or --rebuild"):
            work()


def _master(packed: Packed) -> Any:
    return PackedTarget(packed.prefix(), packed.writer, History(), warn=lambda text: None)


def test_what_cannot_be_deleted_is_not_counted() -> None:
    """A bucket may keep what it has, as with an object lock: prune says so, and a push goes on."""
    packed = Packed(NoDeletes(MemoryBackend()), keep=2)
    for n in range(5):
        packed.push({"a": bytes([n]) * 1000})
    stored = packed.stored()
    assert packed.numbers() == [5, 4]

    pruned = upkeep.prune(packed.prefix(), packed.snapshot(), packed.writer, 1, grace_s=0)

    assert (pruned.generations, pruned.packs, pruned.size) == ((4,), 0, 0)
    assert len(pruned.failed) >= 6
    assert set(pruned.failed.values()) == {"it is locked"}
    assert stored.items() <= packed.stored().items()
    assert packed.files() == {"a": b"\x04" * 1000}
    allowed = PackedPrefix(packed.backend.inner, cache=SegmentCache())  # type: ignore[attr-defined]
    pruned = upkeep.prune(allowed, packed.snapshot(), packed.writer, 1, grace_s=0)
    assert (pruned.failed, pruned.generations) == ({}, ())
    assert set(packed.stored()) == set(packed.needed(5))


def test_a_mirror_says_what_it_could_not_delete() -> None:
    """By name, as no command asks for it again; the copy is whole."""
    packed, copy, told = Packed(keep=1), NoDeletes(MemoryBackend()), list[str]()
    for n in range(4):
        packed.push({"a": bytes([n]) * 1000})
        target = PackedStore(copy, writer=ONE, mirrors=packed.backend, warn=told.append)
        replicate(PackedStore(packed.backend), target, SYNC, RunContext("mirror", jobs=1))

    assert Packed(copy).files() == packed.files()
    assert told
    assert all("could not be deleted: it is locked" in text and packs.PACKS in text for text in told), told


def test_a_pull_that_prune_disturbs_starts_over_or_says_so(tmp_path: Path) -> None:
    """Its generation is the current one, and stays; an earlier one that was given up is told as that."""
    packed = Packed()
    packed.push({"a": b"1" * 2000})
    packed.push({"a": b"2" * 2000, "b": b"b"})
    earlier, current = LocalStore(str(tmp_path / "earlier")), LocalStore(str(tmp_path / "current"))

    backend = PruningAt(packed, 2)
    replicate(PackedStore(backend), current, SYNC, RunContext("pull", jobs=1))
    assert backend.is_done
    assert (tmp_path / "current/a").read_bytes() == b"2" * 2000
    packed.push({"a": b"3" * 2000})
    with pytest.raises(Refused, match="generation 1 is not kept"):
        replicate(PackedStore(packed.backend, at=1), earlier, SYNC, RunContext("pull", jobs=1))
    with pytest.raises(Refused, match="generation 1 is not kept"):
        upkeep.roll_back(packed.prefix(), packed.snapshot(), 1, packed.writer, History(2))


# -- histories


PATHS = [f"d{n % 3}/f{n}" for n in range(12)]
CHANGES = st.lists(
    st.dictionaries(st.sampled_from(PATHS), st.one_of(st.none(), st.integers(0, 40)), max_size=6),
    min_size=1,
    max_size=14,
)


@given(changes=CHANGES, keep=st.integers(1, 4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history_keeps_its_generations_and_its_bounds(changes: list[dict[str, int | None]], keep: int) -> None:
    """Every kept generation is what it was; the prefix holds no more than twice what is live, and what is kept."""
    packed = Packed(keep=keep)
    files: dict[str, bytes] = {}
    history: dict[int, dict[str, bytes]] = {}
    for change in changes:
        for path, seed in change.items():
            if seed is None:
                files.pop(path, None)
            else:
                files[path] = random.Random(seed).randbytes(20_000 + seed)  # test data
        packed.push(dict(files))
        numbers = packed.numbers()
        if numbers and numbers[0] not in history:
            history[numbers[0]] = dict(files)

    assert packed.all_generations() == {number: history[number] for number in packed.numbers()}
    root = packed.snapshot().root
    if root is None:
        return
    stored, now = packed.stored(), packed.needed(root.number)
    assert set(stored) == {one.pack for one in root.packs} | set(root.garbage)
    overhead = 4096 * (1 + len(now))
    assert sum(stored[pack] for pack in now) <= 2 * sum(now.values()) + overhead
    older = {pack for one in root.kept for pack in packed.needed(one.published.number)}
    assert set(stored) <= set(now) | older | set(root.garbage)


def test_tiny_files_are_not_copied_again_and_again() -> None:
    """What a pack says of its blobs is needed as long as these are, so many files of a few bytes make no thin pack."""
    packed = Packed(keep=2)
    files = {f"{n:04}": b"%d" % n for n in range(2_000)}
    packed.push(files)
    before = set(packed.stored())
    packed.push(files | {"0001": b"another"})
    assert before <= set(packed.stored())
    weights = [size for pack, size in packed.stored().items() if pack not in before]
    assert sum(weights) < 100_000 < sum(packed.stored().values())


def test_small_packs_are_joined() -> None:
    """A prefix that is pushed to a hundred times does not end with a hundred packs."""
    packed = Packed(keep=2)
    for n in range(100):
        packed.push({f"f{k}": b"%d" % k for k in range(n + 1)})

    assert len(packed.stored()) < 60
    assert len(packed.files()) == 100


@pytest.mark.parametrize("is_lost", [False, True], ids=["not-done", "answer-lost"])
@pytest.mark.parametrize("what", ["push", "roll back", "prune", "mirror"])
def test_a_cut_at_any_request_leaves_every_generation(what: str, is_lost: bool) -> None:
    """The head always reads whole, and the next run does what this one could not."""
    number = 0
    while True:
        packed = Packed(keep=2)
        packed.push({"a": b"1" * 3000, "b": b"b" * 10})
        packed.push({"a": b"2" * 3000, "b": b"b" * 10})
        packed.push({"a": b"3" * 3000, "c": b"c" * 10})
        before = packed.all_generations()
        if what == "mirror":
            copy = MemoryBackend("memory:copy")
            _act(what, packed, copy)
            packed.push({"a": b"4" * 3000, "c": b"c" * 10})
            before, cut = Packed(copy).all_generations(), FailingAt(copy, number, is_lost=is_lost)
        else:
            copy, cut = packed.backend, FailingAt(packed.backend, number, is_lost=is_lost)  # type: ignore[assignment]
        try:
            _act(what, packed, cut)
            done = True
        except S32sError:
            done = False
        seen = Packed(copy).all_generations()
        newest = max(seen)
        assert newest >= max(before)
        assert {n: files for n, files in seen.items() if n in before} == {n: before[n] for n in seen if n in before}
        _act(what, packed, copy)
        after = Packed(copy)
        assert max(after.numbers()) >= newest
        assert after.all_generations()
        if done:
            break
        number += 1
    assert number >= 3


def _act(what: str, packed: Packed, backend: Any) -> None:
    prefix = packed.prefix(backend)
    if what == "push":
        packed.push({"a": b"4" * 3000, "d": b"d"}, backend)
    elif what == "mirror":
        target = PackedStore(backend, writer=ONE, mirrors=packed.backend)
        replicate(PackedStore(packed.backend), target, SYNC, RunContext("mirror", jobs=1))
    else:
        mine = prefix.snapshot(prefix.read_head())
        if what == "roll back":
            upkeep.roll_back(
                prefix, mine, max(one.published.number for one in mine.root.kept), packed.writer, History(2)
            )  # type: ignore[union-attr]
        else:
            upkeep.prune(prefix, mine, packed.writer, 1, grace_s=0)


def test_differences_of_generations() -> None:
    """What is new, gone and changed, in order."""
    packed = Packed()
    packed.push({"a": b"1", "b": b"2", "c": b"3"})
    packed.push({"b": b"2", "c": b"4", "d": b"5"})
    old = packed.prefix().generation(packed.snapshot().root.kept[0].root)[1]  # type: ignore[union-attr]

    found = list(upkeep.differences(old, packed.snapshot().tree))

    assert [(one.path, one.before is None, one.after is None) for one in found if one.path not in ("b",)] == [
        ("a", False, True),
        ("c", False, False),
        ("d", True, False),
    ]
    assert all(isinstance(one.before or one.after, Item) for one in found)
    assert Kind.FILE is Kind.FILE
