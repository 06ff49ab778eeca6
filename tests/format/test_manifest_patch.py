"""Manifests by what differs: the same bytes and the same trees as without the shortcut."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s.core import tree
from s32s.core.errors import BadPath, IntegrityError
from s32s.core.item import Item, Kind
from s32s.core.tree import Tree
from s32s.format import manifest, manifest_patch
from s32s.format.head import ManifestRef

PATHS = st.lists(
    st.text('ab"\\é/ ', min_size=1, max_size=4).filter(lambda text: "/" not in text), unique=True, max_size=20
)


def item(path: str, content: int) -> Item:
    """A file, a link or a directory, as the content says."""
    if content % 5 == 3:
        return Item(path, Kind.LINK, target=f"to{content}")
    if content % 5 == 4:
        return Item(path, Kind.DIR, mode=0o755)
    sha256 = hashlib.sha256(b"%d" % content).hexdigest()
    return Item(path, size=content, mtime_ns=content, mode=0o644, sha256=sha256, etag=sha256[:32])


TREES = st.tuples(PATHS, st.integers(0, 20)).map(lambda drawn: tree.make(item(path, drawn[1]) for path in drawn[0]))
CHANGES = st.dictionaries(st.sampled_from(["a", "b", "ab", 'a"', "é", "zz"]), st.integers(0, 20))


@given(TREES, CHANGES, st.lists(st.integers(0, 20)))
def test_what_is_written_and_read_is_the_same(before: Tree, come: dict[str, int], gone: list[int]) -> None:
    """Whatever has come, gone and changed."""
    old, _ = manifest.to_bytes(before)
    leaving = [before.path(row) for row in gone if row < len(before)]
    after = before.patched(leaving, [item(path, content) for path, content in come.items()])

    data, ref = manifest_patch.write(after, (old, before), set(come))

    assert (data, ref) == manifest.to_bytes(after)
    assert manifest_patch.read(data, ref, (old, before), room=1000) == after == manifest.read(data, ref, room=1000)


@given(TREES, TREES)
def test_trees_that_have_nothing_in_common(before: Tree, after: Tree) -> None:
    """The shortcut is only longer then."""
    old, _ = manifest.to_bytes(before)
    data, ref = manifest.to_bytes(after)

    assert manifest_patch.read(data, ref, (old, before), room=1000) == after


def encoded(*items: Item) -> tuple[bytes, ManifestRef]:
    """A manifest with its lines in this order."""
    return manifest.packed(manifest.line_of(one).encode() for one in items)


A, B, C = item("a", 1), item("b", 2), item("c", 5)


def test_lines_in_another_order_are_read_all_the_same() -> None:
    """Only ours are in order."""
    old, _ = encoded(A, B)
    for lines in ((C, A, B), (B, A), (B, C, A)):
        data, ref = encoded(*lines)
        assert manifest_patch.read(data, ref, (old, tree.make([A, B])), room=1000) == tree.make(lines)


@pytest.mark.parametrize("lines", [(A, A, B), (A, B, B), (A, item("a", 5), B), (B, A, B)], ids=str)
def test_a_path_that_is_there_twice_is_refused(lines: tuple[Item, ...]) -> None:
    """As ever."""
    old, _ = encoded(A, B)
    data, ref = encoded(*lines)

    with pytest.raises(BadPath):
        manifest_patch.read(data, ref, (old, tree.make([A, B])), room=1000)


@pytest.mark.parametrize("path", ["../x", "/x", ".s32s/x", "x//y"])
def test_a_new_line_is_not_trusted(path: str) -> None:
    """Nor is one that is not JSON, nor are other bytes than the head names."""
    old, _ = encoded(A)
    data, ref = encoded(A, item(path, 1))
    with pytest.raises(BadPath):
        manifest_patch.read(data, ref, (old, tree.make([A])), room=1000)
    data, ref = manifest.packed([manifest.line_of(A).encode(), b"no line\n"])
    with pytest.raises(IntegrityError):
        manifest_patch.read(data, ref, (old, tree.make([A])), room=1000)
    with pytest.raises(IntegrityError):
        manifest_patch.read(data + b"x", ref, (old, tree.make([A])), room=1000)


def test_a_manifest_that_is_not_of_its_tree_is_no_model() -> None:
    """All lines are made then."""
    for lines in ((B, A), (A,), (A, B, C)):
        old, _ = encoded(*lines)
        after = tree.make([A, B])
        assert manifest_patch.write(after, (old, tree.make([A, B])), set()) == manifest.to_bytes(after)
