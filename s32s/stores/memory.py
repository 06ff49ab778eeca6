"""A tree in memory: for tests, demonstrations, and as the smallest example of a store."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core import tree
from s32s.core.errors import IntegrityError, Locked, SourceChanged
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan
from s32s.core.tree import Tree
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


class MemoryStore:
    """Items and their bytes in a dictionary; see `stores.base.Store`.

    Args:
        files: what it holds at first, by path.
    """

    capabilities = StoreCapabilities()

    def __init__(self, files: Mapping[str, bytes] | None = None, *, location: str = "memory:") -> None:
        self.location = location
        self._items: dict[str, tuple[Item, bytes]] = {}
        self._lock = threading.Lock()
        for path, data in (files or {}).items():
            self.write(path, data)

    def write(self, path: str, data: bytes, *, mtime_ns: int | None = None, mode: int = 0o644) -> None:
        """Put a file there, as another program would."""
        made = _file(path, data)._replace(mtime_ns=time.time_ns() if mtime_ns is None else mtime_ns, mode=mode)
        self._items[path] = made, data

    def add(self, item: Item) -> None:
        """Put a directory or a symbolic link there."""
        self._items[item.path] = item, b""

    def remove(self, path: str) -> None:
        """Take something away."""
        del self._items[path]

    @property
    def files(self) -> dict[str, bytes]:
        """The bytes of all files, by path."""
        return {path: data for path, (item, data) in self._items.items() if item.kind is Kind.FILE}

    @property
    def tree(self) -> Tree:
        """All items."""
        return tree.make(item for item, _ in self._items.values())

    @contextlib.contextmanager
    def open_source(self, *, target: StoreCapabilities, again: bool) -> Iterator[_MemorySource]:
        """See `Store`."""
        yield _MemorySource(self._items)

    @contextlib.contextmanager
    def open_target(self, *, writable: bool) -> Iterator[_MemoryTarget]:
        """See `Store`."""
        if not writable:
            yield _MemoryTarget(self._items)
            return
        if not self._lock.acquire(blocking=False):
            raise Locked(f"another run works on {self.location}")
        try:
            yield _MemoryTarget(self._items)
        finally:
            self._lock.release()


class _Opened:
    def __init__(self, items: dict[str, tuple[Item, bytes]]) -> None:
        self._items = items

    def look(self) -> Look[Snapshot]:
        """See `Source`."""
        made = tree.make(item for item, _ in self._items.values())
        return Look(made.digest, lambda: Snapshot(made), tree=lambda: made)

    def refine(self, mine: Snapshot, *, against: Snapshot, jobs: int, progress: Progress) -> Snapshot:
        """See `Source`; every hash is known from the start."""
        return mine

    def remember(self, mine: Snapshot, plan: Plan, published: Published | None) -> None:
        """See `Source`; there is nothing that would be quicker."""


class _MemorySource(_Opened):
    def read(self, items: Sequence[Item], *, jobs: int, as_objects: bool) -> Reading:
        """See `Source`."""
        return Reading((_MemoryBody(self._items, item) for item in items), jobs)

    def confirm(self, mine: Snapshot) -> None:
        """See `Source`."""
        if tree.make(item for item, _ in self._items.values()) != mine.tree:
            raise SourceChanged("something was written during the run")


class _MemoryBody:
    def __init__(self, items: Mapping[str, tuple[Item, bytes]], item: Item) -> None:
        self._items = items
        self.item = item

    def chunks(self) -> Iterator[Chunk]:
        """See `Body`."""
        if self.item.path not in self._items:
            raise SourceChanged(f"{self.item.path} disappeared during the run")
        self.item, data = self._items[self.item.path]
        yield data

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """See `Body`."""
        return None


class _MemoryTarget(_Opened):
    def check(self, mine: Snapshot, plan: Plan, wanted: Tree) -> None:
        """See `Target`."""

    def check_changeable(self) -> None:
        """See `Target`."""

    @contextlib.contextmanager
    def transaction(self, mine: Snapshot, plan: Plan, policy: Policy) -> Iterator[Transaction]:
        """See `Target`."""
        yield _MemoryTransaction(self._items, plan)


class _MemoryTransaction:
    is_staged = True
    takes_objects = False

    def __init__(self, items: dict[str, tuple[Item, bytes]], plan: Plan) -> None:
        self.wanted: Sequence[Item] = [put.item for put in plan.puts if put.needs_bytes]
        self._items = items
        self._plan = plan
        self._came: dict[str, tuple[Item, bytes]] = {}

    def put(self, body: Body, progress: Progress) -> None:
        """See `Transaction`."""
        data = b"".join(body.chunks())
        progress(len(data))
        found = _file(body.item.path, data)
        if body.item.sha256 not in (None, found.sha256) or body.item.size != found.size:
            raise IntegrityError(f"{body.item.path} arrived with wrong bytes", paths=(body.item.path,))
        self._came[found.path] = found._replace(mtime_ns=body.item.mtime_ns, mode=body.item.mode), data

    def publish(self) -> Published:
        """See `Transaction`."""
        now = {path: held for path, held in self._items.items() if path not in {one.path for one in self._plan.extras}}
        for put in self._plan.puts:
            path = put.item.path
            if path in self._came:
                now[path] = self._came[path]
            elif put.old is not None and put.item.kind is Kind.FILE:
                old, data = now[path]
                now[path] = old._replace(mtime_ns=put.item.mtime_ns, mode=put.item.mode), data
            else:
                now[path] = put.item._replace(etag=None, version=None, stored_ns=None), b""
        self._items.clear()
        self._items.update(now)
        return Published()

    def sweep(self) -> None:
        """See `Transaction`."""


def _file(path: str, data: bytes) -> Item:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Item(path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), md5=md5)
