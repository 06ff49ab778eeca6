"""What both ways to S3 share: when an answer is too slow, which proxy is on the way, and whom TLS trusts.

Light to import: a run that finds nothing new needs no more than this and the plain client.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import ConfigError

if TYPE_CHECKING:
    import ssl

#: What an exchange on a connection waits for: to read, or to write; as `selectors` numbers them.
READ, WRITE = 1, 2
#: Bytes a second that an answer must bring, over the time that a server may be silent; slower is taken for dead.
MIN_RATE = 256


class Progress:
    """Whether an answer makes progress: bytes against the time that was spent in waiting for them.

    Args:
        window_s: after so much waiting, at least MIN_RATE bytes a second of it must have come.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._waited_s = 0.0
        self._came = 0
        self._has_begun = False

    def note(self, size: int, waited_s: float) -> None:
        """Count a read.

        Raises:
            TimeoutError: too little has come.
        """
        if not self._has_begun:
            self._has_begun = True  # a server may think before it answers; the read timeout bounds that
            return
        self._came += size
        self._waited_s += waited_s
        if self._waited_s > self._window_s:
            if self._came < MIN_RATE * self._window_s:
                raise TimeoutError("the answer comes too slowly")
            self._waited_s, self._came = 0.0, 0


def proxy_of(url: str) -> urllib.parse.SplitResult | None:
    """The proxy on the way to `url`, by the usual variables (http_proxy, https_proxy, all_proxy, no_proxy)."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    parts = urllib.parse.urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def authorities(ca_bundle: str | None, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """The file of the authorities to trust, None for those of OpenSSL, and where they come from, for people.

    Args:
        ca_bundle: of the configuration.
    """
    if ca_bundle:
        return ca_bundle, f"{paths.escape(ca_bundle)} (ca_bundle)"
    if file := environment.get("AWS_CA_BUNDLE"):  # AWS SDK guide, "Service client TLS"
        return file, f"{paths.escape(file)} (AWS_CA_BUNDLE)"
    if file := environment.get("SSL_CERT_FILE"):
        return None, f"{paths.escape(file)} (SSL_CERT_FILE)"
    return None, "the authorities of the system"


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """What every TLS connection is checked by.

    Args:
        ca_bundle: file with the authorities to trust; None for those of the system, which OpenSSL looks for in
            SSL_CERT_FILE and SSL_CERT_DIR first.

    Raises:
        ConfigError: the file cannot be used.
    """
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as exc:  # of which ssl.SSLError is one
        raise ConfigError(
            f"the certificates in {paths.escape(str(ca_bundle))} cannot be used: {exc.strerror or exc}",
            hint="ca_bundle of [s3], or AWS_CA_BUNDLE, names a file with certificates in PEM format",
        ) from exc
