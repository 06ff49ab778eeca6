"""The parser behind the command line: errors that say what may have been meant, and values that are checked."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from s32s.core import paths
from s32s.core.text import closest

#: What people of other tools type, and what it is here.
_ELSEWHERE = {
    "ls": "maps list",
    "list": "maps list",
    "push": "sync",
    "pull": "sync",
    "upload": "sync, or maps upload",
    "download": "sync",
    "diff": "dryrun",
    "plan": "dryrun",
    "check": "dryrun, or maps check",
    "apply": "sync",
    "update": "maps update",
    "init": "configure",
    "setup": "configure",
    "version": "--version",
    "--delete": "sync, which deletes by itself what the source does not have",
    "--dryrun": "--dry-run",
    "--force": "--force-delete",
    "--exclude": "--ignore",
    "--include": "--accept",
    "--profile-name": "--profile",
    "--silent": "--quiet",
    "--progress": "nothing: it is shown at a terminal",
}


#: Options that lift a guard; nobody is led to one by a slip of the fingers.
_OVERRIDES = {"--accept-older", "--force-delete", "--take-over", "--yes"}
_LISTED = 20


class Parser(argparse.ArgumentParser):
    """A parser that knows what other tools call things."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, extra = self.parse_known_args(args, namespace)
        if extra:
            options.parser.error(f"unrecognized arguments: {' '.join(extra)}")
        return options

    def error(self, message: str) -> NoReturn:
        if wrong := re.search(r"argument (\w+): invalid choice: '(.*)' \(choose from (.*)\)", message):
            known = re.findall(r"[\w-]+", wrong[3])
            hint = f"; {found}" if (found := _hint(wrong[2], known)) else ""
            message = f'there is no {wrong[1].lower()} "{wrong[2]}"{hint}'
        elif wrong := re.fullmatch(r"unrecognized arguments: (\S+).*", message, re.DOTALL):
            word, _, _ = wrong[1].partition("=")
            known = [option for option in self._option_string_actions if option.startswith("--")]
            known = [option for option in known if option not in _OVERRIDES]
            kind = "option" if word.startswith("-") else "further argument"
            hint = f"; {found}" if word.startswith("-") and (found := _hint(word, known)) else ""
            if word in self._option_string_actions:  # its parser has left it alone, so another one has met it
                self.exit(2, f"s32s: {word} goes behind the command: {self.prog} {word}\n")
            message = f'{self.prog} has no {kind} "{paths.escape(word)}"{hint}'
        self.exit(2, f"s32s: {message}; see {self.prog} --help\n")


def _hint(word: str, known: list[str]) -> str:
    """What may have been meant; empty where nobody can tell, and there is too much to list."""
    if word in _ELSEWHERE:
        return f"here it is {_ELSEWHERE[word]}"
    if near := closest(word, known):
        return f'did you mean "{near}"?'
    return f"there are {', '.join(known)}" if len(known) <= _LISTED else ""


def rate(text: str) -> int:
    """Bytes a second, such as 500K."""
    from s32s.system.rate_limit import bytes_a_second

    try:
        return bytes_a_second(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def jobs(text: str) -> int:
    """How many files move at once."""
    if not text.isdigit() or not 1 <= int(text) <= 512:
        raise argparse.ArgumentTypeError("it must be a number from 1 to 512")
    return int(text)
