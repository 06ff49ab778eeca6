"""How things stand: per entry the last run, the generation here and on S3, and what has drifted.

Reads only: this machine's memory, the directories by stat(2), and one small object per entry from S3. S3 is asked for
all entries at once, while the directories are looked at; what has not answered in time is told as that.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from s32s.agent.advice import advised, way_to
from s32s.agent.holds import Hold, hold_of
from s32s.agent.results import INTERRUPTED, Result
from s32s.agent.roles.base import AgentContext, last_run
from s32s.agent.watch_state import WatchState, of_entry
from s32s.config.maps import Entry, MapSet
from s32s.core import cures, paths
from s32s.core.errors import BadPath, ConfigError, IntegrityError, Interrupted, S32sError, Unreachable, UsageError
from s32s.core.role import Role
from s32s.core.tree import Tree
from s32s.format import manifest
from s32s.stores.local import drift
from s32s.stores.objects.prefix import read_head
from s32s.system.concurrency import for_each

#: How long S3 may be silent before the entries that it has not answered for are given up.
DEADLINE_S = 10.0
#: What each entry adds to the time that all answers together may take, for an S3 that dribbles.
_EACH_S = 0.01
_JOBS = 32


class EntryState(enum.Enum):
    """How an entry stands; the first that fits, in this order."""

    RUNNING = "running"
    HELD = "held"
    UNFINISHED_PUSH = "unfinished-push"
    NEVER_RUN = "never-run"
    MOVED = "moved"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    WENT_BACK = "went-back"
    BEHIND = "behind"
    DRIFTED = "drifted"
    UP_TO_DATE = "up-to-date"
    NOT_COMPARED = "not-compared"


class Published(NamedTuple):
    """The generation that S3 holds.

    Attributes:
        host, time: of the master that has pushed it, and when, UTC, ISO 8601.
        files, size: files and links, and bytes.
    """

    host: str
    time: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """One entry as this machine sees it.

    Attributes:
        name, source, target: of the entry.
        last: how the last run ended, or None.
        generation: that S3 holds now; 0 without a manifest, None when S3 was not asked or did not answer.
        push: who has a push under way or unfinished, or None.
        drift: how many names differ from what the last run left; None when that is not known.
        trouble: why S3 did not answer; may be empty.
        unreachable: whether S3 could not be reached, as against an answer that helps nobody.
        running_s: since when a run works on it, or None.
        is_master: whether the entry is pushed from here.
        is_shared: whether changes go both ways.
        trouble_status: the exit status that the trouble has alone; 0 without one.
        watch: how it is watched; None where nobody does.
        published: what S3 holds; None where nothing is published, or nobody has asked.
        hold: at which generation somebody holds it; None where it follows S3.
        cure: what helps where S3 holds an older generation than the last run has left, or none; may be empty.
    """

    name: str
    source: str
    target: str
    last: Result | None
    generation: int | None
    push: str | None
    drift: int | None
    trouble: str
    unreachable: bool = False
    running_s: float | None = None
    is_master: bool = False
    is_shared: bool = False
    trouble_status: int = 0
    watch: WatchState | None = None
    published: Published | None = None
    hold: Hold | None = None
    cure: str = ""

    @property
    def is_moved(self) -> bool:
        """Whether the last run was between other places than the map names now."""
        return self.last is not None and not self.last.ran_between(self.source, self.target)

    @property
    def state(self) -> EntryState:
        """How it stands, in one word; `frontends.render.statuses.words` says it to people."""
        if self.running_s is not None:
            return EntryState.RUNNING
        if self.hold is not None:
            return EntryState.HELD
        if self.push:
            return EntryState.UNFINISHED_PUSH
        if self.last is None:
            return EntryState.NEVER_RUN
        if self.is_moved:
            return EntryState.MOVED
        if self.last.success_s is None or not self.last.ok:
            return EntryState.INTERRUPTED if self.last.status == INTERRUPTED else EntryState.FAILED
        if self.trouble:
            return EntryState.UNREACHABLE
        if self.went_back:
            return EntryState.WENT_BACK
        if self.behind > 0:
            return EntryState.BEHIND
        if self.drift:
            return EntryState.DRIFTED
        if self.generation and (self.drift is not None or not self.target.startswith("/")) and not self._is_blind:
            return EntryState.UP_TO_DATE
        return EntryState.NOT_COMPARED

    @property
    def behind(self) -> int:
        """How many generations S3 is ahead of the last run."""
        return (self.generation or 0) - self.last.generation if self.last is not None else 0

    @property
    def went_back(self) -> bool:
        """Whether S3 holds an older generation than the last run has left."""
        return self.generation is not None and self.last is not None and self.generation < self.last.generation

    @property
    def _is_blind(self) -> bool:
        """Whether the directory of a master was not looked at."""
        return self.is_master and self.drift is None


def status(
    agent: AgentContext, loaded: MapSet, *, ask_s3: bool = True, deadline_s: float = DEADLINE_S
) -> list[EntryStatus]:
    """Status of every entry that this machine's role has.

    Args:
        deadline_s: how long S3 may be silent.

    Raises:
        Interrupted: by a signal handler; S3 is not waited for.
    """
    role = agent.settings.role
    return statuses(loaded.of(role), role, agent, ask_s3=ask_s3, deadline_s=deadline_s)


def statuses(
    entries: Sequence[Entry], role: Role, agent: AgentContext, *, ask_s3: bool = True, deadline_s: float = DEADLINE_S
) -> list[EntryStatus]:
    """Status of entries in a role that they have; see `status`."""
    questions = _Questions([entry for entry in entries if entry.manifest] if ask_s3 else [], agent)
    shared = Counter(entry.place(role) for entry in entries)
    drifted = [_drift(entry, role, agent) if shared[entry.place(role)] == 1 else None for entry in entries]
    answers = questions.answers(deadline_s)
    found = []
    for entry, count in zip(entries, drifted, strict=True):
        source, target = agent.settings.direction(entry, role)
        answer = answers.get(entry.s3, _NOT_ASKED) if entry.manifest else _NOT_ASKED
        last = agent.state.last_of(entry.name, role.value, source, target)
        found.append(
            EntryStatus(
                name=entry.name,
                source=source,
                target=target,
                last=last,
                generation=answer.generation,
                push=answer.push,
                drift=count,
                trouble=answer.trouble,
                unreachable=answer.unreachable,
                running_s=agent.state.running_since(entry.name, role.value),
                is_master=role is Role.MASTER,
                is_shared=role is Role.PEER,
                trouble_status=answer.status,
                watch=of_entry(entry.name, role.value, agent.state),
                published=answer.published,
                hold=hold_of(entry, agent.state) if role is Role.SLAVE else None,
                cure=_cure(entry, role, agent, last, answer.generation),
            )
        )
    return found


def _cure(entry: Entry, role: Role, agent: AgentContext, last: Result | None, generation: int | None) -> str:
    """What helps where S3 has gone back."""
    if last is None or generation is None or generation >= last.generation:
        return ""
    if entry.is_packed and not generation:
        return way_to(cures.REBUILD, entry, agent, role)
    name = paths.word(entry.name)
    if role is Role.MASTER:
        return f"s32s sync {name} publishes what this directory holds as generation {last.generation + 1:,}"
    return f"if that is intended, s32s sync {name} --accept-older follows it" if generation else ""


def glance(entries: Sequence[Entry], role: Role, agent: AgentContext) -> dict[str, tuple[float | None, float | None]]:
    """For each entry by name, since when a run works on it and when the last one ended: what tells that it moved.

    Neither S3 nor a directory is looked at, so it may be asked again and again.
    """
    found = {}
    for entry in entries:
        last = agent.state.last_of(entry.name, role.value, *agent.settings.direction(entry, role))
        found[entry.name] = agent.state.running_since(entry.name, role.value), last.time_s if last else None
    return found


def overdue(entries: Iterable[EntryStatus], limit_s: float, *, now_s: float) -> list[EntryStatus]:
    """The entries that have not succeeded for so long, or never where they lie now: what monitoring wants to know.

    One that is held is as old as somebody wants it to be, and is none of them.
    """
    return [
        entry
        for entry in entries
        if (entry.hold is None or not entry.hold.is_done)
        and (
            entry.last is None
            or entry.hold is not None
            or entry.is_moved
            or entry.went_back
            or entry.last.success_s is None
            or not 0 <= now_s - entry.last.success_s <= limit_s
        )
    ]


def _drift(entry: Entry, role: Role, agent: AgentContext) -> int | None:
    place = entry.place(role) or ""
    last = last_run(entry, role, agent)
    ended_s = last.time_s if last is not None and last.ok else 0.0
    if role is Role.SLAVE:
        cache, left = agent.state.stat_cache(place), _left(entry, last, agent)
        return drift.of_target(place, cache, left, entry.rules(), ended_s=ended_s)
    if role is Role.MASTER and place.startswith("/"):
        cache, left = agent.state.stat_cache(place), _left(entry, last, agent)
        began_s = ended_s - last.seconds if last is not None and ended_s else 0.0
        return drift.of_source(place, cache, left, entry.rules(), began_s=began_s)
    return None


def _left(entry: Entry, last: Result | None, agent: AgentContext) -> Tree | None:
    """The tree that the last run left on both sides, by the manifest that it followed or published, if that is here."""
    if last is None or not last.manifest:
        return None
    try:
        place = agent.services.backend(entry.location).location
    except (ConfigError, UsageError):
        return None
    try:
        if entry.is_packed:
            from s32s.stores.objects.packed.prefix import cached_tree

            return cached_tree(agent.state.segments(), place, last.manifest)
        data = agent.state.cached_manifest(place, last.manifest)
        if data is None:
            return None
        return manifest.read(data, manifest.reference(last.manifest, len(data)))
    except (IntegrityError, BadPath):
        return None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What S3 has said of a prefix; see `EntryStatus`."""

    generation: int | None = None
    published: Published | None = None
    push: str | None = None
    trouble: str = ""
    unreachable: bool = False
    status: int = 0


