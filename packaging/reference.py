"""What `docs/` has from the program itself: the reference of commands and keys, and the schema of `--json`.

    .venv/bin/python packaging/reference.py

A test says when a file is out of date.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import PydanticUndefined
from texts import commands, docstrings, options

from s32s.config import maps, settings
from s32s.config.environment import variable
from s32s.frontends.cli import arguments
from s32s.frontends.render import json_schema

FILE = Path(__file__).parents[1] / "docs/reference.md"
JSON_LINES = FILE.with_name("json.schema.json")
HEADER = """\
# Reference

Made by `packaging/reference.py` from what the program itself uses; the [README](../README.md) explains.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join(
        [HEADER, *_commands(), *_statuses(), *_configuration(), *_map_properties()],
    )


def made() -> dict[Path, str]:
    """Every file and what belongs into it."""
    return {FILE: reference(), JSON_LINES: json.dumps(json_schema.schema(), indent=2) + "\n"}


def _commands() -> Iterator[str]:
    yield (
        "## Commands\n\nEvery command takes `--config FILE`, the configuration to use; `--set KEY=VALUE`, a setting "
        "for this run, such as `--set s3.region=eu-south-1`; and `--debug`, which shows where an error comes from.\n"
    )
    for name, parser in commands(arguments.parser()):
        first, *more = (parser.description or "").strip().splitlines()
        yield f"### s32s {name}\n\n{first}\n"
        if any(line.strip() for line in more):
            yield "```\n" + "\n".join(more).strip("\n") + "\n```\n"
        rows = [
            [f"`{_words(action)}`", _sentence(action.help or "")]
            for action in options(parser)
            if action.help != argparse.SUPPRESS and not {"-h", "--config", "--set"} & {*action.option_strings}
        ]
        yield _table(["option", "meaning"], rows)
        example = (parser.epilog or "").removeprefix("example:\n").strip()
        if example:
            yield f"Example: `{example}`\n"


def _statuses() -> Iterator[str]:
    yield "## Exit statuses\n"
    rows: list[list[str]] = []
    for line in arguments.EXIT.splitlines()[1:]:
        status, _, text = line.strip().partition(" ")
        if status.isdigit():
            rows.append([status, text.strip()])
        else:
            rows[-1][1] += f" {line.strip()}"
    yield _table(["status", "meaning"], rows)


def _configuration() -> Iterator[str]:
    yield (
        "## Configuration\n\nKeys of `s32s.toml`. A key without a default is mandatory. Each has a variable, which "
        "applies instead of the file; no file is needed where `S32S_ROLE` and `S32S_MAPS` are set. Directories of a "
        "list are separated by colons; lists and tables may be written as in TOML. `s32s env` shows what applies, and "
        "why.\n"
    )
    yield _keys(settings.Settings, above=())
    tables = {
        "[s3]": settings.S3Connection,
        "[watch]": settings.WatchSettings,
        "[peer]": settings.PeerSettings,
        "[metrics]": settings.MetricsSettings,
        "[notify]": settings.NotifySettings,
        "[menu]": settings.MenuSettings,
    }
    for name, model in tables.items():
        yield f"### {name}\n"
        yield _keys(model, above=(name.strip("[]"),))
    yield "### [stores.NAME]\n\nA place for trees, named `NAME:prefix` in maps and on the command line.\n"
    yield _keys(settings.StoreSettings)
    yield "### [commands]\n\nCommands of this machine, by name; the menu and `after` of a map run them by `/bin/sh`.\n"


def _map_properties() -> Iterator[str]:
    yield "## Maps\n\nProperties of an entry. One without a default is mandatory.\n"
    yield _keys(maps.Entry, code=json.dumps)


def _keys(model: type[pydantic.BaseModel], code: Any = None, above: tuple[str, ...] | None = None) -> str:
    """A table of keys.

    Args:
        above: the table of the configuration that they are in; None where they have no variables.
    """
    texts = docstrings(model)
    rows = []
    for name, field in model.model_fields.items():
        if name in texts:
            key = field.alias or name
            of = [f"`{variable((*above, key))}`"] if above is not None else []
            rows.append([f"`{key}`", _default(field.default, code), *of, " ".join(texts[name].split())])
    return _table(["key", "default", *(["variable"] if above is not None else []), "meaning"], rows)


def _default(value: object, code: Any) -> str:
    if value is PydanticUndefined:
        return ""
    if value in (None, (), [], {}, "") or isinstance(value, float):  # the text says how long
        return "-"
    if code is not None and isinstance(value, bool | str | int):
        return f"`{code(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _words(action: argparse.Action) -> str:
    words = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    return f"{words} {action.metavar}" if action.option_strings and action.metavar else words


def _sentence(text: str) -> str:
    return text.replace("%%", "%")


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines, ""])


if __name__ == "__main__":
    for file, text in made().items():
        file.write_text(text)
        print(file)
