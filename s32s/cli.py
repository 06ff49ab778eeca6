"""The command line: arguments to settings and calls, errors to messages and exit statuses.

Holds no logic of its own: whatever a command does, a Python program can do with the same functions. What is not needed
for `--version`, `--help` and mistakes on the command line is imported in the command that needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from s32s import __version__
from s32s.errors import Interrupted, S32sError, UsageError

if TYPE_CHECKING:
    from s32s.maps import MapSet
    from s32s.roles.base import Machine
    from s32s.status import EntryStatus

_EXIT = """exit status:
  0    done, or nothing to do
  1    an entry failed; the others were done
  2    the command line, the configuration or a map is wrong
  3    refused by a guard, nothing touched
  4    dryrun --exit-code found differences
  75   try again later: another run holds the lock, a push is unfinished, or S3 could not be reached
  130  interrupted (143: terminated); the target is as it was"""


_DIRECTIONS = """
The role of this machine is the direction:

  master   its directory  >  the S3 path
  slave    the S3 path    >  its directory
  mirror   the S3 path    >  another S3 path"""

_MORE = {
    "dryrun": """
It shows what is new, modified, deleted and rejected, with the reasons. On a
terminal long lists are cut to a screen; --all shows everything.
"""
    + _DIRECTIONS,
    "copy": """
What the destination holds beyond the source stays there.
"""
    + _DIRECTIONS,
    "sync": """
