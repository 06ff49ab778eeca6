"""Blobs as they come from packs: parts that stand close together in one request, some requests at a time."""

from __future__ import annotations

import collections
import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from s32s.backends.base import Backend, Chunk, PartRequest, PutResult
from s32s.backends.parts import read_parts
from s32s.core import cures, paths
from s32s.core.errors import IntegrityError, NotFound, S32sError
from s32s.core.item import Item
from s32s.format import packs
from s32s.format.packs import FOOTER_SIZE, MAX_PACK, Blob, Decoder, Span
from s32s.format.segments import ChunkPlace, Place, Where
from s32s.stores.base import Progress
from s32s.stores.objects.packed.chunker import SMALL, chunks_of
from s32s.system import file_bytes
from s32s.system.concurrency import Future

#: Bytes that nobody wants are cheaper than another request as long as they come in the time that one takes.
GAP = 256 * 1024
#: How many bytes one request brings at most by joining; and how many requests are under way.
SPAN = 8 * 1024 * 1024
_AT_ONCE = 8
#: The index of a pack of small files is in its last bytes; a longer one costs another request.
TAIL = 256 * 1024
#: Of one large file.
_AHEAD = 4


#: What each thread unpacks with.
_local = threading.local()

#: What becomes of an error that says that a pack is not there, and the paths that it may hit.
Gone = Callable[[NotFound, Sequence[str]], S32sError]


class Wanted(NamedTuple):
    """A blob that is wanted."""

    place: Place
    size: int
    sha256: bytes


def read_blobs(backend: Backend, wanted: Sequence[Wanted], *, jobs: int) -> Iterator[tuple[int, Chunk]]:
    """Blobs as they come, each with its number.

    Raises:
        IntegrityError: a pack is damaged.
        NotFound: a pack is gone.
    """
    decoder = Decoder()
    for span, data in read_spans(backend, [one.place for one in wanted], jobs=jobs):
        for number in span.members:
            place, size, sha256 = wanted[number]
            yield number, decoder.decode(part(span, data, place), size=size, sha256=sha256, pack=place.pack)


def read_spans(backend: Backend, places: Sequence[Place], *, jobs: int) -> Iterator[tuple[Span, memoryview]]:
    """The parts of packs that hold some places, each once."""
    wanted = ((number, at.pack, at.offset, at.offset + at.stored) for number, at in enumerate(places))
    joined = list(packs.spans(wanted, gap=GAP, most=SPAN))
    requests = (PartRequest(packs.key_of(span.pack), span.start, span.end - span.start) for span in joined)
    for number, data in read_parts(backend, requests, concurrency=min(jobs, _AT_ONCE)):
        yield joined[number], memoryview(data)


def part(span: Span, data: memoryview, place: Place) -> memoryview:
    """The bytes of a place, out of a span that holds it."""
    start = place.offset - span.start
    return data[start : start + place.stored]


def index_of(backend: Backend, pack: str, size: int) -> list[Blob]:
    """The blobs of a pack, by its end alone.

    Raises:
        IntegrityError: it is not a pack.
        NotFound: it is gone.
    """
    if size < FOOTER_SIZE or size > MAX_PACK:
        raise packs.damaged(pack, "it has an impossible length")
    tail = _tail(backend, pack, size, min(size, TAIL))
    needed = packs.index_size(tail, pack)
    if needed > len(tail):
        tail = _tail(backend, pack, size, min(size, needed))
    return packs.read_index(tail, pack, size=size)


def _tail(backend: Backend, pack: str, size: int, length: int) -> bytes:
    request = PartRequest(packs.key_of(pack), size - length, length)
    ((_, data),) = read_parts(backend, [request], concurrency=1)
    return bytes(data)


