"""A shared folder in one process: people who edit at random, and a place that breaks off at any request."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.packed import kept_in_memory, lines_in_packs

from s32s.agent.common_memory import CommonMemory
from s32s.agent.decisions import decided
from s32s.backends.base import Backend, GetResult, PartRequest
from s32s.backends.memory import MemoryBackend
from s32s.core.errors import EntryFailed, Refused, S32sError, Unreachable
from s32s.core.guards import Limits, MaxDelete
from s32s.core.merge import Clash, Merge, Resolution
from s32s.core.plan import Verb
from s32s.core.rules import EVERYTHING
from s32s.format.head import HEAD_KEY
from s32s.replication.job import Outcome, RunContext
from s32s.replication.merge_job import Contents, MergeJob
from s32s.replication.reconcile import reconcile
from s32s.stores.local.store import LocalStore
from s32s.stores.objects import turns
from s32s.stores.objects.packed.prefix import PackedPrefix
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.shared import PackedShared
from s32s.stores.objects.prefix import ManifestCache, Prefix, read_head
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.shared import SharedPrefix
from s32s.stores.shared import SharedPlace

EVERY_DELETION = Limits(MaxDelete(100, percent=True), force=True)
REQUESTS = ("list", "head", "get", "get_many", "get_parts", "put_many", "read", "put", "delete", "copy")


class Breaking:
    """A way to the place that breaks off at one request, and stays so; `inner` is the place."""

    def __init__(self, inner: MemoryBackend, after: int) -> None:
        self.inner = inner
        self.left = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.inner, name)
        if name not in REQUESTS:
            return real

        def called(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Unreachable("the line is cut")
            return real(*args, **named)

        return called


class Person:
    """One of them, with a folder and a memory."""

    def __init__(self, root: Path, name: str, layout: str) -> None:
        self.name = name
        self.layout = layout
        self.segments = kept_in_memory()
        self.folder = root / name
        self.state = root / f"{name}-state"
        self.folder.mkdir()
        self.state.mkdir()
        self.written: set[str] = set()
        self.unsynced: set[str] = set()

    def sync(
        self,
        backend: Backend,
        *,
        verb: Verb = Verb.SYNC,
        keep: Resolution | None = Resolution.BOTH,
        limits: Limits = EVERY_DELETION,
        decide: Callable[[Merge, Contents], Merge] | None = None,
    ) -> Outcome:
        """One run."""
        memory = CommonMemory(self.state, str(self.folder), "memory:")
        job = MergeJob(
            verb,
            EVERYTHING,
            limits,
            changed=lambda: f"2026-11-23T10:15:00Z {self.name}@studio",
            decide=decide or (lambda made, contents: decided(made, keep=keep)),
        )
        local = LocalStore(str(self.folder), rules=EVERYTHING.sparing_own(), is_shared=True)
        try:
            return reconcile(local, self._view(backend), memory, job, RunContext("TEAM", 4))
        finally:
            memory.close()

    def _view(self, backend: Backend) -> SharedPlace:
        """The place, in its layout."""
        writer = Writer(f"{self.name:0<32}", "studio", lambda: "2026-11-23T10:15:00Z")
        waits: dict[str, Any] = {"wait": lambda seconds: None, "tell": lambda text: None}
        if self.layout == "packed":
            history = History(keep=2, user=self.name)
            return PackedShared(PackedPrefix(backend, cache=self.segments), writer, history, **waits)
        prefix = Prefix(backend, rules=EVERYTHING, cache=ManifestCache())
        return SharedPrefix(prefix, writer._replace(host=f"{self.name}@studio"), ManifestCache(), **waits)

    def files(self) -> list[Path]:
        """The person's own files."""
        found = (file for file in self.folder.rglob("*") if file.is_file())
        return sorted(file for file in found if file.relative_to(self.folder).parts[0] != ".s32s")

    def tree(self) -> dict[str, str]:
        """What they hold."""
        return {str(file.relative_to(self.folder)): file.read_text() for file in self.files()}

    def lines(self) -> set[str]:
        """Every line in the folder, the trash included."""
        return {line for file in self.folder.rglob("*") if file.is_file() for line in file.read_text().split("\n")}

    def edit(self, chance: random.Random, number: int) -> None:
        """Something at random; see `support.peers.Crowd`."""
        files = self.files()
        what = chance.choice(["new", "add", "add", "rename", "delete", "kind"])
        if what in ("new", "kind") or not files:
            file = self.folder / chance.choice(["p", "q", "d/p", "d/e/q", "p/x", "d"])
            if any(above.is_file() for above in file.parents) or file.is_dir():
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            self._add(file, number)
        elif what == "add":
            self._add(chance.choice(files), number)
        elif what == "rename":
            file = chance.choice(files)
            file.rename(file.with_name(f"moved{number}"))
        else:
            file = chance.choice(files)
            if not set(file.read_text().split("\n")) & self.unsynced:
                file.unlink()

    def _add(self, file: Path, number: int) -> None:
        line = f"{self.name} {number}"
        with file.open("a") as opened:
            opened.write(line + "\n")
        self.written.add(line)
        self.unsynced.add(line)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LEASE_S", 0.2)


