"""Parts of a table as one run of bytes, compressed: what a machine keeps for itself, see `Table.to_parts`."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import zstandard

#: zstd of level 1: hashes do not shrink, and a higher level takes several times as long.
_LEVEL = 1


def packed(parts: Sequence[bytes]) -> bytes:
    """Parts as one run of bytes."""
    sizes = struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts))
    return zstandard.ZstdCompressor(level=_LEVEL).compress(b"".join([sizes, *parts]))


def unpacked(data: bytes | memoryview, *, most: int) -> list[bytes]:
    """The parts of `packed`.

    Args:
        data: bytes that are known to be those that were written, by a digest.
        most: how many bytes they may be.

    Raises:
        ValueError: they are more.
    """
    try:
        whole = zstandard.ZstdDecompressor().decompress(data, max_output_size=most)
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc
    (count,) = struct.unpack_from("<I", whole)
    at, parts = struct.calcsize(f"<I{count}Q"), []
    for size in struct.unpack_from(f"<{count}Q", whole, 4):
        parts.append(whole[at : at + size])
        at += size
    return parts
