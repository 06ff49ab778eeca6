"""What a watch keeps equal: an entry of the maps, or two places; see `watched.Pair`."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from s32s.agent import runner
from s32s.agent.between import KIND, BetweenPair
from s32s.agent.memories import Memories
from s32s.agent.options import Options
from s32s.agent.roles.base import AgentContext
from s32s.agent.roles.peer import folder_of, shared_rules
from s32s.agent.state import State
from s32s.backends.base import Backend
from s32s.config.maps import Entry, MapSet
from s32s.core.events import Emit, EntryFinished
from s32s.core.location import Directory
from s32s.core.plan import Verb
from s32s.core.role import Role
from s32s.core.rules import Rules
from s32s.stores.objects.prefix import read_head
from s32s.system.rate_limit import RateLimiter

#: How often (seconds) it is noted at most that all is well.
_ALIVE_S = 60.0


@dataclass(slots=True)
class _Alive:
    """Notes at most once a minute that a target is up to date."""

    state: State
    name: str
    role: str
    noted_s: float = 0.0

    def note(self) -> None:
        now_s = time.monotonic()
        if now_s - self.noted_s < _ALIVE_S:
            return
        self.noted_s = now_s
        last = self.state.result(self.name, self.role)
        if last is not None and last.ok:
            self.state.save_result(self.name, self.role, replace(last, time_s=time.time(), success_s=time.time()))


class EntryPair:
    """An entry of the maps; see `watched.Pair`."""

    def __init__(
        self,
        entry: Entry,
        maps: MapSet,
        agent: AgentContext,
        role: Role,
        options: Options,
        stop: threading.Event,
    ) -> None:
        self.entry = entry
        self.maps = maps
        self._agent = agent
        self._role = role
        self._options = options
        self._stop = stop
        rate = options.bandwidth or agent.settings.bandwidth
        self._rates = (RateLimiter(rate), RateLimiter(rate)) if rate else None
        self._alive = _Alive(agent.state, entry.name, role.value)

    @property
    def name(self) -> str:
        """See `Pair`."""
        return self.entry.name

    @property
    def source_root(self) -> str | None:
        """See `Pair`."""
        if self._role is Role.PEER and self.entry.peer is not None:
            return folder_of(self.entry.name, self.entry.peer, self._agent.settings.peer.folders)
        return self.entry.master if self._role is Role.MASTER else None

    @property
    def is_shared(self) -> bool:
        """See `Pair`."""
        return self._role is Role.PEER

    @property
    def rules(self) -> Rules:
        """See `Pair`."""
        if self.is_shared:
            return shared_rules(self.entry, self._agent.settings.peer.ignore).sparing_own()
        return self.entry.rules()

    def run(self, emit: Emit, memories: Memories) -> EntryFinished:
        """See `Pair`."""
        return runner.run_entry(
            self.entry,
            self.maps,
            self._agent,
            verb=Verb.SYNC,
            role=self._role,
            options=self._options,
            rates=self._rates,
            emit=emit,
            stop=self._stop,
            memories=memories,
        )

    def position(self) -> tuple[int, str] | None:
        """See `Pair`."""
        found = _position(self._agent.services.backend(self.entry.location)) if self.entry.manifest else None
        return (found[0], "") if found is not None and self.is_shared else found

    def is_alive(self) -> None:
        """See `Pair`."""
        self._alive.note()

    def save_caches(self, memories: Memories) -> None:
        """See `Pair`."""
        _save_caches(self._agent.state, self.source_root, self.entry.place(self._role), memories)


class PlacesPair:
    """Two places without a map; see `watched.Pair`."""

    def __init__(self, pair: BetweenPair) -> None:
        self._pair = pair
        self._alive = _Alive(pair.state, pair.key, KIND)

    @property
    def name(self) -> str:
        """See `Pair`."""
        return self._pair.name

    @property
    def source_root(self) -> str | None:
        """See `Pair`."""
        return self._pair.source.path if isinstance(self._pair.source, Directory) else None

    @property
    def is_shared(self) -> bool:
        """See `Pair`."""
        return False

    @property
    def rules(self) -> Rules:
        """See `Pair`."""
        return self._pair.rules

    def run(self, emit: Emit, memories: Memories) -> EntryFinished:
        """See `Pair`."""
        return self._pair.run(emit, memories)

    def position(self) -> tuple[int, str] | None:
        """See `Pair`."""
        return _position(self._pair.services.backend(self._pair.source)) if self._pair.asked.manifest else None

    def is_alive(self) -> None:
        """See `Pair`."""
        self._alive.note()

    def save_caches(self, memories: Memories) -> None:
        """See `Pair`."""
        target = self._pair.target.path if isinstance(self._pair.target, Directory) else None
        _save_caches(self._pair.state, self.source_root, target, memories)


def _position(backend: Backend) -> tuple[int, str] | None:
    found = read_head(backend)
    return (found.position.generation, found.position.manifest) if found.is_published else None


def _save_caches(state: State, source: str | None, target: str | None, memories: Memories) -> None:
    for root, memory in ((source, memories.source_dir), (target, memories.target_dir)):
        if root is not None and memory.unsaved and memory.cache is not None:
            state.save_stat_cache(root, memory.cache)
            memory.unsaved = False
