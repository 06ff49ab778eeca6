"""`maps update`, `maps list`, `maps check`, `maps schema`."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from s32s.core.errors import UsageError
from s32s.frontends.cli.commands.common import open_machine, print_json, report_problems

if TYPE_CHECKING:
    import argparse


def maps_usage(options: argparse.Namespace, stop: threading.Event) -> int:
    raise UsageError("maps needs an action: update, list, check or schema", hint="see s32s maps --help")


def maps_update(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.agent import hooks
    from s32s.core.paths import escape
    from s32s.frontends.render.layout import count

    with open_machine(options) as agent:
        update = agent.update_maps()
        lacking = hooks.missing(update.maps.entries, agent.settings, agent.settings.role)
    if lacking:
        print(f"s32s: the maps name commands that [commands] lacks: {', '.join(map(escape, lacking))}", file=sys.stderr)
    if options.json:
        print_json({"event": "maps", "new": update.new, "changed": update.changed, "gone": update.gone})
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
        loaded = agent.load_maps()
    if options.json:
        for entry in loaded.entries:
            print_json(entry.model_dump(exclude_none=True))
    else:
        rows = [
            [escape(entry.name), escape(entry.s3), *(escape(entry.place(role) or "-") for role in Role)]
            for entry in loaded.entries
        ]
        print(*table([["NAME", "S3", *(role.name for role in Role)], *rows]), sep="\n")
    return report_problems(loaded)


def maps_check(options: argparse.Namespace, stop: threading.Event) -> int:
    from pathlib import Path

    from s32s.agent import catalog
    from s32s.frontends.render.layout import count

    loaded = catalog.check_files([Path(file) for file in options.files])
    if loaded.problems:
        raise catalog.problems_error(loaded.problems)
    print(f"{count(len(loaded.entries), 'entry')} in {count(len(loaded.files), 'file')}, no problems")
    return 0


def maps_schema(options: argparse.Namespace, stop: threading.Event) -> int:
    import json

    from s32s.config import maps

    print(json.dumps(maps.schema(), indent=2))
    return 0
