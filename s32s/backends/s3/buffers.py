"""Memory for large pieces of bodies, used again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Buffers:
    """Memory that is handed out as long as somebody works with it, and used again once nobody looks at it.

    The kernel clears each page of fresh memory before the bytes arrive in it, which costs a third of what moving them
    over loopback does. Thread-safe.

    Args:
        size: how many bytes a piece has.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._guard = threading.Lock()
        self._known: list[bytearray] = []
        self._users = 0

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """As long as one of these blocks lasts memory is kept; after the last one it goes back to the system."""
        with self._guard:
            self._users += 1
        try:
            yield
        finally:
            with self._guard:
                self._users -= 1
                if not self._users:
                    self._known.clear()

    def room(self) -> memoryview:
        """Writable memory that nobody else looks at; it is free again when the last view of it has gone."""
        with self._guard:
            for buffer in self._known:
                try:
                    buffer.append(0)  # a bytearray refuses to change its size while there is a view of it
                except BufferError:
                    continue
                buffer.pop()
                break
            else:
                buffer = bytearray(self._size)
                if self._users:
                    self._known.append(buffer)
            return memoryview(buffer)
