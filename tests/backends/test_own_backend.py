"""The worked example of docs/own-backend.md: it runs as it is written there, and passes the contracts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from s32s.backends.base import Backend
from s32s.stores.base import Store
from s32s.stores.memory import MemoryStore
from s32s.stores.objects.store import ObjectStore
from s32s.testing import BackendContract, StoreContract, run

PAGE = Path(__file__).parents[2] / "docs/own-backend.md"
EXAMPLE: dict[str, Any] = {}
for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
    exec(compile(block, str(PAGE), "exec"), EXAMPLE)  # the page is ours


class TestSqlite(BackendContract):
    """Bytes by key."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        """An empty database."""
        made: Backend = EXAMPLE["SqliteBackend"](tmp_path / "objects.db")
        return made


class TestTreesInSqlite(StoreContract):
    """Generations of a tree."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store[Any, Any]:
        """An empty database."""
        writer = EXAMPLE["Writer"]("me", "here", lambda: "2026-01-01T00:00:00Z")
        return ObjectStore(EXAMPLE["SqliteBackend"](tmp_path / "objects.db"), writer=writer)


def test_a_directory_is_backed_up(tmp_path: Path) -> None:
    """By the function at the end of the page."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/a").write_bytes(b"1")
    file = tmp_path / "objects.db"

    first, again = (EXAMPLE["back_up"](str(tmp_path / "site"), file) for _ in range(2))

    assert (first.changed, again.due) == (True, False)
    back = MemoryStore()
    assert run(ObjectStore(EXAMPLE["SqliteBackend"](file)), back).changed
    assert back.files == {"a": b"1"}


def test_the_example_is_short() -> None:
    """Nobody reads a long one."""
    code = PAGE.read_text().split("class SqliteBackend")[1].split("```")[0]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 60
