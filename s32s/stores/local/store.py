"""A directory of this machine as a store. Each half is imported when it is opened: a run needs but one of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s32s.core.rules import EVERYTHING, Rules
from s32s.stores.base import StoreCapabilities
from s32s.stores.local.stat_cache import StatCache

if TYPE_CHECKING:
    from s32s.stores.local.memory import LocalMemory
    from s32s.stores.local.source import LocalSource
    from s32s.stores.local.target import LocalTarget
    from s32s.stores.local.target_rules import TargetRules

CAPABILITIES = StoreCapabilities(is_directory=True)


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A directory; see `stores.base.Store`.

    Attributes:
        location: its absolute path.
        rules: as a source: what takes part; the rest is not even looked at.
        may_write: as a target: where one may be; None for anywhere.
        in_place: as a target: change file by file instead of by exchange.
        load_cache: asked once for what is known of the files; nothing is known to read every file.
        save_cache: told what is known of them after a run.
        warn: told what people should know and stops nothing.
        memory: what a watch knows of it; None for a run that walks it.
        keeps: as a target: the generation that it follows, where what a change replaces is kept as an earlier tree.
        is_shared: as a source: a folder that several people share, see `LocalSource`.
    """

    location: str
    rules: Rules = EVERYTHING
    may_write: TargetRules | None = None
    in_place: bool = False
    load_cache: Callable[[], StatCache] = StatCache
    save_cache: Callable[[StatCache], None] = lambda cache: None
    warn: Callable[[str], None] = lambda text: None
    memory: LocalMemory | None = None
    keeps: int | None = None
    is_shared: bool = False

    @property
    def capabilities(self) -> StoreCapabilities:
        """See `Store`."""
        return CAPABILITIES

    def open_source(self, *, target: StoreCapabilities, again: bool) -> AbstractContextManager[LocalSource]:
        """See `Store`; opened afresh for each attempt, as what was found the last time may be what has changed."""
        from s32s.stores.local.source import open_source

        if again and self.memory is not None:
            self.memory.forget()
        return open_source(
            self.location,
            rules=self.rules,
            fits=target,
            load_cache=self.load_cache,
            save_cache=self.save_cache,
            memory=self.memory,
            is_shared=self.is_shared,
        )

    def open_target(self, *, writable: bool) -> AbstractContextManager[LocalTarget]:
        """See `Store`."""
        from s32s.stores.local.target import open_target
        from s32s.stores.local.target_rules import check_target

        if self.may_write is not None:
            check_target(self.location, self.may_write)
        return open_target(
            self.location,
            writable=writable,
            in_place=self.in_place,
            load_cache=self.load_cache,
            save_cache=self.save_cache,
            warn=self.warn,
            memory=self.memory,
            keeps=self.keeps,
        )
