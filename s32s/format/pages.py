"""Pages: segments as a machine keeps them for its next run, in columns, so that nothing of them is parsed again.

A page is what the text of a segment was read into: the same rows, compressed, behind a digest. It is believed only
where that fits, and where the page was made of this very segment, by this version, on a machine that orders bytes the
same way; else the segment is fetched and read again. What a text is checked for was checked when it was read; only that
pages follow each other in the order of their paths is looked at each time.

Pure: values in, bytes out, and back.
"""

from __future__ import annotations

import hashlib
import sys

from s32s.core import paths
from s32s.core.columns import Columns
from s32s.core.errors import BadPath
from s32s.core.tree import Tree
from s32s.format import parts
from s32s.format.segments import Places

#: Of what a page holds. Another number is another name, so an older one is never looked at.
VERSION = 1
_DIGEST = 16
#: A segment has a few thousand paths, of a thousand bytes at the most.
_MOST = 64 * 1024**2


def name_of(sha256: str) -> str:
    """What the page of a segment is called, by the SHA-256 of the segment's text."""
    return f"{sha256}.{VERSION}"


def to_page(sha256: str, tree: Tree, places: Places, rows: range) -> bytes:
    """The page of a segment.

    Args:
        tree, places: what its text is read into, or would be (see `segments.as_read`), at some rows.
    """
    packed = parts.packed([*tree.to_parts(rows), *places.to_parts(rows.start, rows.stop)])
    return _digest(packed, sha256) + packed


def is_sound(page: bytes, sha256: str) -> bool:
    """Whether a page is, byte by byte, what `to_page` has made of a segment."""
    return page[:_DIGEST] == _digest(page[_DIGEST:], sha256)


class Pages:
    """Puts pages together, in their order.

    Attributes:
        columns, places: of all items so far.
    """

    def __init__(self) -> None:
        self.columns = Columns()
        self.places = Places()

    def add(self, page: bytes, name: str) -> int:
        """Append the items of a page that is sound; return how many there are.

        Args:
            name: of its segment, for messages.

        Raises:
            BadPath: they do not come behind the items of the page before.
        """
        found = parts.unpacked(memoryview(page)[_DIGEST:], most=_MOST)
        before, known = len(self.columns), self.columns.paths
        of_places = len(found) - Places.PARTS
        self.columns.append_parts(found[:of_places])
        self.places.append_parts(found[of_places:])
        if 0 < before < len(known) and known[before] <= known[before - 1]:
            raise BadPath(f"segment {name}: {paths.quote(known[before])} is not in its order")
        return len(known) - before


def _digest(packed: bytes, sha256: str) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST, person=f"page{VERSION}{sys.byteorder}".encode())
    digest.update(bytes.fromhex(sha256))
    digest.update(packed)
    return digest.digest()
