"""The manifest: what a push publishes in the plain layout, and how it is read back without trust.

The head names `.s32s/manifest-<sha256>.jsonl.zst`, one JSON line a path.

Pure: bytes in, values out, and back. Reading is bounded by what the head declares and by hard caps, enforced while
the bytes are decompressed (32 KiB of zstd can hold a GiB of zeros).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from sys import intern
from typing import Any

import zstandard

from s32s.core import cures, paths
from s32s.core.columns import Columns
from s32s.core.errors import BadPath, IntegrityError, Refused
from s32s.core.item import Item, Kind, is_md5
from s32s.core.tree import Tree
from s32s.format.head import ManifestRef

MAX_TEXT = 2 * 1024**3
MAX_LINE = 16 * 1024
#: Bytes of memory that one may take while it is read: some 3.5 million files.
MAX_MEMORY = 900_000_000
#: Of who changed a path, and when: a time, and a user's and a machine's name.
_MAX_CHANGED = 600
#: Of a symbolic link: PATH_MAX less the final NUL, path_resolution(7).
MAX_LINK = 4095

_CHUNK = 1024 * 1024
_MAX_INT = 2**63 - 1
#: Measured at 500,000 lines: bytes of memory a line, without the characters of its path, and more for what is rare.
_ROW = 150
_RARE = 250
_CHANGED = 100
#: Likewise, of the compressed manifest; hashes do not shrink.
_PACKED = 70


def to_bytes(items: Iterable[Item]) -> tuple[bytes, ManifestRef]:
    """Encode items as a manifest; return its bytes and the reference a head carries."""
    lines = map(line_of, items)
    return packed(iter(lambda: "".join(itertools.islice(lines, 10_000)).encode(), b""))


def packed(text: Iterable[bytes]) -> tuple[bytes, ManifestRef]:
    """Compress the text of a manifest, which comes in parts; return its bytes and the reference a head carries."""
    # Hashes do not compress: a higher level takes seven times as long for nothing.
    parts = list(text)  # held once, and not as characters too
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=sum(map(len, parts)))
    data = b"".join([*map(packer.compress, parts), packer.flush()])
    sha256 = hashlib.sha256(data).hexdigest()
    return data, reference(sha256, len(data))


def reference(sha256: str, size: int) -> ManifestRef:
    """How a head names a manifest of these bytes."""
    return ManifestRef(key=f"{paths.RESERVED}/manifest-{sha256}.jsonl.zst", size=size, sha256=sha256)


def sha256_of(key: str) -> str | None:
    """The SHA-256 that the key of a manifest names; None for another key."""
    return found[1] if (found := _MANIFEST_KEY.fullmatch(key)) else None


_MANIFEST_KEY = re.compile(r"\.s32s/manifest-([0-9a-f]{64})\.jsonl\.zst")


def read(data: bytes, ref: ManifestRef, *, room: int = paths.MAX_KEY) -> Tree:
    """Decode a manifest into a Tree.

    Args:
        data: the object's bytes.
        ref: what the head says of them.
        room: bytes that the prefix leaves of a key.

    Raises:
        IntegrityError: other bytes than the head names, a cap exceeded, or a line that is not an item.
        BadPath: a path is not safe, is in the part that s32s keeps for itself, or appears twice.
    """
    check_bytes(data, ref)
    return tree_of(lines_of(data, ref.key), ref.key, room=room, weight=len(data))


def check_bytes(data: bytes, ref: ManifestRef) -> None:
    """Make sure that bytes are those which a head announces.

    Raises:
        IntegrityError: they are not.
    """
    if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
        raise IntegrityError(f"{ref.key} is not what the head announces", hint=cures.NO_MANIFEST)


def tree_of(lines: Iterable[str], key: str, *, room: int, weight: int) -> Tree:
    """The tree that some lines name.

    Args:
        key: of the manifest, for messages.
        room: see `read`.
        weight: bytes of memory that are taken already.

    Raises:
        IntegrityError, BadPath: see `read`.
    """
    columns = Columns()
    last = ""
    seen: set[str] | None = None  # only where the lines are not in order
    for number, line in enumerate(lines, start=1):
        if plain := _PLAIN.fullmatch(line):
            path, size, mtime_ns, sha256, etag, mode, changed = plain.groups()
            bits = int(mode) & 0o777
            if changed is not None:
                columns.note_changed(intern(changed), len(columns))
                weight += _CHANGED
            columns.append(path, int(size), int(mtime_ns), bits, bytes.fromhex(sha256), bytes.fromhex(etag))
            weight += len(path) + _ROW
        else:
            try:
                item = item_of(line)
            except BadLine as exc:
                raise IntegrityError(f"{key} line {number}: {exc}", hint=cures.NO_MANIFEST) from exc
            path = item.path
            columns.add(item)
            weight += _weight(item)
        if weight > MAX_MEMORY:
            raise IntegrityError(f"{key} lists more than {number - 1:,} paths: {_TOO_LARGE}", hint=_SPLIT)
        paths.check(path, room=room)
        if path.startswith(paths.RESERVED) and paths.is_reserved(path):
            raise BadPath(f"{key} line {number}: {paths.quote(path)} is not allowed there")
        if path <= last or seen is not None:
            if seen is None:
                seen = set(columns.paths[:-1])
                weight += _ROW * len(seen)
            if path in seen:
                raise BadPath(f"{key} line {number}: {paths.quote(path)} is listed twice")
            seen.add(path)
            weight += _ROW  # a second time, for what sorts it
        last = path
    return Tree(columns)


_TOO_LARGE = f"it would take more than {MAX_MEMORY // 10**6} MB of memory"
_SPLIT = "split the entry into several"


def check_size(published: Tree) -> None:
    """Refuse a tree whose manifest no machine would read.

    Raises:
        Refused: names the number of paths.
    """
    # So many fit however long their paths are; a look at each costs time only where that is in doubt.
    if len(published) < 400_000:
        return
    if sum(map(sys.getsizeof, published.paths)) + (_ROW + _PACKED) * len(published) > MAX_MEMORY:
        raise Refused(f"a manifest of {len(published):,} paths is too large: {_TOO_LARGE}", hint=_SPLIT)


def _weight(item: Item) -> int:
    """Bytes of memory that a row takes which is not like nearly all."""
    weight = sys.getsizeof(item.path) + _ROW
    if item.changed:
        weight += _CHANGED
    if item.target or item.version or (item.etag and not is_md5(item.etag)):
        weight += _RARE + sum(map(sys.getsizeof, (item.target, item.version, item.etag)))
    return weight


def line_of(item: Item) -> str:
    """An item as it is written, with its line end."""
    path, kind, size, mtime_ns, mode, sha256, _, etag, version, target, _, _, changed = item
    if kind is Kind.FILE and mtime_ns is not None and mode is not None and sha256 and etag and version is None:
        # Nearly every line, by hand: the encoder takes six times as long.
        return (
            f'{{"path":{_ENCODE(path)},"type":"file","size":{size},"mtime_ns":{mtime_ns},'
            f'"sha256":"{sha256}","etag":{_ENCODE(etag)},"mode":{mode}'
            + (f',"changed":{_ENCODE(changed)}}}\n' if changed else "}\n")
        )
    facts: dict[str, Any] = {"path": path, "type": kind.value}
    if kind is Kind.FILE:
        facts["size"] = size
        facts |= {
            name: value
            for name, value in (("mtime_ns", mtime_ns), ("sha256", sha256), ("etag", etag), ("version", version))
            if value is not None
        }
    if kind is Kind.LINK:
        facts["target"] = target
    elif mode is not None:
        facts["mode"] = mode
    if changed:
        facts["changed"] = changed
    return _ENCODE(facts) + "\n"


def lines_of(data: bytes, key: str) -> Iterator[str]:
    """The lines of a manifest, without their ends.

    Raises:
        IntegrityError: it is damaged, or larger than any honest one.
    """
    rest = b""
    total = 0
    try:
        announced = zstandard.frame_content_size(data)
        for chunk in zstandard.ZstdDecompressor(max_window_size=2**27).read_to_iter(data, write_size=_CHUNK):
            total += len(chunk)
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            lines = whole.decode().split("\n") if end else []
            if total > MAX_TEXT or len(rest) > MAX_LINE:
                raise IntegrityError(f"{key} exceeds the size of any honest manifest")
            yield from lines
    except zstandard.ZstdError as exc:
        raise IntegrityError(f"{key} is damaged and cannot be decompressed", hint=cures.NO_MANIFEST) from exc
    except UnicodeDecodeError as exc:
        raise IntegrityError(f"{key} contains what is not UTF-8", hint=cures.NO_MANIFEST) from exc
    if rest or total != announced:  # a frame that is cut off ends without an error of its own
        raise IntegrityError(f"{key} ends in the middle of a line", hint=cures.NO_MANIFEST)


class BadLine(Exception):
    """Why a line is not an item."""


def item_of(line: str, *, most: int = MAX_LINE) -> Item:
    """The item that a line names.

    Args:
        most: how long a line may be.

    Raises:
        BadLine: it is not one.
    """
    if len(line) > most:
        raise BadLine("the line is too long")
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise BadLine("the line is not JSON") from exc
    if not isinstance(facts, dict) or not isinstance(path := facts.get("path"), str):
        raise BadLine("the line names no path")
    get = facts.get
    name = get("type")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadLine(f"{paths.quote(path)} has the unknown type {str(name)[:20]!r}")
    size, mtime_ns, mode = get("size", 0), get("mtime_ns"), get("mode")
    if not (
        _is_integer(size, least=0)
        and (mtime_ns is None or _is_integer(mtime_ns, least=-_MAX_INT))
        and (mode is None or _is_integer(mode, least=0))
    ):
        raise BadLine(f"{paths.quote(path)} has an impossible size, time or mode")
    sha256, etag, version, target = get("sha256"), get("etag"), get("version"), get("target")
    changed = get("changed")
    for value in (sha256, etag, version, target, changed):
        if value is not None and not isinstance(value, str):
            raise BadLine(f"{paths.quote(path)} has a field of the wrong type")
    if sha256 is not None and (len(sha256) != 64 or sha256.strip(_HEX)):
        raise BadLine(f"{paths.quote(path)} has no proper SHA-256")
    for value in (etag, version):
        if value is not None and paths.escape(value) != value:
            raise BadLine(f"{paths.quote(path)} has an ETag or version that S3 never gives")
    if changed is not None and (len(changed) > _MAX_CHANGED or paths.escape(changed) != changed):
        raise BadLine(f"{paths.quote(path)} was changed by somebody whose name cannot be shown")
    changed = intern(changed) if changed else None
    # setuid, setgid and sticky bits never travel (design 4.7).
    bits = None if mode is None else mode & 0o777
    if kind is Kind.DIR:
        return Item(path, kind, mode=bits, changed=changed)
    if kind is Kind.LINK:
        if not _is_link_target(target):
            raise BadLine(f"{paths.quote(path)} is a link without a usable target")
        return Item(path, kind, target=target, changed=changed)
    return Item(path, kind, size, mtime_ns, bits, sha256, None, etag, version, changed=changed)


#: Nearly every line, as `line_of` writes it: a fifth of the time of JSON, and nothing that JSON would read otherwise.
_PLAIN = re.compile(
    r'\{"path":"([ !#-\[\]-~]+)","type":"file","size":(0|[1-9][0-9]{0,17}),'
    r'"mtime_ns":(0|-?[1-9][0-9]{0,17}|-?[1-8][0-9]{18}),'
    r'"sha256":"([0-9a-f]{64})","etag":"([0-9a-f]{32})","mode":(0|[1-9][0-9]{0,5})'
    r'(?:,"changed":"([ !#-\[\]-~]{1,300})")?\}'
)
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_HEX = "0123456789abcdef"
_KINDS = {kind.value: kind for kind in (Kind.FILE, Kind.LINK, Kind.DIR)}


def _is_integer(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_INT


def _is_link_target(target: object) -> bool:
    if not isinstance(target, str) or not target or "\0" in target:
        return False
    try:
        return len(target.encode()) <= MAX_LINK
    except UnicodeEncodeError:
        return False
