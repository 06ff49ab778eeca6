"""Backends by the name of their class, or of an entry point, as a configuration gives it. A map can never name one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from s32s.backends.base import Backend
from s32s.core import paths
from s32s.core.errors import ConfigError

#: Entry points of packages that bring backends.
GROUP = "s32s.backends"
#: Types that need no package.
BUILT_IN = ("s3", "file", "fsspec")
_METHODS = ("list", "head", "get", "get_many", "read", "put", "put_many", "delete")


def open_backend(name: str, kind: str, options: Mapping[str, Any]) -> Backend:
    """Make the backend of a store.

    Args:
        name: of the store, for messages.
        kind: "package.module:Class", or the name of an entry point of the group `s32s.backends`.
        options: what the class is called with, by name.

    Raises:
        ConfigError: the class cannot be found, imported or made, or lacks a method, which is named.
    """
    where = f"the store {paths.quote(name)}"
    if ":" not in kind:
        kind = _offered(kind, where)
    module, _, attribute = kind.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(
            f"{where}: {kind} cannot be imported: {paths.escape(str(exc))}",
            hint="install its package into the environment of s32s, or correct type in [stores]",
        ) from exc
    if missing := [method for method in _METHODS if not callable(getattr(found, method, None))]:
        raise ConfigError(
            f"{where}: {kind} is not a backend: it lacks {', '.join(missing)}",
            hint="derive it from s32s.backends.simple.SimpleBackend; docs/own-backend.md has an example",
        )
    try:
        return cast("Backend", found(**options))
    except TypeError as exc:
        raise ConfigError(f"{where}: {kind} cannot be made of these options: {paths.escape(str(exc))}") from exc


def _offered(kind: str, where: str) -> str:
    """The class that an installed package offers under a name.

    Raises:
        ConfigError: none does.
    """
    from importlib.metadata import entry_points

    found = {point.name: point.value for point in entry_points(group=GROUP)}
    if kind not in found:
        known = ", ".join([*BUILT_IN, *sorted(found)])
        raise ConfigError(
            f"{where}: there is no type {paths.quote(kind)}",
            hint=f"write one of {known}, or package.module:Class; a package offers more by entry points of {GROUP}",
        )
    return found[kind]
