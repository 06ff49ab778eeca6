"""`env`: what holds on this machine, and why."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from s32s.frontends.cli.commands.common import print_json

if TYPE_CHECKING:
    import argparse

    from s32s.frontends.render.json_schema import Setting


def env(options: argparse.Namespace, stop: threading.Event) -> int:
    """Show every setting with its source, and where things are; also where the configuration is wrong or missing."""
    from s32s.config import environment, settings_file
    from s32s.core.paths import escape
    from s32s.frontends.render.layout import table

    file = settings_file.find(options.config, os.environ)
    where = settings_file.directories(os.environ)
    places = {"configuration": file, "state": where.state, "cache": where.cache, "report": where.report}
    try:
        document = settings_file.read(file)
    except FileNotFoundError:
        document = {}
    by_variable, by_word = environment.named(os.environ), environment.typed(options.set)
    rows: list[Setting] = []
    for key, field in environment.keys().items():
        source, value = "default", _default(field)
        if (found := _at(document, key)) is not None:
            source, value = str(file), found
        if key in by_variable:
            source, value = environment.variable(key), by_variable[key]
        if key in by_word:
            source, value = "--set", by_word[key]
        variable = environment.variable(key)
        rows.append({"event": "setting", "key": ".".join(key), "value": value, "source": source, "variable": variable})
    if options.json:
        print_json({"event": "environment", "places": {name: str(path) for name, path in places.items()}})
        for row in rows:
            print_json(row)
        return 0
    for name, path in places.items():
        print(f"{name:<14} {escape(str(path))}{'' if path.exists() else '  (not there)'}")
    print()
    shown = [[row["key"], escape(_text(row["value"])), escape(row["source"]), row["variable"]] for row in rows]
    print(*table([["SETTING", "VALUE", "FROM", "VARIABLE"], *shown]), sep="\n")
    return 0


def _at(document: Any, key: tuple[str, ...]) -> Any:
    for name in key:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _default(field: Any) -> Any:
    """As it would be written."""
    value = None if field.is_required() else field.default
    return list(value) if type(value) is tuple else value if isinstance(value, bool | int | str | None) else str(value)


def _text(value: Any) -> str:
    if value in (None, "", [], {}, "{}"):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return ", ".join(f"{name} = {inner}" for name, inner in value.items()) if isinstance(value, dict) else str(value)
