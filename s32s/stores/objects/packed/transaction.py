"""A push in packs: content goes into packs, then the changed segments and the root, then the head moves.

Nothing that is there is ever changed, so no claim is needed: readers see nothing before the head moves, and of two
masters one finds that the head is not the one it has read. What the other one has written is garbage.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from s32s.backends.base import Backend
from s32s.core.columns import Columns
from s32s.core.errors import IntegrityError, NotFound, S32sError
from s32s.core.item import Item, Kind, only_directories
from s32s.core.plan import Plan
from s32s.core.tree import Tree, join
from s32s.format import packs, segments
from s32s.format.packs import BlobKind, Encoder
from s32s.format.segments import ChunkPlace, Place, Places, Where
from s32s.stores.base import Body, Progress, Published
from s32s.stores.objects.packed.blobs import index_of
from s32s.stores.objects.packed.chunker import SMALL, chunks_of
from s32s.stores.objects.packed.packer import Packer, Ticket
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import Counts, History, Publication, warn_of_left
from s32s.stores.objects.packed.repack import repacked
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.transaction import bounded, steadily


class _Chunk(NamedTuple):
    ticket: Ticket | Place
    size: int
    sha256: bytes

    @property
    def place(self) -> Place:
        return self.ticket.place if isinstance(self.ticket, Ticket) else self.ticket


class Known:
    """Content that is in the packs already, by its SHA-256; made when it is asked for first.

    Args:
        left: blobs that pushes which died have brought.
    """

    def __init__(self, snapshot: PackedSnapshot, left: Mapping[bytes, Place]) -> None:
        self._snapshot = snapshot
        self._left = left

    def file(self, sha256: bytes) -> Where | None:
        """Where all of a file is, by the SHA-256 of its bytes."""
        row = self._snapshot.tree.content_row(sha256)
        return self._snapshot.places.get(row) if row is not None else self._blob(sha256)

    def find(self, sha256: bytes) -> Place | None:
        """Where a blob is: a file of one blob, or a chunk."""
        where = self.file(sha256)
        return where if isinstance(where, Place) else self._blob(sha256)

    def _blob(self, sha256: bytes) -> Place | None:
        return self._chunks.get(sha256) or self._left.get(sha256)

    @functools.cached_property
    def _chunks(self) -> Mapping[bytes, Place]:
        return {chunk.sha256: chunk.place for chunk in self._snapshot.places.chunks()}


class PackedTransaction:
    """A push in packs; see `stores.base.Transaction`."""

    is_staged = True
    takes_objects = False
    small = SMALL

    def __init__(
        self,
        prefix: PackedPrefix,
        plan: Plan,
        mine: PackedSnapshot,
        writer: Writer,
        history: History,
        *,
        is_strict: bool = False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._warn = warn
        self._prefix = prefix
        self._backend: Backend = prefix.backend
        self._plan = plan
        self._mine = mine
        self._left: dict[str, int] = {}
        self._known = Known(mine, self._left_over())
        cache, place = prefix.cache, prefix.backend.location
        self._data = Packer(self._backend, BlobKind.DATA, note=lambda pack: cache.note(place, pack))
        self._publication = Publication(prefix, mine, writer, history, is_strict=is_strict)
        self._came: dict[str, tuple[Item, Sequence[_Chunk]]] = {}
        self._guard = threading.Lock()
        self._brought = threading.Condition()
        #: What this push has brought, by SHA-256; None for what a thread is just at.
        self._twins: dict[bytes, _Chunk | None] = {}
        self._local = threading.local()
        self.wanted: Sequence[Item] = tuple(self._without_known())

    def _without_known(self) -> Iterator[Item]:
        """The items whose bytes must be read; others are in the packs already, by their hashes."""
        for put in self._plan.puts:
            item = put.item
            if item.kind is not Kind.FILE:
                self._came[item.path] = item, ()  # a file may have been there, and its place goes with it
            if not put.needs_bytes:
                continue
            if item.sha256 and item.size and (where := self._known.file(bytes.fromhex(item.sha256))) is not None:
                chunks = [_Chunk(where, item.size, b"")] if isinstance(where, Place) else _as_chunks(where)
                self._came[item.path] = item, chunks
                continue
            yield item

    def _left_over(self) -> dict[bytes, Place]:
        """Blobs of packs that pushes of this machine have written which died: they need not be sent again."""
        named = {pack.pack for pack in self._mine.root.packs} if self._mine.root else set()
        blobs: dict[bytes, Place] = {}
        for pack, size in self._prefix.cache.unfinished(self._backend.location).items():
            if pack in named:
                continue
            with contextlib.suppress(IntegrityError, NotFound):
                for blob in index_of(self._backend, pack, size):
                    if blob.kind is BlobKind.DATA:
                        blobs[blob.sha256] = Place(pack, blob.offset, blob.stored)
                self._left[pack] = size
        return blobs

    def put(self, body: Body, progress: Progress) -> None:
        """Bring one file: in chunks that are cut by what it holds, but for those that are in the packs already."""

        def read() -> list[_Chunk]:
            def pieces() -> Iterator[packs.Chunk]:
                for piece in body.chunks():
                    progress(len(piece))
                    yield piece

            return [self._chunk(chunk) for chunk in chunks_of(pieces())]

        chunks = steadily(body, read)
        self._note(body.item, chunks)

    def put_many(
        self, bodies: Iterator[Body], progress: Progress, *, jobs: int
    ) -> Iterator[tuple[Body, S32sError | None]]:
        """Bring small files, each as one blob."""
        for body in bodies:
            try:
                data = steadily(body, functools.partial(bounded, body, SMALL))
                if data is None:
                    self.put(body, progress)
                else:
                    progress(len(data))
                    self._note(body.item, [self._chunk(data)] if data else [])
            except S32sError as exc:
                yield body, exc
            else:
                yield body, None

    def publish(self) -> Published:
        """Close the packs, write what has changed of the manifest, and move the head.

        Raises:
            Conflict: somebody else has published meanwhile.
        """
        self._data.finish()
        published, places = self._published()
        used = places.used()
        places, moved = repacked(self._backend, published, places, used, self._mine.root, self._data)
        changed = {put.item.path for put in self._plan.puts} | {item.path for item in self._plan.extras} | set(moved)
        written = {**self._left, **self._data.written}
        position = self._publication.publish(
            published,
            places,
            used=places.used() if moved else used,
            written=written,
            counts=self._counts(),
            changed=sorted(changed),
        )
        self._prefix.cache.note(self._backend.location, None)
        return Published(position)

    def sweep(self) -> None:
        """See `Publication.sweep`."""
        warn_of_left(self._publication.sweep(), self._warn)

    @property
    def left(self) -> PackedSnapshot | None:
        """What the prefix holds after it."""
        return self._publication.left

    def _chunk(self, data: packs.Chunk) -> _Chunk:
        sha256 = hashlib.sha256(data).digest()
        if (place := self._known.find(sha256)) is not None:
            return _Chunk(place, len(data), sha256)
        with self._brought:
            while sha256 in self._twins:
                if (twin := self._twins[sha256]) is not None:
                    return twin
                self._brought.wait()  # another thread is just at the same content
            self._twins[sha256] = None
        made: _Chunk | None = None
        try:
            made = _Chunk(self._data.add(self._encoder.encode(_owned(data), sha256)), len(data), sha256)
            return made
        finally:
            with self._brought:
                if made is None:
                    del self._twins[sha256]
                else:
                    self._twins[sha256] = made
                self._brought.notify_all()

    @property
    def _encoder(self) -> Encoder:
        if not hasattr(self._local, "encoder"):
            self._local.encoder = Encoder()
        encoder: Encoder = self._local.encoder
        return encoder

    def _note(self, item: Item, chunks: Sequence[_Chunk]) -> None:
        with self._guard:
            self._came[item.path] = item, chunks

    def _published(self) -> tuple[Tree, Places]:
        """What the prefix is to hold, and where each of its files is."""
        columns = Columns()
        for put in self._plan.puts:
            item = put.item
            if item.path in self._came:
                item = self._came[item.path][0]
            elif item.kind is Kind.FILE and put.old is not None:
                item = item._replace(sha256=item.sha256 or put.old.sha256)
            if item.kind is Kind.FILE and item.sha256 and item.mode is not None and not item.changed:
                mode, sha256 = item.mode & 0o777, bytes.fromhex(item.sha256)
                columns.append(item.path, item.size, item.mtime_ns, mode, sha256)
            else:
                columns.add(segments.as_read(item))
        published = self._mine.tree.with_columns([item.path for item in self._plan.extras], columns)
        return published, self._places(published)

    def _places(self, published: Tree) -> Places:
        """Where the files are: in long runs as before, else where they came to."""
        before, places = self._mine.places, Places(self._mine.places.packs)
        paths = published.paths
        for row, old, count in join(paths, self._mine.tree.paths):
            if row is None:
                continue
            names = paths[row : row + count]
            if old is not None and self._came.keys().isdisjoint(names):
                places.extend(before, old, old + count)
                continue
            for nth, path in enumerate(names):
                if path in self._came:
                    places.add(self._came_to(path))
                elif old is not None:
                    places.extend(before, old + nth, old + nth + 1)
                else:
                    places.add(None)
        return places

    def _came_to(self, path: str) -> Where | None:
        _, chunks = self._came[path]
        if not chunks:
            return None
        if len(chunks) == 1:
            return chunks[0].place
        return tuple(ChunkPlace(chunk.place, chunk.size, chunk.sha256) for chunk in chunks)

    def _counts(self) -> Counts:
        puts = [put for put in self._plan.puts if not only_directories(put.item, put.old)]
        new = sum(put.old is None for put in puts)
        return Counts(new, len(puts) - new, self._plan.deletions)


def _as_chunks(where: Sequence[ChunkPlace]) -> list[_Chunk]:
    return [_Chunk(chunk.place, chunk.size, chunk.sha256) for chunk in where]


def _owned(data: packs.Chunk) -> packs.Chunk:
    """Bytes that stay as they are; a view lends memory that is about to be used again."""
    return bytes(data) if isinstance(data, memoryview) else data
