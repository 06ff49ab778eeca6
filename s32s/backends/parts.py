"""Parts of objects, from any backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from s32s.backends.base import Backend, Chunk, PartRequest, ReadsParts
from s32s.core.errors import IntegrityError


def read_parts(backend: Backend, requests: Iterable[PartRequest], *, concurrency: int) -> Iterator[tuple[int, Chunk]]:
    """Read parts of objects; one that cannot read a part reads the object up to its end.

    Args:
        concurrency: how many may be under way.

    Yields:
        The bytes of each, with the number of its request, in the order in which they come.

    Raises:
        IntegrityError: an object ends before its part does.
        NotFound, AccessDenied, Unreachable, …
    """
    under_way: dict[int, PartRequest] = {}

    def noted() -> Iterator[PartRequest]:
        for number, request in enumerate(requests):
            under_way[number] = request
            yield request

    if isinstance(backend, ReadsParts):
        for number, data in backend.get_parts(noted(), concurrency=concurrency):
            request = under_way.pop(number)
            if data is None or len(data) != request.size:
                data = read_part(backend, request)
            yield number, data
        return
    for number, request in enumerate(requests):
        yield number, read_part(backend, request)


def read_part(backend: Backend, request: PartRequest) -> bytes:
    """A part of an object, by reading the object up to its end.

    Raises:
        IntegrityError: the object ends before that.
        NotFound, AccessDenied, Unreachable, …
    """
    end, at, pieces = request.start + request.size, 0, []
    for chunk in backend.get(request.key).chunks:
        piece = memoryview(chunk)[max(request.start - at, 0) : max(end - at, 0)]
        if len(piece):
            pieces.append(bytes(piece))
        at += len(chunk)
        if at >= end:
            break
    data = b"".join(pieces)
    if len(data) != request.size:
        raise IntegrityError(f"{backend.location}/{request.key} has {at:,} bytes, and more were expected")
    return data
