"""What a place holds: items by relative path, sorted by the bytes of the path.

A `Tree` is what every listing returns, whatever it was made from: a directory, a LIST, a manifest. An unknown fact is
None, never a guess: a LIST knows no SHA-256, a directory knows no ETag.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from s32s import paths


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
        items: sorted by `paths.sort_key`, each path once.
        published: False where the destination's manifest does not describe `items` (none yet, or out of date), so that
            an empty plan still has to publish.
        generation: of the manifest that `items` come from; 0 without one.
        note: what people should know about this reading, such as an unfinished push; may be empty.
    """

    items: tuple[Item, ...]
    published: bool = True
    generation: int = 0
    note: str = ""
    _index: dict[str, Item] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {item.path: item for item in self.items})

    def get(self, path: str) -> Item | None:
        """The item at `path`, or None."""
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
    ordered = sorted(items, key=lambda item: paths.sort_key(item.path))
    return Tree(tuple(ordered), published=published, generation=generation, note=note)


def is_md5(etag: str | None) -> bool:
    """Tell whether `etag` may be the MD5 of the object: 32 hex digits, no part count.

    It is one for single-part objects without KMS or customer keys (S3 API, "Object", ETag); with those it only looks
    like one, so a difference proves nothing while equality does.
    """
    return etag is not None and len(etag) == 32 and all(char in "0123456789abcdef" for char in etag)
