"""s32s watch."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from s32s.core.errors import Interrupted, UsageError
from s32s.frontends.cli.commands import places
from s32s.frontends.cli.commands.common import open_machine
from s32s.frontends.cli.commands.run import role_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from s32s.agent.options import Options
    from s32s.core.events import Event


def watch(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.agent.options import Options
    from s32s.frontends.render.jsonl import Lines
    from s32s.frontends.render.layout import is_journal
    from s32s.frontends.render.log import Log
    from s32s.frontends.render.notify import Notify
    from s32s.frontends.render.text import Screen

    notify = Notify(os.environ)
    screen = Screen(os.environ, quiet=options.quiet, verbose=options.verbose)
    show: Callable[[Event], None] = screen.on_event
    if options.json:
        show = Lines().on_event
    elif options.log_format or is_journal(sys.stderr, os.environ):
        show = Log(options.log_format or "journal", debug=bool(os.environ.get("S32S_DEBUG"))).on_event

    def tell(event: Event) -> None:
        show(event)
        notify.on_event(event)

    chosen = Options(
        force_delete=options.force_delete,
        take_over=options.take_over,
        accept_older=options.accept_older,
        jobs=options.jobs,
        bandwidth=options.bandwidth,
    )
    with contextlib.closing(screen):
        try:
            if places.are_places(options):
                _watch_places(options, chosen, tell, stop, notify)
            else:
                _watch_entries(options, chosen, tell, stop, notify)
        except Interrupted as exc:
            if exc.hint:
                raise  # a run was under way
        finally:
            notify.stopping()
    return 0


def _watch_entries(
    options: argparse.Namespace,
    chosen: Options,
    tell: Callable[[Event], None],
    stop: threading.Event,
    notify: Any,
) -> None:
    from s32s.agent.watch import watch_entries

    role = role_of(options.role)
    reload = threading.Event()
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, frame: reload.set())
    while not stop.is_set():
        reload.clear()
        with open_machine(options) as agent:
            watch_entries(
                agent,
                options.names,
                role=role,
                options=chosen,
                pace=_pace(options, agent.settings.watch, agent.settings.list_every_s),
                update_maps=options.update_maps,
                emit=tell,
                stop=stop,
                reload=reload,
                ready=notify.ready,
                beat=notify.alive,
            )
        if reload.is_set():
            notify.reloading()


def _watch_places(
    options: argparse.Namespace,
    chosen: Options,
    tell: Callable[[Event], None],
    stop: threading.Event,
    notify: Any,
) -> None:
    from s32s.agent.between import open_between
    from s32s.agent.state import State
    from s32s.agent.watch import watch_places
    from s32s.config import settings_file
    from s32s.core.plan import Verb

    asked, settings, connection = places.asked_between(options)
    with contextlib.closing(State.open(settings_file.directories(os.environ))) as state:
        pair = open_between(
            asked,
            Verb.SYNC,
            state,
            connection,
            options=chosen,
            stores=settings.stores,
            homes=settings_file.homes(),
            stop=stop,
            ask=places.asked_at_terminal,
        )
        pace = _pace(options, settings.watch, settings.list_every_s)
        watch_places(pair, pace, emit=tell, stop=stop, ready=notify.ready, beat=notify.alive)


def _pace(options: argparse.Namespace, settings: Any, full_s: float) -> Any:
    from s32s.agent.watched import Pace

    return Pace(
        _seconds("--settle", options.settle) or settings.settle_s,
        _seconds("--poll", options.poll) or settings.poll_s,
        full_s or Pace().full_s,  # "always" is for single runs
    )


def _seconds(option: str, text: str | None) -> float | None:
    from s32s.config.settings import duration_s

    if text is None:
        return None
    try:
        seconds = duration_s(text)
    except ValueError as exc:
        raise UsageError(f"{option}: {exc}") from exc
    if not 0.1 <= seconds <= 86400:
        raise UsageError(f"{option} {text}: it must be between 0.1s and 1d")
    return seconds
