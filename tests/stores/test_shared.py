"""A prefix that several people write to: whose turn it is, and what one who died leaves to the others."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.packed import NoDeletes, Packed, kept_in_memory

from s32s.backends.base import OVERWRITE, Backend, Capabilities, Chunk, ObjectMeta, PutMode, PutResult
from s32s.backends.memory import MemoryBackend
from s32s.core import plan as planner
from s32s.core.errors import Conflict, Refused
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.core.rules import EVERYTHING
from s32s.format import packs
from s32s.format.head import HEAD_KEY, Claim
from s32s.stores.base import Progress, Snapshot
from s32s.stores.objects import shared, turns
from s32s.stores.objects.deleted import DeletedFolder
from s32s.stores.objects.heads import HeadWriter
from s32s.stores.objects.packed.prefix import PackedPrefix
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.shared import PackedShared
from s32s.stores.objects.prefix import ManifestCache, Prefix, read_head
from s32s.stores.objects.publisher import Publisher, Writer
from s32s.stores.objects.shared import SharedPrefix, SharedTransaction
from s32s.stores.shared import SharedPlace, SharedPush

RANDOM = random.Random(1)  # tests that can be repeated


class Bytes:
    """A body in memory."""

    def __init__(self, path: str, data: bytes) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        self.item = Item(path, size=len(data), mtime_ns=1, mode=0o644, sha256=sha256)
        self._data = data

    def chunks(self) -> Iterator[Chunk]:
        """See `stores.base.Body`."""
        yield self._data

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """See `stores.base.Body`."""
        return None


class Person:
    """One who shares the place."""

    def __init__(self, name: str, backend: Backend, layout: str = "plain") -> None:
        self.backend = backend
        self.told: list[str] = []
        self.writer = Writer(f"{name:0<32}", f"{name}@studio", lambda: "2026-11-23T10:15:00Z")
        self.view: SharedPlace
        if layout == "packed":
            history, me = History(keep=2, user=name), self.writer._replace(host="studio")
            packed = PackedPrefix(backend, cache=kept_in_memory())
            self.view = PackedShared(packed, me, history, wait=time.sleep, tell=self.told.append)
        else:
            prefix = Prefix(backend, rules=EVERYTHING, cache=ManifestCache())
            self.view = SharedPrefix(prefix, self.writer, ManifestCache(), wait=time.sleep, tell=lambda text: None)

    def push(self, *come: Bytes, gone: tuple[str, ...] = (), found: Snapshot | None = None) -> None:
        """A whole push, from a look now or before."""
        found = found or self.view.look()
        with self.view.transaction(found, plan_for(found, come, gone)) as transaction:
            write(transaction, *come)
            transaction.sweep()

    def begin(self, *come: Bytes, gone: tuple[str, ...] = ()) -> SharedTransaction:
        """A push of a computer that gives no sign of life after its claim."""
        found = self.view.look()
        publisher = Publisher(self.backend, self.writer._replace(take_over=True), found.found, ManifestCache())
        transaction = SharedTransaction(self.backend, plan_for(found, come, gone), publisher, self.writer, ())
        transaction.claim()
        return transaction


def plan_for(found: Snapshot, come: tuple[Bytes, ...], gone: tuple[str, ...]) -> Plan:
    """What a push would do."""
    return planner.make(found.tree.patched(gone, [body.item for body in come]), found.tree, rules=EVERYTHING)


def write(transaction: SharedPush, *come: Bytes) -> None:
    """All of a push but its end."""
    transaction.keep_deleted(jobs=4)
    for body in come:
        transaction.put(body, lambda size: None)
    transaction.publish()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LEASE_S", 0.6)
    monkeypatch.setattr(shared, "RENEW_S", 0.05)
    monkeypatch.setattr(turns, "_LOOK_S", (0.01, 0.02))


@pytest.fixture(params=["plain", "packed"])
def layout(request: pytest.FixtureRequest) -> str:
    """Of the place."""
    return str(request.param)


@pytest.fixture
def backend() -> MemoryBackend:
    """The place."""
    return MemoryBackend()


def test_everybody_sees_what_the_others_have_pushed(backend: MemoryBackend, layout: str) -> None:
    """And what is deleted is kept, with who and when."""
    ann, bob = Person("ann", backend, layout), Person("bob", backend, layout)
    ann.push(Bytes("a", b"1"))
    bob.push(Bytes("b", b"2"), gone=("a",))

    found = ann.view.look()

    assert list(found.tree.paths) == ["b"]
    assert found.position.generation == 2
    head = read_head(backend).head
    assert head is not None
    assert head.push is None
    folder = DeletedFolder(backend)
    (deletion,) = folder.found()
    assert (deletion.who, deletion.when) == ("bob@studio", "2026-11-23T10:15:00Z")
    assert b"".join(folder.open(deletion, deletion.items[0])) == b"1"
    folder.remove([deletion.id])
    assert folder.found() == []


def test_who_is_slower_begins_again(backend: MemoryBackend, layout: str) -> None:
    """The look is out of date, and nothing shows of what was written."""
    ann, bob = Person("ann", backend, layout), Person("bob", backend, layout)
    found = ann.view.look()
    bob.push(Bytes("b", b"2"))

    with pytest.raises(Conflict):
        ann.push(Bytes("a", b"1"), found=found)
    assert list(bob.view.look().tree.paths) == ["b"]


def test_who_is_slower_leaves_no_traces(backend: MemoryBackend) -> None:
    """Of several attempts to delete there is one deletion; manifests that no head names go."""
    ann, bob = Person("ann", backend, "packed"), Person("bob", backend, "packed")
    ann.push(*(Bytes(name, name.encode()) for name in "abcd"))
    stale = ann.view.look()
    bob.push(gone=("d",))
    for gone in (("a", "b"), ("a",)):
        with pytest.raises(Conflict):
            ann.push(gone=gone, found=stale)
    assert len(DeletedFolder(backend).found()) == 3

    ann.push(gone=("a",))

    told = [(one.who, [item.path for item in one.items]) for one in DeletedFolder(backend).found()]
    assert sorted(told) == [("ann@studio", ["a"]), ("bob@studio", ["d"])]
    assert list(bob.view.look().tree.paths) == ["b", "c"]
    root = Packed(backend).snapshot().root
    assert root is not None
    named = {one.pack for one in root.packs}.union(root.garbage)
    assert set(Packed(backend).stored()) <= named


class Copying(MemoryBackend):
    """Tells what is copied on the server."""

    def __init__(self) -> None:
        super().__init__()
        self.copied: list[str] = []

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        """See `ServerSideCopy`."""
        self.copied.append(source_key)
        return super().copy(source, source_key, key, **how)


def test_what_is_deleted_needs_no_generation() -> None:
    """Packs that are mostly wanted are copied on the server, of others come the files alone; nothing else is needed."""
    place = Copying()
    ann = Person("ann", place, "packed")
    large = RANDOM.randbytes(5_000_000)
    ann.push(Bytes("large", large))
    ann.push(*(Bytes(f"f{number}", RANDOM.randbytes(1000)) for number in range(9)), Bytes("f9", b""))
    ann.push(gone=("large", "f3", "f9"))
    assert len(place.copied) == 1
    for number in range(4):
        ann.push(Bytes("other", b"%d" % number))
    place.delete([packs.key_of(pack) for pack in Packed(place).stored()])

    folder = DeletedFolder(place)
    (deletion,) = folder.found()

    assert {item.path: len(b"".join(folder.open(deletion, item))) for item in deletion.items} == {
        "large": 5_000_000,
        "f3": 1000,
        "f9": 0,
    }
    assert b"".join(folder.open(deletion, deletion.items[-1])) == large
    folder.remove([deletion.id])
    assert not [one for page in place.list(".s32s/deleted") for one in page]


def test_a_first_push_that_died_counts(backend: MemoryBackend) -> None:
    """It had written all but the head; of later generations a lost head is an alarm."""
    ann, bob = Person("ann", backend, "packed"), Person("bob", backend, "packed")
    ann.push(Bytes("a", b"1"))
    backend.delete([HEAD_KEY])

    assert list(bob.view.look().tree.paths) == ["a"]
    bob.push(Bytes("b", b"2"))
    assert list(ann.view.look().tree.paths) == ["a", "b"]
    assert Packed(backend).files() == {"a": b"1", "b": b"2"}

    ann.push(Bytes("c", b"3"))
    backend.delete([HEAD_KEY])
    with pytest.raises(Refused, match="verify NAME --rebuild"):
        bob.view.look()


def test_a_claim_that_lives_is_waited_for(backend: MemoryBackend) -> None:
    """However long it takes, as long as it shows that it is alive."""
    ann, bob = Person("ann", backend), Person("bob", backend)
    found, body = ann.view.look(), Bytes("a", b"1")
    looked: list[Snapshot] = []
    looking = threading.Thread(target=lambda: looked.append(bob.view.look()))
    with ann.view.transaction(found, plan_for(found, (body,), ())) as transaction:
        looking.start()
        time.sleep(1.5)
        assert not looked
        write(transaction, body)
        transaction.sweep()
    looking.join(10)

    assert list(looked[0].tree.paths) == ["a"]


def test_a_claim_that_is_dead_is_taken_over(backend: MemoryBackend) -> None:
    """What its holder has uploaded belongs to everybody, as far as it came."""
    ann, bob = Person("ann", backend), Person("bob", backend)
    bob.push(Bytes("b", b"2"))
    transaction = ann.begin(Bytes("a", b"1"))
    transaction.put(Bytes("a", b"1"), lambda size: None)

    began_s = time.monotonic()
    bob.push(Bytes("c", b"3"))

    assert time.monotonic() - began_s >= 0.6
    assert list(bob.view.look().tree.paths) == ["a", "b", "c"]
    with pytest.raises(Conflict):
        transaction.publish()


def test_who_was_away_for_too_long_writes_nothing_more(backend: MemoryBackend) -> None:
    """It may have lost the claim, and would overwrite what others have written since."""
    body = Bytes("a", b"1")
    transaction = Person("ann", backend).begin(body)
    time.sleep(0.4)

    with pytest.raises(Conflict, match="away for too long"):
        transaction.put(body, lambda size: None)


def test_what_only_waits_for_its_deletion_does_not_come_back(backend: MemoryBackend) -> None:
    """Who deleted it has published, and died before the object was gone."""
    ann, bob = Person("ann", backend), Person("bob", backend)
    ann.push(Bytes("a", b"1"), Bytes("b", b"2"))
    write(ann.begin(gone=("a",)))

    seen = bob.view.look()
    assert list(seen.tree.paths) == ["b"]
    assert seen.left_over == ("a",)

    bob.push(Bytes("c", b"3"))
    assert {one.key for page in backend.list("") for one in page if not one.key.startswith(".s32s")} == {"b", "c"}


def test_a_server_that_follows_such_a_prefix_is_not_misled(backend: MemoryBackend) -> None:
    """However much is in the deleted folder, what only waits for its deletion makes no manifest stale."""
    ann = Person("ann", backend)
    for number in range(6):
        ann.push(Bytes(f"old{number}", b"x"), Bytes("keep", b"%d" % number))
        ann.push(gone=(f"old{number}",))
    ann.push(Bytes("a", b"1"))
    write(ann.begin(gone=("a",)))
    prefix = Prefix(backend, rules=EVERYTHING, cache=ManifestCache())
    found = prefix.read_head()
    assert found.manifest is not None

    prefix.compare_with_list(found, prefix.manifest_tree(found.manifest))


def test_a_place_that_proves_nothing_is_refused(backend: MemoryBackend) -> None:
    """Such as a server of files."""
    backend.capabilities = Capabilities(conditional_put=False, reads_back=False)

    for layout in ("plain", "packed"):
        with pytest.raises(Refused, match="nothing proves there who was quicker"):
            Person("ann", backend, layout)


class Careless(MemoryBackend):
    """Ignores every condition, as some servers do."""

    def put(self, key, chunks, *, size: int, mode: PutMode = OVERWRITE, meta: ObjectMeta | None = None) -> PutResult:  # type: ignore[no-untyped-def] # as of its base
        """See `Backend`."""
        return super().put(key, chunks, size=size, meta=meta)


def test_a_server_without_conditions_is_asked_twice(layout: str) -> None:
    """Of three who claim at the same moment at most one writes: the others see that somebody was later."""
    place = Careless()
    people = [Person(name, place, layout) for name in ("ann", "bob", "eve")]
    founds = [one.view.look() for one in people]
    together, told = threading.Barrier(3), list[str]()

    def claim(number: int) -> None:
        body = Bytes(f"f{number}", b"x")
        together.wait()
        try:
            with people[number].view.transaction(founds[number], plan_for(founds[number], (body,), ())) as transaction:
                write(transaction, body)
                transaction.sweep()
        except Conflict:
            told.append("lost")
        else:
            told.append("won")

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(told) == 3
    assert told.count("won") <= 1
    assert len(people[0].view.look().tree) == told.count("won") or layout == "plain"


def test_a_claim_on_packs_is_waited_for_and_taken_over() -> None:
    """Where the server ignores conditions: who claimed the head has died before it published."""
    place = Careless()
    ann, bob = Person("ann", place, "packed"), Person("bob", place, "packed")
    ann.push(Bytes("a", b"1"))
    head = read_head(place).head
    assert head is not None
    claim = Claim(writer="dead", host="attic", started="2026-11-23T10:15:00Z")
    HeadWriter(place, "dead", read_head(place)).write(head.model_copy(update={"push": claim}), what="die")

    began_s = time.monotonic()
    bob.push(Bytes("b", b"2"))

    assert time.monotonic() - began_s >= 0.6
    assert list(ann.view.look().tree.paths) == ["a", "b"]
    head = read_head(place).head
    assert head is not None
    assert head.push is None


def test_what_the_store_does_not_let_go_is_told_to_who_pushes() -> None:
    """As a policy may forbid deletions; the push goes well."""
    ann = Person("ann", NoDeletes(MemoryBackend()), "packed")
    for number in range(5):
        ann.push(Bytes("a", b"%d" % number * 100))

    assert ann.told
    assert all("no generation needs any more could not be deleted: it is locked" in text for text in ann.told)
    assert Packed(ann.backend).files() == {"a": b"4" * 100}