class PackedBody:
    """The bytes of one file; see `stores.base.Body`.

    Who stages a file compares its SHA-256, so blobs are looked at only when it is read a second time: then the
    error names the pack.

    Args:
        gone: makes an error of one that says that a pack is not there.
        stored: the file's only blob, as it has come already; the first reading takes it.
    """

    def __init__(
        self, backend: Backend, item: Item, where: Where | None, gone: Gone, stored: memoryview | None = None
    ) -> None:
        self.item = item
        self._backend = backend
        self._gone = gone
        self._where = where
        self._stored = stored
        self._is_first = True
        self._open_nearby: Callable[[], int | None] | None = None

    def chunks(self) -> Iterator[Chunk]:
        """See `stores.base.Body`."""
        is_first, self._is_first = self._is_first, False
        stored, self._stored = self._stored, None
        try:
            if self._where is None:
                return
            if isinstance(self._where, Place):
                whole = ChunkPlace(self._where, self.item.size, bytes.fromhex(self.item.sha256 or ""))
                if stored is None:
                    (stored,) = self._fetch([whole])
                yield _decoded(whole, stored, is_first)
            elif is_first and self._open_nearby is not None and (fd := self._open_nearby()) is not None:
                try:
                    yield from self._patched(self._where, fd)
                finally:
                    os.close(fd)
            else:
                for chunk, data in zip(self._where, self._fetch(self._where), strict=True):
                    yield _decoded(chunk, data, is_first)
        except IntegrityError as exc:
            exc.paths = exc.paths or (self.item.path,)
            exc.what = f"{paths.quote(self.item.path)}: {exc.what}"
            raise
        except NotFound as exc:
            raise self._gone(exc, [self.item.path]) from exc

    def take_nearby(self, open_nearby: Callable[[], int | None]) -> None:
        """See `stores.base.TakesNearby`: of a large file that has changed, most chunks are here already."""
        self._open_nearby = open_nearby

    def _patched(self, chunks: Sequence[ChunkPlace], fd: int) -> Iterator[Chunk]:
        """The chunks of the file: those that another one has, from there, and only the others from packs."""
        known = _chunks_in(fd)
        others = [chunk for chunk in chunks if chunk.sha256 not in known]
        fetched = (_decoded(chunk, data, True) for chunk, data in zip(others, self._fetch(others), strict=True))
        for chunk in chunks:
            if (at := known.get(chunk.sha256)) is not None:
                yield os.pread(fd, chunk.size, at)
            else:
                yield next(fetched)

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """See `stores.base.Body`; what is in a pack is not an object."""
        return None

    def _fetch(self, chunks: Sequence[ChunkPlace]) -> Iterator[memoryview]:
        """The stored bytes of some chunks, in order; runs of them that stand together come in one piece, some ahead."""
        runs = list(_runs(chunks))
        ahead: collections.deque[Future[memoryview]] = collections.deque()
        left = iter(runs)
        for run in runs:
            for following in itertools.islice(left, _AHEAD - len(ahead)):
                ahead.append(Future(lambda following=following: self._read(following)))  # type: ignore[misc] # bound now
            data = ahead.popleft().result()
            first = run[0].place.offset
            for place, _, _ in run:
                yield data[place.offset - first : place.offset - first + place.stored]

    def _read(self, run: Sequence[ChunkPlace]) -> memoryview:
        first, last = run[0].place, run[-1].place
        request = PartRequest(packs.key_of(first.pack), first.offset, last.offset + last.stored - first.offset)
        ((_, data),) = read_parts(self._backend, [request], concurrency=1)
        return memoryview(data)


def _decoded(chunk: ChunkPlace, stored: Chunk, is_first: bool) -> Chunk:
    if not hasattr(_local, "decoder"):
        _local.decoder = Decoder()
    decoder: Decoder = _local.decoder
    return decoder.decode(stored, size=chunk.size, sha256=None if is_first else chunk.sha256, pack=chunk.place.pack)


def _chunks_in(fd: int) -> dict[bytes, int]:
    """The offset of each chunk of a file, by its SHA-256; of a file that is one chunk, nothing."""
    found: dict[bytes, int] = {}
    if os.fstat(fd).st_size <= SMALL:
        return found
    at = 0
    for chunk in chunks_of(file_bytes.read_chunks(fd)):
        found.setdefault(hashlib.sha256(chunk).digest(), at)
        at += len(chunk)
    return found


def _runs(chunks: Sequence[ChunkPlace]) -> Iterator[list[ChunkPlace]]:
    """Chunks that follow each other in one pack, together as long as a request should bring."""
    run: list[ChunkPlace] = []
    size = 0
    for chunk in chunks:
        place = chunk.place
        if run:
            last = run[-1].place
            follows = last.pack == place.pack and last.offset + last.stored == place.offset
            if not follows or size + place.stored > SPAN:
                yield run
                run, size = [], 0
        run.append(chunk)
        size += place.stored
    if run:
        yield run


def bodies_of(
    backend: Backend, items: Sequence[Item], where: Sequence[Where | None], *, jobs: int, gone: Gone
) -> Iterator[PackedBody]:
    """The bytes of files: those of one blob as their packs come, large ones first, since they take longest.

    Args:
        gone: see `PackedBody`.
    """
    small: list[int] = []
    for number, item in enumerate(items):
        if isinstance(where[number], Place):
            small.append(number)
        else:
            yield PackedBody(backend, item, where[number], gone)
    places = [at for number in small if isinstance(at := where[number], Place)]
    try:
        for span, data in read_spans(backend, places, jobs=jobs):
            for member in span.members:
                number = small[member]
                yield PackedBody(backend, items[number], where[number], gone, part(span, data, places[member]))
    except NotFound as exc:
        raise gone(exc, [items[number].path for number in small]) from exc
    except IntegrityError as exc:  # a pack is shorter than it should be
        hit = [
            items[number].path for number, at in zip(small, places, strict=True) if packs.key_of(at.pack) in exc.what
        ]
        exc.paths = exc.paths or tuple(hit)
        exc.what = f"{paths.some(hit)}: {exc.what}"
        exc.hint = exc.hint or cures.HEAL
        raise
