"""A prefix in the packed layout as a store, on any backend. What writes is imported when it is opened for writing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s32s.backends.base import Backend
from s32s.stores.base import StoreCapabilities
from s32s.stores.objects.packed.prefix import PackedPrefix, SegmentCache
from s32s.stores.objects.packed.source import PackedSource
from s32s.stores.objects.source import Follower

if TYPE_CHECKING:
    from s32s.stores.objects.memory import PrefixMemory
    from s32s.stores.objects.packed.publication import History
    from s32s.stores.objects.packed.target import PackedTarget
    from s32s.stores.objects.publisher import Writer


def _unlocked(writable: bool) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class PackedStore:
    """A packed prefix; see `stores.base.Store`.

    Attributes:
        backend: the place.
        cache: where roots and segments are kept between runs.
        at: as a source: a generation other than the current one.
        label: what errors call it, where two of the kind take part.
        follower: as a source: what this machine knows of it.
        writer: as a target: who publishes there.
        history: as a target: what is said of the push, and how many generations stay.
        lock: as a target: keeps other runs of this machine out while it is held; asked with whether to write at all.
        warn: told what people should know and stops nothing.
        converts: as a target: whether the prefix may be in the plain layout until now.
        mirrors: as a target: the backend of which it becomes a copy; None for what holds content of its own.
        verify: as the copy of another one: read all of its packs, and copy those again that are damaged.
        memory: what a watch knows of it; None for a run that asks for all of it.
    """

    backend: Backend
    cache: SegmentCache = field(default_factory=SegmentCache)
    label: str = ""
    follower: Follower = field(default_factory=Follower)
    at: int | None = None
    writer: Writer | None = None
    history: History | None = None
    lock: Callable[[bool], contextlib.AbstractContextManager[None]] = _unlocked
    warn: Callable[[str], None] = lambda text: None
    converts: bool = False
    mirrors: Backend | None = None
    verify: bool = False
    memory: PrefixMemory | None = None

    @property
    def location(self) -> str:
        """See `Store`."""
        return self.backend.location

    @property
    def capabilities(self) -> StoreCapabilities:
        """See `Store`."""
        return StoreCapabilities()

    @contextlib.contextmanager
    def open_source(self, *, target: StoreCapabilities, again: bool) -> Iterator[PackedSource]:
        """See `Store`."""
        if again and self.memory is not None:
            self.memory.forget()
        yield PackedSource(self._prefix, self.follower, at=self.at, memory=self.memory)

    @contextlib.contextmanager
    def open_target(self, *, writable: bool) -> Iterator[PackedTarget]:
        """See `Store`."""
        from s32s.stores.objects.packed.publication import History
        from s32s.stores.objects.packed.target import PackedTarget

        if self.writer is None:
            raise AssertionError("a target without a writer")
        with self.lock(writable):
            if self.mirrors is not None:
                from s32s.stores.objects.packed.mirror import PackedMirror

                yield PackedMirror(self._prefix, self.writer, self.mirrors, verify=self.verify, warn=self.warn)
                return
            yield PackedTarget(
                self._prefix,
                self.writer,
                self.history or History(),
                warn=self.warn,
                memory=self.memory,
            )

    @property
    def _prefix(self) -> PackedPrefix:
        return PackedPrefix(self.backend, cache=self.cache, label=self.label, takes_plain=self.converts)
