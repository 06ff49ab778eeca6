"""Signatures of plain GETs: AWS Signature Version 4 (S3 API, "Authenticating Requests", Authorization header).

Only what a GET needs. All other requests are signed by the libraries that make them.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import NamedTuple

_NO_BODY = hashlib.sha256(b"").hexdigest()


class Keys(NamedTuple):
    """Credentials of one moment."""

    access: str
    secret: str
    token: str | None = None


class Signer:
    """Signs for one host and region. Thread-safe.

    Args:
        host: as it stands in the Host header.
    """

    def __init__(self, host: str, region: str) -> None:
        self._host = host
        self._region = region
        self._key: tuple[Keys, str, bytes] | None = None

    def headers(self, path: str, keys: Keys, *, query: str = "", now_s: float | None = None) -> str:
        """The header lines of a GET of `path`, Host and Authorization among them.

        Args:
            path: as it is sent, percent-encoded.
            query: the same, its fields in the order of their names.
            now_s: seconds since the epoch; None for now.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        day = moment[:8]
        signed = [("host", self._host), ("x-amz-content-sha256", _NO_BODY), ("x-amz-date", moment)]
        if keys.token:
            signed.append(("x-amz-security-token", keys.token))
        names = ";".join([name for name, _ in signed])
        canonical = "".join([f"{name}:{value}\n" for name, value in signed])
        request = f"GET\n{path}\n{query}\n{canonical}\n{names}\n{_NO_BODY}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = _mac(self._signing_key(keys, day), text).hex()
        known_by = f"Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        signed.append(("authorization", f"AWS4-HMAC-SHA256 {known_by}"))
        return "".join([f"{name}: {value}\r\n" for name, value in signed])

    def _signing_key(self, keys: Keys, day: str) -> bytes:
        """It holds for a day, so it is made once."""
        if self._key is None or self._key[:2] != (keys, day):
            key = f"AWS4{keys.secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = _mac(key, part)
            self._key = keys, day, key
            return key
        return self._key[2]


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
