"""A slave's directory changed step by step, without a network: something can happen between any two steps."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from s32s.core import plan as planner
from s32s.core.item import Item
from s32s.core.tree import Tree, make
from s32s.stores.base import Policy, Snapshot
from s32s.stores.local.stat_cache import StatCache, stamp
from s32s.stores.local.store import LocalStore
from s32s.system import atomic

OLD_NS = 1_700_000_000_000_000_000
PATIENT, LAST, COPY = Policy(True, True), Policy(True, False), Policy(False, True)
#: What may be called while a change goes on, in this order.
MOMENTS = ["downloads", "links", "synced", "exchanged", "swept"]

Act = Callable[[Path], object]


class Bytes:
    """A body whose bytes are at hand."""

    def __init__(self, item: Item, data: bytes) -> None:
        self.item = item
        self._data = data

    def chunks(self) -> Iterator[bytes]:
        """All of them."""
        yield self._data


class Run:
    """One run against a target, with what happens meanwhile."""

    def __init__(self, root: Path, *, in_place: bool = False, index: StatCache | None = None) -> None:
        self.root = root
        self.index = index or StatCache()
        self.told: list[str] = []
        self.store = LocalStore(
            str(root), in_place=in_place, load_cache=lambda: self.index, save_cache=self._save, warn=self.told.append
        )

    def go(
        self,
        source: Mapping[str, bytes],
        policy: Policy = PATIENT,
        moments: Mapping[str, Act] | None = None,
        patch: pytest.MonkeyPatch | None = None,
        *,
        mode: int = 0o644,
    ) -> list[str]:
        """Make the target what `source` says; return what people are told.

        Args:
            moments: what happens when, see `MOMENTS`.
            patch: for what happens within a step.
            mode: of every file.

        Raises:
            SourceChanged: the run would start over.
        """
        wanted = tree_of(source, mode)

        def meanwhile(moment: str) -> None:
            if act := (moments or {}).get(moment):
                act(self.root)

        real = atomic.sync_filesystem

        def synced(fd: int) -> None:
            real(fd)
            meanwhile("synced")

        self.told.clear()
        with self.store.open_target(writable=True) as target:
            found = target.look().snapshot()
            found = target.refine(found, against=Snapshot(wanted), jobs=1, progress=lambda size: None)
            plan = planner.make(wanted, found.tree, deletes=policy.deletes)
            with target.transaction(found, plan, policy) as change:
                for item in change.wanted:
                    change.put(Bytes(item, source[item.path]), lambda size: None)
                meanwhile("downloads")
                with patch.context() if patch else contextlib.nullcontext() as tap:
                    if tap:
                        tap.setattr(atomic, "sync_filesystem", synced)
                    published = change.publish()
                meanwhile("exchanged")
                change.sweep()
            meanwhile("swept")
            target.remember(found, plan, published)
        self._check_index()
        return moved(self.told)

    def _check_index(self) -> None:
        """Whatever is remembered of a file that looks as it did then must be true."""
        for path, seen in self.index.items():
            file = self.root / path
            if file.is_file() and seen.holds_for(stamp(file.stat())):
                assert seen.sha256 == hashlib.sha256(file.read_bytes()).hexdigest(), f"{path} is remembered wrongly"

    def _save(self, index: StatCache) -> None:
        self.index = index


def moved(warnings: list[str]) -> list[str]:
    """The names that a run says have moved meanwhile."""
    return [name for text in warnings if "changed during the run" in text for name in re.findall(r'"([^"]+)"', text)]


def tree_of(source: Mapping[str, bytes], mode: int = 0o644) -> Tree:
    """A source with hashes, as a manifest names it."""
    return make(
        Item(path, size=len(data), mtime_ns=OLD_NS, mode=mode, sha256=hashlib.sha256(data).hexdigest())
        for path, data in source.items()
    )
