"""Where bytes by key are: from a place as it is written to the backend that reaches it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from s32s.backends.base import Backend
from s32s.backends.s3.backend import S3Backend
from s32s.backends.s3.service import S3Service
from s32s.config.settings import S3Connection, StoreSettings
from s32s.config.settings_file import connection_with
from s32s.core import guards, paths
from s32s.core.errors import ConfigError, Refused, UsageError
from s32s.core.location import Directory, Location, RemotePath, S3Path, StorePath, parse_location, parse_remote
from s32s.core.text import closest
from s32s.format.head import HEAD_KEY

#: Of a request to a backend of one's own that fails for the moment.
_RETRIES = 8


class Services:
    """Opens places as bytes by key; what reaches them is opened once.

    Args:
        connection: the S3 of a place without a store.
        stores: those of the configuration, by name.
        attended: see `open_between`.

    Attributes:
        s3: that of a place without a store.
        on_wait: told when a request has failed for the moment.
    """

    def __init__(self, connection: S3Connection, stores: Mapping[str, StoreSettings], *, attended: bool) -> None:
        self._stores = stores
        self.on_wait: Callable[[str], None] = lambda text: None
        self._attended = attended
        self.s3 = self._opened(connection)
        self._own: dict[str, S3Service] = {}

    def backend(self, place: Location) -> Backend:
        """The place as bytes by key.

        Raises:
            ConfigError: there is no such store, or what the configuration says of it is wrong.
            UsageError: a store of type "s3" needs a bucket.
        """
        if isinstance(place, S3Path):
            return S3Backend(self.s3, place)
        if isinstance(place, Directory):
            raise AssertionError("a directory has no keys")
        if isinstance(place, RemotePath):
            return self._remote(place.url, {})
        settings = self._settings(place)
        if settings.type == "s3":
            return S3Backend(self._service(place.store), self._s3_path(place))
        if settings.type == "file":
            from s32s.backends.directory import DirectoryBackend

            return self._retrying(DirectoryBackend(_path_of(place.store, settings), place.prefix))
        options = settings.model_extra or {}
        if settings.type == "fsspec":
            rest = {name: value for name, value in options.items() if name != "url"}
            return self._remote(self._url(place), rest)
        return self._own_backend(place, settings.type, options)

    def overlap(self, one: Location, other: Location, *, by_name: bool = False) -> bool:
        """Whether one place is, or lies in, the other.

        Args:
            by_name: also where two places of S3 are reached by different addresses, which may be two names of one
                server; equal places do no harm to each other then.

        A store that the configuration lacks is known by its name alone.
        """
        mine, its = self._as_remote(one), self._as_remote(other)
        if mine is not None and its is not None:
            return mine.overlaps(its)
        if isinstance(one, Directory) or isinstance(other, Directory):
            both = isinstance(one, Directory) and isinstance(other, Directory)
            return both and paths.overlaps(os.path.realpath(str(one)), os.path.realpath(str(other)))
        here, there = self._as_s3(one), self._as_s3(other)
        if here is not None and there is not None:
            (server, path), (its_server, its_path) = here, there
            is_near = server == its_server or (by_name and path != its_path)
            return is_near and path.overlaps(its_path)
        if not (isinstance(one, StorePath) and isinstance(other, StorePath)) or one.store != other.store:
            return False
        return not one.prefix or not other.prefix or paths.overlaps(one.prefix, other.prefix)

    def check_target(self, place: Location, *, allow_system: bool) -> None:
        """Refuse what belongs to the system of an SFTP server.

        Raises:
            Refused: says how that can be lifted.
        """
        remote = self._as_remote(place)
        if allow_system or remote is None or not remote.url.startswith("sftp:") or remote.path.startswith("~"):
            return
        if problem := guards.target_problem(f"/{remote.path}".rstrip("/") or "/", allow_system=False):
            raise Refused(
                f"{remote} {problem.partition(';')[0]}",
                hint="name another directory; where the server shows a directory of its own as its top: "
                "--set allow_system=true",
            )

    def listen(self, on_wait: Callable[[str], None]) -> None:
        """Tell somebody else when a request has failed for the moment."""
        self.on_wait = on_wait

    def _as_s3(self, place: Location) -> tuple[str, S3Path] | None:
        """The server and the path of a place that S3 holds; None for another kind, and for one that is wrong."""
        if isinstance(place, S3Path):
            return self.s3.endpoint_url or "", place
        try:
            if isinstance(place, StorePath) and self._settings(place).type == "s3":
                return self._service(place.store).endpoint_url or "", self._s3_path(place)
        except (ConfigError, UsageError):
            return None  # which is told where it is opened
        return None

    def _as_remote(self, place: Location) -> RemotePath | None:
        """The URL of a place that a server of files holds; None for another kind, and for one that is wrong."""
        if isinstance(place, RemotePath):
            return place
        with contextlib.suppress(ConfigError, ValueError):  # which is told where it is opened
            if isinstance(place, StorePath) and self._settings(place).type == "fsspec":
                return parse_remote(self._url(place))
        return None

    def _url(self, place: StorePath) -> str:
        """The URL of a place in a store of type "fsspec"."""
        url = (self._stores[place.store].model_extra or {}).get("url")
        if not isinstance(url, str):
            raise ConfigError(f"the store {place.store} needs the URL of a directory: url")
        return f"{url.rstrip('/')}/{quote(place.prefix)}".rstrip("/")

    def _settings(self, place: StorePath) -> StoreSettings:
        if place.store not in self._stores:
            near = closest(place.store, self._stores)
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError(
                f"{place}: this machine's configuration has no store {paths.quote(place.store)}{hint}",
                hint=f"add the table [stores.{place.store}]",
            )
        return self._stores[place.store]

    def _service(self, store: str) -> S3Service:
        if store not in self._own:
            options = self._stores[store].model_extra or {}
            self._own[store] = self._opened(connection_with(S3Connection(), options))
        return self._own[store]

    def _s3_path(self, place: StorePath) -> S3Path:
        try:
            return S3Path.parse(place.prefix)
        except ValueError as exc:
            raise UsageError(f"{place}: {exc}", hint=f"write {place.store}:bucket/prefix") from exc

    def _remote(self, url: str, options: Mapping[str, Any]) -> Backend:
        from s32s.backends.remote.backend import RemoteBackend

        return self._retrying(RemoteBackend(url, **options))

    def _own_backend(self, place: StorePath, kind: str, options: Mapping[str, Any]) -> Backend:
        from s32s.backends.below import Below
        from s32s.backends.own import Own
        from s32s.backends.registry import open_backend

        opened = open_backend(place.store, kind, options)
        backend = self._retrying(Own(opened, type(opened).__qualname__))
        return Below(backend, place.prefix) if place.prefix else backend

    def _retrying(self, backend: Backend) -> Backend:
        from s32s.backends.retry import RetryPolicy
        from s32s.backends.retrying import Retrying

        policy = RetryPolicy(_RETRIES)
        policy.on_wait, policy.is_attended = self._waits, self._attended
        return Retrying(backend, policy)

    def _waits(self, text: str) -> None:
        self.on_wait(text)

    def _opened(self, connection: S3Connection) -> S3Service:
        service = S3Service(connection)
        service.listen(self._waits)
        if self._attended:
            service.attend()
        return service


def directory_of(place: Location, stores: Mapping[str, StoreSettings]) -> Location:
    """A place in a store of type "file" as the directory that it is; one that holds a published prefix stays that.

    Raises:
        ValueError: the store names none.
    """
    if not isinstance(place, StorePath) or stores[place.store].type != "file":
        return place
    try:
        root = _path_of(place.store, stores[place.store])
    except ConfigError as exc:
        raise ValueError(exc.what) from exc
    directory = f"{root}/{place.prefix}"
    if os.path.isfile(f"{directory}/{HEAD_KEY}"):
        return place
    return parse_location(directory, at="/")


def named(place: str, stores: Mapping[str, StoreSettings]) -> str:
    """A place as an entry names it: the path of one in a store of type "file" is that of its directory."""
    for name, settings in stores.items():
        if settings.type == "file" and place.startswith(root := f"{_path_of(name, settings)}/"):
            return f"{name}:{place.removeprefix(root)}"
    return place


def _path_of(store: str, settings: StoreSettings) -> str:
    """The directory of a store of type "file".

    Raises:
        ConfigError: it names none.
    """
    root = (settings.model_extra or {}).get("path")
    if not isinstance(root, str) or not root.startswith("/") or ".." in root.split("/"):
        raise ConfigError(f"the store {store} needs the absolute path of a directory: path")
    return root.rstrip("/") or "/"