_NOT_ASKED = _Answer()


class _Questions:
    """The heads of all entries, asked for on other threads from now on: a prefix once, however many share it."""

    def __init__(self, entries: Sequence[Entry], agent: AgentContext) -> None:
        self._entries = list({entry.s3: entry for entry in entries}.values())
        self._machine = agent
        self._answers: dict[str, _Answer] = {}
        self._left = False
        self._news_s = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._ask_all, daemon=True).start()

    def answers(self, deadline_s: float) -> dict[str, _Answer]:
        """Wait for the answers by prefix; which do not come in time are troubles."""
        began = time.monotonic()
        until = began + deadline_s + _EACH_S * len(self._entries)
        while not self._ended.wait(0.1):
            now = time.monotonic()
            if now > until or now > max(began, self._news_s) + deadline_s:
                break
        self._left = True
        missing = _failed(Unreachable(f"S3 did not answer within {deadline_s:g} s"))
        down = next((answer for answer in list(self._answers.values()) if answer.unreachable), missing)
        return {entry.s3: self._answers.get(entry.s3, down) for entry in self._entries}

    def _ask_all(self) -> None:
        try:
            # One looks whether S3 is there at all; if not, the others need not wait for the same.
            for entry in self._entries[:1]:
                self._ask(entry)
            for_each(self._entries[1:], self._ask, jobs=_JOBS)
        finally:
            self._ended.set()

    def _ask(self, entry: Entry) -> None:
        if self._left:
            return
        answer = _ask(entry, self._machine)
        self._answers[entry.s3] = answer
        self._news_s = time.monotonic()
        # A certificate may be wrong for one bucket alone, where each has a host of its own.
        if answer.unreachable and answer.status == Unreachable.exit_status:
            self._left = True


def _ask(entry: Entry, agent: AgentContext) -> _Answer:
    try:
        with advised(entry, agent):
            head = read_head(agent.services.backend(entry.location)).head
    except Interrupted:
        raise
    except S32sError as exc:
        return _failed(exc)
    if head is None:
        return _Answer(0)
    push = f"{paths.escape(head.push.host)}, begun {paths.escape(head.push.started)}" if head.push else None
    is_published = head.manifest is not None or head.root is not None
    published = Published(head.host, head.time, head.files, head.size) if is_published else None
    return _Answer(head.generation, published, push)


def _failed(error: S32sError) -> _Answer:
    # A server that is not trusted, or that speaks no TLS, was not reached either.
    is_unreachable = isinstance(error, Unreachable | ConfigError)
    return _Answer(trouble=str(error), unreachable=is_unreachable, status=error.exit_status)
