"""What goes wrong on the way to a server, as errors of ours."""

from __future__ import annotations

import errno
import os
import socket

from httptools import HttpParserError

from s32s.core import paths
from s32s.core.errors import ConfigError, S32sError, ServerDown, StoreError, Unreachable

_LATER = "check the endpoint and the network, and run it again"
CUT = "the connection was cut"
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
#: What a server that speaks TLS says to one who does not (RFC 8446, 5.1): the beginning of an alert.
TLS_ALERT = b"\x15\x03"


class TooMuch(StoreError):
    """An answer is larger than it may be."""


def told(host: str, trusted: str, exc: Exception, *, is_connected: bool = True) -> S32sError | None:
    """An exception of a connection as one of ours; None for what is none of its exceptions.

    Args:
        host: with its proxy, for people.
        trusted: what certificates were checked by, for people.
        is_connected: whether the server has answered at all, be it only to the connection.
    """
    if isinstance(exc, S32sError):
        return exc
    if not isinstance(exc, OSError):
        is_foreign = isinstance(exc, HttpParserError | ValueError)
        return unreachable(host, "what comes is not HTTP", hint="check the endpoint") if is_foreign else None
    if type(exc).__module__ == "ssl":
        return _of_tls(host, trusted, exc)
    if isinstance(exc, ConnectionRefusedError):
        return ServerDown(host, "connection refused")
    if isinstance(exc, socket.gaierror):
        return ServerDown(host, "the host name is not known")
    if isinstance(exc, TimeoutError):
        if not is_connected:
            return ServerDown(host, "no answer in time")
        return unreachable(host, str(exc) if "slowly" in str(exc) else "no answer in time")
    if isinstance(exc, ConnectionError):
        return unreachable(host, CUT)
    if exc.errno in _NO_WAY:
        return ServerDown(host, os.strerror(exc.errno).lower())
    return unreachable(host, exc.strerror or str(exc))


def unreachable(host: str, why: str, *, hint: str = "") -> Unreachable:
    """A request that failed for the moment."""
    return Unreachable(f"S3 at {host} could not be reached: {paths.escape(why)[:300]}", hint=hint or _LATER)


def speaks_tls(host: str) -> ConfigError:
    """The error that TLS is spoken where plain HTTP is configured."""
    return ConfigError(f"{host} speaks TLS", hint="write https:// in endpoint_url")


def _of_tls(host: str, trusted: str, exc: OSError) -> S32sError:
    import ssl

    if isinstance(exc, ssl.SSLCertVerificationError):
        return ConfigError(
            f"the certificate of {host} is not trusted: {exc.verify_message}",
            hint=f"it was checked by {trusted}; ca_bundle of [s3], AWS_CA_BUNDLE or SSL_CERT_FILE names the file of a "
            "private authority; the authorities that everybody trusts come with the package ca-certificates",
        )
    if isinstance(exc, ssl.SSLError) and exc.reason in _NOT_TLS:
        return ConfigError(f"{host} does not speak TLS", hint="write http:// in endpoint_url, or name the TLS port")
    return unreachable(host, CUT)
