"""What a machine keeps of packed prefixes: it spares work, and never makes a tree another one."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packed import SYNC, Packed, Weighing, kept_in_memory

from s32s.agent.segment_cache import segment_cache
from s32s.backends.memory import MemoryBackend
from s32s.format import pages, segments
from s32s.replication.job import RunContext
from s32s.replication.replicate import replicate
from s32s.stores.memory import MemoryStore
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot, SegmentCache, cached_tree
from s32s.stores.objects.packed.store import PackedStore

RANDOM = random.Random(7)  # test data
#: Of content that does not shrink, so that no pack is thin.
FILES = {f"{number // 40:02}/{number:04}": RANDOM.randbytes(200) for number in range(400)}
CHANGED = FILES | {"05/0203": b"changed"}


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few paths each, so that a small tree has many."""
    shorten(monkeypatch)


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Let segments have a few paths each."""
    for name, value in (("EVERY", 4), ("LEAST", 2), ("MOST", 12)):
        patch.setattr(segments, name, value)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments whose text is read, as they are."""
    names: list[str] = []
    add = segments.Reader.add

    def noted(self: segments.Reader, text: bytes, name: str) -> int:
        names.append(name)
        return add(self, text, name)

    monkeypatch.setattr(segments.Reader, "add", noted)
    return names


def seen(packed: Packed, cache: SegmentCache) -> PackedSnapshot:
    """The current generation, as a machine with this cache sees it."""
    prefix = PackedPrefix(packed.backend, cache=cache)
    return prefix.snapshot(prefix.read_head())


def assert_same(one: PackedSnapshot, other: PackedSnapshot) -> None:
    """The same paths, facts and places."""
    rows = range(len(one.tree))

    assert list(one.tree) == list(other.tree)
    assert one.tree.digest() == other.tree.digest()
    assert [one.places.get(row) for row in rows] == [other.places.get(row) for row in rows]


def pages_below(top: Path) -> list[Path]:
    """The files of pages in a cache."""
    return sorted(path for path in top.rglob("*") if path.name.endswith(f".{pages.VERSION}"))


def test_only_what_is_new_is_parsed(tmp_path: Path, parsed: list[str]) -> None:
    """Of many segments: none by the master, which made them, and one by a machine that follows."""
    packed = Packed(Weighing(MemoryBackend()))
    packed.cache = segment_cache(tmp_path / "master", writable=True)
    slave, target = segment_cache(tmp_path / "slave", writable=True), MemoryStore()

    def pull() -> None:
        replicate(PackedStore(packed.backend, cache=slave), target, SYNC, RunContext("pull", jobs=4))

    packed.push(FILES)
    assert parsed == []
    pull()
    assert len(set(parsed)) == len(parsed) > 30
    parsed.clear()

    packed.push(CHANGED)
    assert parsed == []
    pull()
    assert len(parsed) == 1
    assert target.files == CHANGED


def _flipped(file: Path, others: list[Path]) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _cut(file: Path, others: list[Path]) -> None:
    os.truncate(file, file.stat().st_size - 1)


def _emptied(file: Path, others: list[Path]) -> None:
    os.truncate(file, 0)


def _of_another_segment(file: Path, others: list[Path]) -> None:
    file.write_bytes(others[0].read_bytes())


def _gone(file: Path, others: list[Path]) -> None:
    file.unlink()


def _a_directory(file: Path, others: list[Path]) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [_flipped, _cut, _emptied, _of_another_segment, _gone, _a_directory])
def test_what_is_damaged_is_read_again(
    damage: Callable[[Path, list[Path]], None], tmp_path: Path, parsed: list[str]
) -> None:
    """That alone, and the tree is what it is without a cache."""
    packed = Packed()
    packed.push(FILES)
    cache = segment_cache(tmp_path, writable=True)
    seen(packed, cache)
    files = pages_below(tmp_path)
    for number in (3, 11):
        damage(files[number], files)
    parsed.clear()

    assert_same(seen(packed, cache), packed.snapshot())
    read = {path.name[:12] for path in (files[3], files[11])}
    assert {name for name in parsed if parsed.count(name) == 2} == read  # here, and without a cache


@pytest.mark.parametrize("damage", [_flipped, _cut, _emptied, _of_another_segment, _gone])
def test_a_damaged_root_is_fetched_again(damage: Callable[[Path, list[Path]], None], tmp_path: Path) -> None:
    """And what is shown without asking is nothing, rather than another tree."""
    packed = Packed()
    packed.push(FILES)
    cache = segment_cache(tmp_path, writable=True)
    sha256 = seen(packed, cache).position.manifest
    (root,) = tmp_path.rglob(sha256)
    known = cached_tree(cache, packed.backend.location, sha256)
    damage(root, pages_below(tmp_path))

    assert known == packed.snapshot().tree
    assert cached_tree(cache, packed.backend.location, sha256) is None
    assert_same(seen(packed, cache), packed.snapshot())
    assert cached_tree(cache, packed.backend.location, sha256) == known


def test_a_cache_that_is_only_read_works_and_stays_as_it_is(tmp_path: Path) -> None:
    """As in a dry run; where it is empty too."""
    packed = Packed()
    packed.push(FILES)
    assert_same(seen(packed, segment_cache(tmp_path / "none", writable=False)), packed.snapshot())
    assert not (tmp_path / "none").exists()
    seen(packed, segment_cache(tmp_path, writable=True))
    packed.push(CHANGED)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    assert_same(seen(packed, segment_cache(tmp_path, writable=False)), packed.snapshot())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_nothing_is_kept_that_no_run_needs(tmp_path: Path) -> None:
    """One page a segment of the newest generation, its root, and nothing of another version."""
    packed = Packed()
    packed.cache = segment_cache(tmp_path, writable=True)
    packed.push(FILES)
    (top,) = tmp_path.iterdir()
    (top / f"{'ab' * 32}.0").write_bytes(b"of an older version")
    packed.push(CHANGED)

    root = packed.snapshot().root
    assert root is not None
    wanted = {pages.name_of(one.sha256) for one in root.segments} | {packed.snapshot().position.manifest}
    assert {path.name for path in top.iterdir()} == wanted


NAMES = st.integers(0, 60).map(lambda number: f"{number % 7}/{number:03}")
CONTENT = st.sampled_from([b"", b"a", b"b", b"longer" * 200])
CHANGES = st.lists(st.dictionaries(NAMES, st.none() | CONTENT, max_size=12), min_size=1, max_size=6)


@given(changes=CHANGES)
@settings(max_examples=60, deadline=None)
def test_any_history_is_the_same_with_a_cache_and_without(changes: list[dict[str, bytes | None]]) -> None:
    """For the master that pushes it, for a machine that follows, and for one that sees it first at the end.

    The segments are those of a manifest that is cut from scratch.
    """
    packed, slave, files = Packed(), kept_in_memory(), {"0/000": b"x"}
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        for change in changes:
            files |= {path: data for path, data in change.items() if data is not None}
            files = {path: data for path, data in files.items() if change.get(path, b"") is not None} or {"0/000": b"x"}
            packed.push(files)
            now = packed.snapshot()

            assert now.tree.paths == sorted(files)
            assert_same(seen(packed, packed.cache), now)
            assert_same(seen(packed, slave), now)
            assert now.root is not None
            assert [one.first for one in now.root.segments] == [
                now.tree.path(cut[0]) for cut in segments.cut(now.tree.paths)
            ]
            used = {pack: live for pack, live in now.places.used().items() if live}
            assert {one.pack: one.live for one in now.root.packs if one.pack in used} == used
