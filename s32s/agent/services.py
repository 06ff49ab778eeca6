"""Where bytes by key are: from a place as it is written to the backend that reaches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from s32s.backends.base import Backend
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.config.settings import S3Connection, StoreSettings
from s32s.config.settings_file import connection_with
from s32s.core.errors import UsageError
from s32s.core.location import Directory, Location, S3Path, StorePath

#: Of a request to a backend of one's own that fails for the moment.
_RETRIES = 8


class Services:
    """Opens places as bytes by key; what reaches them is opened once.

    Args:
        connection: the S3 of a place without a store.
        stores: those of the configuration, by name.
        attended: see `run_between`.

    Attributes:
        on_wait: told when a request has failed for the moment.
    """

    def __init__(
        self,
        connection: S3Connection,
        stores: Mapping[str, StoreSettings],
        *,
        attended: bool,
    ) -> None:
        self._stores = stores
        self.on_wait: Callable[[str], None] = lambda text: None
        self._attended = attended
        self._s3 = self._opened(connection)
        self._own: dict[str, S3Service] = {}

    def backend(self, place: Location) -> Backend:
        """The place as bytes by key.

        Raises:
            ConfigError: what the configuration says of its store is wrong.
            UsageError: a store of type "s3" needs a bucket.
        """
        if isinstance(place, S3Path):
            return S3Backend(self._s3, place)
        if isinstance(place, Directory):
            raise AssertionError("a directory has no keys")
        settings = self._stores[place.store]
        options = settings.model_extra or {}
        if settings.type == "s3":
            if place.store not in self._own:
                self._own[place.store] = self._opened(connection_with(S3Connection(), options))
            try:
                return S3Backend(self._own[place.store], S3Path.parse(place.prefix))
            except ValueError as exc:
                raise UsageError(f"{place}: {exc}", hint=f"write {place.store}:bucket/prefix") from exc
        return self._own_backend(place, settings.type, options)

    def _own_backend(self, place: StorePath, kind: str, options: Mapping[str, Any]) -> Backend:
        from s32s.backends.below import Below
        from s32s.backends.registry import open_backend
        from s32s.backends.retry import RetryPolicy
        from s32s.backends.retrying import Retrying

        policy = RetryPolicy(_RETRIES)
        policy.on_wait, policy.is_attended = self._waits, self._attended
        backend = Retrying(open_backend(place.store, kind, options), policy)
        return Below(backend, place.prefix) if place.prefix else backend

    def _waits(self, text: str) -> None:
        self.on_wait(text)

    def _opened(self, connection: S3Connection) -> S3Service:
        service = S3Service(connection)
        service.listen(self._waits)
        if self._attended:
            service.attend()
        return service
