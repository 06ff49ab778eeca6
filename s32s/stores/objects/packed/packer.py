"""Packs on their way up: blobs go in, and full packs are written while the next one is being filled."""

from __future__ import annotations

import collections
import functools
import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple

from s32s.backends.base import Backend, PutRequest
from s32s.format import packs
from s32s.format.packs import PACK_SIZE, BlobKind, Encoded, PackBuilder
from s32s.format.segments import Place
from s32s.system.concurrency import Future

#: How many packs are on their way at the same time: as many bytes as a line of 100 MB/s holds in half a second.
_UNDER_WAY = 4


class Ticket(NamedTuple):
    """A blob that has been handed in; its pack has a name when it is full."""

    filling: _Filling
    offset: int
    stored: int

    @property
    def place(self) -> Place:
        """Where the blob is, once its pack is closed."""
        return Place(self.filling.name, self.offset, self.stored)


class _Filling:
    """A pack and, once it is closed, its name."""

    def __init__(self) -> None:
        self.builder = PackBuilder()
        self.name = ""


class Packer:
    """Fills packs of one kind of blobs and writes them. Thread-safe.

    Args:
        kind: of blobs of which nothing else is said.
        note: told the name and the bytes of each pack that is about to be written.
    """

    def __init__(
        self, backend: Backend, kind: BlobKind, *, note: Callable[[tuple[str, int]], None] = lambda pack: None
    ) -> None:
        self._note = note
        self._backend = backend
        self._kind = kind
        self._filling = _Filling()
        self._guard = threading.Lock()
        self._under_way: collections.deque[Future[None]] = collections.deque()
        #: Bytes of each pack that was closed, by its name.
        self.written: dict[str, int] = {}

    def add(self, blob: Encoded, kind: BlobKind | None = None) -> Ticket:
        """Hand a blob in.

        Raises:
            StoreError, Unreachable: a pack before it could not be written.
        """
        with self._guard:
            filling = self._filling
            offset = filling.builder.add(blob, kind or self._kind)
            ticket = Ticket(filling, offset, len(blob.data))
            if filling.builder.size >= PACK_SIZE:
                self._close()
            return ticket

    def finish(self) -> None:
        """Close the last pack, and wait until all are there.

        Raises:
            StoreError, Unreachable: one could not be written.
        """
        with self._guard:
            if len(self._filling.builder):
                self._close()
            while self._under_way:
                self._under_way.popleft().result()

    def _close(self) -> None:
        filling, self._filling = self._filling, _Filling()
        # Blobs are on their way in other packs meanwhile; who waits here is who would fill memory.
        while len(self._under_way) >= _UNDER_WAY:
            self._under_way.popleft().result()
        filling.name, data = filling.builder.finish(secrets.token_bytes(16))
        filling.builder = PackBuilder()
        self.written[filling.name] = len(data)
        self._note((filling.name, len(data)))
        self._under_way.append(Future(functools.partial(self._write, filling.name, data)))

    def _write(self, name: str, data: bytes) -> None:
        """Write a pack in one request, where the backend can: parts would be more of them."""
        request = PutRequest(packs.key_of(name), data, name)
        ((_, stored),) = self._backend.put_many([request], concurrency=1)
        if stored is None:
            self._backend.put(request.key, lambda: iter([data]), size=len(data))
