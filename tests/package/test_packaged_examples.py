"""Dashboards, alert rules and container examples name only what s32s has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from s32s.agent import metrics
from s32s.config import environment

PACKAGING = Path(__file__).parents[2] / "packaging"
CONTAINER = sorted(path for path in (PACKAGING / "container").rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_every_number_is_one_that_is_written(name: str) -> None:
    """By the name under which Prometheus finds it."""
    text = (PACKAGING / "monitoring" / name).read_text()
    written = {f"s32s_{metric}" for metric, _, _ in metrics._METRICS}

    shown = set(re.findall(r"\bs32s_[a-z_]+", text))

    assert shown
    assert shown <= written


def test_the_dashboard_is_json_with_panels_apart() -> None:
    """No two of them in one place."""
    board = json.loads((PACKAGING / "monitoring/dashboard.json").read_text())

    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]

    assert len(places) == len(set(places)) >= 10


@pytest.mark.parametrize("path", CONTAINER, ids=lambda path: path.name)
def test_a_container_names_variables_that_exist(path: Path) -> None:
    """Each is that of a setting."""
    known = {environment.variable(key) for key in dict(environment.keys())}

    assert set(re.findall(r"\bS32S_[A-Z0-9_]+", path.read_text())) <= known
