"""Requests to one S3 endpoint in the words of the S3 API: signed, sent, and their refusals told.

One request is made once; whether it is made again is for `session.py`. Of many at a time each is made again by itself,
while the others go on.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from s32s.backends.base import Chunk
from s32s.backends.retry import Attempts, RetryPolicy
from s32s.backends.s3.connection import Request, Response, lines_of
from s32s.backends.s3.crowd import Exchanges, send_many
from s32s.backends.s3.errors import Refusal, refusal_in, refuses_plain_http, translated
from s32s.backends.s3.faults import speaks_tls
from s32s.backends.s3.http import Host, Http, Stream
from s32s.backends.s3.objects import LARGE, SMALL
from s32s.backends.s3.sigv4 import NO_BODY, Keys, Signer
from s32s.backends.s3.window import Window
from s32s.core.errors import ConfigError, Interrupted, S32sError, Unreachable

#: Headers that need no signature (S3 API, "Signature Calculations"), so that reading an object costs less.
_LOOSE = frozenset({"if-match", "if-none-match", "range"})

#: Keys that are sent as they are: RFC 3986, 2.3, and slashes.
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]+")


class Call(NamedTuple):
    """A request in the words of the S3 API.

    Attributes:
        query: fields of it, decoded.
        headers: by lower-case name.
        body: asked for when it is sent, and again when that is repeated.
        limit: how many bytes the answer may have.
        holds: how many bytes it and its answer take in memory in most cases.
        sha256: of the body, where it is known already.
    """

    method: str
    key: str
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    body: Callable[[], Chunk] = bytes
    limit: int = SMALL
    holds: int = 0
    sha256: str | None = None


class Client:
    """Makes requests of one bucket. Thread-safe.

    Args:
        bucket: its name, for people.
        url: of it, without a final slash.
        keys: asked for the credentials of each request.
        window: how many requests may be under way.
    """

    def __init__(
        self, http: Http, bucket: str, url: str, region: str, keys: Callable[[], Keys], window: Window
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host = http.host(f"{parts.scheme}://{parts.netloc}")
        self._bucket = bucket
        self._root = parts.path
        self._signer = Signer(self._host.netloc, region)
        self._keys = keys
        self._window = window
        self._sends_md5 = False

    def send(self, call: Call, *, read_timeout_s: float) -> Response:
        """Make one request; its answer is successful and whole.

        Raises:
            Refusal: S3 has answered with an error, also with one that comes with status 200.
            Unreachable, ConfigError: see `Host.send`.
        """
        began_s = time.monotonic()
        response = self._host.send(self._request(call), limit=call.limit, read_timeout_s=read_timeout_s)
        if asks_for_md5(call, response):
            self._sends_md5 = True
            response = self._host.send(self._request(call), limit=call.limit, read_timeout_s=read_timeout_s)
        self._window.note(time.monotonic() - began_s)
        return self._judged(response)

    def open(self, call: Call, *, read_timeout_s: float) -> Stream:
        """Make one request whose answer is still to be read; see `send`."""
        stream = self._host.open(self._request(call), read_timeout_s=read_timeout_s)
        if 200 <= stream.status < 300:
            return stream
        raise _refusal(self._host, stream.status, stream.headers, stream.beginning(SMALL))

    def send_many(
        self,
        calls: Iterable[tuple[int, Call]],
        *,
        most: int,
        window: Window,
        retry: RetryPolicy,
        read_timeout_s: float,
    ) -> Iterator[tuple[int, Response | S32sError]]:
        """Make many requests, as many at a time as the window has room for; yield what came as it comes.

        One that fails for the moment is made again by itself.

        Args:
            calls: each with its number.
            most: how many of them may be under way.
            window: how many it is worth to have under way.
        """
        attempts: dict[int, Attempts] = {}
        failures: dict[int, S32sError] = {}
        with_md5 = set[int]()

        def make(numbered: tuple[int, Call]) -> tuple[Request, int, int]:
            _, call = numbered
            try:
                request = self._request(call)
            except Interrupted:
                raise
            except Exception:  # no credentials, for one of many reasons
                request = translated(lambda: self._request(call), bucket=self._bucket, key=call.key)
            return request, call.limit, call.holds or call.limit + len(request.body)

        def again(numbered: tuple[int, Call], result: Response | S32sError) -> float | None:
            if isinstance(result, Response) and 200 <= result.status < 300:
                retry.pace.note_success()
                return None
            number, call = numbered
            if isinstance(result, Response) and number not in with_md5 and asks_for_md5(call, result):
                self._sends_md5 = True
                with_md5.add(number)
                return 0.0
            try:
                if isinstance(result, S32sError):
                    raise result
                translated(functools.partial(self._judged, result), bucket=self._bucket, key=call.key)
            except Unreachable as exc:
                if number not in attempts:
                    attempts[number] = Attempts(retry)
                try:
                    return attempts[number].pause_after(exc)
                except Unreachable as last:
                    failures[number] = last
            except Interrupted:
                raise
            except S32sError as exc:
                failures[number] = exc
            return None

        wanted = Exchanges(iter(calls), make, again, most, read_timeout_s)
        for (number, _), result in send_many(self._host, wanted, window):
            attempts.pop(number, None)
            yield number, failures.pop(number, result)

    def _request(self, call: Call) -> Request:
        key = call.key if _PLAIN.fullmatch(call.key) else urllib.parse.quote(call.key)
        path = f"{self._root}/{key}" if key else self._root or "/"
        text = _query_text(call.query) if call.query else ""
        body = call.body()
        headers, loose = call.headers, ""
        if self._sends_md5 and call.method == "PUT":
            headers = {**(headers or {}), "content-md5": md5_of(body)}
        if headers and not _LOOSE.isdisjoint(headers):
            loose = lines_of({name: value for name, value in headers.items() if name in _LOOSE})
            headers = {name: value for name, value in headers.items() if name not in _LOOSE}
        signed = self._signer.sign(
            call.method,
            path,
            self._keys(),
            query=text,
            headers=headers,
            payload=call.sha256 or (hashlib.sha256(body).hexdigest() if body else NO_BODY),
        )
        lines = f"{lines_of(signed)}{loose}user-agent: s32s\r\n"
        return Request(call.method, f"{path}?{text}" if text else path, lines, body)

    def _judged(self, response: Response) -> Response:
        if not 200 <= response.status < 300:
            raise _refusal(self._host, response.status, response.headers, bytes(response.body))
        return response


def md5_of(body: Chunk) -> str:
    """The MD5 of a body as its header has it (RFC 1864)."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def asks_for_md5(call: Call, response: Response) -> bool:
    """Whether S3 takes an upload only with its MD5, as a bucket that locks each new object does.

    The SHA-256 that each request has signed does not count there (S3 user guide, "Object Lock considerations").
    """
    if call.method != "PUT" or response.status != 400:
        return False
    said = bytes(response.body).lower()
    return b"content-md5" in said and b"required" in said


