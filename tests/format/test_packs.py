"""Packs, segments and roots as bytes: what is written is read, and nothing is believed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.core.errors import BadPath, IntegrityError
from s32s.core.item import Item, Kind
from s32s.format import generation, packs, segments
from s32s.format.head import RootRef
from s32s.format.packs import BlobKind, Decoder, Encoder, Encoding, PackBuilder
from s32s.format.segments import ChunkPlace, Place

PACK = "ab" * 32
RANDOM = random.Random(3)  # test data


def built(*blobs: bytes) -> tuple[str, bytes]:
    """A pack of some blobs."""
    builder, encoder = PackBuilder(), Encoder()
    for blob in blobs:
        builder.add(encoder.encode(blob), BlobKind.DATA)
    return builder.finish(bytes(16))


@given(blobs=st.lists(st.one_of(st.binary(max_size=300), st.builds(lambda n: b"a" * n, st.integers(0, 5000)))))
def test_what_is_packed_is_unpacked(blobs: list[bytes]) -> None:
    """Every blob, by the pack alone; compressed where that pays."""
    name, data = built(*blobs)
    assert name == hashlib.sha256(data).hexdigest()
    found = packs.read_index(data, name, size=len(data))
    decoder = Decoder()
    for blob, raw in zip(found, blobs, strict=True):
        stored = data[blob.offset : blob.offset + blob.stored]
        assert bytes(decoder.decode(stored, size=blob.size, sha256=blob.sha256, pack=name)) == raw
        assert (blob.encoding is Encoding.RAW) == (blob.stored == blob.size)
        assert blob.stored <= blob.size


def test_a_file_of_many_chunks_is_read() -> None:
    """A file of some gigabytes: its line is longer than any of a manifest in the plain layout."""
    chunks = tuple(ChunkPlace(Place(PACK, n, 1), 1, bytes([n % 256]) * 32) for n in range(5_000))
    item = Item("large", Kind.FILE, len(chunks), 5, 0o600, "00" * 32)
    reader = segments.Reader()
    assert reader.add(segments.to_text([(item, chunks)]), "test") == 1
    assert reader.places.get(0) == chunks


@given(data=st.data())
@settings(max_examples=300)
def test_a_damaged_pack_is_never_believed(data: st.DataObject) -> None:
    """Whatever is flipped, cut or put in: the error of a damaged pack, or blobs that are still right."""
    blobs = [b"x" * 500, RANDOM.randbytes(300), b""]
    name, whole = built(*blobs)
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    damaged = {"flip": flipped, "cut": whole[:at], "insert": whole[:at] + b"?" + whole[at:]}[kind]
    decoder = Decoder()
    with contextlib.suppress(IntegrityError):
        for blob, raw in zip(packs.read_index(damaged, name, size=len(damaged)), blobs, strict=True):
            stored = damaged[blob.offset : blob.offset + blob.stored]
            assert bytes(decoder.decode(stored, size=blob.size, sha256=blob.sha256, pack=name)) == raw


def test_a_small_blob_cannot_become_a_large_one() -> None:
    """A frame that says less than it holds, or holds a gigabyte of zeros."""
    bomb = Encoder().encode(bytes(32 * 1024 * 1024))
    assert len(bomb.data) < 10_000
    with pytest.raises(IntegrityError, match="another size"):
        Decoder().decode(bomb.data, size=100, sha256=bomb.sha256, pack=PACK)
    with pytest.raises(IntegrityError, match="too large"):
        Decoder().decode(bomb.data, size=2**31, sha256=bomb.sha256, pack=PACK)


def test_another_version_says_what_to_install() -> None:
    """Of the pack; a root of another format likewise."""
    name, data = built(b"x")
    later = data[:-14] + b"\0\2" + data[-12:]
    with pytest.raises(IntegrityError, match="version 2, and this s32s reads version 1; install"):
        packs.read_index(later, name, size=len(later))
    facts = {"format": 3, "published": {"generation": 1, "time": "", "host": ""}, "segments": [], "packs": []}
    with pytest.raises(IntegrityError, match="format 3, and this s32s reads format 2; install"):
        generation.parse_root(json.dumps(facts).encode())


# -- segments


def items_of(names: list[str]) -> list[tuple[Item, segments.Where | None]]:
    """Files of one blob each."""
    made: list[tuple[Item, segments.Where | None]] = []
    for name in sorted(names):
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        made.append((Item(name, Kind.FILE, 3, 1, 0o644, sha256), Place(PACK, 7, 3)))
    return made


NAMES = st.lists(st.text("abcü/", min_size=1, max_size=8).filter(lambda name: "//" not in f"/{name}/"), unique=True)


@given(names=NAMES)
def test_what_is_written_is_read(names: list[str]) -> None:
    """All items, in order, and where they are."""
    names = [name for name in names if not any(other != name and f"{other}/" in f"{name}/" for other in names)]
    chunks = (ChunkPlace(Place(PACK, 0, 2), 2, bytes(32)), ChunkPlace(Place("cd" * 32, 5, 1), 1, bytes(32)))
    items = items_of(names)
    items += [
        (Item("zz/1", Kind.DIR, mode=0o700), None),
        (Item("zz/2", Kind.LINK, target="1"), None),
        (Item("zz/3", Kind.FILE, 3, 5, 0o600, "00" * 32, changed="2026-01-01T00:00:00Z ann"), chunks),
        (Item("zz/4", Kind.FILE, 0, None, None, "00" * 32), None),
    ]
    items.sort(key=lambda one: one[0].path)
    reader = segments.Reader()
    assert reader.add(segments.to_text(items), "test") == len(items)
    assert [reader.columns.item(row) for row in range(len(items))] == [item for item, _ in items]
    assert [reader.places.get(row) for row in range(len(items))] == [where for _, where in items]
    used = reader.places.used()
    entry = 42
    assert sum(used.values()) == (3 + entry if names else 0) + 2 + entry + 1 + entry


@given(data=st.data())
@settings(max_examples=300)
def test_a_damaged_segment_is_refused_or_read(data: st.DataObject) -> None:
    """In a sentence; never with a traceback of something else."""
    text = segments.to_text(items_of(["a", "b/c", "b/d"]))
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.binary(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(IntegrityError, BadPath):
        segments.Reader().add(damaged, "test")


@pytest.mark.parametrize(
    "change",
    [
        {"at": [0, 0]},
        {"at": [1, 0, 3]},
        {"at": [0, -1, 3]},
        {"at": [0, 2**40, 3]},
        {"at": "x"},
        {"at": None},
        {"chunks": [[0, 0, 3, 2, "00" * 32]], "at": None},
        {"chunks": [[0, 0, 3, 3, "00"]], "at": None},
        {"sha256": None},
        {"path": "../x"},
        {"path": ".s32s/x"},
        {"path": "/x"},
    ],
)
def test_impossible_lines_are_refused(change: dict[str, object]) -> None:
    """What no s32s has written."""
    header, line, _ = segments.to_text(items_of(["b"])).decode().split("\n")
    facts = {name: value for name, value in (json.loads(line) | change).items() if value is not None}
    with pytest.raises((IntegrityError, BadPath)):
        segments.Reader().add(f"{header}\n{json.dumps(facts)}\n".encode(), "test")


def test_paths_come_in_their_order() -> None:
    """And none of them twice, in one segment or in the next."""
    reader = segments.Reader()
    reader.add(segments.to_text(items_of(["b"])), "one")
    for name in ("b", "a"):
        with pytest.raises(BadPath, match="order"):
            reader.add(segments.to_text(items_of([name])), "two")


@given(seed=st.integers(0, 2**32), count=st.integers(0, 12_000))
@settings(max_examples=30, deadline=None)
def test_a_path_that_comes_changes_few_segments(seed: int, count: int) -> None:
    """Where a segment ends is decided by paths alone, so what is behind it stays as it is."""
    rng = random.Random(seed)  # test data
    names = sorted({f"{rng.randrange(50)}/{rng.randrange(10**6)}" for _ in range(count)})
    more = sorted({*names, f"{rng.randrange(50)}/new"})

    def cut(paths: list[str]) -> set[tuple[str, ...]]:
        return {tuple(paths[row] for row in rows) for rows in segments.cut(paths)}

    before, after = cut(names), cut(more)
    assert len(after - before) <= 8
    assert sum(map(len, before)) == len(names)
    assert all(len(one) <= segments.MOST for one in before)


def test_a_root_knows_its_own_pack() -> None:
    """Which its text cannot name."""
    published = generation.Published(number=4, time="", host="h")
    segment = generation.Segment(first="a", items=1, sha256=PACK, size=9, pack="", offset=0, stored=5)
    root = generation.Root(published=published, segments=(segment,), packs=())
    ref = RootRef(pack=PACK, pack_size=100, offset=5, stored=20, size=1, sha256=PACK)

    read = generation.read_root(root.to_bytes(), ref)

    assert read.segments[0].pack == PACK
    assert (read.packs[-1].pack, read.packs[-1].until, read.packs[-1].live) == (PACK, 4, 25)
