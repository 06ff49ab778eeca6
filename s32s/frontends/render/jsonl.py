"""Events for machines: one JSON object a line on standard output. Fields are only ever added."""

from __future__ import annotations

import datetime
import json
import sys
import threading
from typing import TextIO

from s32s import __version__
from s32s.agent.report import Report
from s32s.core import events
from s32s.core.errors import S32sError
from s32s.core.events import Event
from s32s.core.item import Item, Kind, changed_by
from s32s.core.merge import Conflict, Merge, Step
from s32s.core.plan import Plan
from s32s.core.steps import kind_of
from s32s.core.summary import by_kind, numbers
from s32s.frontends.render.json_events import ConflictPath, ErrorFacts, Finished, Merged, Planned, StepPath, Summary
from s32s.frontends.render.json_schema import Line


class Lines:
    """Writes the events of a run; pass `on_event` as `emit`. Thread-safe.

    Args:
        plan: also write every path of the plans, as a dry run does.
    """

    def __init__(self, *, plan: bool = False, out: TextIO | None = None) -> None:
        self._plan = plan
        self._out = out or sys.stdout
        self._guard = threading.Lock()

    def on_event(self, event: Event) -> None:
        """Write one event, unless it is of use to a screen only."""
        line = self._line(event)
        if line is not None:
            self.write(line)

    def write(self, line: Line) -> None:
        """Write one object, with the time."""
        now = datetime.datetime.now(datetime.UTC)
        # ASCII only: a reader with another locale gets the same text, and no control character can slip through.
        text = json.dumps({**line, "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z")})
        with self._guard:
            print(text, file=self._out, flush=True)

    def _line(self, event: Event) -> Line | None:
        match event:
            case events.EntryStarted():
                return {"event": "started", "entry": event.entry, "source": event.source, "target": event.target}
            case events.Planned():
                return _planned(event.entry, event.plan, paths=self._plan)
            case events.Merged():
                return _merged(event.entry, event.merge, paths=self._plan)
            case events.Restarted():
                return {"event": "started_over", "entry": event.entry, "turn": event.attempt, "reason": event.reason}
            case events.Waiting():
                return {"event": "waiting", "entry": event.entry, "text": event.text}
            case events.Warned():
                return {"event": "warning", "entry": event.entry, "text": event.text}
            case events.Watching():
                return {"event": "watching", "entry": event.entry, "text": event.text}
            case events.Output():
                return {"event": "output", "entry": event.entry, "command": event.command, "line": event.line}
            case events.EntryFinished():
                ended: Finished = {
                    "event": "finished",
                    "entry": event.entry,
                    "ok": event.error is None,
                    "due": event.due,
                    "changed": event.changed,
                    "seconds": round(event.seconds, 3),
                    "generation": event.generation,
                }
                if event.held:
                    ended["held"] = True
                if event.error:
                    ended["error"] = error_facts(event.error)
                return ended
            case _:
                return None


def summary_line(report: Report, *, status: int, seconds: float) -> Summary:
    """How a whole run went: the last line of it."""
    finished = report.finished
    plans = [end.plan for end in finished if end.plan is not None]
    return {
        "event": "summary",
        "version": __version__,
        "status": status,
        "entries": len(finished),
        "failed": sum(end.error is not None for end in finished),
        "changed": sum(end.changed for end in finished),
        "rejected": sum(len(plan.rejected) for plan in plans),
        "problems": [str(problem) for problem in report.problems],
        "seconds": round(seconds, 3),
    }


def _planned(entry: str, plan: Plan, *, paths: bool) -> Planned:
    files = numbers(plan)
    directories = {name: len(items) - files[name] for name, items in by_kind(plan).items()}
    line: Planned = {
        "event": "planned",
        "entry": entry,
        "new": files["new"],
        "modified": files["modified"],
        "deleted": files["deleted"],
        "new_directories": directories["new"],
        "modified_directories": directories["modified"],
        "deleted_directories": directories["deleted"],
        "rejected": len(plan.rejected),
        "unchanged": plan.source_files - sum(put.item.kind is not Kind.DIR for put in plan.puts),
        "files": plan.source_files,
        "bytes": plan.size,
        "new_bytes": sum(put.item.size for put in plan.new),
        "modified_bytes": sum(put.item.size for put in plan.modified if put.needs_bytes),
        "deleted_bytes": sum(item.size for item in plan.extras),
    }
    if paths:
        line["paths"] = {
            "new": [put.item.path for put in plan.new],
            "modified": [{"path": put.item.path, "reason": put.reason.value} for put in plan.modified],
            "deleted": [item.path for item in plan.extras],
            "rejected": [{"path": rejection.path, "reason": rejection.reason} for rejection in plan.rejected],
        }
    return line


def _merged(entry: str, made: Merge, *, paths: bool) -> Merged:
    """Counts of a merge, and on demand every path, with who has changed it last and when."""
    line: Merged = {
        "event": "merged",
        "entry": entry,
        "uploads": len(made.uploads),
        "downloads": len(made.downloads),
        "conflicts": len(made.conflicts),
        "files": made.mine.files,
    }
    if paths:
        line["paths"] = {
            "uploads": [_step(step) for step in made.uploads],
            "downloads": [_step(step) for step in made.downloads],
            "conflicts": [_conflict(conflict) for conflict in made.conflicts],
            "frozen": list(made.frozen),
        }
    return line


def _step(step: Step) -> StepPath:
    line: StepPath = {"path": step.path, "kind": kind_of(step)}
    who, when = _changed(step.new or step.old)
    return {**line, "by": who, "at": when} if who else line


def _conflict(conflict: Conflict) -> ConflictPath:
    line: ConflictPath = {"path": conflict.path, "reason": conflict.clash.value}
    who, when = _changed(conflict.theirs)
    return {**line, "by": who, "at": when} if who else line


def _changed(item: Item | None) -> tuple[str, str]:
    return changed_by(item) if item is not None else ("", "")


def error_facts(error: S32sError) -> ErrorFacts:
    """An error as JSON-ready facts."""
    return {
        "type": type(error).__name__,
        "status": error.exit_status,
        "text": str(error),
        "paths": list(error.paths),
    }