def _query_text(fields: Mapping[str, str]) -> str:
    """A query as it is sent and signed: its fields in the order of their names."""
    return urllib.parse.urlencode(sorted(fields.items()), quote_via=urllib.parse.quote, safe="")


def _refusal(host: Host, status: int, headers: Mapping[str, str], said: bytes) -> Refusal | ConfigError:
    """What an answer other than 2xx says."""
    if status == 400 and refuses_plain_http(said):
        return speaks_tls(host.shown)
    return refusal_in(said, status=status, headers=headers)


def whole(response: Response, name: str = "") -> tuple[bytes, Mapping[str, str]]:
    """Body and headers of an answer in XML, in which an error may come with status 200.

    Args:
        name: of an element in which errors are of single objects, and none of the request.

    Raises:
        Refusal: it does.
    """
    data = bytes(response.body)
    if b"<Error>" in data and not (name and name.encode() in data[:1000]):
        raise refusal_in(data, status=500, headers=response.headers)
    return data, response.headers


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
        host = http.host(f"{parts.scheme}://{parts.netloc}")
        answer = host.send(
            Request(
                request.method,
                f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/",
                lines_of({"host": parts.netloc, **headers}),
                body.encode() if isinstance(body, str) else bytes(body),
            ),
            limit=LARGE,
            read_timeout_s=read_timeout_s,
        )
        if not 200 <= answer.status < 300:
            # botocore would try to find another host for some
            raise _refusal(host, answer.status, answer.headers, bytes(answer.body))
        return AWSResponse(request.url, answer.status, answer.headers, _Whole(bytes(answer.body)))  # type: ignore[arg-type] # any mapping does

    return send


class _Whole:
    """A body that has come, as botocore takes it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> list[bytes]:
        return [self._data]

    def read(self) -> bytes:
        return self._data
