"""Watching: entries, or two places, are kept equal until somebody stops it.

One thread does all the work, pair after pair; others only say that there is some. What is looked at beside the pairs
themselves: whether the machine has slept, whether the maps have changed, whether the configuration is to be read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from s32s.agent import catalog, metrics, runner
from s32s.agent.between import KIND, BetweenPair
from s32s.agent.holds import tell_strays
from s32s.agent.options import Options
from s32s.agent.roles.base import AgentContext
from s32s.agent.state import State
from s32s.agent.watch_pairs import EntryPair, PlacesPair
from s32s.agent.watch_state import WatchState
from s32s.agent.watched import Pace, Pair, Watched
from s32s.config.settings import NotifySettings
from s32s.core import events
from s32s.core.errors import Interrupted, S32sError
from s32s.core.events import Emit, EntryFinished
from s32s.core.role import Role

#: How long the loop sleeps at most (seconds), so that a stop from another thread is noticed.
_SLEEP_S = 0.5
#: How often (seconds) the maps are looked at, and fetched where that is asked for.
_MAPS_S, _FETCH_S = 5.0, 60.0
#: A machine has slept when its clocks with and without sleep are so far apart (seconds).
_SLEPT_S = 5.0


def watch_entries(
    agent: AgentContext,
    names: Sequence[str] = (),
    *,
    role: Role | None = None,
    options: Options | None = None,
    pace: Pace | None = None,
    update_maps: bool = False,
    emit: Emit = events.silent,
    stop: threading.Event,
    reload: threading.Event | None = None,
    ready: Callable[[], None] = lambda: None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Keep the named entries, or all that have this machine's role, equal to their sources until `stop` is set.

    Args:
        names, role, options: see `runner.run`.
        pace: instead of the configuration's.
        update_maps: fetch the maps now and once a minute; otherwise only those that are cached are followed.
        emit: told what was done, and once of each failure; not of runs that find nothing.
        reload: set to return as well, so that the caller may begin again with another configuration.
        ready: called once, when all directories are watched.
        beat: called again and again as long as all is well.

    Raises:
        UsageError: a name that no map has.
        MapError, StoreError, Unreachable: there are no maps.
        Locked: another watch is at it.
        Interrupted: a signal handler raised it.
    """
    chosen, wanted = role or agent.settings.role, options or Options()
    maps = _Maps(agent, names, chosen, fetches=update_maps)

    def pairs() -> list[EntryPair]:
        if chosen is Role.SLAVE:
            tell_strays(maps.loaded, agent.state, emit)
        return [EntryPair(entry, maps.loaded, agent, chosen, wanted, stop) for entry in maps.chosen]

    def look() -> list[EntryPair] | None:
        return pairs() if maps.have_changed(emit) else None

    def after() -> None:
        if problem := metrics.write(agent, maps.loaded, chosen):
            emit(events.Warned("metrics", problem))

    loop = _Loop(
        agent.state,
        chosen.value,
        pace or Pace(agent.settings.watch.settle_s, agent.settings.watch.poll_s, agent.settings.list_every_s),
        emit=emit,
        stop=stop,
        reload=reload,
        beat=beat,
        look=look,
        after=after,
        tell=_heartbeat(agent.settings.notify, emit),
    )
    loop.run(pairs(), ready)


