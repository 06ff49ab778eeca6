"""Errors of remote file systems as errors of ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from s32s.core import paths
from s32s.core.errors import (
    AccessDenied,
    ConfigError,
    CredentialsError,
    NotFound,
    S32sError,
    StoreError,
    Unreachable,
)

#: Errors of the libraries, by the name of their class: importing them to name them would cost every run.
_MISSING = {"FileNotFoundError", "ResourceConflict", "ResourceNotFound"}
_DENIED = {"PermissionError", "ForbiddenOperation"}
_LOGIN = {"AuthenticationException", "PasswordRequiredException"}
_AWAY = {
    "ConnectionError",
    "EOFError",
    "InterruptedError",
    "NoValidConnectionsError",
    "ResourceLocked",
    "SSHException",
    "TimeoutError",
    "TransportError",
    "gaierror",
}


@contextlib.contextmanager
def translated(location: str, key: str) -> Iterator[None]:
    """Turn what the libraries raise in the block into ours.

    Args:
        location: of the place, for people.
    """
    where = f"{location}/{key}" if key else location
    try:
        yield
    except S32sError:
        raise
    except Exception as exc:
        kinds = {kind.__name__ for kind in type(exc).__mro__}
        status = getattr(getattr(exc, "response", None), "status_code", 0) or getattr(exc, "status_code", 0)
        why = paths.escape(re.sub(r"^\[Errno [^]]*\] ", "", str(exc).strip()).partition("\n")[0])[:300]
        why = why or type(exc).__name__
        # 409 to a PUT: its collection is not there, RFC 4918, 9.7.1.
        if kinds & _MISSING or status in (404, 409):
            raise NotFound(f"{where} does not exist") from exc
        if "BadHostKeyException" in kinds:
            raise ConfigError(
                f"{location} shows another host key than the one that is known: {why}",
                hint=f"somebody may be in between; after a new installation remove the old key: {_keygen(location)}",
            ) from exc
        if "not found in known_hosts" in why:
            raise ConfigError(
                f"the host key of {location} is not known",
                hint=f"compare it with the server's own and add it: {_keyscan(location)} >> ~/.ssh/known_hosts",
            ) from exc
        if kinds & _LOGIN or status == 401 or "No authentication methods" in why:  # an SSHException like any other
            raise CredentialsError(f"{location} does not let this user in: {why}") from exc
        if kinds & _DENIED or status == 403:
            raise AccessDenied(f"access to {where} is denied: {why}") from exc
        # 423: another request is at it, RFC 4918, 11.3; 507: the disk is full, and stays so.
        if kinds & _AWAY or status in (423, 429) or (status >= 500 and status != 507):
            raise Unreachable(f"{location} could not be reached: {why}") from exc
        raise StoreError(f"{where}: {why}") from exc


def _keyscan(location: str) -> str:
    parts = urlsplit(location)
    return f"ssh-keyscan -p {parts.port} {parts.hostname}" if parts.port else f"ssh-keyscan {parts.hostname}"


def _keygen(location: str) -> str:
    parts = urlsplit(location)
    return f"ssh-keygen -R '[{parts.hostname}]:{parts.port}'" if parts.port else f"ssh-keygen -R {parts.hostname}"
