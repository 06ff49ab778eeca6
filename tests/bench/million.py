"""One changed file among a million, in packs: what each push and each pull costs.

    .venv/bin/python tests/bench/million.py [--files N]

The source and the target are trees in memory; the prefix and what each machine keeps between runs are directories. Each
step is a process of its own, so its peak memory is that of one run, its two trees included. Requests and bytes are
counted at the backend, and seconds are without those that it takes to make the tree of the test.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.packed import Weighing

from s32s.agent.segment_cache import segment_cache
from s32s.backends.base import Backend, Chunk, PutResult
from s32s.backends.directory import DirectoryBackend
from s32s.core.columns import Columns
from s32s.core.guards import HALF, Limits
from s32s.core.item import Item
from s32s.core.plan import Plan, Verb
from s32s.core.rules import EVERYTHING
from s32s.core.tree import Tree
from s32s.replication.job import Job, RunContext
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

STEPS = ("first push", "same push", "first pull", "one changed push", "one changed pull")
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


def measure(step: str, files: int, top: Path) -> None:
    """Run one step and print what it costs."""
    backend = Weighing(DirectoryBackend(str(top / "prefix")))
    is_push, changed = step.endswith("push"), files // 2 if step.startswith("one changed") else None
    me = Writer("me", "here", lambda: "2026-01-01T00:00:00Z")
    store = PackedStore(
        backend,
        cache=segment_cache(top / ("master" if is_push else "slave"), writable=True),
        writer=me,
        history=History(10),
    )
    tree = Million(files, changed=changed if is_push else None)
    gc.disable()  # as a run of s32s does
    began, worked = time.perf_counter(), time.process_time()
    context = RunContext("bench", 8)
    outcome = replicate(tree, store, JOB, context) if is_push else replicate(store, tree, JOB, context)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - worked
    asked = ", ".join(f"{count} {verb}" for verb, count in sorted(backend.requests.items()))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{step:<18} {seconds:7.2f} s ({cpu_s:6.2f} s of CPU)  peak {peak_mb:6,.0f} MB"
        f"  {sum(backend.requests.values()):3} requests"
        f"  {backend.size / 1e6:9.3f} MB moved  {len(outcome.plan.puts):,} changed  ({asked})",
        flush=True,
    )
    came = [] if is_push or changed is None else [Million.path(changed)]
    if tree.came != came:
        sys.exit(f"came: {tree.came}")


def main() -> None:
    """Run all steps, or in a process of its own one of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--step", choices=STEPS, help="this one alone, as the others have left --top")
    parser.add_argument("--top", type=Path, help="directory of the prefix and of both caches")
    asked = parser.parse_args()
    if asked.step:
        measure(asked.step, asked.files, asked.top)
        return
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "prefix").mkdir()
        for step in STEPS:
            command = [sys.executable, __file__, "--files", str(asked.files), "--step", step, "--top", top]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
