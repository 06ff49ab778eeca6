"""Head and manifest: what is published comes back, and nothing else is believed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.core import paths, tree
from s32s.core.errors import BadPath, IntegrityError, Refused
from s32s.core.item import Item, Kind
from s32s.format import manifest
from s32s.format.head import Claim, Head, ManifestRef, read_head

FILE = {"path": "x", "type": "file", "size": 1}
ITEMS = [
    Item("a", size=3, mtime_ns=1_700_000_000_123_456_789, mode=0o644, sha256="0" * 64, etag="e-2", version="v"),
    Item("d", Kind.DIR, mode=0o750),
    Item("d/é", Kind.LINK, target="../a"),
]
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=10)

checked = settings(max_examples=150, deadline=None, print_blob=True)


def reference(data: bytes) -> ManifestRef:
    """What a head would say of these bytes."""
    sha256 = hashlib.sha256(data).hexdigest()
    return ManifestRef(key=f".s32s/manifest-{sha256}.jsonl.zst", size=len(data), sha256=sha256)


def encoded(*lines: dict[str, Any] | bytes) -> tuple[bytes, ManifestRef]:
    """A manifest with exactly these lines, and a reference that agrees with it."""
    text = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    data = zstandard.ZstdCompressor().compress(text)
    return data, reference(data)


def read(*lines: dict[str, Any] | bytes) -> list[Item]:
    """What is read from a manifest with these lines."""
    data, ref = encoded(*lines)
    return list(manifest.read(data, ref))


# -- the manifest ----------------------------------------------------------------------------------------------------


def safe_paths() -> st.SearchStrategy[str]:
    """Paths that may stand in a manifest."""
    segments = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=10)
    joined = st.lists(segments, min_size=1, max_size=3).map("/".join)
    return joined.filter(lambda path: paths.problem(path) is None and not paths.is_reserved(path))


def _item(**facts: Any) -> Item:
    """An item with these facts alone; of a tuple `st.builds` would invent the others too."""
    return Item(**facts)


MODES = st.none() | st.integers(0, 0o777)
MANIFEST_ITEMS = st.one_of(
    st.builds(
        _item,
        path=safe_paths(),
        kind=st.just(Kind.FILE),
        size=st.integers(0, 2**63 - 1),
        mtime_ns=st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
        mode=MODES,
        sha256=st.none() | HEX,
        etag=st.none() | WORDS,
        version=st.none() | WORDS,
    ),
    st.builds(_item, path=safe_paths(), kind=st.just(Kind.DIR), mode=MODES),
    st.builds(_item, path=safe_paths(), kind=st.just(Kind.LINK), target=WORDS.filter(bool)),
)


@checked
@given(st.lists(MANIFEST_ITEMS, unique_by=lambda item: item.path, max_size=10))
def test_what_is_published_is_what_is_read(items: list[Item]) -> None:
    """Every fact of every item survives the round trip, in path order."""
    data, ref = manifest.to_bytes(items)

    assert manifest.read(data, ref) == tree.make(items)


def test_equal_items_make_equal_bytes() -> None:
    """The name of a manifest is the hash of its content, so the same tree has the same name."""
    data, ref = manifest.to_bytes(ITEMS)

    assert manifest.to_bytes(iter(ITEMS)) == (data, ref)
    assert ref == reference(data)


def test_a_large_manifest_survives() -> None:
    """Lines are found again across the blocks of the decompressor."""
    items = [Item(f"d{number % 97}/f{number}", size=number, sha256=f"{number:064x}") for number in range(20_000)]
    data, ref = manifest.to_bytes(items)

    assert manifest.read(data, ref) == tree.make(items)


def test_an_empty_manifest_is_one() -> None:
    """A tree without items has a manifest without lines."""
    data, ref = manifest.to_bytes([])

    assert len(manifest.read(data, ref)) == 0


def test_each_changed_byte_is_noticed() -> None:
    """The SHA-256 in the head vouches for every bit of the manifest."""
    data, ref = manifest.to_bytes(ITEMS)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(IntegrityError, match="not what the head announces"):
            manifest.read(bytes(damaged), ref)


def test_each_truncation_is_noticed() -> None:
    """A body that ends early is not the manifest."""
    data, ref = manifest.to_bytes(ITEMS)
    for size in range(len(data)):
        with pytest.raises(IntegrityError, match="not what the head announces"):
            manifest.read(data[:size], ref)


def test_a_frame_that_is_cut_off_is_refused_though_the_head_agrees() -> None:
    """Half a tree is not a tree: what is missing would be deleted on every slave."""
    data, _ = manifest.to_bytes(ITEMS)
    for size in range(1, len(data)):
        with pytest.raises(IntegrityError):
            manifest.read(data[:size], reference(data[:size]))


def test_a_frame_that_is_cut_off_behind_a_whole_line_is_refused_though_the_head_agrees() -> None:
    """The end of the frame, and not of a line, is the end of the manifest."""
    compressor = zstandard.ZstdCompressor().compressobj()
    data = compressor.compress(json.dumps(FILE).encode() + b"\n")
    data += compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    with pytest.raises(IntegrityError):
        manifest.read(data, reference(data))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="JSON that nobody compressed"),
        pytest.param(b"\x28\xb5\x2f\xfd" + b"\xff" * 50, id="a magic number and then nonsense"),
        pytest.param(zstandard.ZstdCompressor().compress(b"no end of line"), id="a last line without an end"),
    ],
)
def test_what_is_no_manifest_is_refused_though_the_head_agrees(data: bytes) -> None:
    """Damage before the upload is damage too."""
    with pytest.raises(IntegrityError):
        manifest.read(data, reference(data))


@checked
@given(st.binary(max_size=200))
def test_random_lines_are_refused_by_an_error_of_ours(line: bytes) -> None:
    """Whatever a line holds, no other exception comes out."""
    data, ref = encoded(line + b"\n")

    with pytest.raises((IntegrityError, BadPath)):
        manifest.read(data, ref)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"mtime_ns": 2**63 - 1}, id="the last moment"),
        pytest.param({"mtime_ns": -(10**18)}, id="before the epoch"),
        pytest.param({"mtime_ns": 0, "size": 0, "mode": 0}, id="zeros"),
        pytest.param({"path": 'a"b\\c'}, id="a quote and a back-slash"),
        pytest.param({"path": "é/\u2028"}, id="not ASCII"),
        pytest.param({"path": "a b"}, id="a space"),
        pytest.param({"etag": "e-2"}, id="an ETag of several parts"),
        pytest.param({"version": "v1"}, id="a version"),
        pytest.param({"mode": 0o100644}, id="more than permissions"),
    ],
)
def test_a_line_says_the_same_however_it_is_written(facts: dict[str, Any]) -> None:
    """In the order and without the white space of our own lines, or otherwise: the values are those of JSON."""
    whole = {"path": "a", "type": "file", "size": 3, "mtime_ns": 5} | {
        "sha256": "0" * 64,
        "etag": "1" * 32,
        "mode": 420,
    }
    whole |= facts
    ours = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    other = json.dumps(dict(reversed(whole.items())), indent=None)

    (one,), (two,) = (list(manifest.read(*encoded(line.encode() + b"\n"))) for line in (ours, other))

    assert one == two
    assert (one.path, one.size, one.mtime_ns) == (whole["path"], whole["size"], whole["mtime_ns"])


@pytest.mark.parametrize("size", ["00", "03", "3.0", "1e3", "-1", "true", str(2**63)])
def test_a_size_that_is_no_number_of_json_is_refused(size: str) -> None:
    """Neither way takes what the other would not."""
    hashes = f'"sha256":"{"0" * 64}","etag":"{"1" * 32}"'
    line = f'{{"path":"a","type":"file","size":{size},"mtime_ns":5,{hashes},"mode":420}}\n'
    with pytest.raises(IntegrityError):
        manifest.read(*encoded(line.encode()))


FACTS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
NAMES = st.sampled_from(["path", "type", "size", "mtime_ns", "mode", "sha256", "etag", "version", "target"])


@checked
@given(st.dictionaries(NAMES, FACTS | st.sampled_from(["file", "link", "dir", "x"])))
def test_random_facts_make_an_item_that_can_be_published_or_are_refused(facts: dict[str, Any]) -> None:
    """What is read can be written again and read the same, or it is not read at all."""
    try:
        items = read({"path": "x", "type": "file"} | facts)
    except (IntegrityError, BadPath):
        return
    data, ref = manifest.to_bytes(items)

    assert list(manifest.read(data, ref)) == items


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("../x", id="above the root"),
        pytest.param("a/../../x", id="above the root by a detour"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("a//b", id="an empty segment"),
        pytest.param("a/./b", id="a dot"),
        pytest.param("a/", id="a slash at the end"),
        pytest.param("", id="nothing"),
        pytest.param(".s32s", id="the part of s32s"),
        pytest.param(".s32s/head.json", id="the head itself"),
        pytest.param("a\nb", id="a newline"),
        pytest.param("a\x00b", id="a NUL"),
        pytest.param("a\x1bb", id="an escape"),
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param("\udcff", id="a byte that was not UTF-8"),
        pytest.param("n" * 256, id="a name too long for a file system"),
        pytest.param("/".join("a" * 129), id="too deep"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "dir", "link"])
def test_an_unsafe_path_is_refused(path: str, kind: str) -> None:
    """The door of paths stands before the manifest, for every kind of item."""
    with pytest.raises(BadPath):
        read({"path": path, "type": kind, "target": "y"})


def test_a_path_must_fit_behind_its_prefix() -> None:
    """What the prefix leaves of a key bounds the path."""
    data, ref = encoded({"path": "x" * 25, "type": "file"})

    with pytest.raises(BadPath):
        manifest.read(data, ref, room=24)


@pytest.mark.parametrize("kinds", [("file", "file"), ("file", "dir"), ("dir", "link")], ids=" and ".join)
def test_a_path_that_stands_twice_is_refused(kinds: tuple[str, str]) -> None:
    """Nobody can say which of the two would be right."""
    with pytest.raises(BadPath, match="twice"):
        read(*({"path": "x", "type": kind, "target": "y"} for kind in kinds))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"null\n", id="null"),
        pytest.param(b"[1]\n", id="a list"),
        pytest.param(b'"x"\n', id="a text"),
        pytest.param(b'{"path": "x", "type": "file"\n', id="half an object"),
        pytest.param(b'{"path": "\xff", "type": "file"}\n', id="not UTF-8"),
        pytest.param(b"[" * 15_000 + b"\n", id="deep brackets"),
        pytest.param(b'{"path": "x", "type": "file", "size": ' + b"1" * 5000 + b"}\n", id="a number without end"),
        pytest.param({"type": "file"}, id="no path"),
        pytest.param(FILE | {"path": 5}, id="a number as path"),
        pytest.param({"path": "x"}, id="no type"),
        pytest.param(FILE | {"type": "fifo"}, id="a fifo"),
        pytest.param(FILE | {"type": "other"}, id="what cannot be replicated"),
        pytest.param(FILE | {"type": ["file"]}, id="a list as type"),
        pytest.param(FILE | {"size": -1}, id="a negative size"),
        pytest.param(FILE | {"size": 2**63}, id="a size beyond 63 bits"),
        pytest.param(FILE | {"size": "1"}, id="a text as size"),
        pytest.param(FILE | {"size": 1.0}, id="a fraction as size"),
        pytest.param(FILE | {"size": True}, id="true as size"),
        pytest.param(FILE | {"size": None}, id="null as size"),
        pytest.param(FILE | {"size": float("nan")}, id="not a number as size"),
        pytest.param(FILE | {"mtime_ns": 1.5}, id="a fraction as time"),
        pytest.param(FILE | {"mtime_ns": "1"}, id="a text as time"),
        pytest.param(FILE | {"mtime_ns": 2**63}, id="a time beyond 63 bits"),
        pytest.param(FILE | {"mode": "0644"}, id="a text as mode"),
        pytest.param(FILE | {"mode": -1}, id="a negative mode"),
        pytest.param(FILE | {"mode": 420.0}, id="a fraction as mode"),
        pytest.param(FILE | {"sha256": 1}, id="a number as hash"),
        pytest.param(FILE | {"sha256": "00"}, id="a short hash"),
        pytest.param(FILE | {"sha256": "A" * 64}, id="a hash in capitals"),
        pytest.param(FILE | {"sha256": "٣" * 64}, id="a hash of other digits"),
        pytest.param(FILE | {"etag": 1}, id="a number as ETag"),
        pytest.param(FILE | {"etag": "\ud800"}, id="half a surrogate pair as ETag"),
        pytest.param(FILE | {"etag": "a\r\nX-Evil: 1"}, id="a header line in an ETag"),
        pytest.param(FILE | {"version": []}, id="a list as version"),
        pytest.param(FILE | {"version": "\ud800"}, id="half a surrogate pair as version"),
        pytest.param({"path": "x", "type": "link"}, id="a link without a target"),
        pytest.param({"path": "x", "type": "link", "target": ""}, id="a link to nothing"),
        pytest.param({"path": "x", "type": "link", "target": "a\x00b"}, id="a link with a NUL"),
        pytest.param({"path": "x", "type": "link", "target": "\ud800"}, id="a link to half a surrogate pair"),
        pytest.param({"path": "x", "type": "link", "target": "t" * 4096}, id="a link longer than PATH_MAX"),
        pytest.param({"path": "x", "type": "link", "target": 5}, id="a link to a number"),
    ],
)
def test_a_line_that_is_no_item_is_refused(line: dict[str, Any] | bytes) -> None:
    """Wrong types, impossible numbers and texts that no system call takes stop the reading, with an error of ours."""
    with pytest.raises((IntegrityError, BadPath)):
        read(line)


def test_the_line_that_is_wrong_is_named() -> None:
    """The message says which manifest, which line and which path."""
    data, ref = encoded(FILE, {"path": "bad\u202e", "type": "file", "size": -1})

    with pytest.raises(IntegrityError) as caught:
        manifest.read(data, ref)

    assert f"{ref.key} line 2" in str(caught.value)
    assert '"bad\\u202e"' in str(caught.value)
    assert '"manifest": false' in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o4755, 0o755), (0o2755, 0o755), (0o1777, 0o777), (0o100644, 0o644), (0o644, 0o644), (0, 0)],
    ids=oct,
)
@pytest.mark.parametrize("kind", ["file", "dir"])
def test_only_permission_bits_travel(kind: str, mode: int, expected: int) -> None:
    """No setuid, setgid or sticky bit comes out of a manifest."""
    assert read({"path": "x", "type": kind, "mode": mode})[0].mode == expected


def test_unknown_properties_of_a_line_are_passed_over() -> None:
    """A later minor version may say more of a path."""
    assert read(FILE | {"colour": "red"}) == [Item("x", size=1)]


def test_a_line_may_be_as_long_as_the_cap_and_no_longer() -> None:
    """Memory is bounded by the line, wherever it ends."""
    longest = FILE | {"etag": ""}
    longest["etag"] = "e" * (manifest.MAX_LINE - len(json.dumps(longest)))
    longer = longest | {"etag": str(longest["etag"]) + "e"}

    assert len(read(longest)) == 1
    with pytest.raises(IntegrityError):
        read(longer)
    with pytest.raises(IntegrityError):
        read(FILE, b"x" * 10_000_000 + b"\n")


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param("bytes(2**20)", id="zeros"),
        pytest.param("b'\\n' * 2**20", id="empty lines"),
        pytest.param('b\'{"path":"x","type":"file"}\\n\' * 2**15', id="one line again and again"),
    ],
)
def test_a_bomb_is_refused_before_it_fills_the_memory(unit: str) -> None:
    """Some KiB of zstd that hold a GiB are stopped while they are decompressed."""
    program = (
        "import hashlib, pathlib, re, zstandard\n"
        "from s32s.format import head, manifest\n"
        "compressor = zstandard.ZstdCompressor().compressobj()\n"
        f"unit = {unit}\n"
        "data = b''.join([compressor.compress(unit) for _ in range(2**30 // len(unit))] + [compressor.flush()])\n"
        "digest = hashlib.sha256(data).hexdigest()\n"
        "ref = head.ManifestRef(key=f'.s32s/manifest-{digest}.jsonl.zst', size=len(data), sha256=digest)\n"
        "try:\n"
        "    manifest.read(data, ref)\n"
        "except manifest.IntegrityError:\n"
        "    refused = True\n"
        "except manifest.BadPath:\n"
        "    refused = True\n"
        "assert refused\n"
        # Not ru_maxrss: that remembers the process which this one was forked from.
        "print(len(data), re.search('VmHWM:\\\\s+([0-9]+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    packed, peak_kib = map(int, ended.stdout.split())
    assert packed < 2**20
    assert peak_kib < 300 * 1024


def test_a_window_that_would_fill_the_memory_is_refused() -> None:
    """A frame may ask its reader for GiB before the first byte; it does not get them."""
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(json.dumps(FILE).encode() + b"\n") + compressor.flush()

    with pytest.raises(IntegrityError):
        manifest.read(data, reference(data))


# -- the head --------------------------------------------------------------------------------------------------------

REF = manifest.to_bytes(ITEMS)[1]
HEAD = Head(generation=3, writer="w", nonce="n", host="h", time="2026-01-01T00:00:00Z", files=2, size=3, manifest=REF)
HEADS = st.builds(
    Head,
    generation=st.integers(0, 2**63 - 1),
    writer=WORDS,
    nonce=WORDS,
    host=WORDS,
    time=WORDS,
    files=st.integers(0, 2**40),
    size=st.integers(0, 2**63 - 1),
    manifest=st.none() | st.just(REF),
    previous=st.none() | st.just(REF.key),
    push=st.none() | st.builds(Claim, writer=WORDS, host=WORDS, started=WORDS),
)


@checked
@given(HEADS)
def test_a_head_survives_the_round_trip(head: Head) -> None:
    """What a master writes is what a slave reads, and what the next master compares."""
    assert read_head(head.to_bytes()) == head


def test_a_head_is_small_and_says_what_the_design_says() -> None:
    """A few hundred bytes with format, generation, host, time, counts and the manifest's key, size and hash."""
    data = HEAD.to_bytes()

    assert len(data) < 1000
    assert json.loads(data) == {
        "format": 1,
        "generation": 3,
        "writer": "w",
        "nonce": "n",
        "host": "h",
        "time": "2026-01-01T00:00:00Z",
        "files": 2,
        "bytes": 3,
        "manifest": {"key": REF.key, "size": REF.size, "sha256": REF.sha256},
    }


