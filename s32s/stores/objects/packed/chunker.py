"""Large files in chunks that are cut by what they hold, so that a change in the middle changes few of them."""

from __future__ import annotations

from collections.abc import Iterator

from s32s.backends.base import Chunk

#: FastCDC 2020 (Xia et al., "The Design of Fast Content-Defined Chunking"), with the gear table of its authors. They
#: are part of the format: other ones would find nothing again of what is there.
LEAST, AVERAGE, MOST = 256 * 1024, 1024 * 1024, 4 * 1024 * 1024
#: A file that is no larger is one chunk.
SMALL = AVERAGE


def chunks_of(pieces: Iterator[Chunk]) -> Iterator[memoryview]:
    """The chunks of a file; each is valid until the next one is asked for.

    Args:
        pieces: the bytes of the file, in pieces of any length.
    """
    from pyfastcdc import FastCDC  # for large files alone

    # The package falls back in silence to Python, which takes two hundred times as long; it cuts alike.
    for chunk in FastCDC(AVERAGE, min_size=LEAST, max_size=MOST).cut_stream(_Stream(pieces)):
        yield chunk.data


class _Stream:
    """Pieces as a stream that is read."""

    def __init__(self, pieces: Iterator[Chunk]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readinto(self, room: memoryview) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        taken = self._left[: len(room)]
        room[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)
