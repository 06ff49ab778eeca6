"""Bytes by key: what a backend is, and the values that it takes and gives.

A backend is one place, such as a bucket and a prefix, and its keys are relative to that place. It raises errors of
`core.errors` and no others, also while something that it returned is iterated. It may be used by several threads.

Who writes one gets all layouts of trees for it. What only some can do are protocols of their own, for which one asks by
`isinstance`: `ListsInParts`, `ListsVersions`, `ReadsParts`, `ServerSideCopy`, `UnfinishedUploads`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

#: A piece of a body; a view lends its memory, which is not copied.
Chunk = bytes | memoryview


class ListedObject(NamedTuple):
    """One object of a listing.

    Attributes:
        stored_ns: when it was stored, in ns since the epoch.
    """

    key: str
    size: int
    etag: str | None
    stored_ns: int | None = None


class ListedVersion(NamedTuple):
    """One version of an object, the current one or an earlier one.

    Attributes:
        version: its name, for `Backend.get` and its like; "null" of what was stored while none were kept.
        stored_ns: when it was stored, in ns since the epoch.
    """

    key: str
    version: str
    size: int
    etag: str | None
    stored_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What an object is and carries besides its bytes.

    Attributes:
        has_md5: whether its ETag may be an MD5 at all: not with KMS or customer keys.
        headers: Content-Type, Cache-Control and their like, by their HTTP names.
        metadata: the user's own, by name.
        tags: asked for only on demand.
    """

    size: int
    etag: str | None
    has_md5: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class GetRequest(NamedTuple):
    """An object that is wanted.

    Attributes:
        if_match: the ETag that it must have; None for any.
        limit: its size is no larger.
    """

    key: str
    if_match: str | None
    limit: int


class PartRequest(NamedTuple):
    """Some bytes of an object that are wanted.

    Attributes:
        start, size: the first of them, and how many.
    """

    key: str
    start: int
    size: int


class PutRequest(NamedTuple):
    """A small object that is to be written, whatever is there now.

    Attributes:
        sha256: of the data, where it is known already.
    """

    key: str
    data: Chunk
    sha256: str | None = None


class GetResult(NamedTuple):
    """An object that is being read: facts first, then `chunks` once.

    Attributes:
        stored_ns: tells when it was stored, in ns since the epoch.
    """

    size: int
    etag: str | None
    version: str | None
    stored_ns: Callable[[], int | None]
    chunks: Iterator[Chunk]


class PutResult(NamedTuple):
    """What a backend says of an object that was just written."""

    etag: str | None
    version: str | None


class Overwrite(NamedTuple):
    """Write whatever is there now."""


class Create(NamedTuple):
    """Write only where nothing is there."""


class Replace(NamedTuple):
    """Write only over the object that has this ETag."""

    etag: str


