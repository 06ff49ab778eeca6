"""One changed file among a million, in packs: what a push and a pull cost, without a disk in the way.

    .venv/bin/python tests/bench/million.py [--files N]

The source and the target are trees in memory, and so is the backend: requests and bytes are counted there, seconds are
those of s32s alone. The first push is part of it. Peak memory is of the whole process, backend included; that of the
backend is told as well.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.packed import Weighing, kept_in_memory

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.backends.memory import MemoryBackend
from s32s.core.columns import Columns
from s32s.core.guards import HALF, Limits
from s32s.core.item import Item
from s32s.core.plan import Plan, Verb
from s32s.core.rules import EVERYTHING
from s32s.core.tree import Tree
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import (
    Body,
    Look,
    Policy,
    Progress,
    Published,
    Reading,
    Snapshot,
    StoreCapabilities,
    Transaction,
)
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.publisher import Writer

JOB = Job(Verb.SYNC, EVERYTHING, Limits(HALF, force=True))


def content(path: str, version: int) -> bytes:
    """What a file holds."""
    return hashlib.sha256(f"{path} {version}".encode()).digest() * 2


class Million:
    """A tree of so many files of 64 bytes, of which one may be another one; a source, and a target that counts."""

    capabilities = StoreCapabilities()

    def __init__(self, files: int, changed: int | None = None) -> None:
        self.location = f"memory:{files}"
        self.version = {self.path(changed): 1} if changed is not None else {}
        columns = Columns()
        for number in range(files):
            path = self.path(number)
            data = content(path, self.version.get(path, 0))
            mtime_ns = 1_700_000_000_000_000_000 + self.version.get(path, 0)
            columns.append(path, len(data), mtime_ns, 0o644, hashlib.sha256(data).digest())
        self.tree = Tree(columns)
        self.came: list[str] = []

    @staticmethod
    def path(number: int) -> str:
        """The path of one file."""
        return f"department-{number // 20_000:03}/project-{number // 200:05}/document-{number:07}.txt"

    @contextmanager
    def open_source(self, *, target: StoreCapabilities, again: bool) -> Iterator[Million]:
        """See `Readable`."""
        yield self

    @contextmanager
    def open_target(self, *, writable: bool) -> Iterator[Million]:
        """See `Writable`."""
        yield self

    def look(self) -> Look[Snapshot]:
        """See `Source`."""
        return Look(lambda: None, lambda: Snapshot(self.tree))

    def refine(self, mine: Snapshot, *, against: Snapshot, jobs: int, progress: Progress) -> Snapshot:
        """See `Source`."""
        return mine

    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """See `Source`."""
        return Reading((_Body(item, self.version) for item in items), 1)

    def confirm(self, mine: Snapshot) -> None:
        """See `Source`."""

    def check(self, mine: Snapshot, plan: Plan, wanted: Tree) -> None:
        """See `Target`."""

    def check_changeable(self) -> None:
        """See `Target`."""

    @contextmanager
    def transaction(self, mine: Snapshot, plan: Plan, policy: Policy) -> Iterator[Transaction]:
        """See `Target`."""
        yield _Taking(plan, self.came)

    def remember(self, mine: Snapshot, plan: Plan, published: Published | None) -> None:
        """See `Source`."""


class _Body:
    def __init__(self, item: Item, version: dict[str, int]) -> None:
        self.item = item
        self._version = version

    def chunks(self) -> Iterator[Chunk]:
        yield content(self.item.path, self._version.get(self.item.path, 0))

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        return None


class _Taking:
    is_staged = True
    takes_objects = False

    def __init__(self, plan: Plan, came: list[str]) -> None:
        self.wanted = [put.item for put in plan.puts if put.needs_bytes]
        self._came = came

    def put(self, body: Body, progress: Progress) -> None:
        data = b"".join(body.chunks())
        if hashlib.sha256(data).hexdigest() != body.item.sha256:
            raise AssertionError(f"{body.item.path} arrived with wrong bytes")
        self._came.append(body.item.path)

    def publish(self) -> Published:
        return Published()

    def sweep(self) -> None:
        pass


def main() -> None:
    """Print what each step costs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    files: int = parser.parse_args().files
    backend = Weighing(MemoryBackend())
    master, slave = kept_in_memory(), kept_in_memory()

    def store(cache):  # type: ignore[no-untyped-def] # a cache
        me = Writer("me", "here", lambda: "2026-01-01T00:00:00Z")
        return PackedStore(backend, cache=cache, writer=me, history=History(10))

    before, after = Million(files), Million(files, changed=files // 2)
    gc.disable()  # as a run of s32s does

    def step(name: str, work) -> None:  # type: ignore[no-untyped-def] # a run
        backend.requests.clear()
        backend.size = 0
        began = time.perf_counter()
        outcome: Outcome = work()
        seconds = time.perf_counter() - began
        asked = ", ".join(f"{count} {verb}" for verb, count in sorted(backend.requests.items()))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name:<28} {seconds:7.2f} s  {backend.size / 1e6:9.3f} MB  {asked:<32} peak {peak_mb:6.0f} MB"
            f"  {len(outcome.plan.puts):,} changed",
            flush=True,
        )

    def run(source, target) -> Outcome:  # type: ignore[no-untyped-def] # stores
        return replicate(source, target, JOB, RunContext("bench", 8))

    step("first push", lambda: run(before, store(master)))
    step("nothing new, push", lambda: run(before, store(master)))
    step("nothing new, pull (cold)", lambda: run(store(slave), before))
    step("one changed, push", lambda: run(after, store(master)))
    step("one changed, pull", lambda: run(store(slave), before))
    if before.came != list(after.version):
        sys.exit(f"came: {before.came}")
    stored = sum(one.size for page in backend.list("") for one in page)
    print(f"the backend holds {stored / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