def watch_places(
    pair: BetweenPair,
    pace: Pace,
    *,
    emit: Emit = events.silent,
    stop: threading.Event,
    ready: Callable[[], None] = lambda: None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Keep one place equal to another one until `stop` is set.

    Args:
        emit, ready, beat: see `watch_entries`.

    Raises:
        Locked, Interrupted: see `watch_entries`.
    """
    _Loop(pair.state, KIND, pace, emit=emit, stop=stop, beat=beat).run([PlacesPair(pair)], ready)


def _heartbeat(settings: NotifySettings, emit: Emit) -> Callable[[Mapping[str, S32sError | None]], None]:
    """What is told how the entries stand."""
    if not (settings.url or settings.on_failure):
        return lambda standing: None
    from s32s.agent.notices import Heartbeat  # it takes a while to load

    return Heartbeat(settings, emit).tick


class _Maps:
    """The entries to watch, as the cached maps say now."""

    def __init__(self, agent: AgentContext, names: Sequence[str], role: Role, *, fetches: bool) -> None:
        self._agent = agent
        self._names = names
        self._role = role
        self._fetches = fetches
        self._trouble = ""
        self._fetched_s = time.monotonic()
        self._looked_s = time.monotonic()
        self.loaded = (
            catalog.update(agent.settings.maps, agent.state, agent.engine).maps
            if fetches
            else catalog.load(agent.settings.maps, agent.state, agent.engine)
        )
        self.chosen = runner.choose(self.loaded, names, role)

    def have_changed(self, emit: Emit) -> bool:
        """Whether there are other entries than before; looked at now and then."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _MAPS_S:
            return False
        self._looked_s = now_s
        settings, state, engine = self._agent.settings, self._agent.state, self._agent.engine
        try:
            if self._fetches and now_s - self._fetched_s >= _FETCH_S:
                self._fetched_s = now_s
                loaded = catalog.update(settings.maps, state, engine).maps
            else:
                loaded = catalog.cached(settings.maps, state, engine) or self.loaded
            chosen = runner.choose(loaded, self._names, self._role)
        except Interrupted:
            raise
        except S32sError as exc:
            if str(exc) != self._trouble:
                self._trouble = str(exc)
                emit(events.Warned("maps", f"{exc}; the entries of before are watched"))
            return False
        self._trouble = ""
        if loaded == self.loaded:
            return False
        self.loaded, self.chosen = loaded, chosen
        return True


class _Loop:
    """Ticks all pairs, and sleeps until one is due."""

    def __init__(
        self,
        state: State,
        role: str,
        pace: Pace,
        *,
        emit: Emit,
        stop: threading.Event,
        reload: threading.Event | None = None,
        beat: Callable[[], None],
        look: Callable[[], Sequence[Pair] | None] = lambda: None,
        after: Callable[[], None] = lambda: None,
        tell: Callable[[Mapping[str, S32sError | None]], None] = lambda standing: None,
    ) -> None:
        self._state = state
        self._role = role
        self._pace = pace
        self._emit = emit
        self._stop = stop
        self._reload = reload or threading.Event()
        self._beat = beat
        self._look = look
        self._after = after
        self._tell = tell
        self._wake = threading.Event()
        self._watched: dict[str, Watched] = {}
        self._held: dict[str, contextlib.ExitStack] = {}
        self._noted: dict[str, WatchState] = {}
        self._finished = 0
        self._apart_s = _slept_s()

    def run(self, pairs: Sequence[Pair], ready: Callable[[], None]) -> None:
        """See `watch_entries`."""
        try:
            self._take(pairs)
            is_ready = False
            while not (self._stop.is_set() or self._reload.is_set()):
                self._wake.clear()
                finished = self._finished
                pauses = [self._tick(watched) for watched in list(self._watched.values())]
                if not is_ready:
                    is_ready = True
                    ready()
                if finished != self._finished:
                    self._after()
                self._tell({name: watched.error for name, watched in self._watched.items()})
                self._wake.wait(min([_SLEEP_S, *pauses]))
                if (pairs_now := self._look()) is not None:
                    self._take(pairs_now)
                self._notice_sleep()
                self._beat()
        finally:
            for name in list(self._watched):
                self._leave(name)

    def _tick(self, watched: Watched) -> float:
        if self._stop.is_set():
            return 0.0
        self._beat()
        pause_s = watched.tick()
        if (state := watched.state) != self._noted.get(watched.pair.name):
            self._noted[watched.pair.name] = state
            self._state.save_watch(watched.pair.name, self._role, json.dumps(asdict(state) | {"process": os.getpid()}))
        return pause_s

    def _take(self, pairs: Sequence[Pair]) -> None:
        """Watch these pairs and no others; what is the same goes on."""
        wanted = {pair.name: pair for pair in pairs}
        for name, watched in list(self._watched.items()):
            if not (name in wanted and _is_same(watched.pair, wanted[name])):
                self._leave(name)
            elif isinstance(old := watched.pair, EntryPair) and isinstance(new := wanted[name], EntryPair):
                old.maps = new.maps
        for name, pair in wanted.items():
            if name in self._watched:
                continue
            held = contextlib.ExitStack()
            held.enter_context(self._state.lock(f"the watch of {name} ({self._role})", hold=True))
            held.enter_context(self._state.watching(name, self._role))
            self._held[name] = held
            self._watched[name] = Watched(pair, self._pace, emit=self._on_event, wake=self._wake.set)
        if not self._watched:
            self._emit(events.Watching("watch", "there is nothing to watch for this machine yet"))

    def _leave(self, name: str) -> None:
        watched = self._watched.pop(name)
        try:
            watched.close()
        finally:
            self._held.pop(name).close()

    def _on_event(self, event: events.Event) -> None:
        if isinstance(event, EntryFinished):
            self._finished += 1
        self._beat()
        self._emit(event)

    def _notice_sleep(self) -> None:
        apart_s = _slept_s()
        if apart_s - self._apart_s > _SLEPT_S:
            for watched in self._watched.values():
                watched.compare_all("this machine has slept")
        self._apart_s = apart_s


def _is_same(old: Pair, new: Pair) -> bool:
    return isinstance(old, EntryPair) and isinstance(new, EntryPair) and old.entry == new.entry


def _slept_s() -> float:
    """How long this machine has slept since it was started: clock_gettime(2)."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0  # another system, whose sleep is not noticed
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