PutMode = Overwrite | Create | Replace
OVERWRITE = Overwrite()
CREATE = Create()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do.

    Attributes:
        conditional_put: whether `Create` and `Replace` are kept, as far as is known; False where the server has shown
            that it takes no condition. One that ignores them without a word is found out by who reads back.
        reads_back: whether a read shows what was written last, as S3 does, so that what is there proves who was last.
        metadata: whether an object keeps the headers and the metadata that it is put with.
        max_key_bytes: how long a key may be.
        small: how many bytes an object may have that `get_many` and `put_many` are asked for; 0 where they do nothing.
    """

    conditional_put: bool = True
    reads_back: bool = True
    metadata: bool = True
    max_key_bytes: int = 1024
    small: int = 0


class Backend(Protocol):
    """One place of bytes by key. Thread-safe."""

    @property
    def location(self) -> str:
        """Where it is, for people, and the same for the same place."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as far as is known by now."""
        ...

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """Every object below `prefix/`, or all with "", page by page, in any order: all of them or an error.

        Raises:
            StoreError: a page is not a listing, or the pages do not come to an end.
        """
        ...

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """What an object is and carries; its tags on demand.

        Raises:
            NotFound, AccessDenied, Unreachable, …
        """
        ...

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """Open an object for reading.

        Args:
            if_match: fail unless the object has this ETag; a server may ignore it, so compare `GetResult.etag` too.
            version: read this version instead of the current one.
            expected: its size as far as is known, which decides how it is read.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, Unreachable, …
        """
        ...

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """Read small objects, so many at the same time at most, on this thread.

        Args:
            requests: taken one by one, as there is room for them.

        Yields:
            Each with the number of its request, in the order in which they come; None for what `get` is to be asked.

        Raises:
            Unreachable: one of them failed too often.
        """
        ...

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """Write small objects, as `get_many` reads them; None for what `put` is to write."""
        ...

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """A whole small object and its ETag.

        Raises:
            StoreError: it is larger than `limit` bytes.
        """
        ...

    def put(
        self,
        key: str,
        chunks: Callable[[], Iterator[Chunk]],
        *,
        size: int,
        mode: PutMode = OVERWRITE,
        meta: ObjectMeta | None = None,
    ) -> PutResult:
        """Write an object; with bounded memory, however large it is.

        Args:
            chunks: the bytes from the start; may be called again.
            size: expected number of bytes.
            mode: what may be there before; other than `Overwrite` for small objects only.
            meta: headers, metadata and tags that the object gets.

        Raises:
            PreconditionFailed: something else is there than `mode` says. It may also be our own earlier attempt, the
                answer to which was lost; so read the object afterwards.
        """
        ...

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Delete objects; return why each of those that are still there is."""
        ...


@runtime_checkable
class ListsInParts(Protocol):
    """A backend whose long listing can be asked for in several parts at the same time."""

    def list_parts(self, bounds: Sequence[str]) -> Iterator[Sequence[ListedObject]]:
        """Every object of the place, as `Backend.list` has them.

        Args:
            bounds: keys in the order of a listing, between which its parts lie; they may be there or not.
        """
        ...


@runtime_checkable
class ListsVersions(Protocol):
    """A backend that may keep what was overwritten or deleted, as versions."""

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """Every version of all objects whose keys begin with `start`, page by page, those of a key newest first.

        Raises:
            Unsupported: there are none in this place.
            AccessDenied, Unreachable, …
        """
        ...


@runtime_checkable
class ReadsParts(Protocol):
    """A backend that reads parts of objects without the rest; see `parts.py` for all others."""

    def get_parts(self, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk | None]]:
        """Read parts of objects, so many at the same time at most, on this thread.

        Args:
            requests: taken one by one, as there is room for them.

        Yields:
            Each with the number of its request, in the order in which they come; None for what did not come as a part.

        Raises:
            Unreachable: one of them failed too often.
        """
        ...


@runtime_checkable
class ServerSideCopy(Protocol):
    """A backend that copies objects without their bytes coming here."""

    def copies_from(self, source: Backend) -> bool:
        """Tell whether it can take objects of `source` that way."""
        ...

    def copy(
        self,
        source: Backend,
        source_key: str,
        key: str,
        *,
        size: int,
        etag: str | None,
        version: str | None = None,
        progress: Callable[[int], None],
    ) -> PutResult:
        """Copy an object with all that it carries, if it still is the one that was listed.

        Args:
            size, etag: of the source, as it was listed.
            version: of the source to copy instead of the current one.
            progress: told of bytes that are copied.

        Raises:
            SourceChanged: it is gone, or another one by now.
        """
        ...


@runtime_checkable
class UnfinishedUploads(Protocol):
    """A backend that keeps the parts of uploads that were never finished."""

    def abort_uploads(self, *, keys: Collection[str] | None = None) -> None:
        """Abort the uploads that a dead run has left; they cost money and are never seen.

        Args:
            keys: only of these; None for all of the place.
        """
        ...


@runtime_checkable
class Wraps(Protocol):
    """A backend around another one; see `wrappers.py`."""

    inner: Backend


def unwrapped(backend: Backend) -> Backend:
    """The backend that all wrappers go around: what decides whether two of them belong together."""
    while isinstance(backend, Wraps):
        backend = backend.inner
    return backend
