"""The head: the one object of a prefix that is ever replaced, and that says which generation the prefix holds.

`.s32s/head.json` is small and written under a condition. In the plain layout it names a manifest, and is the master's
claim as well: while a push runs, `push` says who is at it, and the rest still describes the last finished generation.
In the packed layout it names the root of a generation in a pack, and is claimed only where several write to a server
that keeps no conditions. Every write of a head carries a nonce, so that a
master can tell its own write from another's when an answer was lost.

Pure: bytes in, values out, and back.
"""

from __future__ import annotations

import json
from typing import Annotated

import pydantic

from s32s.core import cures, paths
from s32s.core.errors import IntegrityError
from s32s.format.mistakes import what_is_wrong

#: Versions of what a head stands for: one object a file with a manifest, and packs.
PLAIN, PACKED = 1, 2
HEAD_KEY = f"{paths.RESERVED}/head.json"

MAX_HEAD = 64 * 1024
#: As it is stored; three million files take 200 MB.
MAX_MANIFEST = 384 * 1024**2
#: Likewise of the root of a generation in packs.
MAX_ROOT = 64 * 1024**2

MAX_MESSAGE = 500

_MAX_INT = 2**63 - 1

Sha256 = Annotated[str, pydantic.StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, pydantic.StringConstraints(max_length=256)]
Message = Annotated[str, pydantic.StringConstraints(max_length=MAX_MESSAGE)]
Count = Annotated[int, pydantic.Field(ge=0, le=_MAX_INT)]


class Model(pydantic.BaseModel):
    """What is stored. A later minor version may add fields; what this one needs is checked strictly."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True)


class ManifestRef(Model):
    """Which object holds the manifest, and what its bytes must be."""

    key: Annotated[str, pydantic.StringConstraints(pattern=r"^\.s32s/manifest-[0-9a-f]{64}\.jsonl\.zst$")]
    size: Annotated[int, pydantic.Field(ge=0, le=MAX_MANIFEST)]
    sha256: Sha256


class RootRef(Model):
    """Where the root of a generation is.

    Attributes:
        pack: SHA-256 of the pack that holds it, and `pack_size` its bytes.
        offset, stored: where it is in there.
        size, sha256: of the root as text.
    """

    pack: Sha256
    pack_size: Count
    offset: Count
    stored: Annotated[int, pydantic.Field(ge=0, le=MAX_ROOT)]
    size: Annotated[int, pydantic.Field(ge=0, le=MAX_ROOT)]
    sha256: Sha256


class Claim(Model):
    """A push that has begun and has not been published: by whom, and when (UTC, ISO 8601)."""

    writer: Name
    host: Name
    started: Name


class Change(Model):
    """What the push of a generation says of itself, and what it changed; in the plain layout.

    Attributes:
        user: who pushed, for people.
        message: what was said of it.
        new, modified, deleted: in files and links.
        of: for a rollback, the generation whose content it is; 0 for a push.
    """

    user: Name = ""
    message: Message = ""
    new: Count = 0
    modified: Count = 0
    deleted: Count = 0
    of: Count = 0


class Head(Model):
    """The one object that says which generation a prefix holds.

    Attributes:
        format: what it stands for, `PLAIN` or `PACKED`.
        generation: counts the published pushes; 0 while the first one runs.
        writer: the master's own random id.
        nonce: unique to this write of the head.
        host: name of the master's machine, for people.
        time: of the publish, UTC, ISO 8601.
        files: of the generation: files and links.
        size: bytes of all its files; "bytes" in the stored head.
        manifest: None while the first push runs, and in packs.
        previous: key of the manifest before, which the next push removes.
        push: a push that is under way, or died.
        change: None where an older s32s has published, and in packs.
        root: of the generation, in packs.
    """

    format: int = PLAIN
    generation: Count
    writer: Name
    nonce: Name
    host: Name
    time: Name
    files: Count = 0
    size: Annotated[Count, pydantic.Field(alias="bytes")] = 0
    manifest: ManifestRef | None = None
    previous: str | None = None
    push: Claim | None = None
    change: Change | None = None
    root: RootRef | None = None

    @property
    def is_packed(self) -> bool:
        """Whether the prefix holds packs."""
        return self.format == PACKED

    def to_bytes(self) -> bytes:
        """The head as it is stored."""
        return self.model_dump_json(indent=1, exclude_none=True, by_alias=True).encode() + b"\n"


def read_head(data: bytes) -> Head:
    """Parse a head.

    Raises:
        IntegrityError: it is too large, no head, or of a format that this version does not know.
    """
    if len(data) > MAX_HEAD:
        raise IntegrityError(f"{HEAD_KEY} is larger than {MAX_HEAD:,} bytes, so it is not a head")
    try:
        head = Head.model_validate_json(data)
    except pydantic.ValidationError as exc:
        # What a later format needs may be missing in this one: that comes before every other trouble.
        _check_format(_format_in(data))
        raise IntegrityError(
            f"{HEAD_KEY} is damaged: {what_is_wrong(exc)}",
            hint=f"in the packed layout, {cures.REBUILD}; in the plain one, delete that object "
            "below the prefix of the entry, then run s32s sync",
        ) from exc
    _check_format(head.format)
    if head.is_packed and head.root is None and head.push is None:
        raise IntegrityError(
            f'{HEAD_KEY} is damaged: "root" is missing',
            hint=cures.REBUILD,
        )
    return head


def check_known(data: bytes) -> None:
    """Make sure that bytes, which may not be a whole head, are not one of a later format.

    Raises:
        IntegrityError: they are.
    """
    _check_format(_format_in(data))


def _check_format(number: int) -> None:
    if number not in (PLAIN, PACKED):
        raise IntegrityError(
            f"{HEAD_KEY} has format {number}, and this s32s reads formats {PLAIN} and {PACKED}",
            hint="install the s32s version that the master uses",
        )


def _format_in(data: bytes) -> int:
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        return PLAIN
    number = facts.get("format", PLAIN) if isinstance(facts, dict) else PLAIN
    return number if isinstance(number, int) and not isinstance(number, bool) else PLAIN