def test_unknown_properties_of_a_head_are_passed_over() -> None:
    """A later minor version may add fields."""
    data = json.dumps(json.loads(HEAD.to_bytes()) | {"colour": "red"}).encode()

    assert read_head(data) == HEAD


def test_a_later_format_is_refused_with_the_way_out() -> None:
    """A head of another format is not guessed at."""
    data = json.dumps(json.loads(HEAD.to_bytes()) | {"format": 3}).encode()

    with pytest.raises(IntegrityError, match=r"format 3.*reads formats 1 and 2.*install"):
        read_head(data)


@pytest.mark.parametrize(
    ("words", "data"),
    [
        pytest.param("it is not JSON, or is cut off", HEAD.to_bytes()[:-9], id="cut off"),
        pytest.param(
            '"writer" has a wrong value', json.dumps(json.loads(HEAD.to_bytes()) | {"writer": 9}).encode(), id="value"
        ),
    ],
)
def test_what_is_wrong_with_a_head_is_a_sentence(words: str, data: bytes) -> None:
    """Of ours, and not of the library that has found it."""
    with pytest.raises(IntegrityError) as raised:
        read_head(data)
    assert raised.value.what == f".s32s/head.json is damaged: {words}"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"generation": -1}, id="a negative generation"),
        pytest.param({"generation": "3"}, id="a text as generation"),
        pytest.param({"generation": 2**63}, id="a generation beyond 63 bits"),
        pytest.param({"generation": True}, id="true as generation"),
        pytest.param({"files": -1}, id="a negative count"),
        pytest.param({"bytes": 1.5}, id="a fraction of a byte"),
        pytest.param({"host": "h" * 257}, id="a host name without end"),
        pytest.param({"writer": None}, id="no writer"),
        pytest.param({"manifest": "x"}, id="a text as manifest"),
        pytest.param({"manifest": {"key": "../x", "size": 1, "sha256": "0" * 64}}, id="a key somewhere else"),
        pytest.param({"manifest": {"key": REF.key + "\n", "size": 1, "sha256": "0" * 64}}, id="a key and a newline"),
        pytest.param({"manifest": {"key": REF.key, "size": -1, "sha256": "0" * 64}}, id="a negative size"),
        pytest.param({"manifest": {"key": REF.key, "size": 2**31 + 1, "sha256": "0" * 64}}, id="more than 2 GiB"),
        pytest.param({"manifest": {"key": REF.key, "size": 1, "sha256": "0"}}, id="no hash"),
        pytest.param({"push": {"writer": "w"}}, id="half a claim"),
    ],
)
def test_a_wrong_head_is_refused(change: dict[str, Any]) -> None:
    """What this version needs is checked strictly."""
    with pytest.raises(IntegrityError, match=r"head\.json is damaged"):
        read_head(json.dumps(json.loads(HEAD.to_bytes()) | change).encode())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"[" * 60_000, id="deep brackets"),
        pytest.param(HEAD.to_bytes()[:-10], id="cut off"),
        pytest.param(b" " * 65_537, id="too large"),
        pytest.param(HEAD.to_bytes() + b" " * 65_536, id="a head and much room behind it"),
    ],
)
def test_what_is_no_head_is_refused(data: bytes) -> None:
    """Another object under the head's name is an error of ours and nothing else."""
    with pytest.raises(IntegrityError, match=r"\.s32s/head\.json"):
        read_head(data)


