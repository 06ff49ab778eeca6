"""The layers of the house: an import never points upwards, and each library has its one room."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "s32s"

LAYERS = [
    {"errors", "paths", "tree"},
    {"accept", "rules", "plan", "guards", "maps", "manifest", "index", "events", "report"},
    {"workers", "pace", "disk", "mounts", "settings", "marks", "state", "stores"},
    {"replicate", "roles", "after", "catalog", "commands", "metrics", "runs", "setup", "status"},
    {"render", "menu", "service", "cli", "grammar", "demo"},
    {"__main__", ""},
]
PURE = LAYERS[0] | LAYERS[1]
ROOMS = {
    "boto3": {"stores/_connection.py", "demo.py"},
    "botocore": {"stores/_answers.py", "stores/_client.py", "stores/_connection.py", "stores/_listing.py"},
    "argparse": {"grammar.py"},
    "rich": {"render/text.py"},
    "prompt_toolkit": {"menu/app.py", "menu/prompts.py"},
    "tomlkit": {"settings.py"},
    "ctypes": {"disk.py"},
    "sqlite3": {"state.py"},
    "zstandard": {"manifest.py"},
    "moto": {"demo.py"},
}
EFFECTS = {"os", "time", "socket", "subprocess", "threading", "logging", "pathlib", "shutil", "random", "datetime"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    """A module by its place in the package."""
    return str(path.relative_to(PACKAGE))


def room(module: str) -> str:
    """The first part below the package: what the layers list."""
    return module.removeprefix("s32s").removeprefix(".").split(".")[0]


def imports(path: Path) -> Iterator[str]:
    """Everything that a module imports when it runs, also inside functions."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                if child.module == "s32s":
                    yield from (f"s32s.{alias.name}" for alias in child.names if not alias.name.startswith("__"))
                else:
                    yield child.module
            yield from walk(child)

    return walk(ast.parse(path.read_text()))


def layer(module: str) -> int:
    """The number of a room's layer."""
    return next(number for number, rooms in enumerate(LAYERS) if module in rooms)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_import_points_upwards(path: Path) -> None:
    """A module imports from its own layer or a lower one."""
    if path == PACKAGE / "__init__.py":
        return  # re-exports, at their first use
    mine = layer(name(path).removesuffix(".py").split("/")[0])

    above = [module for module in imports(path) if module.startswith("s32s") and layer(room(module)) > mine]

    assert above == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_each_library_has_its_room(path: Path) -> None:
    """Foreign interfaces end where they begin."""
    strangers = [
        module for module in imports(path) if (top := module.split(".")[0]) in ROOMS and name(path) not in ROOMS[top]
    ]

    assert strangers == []


@pytest.mark.parametrize("path", [path for path in MODULES if name(path).removesuffix(".py") in PURE], ids=name)
def test_the_core_is_pure(path: Path) -> None:
    """No clock, disk, network, thread or log below the places."""
    assert [module for module in imports(path) if module.split(".")[0] in EFFECTS] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_opens_with_what_it_is_for_and_ends_in_time(path: Path) -> None:
    """Prose first, and a length that one can read."""
    text = path.read_text()

    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 550


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_faces_print(path: Path) -> None:
    """What works emits events."""
    if name(path).startswith(("render/", "menu/")) or name(path) in ("cli.py", "demo.py"):
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]

    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


#: Options of pytest, pip and systemctl.
OF_OTHERS = {"--long", "--upgrade", "--now", "--servers"}


def test_the_readme_names_only_what_exists() -> None:
    """Every option in the README is one of the command line, and the other way round."""
    import re

    from s32s import grammar

    readme = (PACKAGE.parent / "README.md").read_text()
    known = "".join(parser.format_help() for parser in parsers(grammar.parser()))
    options = set(re.findall(r"--[a-z][a-z-]+", known))
    shown = set(re.findall(r"--[a-z][a-z-]+", readme)) - OF_OTHERS

    assert shown <= options
    assert options - shown <= {
        "--help",
        "--keep",
        "--offline",
        "--version",
        "--endpoint-url",
        "--profile",
        "--region",
        "--max-delete",
        "--mirror-endpoint-url",
        "--mirror-profile",
        "--mirror-region",
    }
