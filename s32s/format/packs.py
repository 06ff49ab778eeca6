"""Packs: immutable objects that hold many blobs, and at their end an index of them.

A blob is what is stored as one piece: a file or a chunk of a large one, a segment of a manifest, or the root of a
generation. It is named by the SHA-256 of its bytes, and stored as they are or compressed. The index stands last, so a
pack is written in one go, and its blobs are known from the pack alone.

Pure: bytes in, values out, and back. Reading is bounded by what is declared and by hard caps.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import zstandard

from s32s.core import cures, paths
from s32s.core.errors import IntegrityError

#: Bytes, or a view that lends them.
Chunk = bytes | memoryview

PACKS = f"{paths.RESERVED}/packs"
#: A pack is closed when it holds as much; it may become larger by one blob and by its index.
PACK_SIZE = 16 * 1024 * 1024
#: The largest blob, and the largest pack, that a reader takes.
MAX_BLOB = 64 * 1024 * 1024
MAX_PACK = 128 * 1024 * 1024

#: What helps against damage: which of the two, verify says.

#: One blob in the index: SHA-256, kind, encoding, and bytes as they are stored and as they were.
_ENTRY = struct.Struct(">32sBBII")
#: What a blob takes in a pack besides its own bytes.
ENTRY_SIZE = _ENTRY.size
#: What stands at the very end: a salt, the version, bytes of the index, and the magic.
_FOOTER = struct.Struct(">16sHI8s")
_MAGIC = b"s32spack"
_VERSION = 1
FOOTER_SIZE = _FOOTER.size
#: How much of a compressed blob must be spared; less is not worth the time of every reader.
_WORTH = 0.95
#: A larger blob is compressed only where a sample of it shrinks.
_SAMPLED = 128 * 1024
_SAMPLE = 16 * 1024
#: Shorter ones never shrink: a frame of zstd has 9 bytes and more (RFC 8878).
_SHORT = 32


class BlobKind(enum.IntEnum):
    """What a blob is."""

    DATA = 1
    SEGMENT = 2
    ROOT = 3


class Encoding(enum.IntEnum):
    """How a blob is stored."""

    RAW = 0
    ZSTD = 1


class Blob(NamedTuple):
    """A blob as an index names it.

    Attributes:
        sha256: of its bytes.
        offset, stored: where it is in the pack, and how many bytes it takes there.
        size: how many bytes it has.
    """

    sha256: bytes
    kind: BlobKind
    encoding: Encoding
    offset: int
    stored: int
    size: int


class Encoded(NamedTuple):
    """A blob as it is to be stored."""

    sha256: bytes
    encoding: Encoding
    data: Chunk
    size: int


def key_of(pack: str) -> str:
    """The key of a pack, by its SHA-256 in hex."""
    return f"{PACKS}/{pack}"


def pack_of(key: str) -> str | None:
    """The pack that a key names; None for another key."""
    name = key.removeprefix(f"{PACKS}/")
    return name if len(name) == 64 and not name.strip("0123456789abcdef") and name != key else None


class Encoder:
    """Turns bytes into blobs. For one thread.

    What is compressed is decompressed again before it counts: a reader would find out too late.
    """

    def __init__(self, level: int = 1) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level, write_content_size=True)
        self._decompressor = zstandard.ZstdDecompressor()

    def encode(self, data: Chunk, sha256: bytes | None = None) -> Encoded:
        """The bytes as a blob, compressed where that pays.

        Args:
            sha256: of the data, where it is known.

        Raises:
            IntegrityError: the compressor has made something else of them.
        """
        digest = sha256 or hashlib.sha256(data).digest()
        size = len(data)
        if size < _SHORT or not self._pays(data):
            return Encoded(digest, Encoding.RAW, data, size)
        made = self._compressor.compress(data)
        if len(made) > size * _WORTH:
            return Encoded(digest, Encoding.RAW, data, size)
        if self._decompressor.decompress(made) != data:
            raise IntegrityError(
                "the compressor has damaged what it was given", hint="check the memory of this machine"
            )
        return Encoded(digest, Encoding.ZSTD, made, size)

    def _pays(self, data: Chunk) -> bool:
        size = len(data)
        if size < _SAMPLED:
            return True
        view = memoryview(data)
        half = size // 2
        sample = b"".join([view[:_SAMPLE], view[half : half + _SAMPLE]])
        return len(self._compressor.compress(sample)) <= len(sample) * _WORTH


class PackBuilder:
    """A pack that is being filled."""

    def __init__(self) -> None:
        self._parts: list[Chunk] = []
        self._entries: list[bytes] = []
        self.size = 0

    def add(self, blob: Encoded, kind: BlobKind) -> int:
        """Append a blob; return its offset."""
        at = self.size
        stored = len(blob.data)
        self._parts.append(blob.data)
        self._entries.append(_ENTRY.pack(blob.sha256, kind, blob.encoding, stored, blob.size))
        self.size += stored
        return at

    def __len__(self) -> int:
        return len(self._entries)

    def finish(self, salt: bytes) -> tuple[str, bytes]:
        """The SHA-256 of the pack, which names it, and its bytes.

        The salt, 16 random bytes, makes every pack another one: what was once garbage never comes back under the same
        name, so a late deletion of it can do no harm.
        """
        index = zstandard.ZstdCompressor(level=1).compress(b"".join(self._entries))
        footer = _FOOTER.pack(salt, _VERSION, len(index), _MAGIC)
        data = b"".join([*self._parts, index, footer])
        return hashlib.sha256(data).hexdigest(), data


def index_size(tail: Chunk, pack: str) -> int:
    """How many bytes index and footer take together, by the end of a pack.

    Raises:
        IntegrityError: it is not a pack, or of a version that this s32s does not know.
    """
    if len(tail) < FOOTER_SIZE:
        raise damaged(pack, "it is cut off")
    _, version, size, magic = _FOOTER.unpack(memoryview(tail)[-FOOTER_SIZE:])
    if magic != _MAGIC:
        raise damaged(pack, "it does not end as a pack does")
    if version != _VERSION:
        raise IntegrityError(
            f"pack {pack[:12]} has version {version}, and this s32s reads version {_VERSION}",
            hint="install the s32s version that the master uses",
        )
    return int(size) + FOOTER_SIZE


def read_index(tail: Chunk, pack: str, *, size: int) -> list[Blob]:
    """The blobs of a pack.

    Args:
        tail: the end of it, index and footer at least.
        size: bytes of the whole pack.

    Raises:
        IntegrityError: the index is damaged, or does not fit the pack.
    """
    whole = index_size(tail, pack)
    if whole > len(tail) or whole > size:
        raise damaged(pack, "its index is cut off")
    packed = memoryview(tail)[len(tail) - whole : len(tail) - FOOTER_SIZE]
    try:
        length = zstandard.frame_content_size(packed)
        if length < 0 or length > MAX_PACK or length % _ENTRY.size:
            raise damaged(pack, "its index has an impossible length")
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=max(length, 1))
    except zstandard.ZstdError as exc:
        raise damaged(pack, "its index cannot be decompressed") from exc
    blobs, offset = [], 0
    for sha256, kind, encoding, stored, raw in _ENTRY.iter_unpack(data):
        try:
            blobs.append(Blob(sha256, BlobKind(kind), Encoding(encoding), offset, stored, raw))
        except ValueError as exc:
            raise damaged(pack, "its index names what this version does not know") from exc
        if raw > MAX_BLOB:
            raise damaged(pack, "its index names a blob that is too large")
        offset += stored
    if offset + whole != size:
        raise damaged(pack, "its index does not fit its length")
    return blobs


class Decoder:
    """Turns what is stored into bytes again, and believes nothing. For one thread."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)

    def decode(self, stored: Chunk, *, size: int, sha256: bytes | None, pack: str) -> Chunk:
        """The bytes of a blob. One that takes as many bytes as it has is stored as it is.

        Args:
            sha256: what they must have; None where somebody else looks at that.

        Raises:
            IntegrityError: they are not those that its name promises.
        """
        data: Chunk = stored
        if len(stored) != size:
            if size > MAX_BLOB:
                raise damaged(pack, "a blob is too large")
            try:
                if zstandard.frame_content_size(stored) != size:
                    raise damaged(pack, "a blob has another size than was announced")
                data = self._decompressor.decompress(stored, max_output_size=max(size, 1))
            except zstandard.ZstdError as exc:
                raise damaged(pack, "a blob cannot be decompressed") from exc
        if sha256 is not None and hashlib.sha256(data).digest() != sha256:
            raise damaged(pack, "a blob has other bytes than its name promises")
        return data


