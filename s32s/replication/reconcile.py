"""The spine of a shared folder: what its person and all others have made of it, brought together.

    folder and prefix are looked at   each at one moment
    merge, guards, decisions          pure, and by the person
    up: put -> publish                by the one who was quickest; the others begin again from what is then there
    down: stage -> exchange           path by path, what was there goes to the trash

What is known to be equal is noted path by path, so a run may end anywhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from s32s.core import events, guards, merge, paths, portable, tree
from s32s.core import plan as planner
from s32s.core.errors import (
    Conflict,
    EntryFailed,
    IntegrityError,
    Interrupted,
    Refused,
    S32sError,
    SourceChanged,
    Unreadable,
)
from s32s.core.item import Item, Kind
from s32s.core.merge import Merge, Step
from s32s.core.rules import EVERYTHING, Verdict
from s32s.core.steps import needs_bytes, parts_of, uploaded
from s32s.core.tree import Tree
from s32s.replication.contents import contents_of
from s32s.replication.execute import put_all
from s32s.replication.job import Outcome, RunContext
from s32s.replication.merge_job import Common, Memory, MergeJob, left_undone
from s32s.stores.base import Body, Position, Snapshot, StoreCapabilities
from s32s.stores.local.bodies import FileBody
from s32s.stores.local.folder import CopyOf, Folder, open_folder
from s32s.stores.local.source import LocalSource
from s32s.stores.local.stat_cache import RACY_CTIME_NS, CachedHash
from s32s.stores.local.store import LocalStore
from s32s.stores.local.trash import KEEP_S
from s32s.stores.local.walk import LocalSnapshot
from s32s.stores.objects.etags import with_contents
from s32s.stores.shared import SharedPlace, SharedPush
from s32s.system.concurrency import for_each

#: How often a run begins again because others were quicker, or because files change under it.
ATTEMPTS = 40
#: The longest pause before, in seconds; a random one, so that many do not come back at the same moment.
_MOST_PAUSE_S = 2.0


def reconcile(local: LocalStore, shared: SharedPlace, memory: Memory, job: MergeJob, run: RunContext) -> Outcome:
    """Bring a folder and what others have made of it together, or show what that would be.

    Raises:
        Refused: by a guard, or because the folder is not the one that it was.
        S32sError: what was not yet done is as it was on either side.
    """
    with open_folder(local.location, writable=job.verb.changes) as folder:
        if job.verb.changes:
            folder.trash.empty(older_s=KEEP_S)
        for number in range(1, ATTEMPTS + 1):
            try:
                return _Attempt(folder, local, shared, memory, job, run).go(again=number > 1)
            except (Conflict, SourceChanged) as exc:
                if number == ATTEMPTS:
                    raise
                run.emit(events.Restarted(run.entry, number + 1, exc.what))
                pause_s = random.uniform(0.05, min(_MOST_PAUSE_S, 0.2 * number))  # noqa: S311 # no secret
                if run.stop.wait(pause_s):
                    raise Interrupted(0) from exc
    raise AssertionError("the last attempt returns or raises")


@dataclass(slots=True)
class _Done:
    """What an attempt has done so far.

    Attributes:
        mine: steps that were taken here.
        theirs: the prefix after our push; None without one.
        held: files that somebody writes to, or that cannot be read, and why.
    """

    mine: list[Step] = field(default_factory=list)
    theirs: Tree | None = None
    position: Position | None = None
    held: dict[str, str] = field(default_factory=dict)


class _Attempt:
    """One try, from the two looks to the end."""

    def __init__(
        self,
        folder: Folder,
        local: LocalStore,
        shared: SharedPlace,
        memory: Memory,
        job: MergeJob,
        run: RunContext,
    ) -> None:
        self.folder, self.local, self.shared = folder, local, shared
        self.memory, self.job, self.run = memory, job, run

    def go(self, *, again: bool) -> Outcome:
        job, run = self.job, self.run
        self.folder.told.clear()
        is_new, common = self._common()
        fits = StoreCapabilities(max_path_bytes=self.shared.backend.capabilities.max_key_bytes)
        with self.local.open_source(target=fits, again=again) as here:
            run.phase("listing")
            if not again and not job.lists and (nothing := self._nothing_new(common, here)) is not None:
                return nothing
            self.shared.expects_head = common.generation > 0
            self.shared.is_strict = common.is_strict
            found = self.shared.look()
            common = self._checked(common, found.position.generation)
            mine = here.look().snapshot()
            run.phase("checking files")
            for against in (found.tree, common.tree):
                mine = here.refine(mine, against=Snapshot(against), jobs=run.jobs, progress=run.heartbeat)
            base, theirs = self._part(common.tree), self._part(with_contents(found.tree, mine.tree, common.tree))
            leaving = guards.leaving({item.path: item.target or "" for item in theirs.of_kind(Kind.LINK)})
            guards.check_shape(theirs, what=self.shared.backend.location)
            frozen = here.frozen | dict.fromkeys(leaving, "it is a link that points out of the folder")
            whole = merge.merge(base, self._part(mine.tree), theirs, frozen=frozen)
            made = whole if job.verb.deletes else merge.without_deletions(whole)
            guards.check_merge(made, job.limits)
            run.emit(events.Merged(run.entry, made))
            done = _Done()
            if not job.verb.changes:
                return self._outcome(made, made, found, done, frozen)
            decided = job.decide(made, contents_of(made, here, self.shared))
            if not common.folder:
                common = common._replace(folder=self.folder.mark(self.shared.backend.location, job.via).id)
            if is_new:
                self.memory.save(common)
            try:
                self._bring(decided, found, here, mine, done)
            finally:
                self._remember(common, whole, decided, found, frozen, done)
                here.remember_hashes(mine, self._placed(done))
            return self._outcome(decided, made, found, done, frozen)

    # -- before

    def _nothing_new(self, common: Common, here: LocalSource) -> Outcome | None:
        """The outcome where the folder and the head are as this machine knows them; None where more is to be done."""
        position = self.shared.position()
        if position is None or position[:2] != (common.generation, common.manifest):
            return None
        known = Snapshot(common.tree)
        mine = here.look().snapshot()
        mine = here.refine(mine, against=known, jobs=self.run.jobs, progress=self.run.heartbeat)
        found, base = self._part(mine.tree), self._part(common.tree)
        if here.frozen or merge.apart(found, base):
            here.frozen.clear()
            return None
        made = Merge(found, base, base)
        self.run.emit(events.Merged(self.run.entry, made))
        if self.job.verb.changes:
            here.remember_hashes(mine, {})
        return self._outcome(made, made, Snapshot(base, position), _Done(), {})._replace(is_listed=False)

    def _common(self) -> tuple[bool, Common]:
        """Whether nothing is known yet, and what is known, if this is the folder that it is known of.

        Raises:
            Refused: it is not.
        """
        common, marker = self.memory.load(), self.folder.marker()
        place, root = self.shared.backend.location, paths.escape(self.local.location)
        forget = f"s32s forget {self.job.name}"
        if marker is not None and marker.place != place:
            raise Refused(
                f"{root} is shared through {paths.escape(marker.place)} already",
                hint=f"name that place, or let it be a folder like any other: {forget}",
            )
        if common.folder and marker is None:
            raise Refused(
                f"{root} has lost its marker, {paths.RESERVED}/id: it was emptied, or its disk is not mounted; nothing "
                "is taken for deleted",
                hint=f"bring the folder back; if it is meant to be a new one: {forget}",
            )
        if common.folder and marker is not None and marker.id != common.folder:
            raise Refused(
                f"{root} is another folder than the one that was synced here before",
                hint=f"if it is meant to take its place: {forget}",
            )
        if self.job.verb.changes and marker is not None and marker.via != self.job.via:
            self.folder.mark(place, self.job.via, known=marker.id)
        if not common.folder and marker is not None:
            return True, Common(tree.make(()), folder=marker.id)  # what was known is lost: as if nothing were common
        return not common.folder, common

    def _checked(self, common: Common, generation: int) -> Common:
        if generation >= common.generation:
            return common
        if self.job.accepts_older:
            return Common(tree.make(()), folder=common.folder)
        raise Refused(
            f"{self.shared.backend.location} went back from generation {common.generation:,} to {generation:,}: it was "
            "restored from a backup, or somebody has emptied it",
            hint="--accept-older continues from there and deletes nothing",
        )

    def _part(self, found: Tree) -> Tree:
        """What takes part."""
        out = self._ignored(found)
        return found.patched(out, ()) if out else found

    # -- the work

    def _bring(self, decided: Merge, found: Snapshot, here: LocalSource, mine: LocalSnapshot, done: _Done) -> None:
        if decided.uploads or decided.downloads or decided.copies:
            self.run.begin()
        if decided.uploads:
            self._upload(decided, found, here, done)
        else:
            self.folder.rename(decided.copies)
        if decided.downloads:
            self._download(decided.downloads, here, mine, done)

    def _upload(self, decided: Merge, found: Snapshot, here: LocalSource, done: _Done) -> None:
        changed = self.job.changed()
        come = [uploaded(step.new, step.old, changed) for step in decided.uploads if step.new is not None]
        gone = [step.path for step in decided.uploads if step.new is None]
        wanted = found.tree.patched(gone, come)
        plan = planner.make(wanted, found.tree, rules=EVERYTHING)
        self._tell_of_names(wanted, {item.path for item in come if found.tree.get(item.path) is None})
        with self.shared.transaction(found, plan) as transaction:
            with self.folder.renamed(decided.copies):
                self.run.phase("moving files")
                transaction.keep_deleted(jobs=self.run.jobs)
                self._put_all(transaction, here, done)
                self.run.phase("publishing")
                published = transaction.publish()
            done.theirs, done.position = transaction.tree, published.position
            for step in decided.uploads:
                if step.path not in done.held:
                    self.memory.note(step.path, done.theirs.get(step.path))
            transaction.sweep()

    def _put_all(self, transaction: SharedPush, here: LocalSource, done: _Done) -> None:
        def moved(body: Body, error: S32sError | None) -> None:
            path = body.item.path
            if error is None:
                self.run.emit(events.FilePut(self.run.entry, path, body.item.size))
            elif isinstance(error, Unreadable):
                done.held |= dict(error.reasons)
            elif isinstance(error, EntryFailed) and isinstance(error.__cause__, SourceChanged):
                done.held[path] = "somebody writes to it just now"
            else:
                raise error

        put_all(here, transaction, self._progress, moved, jobs=self.run.jobs)
        for path in done.held:
            transaction.leave(path)

    def _download(self, steps: Sequence[Step], here: LocalSource, mine: LocalSnapshot, done: _Done) -> None:
        """Bring what is new part by part, so that a run that ends early has not worked for nothing; deletions last.

        Raises:
            SourceChanged: some files were replaced there meanwhile; all others are here.
        """
        self.run.phase("moving files")
        moved: set[str] = set()
        for part in parts_of(steps):
            wanted = [step.new for step in part if step.new is not None and needs_bytes(step)]
            moved |= self._fetch(wanted, here, mine.tree)
            self.folder.settle()
            for step in self.folder.apply([step for step in part if step.path not in moved], mine.listing):
                self.memory.note(step.path, step.new)
                done.mine.append(step)
        if moved:
            raise SourceChanged(f"{paths.some(sorted(moved))} changed on S3 during the run", paths=tuple(moved))

    def _fetch(self, wanted: Sequence[Item], here: LocalSource, mine: Tree) -> set[str]:
        """Bring files beside their places: those whose bytes are in the folder already from there.

        Returns:
            Which of them are not there any more.
        """
        moved: set[str] = set()
        contents = {item.sha256 for item in wanted if item.sha256 and item.size}
        nearby = {item.sha256: item for item in mine.holding(contents, range(len(mine)))}
        missing = [item for item in wanted if not (item.sha256 in nearby and self._copied(item, nearby, here))]

        def stage(body: Body) -> None:
            try:
                self.folder.stage(body, self._progress)
            except SourceChanged:
                moved.add(body.item.path)
            else:
                self.run.emit(events.FilePut(self.run.entry, body.item.path, body.item.size))

        reading = self.shared.read(missing, jobs=self.run.jobs)
        for_each(reading.bodies, stage, jobs=reading.threads, first=reading.first)
        return moved

    def _copied(self, item: Item, nearby: Mapping[str | None, Item], here: LocalSource) -> bool:
        try:
            self.folder.stage(CopyOf(item, FileBody(here, nearby[item.sha256])), self._progress)
        except (SourceChanged, IntegrityError, Unreadable):
            return False  # it is fetched
        return True

    def _progress(self, size: int) -> None:
        self.run.heartbeat(size)
        self.run.emit(events.Progress(self.run.entry, size))

    def _tell_of_names(self, wanted: Tree, new: set[str]) -> None:
        for path, why in sorted(portable.problems(wanted, new).items())[:20]:
            self.run.warn(f"{paths.quote(path)} cannot be held by every computer: {why}")

    # -- after

    def _remember(
        self,
        common: Common,
        whole: Merge,
        decided: Merge,
        found: Snapshot,
        frozen: Mapping[str, str],
        done: _Done,
    ) -> None:
        """Keep what is equal now; of all else what was known of it."""
        there = done.theirs if done.theirs is not None else with_contents(found.tree, decided.mine, common.tree)
        equal = {step.path for step in done.mine}
        if done.theirs is not None:
            equal |= {step.path for step in decided.uploads} - done.held.keys()
        steps = (*whole.uploads, *whole.downloads, *decided.uploads, *decided.downloads)
        apart = {step.path for step in steps} - equal
        tops = [*frozen, *(conflict.path for conflict in decided.conflicts)]
        apart |= {path for top in tops for path in _within(top, there, common.tree)}
        apart |= self._ignored(there, common.tree)
        kept = [item for path in apart if (item := common.tree.get(path)) is not None]
        # What was hashed as it came is known better than a list of objects tells.
        came = (step.new for step in done.mine if step.new is not None)
        kept += [item for item in came if (listed := there.get(item.path)) is not None and listed.sha256 is None]
        now = done.position or found.position
        known = there.patched(list(apart), kept)
        after = Common(known, now.generation, common.folder, self.shared.is_strict, now.manifest)
        if after[1:] != common[1:] or after.tree.digest() != common.tree.digest():
            self.memory.save(after)

    def _ignored(self, *trees: Tree) -> set[str]:
        rules = self.job.rules
        if rules.takes_all and not rules.accept:
            return set()
        return {
            path
            for found in trees
            for row, path in enumerate(found.paths)
            if rules.verdict(path, is_dir=found.kind(row) is Kind.DIR) is not Verdict.ACCEPTED
        }

    def _placed(self, done: _Done) -> dict[str, CachedHash]:
        """What is known of the files that have come, for the stat cache."""
        if not done.mine:
            return {}
        time.sleep(RACY_CTIME_NS / 1e9)  # an edit within the tick of our rename would get the same change time
        now_ns = time.time_ns()
        placed: dict[str, CachedHash] = {}
        for step in done.mine:
            if step.new is not None and step.new.kind is Kind.FILE and step.new.sha256:
                stamp = self.folder.stamp_of(step.path)
                if stamp is not None:
                    placed[step.path] = CachedHash(stamp, now_ns, sha256=step.new.sha256)
        return placed

    def _outcome(self, decided: Merge, made: Merge, found: Snapshot, done: _Done, frozen: Mapping[str, str]) -> Outcome:
        position = done.position or found.position
        due = bool(made.uploads or made.downloads or made.conflicts)
        return Outcome(
            planner.nothing(files=decided.mine.files),
            due,
            changed=bool(done.theirs is not None or done.mine),
            source=position,
            target=position,
            is_listed=True,
            merge=decided,
            failure=left_undone(decided, {**frozen, **done.held}, self.folder.told) if self.job.verb.changes else None,
        )


def _within(top: str, *trees: Tree) -> set[str]:
    return {item.path for found in trees for item in found.within(top)}
