"""The documents say what the code does, as far as a machine can tell."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from s32s.agent.results import Result
from s32s.config.maps import Entry
from s32s.core import errors
from s32s.core.plan import Reason
from s32s.format.head import Head
from s32s.frontends.render.json_schema import schema

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FOLDERS = "core|system|config|format|backends|stores|replication|agent|frontends|s32s|tests|packaging"
ERRORS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.S32sError)]


def text(name: str) -> str:
    """A document."""
    return (ROOT / name).read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_only_files_that_exist(path: Path) -> None:
    """A module that moves takes its mentions along; NAME stands for one that a reader makes."""
    named = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]+)", path.read_text()))
    missing = [
        name
        for name in named
        if "NAME" not in name and not (ROOT / name).exists() and not (ROOT / "s32s" / name).exists()
    ]

    assert missing == []


@pytest.mark.parametrize("path", sorted((ROOT / "s32s").rglob("*.py")), ids=lambda path: path.name)
def test_a_citation_of_the_design_resolves(path: Path) -> None:
    """`design 4.4` is a paragraph, and `design 6` a section."""
    design = text("docs/design.md")
    cited = re.findall(r"\(design,? (?:section )?(\d+(?:\.\d+)?)\)", path.read_text())

    assert [number for number in cited if f"\n## {number}. " not in design and f"**{number} " not in design] == []


@pytest.mark.parametrize("kind", ERRORS[1:], ids=lambda kind: kind.__name__)
def test_the_json_document_has_every_error(kind: type[errors.S32sError]) -> None:
    """In a row with its exit status."""
    rows = [line for line in text("docs/json.md").splitlines() if line.startswith("|") and f"`{kind.__name__}`" in line]

    assert any(f"| {kind.exit_status} |" in row for row in rows)


def test_the_json_document_has_every_reason_and_every_field() -> None:
    """A field that is added is documented with it; the schema has every fact that is kept of a run."""
    document, definitions = text("docs/json.md"), schema()["$defs"]
    fields = {field for definition in definitions.values() for field in definition["properties"]}
    names = [*(reason.value for reason in Reason if reason is not Reason.NEW), *sorted(fields)]

    assert [name for name in names if f"`{name}`" not in document] == []
    assert definitions["LastRun"]["properties"].keys() == Result.__dataclass_fields__.keys()


def test_the_formats_have_every_field() -> None:
    """Of the head and of an entry of a map."""
    rows = text("docs/formats.md")
    head = [field.alias or name for name, field in Head.model_fields.items()]

    assert [name for name in [*head, *Entry.model_fields] if f"| `{name}` |" not in rows] == []
