"""Events for eyes: one summary line an entry, progress where a run takes longer than a second, errors on the way.

Summaries go to standard output; progress, warnings and errors to standard error. Without a terminal there is no colour
and a line of progress a minute, and a run that changed nothing says nothing: cron mails whatever is said. NO_COLOR is
honoured.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from s32s.core import events, paths
from s32s.core.errors import Interrupted
from s32s.core.events import EntryFinished, Event
from s32s.core.merge import Merge
from s32s.core.plan import Plan
from s32s.core.summary import Tally, summary
from s32s.frontends.render.layout import amount, can_colour, paint, progress_words
from s32s.frontends.render.merges import merge_lines
from s32s.frontends.render.plans import change_lines, plan_lines

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PATIENCE_S = 1.0
_MINUTE_S = 60.0
_REJECTIONS = 10  # shown after a copy or sync
_OVERVIEW = 11  # lines of a plan that are not paths, a long path that takes two, and the prompt below


class Screen:
    """Shows a run to a person; pass `on_event` as `emit`. Thread-safe.

    Args:
        quiet: errors only.
        verbose: every path that was changed.
        dryrun: show plans instead of results.
        all_paths: cut no list of paths.
        environment: for NO_COLOR and TERM.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        quiet: bool = False,
        verbose: bool = False,
        dryrun: bool = False,
        all_paths: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._quiet = quiet
        self._verbose = verbose
        self._dryrun = dryrun
        self._all = all_paths
        self._direction = ""
        self._colour_out = can_colour(self._out, environment)
        self._colour_err = can_colour(self._err, environment)
        self._animated = not quiet and self._err.isatty() and environment.get("TERM") != "dumb"
        self._guard = threading.RLock()
        self._bar: _Bar | _Minutes | None = None

    def on_event(self, event: Event) -> None:
        """Show one event."""
        if self._bar is None and isinstance(event, (events.Progress, events.FilePut)):
            return
        with self._guard:
            match event:
                case events.EntryStarted():
                    self._direction = f"{paths.escape(event.source)} > {paths.escape(event.target)}"
                    self._close()
                    self._begin(event.entry)
                case events.Phase() | events.Planned() | events.Merged() | events.Progress() | events.FilePut() if (
                    self._bar
                ):
                    self._bar.on_event(event)
                case events.Restarted() if not self._quiet:
                    self._print_err(event.entry, f"starting over (attempt {event.attempt}): {event.reason}", "yellow")
                case events.Waiting() if not self._quiet:
                    self._print_err(event.entry, event.text, "yellow")
                case events.Warned() if not self._quiet:
                    self._print_err(event.entry, event.text, "yellow")
                case events.Watching() if not self._quiet:
                    self._print_err(event.entry, event.text, "dim")
                case events.Output() if not self._quiet:
                    self._print_err(event.entry, f"{event.command}: {paths.escape(event.line)}", "dim")
                case EntryFinished():
                    self._close()
                    self._finish(event)
                case _:
                    pass

    @contextlib.contextmanager
    def paused(self, entry: str) -> Iterator[None]:
        """Keep the progress of an entry from the screen while its person is asked."""
        with self._guard:
            self._close()
        try:
            yield
        finally:
            self._begin(entry)

    def close(self) -> None:
        """Take the progress from the screen, whatever happened."""
        with self._guard:
            self._close()

    def _begin(self, entry: str) -> None:
        if self._animated:
            self._bar = _Bar(entry, self._err)
        elif not self._quiet:
            self._bar = _Minutes(entry, self._err)

    def _close(self) -> None:
        if self._bar:
            self._bar.close()
            self._bar = None

    def _finish(self, event: EntryFinished) -> None:
        name = paths.escape(event.entry)
        if event.merge is not None and (event.error is None or not self._quiet):
            self._finish_merge(event, event.merge)
        elif event.error is not None:
            if not isinstance(event.error, Interrupted):
                self._print_err(event.entry, f"FAILED: {event.error}", "red")
        elif event.held:
            if not self._quiet:
                self._print_out(f"{paint(name, 'bold', on=self._colour_out)}: {event.held}")
        elif not self._quiet and event.plan is not None:
            if self._dryrun:
                self._print_plan(event, event.plan)
            else:
                if self._verbose:
                    for line in change_lines(event.plan, colour=self._colour_out):
                        self._print_out(line)
                if self._is_news(event):
                    text = f"{summary(event)}  ({_traffic(event.plan, event.seconds)})"
                    self._print_out(f"{paint(name, 'bold', on=self._colour_out)}: {text}")
                    self._print_rejections(event.plan)

    def _is_news(self, event: EntryFinished) -> bool:
        return event.changed or self._verbose or self._out.isatty()

    def _finish_merge(self, event: EntryFinished, made: Merge) -> None:
        name = paint(paths.escape(event.entry), "bold", on=self._colour_out)
        if self._quiet:
            return
        if self._dryrun and event.due:
            self._print_out(f"{name}  {self._direction.replace(' > ', ' <> ')}")
            limit = self._most() if self._out.isatty() else None
            for line in merge_lines(made, limit=limit, colour=self._colour_out):
                self._print_out(line)
        elif self._dryrun or event.error is not None or event.due or self._is_news(event):
            done = summary(replace(event, error=None))
            self._print_out(f"{name}: {done}  ({event.seconds:.1f} s)")
        if event.error is not None:
            self._print_err(event.entry, f"FAILED: {event.error}", "red")

    def _print_plan(self, event: EntryFinished, plan: Plan) -> None:
        name = paint(paths.escape(event.entry), "bold", on=self._colour_out)
        if plan.is_empty:
            self._print_out(f"{name}: {summary(event)}")
        else:
            self._print_out(f"{name}  {self._direction}")
        if not plan.is_empty or plan.rejected:
            limit = self._most() if self._out.isatty() else None
            for line in plan_lines(plan, limit=limit, colour=self._colour_out):
                self._print_out(line)

    def _most(self) -> int | None:
        """How many paths fit a screen below the overview of a plan."""
        return None if self._all else max(5, shutil.get_terminal_size().lines - _OVERVIEW)

    def _print_rejections(self, plan: Plan) -> None:
        for rejection in plan.rejected[:_REJECTIONS]:
            why = paths.escape(rejection.reason)
            self._print_out(f"  ! rejected  {paths.escape(rejection.path)}  ({why})")
        if len(plan.rejected) > _REJECTIONS:
            more = len(plan.rejected) - _REJECTIONS
            self._print_out(f"  ! rejected  … and {more:,} more (a dryrun or --report shows them)")

    def _print_out(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def _print_err(self, entry: str, text: str, colour: str) -> None:
        line = f"{paths.escape(entry)}: {text}"
        if self._bar:
            self._bar.print(paint(line, colour, on=self._colour_err))
        else:
            print(paint(line, colour, on=self._colour_err), file=self._err, flush=True)


class _Bar:
    """One entry's progress: nothing in the first second, then one line that is drawn again in place."""

    def __init__(self, entry: str, err: TextIO) -> None:
        self._entry = paths.escape(entry)
        self._err = err
        self._tally = Tally("starting")
        self._moving_s = time.monotonic()
        self._guard = threading.Lock()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._timer = threading.Timer(_PATIENCE_S, self._show)
        self._timer.daemon = True
        self._timer.start()

    def on_event(self, event: Event) -> None:
        self._tally.on_event(event)
        if isinstance(event, events.Planned | events.Merged):
            self._moving_s = time.monotonic()
        self._update()

    def print(self, line: str) -> None:
        with self._guard:
            if self._progress is not None:
                from rich.text import Text

                self._progress.console.print(Text.from_ansi(line))
            else:
                print(line, file=self._err, flush=True)

    def close(self) -> None:
        self._timer.cancel()
        with self._guard:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        with self._guard:
            if self._timer.finished.is_set() and self._progress is not None:
                return
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None, complete_style="green", finished_style="green"),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[told]}", markup=False),
                console=Console(file=self._err),
                transient=True,
            )
            self._task = self._progress.add_task(self._entry, total=None, told="")
            self._progress.start()
        self._update()

    def _update(self) -> None:
        with self._guard:
            if self._progress is None or self._task is None:
                return
            tally = self._tally
            self._progress.update(
                self._task,
                description=f"{self._entry}: {tally.phase}",
                completed=tally.size,
                total=tally.size_of or None,
                told=progress_words(tally, time.monotonic() - self._moving_s),
            )


class _Minutes:
    """One entry's progress where nobody sees a line change: a line a minute, in a log or a mail."""

    def __init__(self, entry: str, err: TextIO) -> None:
        self._entry = paths.escape(entry)
        self._err = err
        self._tally = Tally("starting")
        self._began_s = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._tell, daemon=True).start()

    def on_event(self, event: Event) -> None:
        self._tally.on_event(event)

    def print(self, line: str) -> None:
        print(line, file=self._err, flush=True)

    def close(self) -> None:
        self._ended.set()

    def _tell(self) -> None:
        while not self._ended.wait(_MINUTE_S):
            self.print(f"{self._entry}: {progress_words(self._tally, time.monotonic() - self._began_s, phase=True)}")


def _traffic(plan: Plan, seconds: float) -> str:
    return f"{amount(plan.size)} in {seconds:.1f} s" if plan.size else f"{seconds:.1f} s"
