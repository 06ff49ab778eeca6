"""Every store keeps the same contract; see `s32s.testing`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s32s.backends.memory import MemoryBackend
from s32s.stores.base import Store
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.store import LocalStore
from s32s.stores.memory import MemoryStore
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.store import ObjectStore
from s32s.testing import StoreContract

ONE = Writer(id="one", host="one", now=lambda: "2026-01-01T00:00:00Z")


class Cache:
    """A stat cache that is kept from run to run."""

    def __init__(self) -> None:
        self.cache = StatCache()

    def load(self) -> StatCache:
        return self.cache

    def save(self, cache: StatCache) -> None:
        self.cache = cache


class TestMemory(StoreContract):
    """The smallest one."""

    @pytest.fixture
    def store(self) -> Store[Any, Any]:
        """An empty place."""
        return MemoryStore()


class TestLocal(StoreContract):
    """A directory that is exchanged as a whole."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store[Any, Any]:
        """An empty place."""
        cache = Cache()
        return LocalStore(str(tmp_path / "target"), load_cache=cache.load, save_cache=cache.save)


class TestLocalWithoutMemory(StoreContract):
    """One of which nothing is kept between runs, so that every file is read."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store[Any, Any]:
        """An empty place."""
        return LocalStore(str(tmp_path / "target"))


class TestLocalInPlace(StoreContract):
    """A directory that is changed file by file."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store[Any, Any]:
        """An empty place."""
        (tmp_path / "target").mkdir()
        return LocalStore(str(tmp_path / "target"), in_place=True)


class TestGenerations(StoreContract):
    """Objects that a manifest describes."""

    @pytest.fixture
    def store(self) -> Store[Any, Any]:
        """An empty place."""
        return ObjectStore(MemoryBackend(), writer=ONE)


class TestPlainObjects(StoreContract):
    """Objects alone."""

    @pytest.fixture
    def store(self) -> Store[Any, Any]:
        """An empty place."""
        return ObjectStore(MemoryBackend(), writer=ONE, has_manifest=False)
