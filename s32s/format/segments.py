"""Segments: the manifest of a generation in packs, cut into pieces that stay as they are while others change.

A segment has the items of a range of paths, one JSON line each, and says where their bytes are. Where one ends is
decided by the path alone, never by what a file holds or how many there are, so a changed file changes one segment. It
is a blob like any other: named by the SHA-256 of its text, so one that is known is neither fetched nor read again.

Pure: values in, bytes out, and back.
"""

from __future__ import annotations

import json
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sys import intern
from typing import NamedTuple

from s32s.core import cures, paths
from s32s.core.columns import Columns
from s32s.core.errors import BadPath, IntegrityError
from s32s.core.item import Item, Kind
from s32s.format import manifest
from s32s.format.manifest import BadLine
from s32s.format.packs import ENTRY_SIZE, MAX_BLOB, MAX_PACK

#: A path ends a segment once in so many; and how few and how many it may have.
EVERY, LEAST, MOST = 1024, 256, 4096
#: One line: a file of some hundred thousand chunks.
MAX_LINE = 32 * 1024**2

_NOWHERE = 2**32 - 1
#: Bits of the bytes that a blob takes, and of them with its offset in front.
_STORED, _PACK = 32, 64


class Place(NamedTuple):
    """Where the bytes of a blob are.

    Attributes:
        pack: SHA-256 of the pack, in hex.
        offset, stored: where it is in there, and how many bytes it takes.
    """

    pack: str
    offset: int
    stored: int


class ChunkPlace(NamedTuple):
    """A chunk of a large file."""

    place: Place
    size: int
    sha256: bytes


#: Where a file is: one blob of its very bytes, or chunks in their order.
Where = Place | tuple[ChunkPlace, ...]


