"""`sync`, `copy`, `dryrun`: a verb for the entries of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from s32s.core.errors import OutOfTime, UsageError
from s32s.frontends.cli.commands import places
from s32s.frontends.cli.commands.common import open_machine, report_problems, show_trace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from s32s.agent.options import Options
    from s32s.agent.report import Report
    from s32s.core.events import Event
    from s32s.core.merge import Merge
    from s32s.core.plan import Verb
    from s32s.core.role import Role
    from s32s.frontends.render.text import Screen
    from s32s.replication.merge_job import Contents

#: What setitimer(2) takes everywhere.
_LONGEST_S = 10 * 365 * 86400.0


def run(options: argparse.Namespace, stop: threading.Event) -> int:
    import gc

    # A run makes a million small values and hardly a cycle, and then the process ends: looking for cycles is waste.
    gc.disable()
    from pathlib import Path

    from s32s.agent.options import Options
    from s32s.config import settings_file
    from s32s.core.plan import Verb
    from s32s.frontends.render import files
    from s32s.frontends.render.layout import is_journal
    from s32s.frontends.render.log import Log
    from s32s.frontends.render.notify import Notify
    from s32s.frontends.render.text import Screen

    began_s = time.monotonic()
    verb = Verb(options.verb)
    if getattr(options, "dry_run", False):
        verb = Verb.DRYRUN if verb.deletes else Verb.DRYRUN_COPY
    role = role_of(options.role)
    where = settings_file.directories(os.environ)
    timeout_s = _timeout_s(options.timeout)
    directory = Path(options.report) if options.report else None
    if directory is None and verb.changes and not (sys.stdout.isatty() or sys.stderr.isatty()):
        directory = where.report  # a timer's run: nobody sees the screen
    screen = Screen(
        os.environ,
        quiet=options.quiet,
        verbose=options.verbose,
        dryrun=not verb.changes,
        all_paths=getattr(options, "all", False),
    )
    show = screen.on_event
    if options.json:
        from s32s.frontends.render.jsonl import Lines

        show = Lines(plan=not verb.changes).on_event
    elif verb.changes and (options.log_format or is_journal(sys.stderr, os.environ)):
        show = Log(options.log_format or "journal", debug=bool(os.environ.get("S32S_DEBUG"))).on_event
    notify = Notify(os.environ)

    def tell(event: Event) -> None:
        show(event)
        notify.on_event(event)

    chosen = Options(
        verify=options.verify,
        force_delete=options.force_delete,
        take_over=getattr(options, "take_over", False),
        message=getattr(options, "message", ""),
        accept_older=options.accept_older,
        jobs=options.jobs,
        bandwidth=options.bandwidth,
        below=(getattr(options, "below", None) or "").removeprefix("./").rstrip("/"),
    )
    is_shared = options.command == "peer"
    is_between = not is_shared and places.are_places(options)
    with contextlib.closing(screen), contextlib.ExitStack() as opened:
        if is_shared:
            emit = opened.enter_context(files.recorded(tell, directory, by_entry=False))
            report = _shared(options, verb, chosen, emit, screen, stop)
        elif is_between:
            report = _between(options, verb, chosen, opened, tell, directory, stop, timeout_s)
        else:
            agent = opened.enter_context(open_machine(options, writable=verb.changes, attended=sys.stderr.isatty()))
            _check_shared(options, role or agent.settings.role)
            emit = opened.enter_context(files.recorded(tell, directory))
            opened.enter_context(_alarm(options.timeout, timeout_s, stop))
            report = agent.run(
                verb,
                options.names,
                role=role,
                options=chosen,
                update_maps=options.update_maps,
                emit=emit,
                stop=stop,
                decide=_decisions(options, screen),
            )
    for end in report.finished:
        if end.error is not None:
            if options.json:
                print(f"{end.entry}: {end.error}", file=sys.stderr)
            show_trace(end.error)
    report_problems(report.problems)
    if not report.finished and not options.quiet and not options.json:
        shown = (role or agent.settings.role).value  # only entries can be none
        print(f"no entry of the maps has a {shown}: nothing to do on this machine")
    status = _status(options, report)
    if options.json:
        from s32s.frontends.render.jsonl import Lines, summary_line

        Lines().write(summary_line(report, status=status, seconds=time.monotonic() - began_s))
    return status


def _status(options: argparse.Namespace, report: Report) -> int:
    """The exit status of a run."""
    if report.exit_status:
        return report.exit_status
    rejected = sum(len(end.plan.rejected) for end in report.finished if end.plan is not None)
    if rejected and getattr(options, "strict", False):
        print(f"s32s: {rejected:,} file{'s were' if rejected > 1 else ' was'} rejected (--strict)", file=sys.stderr)
        return 1
    return 4 if getattr(options, "exit_code", False) and report.has_work else 0


def _check_shared(options: argparse.Namespace, role: Role) -> None:
    """Refuse options that only a shared folder has.

    Raises:
        UsageError: names them.
    """
    if role.value == "peer":
        return
    names = ("yes", "keep", "upload_only", "download_only")
    if given := ["--" + name.replace("_", "-") for name in names if getattr(options, name, None)]:
        raise UsageError(
            f"{', '.join(given)} is for shared folders (role peer), and this machine is a {role.value}",
            hint="--role peer takes that role for once",
        )


def _decisions(options: argparse.Namespace, screen: Screen) -> Callable[[str, Merge, Contents], Merge]:
    """Who decides about a merge: somebody at the terminal, else the options."""
    from s32s.core.merge import Resolution
    from s32s.frontends.cli.commands.decisions import Decisions, is_attended

    if options.upload_only and options.download_only:
        raise UsageError("--upload-only and --download-only exclude each other")
    keep = getattr(options, "keep", None)
    asks = not (options.yes or options.json or options.quiet) and is_attended((sys.stdin, sys.stderr))
    decisions = Decisions(
        keep=Resolution(keep) if keep else None,
        uploads=not options.download_only,
        downloads=not options.upload_only,
        asks=asks,
    )

    def decide(name: str, made: Merge, contents: Contents) -> Merge:
        if not asks:
            return decisions(name, made, contents)
        with screen.paused(name):
            return decisions(name, made, contents)

    return decide


def _shared(
    options: argparse.Namespace,
    verb: Verb,
    chosen: Options,
    emit: Callable[[Event], None],
    screen: Screen,
    stop: threading.Event,
) -> Report:
    """Share a folder without a map."""
    from s32s.agent.sharing import run_peer

    settings, connection = places.connected(options)
    return run_peer(
        options.folder,
        options.place,
        verb,
        settings=settings,
        s3=connection,
        ignore=options.ignore or (),
        layout=options.layout,
        options=chosen,
        attended=sys.stderr.isatty(),
        emit=emit,
        stop=stop,
        decide=_decisions(options, screen),
    )


def _between(
    options: argparse.Namespace,
    verb: Verb,
    chosen: Options,
    opened: contextlib.ExitStack,
    tell: Callable[[Event], None],
    directory: Path | None,
    stop: threading.Event,
    timeout_s: float | None,
) -> Report:
    """Do a verb between two places; what a configuration says of S3 holds where there is one."""
    from s32s.agent.places import run_places
    from s32s.frontends.render import files

    asked, settings, connection = places.asked_between(options)
    emit = opened.enter_context(files.recorded(tell, directory, by_entry=False))
    opened.enter_context(_alarm(options.timeout, timeout_s, stop))
    return run_places(
        asked,
        verb,
        s3=connection,
        stores=settings.stores,
        options=chosen,
        attended=sys.stderr.isatty(),
        emit=emit,
        stop=stop,
        ask=places.asked_at_terminal,
    )


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
    if not hasattr(signal, "SIGALRM"):
        raise UsageError("--timeout is not available on this system", hint="let the scheduler end the run")
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def role_of(text: str | None) -> Any:
    """The role that an option names; None without one."""
    from s32s.config.map_files import suggestion
    from s32s.core.role import Role

    if text is None:
        return None
    try:
        return Role(text)
    except ValueError:
        raise UsageError(f'"{text}" is not a role{suggestion(text, [role.value for role in Role])}') from None
