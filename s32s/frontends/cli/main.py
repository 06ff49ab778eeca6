"""The command line: arguments to settings and calls, errors to messages and exit statuses.

Holds no logic of its own: whatever a command does, a Python program can do with the same functions. What is not needed
for `--version`, `--help` and mistakes on the command line is imported by the command that needs it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from s32s.core.errors import Interrupted, OutOfTime, S32sError
from s32s.frontends.cli import arguments
from s32s.frontends.cli.commands.common import print_json, show_trace
from s32s.frontends.render import streams


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
    as_json = False
    _watch_signals(stop, caught)
    try:
        options = arguments.parser().parse_args(argv)
        if options.debug:
            os.environ["S32S_DEBUG"] = "1"
        as_json = getattr(options, "json", False)
        if options.command == "help":
            return run_command([*options.topic, "--help"])
        module, _, function = _COMMANDS[options.command].partition(":")
        command = getattr(import_module(f"s32s.frontends.cli.commands.{module}"), function)
        status = command(options, stop)
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
        if as_json:
            from s32s.frontends.render.jsonl import error_facts

            print_json({"event": "error", "error": error_facts(exc), "status": exc.exit_status})
        show_trace(exc)
        return exc.exit_status
    except Exception as exc:
        # A mistake of ours. The administrator gets a sentence; the traceback is there for who asks.
        _complain(f"unexpected {type(exc).__name__}: {exc}; please report it with the output of --debug")
        show_trace(exc)
        return 1


def _complain(text: str) -> None:
    """Say what ended the command; to journald as an error, line by line (sd-daemon(3))."""
    from s32s.frontends.render.layout import is_journal

    lines = [f"s32s: {text}"]
    if is_journal(sys.stderr, os.environ):
        lines = [f"<3>{line}" for line in lines[0].splitlines()]
    print(*lines, sep="\n", file=sys.stderr)


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
_WORK = {
    "peer",
    "rollback",
    "release",
    "prune",
    "restore",
    "convert",
    "trash restore",
    "trash empty",
    "forget",
    "menu",
    "configure",
    "maps update",
    "maps new",
    "maps edit",
    "maps upload",
    "copy",
    "sync",
    "watch",
    "service install",
    "service remove",
    "demo",
}

#: The module and the function of each command.
_COMMANDS = {
    "menu": "setup:menu",
    "env": "env:env",
    "completion": "completion:completion_usage",
    "completion bash": "completion:script",
    "completion zsh": "completion:script",
    "completion fish": "completion:script",
    "completion names": "completion:names",
    "configure": "setup:configure",
    "demo": "setup:demo",
    "maps": "maps:maps_usage",
    "maps new": "maps:maps_new",
    "maps edit": "maps:maps_edit",
    "maps upload": "maps:maps_upload",
    "maps update": "maps:maps_update",
    "maps list": "maps:maps_list",
    "maps check": "maps:maps_check",
    "maps schema": "maps:maps_schema",
    "dryrun": "run:run",
    "copy": "run:run",
    "sync": "run:run",
    "peer": "run:run",
    "trash": "trash:trash_usage",
    "trash list": "trash:trash_list",
    "trash restore": "trash:trash_restore",
    "trash empty": "trash:trash_empty",
    "forget": "trash:forget",
    "log": "generations:log",
    "diff": "generations:diff",
    "rollback": "generations:rollback",
    "release": "holds:release",
    "prune": "upkeep:prune",
    "verify": "upkeep:verify",
    "restore": "generations:restore",
    "convert": "generations:convert",
    "watch": "watch:watch",
    "status": "status:status",
    "service": "service:service_usage",
    "service install": "service:service_install",
    "service remove": "service:service_remove",
    "service show": "service:service_show",
}
