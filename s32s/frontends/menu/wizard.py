"""The questions that set a machine up, asked once and answered without starting over.

The path of the maps is tried at once: credentials, endpoint and maps are tested together, and what is wrong is said and
can be corrected by itself. Nothing is written before the last answer.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import NamedTuple

from s32s.agent import onboarding
from s32s.agent.catalog import NoMaps
from s32s.config.maps import Entry, MapSet
from s32s.config.settings import S3Connection, Settings, allow_problem, link_problem
from s32s.config.settings_file import configure
from s32s.core.errors import CredentialsError, Interrupted, S32sError
from s32s.core.location import S3Path
from s32s.core.paths import escape, some
from s32s.core.role import Role
from s32s.frontends.menu.map_questions import ask_entry
from s32s.frontends.menu.prompter import Choice, Left, Prompter
from s32s.frontends.render.layout import count

_SHOWN = 10  # targets of the maps
_ROLES = [
    Choice("slave", "a server: its directories become what S3 has"),
    Choice("master", "the computer with the originals: it pushes them to S3"),
    Choice("more", "other roles"),
]
_MORE = [
    Choice("peer", "shares folders with others, both ways"),
    Choice("mirror", "keeps one S3 path equal to another one"),
    Choice("back", "to slave and master"),
]
_FIRST = [
    Choice("new", "make the first map now"),
    Choice("save", "write the configuration anyway; maps come later"),
]
_CORRECT = [
    Choice("path", "another path of the maps"),
    Choice("buckets", "list the buckets there are"),
    Choice("server", "another S3 server"),
    Choice("profile", "another AWS profile of ~/.aws"),
    Choice("region", "the AWS region"),
    Choice("again", "try the same again"),
    Choice("leave", "write nothing"),
]
_MAKE = [
    Choice("make", "make it when the configuration is written"),
    Choice("later", "you make it before the first sync"),
]
_WAYS = (
    "There are three usual ways to give credentials:",
    "  - a profile in ~/.aws/credentials, as `aws configure` writes it",
    "  - the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "  - the role of this machine, where it runs at AWS",
)


def set_up(prompter: Prompter, file: Path, today: Settings | None) -> Settings:
    """Ask for a configuration and write it.

    Args:
        file: the configuration; its other keys, comments and order stay.
        today: what holds now, as defaults.

    Raises:
        Left: the person has gone; nothing was written.
        ConfigError: the file cannot be written.
    """
    prompter.say("s32s keeps directories on many servers equal to a directory on one computer, with S3 in the middle.")
    prompter.say(f"These questions set this machine up. The answers are written to {file} after the last one.")
    prompter.say()
    role = _ask_role(prompter, today)
    prompter.say()
    source, connection, loaded, first = _ask_maps(prompter, role, today)
    mine = loaded.of(role)
    if loaded.entries and first is None:
        prompter.say(f"  {count(len(loaded.entries), 'entry')} found, {len(mine):,} of them for a {role.value}")
    allow: list[str] = []
    missing: list[str] = []
    if role is Role.SLAVE:
        prompter.say()
        allow = _ask_allow(prompter, loaded, today)
        missing = _ask_missing(prompter, allow)
    elif first is not None and role is Role.MASTER and first.master:
        missing = _ask_missing(prompter, [first.master])
    if first is not None:
        _upload_first(prompter, source, connection, first)
    written = configure(
        file,
        {
            "role": role.value,
            "maps": str(source),
            "allow": allow or None,
            "s3": {
                "endpoint_url": connection.endpoint_url or "",
                "profile": connection.profile or "",
                "region": connection.region or "",
            },
        },
    )
    prompter.say()
    prompter.say(f"wrote {file}")
    for directory in missing:
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as exc:
            prompter.say(f"note: {directory} cannot be made: {exc.strerror}; make it before the first sync")
        else:
            prompter.say(f"made {directory}")
    return written


def _upload_first(prompter: Prompter, source: S3Path, connection: S3Connection, first: Entry) -> None:
    try:
        uploaded = prompter.wait(
            "  uploading the map …", functools.partial(onboarding.upload_first, source, connection, first)
        )
    except Interrupted:
        raise
    except S32sError as exc:
        prompter.say(f"note: the map was not uploaded: {exc}")
        prompter.say("      make it again with: s32s maps new")
    else:
        prompter.say(f"uploaded {uploaded}")


def _ask_role(prompter: Prompter, today: Settings | None) -> Role:
    default = today.role.value if today else "slave"
    while True:
        others = [choice for choice in _MORE if choice.word == default]
        choices = _ROLES if not others else [*_ROLES[:2], *others]
        word = prompter.choose("What is this machine?", choices, default=default)
        if word == "more":
            word = prompter.choose("Other roles:", _MORE)
        if word != "back":
            return Role(word)


class Found(NamedTuple):
    """Where the maps are, and what is there.

    Attributes:
        first: an entry that is to become the first map.
    """

    source: S3Path
    connection: S3Connection
    loaded: MapSet
    first: Entry | None = None


def _ask_maps(prompter: Prompter, role: Role, today: Settings | None) -> Found:
    connection = today.s3 if today else S3Connection()
    connection = _ask_connection(prompter, connection, "server")
    prompter.say("Map files on S3 say which directory goes where. They are below one path, such as my-bucket/maps.")
    path = str(today.maps) if today else ""
    correct = "path"
    while True:
        if correct == "path":
            tried = connection
            path = prompter.ask(
                "S3 path of the maps",
                default=path,
                check=_path_problem,
                complete=lambda text, tried=tried: onboarding.completions(text, tried),  # type: ignore[misc] # bound now
            )
        elif correct not in ("again", "buckets"):
            connection = _ask_connection(prompter, connection, correct)
        source, trying = S3Path.parse(path), connection
        choices = _CORRECT
        try:
            loaded = prompter.wait(
                f"  looking at {source} … (Ctrl-C stops waiting)",
                lambda source=source, trying=trying: onboarding.look(source, trying),  # type: ignore[misc] # bound now
            )
            return Found(source, connection, loaded)
        except Left:
            prompter.say("  There was no answer yet.")
        except NoMaps:
            prompter.say(f"  There is no map at {source} yet.")
            choices = [*_FIRST, *_CORRECT]
        except Interrupted:
            raise
        except CredentialsError as exc:
            prompter.say(f"  That did not work: {exc.what}")
            for line in _WAYS:
                prompter.say(f"  {line}")
        except S32sError as exc:
            prompter.say(f"  That did not work: {exc}")
        question = "What do you want to do?" if choices is not _CORRECT else "What do you want to correct?"
        is_first = choices is not _CORRECT and role is Role.MASTER
        correct = prompter.choose(question, choices, default="new" if is_first else "path")
        if correct == "leave":
            raise Left
        if correct == "save":
            return Found(source, connection, MapSet((), ()))
        if correct == "new":
            entry = ask_entry(prompter, source, {})
            return Found(source, connection, MapSet((entry,), ()), entry)
        if correct == "buckets":
            names = prompter.wait("  asking for the buckets …", functools.partial(onboarding.buckets, connection))
            for name in names or ["these credentials may not list buckets"]:
                prompter.say(f"  {name}")
            correct = "path"


def _ask_connection(prompter: Prompter, connection: S3Connection, what: str) -> S3Connection:
    if what == "server":
        now = connection.endpoint_url or ""
        aws = "- for AWS" if now else "Enter for AWS"
        answer = prompter.ask(f"S3 server ({aws}, or such as http://nas:9000)", default=now, check=_address_problem)
        return connection.model_copy(update={"endpoint_url": None if answer in ("", "-") else answer})
    now = getattr(connection, what) or ""
    answer = prompter.ask(f"Name of the {what} (- for the default)", default=now)
    return connection.model_copy(update={what: None if answer in ("", "-") else answer})


def _ask_allow(prompter: Prompter, loaded: MapSet, today: Settings | None) -> list[str]:
    prompter.say("A slave writes only strictly below the directories that it is allowed.")
    targets = [entry for entry in loaded.entries if entry.slave is not None]
    if targets:
        prompter.say("The maps name these:")
    for entry in targets[:_SHOWN]:
        prompter.say(f"  {escape(entry.slave or '')}  ({escape(entry.name)})")
    if len(targets) > _SHOWN:
        prompter.say(f"  and {len(targets) - _SHOWN:,} more")
    default = list(today.allow) if today and today.allow else onboarding.proposed_allow(loaded)
    allow_system = today is not None and today.allow_system
    answer = prompter.ask(
        "Allowed directories, with commas between",
        default=", ".join(default),
        check=lambda text: _allow_problem(text, allow_system=allow_system),
    )
    allow = _split(answer)
    outside = onboarding.outside(loaded, allow)
    if outside:
        prompter.say(f"  note: these entries are outside and will be refused: {some(outside)}")
    return allow


def _ask_missing(prompter: Prompter, directories: list[str]) -> list[str]:
    """Which of the directories that do not exist yet are made."""
    missing = [directory for directory in directories if not os.path.isdir(directory)]
    return [
        directory
        for directory in missing
        if prompter.choose(f"{directory} does not exist yet. Make it?", _MAKE, default="make") == "make"
    ]


def _path_problem(text: str) -> str | None:
    if not text:
        return "write bucket/prefix, such as my-bucket/maps"
    try:
        S3Path.parse(text)
    except ValueError as exc:
        return str(exc)
    return None


def _address_problem(text: str) -> str | None:
    if text in ("", "-") or text.startswith(("http://", "https://")):
        return None
    return "it begins with http:// or https://"


def _allow_problem(text: str, *, allow_system: bool) -> str | None:
    directories = _split(text)
    if not directories:
        return "name one directory at least"
    problems = (
        allow_problem(directory, allow_system=allow_system) or link_problem(directory) for directory in directories
    )
    return next((problem for problem in problems if problem), None)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
