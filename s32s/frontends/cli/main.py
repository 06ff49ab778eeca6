"""The command line: arguments to settings and calls, errors to messages and exit statuses.

Holds no logic of its own: whatever a command does, a Python program can do with the same functions. What is not needed
for `--version`, `--help` and mistakes on the command line is imported in the command that needs it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from s32s.core.errors import Interrupted, OutOfTime, S32sError, UsageError
from s32s.frontends.cli import arguments
from s32s.frontends.render import streams

if TYPE_CHECKING:
    import argparse

    from s32s.agent.agent import Agent
    from s32s.config.maps import MapSet
    from s32s.core.events import Event
    from s32s.frontends.systemd import Service

#: What setitimer(2) takes everywhere.
_LONGEST_S = 10 * 365 * 86400.0


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    streams.prepare()
    status = run_command(list(sys.argv[1:] if argv is None else argv))
    for stream in (sys.stdout, sys.stderr):
        streams.lost(stream)  # flushes it
    # A worker may still hang in a request of an interrupted run; nothing of it is wanted any more.
    os._exit(status)


def run_command(argv: list[str]) -> int:
    """Run one command; return its exit status.

    The only place where errors become messages and statuses.
    """
    stop = threading.Event()
    caught: list[int] = []
    _watch_signals(stop, caught)
    try:
        options = arguments.parser().parse_args(argv)
        status = _COMMANDS[options.command](options, stop)
        return status if options.command in _WORK else _answered(status)
    except SystemExit as exc:  # argparse, on --help, --version and bad usage
        return _answered(exc.code if isinstance(exc.code, int) else 2)
    except OutOfTime as exc:
        _complain(str(exc))
        return exc.exit_status
    except Interrupted as exc:
        _complain(str(exc))
        return 128 + (exc.number or (caught[0] if caught else signal.SIGINT))
    except S32sError as exc:
        _complain(str(exc))
        _debug(exc)
        return exc.exit_status
    except Exception as exc:
        # A mistake of ours. The administrator gets a sentence; the traceback is there for who asks.
        _complain(f"unexpected {type(exc).__name__}: {exc}; please report it with the output of S32S_DEBUG=1")
        _debug(exc)
        return 1


# -- commands ----------------------------------------------------------------------------------------------------------


def _menu(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends.menu import start

    return start.menu(options.config, os.environ)


def _help(options: argparse.Namespace, stop: threading.Event) -> int:
    return run_command([*options.topic, "--help"])


def _configure(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.config import settings

    file = settings.find(options.config, os.environ)
    asked = {name: value for name, value in vars(options).items() if name not in ("command", "config")}
    if not any(asked.values()):
        from s32s.frontends.menu import start

        return start.configure(file, os.environ)
    if (options.role is None or options.maps is None) and not file.exists():
        raise UsageError(
            "configure needs --role and --maps the first time",
            hint="s32s configure --role slave --maps BUCKET/PREFIX --allow DIRECTORY",
        )
    limit = options.max_delete
    settings.configure(
        file,
        {
            "role": options.role,
            "maps": options.maps,
            "allow": options.allow,
            "max_delete": int(limit) if limit and limit.isdigit() else limit,
            "s3": {
                "endpoint_url": options.endpoint_url,
                "profile": options.profile,
                "region": options.region,
                "mirror": {
                    "endpoint_url": options.mirror_endpoint_url,
                    "profile": options.mirror_profile,
                    "region": options.mirror_region,
                },
            },
        },
    )
    print(f"wrote {file}")
    return 0


def _maps_usage(options: argparse.Namespace, stop: threading.Event) -> int:
    raise UsageError("maps needs an action: update, list, check or schema", hint="see s32s maps --help")


def _maps_update(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.agent import hooks
    from s32s.core.paths import escape
    from s32s.frontends.render.layout import count

    with _machine(options) as agent:
        update = agent.update_maps()
        lacking = hooks.missing(update.maps.entries, agent.settings, agent.settings.role)
    if lacking:
        print(f"s32s: the maps name commands that [commands] lacks: {', '.join(map(escape, lacking))}", file=sys.stderr)
    if options.json:
        _print_json({"event": "maps", "new": update.new, "changed": update.changed, "gone": update.gone})
        return 0
    for sign, _, name in update.differences:
        print(f"{sign} {escape(name)}")
    print(f"{count(len(update.maps.entries), 'entry')} in {count(len(update.maps.files), 'map file')}")
    return 0


def _maps_list(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.config.maps import Role
    from s32s.core.paths import escape
    from s32s.frontends.render.layout import table

    with _machine(options) as agent:
        loaded = agent.load_maps()
    if options.json:
        for entry in loaded.entries:
            _print_json(entry.model_dump(exclude_none=True))
    else:
        rows = [
            [escape(entry.name), escape(entry.s3), *(escape(entry.place(role) or "-") for role in Role)]
            for entry in loaded.entries
        ]
        print(*table([["NAME", "S3", "MASTER", "SLAVE", "MIRROR"], *rows]), sep="\n")
    return _report_problems(loaded)


def _maps_check(options: argparse.Namespace, stop: threading.Event) -> int:
    from pathlib import Path

    from s32s.agent import catalog
    from s32s.frontends.render.layout import count

    loaded = catalog.check_files([Path(file) for file in options.files])
    if loaded.problems:
        raise catalog.problems_error(loaded.problems)
    print(f"{count(len(loaded.entries), 'entry')} in {count(len(loaded.files), 'file')}, no problems")
    return 0


def _maps_schema(options: argparse.Namespace, stop: threading.Event) -> int:
    import json

    from s32s.config import maps

    print(json.dumps(maps.schema(), indent=2))
    return 0


def _verb(options: argparse.Namespace, stop: threading.Event) -> int:
    import gc
    from pathlib import Path

    from s32s.agent.roles.base import Options
    from s32s.config import settings
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
    where = settings.directories(os.environ)
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
        _machine(options, writable=verb.changes, attended=sys.stderr.isatty()) as agent,
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
            _debug(end.error)
    for problem in report.problems:
        print(f"s32s: {problem}", file=sys.stderr)
    if not report.finished and not options.quiet and not options.json:
        shown = (role or agent.settings.role).value
        print(f"no entry of the maps has a {shown}: nothing to do on this machine")
    if not report.exit_status and getattr(options, "exit_code", False) and report.has_work:
        return 4
    return report.exit_status


def _status(options: argparse.Namespace, stop: threading.Event) -> int:
    import time

    from s32s.agent import catalog
    from s32s.agent.status import overdue
    from s32s.config import maps, settings
    from s32s.frontends.render import statuses

    try:
        limit_s = settings.duration_s(options.check) if options.check else None
    except ValueError as exc:
        raise UsageError(f"--check: {exc}") from exc
    with _machine(options, writable=False) as agent:
        source = agent.settings.maps
        if options.offline:
            cached = catalog.cached(source, agent.state, agent.engine)
            loaded = cached or maps.load(())
        else:
            loaded = cached = agent.load_maps()
        entries = agent.status(maps=loaded, ask_s3=not options.offline)
    if options.json:
        for entry in entries:
            _print_json(statuses.facts(entry))
    else:
        statuses.show(f"role {agent.settings.role.value}, maps {source}", entries)
    unreachable = [entry for entry in entries if entry.unreachable]
    for entry in unreachable[:1]:
        of = f" (for {len(unreachable):,} of {len(entries):,} entries)" if len(unreachable) < len(entries) else ""
        print(f"s32s: S3 unreachable{of}: {entry.trouble}", file=sys.stderr)
    late = overdue(entries, limit_s, now_s=time.time()) if limit_s is not None else []
    for entry in late:
        why = "its path has changed since, and " if entry.is_moved else ""
        print(f"s32s: {entry.name}: {why}no success within {options.check}", file=sys.stderr)
    if not entries:
        role = agent.settings.role.value
        empty = f"no entry of the maps has a {role}" if cached else f"the maps at {source} were never fetched here"
        print(f"s32s: {empty}", file=sys.stderr)
    is_blind = limit_s is not None and not entries
    bad = _report_problems(loaded) or int(bool(late) or is_blind)
    if bad or not any(entry.trouble for entry in entries):
        return bad
    return unreachable[0].trouble_status if unreachable else 1


def _service_usage(options: argparse.Namespace, stop: threading.Event) -> int:
    raise UsageError("service needs an action: install, remove or show", hint="see s32s service --help")


def _service_install(options: argparse.Namespace, stop: threading.Event) -> int:
    from pathlib import Path

    from s32s.frontends import systemd

    for line in systemd.install(_service(options), root=Path(options.root) if options.root else None):
        print(line)
    return 0


def _service_show(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends import systemd

    made = _service(options)
    for name, text in systemd.units(made).items():
        print(f"# {made.directory / name}\n{text}")
    return 0


def _service_remove(options: argparse.Namespace, stop: threading.Event) -> int:
    from pathlib import Path

    from s32s.config import settings
    from s32s.frontends import systemd

    directory = settings.user_units(os.environ) if options.user else systemd.SYSTEM_UNITS
    root = Path(options.root) if options.root else None
    for line in systemd.remove(options.instance, is_user_unit=options.user, directory=directory, root=root):
        print(line)
    return 0


def _service(options: argparse.Namespace) -> Service:
    from pathlib import Path

    from s32s.config import settings
    from s32s.frontends import systemd
    from s32s.frontends.systemd import Schedule

    config = settings.find(options.config, os.environ)
    schedule = Schedule.on_calendar(options.on_calendar) if options.on_calendar else Schedule.every(options.every)
    return systemd.of_machine(
        settings.load(config),
        config,
        schedule,
        instance=options.instance,
        user=options.run_as,
        is_user_unit=options.user,
        update_maps=options.update_maps,
        credentials=Path(options.credentials) if options.credentials else None,
        directory=settings.user_units(os.environ) if options.user else systemd.SYSTEM_UNITS,
    )


def _demo(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends.demo import demo

    return demo(keep=options.keep)


# -- shared ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _machine(options: argparse.Namespace, *, writable: bool = True, attended: bool = True) -> Iterator[Agent]:
    from s32s.agent.agent import open_agent
    from s32s.config import settings

    with open_agent(settings.find(options.config, os.environ), writable=writable, attended=attended) as agent:
        agent.engine.listen(lambda text: print(f"s32s: {text}", file=sys.stderr, flush=True))
        yield agent


def _timeout_s(text: str | None) -> float | None:
    from s32s.config.settings import duration_s

    if text is None:
        return None
    try:
        seconds = duration_s(text)
    except ValueError as exc:
        raise UsageError(f"--timeout: {exc}") from exc
    if not seconds:
        raise UsageError("--timeout: the time must be longer than nothing")
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
    from s32s.config.maps import Role, suggestion

    if text is None:
        return None
    try:
        return Role(text)
    except ValueError:
        raise UsageError(f'"{text}" is not a role{suggestion(text, [role.value for role in Role])}') from None


def _report_problems(loaded: MapSet) -> int:
    for problem in loaded.problems:
        print(f"s32s: {problem}", file=sys.stderr)
    return 2 if loaded.problems else 0


def _print_json(facts: dict[str, Any]) -> None:
    from s32s.frontends.render.jsonl import Lines

    Lines().write(facts)


def _complain(text: str) -> None:
    """Say what ended the command; to journald as an error, line by line (sd-daemon(3))."""
    from s32s.frontends.render.layout import is_journal

    lines = [f"s32s: {text}"]
    if is_journal(sys.stderr, os.environ):
        lines = [f"<3>{line}" for line in lines[0].splitlines()]
    print(*lines, sep="\n", file=sys.stderr)


def _debug(error: BaseException) -> None:
    if os.environ.get("S32S_DEBUG"):
        import traceback

        traceback.print_exception(error)


def _watch_signals(stop: threading.Event, caught: list[int]) -> None:
    """SIGINT and SIGTERM stop the run where it can be stopped; a second one does not interrupt the tidying up."""

    def interrupt(number: int, frame: object) -> None:
        again = stop.is_set()
        stop.set()
        caught.append(number)
        if not again:
            raise Interrupted(number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, interrupt)


def _answered(status: int) -> int:
    """The status of a command whose output is all that it does: it has failed when that did not arrive."""
    lost = streams.lost(sys.stdout)
    if lost is None:
        return status
    if lost.errno == errno.EPIPE:
        return 141  # the reader has gone; nobody is left to be told
    _complain(f"standard output could not be written: {lost.strerror}")
    return status or 1


#: Commands that do something: what they did counts, whether their words arrive or not.
_WORK = {"menu", "configure", "maps update", "copy", "sync", "service install", "service remove", "demo"}

_COMMANDS: dict[str, Callable[[argparse.Namespace, threading.Event], int]] = {
    "menu": _menu,
    "configure": _configure,
    "maps": _maps_usage,
    "maps update": _maps_update,
    "maps list": _maps_list,
    "maps check": _maps_check,
    "maps schema": _maps_schema,
    "dryrun": _verb,
    "copy": _verb,
    "sync": _verb,
    "status": _status,
    "service": _service_usage,
    "service install": _service_install,
    "service remove": _service_remove,
    "service show": _service_show,
    "demo": _demo,
    "help": _help,
}
