"""The object store on a backend in memory: generations, claims and conditions, and what each costs in requests."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping

import pytest

from s32s.backends.base import OVERWRITE, Capabilities, Chunk, PutMode, PutResult
from s32s.backends.memory import MemoryBackend
from s32s.core import plan as planner
from s32s.core import tree
from s32s.core.errors import Conflict, PushInProgress, StaleManifest
from s32s.core.tree import Item, Kind, Tree
from s32s.format.manifest import HEAD_KEY
from s32s.stores.objects.change import ManifestCache, Writer
from s32s.stores.objects.store import ObjectStore

NOW = "2026-01-01T00:00:00Z"
CLOCK = itertools.count(1)


class Body:
    """Bytes that are at hand."""

    def __init__(self, item: Item, data: bytes) -> None:
        self.item = item
        self._data = data

    def copy_to(self, target: object, progress: object) -> None:
        """It is not an object."""

    def chunks(self) -> Iterator[Chunk]:
        yield self._data


def source(files: Mapping[str, bytes]) -> Tree:
    """A tree as a walk makes it."""
    return tree.make(
        Item(
            path,
            Kind.FILE,
            size=len(data),
            mtime_ns=next(CLOCK),
            mode=0o644,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        for path, data in files.items()
    )


def writer(name: str = "one", *, take_over: bool = False) -> Writer:
    """A master."""
    return Writer(id=name, host=name, now=lambda: NOW, take_over=take_over)


def push(
    backend: MemoryBackend,
    files: Mapping[str, bytes],
    *,
    by: Writer | None = None,
    has_manifest: bool = True,
    dies: str = "",
) -> int:
    """Push a tree; return its generation. `dies` names the step before which it is killed."""
    store = ObjectStore(backend, has_manifest=has_manifest)
    plan = planner.make(source(files), store.target_tree())
    with store.change(plan, by or writer()) as change:
        for item in change.wanted:
            if dies == item.path:
                raise KeyboardInterrupt
            change.put(Body(item, files[item.path]), lambda size: None)
        if dies == "publish":
            raise KeyboardInterrupt
        generation = change.publish()
        if dies == "sweep":
            raise KeyboardInterrupt
        change.sweep()
    return generation


def keys(backend: MemoryBackend) -> set[str]:
    """All keys but those of s32s itself."""
    found = {one.key for page in backend.list("") for one in page}
    return {key for key in found if not key.startswith(".s32s/")}


def read(backend: MemoryBackend, *, compare: bool = True) -> dict[str, str | None]:
    """What a slave would follow: paths and hashes."""
    return {item.path: item.sha256 for item in ObjectStore(backend).tree(compare=compare)}


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


OLD = {"a": b"1", "d/b": b"2", "gone": b"3"}
NEW = {"a": b"changed", "d/b": b"2", "d/new": b"4"}


def test_each_push_is_a_generation() -> None:
    """Readers see what was published, and objects that no generation names are deleted."""
    backend = MemoryBackend()

    assert push(backend, OLD) == 1
    assert read(backend) == hashes(OLD)
    assert push(backend, NEW) == 2
    assert read(backend) == hashes(NEW)
    assert keys(backend) == set(NEW)


def test_what_it_costs() -> None:
    """A reader with the manifest at hand makes one request, and a push as many PUTs as it has files, and three."""
    backend = MemoryBackend()
    kept: dict[str, bytes] = {}
    cache = ManifestCache(lambda _, sha256: kept.get(sha256), lambda _, data: kept.update({digest(data): data}))
    push(backend, OLD)
    ObjectStore(backend, cache=cache).tree(compare=False)
    backend.requests.clear()

    ObjectStore(backend, cache=cache).tree(compare=False)
    assert dict(backend.requests) == {"get": 1}

    backend.requests.clear()
    push(backend, NEW)
    assert backend.requests["put"] == 2 + 3, "two files, the claim, the manifest and the head"
    assert backend.requests["delete"] == 2, "what is gone, and a manifest"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("step", ["a", "d/new", "publish"])
def test_a_push_that_dies_before_its_moment(step: str) -> None:
    """Readers of an object that is overwritten already are told to wait; the next push of that master heals it."""
    backend = MemoryBackend()
    push(backend, OLD)
    with pytest.raises(KeyboardInterrupt):
        push(backend, NEW, dies=step)

    if step == "a":
        assert read(backend) == hashes(OLD)
    else:
        with pytest.raises(PushInProgress, match="unfinished push by one"):
            read(backend)
    assert push(backend, NEW) == 2
    assert read(backend) == hashes(NEW)
    assert keys(backend) == set(NEW)


def test_a_push_that_dies_before_its_deletions() -> None:
    """The new generation is there, and objects that wait for their deletion disturb nobody."""
    backend = MemoryBackend()
    push(backend, OLD)
    with pytest.raises(KeyboardInterrupt):
        push(backend, NEW, dies="sweep")

    assert read(backend) == hashes(NEW)
    push(backend, NEW)
    assert keys(backend) == set(NEW)


def test_a_second_master_is_kept_out() -> None:
    """While the first one has a claim; taking it over is said explicitly."""
    backend = MemoryBackend()
    push(backend, OLD)
    with pytest.raises(KeyboardInterrupt):
        push(backend, NEW, dies="publish")

    with pytest.raises(Conflict, match="another master, one, began a push"):
        push(backend, OLD, by=writer("two"))
    assert push(backend, OLD, by=writer("two", take_over=True)) == 2
    assert read(backend) == hashes(OLD)


def test_two_masters_at_once() -> None:
    """Who comes later finds another head than the one it has planned for."""
    backend = MemoryBackend()
    push(backend, OLD)
    store = ObjectStore(backend)
    plan = planner.make(source(NEW), store.target_tree())
    push(backend, {"a": b"other"}, by=writer("two"))

    with pytest.raises(Conflict, match="two changed the head"), store.change(plan, writer()):
        pytest.fail("it has begun")
    assert read(backend) == hashes({"a": b"other"})


class Deaf(MemoryBackend):
    """A server that ignores conditions; it says so, or does not."""

    def __init__(self, *, says_so: bool) -> None:
        super().__init__()
        self.capabilities = Capabilities(conditional_put=not says_so)

    def put(self, key: str, chunks: object, *, size: int, mode: PutMode = OVERWRITE, meta: object = None) -> PutResult:
        return super().put(key, chunks, size=size, mode=OVERWRITE)  # type: ignore[arg-type] # handed on


@pytest.mark.parametrize("says_so", [True, False])
def test_a_server_that_ignores_conditions(says_so: bool) -> None:
    """A push works, and a rival who was quicker is noticed by what the head holds."""
    backend = Deaf(says_so=says_so)
    assert push(backend, OLD) == 1
    store = ObjectStore(backend)
    plan = planner.make(source(NEW), store.target_tree())
    push(backend, {"a": b"other"}, by=writer("two"))

    with pytest.raises(Conflict), store.change(plan, writer()):
        pytest.fail("it has begun")
    assert read(backend) == hashes({"a": b"other"})


def test_without_a_manifest_the_listing_is_all() -> None:
    """No head, no claim, and what another tool writes counts."""
    backend = MemoryBackend()
    assert push(backend, OLD, has_manifest=False) == 0
    backend.put("more", lambda: iter((b"x",)), size=1)

    assert set(read(backend)) == {*OLD, "more"}
    assert {one.key for page in backend.list("") for one in page} == {*OLD, "more"}


def test_an_object_of_another_tool_is_noticed() -> None:
    """Behind a head that still names the old one; the next push writes it again."""
    backend = MemoryBackend()
    push(backend, OLD)
    backend.put("a", lambda: iter((b"x",)), size=1)

    assert read(backend, compare=False) == hashes(OLD)
    with pytest.raises(StaleManifest, match='"a"'):
        read(backend)
    push(backend, OLD)
    assert read(backend) == hashes(OLD)


def test_a_head_that_vanishes_is_an_alarm() -> None:
    """For who has followed one before."""
    backend = MemoryBackend()
    push(backend, OLD)
    backend.delete([HEAD_KEY])

    with pytest.raises(StaleManifest, match="is gone"):
        ObjectStore(backend).tree(compare=False, known=True)


def test_an_empty_directory_travels_without_a_manifest() -> None:
    """As an object whose key ends in a slash."""
    backend = MemoryBackend()
    store = ObjectStore(backend, has_manifest=False)
    plan = planner.make(tree.make([Item("d", Kind.DIR, mode=0o755)]), store.target_tree())
    with store.change(plan, None) as change:
        change.publish()
        change.sweep()

    assert [item.path for item in ObjectStore(backend, has_manifest=False).tree(compare=False)] == ["d"]
    assert {one.key for page in backend.list("") for one in page} == {"d/"}
