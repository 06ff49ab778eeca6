"""A generation in packs: its root, which names the segments of its manifest and all packs that the prefix holds.

The root is a blob in a pack, and the head says where. It knows the generations that are kept, so that one look at it
shows the history, and of each pack the last generation that needs it, so that what is garbage is known without a look
at any other root.

Pure: values in, bytes out, and back.
"""

from __future__ import annotations

from typing import Annotated

import pydantic

from s32s.core import cures
from s32s.core.errors import IntegrityError
from s32s.format.head import PACKED, Count, Message, Model, Name, RootRef, Sha256
from s32s.format.mistakes import what_is_wrong
from s32s.format.packs import MAX_BLOB, MAX_PACK


class Segment(Model):
    """One piece of the manifest.

    Attributes:
        first: the first path in it.
        items: how many it names.
        sha256, size: of its text.
        pack, offset, stored: where it is; as it is stored, no pack is the one that the root is in.
    """

    first: str
    items: Count
    sha256: Sha256
    size: Annotated[int, pydantic.Field(ge=0, le=MAX_BLOB)]
    pack: Annotated[str, pydantic.StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
    offset: Annotated[int, pydantic.Field(ge=0, le=MAX_PACK)]
    stored: Annotated[int, pydantic.Field(ge=0, le=MAX_BLOB)]


class Pack(Model):
    """One pack of the prefix.

    Attributes:
        size: bytes of it.
        until: the last generation that needs it.
        live: how many of its bytes that generation needs; of content, the entries of its index among them.
    """

    pack: Sha256
    size: Count
    until: Count
    live: Count = 0


class Published(Model):
    """A generation, as it was published.

    Attributes:
        number: of it.
        time: UTC, ISO 8601.
        host, user: who pushed it, for people.
        message: what was said of it.
        files, size: how many files and links it has, and bytes of all files.
        new, modified, deleted: what the push changed, in files and links.
        of: for a rollback, the generation whose content it is; 0 for a push.
    """

    number: Annotated[Count, pydantic.Field(alias="generation")]
    time: Name
    host: Name
    user: Name = ""
    message: Message = ""
    files: Count = 0
    size: Annotated[Count, pydantic.Field(alias="bytes")] = 0
    new: Count = 0
    modified: Count = 0
    deleted: Count = 0
    of: Count = 0


class Kept(Model):
    """A generation that can be read as a whole."""

    published: Published
    root: RootRef

    @property
    def number(self) -> int:
        """The number of the generation."""
        return self.published.number


class Root(Model):
    """All of a generation.

    Attributes:
        format: of head, root, segments and packs.
        published: what is told of it.
        segments: of its manifest, in the order of their paths.
        packs: all that the prefix holds, for this generation or one that is kept.
        kept: earlier generations, the newest first.
        garbage: packs that no kept generation needs since this one; the next push deletes them.
    """

    format: int = PACKED
    published: Published
    segments: tuple[Segment, ...]
    packs: tuple[Pack, ...]
    kept: tuple[Kept, ...] = ()
    garbage: tuple[Sha256, ...] = ()

    @property
    def number(self) -> int:
        """The number of the generation."""
        return self.published.number

    def generations(self, ref: RootRef) -> tuple[Kept, ...]:
        """All that can be read as a whole, the newest first.

        Args:
            ref: where this root is.
        """
        return (Kept(published=self.published, root=ref), *self.kept)

    def to_bytes(self) -> bytes:
        """The root as it is stored, before it is compressed."""
        return self.model_dump_json(by_alias=True).encode()


def read_root(data: bytes, ref: RootRef) -> Root:
    """Parse a root whose bytes are proven to be those that the head names.

    A root cannot name the pack that it is in, whose name is made of its bytes; here it gets to know it.

    Args:
        ref: where it is.

    Raises:
        IntegrityError: it is not one.
    """
    root = parse_root(data)
    here = [one for one in root.segments if not one.pack]
    own = Pack(
        pack=ref.pack,
        size=ref.pack_size,
        until=root.number,
        live=ref.stored + sum(one.stored for one in here),
    )
    placed = (one if one.pack else one.model_copy(update={"pack": ref.pack}) for one in root.segments)
    return root.model_copy(update={"segments": tuple(placed), "packs": (*root.packs, own)})


def parse_root(data: bytes) -> Root:
    """A root as it is stored.

    Raises:
        IntegrityError: it is not one.
    """
    try:
        root = Root.model_validate_json(data)
    except pydantic.ValidationError as exc:
        raise IntegrityError(f"the root of a generation is damaged: {what_is_wrong(exc)}", hint=cures.HEAL) from exc
    if root.format != PACKED:
        raise IntegrityError(
            f"the root of a generation has format {root.format}, and this s32s reads format {PACKED}",
            hint="install the s32s version that the master uses",
        )
    return root
