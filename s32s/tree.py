"""What a place holds: items by relative path, sorted by it.

The order is that of the path's code points, whatever the locale; for every path that is a key it is the order of the
UTF-8 bytes too, S3's own. Two trees are compared by walking along both.

A `Tree` is what every listing returns, whatever it was made from: a directory, a LIST, a manifest. An unknown fact is
None, never a guess: a LIST knows no SHA-256, a directory knows no ETag.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """What an item is. OTHER only appears in a destination: something there that cannot travel."""

    FILE = "file"
    LINK = "link"
    DIR = "dir"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Item:
    """One path of a tree.

    Attributes:
        path: safe relative path (see `paths.check`); an OTHER may carry surrogate escapes.
        kind: file, symbolic link, directory.
        size: bytes of a file; 0 for the rest.
        mtime_ns: modification time in ns since the epoch; None where the place keeps none.
        mode: permission bits, at most 0o777; None where the place keeps none.
        sha256: of the file's bytes, lower-case hex.
        md5: of the file's bytes, lower-case hex; only where it was needed to compare with an ETag.
        etag: of the S3 object, without quotes. On a local file: of the object it was last known equal to.
        version: S3 version id of the object.
        target: where a symbolic link points, verbatim.
        stored_ns: when S3 stored the object, by its own clock, in ns since the epoch.
        copy_of: ETag of the object that this one was copied from, where that is remembered.
    """

    path: str
    kind: Kind = Kind.FILE
    size: int = 0
    mtime_ns: int | None = None
    mode: int | None = None
    sha256: str | None = None
    md5: str | None = None
    etag: str | None = None
    version: str | None = None
    target: str | None = None
    stored_ns: int | None = None
    copy_of: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """Items in order, and what else is known of the place they were read from.

    Attributes:
        items: sorted by path, each path once.
        published: False where the destination's manifest does not describe `items` (none yet, or out of date), so that
            an empty plan still has to publish.
        generation: of the manifest that `items` come from; 0 without one.
        note: what people should know about this reading, such as an unfinished push; may be empty.
    """

    items: tuple[Item, ...]
    published: bool = True
    generation: int = 0
    note: str = ""
    _index: dict[str, Item] = field(init=False, repr=False, compare=False, default_factory=dict)

    def get(self, path: str) -> Item | None:
        """The item at `path`, or None."""
        if not self._index and self.items:
            self._index.update((item.path, item) for item in self.items)  # who only walks along it needs none
        return self._index.get(path)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def files(self) -> int:
        """How many items are not directories: what people call the number of files."""
        return sum(1 for item in self.items if item.kind is not Kind.DIR)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.items)


def make(items: Iterable[Item], *, published: bool = True, generation: int = 0, note: str = "") -> Tree:
    """Sort `items` into a Tree; no listing is trusted to come sorted."""
    ordered = sorted(items, key=operator.attrgetter("path"))
    return Tree(tuple(ordered), published=published, generation=generation, note=note)


def join(source: Iterable[Item], target: Iterable[Item]) -> Iterator[tuple[Item | None, Item | None]]:
    """Walk along two sorted runs of items at once: pairs of one path, None where a side has not got it."""
    left, right = iter(source), iter(target)
    here, there = next(left, None), next(right, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here.path < there.path):
            yield here, None
            here = next(left, None)
        elif here is None or there.path < here.path:
            yield None, there
            there = next(right, None)
        else:
            yield here, there
            here, there = next(left, None), next(right, None)


def is_md5(etag: str | None) -> bool:
    """Tell whether `etag` may be the MD5 of the object: 32 hex digits, no part count.

    It is one for single-part objects without KMS or customer keys (S3 API, "Object", ETag); with those it only looks
    like one, so a difference proves nothing while equality does.
    """
    return etag is not None and len(etag) == 32 and all(char in "0123456789abcdef" for char in etag)
