"""`sync`, `copy`, `dryrun`: a verb for the entries of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from s32s.core.errors import OutOfTime, UsageError
from s32s.frontends.cli.commands.common import open_machine, show_trace

if TYPE_CHECKING:
    import argparse

    from s32s.core.events import Event

#: What setitimer(2) takes everywhere.
_LONGEST_S = 10 * 365 * 86400.0


def run(options: argparse.Namespace, stop: threading.Event) -> int:
    import gc
    from pathlib import Path

    from s32s.agent.roles.base import Options
    from s32s.config import settings_file
    from s32s.core.plan import Verb
    from s32s.frontends.render import files
    from s32s.frontends.render.jsonl import Lines
    from s32s.frontends.render.layout import is_journal
    from s32s.frontends.render.log import Log
    from s32s.frontends.render.notify import Notify
    from s32s.frontends.render.text import Screen

    # A run makes a million small values and hardly a cycle, and then the process ends: looking for cycles is waste.
    gc.disable()
    verb = Verb(options.verb)
    role = _role(options.role)
    where = settings_file.directories(os.environ)
    timeout_s = _timeout_s(options.timeout)
    directory = Path(options.report) if options.report else None
    if directory is None and verb.changes and not (sys.stdout.isatty() or sys.stderr.isatty()):
        directory = where.report  # a timer's run: nobody sees the screen
    screen = Screen(
        os.environ, quiet=options.quiet, dryrun=verb is Verb.DRYRUN, all_paths=getattr(options, "all", False)
    )
    show = screen.on_event
    if options.json:
        show = Lines(plan=verb is Verb.DRYRUN).on_event
    elif verb.changes and (options.log_format or is_journal(sys.stderr, os.environ)):
        show = Log(options.log_format or "journal", debug=bool(os.environ.get("S32S_DEBUG"))).on_event
    notify = Notify(os.environ)

    def tell(event: Event) -> None:
        show(event)
        notify.on_event(event)

    with (
        open_machine(options, writable=verb.changes, attended=sys.stderr.isatty()) as agent,
        contextlib.closing(screen),
        files.recorded(tell, directory) as emit,
        _alarm(options.timeout, timeout_s, stop),
    ):
        report = agent.run(
            verb,
            options.names,
            role=role,
            options=Options(
                verify=options.verify,
                force_delete=options.force_delete,
                take_over=getattr(options, "take_over", False),
                accept_older=options.accept_older,
                jobs=options.jobs,
                bandwidth=options.bandwidth,
            ),
            update_maps=options.update_maps,
            emit=emit,
            stop=stop,
        )
    for end in report.finished:
        if end.error is not None:
            if options.json:
                print(f"{end.entry}: {end.error}", file=sys.stderr)
            show_trace(end.error)
    for problem in report.problems:
        print(f"s32s: {problem}", file=sys.stderr)
    if not report.finished and not options.quiet and not options.json:
        shown = (role or agent.settings.role).value
        print(f"no entry of the maps has a {shown}: nothing to do on this machine")
    if not report.exit_status and getattr(options, "exit_code", False) and report.has_work:
        return 4
    return report.exit_status


def _timeout_s(text: str | None) -> float | None:
    from s32s.config.settings import duration_s

    if text is None:
        return None
    try:
        seconds = duration_s(text)
    except ValueError as exc:
        raise UsageError(f"--timeout: {exc}") from exc
    if not seconds:
        raise UsageError("--timeout: the time must be longer than zero")
    return min(seconds, _LONGEST_S)


@contextlib.contextmanager
def _alarm(text: str | None, seconds: float | None, stop: threading.Event) -> Iterator[None]:
    """Stop what the block does after so many seconds, as a signal does."""

    def end(number: int, frame: object) -> None:
        if not stop.is_set():
            stop.set()
            raise OutOfTime(number, what=f"stopped after {text} (--timeout)")

    if seconds is None:
        yield
        return
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _role(text: str | None) -> Any:
    from s32s.config.map_files import suggestion
    from s32s.core.role import Role

    if text is None:
        return None
    try:
        return Role(text)
    except ValueError:
        raise UsageError(f'"{text}" is not a role{suggestion(text, [role.value for role in Role])}') from None
