"""Map files, manifests and names that were written to do harm."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.config import map_files, maps
from s32s.core import guards, paths, tree
from s32s.core.errors import BadPath, IntegrityError, Refused, S32sError
from s32s.core.guards import Limits, MaxDelete
from s32s.core.item import Item, Kind
from s32s.format import manifest
from s32s.format.head import ManifestRef

GOOD = {"name": "A", "s3": "bucket/x"}


def problems(*entries: Any) -> list[str]:
    """What `parse` says of a map file with these entries."""
    return [str(problem) for problem in map_files.parse(json.dumps(entries).encode(), "m.json")[1]]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"[" * 100_000, "nested more than", id="deep brackets"),
        pytest.param(b"[1" + b"1" * 5000 + b"]", "too long", id="a number without end"),
        pytest.param(b'[{"name": "A", "name": "B"}]', "appears twice", id="a key that appears twice"),
        pytest.param(b"[NaN]", "NaN is not JSON", id="NaN"),
        pytest.param(b'[{"name": "\\ud800"}]', "surrogate", id="half a surrogate pair"),
        pytest.param(b" " * (1024 * 1024 + 1), "larger than", id="more than a megabyte"),
        pytest.param(b"\xff\xfe", "not UTF-8", id="another encoding"),
        pytest.param(b"{}", "is a list of entries", id="an object"),
        pytest.param(b"[5]", "an entry is an object", id="a number as entry"),
    ],
)
def test_a_hostile_map_is_one_clear_problem(data: bytes, says: str) -> None:
    """No exception, no recursion, no silent half."""
    entries, found = map_files.parse(data, "m.json")

    assert entries == ()
    assert says in str(found[0])


PROPERTIES = st.sampled_from(sorted(maps.Entry.model_fields))
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(PROPERTIES, inner),
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_parsing_never_raises(data: bytes) -> None:
    """Whatever comes is entries or problems."""
    map_files.parse(data, "m.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "name: it is empty"),
        ({"name": "a\u001bb"}, "control character"),
        ({"s3": "B"}, "not a bucket name"),
        ({"s3": "bucket/a/../b"}, "cannot be used"),
        ({"s3": "bucket/.s32s/x"}, "kept for s32s"),
        ({"slave": "~/x"}, 'may not start with "~"'),
        ({"slave": "x/y"}, "is not absolute"),
        ({"slave": "/x/../y"}, 'must not contain ".."'),
        ({"master": "x"}, "is not absolute"),
        ({"files": []}, "the list is empty"),
        ({"files": ["/a"]}, "it is absolute"),
        ({"files": ["a"], "ignore": ["a*"]}, "a rule of ignore leaves it out"),
        ({"files": ["a", "a"]}, "listed twice"),
        ({"accept": ["{slug"]}, "column 1 is not closed"),
        ({"accept": ["a/{wat}"]}, "unknown placeholder {wat} at column 3"),
        ({"accept": ["{a|}"]}, "an alternative is empty"),
        ({"manifest": "yes"}, "it must be true or false, not a text"),
        ({"apply": "inplace"}, "'swap' or 'in-place'"),
        ({"ignor": []}, 'unknown property; did you mean "ignore"?'),
        ({"after": "rm -rf /", "command": "x"}, "command: unknown property"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_wrong_property_is_named(change: dict[str, Any], says: str) -> None:
    """File, entry, property, and what would be right."""
    found = problems(GOOD | change)

    assert any(says in problem for problem in found), found
    assert all(problem.startswith("m.json: line 1: entry ") for problem in found)


def test_every_problem_is_told_at_once() -> None:
    """Nobody mends a file mistake by mistake."""
    found = problems({"name": "A", "s3": "B", "x": 1}, {"s3": "bucket/y", "slave": "~"}, GOOD, GOOD)

    assert len(found) == 5


def test_back_slashes_and_a_byte_order_mark_are_accepted() -> None:
    """Masters may run Windows editors."""
    text = '\ufeff[{"name": "A", "s3": "s3://bucket/x/", "master": "c:\\\\dir\\\\\\\\sub"}]'

    entries, found = map_files.parse(text.encode(), "m.json")

    assert found == ()
    assert (entries[0].s3, entries[0].master) == ("bucket/x", "c:/dir/sub")


def encoded(*lines: dict[str, Any] | bytes) -> tuple[bytes, ManifestRef]:
    """A manifest with these lines, and a reference that agrees."""
    import hashlib

    text = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    data = zstandard.ZstdCompressor().compress(text)
    sha256 = hashlib.sha256(data).hexdigest()
    return data, ManifestRef(key=f".s32s/manifest-{sha256}.jsonl.zst", size=len(data), sha256=sha256)


@pytest.mark.parametrize(
    "line",
    [
        {"path": "../x", "type": "file"},
        {"path": "/x", "type": "file"},
        {"path": "a//b", "type": "file"},
        {"path": "a/./b", "type": "file"},
        {"path": ".s32s/head.json", "type": "file"},
        {"path": "a\nb", "type": "file"},
        {"path": "a\x00b", "type": "file"},
        {"path": "m" * 256, "type": "file"},
        {"path": "x", "type": "fifo"},
        {"path": "x", "type": "file", "size": -1},
        {"path": "x", "type": "file", "size": 2**70},
        {"path": "x", "type": "file", "size": "1"},
        {"path": "x", "type": "file", "mtime_ns": 1.5},
        {"path": "x", "type": "file", "sha256": "00"},
        {"path": "x", "type": "link"},
        {"path": "x", "type": "link", "target": "a\x00b"},
        {"path": 5, "type": "file"},
        b"no json\n",
        b"[1]\n",
        b'{"path": "no end"}',
        b"[" * 20_000 + b"\n",
    ],
)
def test_a_hostile_manifest_line_is_refused(line: dict[str, Any] | bytes) -> None:
    """With an error of ours, never another exception."""
    data, ref = encoded(line)

    with pytest.raises((IntegrityError, BadPath)):
        manifest.read(data, ref)


def test_a_path_that_stands_twice_is_refused() -> None:
    """Which of the two would be the right one?"""
    data, ref = encoded({"path": "x", "type": "file"}, {"path": "x", "type": "dir"})

    with pytest.raises(BadPath):
        manifest.read(data, ref)


def test_every_changed_byte_of_a_manifest_is_noticed() -> None:
    """Its SHA-256 stands in the head."""
    data, ref = encoded({"path": "x", "type": "file", "size": 1})
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(IntegrityError):
            manifest.read(bytes(damaged), ref)


def test_a_bomb_is_stopped_before_it_fills_the_memory() -> None:
    """32 KiB of zstd that hold a GiB of zeros."""
    program = (
        "import hashlib, pathlib, re, zstandard\n"
        "from s32s.format import head, manifest\n"
        "c = zstandard.ZstdCompressor().compressobj()\n"
        "data = b''.join([c.compress(bytes(2**20)) for _ in range(1024)] + [c.flush()])\n"
        "digest = hashlib.sha256(data).hexdigest()\n"
        "ref = head.ManifestRef(key=f'.s32s/manifest-{digest}.jsonl.zst', size=len(data), sha256=digest)\n"
        "try:\n    manifest.read(data, ref)\n"
        # Not ru_maxrss, which begins with what the process that was forked had.
        "except manifest.IntegrityError:\n"
        "    print(re.search('VmHWM:\\\\s+([0-9]+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)

    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 300 * 1024


CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\ufffe\uffff")
SEGMENTS = st.text(CHARACTERS, min_size=1, max_size=20)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join).filter(lambda path: paths.problem(path) is None)
MANIFEST_ITEMS = st.builds(
    lambda **facts: Item(**facts),
    path=NAMES,
    kind=st.just(Kind.FILE),
    size=st.integers(0, 2**50),
    mtime_ns=st.integers(-(2**60), 2**62),
    mode=st.integers(0, 0o777),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    etag=st.none() | st.text("0123456789abcdef-", min_size=1),
    version=st.none() | st.text(min_size=1, max_size=5).filter(lambda text: text.isprintable()),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(MANIFEST_ITEMS, unique_by=lambda item: item.path, max_size=20))
def test_a_manifest_survives_the_round_trip(items: list[Item]) -> None:
    """What is published is what is read."""
    items = [item for item in items if not paths.is_reserved(item.path)]
    data, ref = manifest.to_bytes(items)

    assert manifest.read(data, ref) == tree.make(items)


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_a_path_that_passes_stays_below_its_directory(text: str) -> None:
    """accept(path) means: joined to a directory it lies in it, and it can be shown."""
    import posixpath

    if paths.problem(text) is None:
        assert posixpath.normpath(posixpath.join("/root/dir", text)) == f"/root/dir/{text}"
        assert "\n" not in text


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_what_is_shown_holds_no_control_character(text: str) -> None:
    """Nobody redraws the administrator's screen by a file name."""
    import unicodedata

    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in paths.escape(text))


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("a", "b", False),
        ("d/a", "../b", False),
        ("d/a", "..", False),
        ("a", ".", False),
        ("d/e/a", "../../b/c", False),
        ("a", "/etc", True),
        ("a", "..", True),
        ("d/a", "../..", True),
        ("d/a", "../../d/b", True),
        ("a", "b/../c", True),
        ("a", "./../c", True),
        ("a", "", True),
    ],
)
def test_a_link_that_leaves_is_seen(path: str, target: str, expected: bool) -> None:
    """Also one that goes up behind a name, since that name may be a link itself."""
    assert guards.leaves(Item(path, Kind.LINK, target=target)) is expected


