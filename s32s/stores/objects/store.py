"""A prefix as a store: one object a file, on any backend. What writes is imported when it is opened for writing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s32s.backends.base import Backend
from s32s.core.errors import Interrupted, S32sError
from s32s.core.rules import EVERYTHING, Rules
from s32s.stores.base import StoreCapabilities
from s32s.stores.objects.prefix import ManifestCache, Prefix
from s32s.stores.objects.source import Follower, ObjectSource

if TYPE_CHECKING:
    from s32s.stores.objects.etags import CopyCache
    from s32s.stores.objects.memory import PrefixMemory
    from s32s.stores.objects.publisher import Writer
    from s32s.stores.objects.target import ObjectTarget


def _unlocked(writable: bool) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A prefix; see `stores.base.Store`.

    Attributes:
        backend: the place.
        rules: paths that they ignore are not reason to call a manifest stale.
        has_manifest: False to neither read nor write one.
        manifests: where manifests are kept between runs.
        label: what errors call it, where two of the kind take part.
        follower: as a source: what this machine knows of it.
        writer: as a target: who publishes there.
        like_source: as a target: write a manifest only where the source has one, or where one is already.
        copies: as a target: what is known of earlier copies; None where nothing is to be known.
        lock: as a target: keeps other runs of this machine out while it is held; asked with whether to write at all.
        warn: told what people should know and stops nothing.
        memory: what a watch knows of it; None for a run that asks for all of it.
        takes_over: as a target: asked before objects of a prefix that s32s has never published to are replaced or
            deleted; None for not at all.
        converts: as a target: whether the prefix may hold packs until now.
    """

    backend: Backend
    rules: Rules = EVERYTHING
    has_manifest: bool = True
    manifests: ManifestCache = field(default_factory=ManifestCache)
    label: str = ""
    follower: Follower = field(default_factory=Follower)
    writer: Writer | None = None
    like_source: bool = False
    copies: CopyCache | None = None
    lock: Callable[[bool], contextlib.AbstractContextManager[None]] = _unlocked
    warn: Callable[[str], None] = lambda text: None
    memory: PrefixMemory | None = None
    takes_over: Callable[[str], None] | None = None
    converts: bool = False

    @property
    def location(self) -> str:
        """See `Store`."""
        return self.backend.location

    @property
    def capabilities(self) -> StoreCapabilities:
        """See `Store`."""
        return StoreCapabilities(
            max_path_bytes=self.backend.capabilities.max_key_bytes,
            links=self.has_manifest,
            directories=self.has_manifest,
            modes=self.has_manifest,
            times=self.has_manifest,
        )

    @contextlib.contextmanager
    def open_source(self, *, target: StoreCapabilities, again: bool) -> Iterator[ObjectSource]:
        """See `Store`. What a comparison that goes on meanwhile finds comes before every other trouble."""
        follower = self.follower._replace(compares=self.follower.compares or again)
        if again and self.memory is not None:
            self.memory.forget()
        source = ObjectSource(
            self._prefix(on_disk=target.is_directory), follower, has_manifest=self.has_manifest, memory=self.memory
        )
        try:
            yield source
        except Interrupted:
            raise
        except S32sError:
            source.wait()
            raise
        source.wait()

    @contextlib.contextmanager
    def open_target(self, *, writable: bool) -> Iterator[ObjectTarget]:
        """See `Store`."""
        from s32s.stores.objects.target import ObjectTarget

        if self.writer is None:
            raise AssertionError("a target without a writer")
        with self.lock(writable):
            yield ObjectTarget(
                self._prefix(on_disk=False),
                self.writer,
                has_manifest=self.has_manifest,
                like_source=self.like_source,
                manifests=self.manifests,
                copies=self.copies,
                warn=self.warn,
                memory=self.memory,
                takes_over=self.takes_over,
            )

    def _prefix(self, *, on_disk: bool) -> Prefix:
        return Prefix(
            self.backend,
            rules=self.rules,
            cache=self.manifests,
            on_disk=on_disk,
            label=self.label,
            takes_packs=self.converts,
        )