@checked
@given(st.binary(max_size=100))
def test_random_bytes_are_no_head(data: bytes) -> None:
    """Whatever the object holds, no other exception comes out."""
    with pytest.raises(IntegrityError):
        read_head(data)


def test_more_paths_than_fit_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the reader as it reads, and by the master before it moves a file."""
    items = [Item(f"{number:07}", Kind.DIR) for number in range(400_000)]
    data, ref = manifest.to_bytes(items[:2_000])
    monkeypatch.setattr(manifest, "MAX_MEMORY", 300_000)

    with pytest.raises(IntegrityError, match=r"more than 1,[0-9]{3} paths: .*split the entry"):
        manifest.read(data, ref)
    with pytest.raises(Refused, match=r"400,000 paths is too large: .*split the entry"):
        manifest.check_size(tree.make(items))


@pytest.mark.long
def test_a_hostile_manifest_stays_below_a_gigabyte(tmp_path: Path) -> None:
    """Each of its paths takes 4 KiB: one character beyond the first plane makes all of them wide."""
    file = tmp_path / "manifest"
    write = (
        "import pathlib, sys\n"
        "from s32s.format import head, manifest\n"
        "from s32s.core.item import Item, Kind\n"
        "deep = '/'.join(['a' * 100] * 9)\n"
        "items = (Item(f'{number:07}/\U0001f600/{deep}', Kind.DIR) for number in range(400_000))\n"
        "pathlib.Path(sys.argv[1]).write_bytes(manifest.to_bytes(items)[0])\n"
    )
    read = (
        "import hashlib, pathlib, resource, sys\n"
        "from s32s.format import head, manifest\n"
        "from s32s.core.errors import IntegrityError\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "sha256 = hashlib.sha256(data).hexdigest()\n"
        "key = f'.s32s/manifest-{sha256}.jsonl.zst'\n"
        "try:\n"
        "    manifest.read(data, head.ManifestRef(key=key, size=len(data), sha256=sha256))\n"
        "except IntegrityError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    subprocess.run([sys.executable, "-c", write, file], check=True)

    ended = subprocess.run([sys.executable, "-c", read, file], stdout=subprocess.PIPE, check=True)

    assert int(ended.stdout) < 1_000_000  # KiB
