"""Where the menu begins: which kind of terminal is there, and is there a configuration yet?

A real terminal gets the screen, a poor one or a pipe the same as numbered questions; where nobody can answer (a timer,
cron), it is said what to run instead.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from s32s.config import settings_file
from s32s.core.errors import UsageError
from s32s.frontends.menu.actions import Actions
from s32s.frontends.menu.prompter import Left, PlainPrompter, Prompter

if TYPE_CHECKING:
    from s32s.config.settings import Settings


def menu(config: str | None, environment: Mapping[str, str]) -> int:
    """Open the menu, after the first questions where there is no configuration yet; return the exit status.

    Raises:
        UsageError: nobody is there.
        ConfigError: the configuration is wrong.
    """
    prompter = make_prompter(environment)
    try:
        return _menu(prompter, settings_file.find(config, environment), environment)
    except KeyboardInterrupt:  # between two questions
        return 130


def _menu(prompter: Prompter, file: Path, environment: Mapping[str, str]) -> int:
    if not settings_file.is_set_up(file, environment) and not _set_up(prompter, file, None):
        return 0
    actions = Actions(file, settings_file.directories(environment), environment)
    if isinstance(prompter, PlainPrompter):
        from s32s.frontends.menu.plain import PlainMenu

        PlainMenu(actions, prompter, environment).run()
    else:
        from s32s.frontends.menu.app import Menu

        Menu(actions, prompter, environment).run()
    return 0


def configure(file: Path, environment: Mapping[str, str]) -> int:
    """Ask the first questions, with today's values as defaults; return the exit status.

    Raises:
        UsageError: nobody is there.
        ConfigError: the configuration is wrong, or cannot be written.
    """
    prompter = make_prompter(environment)
    try:
        today = settings_file.load(file) if settings_file.is_set_up(file, {}) else None
        return 0 if _set_up(prompter, file, today) else 130
    except KeyboardInterrupt:
        return 130


def _set_up(prompter: Prompter, file: Path, today: Settings | None) -> bool:
    from s32s.frontends.menu.wizard import set_up

    try:
        set_up(prompter, file, today)
    except Left:
        prompter.say("nothing was written")
        return False
    return True


def make_prompter(environment: Mapping[str, str]) -> Prompter:
    """What puts questions to the person who is there.

    Raises:
        UsageError: nobody is.
    """
    if _is_nobody(sys.stdin):
        raise UsageError(
            "this is not a terminal, so nothing can be asked",
            hint='a timer or script runs "s32s sync", or "s32s configure" with --role and --maps; see s32s help',
        )
    # Ctrl-C ends a question or a piece of work here, not the program.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.stdin.isatty() and sys.stdout.isatty() and environment.get("TERM", "dumb") not in ("dumb", "unknown", ""):
        from s32s.frontends.menu.prompts import TerminalPrompter

        return TerminalPrompter()
    return PlainPrompter()


def _is_nobody(stream: object) -> bool:
    """Whether nothing can ever be read there: it is closed, or the null device of cron and systemd."""
    try:
        status = os.fstat(stream.fileno())  # type: ignore[attr-defined] # None where it is closed: AttributeError
        return stat.S_ISCHR(status.st_mode) and not os.isatty(stream.fileno())  # type: ignore[attr-defined] # as above
    except (AttributeError, OSError, ValueError):
        return True
