"""Two places on the command line, instead of entries of the maps."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import UsageError
from s32s.frontends.cli.commands.common import has_person, says_yes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

    from s32s.agent.between import Between
    from s32s.config.settings import S3Connection, Settings


def are_places(options: argparse.Namespace) -> bool:
    """Whether the arguments of a verb are two places and not names of entries.

    Raises:
        UsageError: they are names, and an option is for places.
    """
    from s32s.core.location import is_location

    if any(is_location(name, stores=_stores_of(options)) for name in options.names):
        return True
    _check_none(options)
    if len(options.names) == 2 and not _settings(options).has_maps:
        raise UsageError(
            f"{' and '.join(map(paths.quote, options.names))} are not places, and no configuration says where the maps "
            "are that could name them",
            hint=_meant(options.names),
        )
    return False


def _meant(names: Sequence[str]) -> str:
    """What somebody may have meant by words that are not places."""
    for name in names:
        if found := re.fullmatch(r"([\w.-]+@[\w.-]+):(.*)", name):
            path = found[2] if found[2].startswith("/") else f"/~/{found[2]}"
            return f"write sftp://{found[1]}{path} for a directory of an SFTP server"
    return f"write ./{names[0]} for a directory of this name"


def asked_between(options: argparse.Namespace) -> tuple[Between, Settings, S3Connection]:
    """What is asked for between two places; what a configuration says of S3 and of stores holds where there is one.

    Raises:
        UsageError: they are not two places, or an option does not go with them.
    """
    from s32s.agent.between import Between
    from s32s.core.location import is_location, store_of
    from s32s.core.text import closest

    settings = _settings(options)
    stores = settings.stores
    for name in options.names:
        if not is_location(name, stores=stores):
            hint = _meant([name])
            if store := store_of(name):
                near = closest(store, stores)
                hint = f'there is no store "{store}"{f"; did you mean {near}?" if near else ""}: ' + hint
            raise UsageError(f"{paths.quote(name)} is not a place", hint=hint)
    if len(options.names) != 2:
        raise UsageError("two places are needed: SOURCE TARGET", hint="such as s32s sync ./site s3://bucket/site")
    if options.role or options.update_maps:
        raise UsageError("--role and --update-maps are for entries of the maps, not for two places")
    settings, connection = connected(options, settings)
    source, target = options.names
    asked = Between(
        source,
        target,
        files=_lines_of(options.files_from) if options.files_from else None,
        ignore=tuple(options.ignore or ()),
        accept=tuple(options.accept or ()),
        links=options.links or "refuse",
        manifest=not options.no_manifest,
        packed=options.layout == "packed",
        in_place=options.in_place,
        max_delete=settings.max_delete,
        allow_system=settings.allow_system,
        take_over_directory=options.yes,
    )
    return asked, settings, connection


def connected(options: argparse.Namespace, settings: Settings | None = None) -> tuple[Settings, S3Connection]:
    """The configuration, and how S3 is reached: by the options, else as that says."""
    from s32s.config.settings_file import connection_with

    settings = settings or _settings(options)
    words = {"endpoint_url": options.endpoint_url, "profile": options.profile, "region": options.region}
    return settings, connection_with(settings.s3, {name: word for name, word in words.items() if word})


def _settings(options: argparse.Namespace) -> Settings:
    """What is configured; one that was named must be there."""
    from s32s.config import settings_file

    return settings_file.load_for_places(options.config, os.environ, options.set)


def _stores_of(options: argparse.Namespace) -> Collection[str]:
    """The names of the stores of the configuration, as far as an argument can mean one of them."""
    if not any(":" in name and "://" not in name for name in options.names):
        return ()
    return _settings(options).stores.keys()


def asked_at_terminal(what: str) -> bool:
    """Whether somebody at a terminal says yes; nobody else is asked."""
    return has_person() and says_yes(f"{what}. Take it over?")


def _check_none(options: argparse.Namespace) -> None:
    """Refuse options that only two places have.

    Raises:
        UsageError: names them.
    """
    names = (
        "endpoint_url",
        "profile",
        "region",
        "ignore",
        "accept",
        "links",
        "files_from",
        "no_manifest",
        "layout",
        "in_place",
    )
    given = ["--" + name.replace("_", "-") for name in names if getattr(options, name)]
    if given:
        hint = "maps and the configuration say it for entries"
        raise UsageError(f"{', '.join(given)} is for two places: SOURCE TARGET", hint=hint)


def _lines_of(file: str) -> list[str]:
    """The lines of a file that names paths.

    Raises:
        UsageError: it cannot be read, or names nothing.
    """
    try:
        # os.fsdecode would hide what is not UTF-8; standard input is read as a file is.
        with open(0 if file == "-" else file, encoding="utf-8", closefd=file != "-") as opened:
            lines = [line.rstrip("\r\n").removeprefix("./") for line in opened if line.strip()]
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"--files-from {file} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if not lines:
        raise UsageError(f"--files-from {file} names no path")
    for line in lines:
        if problem := paths.problem(line):
            raise UsageError(f"--files-from {file}: {paths.quote(line)} is not a safe relative path: {problem}")
    return lines
