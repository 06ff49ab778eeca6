"""The layers of the house: an import never points upwards, and each library has its one room."""

from __future__ import annotations

import argparse
import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "s32s"

_GRAMMAR = ("arguments", "completion", "generation_arguments", "parsing", "shared_arguments")
ROOMS = {
    "boto3": {"backends/s3/session.py", "frontends/demo.py"},
    "botocore": {"backends/s3/errors.py", "backends/s3/client.py", "backends/s3/session.py"},
    "httptools": {"backends/s3/answer.py", "backends/s3/connection.py", "backends/s3/faults.py"},
    "argparse": {f"frontends/cli/{name}.py" for name in _GRAMMAR},
    "rich": {"frontends/render/text.py"},
    "prompt_toolkit": {"frontends/menu/app.py", "frontends/menu/prompts.py"},
    "tomlkit": {"config/settings_file.py"},
    "ctypes": {"system/atomic.py", "system/file_bytes.py", "system/libc.py"},
    "sqlite3": {"agent/database.py", "agent/state.py"},
    "zstandard": {"format/manifest.py", "format/packs.py", "format/parts.py"},
    "pyfastcdc": {"stores/objects/packed/chunker.py"},
    "moto": {"frontends/demo.py"},
}
EFFECTS = {"os", "time", "socket", "subprocess", "threading", "logging", "pathlib", "shutil", "random", "datetime"}
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Lines of a module. A longer one says in its opening prose why it is one module.
LIMIT, REASON = 400, "one module"


def name(path: Path) -> str:
    """A module by its place in the package."""
    return str(path.relative_to(PACKAGE))


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text())


def is_for_types(node: ast.AST) -> bool:
    """Whether this is what only type checkers read."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(path: Path) -> Iterator[str]:
    """Everything that a module imports when it runs, also inside functions."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if is_for_types(child):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                if child.module == "s32s":
                    yield from (f"s32s.{alias.name}" for alias in child.names if not alias.name.startswith("__"))
                else:
                    yield child.module
            yield from walk(child)

    return walk(parsed(path))


def test_the_layers_hold() -> None:
    """The contracts of pyproject.toml: an import goes down or stays in its folder."""
    ended = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


def dotted(path: Path) -> str:
    """A module by the name that an import gives it."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


NAMES = {dotted(module) for module in MODULES}


def imports_at_once(path: Path) -> Iterator[str]:
    """The modules of ours that run before this one has run, and the packages that they are in."""

    def walk(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child
            elif not isinstance(child, ast.FunctionDef) and not is_for_types(child):
                yield from walk(child)

    for node in walk(parsed(path)):
        found = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            found = [inner if (inner := f"{node.module}.{name}") in NAMES else str(node.module) for name in found]
        for module in found:
            parts = module.split(".")
            yield from {".".join(parts[:count]) for count in range(1, len(parts) + 1)} & NAMES


def test_no_import_needs_another_before_it() -> None:
    """Imports that run at once form no cycle: whichever module comes first, the others come as they are needed."""
    graph = {dotted(path): set(imports_at_once(path)) for path in MODULES}
    for module, wanted in graph.items():
        # A package has begun to run before what is in it, and does not wait for it.
        wanted -= {parent for parent in graph if f"{module}.".startswith(f"{parent}.")}

    graphlib.TopologicalSorter(graph).prepare()
    assert graph["s32s.frontends.cli.main"] >= {"s32s.core.errors", "s32s.core"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_private_name_is_imported(path: Path) -> None:
    """What another module may use has a public name."""
    nodes = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in nodes if (node.module or "").split(".")[0] == "s32s"]

    assert [
        alias.name
        for node in ours
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_each_library_has_its_room(path: Path) -> None:
    """Foreign interfaces end where they begin."""
    strangers = [
        module for module in imports(path) if (top := module.split(".")[0]) in ROOMS and name(path) not in ROOMS[top]
    ]

    assert strangers == []


@pytest.mark.parametrize("path", [path for path in MODULES if name(path).startswith("core/")], ids=name)
def test_the_core_is_pure(path: Path) -> None:
    """No clock, disk, network, thread or log in values and rules."""
    assert [module for module in imports(path) if module.split(".")[0] in EFFECTS] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_opens_with_what_it_is_for_and_ends_in_time(path: Path) -> None:
    """Prose first, and a length that one can read."""
    text = path.read_text()

    prose = ast.get_docstring(parsed(path))
    assert prose
    assert len(text.splitlines()) <= LIMIT or REASON in prose


def test_each_test_module_has_a_name_of_its_own() -> None:
    """Of two with one name pytest collects neither folder's without an error."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_faces_print(path: Path) -> None:
    """What works emits events."""
    if name(path).startswith("frontends/"):
        return
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]

    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


#: Options of pytest, pip, systemctl, rsync, podman and rclone.
OF_OTHERS = {"--long", "--upgrade", "--now", "--servers", "--delay", "--delete", "--rm", "--read-only", "--tmpfs"}
OF_OTHERS |= {"--size-only", "--update", "--use-server-modtime"}

#: What users read; `docs/reference.md` is made from the program.
FOR_USERS = ("README", *(f"docs/{name}" for name in (
    "commands", "configuration", "containers", "folder", "limits", "maps", "menu", "mirror", "on-servers", "places",
    "python", "security", "speed", "troubleshooting", "watch",
)))  # fmt: skip


@pytest.mark.parametrize("name", FOR_USERS)
def test_the_documents_name_only_options_that_exist(name: str) -> None:
    """Each is one of the command line."""
    import re

    from s32s.frontends.cli import arguments

    known = "".join(parser.format_help() for parser in parsers(arguments.parser()))
    options = set(re.findall(r"--[a-z][a-z-]+", known)) | OF_OTHERS
    text = (PACKAGE.parent / f"{name}.md").read_text()

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options


def test_the_readme_is_short() -> None:
    """Who wants to know more finds it below docs/."""
    assert len((PACKAGE.parent / "README.md").read_text().split()) <= 1500
