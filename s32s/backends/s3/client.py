"""Requests to one S3 endpoint in the words of the S3 API: signed, sent, and their refusals told.

A request is made once; whether it is made again is for `_connection`. Bodies of answers are read by who asked, errors
here, and of these no more than tells what is wrong.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from s32s.backends.base import Chunk
from s32s.backends.s3.errors import Refusal, refusal_in, refuses_plain_http
from s32s.backends.s3.http import Http, Request, Response
from s32s.backends.s3.objects import LARGE, SMALL
from s32s.backends.s3.sigv4 import Keys, Signer
from s32s.core.errors import ConfigError


class Client:
    """Makes requests of one bucket. Thread-safe.

    Args:
        url: of the bucket, without a final slash.
        keys: asked for the credentials of each request.
    """

    def __init__(self, http: Http, url: str, region: str, keys: Callable[[], Keys]) -> None:
        parts = urllib.parse.urlsplit(url)
        self._http = http
        self._server = f"{parts.scheme}://{parts.netloc}"
        self._root = parts.path
        self._signer = Signer(parts.netloc.rpartition("@")[2], region)
        self._keys = keys

    def send(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Chunk = b"",
        read_timeout_s: float,
    ) -> Response:
        """Make one request; what is returned was successful and is still to be read.

        Args:
            query: fields of it, decoded.
            headers: by lower-case name.

        Raises:
            Refusal: S3 has answered with an error.
            Unreachable, ConfigError: see `Http.send`.
        """
        path = f"{self._root}/{urllib.parse.quote(key)}" if key else self._root or "/"
        text = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote, safe="")
        signed = self._signer.sign(
            method,
            path,
            self._keys(),
            query=text,
            headers=headers,
            payload=hashlib.sha256(body).hexdigest(),
        )
        target = f"{path}?{text}" if text else path
        request = Request(method, self._server, target, {**signed, "user-agent": "s32s"}, body)
        response = self._http.send(request, read_timeout_s=read_timeout_s)
        if 200 <= response.status < 300:
            return response
        raise _refusal(response)

    def send_whole(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Chunk = b"",
        read_timeout_s: float,
    ) -> tuple[bytes, Mapping[str, str]]:
        """The same, of an answer that is small: its body and headers; also an error that comes with status 200."""
        response = self.send(method, key, query=query, headers=headers, body=body, read_timeout_s=read_timeout_s)
        data = response.read(SMALL)
        if b"<Error>" in data:
            raise refusal_in(data, status=500, headers=response.headers)
        return data, response.headers


def _refusal(response: Response) -> Refusal | ConfigError:
    """What an answer other than 2xx says."""
    said = response.beginning(SMALL)
    if response.status == 400 and refuses_plain_http(said):
        return ConfigError(f"{response.host} speaks TLS", hint="write https:// in endpoint_url")
    return refusal_in(said, status=response.status, headers=response.headers)


def for_botocore(http: Http, read_timeout_s: float) -> Callable[..., Any]:
    """A handler of botocore's event `before-send`: its requests go the way of all others, under the same bounds."""

    def send(request: Any, **_: object) -> Any:
        from botocore.awsrequest import AWSResponse

        parts = urllib.parse.urlsplit(request.url)
        body = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        headers = {
            name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
            if name.lower() not in ("content-length", "expect")
        }
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        answer = http.send(
            Request(
                request.method,
                f"{parts.scheme}://{parts.netloc}",
                target,
                {"host": parts.netloc, **headers},
                body.encode() if isinstance(body, str) else bytes(body),
            ),
            read_timeout_s=read_timeout_s,
        )
        if not 200 <= answer.status < 300:
            raise _refusal(answer)  # botocore would try to find another host for some
        data = answer.read(LARGE)
        return AWSResponse(request.url, answer.status, answer.headers, _Whole(data))  # type: ignore[arg-type] # any mapping does

    return send


class _Whole:
    """A body that has come, as botocore takes it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> list[bytes]:
        return [self._data]

    def read(self) -> bytes:
        return self._data