def damaged(pack: str, why: str) -> IntegrityError:
    """The error that a pack cannot be believed."""
    return IntegrityError(f"pack {pack[:12]} is damaged: {why}", hint=cures.HEAL)


class Span(NamedTuple):
    """A part of a pack that is fetched in one piece.

    Attributes:
        members: numbers of what was asked for that is in it.
    """

    pack: str
    start: int
    end: int
    members: tuple[int, ...]


def spans(wanted: Iterable[tuple[int, str, int, int]], *, gap: int, most: int) -> Iterator[Span]:
    """Join parts of packs that stand close together, since a request costs more than some bytes that nobody wants.

    Args:
        wanted: a number, the pack, and the first byte and the one behind the last, of each part; parts of the same
            place may come more than once.
        gap: how many bytes that nobody wants may be between two parts.
        most: how long a span may become by joining.
    """
    by_pack: dict[str, list[tuple[int, int, int]]] = {}
    for number, pack, start, end in wanted:
        by_pack.setdefault(pack, []).append((start, end, number))
    for pack, parts in by_pack.items():
        parts.sort()
        yield from _joined(pack, parts, gap, most)


def _joined(pack: str, parts: Sequence[tuple[int, int, int]], gap: int, most: int) -> Iterator[Span]:
    (start, end, number), members = parts[0], [parts[0][2]]
    for first, behind, number in itertools.islice(parts, 1, None):
        if first - end > gap or (max(end, behind) - start > most and first >= end):
            yield Span(pack, start, end, tuple(members))
            start, end, members = first, behind, []
        members.append(number)
        end = max(end, behind)
    yield Span(pack, start, end, tuple(members))
