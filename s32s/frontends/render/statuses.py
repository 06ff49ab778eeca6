"""How the entries stand, as a table for people and as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from s32s.agent.results import facts_of
from s32s.agent.status import EntryState, EntryStatus
from s32s.agent.watch_state import WatchState
from s32s.core.paths import escape
from s32s.frontends.render import moments
from s32s.frontends.render.layout import count, table

if TYPE_CHECKING:
    from s32s.frontends.render.json_schema import Held, LastRun, PublishedState, Status, Watch


def show(title: str, entries: Sequence[EntryStatus]) -> None:
    """Print the table, and below it what went wrong."""
    print(title)
    rows = [
        [
            escape(entry.name),
            direction(entry),
            moments.full(entry.last.time_s) if entry.last else "-",
            str(entry.last.generation) if entry.last and entry.last.generation else "-",
            words(entry),
        ]
        for entry in entries
    ]
    zone = moments.zone(entry.last.time_s for entry in entries if entry.last)
    print(*table([["NAME", "DIRECTION", f"LAST RUN ({zone})", "GEN", "STATE"], *rows]), sep="\n")
    for entry in entries:
        if entry.last is not None and not entry.last.ok:
            print(f"{escape(entry.name)}: {entry.last.text}")
        if entry.watch is not None:
            print(f"{escape(entry.name)}: {watch_words(entry.watch)}")
        if entry.state is EntryState.WENT_BACK and entry.cure:
            print(f"{escape(entry.name)}: {entry.cure}", file=sys.stderr)
        if entry.trouble and not entry.unreachable:
            print(f"{escape(entry.name)}: {entry.trouble}", file=sys.stderr)


def direction(entry: EntryStatus) -> str:
    """Where from and where to, or between what."""
    return f"{escape(entry.source)} {'<>' if entry.is_shared else '>'} {escape(entry.target)}"


def status_line(entry: EntryStatus) -> Status:
    """One entry as a line of JSON."""
    return {
        "event": "status",
        "entry": entry.name,
        "source": entry.source,
        "target": entry.target,
        "state": words(entry),
        "last": cast("LastRun", facts_of(entry.last)) if entry.last else None,
        "generation": entry.generation,
        "published": cast("PublishedState", entry.published._asdict()) if entry.published else None,
        "unfinished_push": entry.push,
        "drift": entry.drift,
        "trouble": entry.trouble,
        "unreachable": entry.unreachable,
        "running_s": entry.running_s,
        "watch": cast("Watch", asdict(entry.watch)) if entry.watch is not None else None,
        "held": _held(entry),
    }


def _held(entry: EntryStatus) -> Held | None:
    hold = entry.hold
    if hold is None:
        return None
    return {"generation": hold.generation, "since_s": hold.since_s, "user": hold.user, "done": hold.is_done}


def watch_words(watch: WatchState) -> str:
    """How an entry is watched, for people."""
    parts = [watch.how]
    if watch.watches:
        parts.append(count(watch.watches, "directory"))
    if watch.changed_s:
        parts.append(f"last change {moments.short(watch.changed_s)}")
    if watch.compared_s:
        parts.append(f"all compared {moments.short(watch.compared_s)}")
    if watch.missed:
        parts.append(f"{watch.missed:,} changes that no event had told of")
    return ", ".join(parts)


def words(entry: EntryStatus) -> str:
    """The state of an entry, for people."""
    match entry.state:
        case EntryState.RUNNING:
            return f"running since {moments.short(entry.running_s or 0)}"
        case EntryState.HELD:
            behind = f", {count(entry.behind, 'generation')} behind" if entry.behind > 0 else ""
            return f"{entry.hold.words_for(entry.name) if entry.hold is not None else 'held'}{behind}"
        case EntryState.UNFINISHED_PUSH:
            return f"unfinished push by {entry.push}"
        case EntryState.NEVER_RUN:
            return "never run"
        case EntryState.MOVED:
            return "path changed, not synced yet"
        case EntryState.INTERRUPTED:
            return "interrupted"
        case EntryState.FAILED:
            return "failed"
        case EntryState.UNREACHABLE:
            return "S3 unreachable" if entry.unreachable else "head unreadable"
        case EntryState.WENT_BACK:
            return f"S3 went back to generation {entry.generation:,}" if entry.generation else "the head on S3 is gone"
        case EntryState.BEHIND:
            return f"{count(entry.behind, 'generation')} behind"
        case EntryState.DRIFTED:
            return f"{entry.drift:,} changed since the push" if entry.is_master else f"{entry.drift:,} drifted"
        case EntryState.UP_TO_DATE:
            return "up to date"
        case EntryState.NOT_COMPARED:
            done = moments.short((entry.last.success_s if entry.last else None) or 0)
            return f"{'pushed' if entry.is_master else 'synced'} {done}, not compared since"
