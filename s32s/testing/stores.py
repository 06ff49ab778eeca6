"""What every store has to keep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from s32s.core import events
from s32s.core import plan as planner
from s32s.core.errors import PushInProgress
from s32s.core.events import Event
from s32s.core.guards import Limits, MaxDelete
from s32s.core.item import Item, Kind
from s32s.core.plan import Verb
from s32s.core.rules import EVERYTHING
from s32s.replication.checkpoints import Checkpoint, Checkpoints
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Policy, Readable, Store, Writable
from s32s.stores.memory import MemoryStore

ANY_LIMIT = Limits(MaxDelete(100, percent=True))
OLD_NS = 1_700_000_000_000_000_000


def run(
    source: Readable[Any],
    target: Writable[Any],
    verb: Verb = Verb.SYNC,
    *,
    checkpoints: Checkpoints | None = None,
    verify: bool = False,
) -> Outcome:
    """Make a store what another one holds."""
    context = RunContext("contract", 4, checkpoints=checkpoints or Checkpoints())
    return replicate(source, target, Job(verb, EVERYTHING, ANY_LIMIT, verify=verify), context)


class StoreContract:
    """Tests of one store, against a store in memory; the fixture `store` gives an empty place."""

    FILES: ClassVar[dict[str, bytes]] = {
        "a": b"1",
        "d/b": b"22",
        "d/e/c": b"",
        "gone": b"333",
        "ä/日本 %2F+&": b"odd",
        "large": b"x" * 3_000_000,
    }

    @pytest.fixture
    def store(self) -> Iterator[Store[Any, Any]]:
        """The store to be tested."""
        raise NotImplementedError("derive a class and give it this fixture")

    @pytest.fixture
    def there(self) -> MemoryStore:
        """What the store is filled from."""
        store = MemoryStore(location="memory:there")
        for path, data in self.FILES.items():
            store.write(path, data, mtime_ns=OLD_NS, mode=0o640)
        return store

    def held(self, store: Readable[Any]) -> MemoryStore:
        """What a store holds, read by another run."""
        back = MemoryStore(location="memory:back")
        assert run(store, back, verify=True).changed
        return back

    def test_what_was_brought_is_there(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """Every byte of every file, and modes and times where the store keeps them."""
        assert run(there, store).changed

        back = self.held(store)
        assert back.files == self.FILES
        for item in back.tree:
            if item.kind is Kind.FILE:
                assert not store.capabilities.modes or item.mode == 0o640
                assert not store.capabilities.times or item.mtime_ns == OLD_NS

    def test_a_second_run_has_nothing_to_do(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """However thoroughly it looks."""
        run(there, store)

        for verify in (False, True):
            again = run(there, store, verify=verify)
            assert (again.due, again.changed, again.plan.is_empty) == (False, False, True)

    def test_a_checkpoint_spares_the_comparison_and_hides_nothing(
        self, store: Store[Any, Any], there: MemoryStore
    ) -> None:
        """The same look proves that nothing has changed; another one is never taken for it."""
        kept: dict[str, Checkpoint | None] = {}
        checkpoints = Checkpoints(kept.get, kept.__setitem__)
        run(there, store, checkpoints=checkpoints)
        run(there, store, checkpoints=checkpoints)

        again = run(there, store, checkpoints=checkpoints)
        assert not again.due
        assert len(again.plan.unchanged) == sum(1 for _ in again.plan.unchanged.sources())
        there.write("a", b"2", mtime_ns=OLD_NS, mode=0o640)
        assert run(there, store, checkpoints=checkpoints).changed
        assert self.held(store).files == {**self.FILES, "a": b"2"}

    def test_changes_and_deletions_follow(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """A sync makes it equal; a file may become a directory, and a directory a file."""
        run(there, store)
        there.write("a", b"changed")
        there.remove("gone")
        there.remove("d/b")
        there.remove("d/e/c")
        there.write("d", b"a file now")
        there.remove("large")
        there.write("large/inside", b"in a directory now")

        assert run(there, store).plan.deletions
        assert self.held(store).files == there.files

    def test_copy_deletes_nothing(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """And brings what is new or changed."""
        run(there, store)
        there.write("a", b"changed")
        there.remove("gone")

        run(there, store, Verb.COPY)
        assert self.held(store).files == {**self.FILES, "a": b"changed"}

    def test_a_dry_run_changes_nothing(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """And says what a sync would do."""
        run(there, store)
        there.write("a", b"changed")

        shown = run(there, store, Verb.DRYRUN)
        assert ([put.item.path for put in shown.plan.puts], shown.due, shown.changed) == (["a"], True, False)
        assert self.held(store).files == self.FILES

    def test_links_and_directories(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """Where it keeps them; an empty directory always."""
        there.add(Item("empty", Kind.DIR, mode=0o755))
        if store.capabilities.links:
            there.add(Item("link", Kind.LINK, target="d/b"))
        run(there, store)

        back = self.held(store).tree
        empty, link = back.get("empty"), back.get("link")
        assert empty is not None
        assert empty.kind is Kind.DIR
        assert not store.capabilities.links or (link is not None and link.target == "d/b")
        assert run(there, store).plan.is_empty

    def test_a_transaction_that_is_left_is_none(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """Where it is staged, everything is as it was; and the next run goes on everywhere."""
        run(there, store)
        there.write("a", b"changed")
        there.write("new", b"n")
        there.remove("gone")
        before = self.named(store)

        with (
            store.open_target(writable=True) as target,
            there.open_source(target=store.capabilities, again=False) as source,
        ):
            wanted, present = source.look().snapshot(), target.look().snapshot()
            present = target.refine(present, against=wanted, jobs=1, progress=lambda size: None)
            plan = planner.make(wanted.tree, present.tree)
            with (
                contextlib.suppress(ZeroDivisionError),
                target.transaction(present, plan, Policy(deletes=True, patient=False)) as transaction,
            ):
                for body in source.read(transaction.wanted, jobs=1, as_objects=False).bodies:
                    transaction.put(body, lambda size: None)
                raise ZeroDivisionError

        if transaction.is_staged:
            assert self.named(store) == before
        run(there, store)
        assert self.held(store).files == there.files

    def named(self, store: Readable[Any]) -> dict[str, int] | None:
        """Which files a store names, and their sizes; None where it says that a run is not finished."""
        try:
            with store.open_source(target=MemoryStore.capabilities, again=False) as source:
                found = source.look().snapshot().tree
        except PushInProgress:
            return None
        return {item.path: item.size for item in found if item.kind is Kind.FILE}

    def test_a_source_that_moves_is_read_again(self, store: Store[Any, Any], there: MemoryStore) -> None:
        """Where the target is staged; in any case the next run brings what has come meanwhile."""
        run(there, store)
        there.write("a", b"changed")
        seen: list[Event] = []

        def move(event: Event) -> None:
            seen.append(event)
            if isinstance(event, events.Phase) and event.what == "moving files" and "new" not in there.files:
                there.write("new", b"n")

        first = replicate(there, store, Job(Verb.SYNC, EVERYTHING, ANY_LIMIT), RunContext("contract", 4, move))

        assert first.changed
        restarted = any(isinstance(event, events.Restarted) for event in seen)
        assert ("new" in self.held(store).files) is restarted
        run(there, store)
        assert self.held(store).files == there.files