@pytest.fixture(params=["plain", "packed"])
def layout(request: pytest.FixtureRequest) -> str:
    """Of the place."""
    return str(request.param)


@pytest.fixture
def people(tmp_path: Path, layout: str) -> list[Person]:
    """Three."""
    return [Person(tmp_path, name, layout) for name in ("ann", "bob", "eve")]


def on_place(backend: MemoryBackend) -> set[str]:
    """Every line in a file, the deleted folder included."""
    found: set[str] = set()
    if (head := read_head(backend).head) is not None and head.is_packed:
        return lines_in_packs(backend)
    for page in backend.list(""):
        for one in page:
            if not one.key.startswith(".s32s/") or one.key.startswith(".s32s/deleted/"):
                data, _ = backend.read(one.key, limit=1 << 20)
                found.update(data.decode().split("\n"))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_wherever_a_run_breaks_off(people: list[Person], seed: int) -> None:
    """And in the end all are equal."""
    chance = random.Random(seed)  # a test that can be repeated
    place, number = MemoryBackend(), 0
    for _ in range(6):
        for person in people:
            for _ in range(chance.randint(0, 3)):
                number += 1
                person.edit(chance, number)
            backend = Breaking(place, chance.randint(0, 30)) if chance.random() < 0.5 else place
            try:
                outcome = person.sync(backend)  # type: ignore[arg-type] # it has all that a backend has
            except (Unreachable, EntryFailed):
                continue
            if outcome.failure is None:
                person.unsynced.clear()
    for _ in range(8):
        before = [person.tree() for person in people]
        for person in people:
            assert person.sync(place).failure is None
        if [person.tree() for person in people] == before:
            break

    assert people[0].tree() == people[1].tree() == people[2].tree()
    left = on_place(place).union(*(person.lines() for person in people))
    assert set().union(*(person.written for person in people)) <= left


@pytest.mark.parametrize("layout", ["plain"])  # packs are never replaced
def test_what_is_replaced_there_meanwhile_keeps_nobody_from_the_rest(people: list[Person]) -> None:
    """All other files come at once; the one that was replaced comes with the next look."""
    ann, bob, _ = people
    place = MemoryBackend()
    for name in ("a", "b", "c"):
        (ann.folder / name).write_text(name)
    ann.sync(place)
    (ann.folder / "b").write_text("b, and more")

    class Replaced(Breaking):
        def __getattr__(self, name: str) -> Any:
            if name == "get_many":
                with together:  # all who fetch wait for the first one
                    if self.left > 0:
                        self.left = 0
                        ann.sync(place)
            return getattr(self.inner, name)

    together = threading.Lock()
    outcome = bob.sync(Replaced(place, 1))  # type: ignore[arg-type]

    assert outcome.failure is None
    assert bob.tree() == ann.tree()
    assert bob.tree()["b"] == "b, and more"


