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
from dataclasses import dataclass, replace
from typing import Any

from s32s.agent.conclude import Kept, conclude
from s32s.agent.options import Options
from s32s.agent.report import Report, fold
from s32s.agent.results import Result
from s32s.agent.state import State
from s32s.backends.base import Backend
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.config.settings import DEFAULT_JOBS, S3Connection, StoreSettings
from s32s.config.settings_file import connection_with
from s32s.core import events, paths
from s32s.core.errors import Refused, UsageError
from s32s.core.events import Emit
from s32s.core.guards import HALF, Limits, MaxDelete
from s32s.core.location import Directory, Location, S3Path, StorePath, parse_location
from s32s.core.plan import Plan, Verb
from s32s.core.rules import Rules, compile_rules
from s32s.replication.checkpoints import Checkpoints
from s32s.replication.job import Job, Outcome, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.local.target_rules import TargetRules, check_target
from s32s.stores.objects.etags import CopyCache
from s32s.stores.objects.prefix import ManifestCache
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.source import Follower
from s32s.stores.objects.store import ObjectStore
from s32s.system.rate_limit import RateLimiter

#: What kind of run its results are kept under.
_KIND = "between"
#: How often manifest and objects are compared, as of a slave without a configuration.
_LIST_EVERY_S = 3600.0
#: Of a request to a backend of one's own that fails for the moment.
_RETRIES = 8


