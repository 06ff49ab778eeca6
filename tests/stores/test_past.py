"""Earlier generations of a plain prefix, in memory: which there are, what each needs, and what going back costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from test_object_store import NOW, Died, hashes, keys, push, read

from s32s.backends.base import Backend, PutResult
from s32s.backends.memory import MemoryBackend
from s32s.backends.wrappers import Counting, Wrapper
from s32s.core.errors import Conflict, Refused, Unreachable
from s32s.core.plan import Verb
from s32s.core.rules import EVERYTHING, Rules, compile_rules
from s32s.format.head import HEAD_KEY
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Writable
from s32s.stores.memory import MemoryStore
from s32s.stores.objects.past import PastStore
from s32s.stores.objects.prefix import ManifestCache, Prefix
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.store import ObjectStore
from s32s.stores.objects.versions import Past
from s32s.testing import ANY_LIMIT

ONE = {"a": b"1", "d/b": b"2", "gone": b"3"}
TWO = {"a": b"changed", "d/b": b"2", "d/new": b"4"}


def past(backend: Backend) -> Past:
    """The generations of a prefix."""
    return Past(Prefix(backend, rules=EVERYTHING, cache=ManifestCache()), ManifestCache())


def numbers(backend: Backend) -> list[int]:
    """Those that are there."""
    return [one.number for one in past(backend)]


def bring(
    backend: Backend, number: int, target: Writable[Any], *, verb: Verb = Verb.SYNC, rules: Rules = EVERYTHING
) -> Outcome:
    """Make a store what a generation held."""
    there = past(backend)
    source = PastStore(there, there.find(number), rules)
    return replicate(source, target, Job(verb, rules, ANY_LIMIT), RunContext("test", 1))


def back(backend: Backend, number: int) -> int:
    """Go back; return the generation that was published."""
    writer = Writer(id="one", host="one", now=lambda: NOW, of=number, message="back")
    return bring(backend, number, ObjectStore(backend, writer=writer)).target.generation


def restored(backend: Backend, number: int, *wanted: str) -> Mapping[str, bytes]:
    """Files of a generation, read from here."""
    target = MemoryStore()
    bring(backend, number, target, verb=Verb.COPY, rules=compile_rules(files=wanted) if wanted else EVERYTHING)
    return target.files


def version_of(backend: MemoryBackend, key: str, data: bytes) -> str:
    """The name of the version that holds some bytes."""
    found = [one for page in backend.list_versions(key) for one in page if one.key == key]
    return next(one.version for one in found if b"".join(backend.get(key, version=one.version).chunks) == data)


@pytest.fixture
def backend() -> MemoryBackend:
    """A prefix with two generations."""
    made = MemoryBackend(keeps_versions=True)
    assert push(made, ONE) == 1
    assert push(made, TWO) == 2
    return made


def test_each_generation_counts_once(backend: MemoryBackend) -> None:
    """Although its head is written again when the next push begins; one that died is none."""
    with pytest.raises(Died):
        push(backend, ONE, dies="publishing")

    found = list(past(backend))

    assert [(one.number, one.is_current) for one in found] == [(2, True), (1, False)]
    assert [one.head.change and one.head.change.new for one in found] == [1, 3]
    assert {item.path: item.sha256 for item in past(backend).tree(found[1])} == hashes(ONE)


def test_what_a_generation_held_comes_back(backend: MemoryBackend) -> None:
    """All of it, or some files; each read from the version of that time."""
    assert restored(backend, 1) == ONE
    assert restored(backend, 1, "gone") == {"gone": b"3"}
    assert restored(backend, 2) == TWO


def test_going_back_copies_what_has_changed_and_nothing_else(backend: MemoryBackend) -> None:
    """On the server; what is the same stays, and what is new since is deleted."""
    counted = Counting(backend)

    assert back(counted, 1) == 3

    assert read(backend) == hashes(ONE)
    assert keys(backend) == set(ONE)
    assert counted.requests["copy"] == 2
    assert counted.requests["put"] == 3  # claim, manifest, head
    newest = next(iter(past(backend)))
    assert newest.head.change is not None
    assert (newest.head.change.of, newest.head.change.message) == (1, "back")
    assert restored(backend, 3) == ONE
    assert restored(backend, 2) == TWO


def test_many_files_are_looked_for_by_one_listing() -> None:
    """And a few each by its name."""
    few, many = ({f"d/{number}": b"%d" % number for number in range(count)} for count in (3, 100))
    backend = MemoryBackend(keeps_versions=True)
    push(backend, many)
    push(backend, dict.fromkeys(many, b"changed"))
    push(backend, {**dict.fromkeys(many, b"changed"), **few})
    counted = Counting(backend)

    back(counted, 2)
    for_few = counted.requests["list"]
    back(counted, 1)

    assert read(backend) == hashes(many)
    assert counted.requests["list"] - for_few == for_few - len(few) + 1
    assert counted.requests["copy"] == len(few) + len(many)


class Dying(Wrapper):
    """A backend that is lost in the middle of a rollback."""

    left = 1

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        self.left -= 1
        if self.left < 0:
            raise Unreachable("nothing answers")
        return super().copy(source, source_key, key, **how)


def test_a_rollback_that_was_cut_off_is_run_again(backend: MemoryBackend) -> None:
    """Until then the generation before it stays, by its versions; a push by another master does not get in between."""
    with pytest.raises(Unreachable):
        back(Dying(backend), 1)
    assert numbers(backend) == [2, 1]
    assert restored(backend, 2) == TWO
    with pytest.raises(Conflict):
        push(backend, TWO, by=Writer(id="two", host="two", now=lambda: NOW))

    assert back(backend, 1) == 3
    assert read(backend) == hashes(ONE)
    assert numbers(backend) == [3, 2, 1]


class Uncopying(Wrapper):
    """A backend that copies nothing on the server."""

    def copies_from(self, source: Backend) -> bool:
        return False


def test_without_copies_on_the_server_it_goes_through_here(backend: MemoryBackend) -> None:
    """Verified on its way."""
    assert back(Uncopying(backend), 1) == 3
    assert read(backend) == hashes(ONE)


@pytest.mark.parametrize("how", [lambda backend: back(backend, 1), lambda backend: restored(backend, 1)])
def test_what_is_gone_is_told_before_anything_changes(backend: MemoryBackend, how: Any) -> None:
    """With path and generation."""
    backend.forget_version("gone", version_of(backend, "gone", b"3"))
    before = [one for page in backend.list_versions("") for one in page]

    with pytest.raises(Refused, match='"gone" of generation 1 cannot be read any more'):
        how(backend)

    assert [one for page in backend.list_versions("") for one in page] == before
    assert restored(backend, 1, "a", "d/b") == {"a": b"1", "d/b": b"2"}


def test_the_same_object_under_another_version_serves(backend: MemoryBackend) -> None:
    """As one that has come back by a rollback, while the first one has expired."""
    back(backend, 1)
    first = past(backend).tree(past(backend).find(1)).get("gone")
    assert first is not None
    assert first.version is not None
    backend.forget_version("gone", first.version)

    assert restored(backend, 1) == ONE


def test_a_generation_without_its_manifest_is_not_there(backend: MemoryBackend) -> None:
    """It could not be read; the others can."""
    key = past(backend).find(1).manifest.key
    (one,) = [one for page in backend.list_versions(key) for one in page]
    backend.forget_version(key, one.version)

    assert numbers(backend) == [2]
    with pytest.raises(Refused, match="generation 1 is not there; only 2 is"):
        past(backend).find(1)


def test_an_earlier_head_that_cannot_be_read_is_left_out(backend: MemoryBackend) -> None:
    """It may be damaged, or of a later s32s that was there for a while."""
    there, etag = backend.read(HEAD_KEY, limit=10_000)
    backend.put(HEAD_KEY, lambda: iter([b"{"]), size=1)
    backend.put(HEAD_KEY, lambda: iter([there]), size=len(there))

    assert etag
    assert numbers(backend) == [2, 1]


def test_versions_that_were_turned_on_later_reach_as_far_as_they_can() -> None:
    """The last push before that is a generation, too."""
    backend = MemoryBackend()
    push(backend, {"old": b"0"})
    push(backend, ONE)
    with pytest.raises(Refused, match="keeps no earlier generations"):
        numbers(backend)
    backend.keeps_versions = True
    push(backend, TWO)

    assert numbers(backend) == [3, 2]
    assert back(backend, 2) == 4
    assert read(backend) == hashes(ONE)


def test_a_prefix_that_was_never_pushed_has_none() -> None:
    """Which is not an error, until one of them is asked for."""
    backend = MemoryBackend(keeps_versions=True)

    assert numbers(backend) == []
    for ask in (lambda: past(backend).find(1), past(backend).current, past(backend).before):
        with pytest.raises(Refused, match="nothing has been pushed"):
            ask()


def test_the_only_one_has_none_before_it() -> None:
    """And says so."""
    backend = MemoryBackend(keeps_versions=True)
    push(backend, ONE)

    with pytest.raises(Refused, match="generation 1 is the only one"):
        past(backend).before()