What the source has not is deleted at the destination, within max_delete. Look
before you leap: s32s dryrun.
"""
    + _DIRECTIONS,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    status = run_command(list(sys.argv[1:] if arguments is None else arguments))
    _flush()
    # A worker may still hang in a request of an interrupted run; nothing of it is wanted any more.
    os._exit(status)


def run_command(arguments: list[str]) -> int:
    """Run one command; return its exit status.

    The only place where errors become messages and statuses.
    """
    stop = threading.Event()
    caught: list[int] = []
    _watch_signals(stop, caught)
    try:
        options = parser().parse_args(arguments)
        return int(options.command(options, stop))
    except SystemExit as exc:  # argparse, on --help, --version and bad usage
        return exc.code if isinstance(exc.code, int) else 2
    except Interrupted as exc:
        print(f"s32s: {exc}", file=sys.stderr)
        return 128 + (exc.number or (caught[0] if caught else signal.SIGINT))
    except BrokenPipeError:
        # The reader of our output has gone; nobody is left to be told.
        _devnull(sys.stdout)
        return 141
    except S32sError as exc:
        print(f"s32s: {exc}", file=sys.stderr)
        _debug(exc)
        return exc.exit_status
    except Exception as exc:
        # A mistake of ours. The administrator gets a sentence; the traceback is there for who asks.
        text = f"unexpected {type(exc).__name__}: {exc}; please report it with the output of S32S_DEBUG=1"
        print(f"s32s: {text}", file=sys.stderr)
        _debug(exc)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; help, man page and completion are made from it."""
    root = _Parser(
        prog="s32s",
        description="Keep directories on many servers equal to a directory on one computer, with S3 in the middle.",
        epilog=f"example:\n  s32s dryrun WEBSITE\n\n{_EXIT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # `--force` must not mean whatever begins with it
    )
    root.add_argument("--version", action="version", version=f"s32s {__version__}")
    root.add_argument("--config", metavar="FILE", help="configuration file (default: see the README)")
    root.set_defaults(command=_no_command)
    commands = root.add_subparsers(metavar="COMMAND", title="commands")

    def command(
        name: str, do: Callable[..., int], text: str, *, example: str, more: str = ""
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=text,
            allow_abbrev=False,
            description=f"{text[0].upper()}{text[1:]}.{more}",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(command=do)
        made.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration file")
        return made

    made = command(
        "configure",
        _configure,
        "write this machine's configuration",
        example="s32s configure --role slave --maps bucket/maps --allow /srv --allow /var/www",
    )
    made.add_argument("--role", metavar="ROLE", help="master, slave or mirror")
    made.add_argument("--maps", metavar="PATH", help="S3 path of the maps: bucket/prefix, or one .json object")
    made.add_argument("--allow", metavar="DIR", action="append", help="a slave writes only below this; repeatable")
    made.add_argument(
        "--max-delete", metavar="N", help='most deletions in one sync: a count, or a percentage as "50%%"'
    )
    made.add_argument("--endpoint-url", metavar="URL", help="of an S3 server other than AWS")
    made.add_argument("--profile", metavar="NAME", help="AWS profile")
    made.add_argument("--region", metavar="NAME", help="AWS region")
    made.add_argument("--mirror-endpoint-url", metavar="URL", help="where mirrors go, if that is another S3 server")
    made.add_argument("--mirror-profile", metavar="NAME", help="where mirrors go, if that is another account")
    made.add_argument("--mirror-region", metavar="NAME", help="the region there")

    _maps_parser(command)
    for name, text, example in (
        ("dryrun", "show what sync would do, change nothing", "s32s dryrun WEBSITE --exit-code"),
        ("copy", "bring new and modified files over, delete nothing", "s32s copy WEBSITE --report /tmp/report"),
        ("sync", "make the destination exactly equal to the source", "s32s sync WEBSITE --update-maps"),
    ):
        _verb_parser(command(name, _verb, text, example=example, more=_MORE[name]), name)

    made = command("status", _status, "show the entries, their last runs and what has drifted", example="s32s status")
    made.add_argument("--json", action="store_true", help="JSON lines on standard output")
    made.add_argument("--offline", action="store_true", help="do not ask S3")

    made = command(
        "demo", _demo, "show the whole loop on this machine, with an S3 server of its own", example="s32s demo"
    )
    made.add_argument("--keep", action="store_true", help="leave the directory of the demo for a look around")

    made = command("help", _help, "show the help of a command", example="s32s help sync")
    made.add_argument("topic", nargs="*", metavar="COMMAND", help="which command, such as sync or maps update")
    return root


def _maps_parser(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("maps", _maps_usage, "fetch, list and check map files", example="s32s maps update")
    actions = made.add_subparsers(metavar="ACTION", title="actions", dest="action")
    for name, do, text, example in (
        ("update", _maps_update, "fetch the maps from S3 into this machine's cache", "s32s maps update"),
        ("list", _maps_list, "list the entries of the cached maps", "s32s maps list --json"),
        ("check", _maps_check, "check local map files before they are uploaded", "s32s maps check website.json"),
        ("schema", _maps_schema, "print the JSON Schema of a map file", "s32s maps schema > map.schema.json"),
    ):
        action = actions.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        action.set_defaults(command=do)
        action.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration file")
        if name == "check":
            action.add_argument("files", nargs="+", metavar="FILE", help="a map file")
        if name in ("update", "list"):
            action.add_argument("--json", action="store_true", help="JSON lines on standard output")


def _verb_parser(made: argparse.ArgumentParser, name: str) -> None:
    made.set_defaults(verb=name)
    made.add_argument("names", nargs="*", metavar="NAME", help="entries to do (default: all of this machine's role)")
    made.add_argument("--role", metavar="ROLE", help="instead of the configuration's")
    made.add_argument("--json", action="store_true", help="JSON lines on standard output")
    made.add_argument("--quiet", action="store_true", help="errors only")
    made.add_argument("--verify", action="store_true", help="read every file; trust no index and no time stamp")
    made.add_argument("--report", metavar="DIR", help="write new.txt, modified.txt, deleted.txt … there")
    made.add_argument("--update-maps", action="store_true", help="fetch the maps first")
    made.add_argument("--jobs", metavar="N", type=_jobs, help="files moved at once (default: 32)")
    made.add_argument("--force-delete", action="store_true", help="set max_delete and the empty-source guard aside")
    if name == "dryrun":
        made.add_argument("--all", action="store_true", help="cut no list of paths, however long")
        made.add_argument("--exit-code", action="store_true", help="exit with 4 when there is something to do")
    else:
        made.add_argument("--take-over", action="store_true", help="set another master's unfinished push aside")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if wrong := re.search(r"argument (\w+): invalid choice: '(.*)' \(choose from (.*)\)", message):
            import difflib

            known = re.findall(r"[\w-]+", wrong[3])
            close = difflib.get_close_matches(wrong[2], known, n=1)
            near = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(known)}"
            message = f'there is no {wrong[1].lower()} "{wrong[2]}"; {near}'
        self.exit(2, f"s32s: {message}; see {self.prog} --help\n")


# -- commands ----------------------------------------------------------------------------------------------------------


def _no_command(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.menu import start

    return start.menu(options.config, os.environ)


def _help(options: argparse.Namespace, stop: threading.Event) -> int:
    return run_command([*options.topic, "--help"])


def _configure(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s import settings

    file = settings.find(options.config, os.environ)
    asked = {name: value for name, value in vars(options).items() if name not in ("command", "config")}
    if not any(asked.values()):
        from s32s.menu import start

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
    from s32s import catalog
    from s32s.paths import escape

    with _machine(options) as machine:
        update = catalog.update(machine.settings.maps, machine.state, machine.engine)
    if options.json:
        _print_json({"event": "maps", "new": update.new, "changed": update.changed, "gone": update.gone})
        return 0
    for sign, names in (("+", update.new), ("~", update.changed), ("-", update.gone)):
        for name in names:
            print(f"{sign} {escape(name)}")
    print(f"{len(update.maps.entries):,} entries in {len(update.maps.files):,} map files")
    return 0


def _maps_list(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s import catalog
    from s32s.maps import Role
    from s32s.paths import escape
    from s32s.render.words import table

    with _machine(options) as machine:
        loaded = catalog.load(machine.settings.maps, machine.state, machine.engine)
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

    from s32s import catalog

    loaded = catalog.check_files([Path(file) for file in options.files])
    if loaded.problems:
        raise catalog.problems_error(loaded.problems)
    count = len(loaded.entries)
    print(f"{count:,} entr{'y' if count == 1 else 'ies'} in {len(loaded.files):,} file(s), no problems")
    return 0


def _maps_schema(options: argparse.Namespace, stop: threading.Event) -> int:
    import json

    from s32s import maps

    print(json.dumps(maps.schema(), indent=2))
    return 0


def _verb(options: argparse.Namespace, stop: threading.Event) -> int:
    from pathlib import Path

    from s32s import settings
    from s32s.plan import Verb
    from s32s.render import files
    from s32s.render.jsonl import Lines
    from s32s.render.text import Screen
    from s32s.roles.base import Options
    from s32s.runs import run

    verb = Verb(options.verb)
    role = _role(options.role)
    where = settings.places(os.environ)
    directory = Path(options.report) if options.report else None
    if directory is None and verb.changes and not (sys.stdout.isatty() or sys.stderr.isatty()):
        directory = where.report  # a timer's run: nobody sees the screen
    screen = Screen(
        os.environ, quiet=options.quiet, dryrun=verb is Verb.DRYRUN, all_paths=getattr(options, "all", False)
    )
    show = Lines(plan=verb is Verb.DRYRUN).on_event if options.json else screen.on_event
    with (
        _machine(options, writable=verb.changes) as machine,
        contextlib.closing(screen),
        files.recorded(show, directory) as emit,
    ):
        report = run(
            machine,
            verb=verb,
            names=options.names,
            role=role,
            options=Options(
                verify=options.verify,
                force_delete=options.force_delete,
                take_over=getattr(options, "take_over", False),
                jobs=options.jobs,
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
        shown = (role or machine.settings.role).value
        print(f"no entry of the maps has a {shown}: nothing to do on this machine")
    if not report.exit_status and getattr(options, "exit_code", False) and report.has_work:
        return 4
    return report.exit_status


def _status(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s import catalog, maps
    from s32s.status import status

    with _machine(options, writable=False) as machine:
        source = machine.settings.maps
        if options.offline:
            cached = machine.state.cached_maps(str(source))
            loaded = maps.load(cached.files if cached else ())
        else:
            loaded = catalog.load(source, machine.state, machine.engine)
        entries = status(machine, loaded, ask_s3=not options.offline)
    if options.json:
        for entry in entries:
            _print_json(_status_facts(entry))
    else:
        _print_status(machine, entries)
    return _report_problems(loaded)


def _print_status(machine: Machine, entries: Sequence[EntryStatus]) -> None:
    from s32s.paths import escape
    from s32s.render.words import table

    print(f"role {machine.settings.role.value}, maps {machine.settings.maps}")
    rows = [
        [
            escape(entry.name),
            f"{escape(entry.source)} > {escape(entry.target)}",
            _time(entry.last.time_s) if entry.last else "-",
            str(entry.last.generation) if entry.last and entry.last.generation else "-",
            entry.state,
        ]
        for entry in entries
    ]
    print(*table([["NAME", "DIRECTION", "LAST RUN", "GEN", "STATE"], *rows]), sep="\n")
    for entry in entries:
        if entry.last is not None and not entry.last.ok:
            print(f"{escape(entry.name)}: {entry.last.text}")
        if entry.trouble:
            print(f"{escape(entry.name)}: {entry.trouble}", file=sys.stderr)


def _status_facts(entry: EntryStatus) -> dict[str, Any]:
    from s32s.state import facts_of

    return {
        "event": "status",
        "entry": entry.name,
        "source": entry.source,
        "target": entry.target,
        "state": entry.state,
        "last": facts_of(entry.last) if entry.last else None,
        "generation": entry.generation,
        "unfinished_push": entry.push,
        "drift": entry.drift,
        "trouble": entry.trouble,
    }


def _demo(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.demo import demo

    return demo(keep=options.keep)


# -- shared ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _machine(options: argparse.Namespace, *, writable: bool = True) -> Iterator[Machine]:
    from s32s import settings
    from s32s.runs import open_machine

    configuration = settings.load(settings.find(options.config, os.environ))
    machine = open_machine(configuration, settings.places(os.environ), writable=writable)
    with contextlib.closing(machine.state):
        yield machine


def _role(text: str | None) -> Any:
    from s32s.maps import Role, suggestion

    if text is None:
        return None
    try:
        return Role(text)
    except ValueError:
        raise UsageError(f'"{text}" is no role{suggestion(text, [role.value for role in Role])}') from None


def _report_problems(loaded: MapSet) -> int:
    for problem in loaded.problems:
        print(f"s32s: {problem}", file=sys.stderr)
    return 2 if loaded.problems else 0


def _jobs(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 512:
        raise argparse.ArgumentTypeError("it must be a number from 1 to 512")
    return int(text)


def _print_json(facts: dict[str, Any]) -> None:
    from s32s.render.jsonl import Lines

    Lines().write(facts)


def _time(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


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


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            _devnull(stream)


def _devnull(stream: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
