"""What a backend of one's own need not write itself: derive from `SimpleBackend`, and five methods are left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from s32s.backends.base import Capabilities, GetRequest, GetResult, PutRequest, PutResult
from s32s.core.errors import StoreError


class SimpleBackend:
    """A backend that reads whole small objects and many of them by its own `get`.

    What is left to write: `location`, `list`, `head`, `get`, `put` and `delete`, see `Backend`.
    """

    location: str
    capabilities = Capabilities()

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        raise NotImplementedError

    def get_many(self, requests: Iterable[GetRequest], *, concurrency: int) -> Iterator[tuple[int, GetResult | None]]:
        """See `Backend`: each is to be asked for alone."""
        return ((number, None) for number, _ in enumerate(requests))

    def put_many(self, requests: Iterable[PutRequest], *, concurrency: int) -> Iterator[tuple[int, PutResult | None]]:
        """See `Backend`: each is to be written alone."""
        return ((number, None) for number, _ in enumerate(requests))

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        got = self.get(key)
        if got.size > limit:
            raise StoreError(f"{self.location}/{key} has {got.size:,} bytes, which is more than it should have")
        return b"".join(got.chunks), got.etag
