"""The worked example of docs/own-backend.md: it runs as it is written there, and passes the contracts."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from s32s.backends.base import Backend
from s32s.backends.memory import MemoryBackend
from s32s.backends.registry import open_backend
from s32s.core.errors import ConfigError
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


class Uploads:
    """A service with three methods."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.calls: list[str] = []

    def list(self) -> list[tuple[str, int, str]]:
        """What is there."""
        return [(path, len(data), hashlib.md5(data).hexdigest()) for path, data in self.held.items()]

    def upload(self, path: str, data: bytes) -> None:
        """Take a file."""
        self.calls.append(f"upload {path}")
        self.held[path] = data

    def delete(self, path: str) -> None:
        """Forget a file."""
        self.calls.append(f"delete {path}")
        del self.held[path]


def test_three_methods_are_enough_to_push() -> None:
    """What is new, changed or gone is asked for, and nothing else."""
    there, source = Uploads(), MemoryStore()

    def push() -> list[str]:
        there.calls.clear()
        writer = EXAMPLE["Writer"]("me", "here", lambda: "2026-01-01T00:00:00Z")
        run(source, ObjectStore(EXAMPLE["PushOnly"](there), writer=writer, has_manifest=False))
        return sorted(there.calls)

    for path in ("a", "d/b", "c"):
        source.write(path, b"1")
    assert push() == ["upload a", "upload c", "upload d/b"]
    source.write("a", b"9")
    source.remove("c")
    assert push() == ["delete c", "upload a"]
    assert push() == []
    assert there.held == {"a": b"9", "d/b": b"1"}


def test_a_package_offers_its_backend_by_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point; a name that nobody offers is told with those that there are."""
    (tmp_path / "box-1.dist-info").mkdir()
    (tmp_path / "box-1.dist-info/METADATA").write_text("Name: box\nVersion: 1\n")
    (tmp_path / "box-1.dist-info/entry_points.txt").write_text(
        "[s32s.backends]\nbox = s32s.backends.memory:MemoryBackend\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert isinstance(open_backend("mine", "box", {}), MemoryBackend)
    with pytest.raises(ConfigError, match=r'the store "mine": there is no type "bux"') as caught:
        open_backend("mine", "bux", {})
    assert "s3, file, fsspec, box" in caught.value.hint


def test_the_example_is_short() -> None:
    """Nobody reads a long one."""
    code = PAGE.read_text().split("class SqliteBackend")[1].split("```")[0]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 60