class Places:
    """Where the files of a tree are, row by row; in columns, as there may be millions."""

    __slots__ = ("_chunks", "_numbers", "_offsets", "_packs", "_stored", "packs")
    #: How many parts `to_parts` makes.
    PARTS = 4

    def __init__(self, packs: Sequence[str] = ()) -> None:
        #: The packs that are named, in the order in which they came.
        self.packs: list[str] = list(packs)
        self._numbers = {pack: number for number, pack in enumerate(self.packs)}
        self._packs = array("I")
        self._offsets = array("Q")
        self._stored = array("I")
        self._chunks: dict[int, tuple[ChunkPlace, ...]] = {}

    def __len__(self) -> int:
        return len(self._packs)

    def add(self, where: Where | None) -> None:
        """Append where the next item is; None for one without bytes."""
        if isinstance(where, Place):
            self.append(self.number(where.pack), where.offset, where.stored)
            return
        if where:
            for chunk in where:
                self.number(chunk.place.pack)
            self._chunks[len(self._packs)] = where
        self.append(_NOWHERE, 0, 0)

    def append(self, pack: int, offset: int, stored: int) -> None:
        """Append a place by the number of its pack."""
        self._packs.append(pack)
        self._offsets.append(offset)
        self._stored.append(stored)

    def append_many(self, packs: Iterable[int], offsets: Iterable[int], stored: Iterable[int]) -> None:
        """Append places by the numbers of their packs."""
        self._packs.extend(packs)
        self._offsets.extend(offsets)
        self._stored.extend(stored)

    def extend(self, other: Places, start: int, end: int) -> None:
        """Append a run of rows of another one, from whose packs this one was begun."""
        at = len(self._packs)
        self._packs += other._packs[start:end]
        self._offsets += other._offsets[start:end]
        self._stored += other._stored[start:end]
        if other._chunks:
            few = other._chunks if len(other._chunks) < end - start else range(start, end)
            self._chunks.update(
                {at + row - start: other._chunks[row] for row in few if start <= row < end and row in other._chunks}
            )

    def chunks(self) -> Iterator[ChunkPlace]:
        """All chunks of files that have several."""
        for chunks in self._chunks.values():
            yield from chunks

    def number(self, pack: str) -> int:
        """The number of a pack."""
        if (number := self._numbers.get(pack)) is None:
            number = self._numbers[pack] = len(self.packs)
            self.packs.append(pack)
        return number

    def get(self, row: int) -> Where | None:
        """Where the item at a row is; None for one without bytes."""
        number = self._packs[row]
        if number != _NOWHERE:
            return Place(self.packs[number], self._offsets[row], self._stored[row])
        return self._chunks.get(row)

    def used(self) -> Mapping[str, int]:
        """How many bytes of each pack the items need: each blob once, with its entry in the index."""
        # One number a blob, since there may be millions; sorted, they take less memory than a set.
        rows = zip(self._packs, self._offsets, self._stored, strict=True)
        blobs = [number << _PACK | offset << _STORED | stored for number, offset, stored in rows if number != _NOWHERE]
        for (pack, offset, stored), _, _ in self.chunks():
            blobs.append(self._numbers[pack] << _PACK | offset << _STORED | stored)
        blobs.sort()
        bytes_of = [0] * len(self.packs)
        last = -1
        for blob in blobs:
            if blob != last:
                bytes_of[blob >> _PACK] += (blob & _NOWHERE) + ENTRY_SIZE
                last = blob
        return dict(zip(self.packs, bytes_of, strict=True))

    def to_parts(self, start: int, end: int) -> list[bytes]:
        """A run of rows as bytes, which `append_parts` takes on a machine of the same kind."""
        numbers = self._packs[start:end]
        few = self._chunks if len(self._chunks) < end - start else range(start, end)
        chunks = {row - start: self._chunks[row] for row in few if start <= row < end and row in self._chunks}
        listed = {row: [[*place, size, sha256.hex()] for place, size, sha256 in made] for row, made in chunks.items()}
        facts = {"packs": {number: self.packs[number] for number in {*numbers} - {_NOWHERE}}, "chunks": listed}
        columns = (numbers, self._offsets[start:end], self._stored[start:end])
        return [json.dumps(facts).encode(), *(column.tobytes() for column in columns)]

    def append_parts(self, parts: Sequence[bytes]) -> None:
        """Append rows as `to_parts` has made them."""
        facts, *columns = parts
        read = json.loads(facts)
        for row, made in read["chunks"].items():
            chunks = (ChunkPlace(Place(*place), size, bytes.fromhex(sha256)) for *place, size, sha256 in made)
            self._chunks[len(self._packs) + int(row)] = tuple(chunks)
            for *place, _, _ in made:
                self.number(place[0])
        renamed = {_NOWHERE: _NOWHERE} | {int(old): self.number(pack) for old, pack in read["packs"].items()}
        numbers, offsets, stored = (array(code, data) for code, data in zip("IQI", columns, strict=True))
        self._packs.extend(map(renamed.__getitem__, numbers))
        self._offsets += offsets
        self._stored += stored


def cut(names: Sequence[str], *, known: Callable[[int], int] = lambda start: 0) -> Iterator[range]:
    """The rows of each segment of some sorted paths.

    Args:
        names: the paths of all items.
        known: how many rows the segment has that begins at a row, where that is known; else 0.
    """
    start = 0
    while start < len(names):
        end = start + same if (same := known(start)) else _end(names, start)
        yield range(start, end)
        start = end


def _end(names: Sequence[str], start: int) -> int:
    most = min(start + MOST, len(names))
    for row in range(start + LEAST - 1, most):
        if zlib.crc32(names[row].encode()) % EVERY == 0:
            return row + 1
    return most


def as_read(item: Item) -> Item:
    """An item as its line is read: what a segment says of it, and nothing of any object."""
    path, kind, size, mtime_ns, mode, sha256, *_, changed = item
    bits = None if mode is None else mode & 0o777
    if kind is Kind.LINK:
        return Item(path, kind, target=item.target, changed=changed or None)
    if kind is Kind.DIR:
        return Item(path, kind, mode=bits, changed=changed or None)
    return Item(path, kind, size, mtime_ns, bits, sha256, changed=changed or None)


