"""The object store on a backend in memory: generations, claims and conditions, and what each costs in requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from s32s.backends.base import OVERWRITE, Backend, Capabilities, ListedObject, PutMode, PutResult
from s32s.backends.memory import MemoryBackend
from s32s.backends.wrappers import Counting
from s32s.core import events
from s32s.core.errors import Conflict, PushInProgress, StaleManifest
from s32s.core.events import Event
from s32s.core.plan import Verb
from s32s.core.rules import EVERYTHING
from s32s.core.tree import Tree
from s32s.format.head import HEAD_KEY
from s32s.replication.job import Job, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.local.store import CAPABILITIES
from s32s.stores.memory import MemoryStore
from s32s.stores.objects.prefix import ManifestCache
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.source import Follower
from s32s.stores.objects.store import ObjectStore
from s32s.testing import ANY_LIMIT

NOW = "2026-01-01T00:00:00Z"


def writer(name: str = "one", *, take_over: bool = False) -> Writer:
    """A master."""
    return Writer(id=name, host=name, now=lambda: NOW, take_over=take_over)


class Died(Exception):
    """A run that is killed."""


def push(
    backend: Backend,
    files: Mapping[str, bytes],
    *,
    by: Writer | None = None,
    has_manifest: bool = True,
    dies: str = "",
    meanwhile: Callable[[], object] = lambda: None,
) -> int:
    """Push files; return their generation.

    Args:
        dies: the step before which the run is killed.
        meanwhile: what happens between its plan and its claim.
    """

    def approve(plan: object) -> bool:
        meanwhile()
        return True

    source, target = MemoryStore(files), ObjectStore(backend, has_manifest=has_manifest, writer=by or writer())

    def emit(event: Event) -> None:
        is_file = isinstance(event, events.FilePut) and dies == f"after {event.path}"
        if is_file or (isinstance(event, events.Phase) and event.what == dies):
            raise Died

    job = Job(Verb.SYNC, EVERYTHING, ANY_LIMIT)
    return replicate(source, target, job, RunContext("test", 1, emit, approve=approve)).target.generation


def keys(backend: MemoryBackend) -> set[str]:
    """All keys but those of s32s itself."""
    found = {one.key for page in backend.list("") for one in page}
    return {key for key in found if not key.startswith(".s32s/")}


def read(backend: MemoryBackend, *, compare: bool = True) -> dict[str, str | None]:
    """What a slave would follow: paths and hashes."""
    return {item.path: item.sha256 for item in followed(backend, Follower(compares=compare))}


def followed(
    backend: Backend, follower: Follower, *, has_manifest: bool = True, manifests: ManifestCache | None = None
) -> Tree:
    """The tree that a slave would follow."""
    store = ObjectStore(backend, follower=follower, has_manifest=has_manifest, manifests=manifests or ManifestCache())
    with store.open_source(target=CAPABILITIES, again=False) as source:
        return source.look().snapshot().tree


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
    backend = Counting(MemoryBackend())
    kept: dict[str, bytes] = {}
    cache = ManifestCache(lambda _, sha256: kept.get(sha256), lambda _, data: kept.update({digest(data): data}))
    push(backend, OLD)
    followed(backend, Follower(), manifests=cache)
    backend.requests.clear()

    followed(backend, Follower(), manifests=cache)
    assert dict(backend.requests) == {"get": 1}

    backend.requests.clear()
    push(backend, NEW)
    assert backend.requests["put"] == 2 + 3, "two files, the claim, the manifest and the head"
    assert backend.requests["delete"] == 2, "what is gone, and a manifest"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("step", ["moving files", "after a", "publishing"])
def test_a_push_that_dies_before_its_moment(step: str) -> None:
    """Readers of an object that is overwritten already are told to wait; the next push of that master heals it."""
    backend = MemoryBackend()
    push(backend, OLD)
    with pytest.raises(Died):
        push(backend, NEW, dies=step)

    if step == "moving files":
        assert read(backend) == hashes(OLD)
    else:
        with pytest.raises(PushInProgress, match="unfinished push by one"):
            read(backend)
    assert push(backend, NEW) == 2
    assert read(backend) == hashes(NEW)
    assert keys(backend) == set(NEW)


class Stuck(MemoryBackend):
    """One that nothing can be deleted from, as long as it is stuck."""

    is_stuck = False

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        if self.is_stuck:
            raise Died
        return super().delete(keys)


def test_a_push_that_dies_before_its_deletions() -> None:
    """The new generation is there, and objects that wait for their deletion disturb nobody."""
    backend = Stuck()
    push(backend, OLD)
    backend.is_stuck = True
    with pytest.raises(Died):
        push(backend, NEW)
    backend.is_stuck = False

    assert read(backend) == hashes(NEW)
    push(backend, NEW)
    assert keys(backend) == set(NEW)


def test_a_second_master_is_kept_out() -> None:
    """While the first one has a claim; taking it over is said explicitly."""
    backend = MemoryBackend()
    push(backend, OLD)
    with pytest.raises(Died):
        push(backend, NEW, dies="publishing")

    with pytest.raises(Conflict, match="another master, one, began a push"):
        push(backend, OLD, by=writer("two"))
    assert push(backend, OLD, by=writer("two", take_over=True)) == 2
    assert read(backend) == hashes(OLD)


def test_two_masters_at_once() -> None:
    """Who comes later finds another head than the one it has planned for."""
    backend = MemoryBackend()
    push(backend, OLD)
    with pytest.raises(Conflict, match="two changed the head"):
        push(backend, NEW, meanwhile=lambda: push(backend, {"a": b"other"}, by=writer("two")))
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
    with pytest.raises(Conflict):
        push(backend, NEW, meanwhile=lambda: push(backend, {"a": b"other"}, by=writer("two")))
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
        followed(backend, Follower(generation=1))


def test_a_push_that_ends_during_the_listing_is_noticed() -> None:
    """The head is read before the LIST: whoever has pushed since holds another one."""
    backend = Rivalled()
    push(backend, OLD)
    backend.rival = lambda: push(backend, {"a": b"other"}, by=writer("two"))

    with pytest.raises(Conflict):
        push(backend, NEW)
    assert read(backend) == hashes({"a": b"other"})


class Rivalled(MemoryBackend):
    """One in which somebody else pushes while it is listed."""

    rival: Callable[[], object] | None = None

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        pages = [*super().list(prefix)]
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()
        yield from pages
