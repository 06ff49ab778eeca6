"""Lint, format and types are tests too, so that one command says whether all is well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["mypy", "tests/typing/api.py"],
    ],
    ids=["the linter has no complaint", "the format is the formatter's", "the types hold", "the public API is typed"],
)
def test_static_checks(command: list[str]) -> None:
    """The static checks pass on the whole tree."""
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