def to_text(items: Iterable[tuple[Item, Where | None]]) -> bytes:
    """A segment of some items as it is stored, before it is compressed."""
    numbers: dict[str, int] = {}

    def number(pack: str) -> int:
        return numbers.setdefault(pack, len(numbers))

    lines = [_line(item, where, number) for item, where in items]
    return "".join([_ENCODE({"packs": list(numbers)}), "\n", *lines]).encode()


def _line(item: Item, where: Where | None, number: object) -> str:
    assert callable(number)
    path, kind, size, mtime_ns, mode, sha256, *_, changed = item
    if isinstance(where, Place) and mtime_ns is not None and mode is not None:
        return (
            f'{{"path":{_ENCODE(path)},"type":"file","size":{size},"mtime_ns":{mtime_ns},'
            f'"sha256":"{sha256}","mode":{mode},"at":[{number(where.pack)},{where.offset},{where.stored}]'
            + (f',"changed":{_ENCODE(changed)}}}\n' if changed else "}\n")
        )
    facts: dict[str, object] = {"path": path, "type": kind.value}
    if kind is Kind.FILE:
        facts["size"] = size
        facts |= {"mtime_ns": mtime_ns} if mtime_ns is not None else {}
        facts |= {"sha256": sha256} if sha256 is not None else {}
    if kind is Kind.LINK:
        facts["target"] = item.target
    elif mode is not None:
        facts["mode"] = mode
    if isinstance(where, Place):
        facts["at"] = [number(where.pack), where.offset, where.stored]
    elif where:
        facts["chunks"] = [
            [number(place.pack), place.offset, place.stored, length, digest.hex()] for place, length, digest in where
        ]
    if changed:
        facts["changed"] = changed
    return _ENCODE(facts) + "\n"


class Reader:
    """Puts segments together, in their order."""

    def __init__(self, *, room: int = paths.MAX_KEY) -> None:
        self.columns = Columns()
        self.places = Places()
        self._room = room
        self._last = ""

    def add(self, text: bytes, name: str) -> int:
        """Append the items of a segment; return how many there are.

        Args:
            name: of it, for messages.

        Raises:
            IntegrityError: it is not a segment.
            BadPath: a path is not safe, not in order, or in the part that s32s keeps for itself.
        """
        try:
            lines = text.decode().split("\n")
        except UnicodeDecodeError as exc:
            raise _damaged(name, "it is not UTF-8") from exc
        if lines.pop():
            raise _damaged(name, "it ends in the middle of a line")
        before = len(self.columns)
        packs = [self.places.number(pack) for pack in _packs_of(lines[0] if lines else "", name)]
        plain: list[tuple[str, ...]] = []
        for number, line in enumerate(lines[1:], start=2):
            if found := _PLAIN.fullmatch(line):
                plain.append(found.groups())
                continue
            self._add_plain(plain, packs, name, number)
            plain = []
            try:
                path = self._add(line, packs)
            except BadLine as exc:
                raise _damaged(name, f"line {number}: {exc}") from exc
            self._check(path, name, number)
        self._add_plain(plain, packs, name, len(lines) + 1)
        return len(self.columns) - before

    def _check(self, path: str, name: str, number: int) -> None:
        paths.check(path, room=self._room)
        if path.startswith(paths.RESERVED) and paths.is_reserved(path):
            raise BadPath(f"segment {name} line {number}: {paths.quote(path)} is not allowed there")
        if path <= self._last:
            raise BadPath(f"segment {name} line {number}: {paths.quote(path)} is not in its order")
        self._last = path

    def _add_plain(self, lines: Sequence[tuple[str, ...]], packs: Sequence[int], name: str, behind: int) -> None:
        """Append lines of the usual form, column by column.

        Args:
            lines: the groups of `_PLAIN`.
            behind: the number of the line behind them.
        """
        if not lines:
            return
        named, sizes, mtimes, hashes, modes, at, starts, taken, changes = zip(*lines, strict=True)
        numbers, offsets, stored, size = (list(map(int, column)) for column in (at, starts, taken, sizes))
        rows = zip(named, numbers, offsets, stored, size, strict=True)
        for number, (path, pack, offset, kept, whole) in enumerate(rows, start=behind - len(lines)):
            if pack >= len(packs) or offset > MAX_PACK or kept > MAX_BLOB or whole > MAX_BLOB:
                raise _damaged(name, f"line {number}: {paths.quote(path)} is at an impossible place")
            self._check(path, name, number)
        for row, changed in enumerate(changes, start=len(self.columns)):
            if changed is not None:
                self.columns.note_changed(intern(changed), row)
        masked = [int(mode) & 0o777 for mode in modes]
        self.columns.append_files(named, size, map(int, mtimes), masked, bytes.fromhex("".join(hashes)))
        self.places.append_many(map(packs.__getitem__, numbers), offsets, stored)

    def _add(self, line: str, packs: Sequence[int]) -> str:
        item = manifest.item_of(line, most=MAX_LINE)
        where = _where_of(json.loads(line), item, [self.places.packs[number] for number in packs])
        self.columns.add(item._replace(etag=None, version=None))
        self.places.add(where)
        return item.path


