"""Packed prefixes in memory: pushes, pulls, and backends that fail at one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from s32s.backends.base import Backend
from s32s.backends.memory import MemoryBackend
from s32s.backends.wrappers import Counting, Wrapper
from s32s.core.errors import Unreachable
from s32s.core.guards import HALF, Limits
from s32s.core.item import Kind
from s32s.core.plan import Verb
from s32s.core.rules import EVERYTHING
from s32s.format import packs
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Body, Readable, StoreCapabilities
from s32s.stores.memory import MemoryStore
from s32s.stores.objects.deleted import DeletedFolder
from s32s.stores.objects.packed import upkeep
from s32s.stores.objects.packed.heal import Healed, heal
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot, SegmentCache
from s32s.stores.objects.packed.publication import History, root_of
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.packed.upkeep import Verified
from s32s.stores.objects.publisher import Writer

SYNC = Job(Verb.SYNC, EVERYTHING, Limits(HALF, force=True))
DRYRUN = Job(Verb.DRYRUN, EVERYTHING, Limits(HALF, force=True))


def writer(name: str = "me") -> Writer:
    """A master."""
    return Writer(name, f"host of {name}", lambda: "2026-01-01T00:00:00Z")


def kept_in_memory() -> SegmentCache:
    """A cache as a machine has it."""
    blobs: dict[tuple[str, str], bytes] = {}
    unfinished: dict[str, dict[str, int]] = {}

    def save(place: str, fresh: Mapping[str, bytes], used: Any) -> None:
        blobs.update({(place, sha256): data for sha256, data in fresh.items()})

    def note(place: str, pack: tuple[str, int] | None) -> None:
        if pack is None:
            unfinished.pop(place, None)
        else:
            unfinished.setdefault(place, {})[pack[0]] = pack[1]

    return SegmentCache(
        lambda place, sha256: blobs.get((place, sha256)), save, lambda place: dict(unfinished.get(place, {})), note
    )


class Packed:
    """A prefix and the master that pushes to it."""

    def __init__(self, backend: Backend | None = None, *, keep: int = 10, name: str = "me") -> None:
        self.backend = backend or MemoryBackend()
        self.keep = keep
        self.writer = writer(name)
        self.cache = kept_in_memory()

    def store(self, backend: Backend | None = None, **more: Any) -> PackedStore:
        """The prefix as a store."""
        return PackedStore(
            backend or self.backend, cache=self.cache, writer=self.writer, history=History(self.keep), **more
        )

    def push(self, source: Readable[Any] | Mapping[str, bytes], backend: Backend | None = None) -> Outcome:
        """Make the prefix what a store, or some files, are."""
        tree = stored_in_memory(source) if isinstance(source, Mapping) else source
        return replicate(tree, self.store(backend), SYNC, RunContext("push", jobs=4))

    def verify(self) -> Verified:
        """What is wrong with it, as this machine sees it."""
        prefix = PackedPrefix(self.backend, cache=self.cache)
        return upkeep.verify(prefix, prefix.snapshot(prefix.read_head()), progress=lambda size: None)

    def heal(self, source: MemoryStore) -> Healed:
        """Push again what is damaged, of files that are still there."""
        damaged, prefix = self.verify().damaged, PackedPrefix(self.backend, cache=self.cache)

        def read(wanted: Sequence[str]) -> Iterator[Body]:
            with source.open_source(target=StoreCapabilities(), again=False) as here:
                items = [item for path in wanted if (item := source.tree.get(path)) is not None]
                yield from here.read(items, jobs=1, as_objects=False).bodies

        return heal(prefix, prefix.snapshot(prefix.read_head()), damaged, read, self.writer, History(self.keep))

    def prefix(self, backend: Backend | None = None) -> PackedPrefix:
        """What it holds, as somebody else sees it who knows nothing yet."""
        return PackedPrefix(backend or self.backend, cache=SegmentCache())

    def snapshot(self) -> PackedSnapshot:
        """The current generation, read from the packs."""
        prefix = self.prefix()
        return prefix.snapshot(prefix.read_head())

    def numbers(self) -> list[int]:
        """The generations that are kept, the newest first."""
        root = self.snapshot().root
        return [root.number, *(one.published.number for one in root.kept)] if root else []

    def files(self, number: int | None = None) -> dict[str, bytes]:
        """The bytes of all files of a generation, by path; each verified by who stages it."""
        target = MemoryStore()
        source = PackedStore(self.backend, at=number)
        replicate(source, target, SYNC, RunContext("pull", jobs=4))
        return target.files

    def all_generations(self) -> dict[int, dict[str, bytes]]:
        """Every generation that is kept, read whole."""
        return {number: self.files(number) for number in self.numbers()}

    def stored(self) -> dict[str, int]:
        """The packs that are there, and their bytes."""
        return {
            name: one.size
            for page in self.backend.list(packs.PACKS)
            for one in page
            if (name := packs.pack_of(one.key)) is not None
        }

    def needed(self, number: int) -> dict[str, int]:
        """The packs that one generation names, and how many bytes of them it needs."""
        mine = self.snapshot()
        ref = root_of(mine, number)
        root, _, places = self.prefix().generation(ref)
        used = dict(places.used())
        for segment in root.segments:
            used[segment.pack] = used.get(segment.pack, 0) + segment.stored
        used[ref.pack] = used.get(ref.pack, 0) + ref.stored
        return {pack: live for pack, live in used.items() if live}


class FailingAt(Wrapper):
    """Fails at one request, counted from 0 on, and at all after it: the machine has lost its line, or its power.

    Args:
        number: of that request.
        is_lost: it is done, and only its answer is lost.
    """

    def __init__(self, inner: Backend, number: int, *, is_lost: bool = False) -> None:
        super().__init__(inner)
        self.left = number
        self.is_lost = is_lost
        self.count = 0

    def _met(self, work: Callable[[], Any]) -> Any:
        self.count += 1
        if self.left > 0:
            self.left -= 1
            return work()
        if self.left == 0 and self.is_lost:
            work()
        self.left = -1
        raise Unreachable("the line is cut")

    def list(self, prefix: str) -> Any:
        """See `Backend`."""
        return iter(self._met(lambda: list(self.inner.list(prefix))))

    def head(self, key: str, **how: Any) -> Any:
        """See `Backend`."""
        return self._met(lambda: self.inner.head(key, **how))

    def get(self, key: str, **how: Any) -> Any:
        """See `Backend`."""
        return self._met(lambda: self.inner.get(key, **how))

    def read(self, key: str, *, limit: int) -> Any:
        """See `Backend`."""
        return self._met(lambda: self.inner.read(key, limit=limit))

    def get_parts(self, requests: Any, *, concurrency: int) -> Any:
        """See `ReadsParts`."""
        for number, request in enumerate(requests):
            yield number, self._met(lambda one=request: next(super(FailingAt, self).get_parts([one], concurrency=1))[1])

    def put_many(self, requests: Any, *, concurrency: int) -> Any:
        """See `Backend`."""
        for number, request in enumerate(requests):
            yield number, self._met(lambda one=request: next(self.inner.put_many([one], concurrency=1))[1])

    def put(self, key: str, chunks: Any, **how: Any) -> Any:
        """See `Backend`."""
        return self._met(lambda: self.inner.put(key, chunks, **how))

    def delete(self, keys: Any) -> Any:
        """See `Backend`."""
        return self._met(lambda: self.inner.delete(keys))


class NoDeletes(Wrapper):
    """Keeps what it has, as a bucket with an object lock."""

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        return dict.fromkeys(keys, "it is locked")


class PruningAt(Wrapper):
    """A reader's backend; the master prunes all it can before one of its requests for parts.

    Attributes:
        is_done: whether that came.
    """

    def __init__(self, packed: Packed, number: int) -> None:
        super().__init__(packed.backend)
        self.packed = packed
        self.left = number
        self.is_done = False

    def get_parts(self, requests: Any, *, concurrency: int) -> Any:
        """See `ReadsParts`."""
        self.left -= 1
        if not self.left:
            upkeep.prune(self.packed.prefix(), self.packed.snapshot(), self.packed.writer, 1, grace_s=0)
            self.is_done = True
        return super().get_parts(requests, concurrency=concurrency)


class Weighing(Counting):
    """Counts bytes, too.

    Attributes:
        size: of all that was read and written.
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.size = 0

    def get_parts(self, requests: Any, *, concurrency: int) -> Any:
        """See `ReadsParts`."""
        for number, data in super().get_parts(requests, concurrency=concurrency):
            self.size += len(data or b"")
            yield number, data

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        data, etag = super().read(key, limit=limit)
        self.size += len(data)
        return data, etag

    def put_many(self, requests: Any, *, concurrency: int) -> Any:
        """See `Backend`."""
        requests = list(requests)
        for number, result in self.inner.put_many(requests, concurrency=concurrency):
            if result is not None:  # else `put` is asked for it
                self.requests["put"] += 1
                self.size += len(requests[number].data)
            yield number, result

    def put(self, key: str, chunks: Any, *, size: int, **how: Any) -> Any:
        """See `Backend`."""
        self.size += size
        return super().put(key, chunks, size=size, **how)


def lines_in_packs(backend: Backend) -> set[str]:
    """Every line in a file of the current generation, or of the deleted folder."""
    kept = DeletedFolder(backend)
    texts = [*Packed(backend).files().values()]
    for one in kept.found():
        texts += [b"".join(kept.open(one, item)) for item in one.items if item.kind is Kind.FILE]
    return {line for text in texts for line in text.decode().split("\n")}


def stored_in_memory(files: Mapping[str, bytes]) -> MemoryStore:
    """Files that are as old as all others."""
    made = MemoryStore()
    for path, data in files.items():
        made.write(path, data, mtime_ns=1_700_000_000_000_000_000)
    return made


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Files of a directory."""
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root
