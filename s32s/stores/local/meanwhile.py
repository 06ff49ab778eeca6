"""What has happened in a target between its listing and the change: pure, of two walks and the plan.

A program that writes there must lose nothing that no plan has named. `copy` takes along whatever has moved. `sync`
starts over, so that the news pass the planner, the guards and the report like everything else; where they never end,
the last attempt takes them along as `copy` does, as if they had come just after the run.

Two things do not count. A path that `sync` is going to delete or to replace anyway may change as often as it likes:
its fate was shown and counted. And a change time that has moved alone says that somebody made a link or changed an
owner, or has put a time back; such a file is left out of the stat cache (`target.py`), so that the next run reads it.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

from s32s.core import paths, tree
from s32s.core.errors import SourceChanged
from s32s.core.item import Kind
from s32s.core.plan import Plan
from s32s.stores.base import Policy
from s32s.stores.local.stat_cache import CTIME
from s32s.stores.local.walk import DirectoryListing


@dataclass(slots=True)
class Moved:
    """What has moved, and stays.

    Attributes:
        rows: of the second walk: names that are new or other than they were, and are taken along as they are now.
        gone: names that are not there any more, and would have stayed.
        told: those that the next run puts right, for people.
        doubtful: rows of the second walk whose change time alone has moved.
    """

    rows: list[int] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    doubtful: set[int] = field(default_factory=set)


def judge(plan: Plan, before: DirectoryListing, now: DirectoryListing, policy: Policy, *, shown: str) -> Moved:
    """Compare two walks of a target; say what a change must take along.

    Raises:
        SourceChanged: the run is to start over.
    """
    moved = Moved()
    if now.paths == before.paths and now.modes == before.modes and now.stamps == before.stamps:
        return moved
    puts = {put.item.path: put for put in plan.puts}
    extras = {item.path for item in plan.extras}
    spared = {item.path for item in plan.spared}

    def start_over(path: str) -> None:
        if policy.deletes and policy.patient:
            raise changed(path, shown)

    for at, row, count in tree.join(before.paths, now.paths):
        for step in range(count):
            was = None if at is None else at + step
            if row is None:
                assert was is not None
                path = before.paths[was]
                if path in puts or path in extras or stat.S_ISDIR(before.modes[was]):
                    moved.gone.add(path)
                    continue
                moved.gone.add(path)
                if path not in spared:
                    start_over(path)
                    moved.told.append(path)
                continue
            here = row + step
            path, is_dir = now.paths[here], stat.S_ISDIR(now.modes[here])
            if was is not None and _is_same(before, was, now, here):
                if before.ctime_ns(was) != now.ctime_ns(here):
                    moved.doubtful.add(here)
                continue
            put = puts.get(path)
            if is_dir and put is not None and put.item.kind is Kind.DIR:
                continue
            if policy.deletes and was is not None and not is_dir and (put is not None or path in extras):
                continue
            start_over(path)
            if policy.deletes and put is not None and not is_dir:
                continue
            moved.rows.append(here)
            if not is_dir and (policy.deletes or put is not None or (was is not None and path not in spared)):
                moved.told.append(path)
    return moved


def changed(path: str, shown: str) -> SourceChanged:
    """The error that makes the run start over."""
    return SourceChanged(f"{paths.quote(path)} in {paths.escape(shown)} changed during the run")


def _is_same(before: DirectoryListing, was: int, now: DirectoryListing, here: int) -> bool:
    """Whether a name shows the same, change times aside; a directory is its name, as its mode is set anyway."""
    if stat.S_ISDIR(now.modes[here]):
        return stat.S_ISDIR(before.modes[was])
    return before.modes[was] == now.modes[here] and before.stamp(was)[:CTIME] == now.stamp(here)[:CTIME]
