"""Signatures of requests: AWS Signature Version 4 (S3 API, "Authenticating Requests", Authorization header).

The whole payload is signed by its SHA-256, so S3 itself refuses bytes that were damaged on the way. Requests that boto3
makes are signed by boto3.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

NO_BODY = hashlib.sha256(b"").hexdigest()


class Keys(NamedTuple):
    """Credentials of one moment."""

    access: str
    secret: str
    token: str | None = None


class Signer:
    """Signs for one host and region. Thread-safe.

    Args:
        host: the value of the Host header.
    """

    def __init__(self, host: str, region: str) -> None:
        self._host = host
        self._region = region
        self._key: tuple[Keys, str, bytes] | None = None
        self._moment = 0, "19700101T000000Z"

    def sign(
        self,
        method: str,
        path: str,
        keys: Keys,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        payload: str = NO_BODY,
        now_s: float | None = None,
    ) -> dict[str, str]:
        """The headers of a request, Host and Authorization among them.

        Args:
            path: as it is sent, percent-encoded.
            query: the same, its fields in the order of their names.
            headers: more of them by lower-case name, to be sent and signed as well; of Latin-1 letters.
            payload: SHA-256 of the body.
            now_s: seconds since the epoch; None for now.
        """
        second = int(time.time() if now_s is None else now_s)
        known, moment = self._moment
        if known != second:
            moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._moment = second, moment
        day = moment[:8]
        signed = {"host": self._host, "x-amz-content-sha256": payload, "x-amz-date": moment}
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        if headers:
            signed = dict(sorted({**headers, **signed}.items()))
        names = ";".join(signed)
        canonical = "".join([f"{name}:{_trimmed(value) if headers else value}\n" for name, value in signed.items()])
        request = f"{method}\n{path}\n{query}\n{canonical}\n{names}\n{payload}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode('latin-1')).hexdigest()}"
        signature = _mac(self._signing_key(keys, day), text).hex()
        known_by = f"Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        signed["authorization"] = f"AWS4-HMAC-SHA256 {known_by}"
        return signed

    def _signing_key(self, keys: Keys, day: str) -> bytes:
        """It holds for a day, so it is made once."""
        if self._key is None or self._key[:2] != (keys, day):
            key = f"AWS4{keys.secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = _mac(key, part)
            self._key = keys, day, key
            return key
        return self._key[2]


def _trimmed(value: str) -> str:
    return re.sub(" +", " ", value.strip(" "))


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
