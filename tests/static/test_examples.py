"""The examples are right, and the schema is that of the models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s32s.config import map_files, maps

MAPS = Path(__file__).parents[2] / "maps"
EXAMPLES = sorted(path for path in MAPS.glob("*.json") if path.name != "map.schema.json")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_map_has_no_problem(path: Path) -> None:
    """What people copy works."""
    entries, problems = map_files.parse(path.read_bytes(), path.name)

    assert problems == ()
    assert entries


def test_the_examples_load_together() -> None:
    """Their names are unique."""
    loaded = map_files.load((path.name, path.read_bytes()) for path in EXAMPLES)

    assert loaded.problems == ()


def test_the_published_schema_is_the_models_schema() -> None:
    """When this fails: s32s maps schema > maps/map.schema.json"""
    assert json.loads((MAPS / "map.schema.json").read_text()) == maps.schema()
