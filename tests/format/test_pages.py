"""Segments as pages: what a text is read into, and nothing that was damaged."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s.core import tree
from s32s.core.errors import BadPath
from s32s.core.item import Item, Kind
from s32s.core.tree import Tree
from s32s.format import pages, segments
from s32s.format.pages import Pages
from s32s.format.segments import ChunkPlace, Place, Places, Where

PACKS = st.sampled_from(["ab" * 32, "cd" * 32, "ef" * 32])
PLACES = st.builds(Place, PACKS, st.integers(0, 2**27), st.integers(1, 2**26))
CHUNKS = st.builds(ChunkPlace, PLACES, st.just(5), st.binary(min_size=32, max_size=32))
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
WHO = st.sampled_from([None, "", "2026-01-01T00:00:00Z ann@studio"])
TIMES = st.none() | st.integers(-(2**62), 2**62)
MODES = st.none() | st.integers(0, 0o7777)


@st.composite
def _placed(draw: st.DrawFn) -> tuple[Item, Where | None]:
    """An item as a push may have it, with what only objects have, and where it is."""
    path = draw(st.text("abü'\"\\ ", min_size=1, max_size=6))
    match draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.DIR, Kind.LINK])):
        case Kind.DIR:
            return Item(path, Kind.DIR, mtime_ns=draw(TIMES), mode=draw(MODES), changed=draw(WHO)), None
        case Kind.LINK:
            return Item(
                path, Kind.LINK, mode=draw(MODES), target=draw(st.text("a/", min_size=1)), changed=draw(WHO)
            ), None
        case kind:
            where: Where | None = draw(st.none() | PLACES | st.lists(CHUNKS, min_size=2, max_size=3).map(tuple))
            size = 0 if where is None else 7 if isinstance(where, Place) else 5 * len(where)
            item = Item(path, kind, size, draw(TIMES), draw(MODES), draw(HASHES), changed=draw(WHO))
            etag = draw(st.sampled_from([None, "0" * 32, "x-2"]))
            return item._replace(etag=etag, version=etag, md5=draw(st.none() | st.just("1" * 32)), stored_ns=3), where


SEGMENTS = st.lists(_placed(), max_size=14, unique_by=lambda one: one[0].path)


def made_of(placed: list[tuple[Item, Where | None]]) -> tuple[Tree, Places]:
    """Items as they are published."""
    places = Places()
    for _, where in placed:
        places.add(where)
    return tree.make(segments.as_read(item) for item, _ in placed), places


def read(placed: list[tuple[Item, Where | None]], cuts: list[range]) -> segments.Reader:
    """What the texts of some segments are read into."""
    reader = segments.Reader()
    for rows in cuts:
        assert reader.add(segments.to_text(placed[rows.start : rows.stop]), "test") == len(rows)
    return reader


@given(placed=SEGMENTS, size=st.integers(1, 6))
def test_pages_hold_what_the_texts_are_read_into(placed: list[tuple[Item, Where | None]], size: int) -> None:
    """Whatever the items were before they were published; made of these, or of what was read."""
    placed.sort(key=lambda one: one[0].path)
    cuts = [range(start, min(start + size, len(placed))) for start in range(0, len(placed), size)]
    reader = read(placed, cuts)
    published, places = made_of(placed)
    for of, where in ((published, places), (Tree(reader.columns), reader.places)):
        joined = Pages()
        for rows in cuts:
            assert joined.add(pages.to_page("00" * 32, of, where, rows), "test") == len(rows)

        assert list(Tree(joined.columns)) == list(Tree(reader.columns))
        assert joined.columns.digest() == reader.columns.digest()
        assert [joined.places.get(row) for row in range(len(placed))] == [where for _, where in placed]
        assert {pack: live for pack, live in joined.places.used().items() if live} == used_by(placed)


def used_by(placed: list[tuple[Item, Where | None]]) -> dict[str, int]:
    """Bytes of each pack that some items need, each blob once, with 42 bytes of the index."""
    blobs: set[Place] = set()
    for _, where in placed:
        blobs.update([where] if isinstance(where, Place) else [chunk.place for chunk in where or ()])
    return {pack: sum(one.stored + 42 for one in blobs if one.pack == pack) for pack in {one.pack for one in blobs}}


FEW = [
    (Item(name, Kind.FILE, 3, 1, 0o644, hashlib.sha256(name.encode()).hexdigest()), Place("ab" * 32, 7, 3))
    for name in "abc"
]
NAME = "12" * 32


@given(data=st.data())
def test_a_damaged_page_is_not_believed(data: st.DataObject) -> None:
    """Wherever a byte is another one, is missing or is too many."""
    page = pages.to_page(NAME, *made_of(list(FEW)), range(3))
    at = data.draw(st.integers(0, len(page)))
    damaged = page[:at] + data.draw(st.binary(max_size=3)) + page[at + data.draw(st.integers(0, len(page))) :]

    assert pages.is_sound(page, NAME)
    assert pages.is_sound(damaged, NAME) == (damaged == page)


@pytest.mark.parametrize("other", ["13" * 32, "12" * 31 + "21"])
def test_the_page_of_another_segment_is_not_believed(other: str) -> None:
    """As when files have changed their names."""
    assert not pages.is_sound(pages.to_page(NAME, *made_of(list(FEW)), range(3)), other)


@pytest.mark.parametrize("order", [(range(1, 2), range(1)), (range(2), range(1, 3)), (range(1), range(1))])
def test_pages_follow_each_other(order: tuple[range, range]) -> None:
    """In the order of their paths, none of them twice: a root may name any segments."""
    first, second = (pages.to_page(NAME, *made_of(list(FEW)), rows) for rows in order)
    joined = Pages()
    joined.add(first, "one")
    with pytest.raises(BadPath, match=r"segment two: .* order"):
        joined.add(second, "two")