def _where_of(facts: Mapping[str, object], item: Item, packs: Sequence[str]) -> Where | None:
    """Where an item is, by a line that is known to be an item.

    Raises:
        BadLine: the line does not say.
    """
    if item.kind is not Kind.FILE:
        return None
    if item.sha256 is None:
        raise BadLine(f"{paths.quote(item.path)} has no SHA-256")
    at, chunks = facts.get("at"), facts.get("chunks")
    if at is not None:
        return _place(at, packs, item.path)
    if not isinstance(chunks, list):
        if item.size:
            raise BadLine(f"{paths.quote(item.path)} is nowhere")
        return None
    made = []
    for chunk in chunks:
        if not isinstance(chunk, list) or len(chunk) != 5 or not isinstance(chunk[4], str):
            raise BadLine(f"{paths.quote(item.path)} has an impossible chunk")
        *place, size, sha256 = chunk
        if not _is_count(size, MAX_BLOB) or not _SHA256.fullmatch(sha256):
            raise BadLine(f"{paths.quote(item.path)} has an impossible chunk")
        made.append(ChunkPlace(_place(place, packs, item.path), size, bytes.fromhex(sha256)))
    if sum(chunk.size for chunk in made) != item.size:
        raise BadLine(f"{paths.quote(item.path)} has chunks of another size")
    return tuple(made)


def _place(at: object, packs: Sequence[str], path: str) -> Place:
    if not isinstance(at, list) or len(at) != 3:
        raise BadLine(f"{paths.quote(path)} is at an impossible place")
    pack, offset, stored = at
    if not (_is_count(pack, len(packs) - 1) and _is_count(offset, MAX_PACK) and _is_count(stored, MAX_BLOB)):
        raise BadLine(f"{paths.quote(path)} is at an impossible place")
    return Place(packs[pack], offset, stored)


def _packs_of(line: str, name: str) -> list[str]:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise _damaged(name, "its first line is not JSON") from exc
    packs = facts.get("packs") if isinstance(facts, dict) else None
    if not isinstance(packs, list) or not all(isinstance(pack, str) and _SHA256.fullmatch(pack) for pack in packs):
        raise _damaged(name, "its first line names no packs")
    return packs


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _damaged(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"segment {name} of the manifest is damaged: {why}", hint=cures.HEAL)


_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
#: Nearly every line, as `_line` writes it; see `manifest`.
_PLAIN = re.compile(
    r'\{"path":"([ !#-\[\]-~]+)","type":"file","size":(0|[1-9][0-9]{0,17}),'
    r'"mtime_ns":(0|-?[1-9][0-9]{0,17}|-?[1-8][0-9]{18}),'
    r'"sha256":"([0-9a-f]{64})","mode":(0|[1-9][0-9]{0,5}),"at":\[(0|[1-9][0-9]{0,5}),(0|[1-9][0-9]{0,9}),'
    r"(0|[1-9][0-9]{0,9})\]"
    r'(?:,"changed":"([ !#-\[\]-~]{1,300})")?\}'
)
