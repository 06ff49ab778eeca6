"""The packed layout: what it keeps, what it refuses, and what it costs."""

from __future__ import annotations

import pytest

from s32s.backends.memory import MemoryBackend
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.publisher import Writer
from s32s.testing import StoreContract


class TestPacked(StoreContract):
    """The contract of stores."""

    @pytest.fixture
    def store(self) -> PackedStore:
        return PackedStore(MemoryBackend(), writer=Writer("me", "here", lambda: "2026-01-01T00:00:00Z"))