@dataclass(frozen=True, slots=True)
class Between:
    """What is to be made equal to what, and which paths take part.

    Attributes:
        source, target: a path, or a URL such as `s3://bucket/prefix`.
        files, ignore, accept: as in a map.
        manifest: whether a prefix gets and follows a manifest.
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
    manifest: bool = True
    in_place: bool = False
    max_delete: MaxDelete = HALF
    allow_system: bool = False
    take_over_directory: bool = False


def run_between(
    asked: Between,
    verb: Verb,
    state: State,
    connection: S3Connection,
    *,
    options: Options | None = None,
    stores: Mapping[str, StoreSettings] | None = None,
    homes: frozenset[str] = frozenset(),
    attended: bool = False,
    emit: Emit = events.silent,
    stop: threading.Event | None = None,
    approve: Callable[[str, Plan], bool] | None = None,
    ask: Callable[[str], bool] = lambda question: False,
) -> Report:
    """Do `verb` from one place to another one.

    Args:
        state: this machine's memory; it is written to only by a verb that changes something.
        connection: how S3 is reached.
        stores: those of the configuration, by name; see `StorePath`.
        homes: home directories of this machine's users, none of which is ever a target.
        attended: somebody watches, so an address at which nothing answers is told at once.
        emit, stop, approve: see `Agent.run`.
        ask: puts the question whether a directory that s32s has never written may be taken over.

    Returns:
        How it ended; a failure is in there, not raised.

    Raises:
        UsageError: a place or a rule cannot be understood.
        Interrupted: `stop` was set, or a signal handler raised it.
    """
    chosen = options or Options()
    try:
        known = stores or {}
        source, there = (parse_location(text, at=os.getcwd(), stores=known) for text in (asked.source, asked.target))
        if isinstance(source, Directory) and os.path.isfile(source.path):
            source, asked = _single(source, asked, verb)
        rules = compile_rules(files=asked.files, ignore=asked.ignore, accept=asked.accept)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    name = f"s3://{there}" if isinstance(there, S3Path) else str(there)
    context = RunContext(
        name,
        chosen.jobs or DEFAULT_JOBS,
        emit,
        Checkpoints(state.checkpoint, state.save_checkpoint),
        stop or threading.Event(),
        (lambda plan: approve(name, plan)) if approve else lambda plan: True,
    )
    services = _Services(connection, stores or {}, lambda text: emit(events.Waiting(name, text)), attended=attended)
    pair = _Pair(asked, verb, chosen, state, services, rules, context, homes, ask)
    finished = conclude(
        lambda: pair.replicate(source, there),
        context,
        kept=Kept(state, _KIND, str(source), str(there)) if verb.changes else None,
        places=(asked.source, asked.target),
        position=lambda done: done.target if isinstance(source, Directory) else done.source,
        when_stopped="the target is as it was" if isinstance(there, Directory) else "the next run goes on",
    )
    return fold([finished])


def _single(file: Directory, asked: Between, verb: Verb) -> tuple[Directory, Between]:
    """The directory that holds a file, and that this file alone takes part.

    Raises:
        UsageError: the verb would delete all else in the target.
    """
    if verb is not Verb.COPY:
        raise UsageError(f"{paths.escape(file.path)} is a file", hint="s32s copy FILE TARGET brings a single file")
    above, _, name = file.path.rpartition("/")
    return Directory(above or "/"), replace(asked, files=(name,))


class _Services:
    """What the two places are reached by; each is opened once."""

    def __init__(
        self,
        connection: S3Connection,
        stores: Mapping[str, StoreSettings],
        on_wait: Callable[[str], None],
        *,
        attended: bool,
    ) -> None:
        self._stores = stores
        self._on_wait = on_wait
        self._attended = attended
        self._s3 = self._opened(connection)
        self._own: dict[str, S3Service] = {}

    def backend(self, place: Location) -> Backend:
        """The place as bytes by key.

        Raises:
            ConfigError: what the configuration says of its store is wrong.
            UsageError: a store of type "s3" needs a bucket.
        """
        if isinstance(place, S3Path):
            return S3Backend(self._s3, place)
        if isinstance(place, Directory):
            raise AssertionError("a directory has no keys")
        settings = self._stores[place.store]
        options = settings.model_extra or {}
        if settings.type == "s3":
            if place.store not in self._own:
                self._own[place.store] = self._opened(connection_with(S3Connection(), options))
            try:
                return S3Backend(self._own[place.store], S3Path.parse(place.prefix))
            except ValueError as exc:
                raise UsageError(f"{place}: {exc}", hint=f"write {place.store}:bucket/prefix") from exc
        return self._own_backend(place, settings.type, options)

    def _own_backend(self, place: StorePath, kind: str, options: Mapping[str, Any]) -> Backend:
        from s32s.backends.below import Below
        from s32s.backends.registry import open_backend
        from s32s.backends.retry import RetryPolicy
        from s32s.backends.wrappers import Retrying

        policy = RetryPolicy(_RETRIES)
        policy.on_wait, policy.is_attended = self._on_wait, self._attended
        backend = Retrying(open_backend(place.store, kind, options), policy)
        return Below(backend, place.prefix) if place.prefix else backend

    def _opened(self, connection: S3Connection) -> S3Service:
        service = S3Service(connection)
        service.listen(self._on_wait)
        if self._attended:
            service.attend()
        return service


@dataclass(frozen=True, slots=True)
class _Pair:
    """All that both stores are made of."""

    asked: Between
    verb: Verb
    options: Options
    state: State
    services: _Services
    rules: Rules
    context: RunContext
    homes: frozenset[str]
    ask: Callable[[str], bool]

    def replicate(self, source: Location, target: Location) -> Outcome:
        """Make the target what the source holds, or plan it.

        Raises:
            S32sError: the target is as its store promises.
        """
        self._check_apart(source, target)
        if isinstance(target, Directory):
            check_target(target.path, self._may_write)
            self._check_ours(target)
        job = Job(
            self.verb,
            self.rules,
            Limits(self.asked.max_delete, force=self.options.force_delete),
            asked=repr((self.asked.manifest, self.asked.files, self.asked.ignore, self.asked.accept)),
            files=tuple(self.asked.files) if self.asked.files else None,
            spare_ignored=not isinstance(target, Directory),
            verify=self.options.verify,
        )
        if isinstance(source, Directory) and isinstance(target, Directory):
            return replicate(self._directory(source), self._directory(target), job, self.context)
        if isinstance(source, Directory):
            last = self._last(source, target)
            pushed = self._prefix(target, generation=last.generation if last else 0)
            return replicate(self._directory(source), pushed, job, self.context)
        if isinstance(target, Directory):
            return replicate(self._followed(source, target), self._directory(target), job, self.context)
        return replicate(self._followed(source, target), self._prefix(target, is_copy=True), job, self.context)

    @property
    def _may_write(self) -> TargetRules:
        """What somebody has typed needs no leave; every other rule stands."""
        kept = [str(path) for path in self.state.directories]
        return TargetRules(allow=("/",), kept=kept, homes=self.homes, allow_system=self.asked.allow_system)

    def _directory(self, place: Directory) -> LocalStore:
        root, verify, state = place.path, self.options.verify, self.state
        return LocalStore(
            root,
            rules=self.rules,
            may_write=self._may_write,
            # A shell in a directory that is exchanged would be left in the old one.
            in_place=self.asked.in_place or paths.is_within(os.getcwd(), root),
            load_cache=lambda: StatCache(state.stat_cache(root).meant().items()) if verify else state.stat_cache(root),
            save_cache=lambda cache: state.save_stat_cache(root, cache),
            warn=self.context.warn,
        )

    def _followed(self, place: Location, target: Location) -> ObjectStore:
        last = self._last(place, target)
        listed_s = last.listed_s if last else None
        is_due = listed_s is None or not 0 <= time.time() - listed_s < _LIST_EVERY_S
        return ObjectStore(
            self._backend(place),
            rules=self.rules,
            has_manifest=self.asked.manifest,
            manifests=ManifestCache(self.state.cached_manifest, self.state.cache_manifest),
            label="" if isinstance(target, Directory) else "source",
            follower=Follower(
                last.generation if last else 0,
                accepts_older=self.options.accept_older,
                compares=self.options.verify or is_due or not isinstance(target, Directory),
                waits=not self.verb.changes or not isinstance(target, Directory),
            ),
        )

    def _prefix(self, place: Location, *, is_copy: bool = False, generation: int = 0) -> ObjectStore:
        state, name = self.state, str(place)
        return ObjectStore(
            self._backend(place),
            rules=self.rules,
            has_manifest=self.asked.manifest,
            manifests=ManifestCache(
                lambda where, sha256: state.cached_manifest(f"{_KIND} {where}", sha256),
                lambda where, data: state.cache_manifest(f"{_KIND} {where}", data),
            ),
            label="target" if is_copy else "",
            writer=Writer(state.writer_id(), socket.gethostname(), _now, self.options.take_over, generation),
            like_source=is_copy,
            copies=CopyCache(
                lambda: {} if self.options.verify else state.copies(name),
                lambda copies: state.save_copies(name, copies),
            )
            if is_copy
            else None,
            lock=lambda writable: state.lock(f"the push to {name}", hold=writable),
            warn=self.context.warn,
        )

    def _last(self, source: Location, target: Location) -> Result | None:
        """How the last run between the two ended."""
        last = self.state.result(self.context.entry, _KIND)
        return last if last is not None and last.ran_between(str(source), str(target)) else None

    def _backend(self, place: Location) -> Backend:
        backend = self.services.backend(place)
        if not self.options.bandwidth:
            return backend
        from s32s.backends.wrappers import Limited

        return Limited(backend, RateLimiter(self.options.bandwidth), RateLimiter(self.options.bandwidth))

    def _check_apart(self, source: Location, target: Location) -> None:
        """Refuse two places of which one is, or holds, the other.

        Raises:
            Refused: it would feed on itself.
        """
        match source, target:
            case Directory(), Directory():
                nested = paths.overlaps(os.path.realpath(source.path), os.path.realpath(target.path))
            case S3Path(), S3Path():
                nested = source.overlaps(target)
            case StorePath(), StorePath():
                whole = not source.prefix or not target.prefix
                nested = source.store == target.store and (whole or paths.overlaps(source.prefix, target.prefix))
            case _:
                nested = False
        if nested:
            raise Refused(
                f"{self.asked.source} and {self.asked.target} overlap: the target would feed on itself",
                hint="name two places that are apart",
            )

    def _check_ours(self, target: Directory) -> None:
        """Refuse a directory that holds something and that s32s has never written.

        Raises:
            Refused: nobody has said that it may be taken over.
        """
        if not self.verb.changes or self.asked.take_over_directory or self.state.has_written(target.path):
            return
        try:
            is_empty = not os.listdir(target.path)
        except OSError:  # not there, or not readable, which the store says better
            return
        what = f"{paths.escape(target.path)} is not empty, and s32s has never written it"
        if not is_empty and not self.ask(what):
            raise Refused(
                what,
                hint="look with s32s dryrun first; --yes takes the directory over",
            )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