@pytest.mark.parametrize(
    ("limit", "deletions", "of", "allowed"),
    [
        (MaxDelete(50, percent=True), 50, 100, True),
        (MaxDelete(50, percent=True), 51, 100, False),
        (MaxDelete(0, percent=True), 9, 9, True),
        (MaxDelete(0, percent=True), 10, 1000, False),
        (MaxDelete(5, percent=False), 5, 5, True),
        (MaxDelete(5, percent=False), 6, 1000, False),
        (MaxDelete(0, percent=False), 1, 1000, False),
    ],
)
def test_max_delete(limit: MaxDelete, deletions: int, of: int, allowed: bool) -> None:
    """A count is a count; a percentage never refuses fewer than 10."""
    assert limit.allows(deletions, of=of) is allowed


def test_an_empty_source_is_refused_but_for_force() -> None:
    """Status 3, with the option."""
    from s32s.core import plan

    made = plan.make(tree.make([]), tree.make([Item("a", size=1)]))

    with pytest.raises(Refused, match="--force-delete"):
        guards.check_plan(made, Limits(MaxDelete(100, percent=True)))
    guards.check_plan(made, Limits(MaxDelete(0, percent=False), force=True))


def test_every_error_has_a_documented_status() -> None:
    """0, 1, 2, 3, 4, 75, 130 and 143 are all there is."""

    def below(kind: type[S32sError]) -> set[int]:
        return {kind.exit_status}.union(*(below(sub) for sub in kind.__subclasses__()))

    assert below(S32sError) <= {1, 2, 3, 75}