def test_a_run_that_breaks_off_keeps_what_has_come(people: list[Person], monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part, so that a long first sync over a bad line gets on."""
    from s32s.core import steps

    monkeypatch.setattr(steps, "_PART", 2)
    ann, bob, _ = people
    place = MemoryBackend()
    for number in range(8):
        (ann.folder / f"f{number}").write_text(f"{number}")
    ann.sync(place)
    came = []
    for _ in range(12):
        with contextlib.suppress(Unreachable):
            bob.sync(Breaking(place, 6))  # type: ignore[arg-type]
        came.append(len(bob.files()))
        if came[-1] == 8:
            break

    assert came[-1] == 8
    assert 0 < came[0] < 8


def test_what_somebody_edits_during_the_sync_stays(people: list[Person]) -> None:
    """The run says so, and the next one sees a conflict."""
    ann, bob, _ = people
    place = MemoryBackend()
    (ann.folder / "plan").write_text("walls")
    ann.sync(place)
    bob.sync(place)
    (ann.folder / "plan").write_text("walls, by ann")
    ann.sync(place)

    class Editing(Breaking):
        def get(self, *args: Any, **named: Any) -> GetResult:
            (bob.folder / "plan").write_text("walls, by bob!")
            return self.inner.get(*args, **named)

        def get_many(self, *args: Any, **named: Any) -> Iterator[tuple[int, GetResult | None]]:
            (bob.folder / "plan").write_text("walls, by bob!")
            return self.inner.get_many(*args, **named)

        def get_parts(self, requests: Iterable[PartRequest], **named: Any) -> Iterator[tuple[int, Any]]:
            wanted = list(requests)
            if wanted and wanted[0].size < 200:  # a file, and no manifest
                (bob.folder / "plan").write_text("walls, by bob!")
            return self.inner.get_parts(wanted, **named)

    outcome = bob.sync(Editing(place, 1000))  # type: ignore[arg-type]
    assert outcome.failure is not None
    assert "changed here meanwhile and stayed" in str(outcome.failure)
    assert bob.tree() == {"plan": "walls, by bob!"}

    again = bob.sync(place, keep=None)
    assert "1 conflict is left undecided" in str(again.failure)


def test_who_is_too_slow_sees_the_same_conflict_again(people: list[Person]) -> None:
    """Ours has its own name as long as nothing came of the other one; in the end there is one copy of it."""
    ann, bob, _ = people
    place = MemoryBackend()
    (ann.folder / "plan").write_text("walls")
    ann.sync(place)
    bob.sync(place)
    (ann.folder / "plan").write_text("walls, by ann")
    ann.sync(place)
    (bob.folder / "plan").write_text("walls, by bob!")
    seen: list[Clash] = []

    class Slower(Breaking):
        def put(self, key: str, *args: Any, **named: Any) -> Any:
            if key == HEAD_KEY and not (ann.folder / "more").exists():
                (ann.folder / "more").write_text("by ann")
                ann.sync(place)
            return self.inner.put(key, *args, **named)

    def both(made: Merge, contents: Contents) -> Merge:
        seen.extend(conflict.clash for conflict in made.conflicts)
        return decided(made, keep=Resolution.BOTH)

    outcome = bob.sync(Slower(place, 1000), decide=both)  # type: ignore[arg-type]

    assert outcome.failure is None
    assert seen == [Clash.MODIFIED, Clash.MODIFIED]
    ann.sync(place)
    assert ann.tree() == bob.tree()
    assert sorted(bob.tree().values()) == ["by ann", "walls, by ann", "walls, by bob!"]


def test_what_is_not_picked_is_asked_about_again(people: list[Person]) -> None:
    """It is neither done nor forgotten."""
    ann, bob, _ = people
    place = MemoryBackend()
    (ann.folder / "a").write_text("a")
    (ann.folder / "d").mkdir()
    (ann.folder / "d/b").write_text("b")
    ann.sync(place, decide=lambda made, contents: decided(made, uploads={"d/b"}))
    bob.sync(place)
    assert bob.tree() == {"d/b": "b"}
    (bob.folder / "d/b").unlink()
    bob.sync(place)
    ann.sync(place, decide=lambda made, contents: decided(made, uploads=False, downloads=False))
    assert set(ann.tree()) == {"a", "d/b"}

    ann.sync(place)

    assert ann.tree() == {"a": "a"}
    bob.sync(place)
    assert bob.tree() == {"a": "a"}


def test_guards_hold_before_anybody_is_asked(people: list[Person]) -> None:
    """Nothing is touched."""
    ann, bob, _ = people
    place = MemoryBackend()
    for number in range(30):
        (ann.folder / f"f{number}").write_text(f"{number}")
    ann.sync(place)
    bob.sync(place)
    for number in range(20):
        (ann.folder / f"f{number}").unlink()

    def nobody(made: Merge, contents: Contents) -> Merge:
        raise AssertionError("nobody is to be asked")

    with pytest.raises(Refused, match="20 of 30 files would be deleted on S3"):
        ann.sync(place, limits=Limits(MaxDelete(50, percent=True)), decide=nobody)
    assert len(on_place(place)) == 30
    with pytest.raises(S32sError):
        ann.sync(place, verb=Verb.DRYRUN, limits=Limits(MaxDelete(50, percent=True)))
