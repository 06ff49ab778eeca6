"""`maps new`, `upload`, `edit`, `update`, `list`, `check` and `schema`."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, cast

from s32s.core.errors import Declined, MapError, UsageError
from s32s.frontends.cli.commands.common import confirm, open_machine, print_json, report_problems, says_yes

if TYPE_CHECKING:
    import argparse

    from s32s.agent.agent import Agent
    from s32s.config.maps import Entry
    from s32s.core.location import S3Path
    from s32s.frontends.render.json_schema import MapChange, MapEntry, MapProblem


def maps_usage(options: argparse.Namespace, stop: threading.Event) -> int:
    raise UsageError(
        "maps needs an action: new, edit, upload, update, list, check or schema", hint="see s32s maps --help"
    )


def maps_update(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.agent import hooks
    from s32s.agent.holds import stray_holds
    from s32s.core.paths import escape
    from s32s.frontends.render.layout import count

    with open_machine(options) as agent:
        update = agent.update_maps()
        lacking = hooks.missing(update.maps.entries, agent.settings, agent.settings.role)
        strays = stray_holds(update.maps, agent.state)
    for hold in strays:
        print(f"s32s: {escape(hold.entry)}: {hold.stray_words}", file=sys.stderr)
    if lacking:
        print(f"s32s: the maps name commands that [commands] lacks: {', '.join(map(escape, lacking))}", file=sys.stderr)
    if options.json:
        new, changed, gone = map(list, (update.new, update.changed, update.gone))
        print_json({"event": "maps", "new": new, "changed": changed, "gone": gone})
        return 0
    for sign, _, name in update.differences:
        print(f"{sign} {escape(name)}")
    print(f"{count(len(update.maps.entries), 'entry')} in {count(len(update.maps.files), 'map file')}")
    return 0


def maps_list(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.core.paths import escape
    from s32s.core.role import Role
    from s32s.frontends.render.layout import table

    with open_machine(options) as agent:
        loaded, settings = agent.load_maps(), agent.settings
    if options.json:
        for entry in loaded.entries:
            print_json(cast("MapEntry", {"event": "entry", **entry.model_dump(exclude_none=True)}))
    else:
        rows = [
            [escape(entry.name), escape(entry.s3), *(escape(settings.place(entry, role) or "-") for role in Role)]
            for entry in loaded.entries
        ]
        print(*table([["NAME", "S3", *(role.name for role in Role)], *rows]), sep="\n")
    return report_problems(loaded.problems)


def maps_check(options: argparse.Namespace, stop: threading.Event) -> int:
    from dataclasses import asdict
    from pathlib import Path

    from s32s.agent import catalog
    from s32s.frontends.render.layout import count

    loaded = catalog.check_files([Path(file) for file in options.files])
    if options.json:
        for problem in loaded.problems:
            print_json(cast("MapProblem", {"event": "problem", **asdict(problem)}))
        print_json({"event": "checked", "files": len(loaded.files), "entries": len(loaded.entries)})
        return 2 if loaded.problems else 0
    if loaded.problems:
        raise catalog.problems_error(loaded.problems)
    for doubt in catalog.doubts(loaded):
        print(f"s32s: note: {doubt}", file=sys.stderr)
    print(f"{count(len(loaded.entries), 'entry')} in {count(len(loaded.files), 'file')}, no problems")
    return 0


def maps_new(options: argparse.Namespace, stop: threading.Event) -> int:
    """Make a map file of one entry, and upload it where that is wanted."""
    from pathlib import Path

    from s32s.agent.map_upload import file_name
    from s32s.config import map_files, settings_file
    from s32s.core.role import Role

    names = ("name", "s3", "layout", "description", *(role.value for role in Role))
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    configuration = settings_file.find(options.config, os.environ)
    is_set_up = settings_file.is_set_up(configuration, os.environ, options.set)
    maps = settings_file.load(configuration, os.environ, options.set).maps if is_set_up else None
    if {"name", "s3"} <= given.keys() and given.keys() & {role.value for role in Role}:
        entry = _checked(given)
        is_asked = False
    else:
        entry, is_asked = _asked(maps, given), True
    file = Path(options.file or f"{file_name(entry.name)}.json")
    data = map_files.written(entry)
    try:
        with file.open("xb") as opened:
            opened.write(data)
    except FileExistsError as exc:
        raise UsageError(f"{file} exists already", hint="choose another one with --file, or edit it") from exc
    except OSError as exc:
        raise UsageError(f"{file} cannot be written: {exc.strerror}", hint="choose another one with --file") from exc
    if options.json:
        print_json({"event": "written", "file": str(file)})
    else:
        print(f"wrote {file}")
    if options.upload or (is_asked and maps is not None and says_yes(f"Upload it to {maps} now?")):
        options.files = [str(file)]
        return maps_upload(options, stop)
    if not options.json:
        print(f"upload it with: s32s maps upload {file}")
    return 0


def _checked(given: dict[str, str]) -> Entry:
    """An entry of what was typed.

    Raises:
        UsageError: with every mistake.
    """
    import json

    from s32s.config import map_files

    entries, problems = map_files.parse(json.dumps([given]).encode(), "")
    if problems:
        raise UsageError("; ".join(f"--{problem.property}: {problem.text}" for problem in problems))
    return entries[0]


def _asked(maps: S3Path | None, given: dict[str, str]) -> Entry:
    from s32s.config import map_files
    from s32s.frontends.menu import start
    from s32s.frontends.menu.map_questions import ask_entry
    from s32s.frontends.menu.prompter import Left

    for name, value in given.items():
        if problem := map_files.problem_of(name, value):
            raise UsageError(f"--{name}: {problem}")
    try:
        prompter = start.make_prompter(os.environ)
    except UsageError as exc:
        lacking = [f"--{name}" for name in ("name", "s3") if name not in given]
        if not given.keys() & {"master", "slave", "mirror", "peer"}:
            lacking.append("one of --master, --slave, --mirror and --peer")
        raise UsageError(f"missing: {', '.join(lacking)}", hint="at a terminal it is asked for") from exc
    try:
        return ask_entry(prompter, maps, given)
    except (Left, KeyboardInterrupt) as exc:
        raise Declined("nothing was written", hint="options answer the questions: see s32s maps new --help") from exc


def maps_upload(options: argparse.Namespace, stop: threading.Event) -> int:
    """Check map files, show what they change for whom, and write them under a condition."""
    from pathlib import Path

    from s32s.agent import catalog
    from s32s.core.paths import escape

    files: dict[str, bytes] = {}
    for name in options.files:
        path = Path(name)
        if path.name in files:
            raise UsageError(f"two files are called {path.name}", hint="upload them one by one, or rename one")
        try:
            files[path.name] = catalog.read_file(path)
        except OSError as exc:
            raise UsageError(f"{escape(name)} cannot be read: {exc.strerror}") from exc
    with open_machine(options) as agent:
        return _upload(agent, files, options)


def _upload(agent: Agent, files: dict[str, bytes], options: argparse.Namespace) -> int:
    from s32s.agent import map_upload
    from s32s.core.paths import escape
    from s32s.frontends.render.map_changes import change_lines

    as_json = getattr(options, "json", False)
    source = agent.settings.maps
    upload = map_upload.prepare(source, files, agent.engine)
    for doubt in upload.doubts:
        print(f"s32s: note: {doubt}", file=sys.stderr)
    if as_json:
        for change in upload.changes:
            concerns = {role.value: text for role, text in change.concerns}
            line = {"event": change.kind, "entry": change.name, **concerns, "settings": list(change.settings)}
            print_json(cast("MapChange", line))
    elif not upload.files:
        print(f"{escape(str(source))} has the same already")
    else:
        print(*change_lines(upload.changes) or ["no entry changes"], sep="\n")
    if upload.files:
        if upload.takes_away:
            confirm("Upload?", yes=options.yes, kept="nothing was uploaded")
        map_upload.send(upload, agent.engine)
    for key in upload.files:
        where = f"{source.bucket}/{key}"
        print_json({"event": "uploaded", "file": where}) if as_json else print(f"uploaded {escape(where)}")
    agent.update_maps()
    if upload.files and not as_json:
        print("This machine has the new maps; others take them with: s32s maps update, or sync --update-maps")
    return 0


def maps_edit(options: argparse.Namespace, stop: threading.Event) -> int:
    """Open the map file of an entry in an editor, and upload what has become of it."""
    from s32s.agent import map_upload
    from s32s.frontends.editor import edited

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("an editor needs a terminal", hint="edit the file, then: s32s maps upload FILE")
    with open_machine(options) as agent:
        name, before = map_upload.file_of(agent.settings.maps, options.name, agent.engine)
        data = before
        while True:
            data = edited(data, name=name)
            if data == before:
                print("nothing was changed")
                return 0
            try:
                return _upload(agent, {name: data}, options)
            except MapError as exc:
                print(f"s32s: {exc}", file=sys.stderr)
                if not says_yes("Edit it again?"):
                    raise Declined("nothing was uploaded") from exc


def maps_schema(options: argparse.Namespace, stop: threading.Event) -> int:
    import json

    from s32s.config import maps

    print(json.dumps(maps.schema(), indent=2))
    return 0
