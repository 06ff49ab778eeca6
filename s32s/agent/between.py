"""A verb between two places that somebody names: no map, and no configuration needed.

The promises and guards are those of entries. What is remembered goes by the pair of places: checkpoints, stat caches,
and the generation that was followed last.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from s32s.agent import messages
from s32s.agent.advice import advised_places, of_places
from s32s.agent.conclude import Kept, conclude
from s32s.agent.options import Options
from s32s.agent.roles.base import within
from s32s.agent.roles.writer import writer
from s32s.agent.services import Services, directory_of
from s32s.agent.state import State
from s32s.backends.base import Backend
from s32s.config.settings import DEFAULT_JOBS, S3Connection, StoreSettings
from s32s.core import events, paths
from s32s.core.errors import Refused, UsageError
from s32s.core.events import Emit
from s32s.core.guards import HALF, Limits, MaxDelete
from s32s.core.location import Directory, Location, S3Path, parse_location
from s32s.core.plan import Plan, Verb
from s32s.core.rules import Links, Rules, compile_rules
from s32s.replication.checkpoints import Checkpoints
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.base import Readable, Writable
from s32s.stores.local.follow import check_apart
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.local.target_rules import TargetRules, check_target
from s32s.stores.objects.etags import CopyCache
from s32s.stores.objects.source import Follower
from s32s.stores.objects.store import ObjectStore
from s32s.system.rate_limit import RateLimiter

if TYPE_CHECKING:
    from s32s.agent.memories import Memories

#: What kind of run its results are kept under.
KIND = "between"
#: How often manifest and objects are compared, as of a slave without a configuration.
_LIST_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Between:
    """What is to be made equal to what, and which paths take part.

    Attributes:
        source, target: a path, or a URL such as `s3://bucket/prefix`.
        files, ignore, accept, links: as in a map; links that are kept may point to anywhere.
        manifest: whether a prefix gets and follows a manifest.
        packed: whether prefixes are in the packed layout.
        keep: how many generations of a packed target stay.
        in_place: change a directory file by file instead of by exchange.
        max_delete: more deletions are refused.
        allow_system: whether a target may be in a directory of the system.
        take_over_directory: go on although the target is a directory that s32s has never written.
    """

    source: str
    target: str
    files: Sequence[str] | None = None
    ignore: Sequence[str] = ()
    accept: Sequence[str] = ()
    links: str = "refuse"
    manifest: bool = True
    packed: bool = False
    keep: int = 10
    in_place: bool = False
    max_delete: MaxDelete = HALF
    allow_system: bool = False
    take_over_directory: bool = False


def open_between(
    asked: Between,
    verb: Verb,
    state: State,
    connection: S3Connection,
    *,
    options: Options | None = None,
    stores: Mapping[str, StoreSettings] | None = None,
    homes: frozenset[str] = frozenset(),
    attended: bool = False,
    stop: threading.Event | None = None,
    approve: Callable[[str, Plan], bool] | None = None,
    ask: Callable[[str], bool] = lambda question: False,
) -> BetweenPair:
    """Make two places ready for a verb, which may then be done as often as needed.

    Args:
        state: this machine's memory; it is written to only by a verb that changes something.
        connection: how S3 is reached.
        stores: those of the configuration, by name; see `StorePath`.
        homes: home directories of this machine's users, none of which is ever a target.
        attended: somebody watches, so an address at which nothing answers is told at once.
        stop, approve: see `Agent.run`.
        ask: puts the question whether a directory that s32s has never written may be taken over.

    Raises:
        UsageError: a place or a rule cannot be understood.
    """
    known = stores or {}
    try:
        source, target = (parse_location(text, at=os.getcwd(), stores=known) for text in (asked.source, asked.target))
        source = directory_of(source, known)
        target = target if asked.packed else directory_of(target, known)
        if isinstance(source, Directory) and os.path.isfile(source.path):
            source, asked = _single(source, asked, verb)
        rules = compile_rules(files=asked.files, ignore=asked.ignore, accept=asked.accept, links=asked.links)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if asked.packed and isinstance(source, Directory) and isinstance(target, Directory):
        raise UsageError("--layout packed is for a prefix, and both places are directories", hint="leave it out")
    if asked.packed and not asked.manifest:
        raise UsageError("--layout packed needs the manifest of the prefix", hint="leave --no-manifest out")
    return BetweenPair(
        asked,
        verb,
        options or Options(),
        state,
        Services(connection, known, attended=attended),
        rules,
        source,
        target,
        homes,
        stop or threading.Event(),
        approve,
        ask,
    )


def _single(file: Directory, asked: Between, verb: Verb) -> tuple[Directory, Between]:
    """The directory that holds a file, and that this file alone takes part.

    Raises:
        UsageError: the verb would delete all else in the target.
    """
    if verb is not Verb.COPY:
        raise UsageError(f"{paths.escape(file.path)} is a file", hint="s32s copy FILE TARGET brings a single file")
    above, _, name = file.path.rpartition("/")
    return Directory(above or "/"), replace(asked, files=(name,))


@dataclass(frozen=True, slots=True)
class BetweenPair:
    """Two places, ready for runs; `open_between` makes it."""

    asked: Between
    verb: Verb
    options: Options
    state: State
    services: Services
    rules: Rules
    source: Location
    target: Location
    homes: frozenset[str]
    stop: threading.Event
    approve: Callable[[str, Plan], bool] | None
    ask: Callable[[str], bool]

    @property
    def name(self) -> str:
        """What people know it by: the target."""
        return f"s3://{self.target}" if isinstance(self.target, S3Path) else str(self.target)

    @property
    def key(self) -> str:
        """What is remembered of the two goes by: another source of the same target is another pair."""
        return f"{self.source} > {self.target}"

    def run(self, emit: Emit, memories: Memories | None = None) -> events.EntryFinished:
        """Do the verb once.

        Args:
            memories: of a watch.

        Raises:
            Interrupted: `stop` was set, or a signal handler raised it.
        """
        source, target, approve, asked = self.source, self.target, self.approve, self.asked
        context = RunContext(
            self.name,
            self.options.jobs or DEFAULT_JOBS,
            emit,
            Checkpoints(self.state.checkpoint, self.state.save_checkpoint),
            self.stop,
            (lambda plan: approve(self.name, plan)) if approve else lambda plan: True,
        )
        self.services.on_wait = lambda text: emit(events.Waiting(self.name, text))
        is_part = bool(self.options.below) and not isinstance(source, Directory)
        kept = Kept(self.state, KIND, str(source), str(target), is_part, self.key)

        def work() -> Outcome:
            with advised_places():
                done = _Pair(self, context, memories).replicate(source, target)
            why = messages.of_places(done, source, target, has_manifest=asked.manifest)
            messages.tell(why, self.verb, self.options, context)
            return done

        return conclude(
            work,
            context,
            kept=kept if self.verb.changes else None,
            places=(asked.source, asked.target),
            position=lambda done: done.target if isinstance(source, Directory) else done.source,
            when_stopped="the target is as it was" if isinstance(target, Directory) else "the next run continues",
        )


class _Pair:
    """All that both stores of one run are made of."""

    def __init__(self, pair: BetweenPair, context: RunContext, memories: Memories | None) -> None:
        self.asked, self.verb, self.options = pair.asked, pair.verb, pair.options
        self.state, self.services = pair.state, pair.services
        self.rules = pair.rules.limited(pair.options.below)
        self.homes, self.ask, self.key = pair.homes, pair.ask, pair.key
        self.context = context
        self.memories = memories

    def replicate(self, source: Location, target: Location) -> Outcome:
        """Make the target what the source holds, or plan it.

        Raises:
            S32sError: the target is as its store promises.
        """
        if self.services.overlap(source, target):
            raise Refused(
                f"{self.asked.source} and {self.asked.target} overlap: the target would feed on itself",
                hint="name two places that are apart",
            )
        self.services.check_target(target, allow_system=self.asked.allow_system)
        if isinstance(target, Directory):
            check_target(target.path, self._may_write)
            self._check_ours(target)
        asked = self.asked
        job = Job(
            self.verb,
            self.rules,
            Limits(self.asked.max_delete, force=self.options.force_delete, below=self.options.below),
            asked=self.options.below
            + repr((asked.manifest, asked.packed, asked.files, asked.ignore, asked.accept, asked.links)),
            files=within(self.asked.files, self.options.below),
            spare_ignored=not isinstance(target, Directory),
            verify=self.options.verify,
            check_source=lambda wanted: check_apart(wanted, target.path if isinstance(target, Directory) else ""),
            allow_links=("/",) if self.rules.links is Links.KEEP else (),
        )
        if isinstance(source, Directory) and isinstance(target, Directory):
            return replicate(self._directory(source, is_source=True), self._directory(target), job, self.context)
        if isinstance(source, Directory):
            last = self.state.result(self.key, KIND)
            pushed = self._prefix(target, generation=last.generation if last else 0)
            return replicate(self._directory(source, is_source=True), pushed, job, self.context)
        if isinstance(target, Directory):
            return replicate(self._followed(source, target), self._directory(target), job, self.context)
        return replicate(self._followed(source, target), self._prefix(target, copy_of=source), job, self.context)

    @property
    def _may_write(self) -> TargetRules:
        """What somebody has typed needs no leave; every other rule stands."""
        kept = [str(path) for path in self.state.directories]
        return TargetRules(allow=("/",), kept=kept, homes=self.homes, allow_system=self.asked.allow_system)

    def _directory(self, place: Directory, *, is_source: bool = False) -> LocalStore:
        root, verify, state, memories = place.path, self.options.verify, self.state, self.memories
        memory = None
        if memories is not None:
            memory = memories.source_dir if is_source else memories.target_dir
        return LocalStore(
            root,
            rules=self.rules,
            may_write=self._may_write,
            # A shell in a directory that is exchanged would be left in the old one.
            in_place=self.asked.in_place or paths.is_within(os.getcwd(), root),
            load_cache=lambda: StatCache(state.stat_cache(root).meant().items()) if verify else state.stat_cache(root),
            save_cache=lambda cache: state.save_stat_cache(root, cache),
            warn=self.context.warn,
            memory=memory,
        )

    def _followed(self, place: Location, target: Location) -> Readable[Any]:
        last = self.state.result(self.key, KIND)
        listed_s = last.listed_s if last else None
        is_due = listed_s is None or not 0 <= time.time() - listed_s < _LIST_EVERY_S
        memory = self.memories.source if self.memories is not None else None
        label = "" if isinstance(target, Directory) else "source"
        if self.asked.packed:
            from s32s.agent import packed_places

            follower = Follower(last.generation if last else 0, accepts_older=self.options.accept_older)
            return packed_places.followed(self._backend(place), self.state, follower, label=label, memory=memory)
        return ObjectStore(
            self._backend(place),
            rules=self.rules,
            has_manifest=self.asked.manifest,
            manifests=self.state.manifests(),
            label=label,
            follower=Follower(
                last.generation if last else 0,
                accepts_older=self.options.accept_older,
                compares=self.options.verify or is_due or not isinstance(target, Directory),
                waits=not self.verb.changes or not isinstance(target, Directory),
            ),
            memory=memory,
        )

    def _prefix(self, place: Location, *, copy_of: Location | None = None, generation: int = 0) -> Writable[Any]:
        state, name, is_copy = self.state, str(place), copy_of is not None
        memory = self.memories.target if self.memories is not None else None
        me = writer(state, socket.gethostname(), self.options, generation=generation)

        def lock(writable: bool) -> AbstractContextManager[None]:
            return state.lock(f"the push to {name}", hold=writable)

        if self.asked.packed:
            from s32s.agent import packed_places

            if copy_of is not None:
                packed_places.check_whole(str(copy_of), self.verb, self.options.below)
            return packed_places.written(
                self._backend(place),
                state,
                me,
                keep=self.asked.keep,
                message=self.options.message,
                lock=lock,
                warn=self.context.warn,
                label="target" if is_copy else "",
                kind=KIND,
                mirrors=self._backend(copy_of) if copy_of is not None else None,
                verify=self.options.verify,
                memory=memory,
            )
        is_ours = not self.verb.changes or self.asked.take_over_directory or state.has_written(name)
        return ObjectStore(
            self._backend(place),
            rules=self.rules,
            has_manifest=self.asked.manifest,
            manifests=state.manifests(KIND),
            label="target" if is_copy else "",
            writer=me,
            like_source=is_copy,
            copies=CopyCache(
                lambda: {} if self.options.verify else state.copies(name),
                lambda copies: state.save_copies(name, copies),
            )
            if is_copy
            else None,
            lock=lock,
            warn=lambda words: self.context.warn(of_places(words)),
            memory=memory,
            takes_over=None if is_ours else self._taken_over,
        )

    def _backend(self, place: Location) -> Backend:
        backend = self.services.backend(place)
        if not self.options.bandwidth:
            return backend
        from s32s.backends.wrappers import Limited

        return Limited(backend, RateLimiter(self.options.bandwidth), RateLimiter(self.options.bandwidth))

    def _check_ours(self, target: Directory) -> None:
        """Refuse a directory that holds something and that s32s has never written.

        Raises:
            Refused: nobody has said that it may be taken over.
        """
        if not self.verb.changes or self.asked.take_over_directory or self.state.has_written(target.path):
            return
        try:
            is_empty = not os.listdir(target.path)
        except OSError:
            return  # which the store says better
        if not is_empty:
            self._taken_over(f"{paths.escape(target.path)} is not empty, and s32s has never written it")

    def _taken_over(self, what: str) -> None:
        """See `ObjectStore.takes_over`.

        Raises:
            Refused: nobody has said that it may be taken over.
        """
        if not self.ask(what):
            raise Refused(what, hint="look with s32s dryrun first; --yes takes it over")
