"""What is packaged: manual, completion, units; and with `--long` the Debian package itself."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from s32s.frontends.cli import completion

PACKAGING = Path(__file__).parents[2] / "packaging"


@pytest.fixture(scope="module")
def texts() -> ModuleType:
    """The module that makes them."""
    found = importlib.util.spec_from_file_location("texts", PACKAGING / "texts.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_units_are_those_that_the_program_writes(texts: ModuleType) -> None:
    """When this fails: python packaging/texts.py DIRECTORY, and copy the units from there."""
    assert {file.name: file.read_text() for file in (PACKAGING / "systemd").iterdir()} == texts.packaged_units()


def test_the_manual_has_every_command_and_option(texts: ModuleType) -> None:
    """It is made from the grammar, as the help is."""
    from s32s.frontends.cli import arguments

    page = texts.man_of_command()

    for name, parser in texts.commands(arguments.parser()):
        assert f".SS {texts.roff(name)}" in page
        for action in texts.options(parser):
            assert all(texts.roff(word) in page for word in action.option_strings if word.startswith("--c"))


def test_the_manual_of_the_configuration_has_every_key(texts: ModuleType) -> None:
    """With a sentence each."""
    page = texts.man_of_configuration()

    for key in (
        "role",
        "maps",
        "allow",
        "max_delete",
        "list_every",
        "jobs",
        "after_timeout",
        "endpoint_url",
        "textfile",
    ):
        assert f"\\fB{texts.roff(key)}\\fR" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
@pytest.mark.parametrize("page", ["man_of_command", "man_of_configuration", "man_of_maps"])
def test_the_manual_is_well_formed(texts: ModuleType, page: str) -> None:
    """groff has nothing to complain about."""
    ended = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"],
        input=getattr(texts, page)(),
        text=True,
        capture_output=True,
        check=True,
    )

    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["s32s", "sy"], "sync"),
        (["s32s", "sync", "--rep"], "--report"),
        (["s32s", "maps", "upd"], "update"),
        (["s32s", "service", "install", "--ev"], "--every"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_bash_completes(texts: ModuleType, words: list[str], wanted: str) -> None:
    """Commands, actions and options, by a real bash."""
    script = completion.bash() + (
        f'COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _s32s; echo "${{COMPREPLY[@]}}"\n'
    )

    ended = subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True)

    assert wanted in ended.stdout.split()


def test_the_reference_is_up_to_date() -> None:
    """`python packaging/reference.py` makes it."""
    script = "import reference, sys; sys.exit(any(file.read_text() != text for file, text in reference.made().items()))"

    assert subprocess.run([sys.executable, "-c", script], cwd=PACKAGING, check=False).returncode == 0


def test_every_library_of_the_package_is_pinned() -> None:
    """By version and hash, with all that `pyproject.toml` asks for; `python packaging/pin.py` makes the list."""
    import re
    import tomllib

    text = (PACKAGING / "deb-requirements.txt").read_text().replace("\\\n", " ")
    pinned = {line.partition("==")[0]: line for line in text.splitlines() if line and not line.startswith("#")}
    project = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())["project"]

    assert {re.split(r"[^\w-]", one)[0] for one in project["dependencies"]} <= pinned.keys()
    assert all(re.fullmatch(r"[\w-]+==[\w.]+(\s+--hash=sha256:[0-9a-f]{64})+", line) for line in pinned.values())


def test_the_example_configuration_is_right() -> None:
    """What people copy works."""
    import tomllib

    from s32s.config import settings_file

    text = (PACKAGING / "s32s.toml.example").read_text()
    whole = "\n".join(
        line.removeprefix("# ") if "=" in line or line.startswith("# [") else "" for line in text.splitlines()
    )

    assert settings_file.check(tomllib.loads(text), where="the example").role.value == "slave"
    assert settings_file.check(tomllib.loads(whole), where="the whole example").jobs == 256


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or shutil.which("strip") is None, reason="no dpkg-deb or strip here"
)
def test_the_package_is_built_and_runs(tmp_path: Path) -> None:
    """Unpacked below another root, by this Python; lintian, where it is there, finds no error."""
    subprocess.run([sys.executable, str(PACKAGING / "build_deb.py"), "--output", str(tmp_path)], check=True)
    (package,) = tmp_path.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / "root")], check=True)

    ended = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, '{tmp_path}/root/usr/lib/s32s'); "
            "sys.argv = ['s32s', '--version']; from s32s.frontends.cli.main import main; main()",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout.startswith("s32s ")
    for extension in ("pyfastcdc/cy/fastcdc", "zstandard/backend_c"):  # else packs are made by Python, in silence
        assert len([*tmp_path.glob(f"root/usr/lib/s32s/{extension}.cpython-3*.so")]) == 3  # one for each Python
    if shutil.which("lintian"):
        said = subprocess.run(
            ["lintian", "--fail-on", "error", str(package)], capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout
