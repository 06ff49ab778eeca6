"""S3 by two libraries behind a few verbs: boto3 for credentials, listings and rare operations, obstore for bodies.

boto3 spends about 3 ms of CPU on an object where obstore spends a tenth; boto3 alone knows every way to credentials,
and reads a listing strictly.
Their exceptions end here, as those of `errors.py`. obstore retries by itself (503, resets, time-outs, with backoff and
jitter), boto3 does too; nobody above retries a request, so attempts never multiply. The one exception is a token that
has expired in the middle of a run: credentials are resolved afresh, once, and the request is sent again.

obstore checks no content: it takes wrong bytes of the right length for good. Whoever reads a body verifies it.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from s32s import paths
from s32s.errors import (
    AccessDenied,
    BucketMissing,
    CredentialsError,
    NotFound,
    PreconditionFailed,
    S32sError,
    StoreError,
    TryAgain,
    Unreachable,
)
from s32s.settings import S3Settings
from s32s.workers import aside

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ListObjectsV2RequestTypeDef
    from obstore import GetResult
    from obstore.store import S3Store

R = TypeVar("R")

#: botocore hands out credentials that are good for at least 10 minutes (botocore.credentials, mandatory refresh), so
#: what obstore keeps must be younger; and obstore asks for new ones 5 minutes before it thinks that they expire.
_CREDENTIAL_TTL = datetime.timedelta(minutes=9)
_CONNECT_TIMEOUT_S = 5
#: A server that is silent for so long is taken for dead; it bounds a stalled body too.
_READ_TIMEOUT_S = 30
#: Of a whole request: generous, since a part of a large file may take its time on a thin line.
_REQUEST_TIMEOUT = datetime.timedelta(hours=1)

#: Larger bodies are sent in parts. S3 takes 5 MiB to 5 GiB a part, and at most 10,000 of them.
PART_SIZE = 8 * 1024 * 1024
_MAX_PARTS = 10_000
_PARTS_AT_ONCE = 4

_BATCH = 1000  # DeleteObjects takes no more keys (S3 API)


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What S3 says of an object that was just written."""

    etag: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Got:
    """An object that is being read: facts first, then `chunks` once."""

    size: int
    etag: str | None
    version: str | None
    modified_ns: int
    chunks: Iterator[bytes]


class Engine:
    """A connection to one endpoint with one set of credentials. Thread-safe.

    Args:
        settings: the [s3] table of the configuration.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._guard = threading.RLock()
        self._session: boto3.session.Session | None = None
        self._client: S3Client | None = None
        self._stores: dict[str, S3Store] = {}
        self._renewals = 0

    # -- reading

    def objects(self, bucket: str, prefix: str) -> list[Listed]:
        """Every object below `prefix/`, in any order; keys as S3 has them, all of them or an error.

        By boto3: obstore takes an answer 200 with an error inside for an empty page, drops a final slash (a directory
        marker) and stops at keys that it cannot address, which here are to be refused by name.

        Raises:
            StoreError: a page is no listing, or the pages do not come to an end.
        """
        listed: list[Listed] = []
        token = ""
        while True:
            page = self._page(bucket, prefix, token)
            if token and not page.get("Contents"):
                # The page before has promised more keys.
                raise StoreError(f"the listing of {_shown(bucket, prefix)} breaks off before its end", hint="try again")
            listed += [
                Listed(entry["Key"], entry["Size"], _bare(entry.get("ETag"))) for entry in page.get("Contents", [])
            ]
            if page.get("IsTruncated") is False:
                break
            following = page.get("NextContinuationToken")
            if not following or following == token:
                raise StoreError(f"the listing of {_shown(bucket, prefix)} breaks off before its end", hint="try again")
            token = following
        if len({found.key for found in listed}) != len(listed):
            raise StoreError(f"the listing of {_shown(bucket, prefix)} names a key twice")
        return listed

    def get(self, bucket: str, key: str, *, etag: str | None = None, version: str | None = None) -> Got:
        """Open an object for reading.

        Args:
            etag: fail unless the object has it; the server may ignore that, so compare `Got.etag` too.
            version: read this version instead of the current one.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, Unreachable, …
        """

        def work() -> GetResult:
            import obstore

            options: dict[str, Any] = {}
            if version:
                options["version"] = version
            elif etag:
                options["if_match"] = f'"{etag}"'
            return obstore.get(self._store(bucket), key, options=options or None)  # type: ignore[arg-type] # a TypedDict made step by step

        result = self._call(work, bucket=bucket, key=key)
        meta = result.meta
        return Got(
            size=meta["size"],
            etag=_bare(meta["e_tag"]),
            version=_version(meta["version"]),
            modified_ns=int(meta["last_modified"].timestamp()) * 1_000_000_000,
            chunks=self._chunks(result, bucket=bucket, key=key),
        )

    def get_small(self, bucket: str, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """A whole small object and its ETag.

        Raises:
            StoreError: it is larger than `limit` bytes.
        """
        got = self.get(bucket, key)
        if got.size > limit:
            raise StoreError(f"{_shown(bucket, key)} has {got.size:,} bytes, which is more than it can rightly have")
        return aside(lambda: b"".join(got.chunks)), got.etag

    def is_md5_etag(self, bucket: str, key: str) -> bool:
        """Ask whether the object's ETag may be an MD5 at all: not with KMS or customer keys."""

        def work() -> bool:
            facts = self._boto().head_object(Bucket=bucket, Key=key)
            return "SSECustomerAlgorithm" not in facts and "kms" not in facts.get("ServerSideEncryption", "")

        return self._call(work, bucket=bucket, key=key)

    # -- writing

    def put(self, bucket: str, key: str, chunks: Callable[[], Iterator[bytes]], *, size: int) -> Stored:
        """Write an object; a large one in parts, with bounded memory.

        SigV4 signs the SHA-256 of every payload, so S3 itself refuses bytes that were damaged on the way.

        Args:
            chunks: the bytes from the start; called again for a renewed token.
            size: expected number of bytes, which decides about parts.
        """

        failures: list[BaseException] = []

        def guarded() -> Iterator[bytes]:
            try:
                yield from chunks()
            except BaseException as exc:
                failures.append(exc)  # obstore would wrap it
                raise

        def work() -> Stored:
            import obstore

            store = self._store(bucket)
            if size <= PART_SIZE:
                result = obstore.put(store, key, b"".join(guarded()), use_multipart=False)
            else:
                part = max(PART_SIZE, -(-size // _MAX_PARTS) + 1024 * 1024)
                result = obstore.put(
                    store, key, guarded(), use_multipart=True, chunk_size=part, max_concurrency=_PARTS_AT_ONCE
                )
                # Some servers name another ETag in the answer than they list afterwards.
                meta = obstore.head(store, key)
                return Stored(_bare(meta["e_tag"]), _version(result["version"]))
            return Stored(_bare(result["e_tag"]), _version(result["version"]))

        try:
            return self._call(work, bucket=bucket, key=key)
        except Exception:
            if failures:
                raise failures[-1] from None
            raise

    def put_if(self, bucket: str, key: str, data: bytes, *, etag: str | None) -> Stored:
        """Write a small object only if the one that is there has `etag`, or, with None, if there is none.

        Raises:
            PreconditionFailed: S3 says that it is otherwise. It may also be our own earlier attempt whose answer was
                lost; and a server that ignores conditions never says it. So read the object afterwards.
        """

        def work() -> Stored:
            import obstore

            mode: Any = "create" if etag is None else {"e_tag": f'"{etag}"'}
            result = obstore.put(self._store(bucket), key, data, mode=mode, use_multipart=False)
            return Stored(_bare(result["e_tag"]), _version(result["version"]))

        return self._call(work, bucket=bucket, key=key)

    def put_marker(self, bucket: str, key: str) -> None:
        """Write an empty object whose key ends in a slash; obstore cannot name one."""
        self._call(lambda: self._boto().put_object(Bucket=bucket, Key=key, Body=b""), bucket=bucket, key=key)

    def exists(self, bucket: str, key: str) -> bool:
        """Tell whether there is an object of exactly this key."""
        try:
            self._call(lambda: self._boto().head_object(Bucket=bucket, Key=key), bucket=bucket, key=key)
        except NotFound:
            return False
        return True

    def delete(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        """Delete objects, a thousand a request; return why each of those that are still there is."""
        failed: dict[str, str] = {}

        def work(batch: Sequence[str]) -> None:
            answer = self._boto().delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
            for error in answer.get("Errors", []):
                failed[error.get("Key", "")] = f"{error.get('Code', '')} {error.get('Message', '')}".strip()

        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            self._call(lambda batch=batch: work(batch), bucket=bucket, key=batch[0])  # type: ignore[misc] # bound now
        return failed

    def abort_uploads(self, bucket: str, prefix: str) -> None:
        """Abort the multipart uploads that a dead run has left below `prefix/`; they cost money and are never seen."""

        def work() -> None:
            client = self._boto()
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=bucket, Prefix=f"{prefix}/" if prefix else ""
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

        # Cleaning up only; some servers do not offer the listing, and some policies do not allow it.
        with contextlib.suppress(StoreError):
            self._call(work, bucket=bucket, key=prefix)

    # -- how calls are made

    def _call(self, work: Callable[[], R], *, bucket: str, key: str) -> R:
        """Run a request where signals can interrupt it; its errors become ours, an expired token is renewed once."""
        renewals = self._renewals
        try:
            return aside(lambda: _translated(work, bucket=bucket, key=key))
        except _Expired:
            self._renew(renewals)
        try:
            return aside(lambda: _translated(work, bucket=bucket, key=key))
        except _Expired as exc:
            raise TryAgain(
                f"the credentials for bucket {bucket} have expired", hint="renew them and run it again"
            ) from exc

    def _chunks(self, result: GetResult, *, bucket: str, key: str) -> Iterator[bytes]:
        stream = iter(result.stream(min_chunk_size=1024 * 1024))
        while True:
            chunk = _translated(lambda: next(stream, None), bucket=bucket, key=key)
            if chunk is None:
                return
            yield bytes(chunk)

    def _renew(self, renewals: int) -> None:
        with self._guard:
            if self._renewals == renewals:  # else another thread has done it already
                self._session = self._client = None
                self._stores.clear()
                self._renewals += 1

    def _store(self, bucket: str) -> S3Store:
        with self._guard:
            if bucket not in self._stores:
                self._stores[bucket] = self._open_store(bucket)
            return self._stores[bucket]

    def _open_store(self, bucket: str) -> S3Store:
        from obstore.auth.boto3 import Boto3CredentialProvider
        from obstore.store import S3Store

        client = self._boto()
        session = self._open_session()
        endpoint = client.meta.endpoint_url
        on_aws = re.match(r"https://s3[.-]", endpoint) is not None and ".amazonaws.com" in endpoint
        # S3 itself is addressed by virtual host, as it asks for, but for names that no certificate covers.
        virtual = on_aws and "." not in bucket
        settings: dict[str, Any] = {"region": client.meta.region_name, "virtual_hosted_style_request": virtual}
        if not on_aws:
            settings["endpoint"] = endpoint
        return S3Store(
            bucket,
            config=settings,  # type: ignore[arg-type] # a TypedDict made step by step
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": datetime.timedelta(seconds=_CONNECT_TIMEOUT_S),
                "read_timeout": datetime.timedelta(seconds=_READ_TIMEOUT_S),
                "timeout": _REQUEST_TIMEOUT,
                "user_agent": "s32s",
            },
            retry_config={
                "max_retries": self._settings.retries,
                "retry_timeout": datetime.timedelta(minutes=3),
                # Each pause is drawn between the first one and `base` times the last; eight of them outlast
                # a busy quarter of a minute in most cases.
                "backoff": {
                    "init_backoff": datetime.timedelta(milliseconds=500),
                    "max_backoff": datetime.timedelta(seconds=10),
                    "base": 3,
                },
            },
            credential_provider=Boto3CredentialProvider(session, ttl=_CREDENTIAL_TTL),
        )

    def _open_session(self) -> boto3.session.Session:
        import boto3
        import botocore.exceptions

        with self._guard:
            if self._session is None:
                try:
                    session = boto3.session.Session(
                        profile_name=self._settings.profile, region_name=self._settings.region
                    )
                    found = session.get_credentials()
                except botocore.exceptions.BotoCoreError as exc:
                    raise CredentialsError(f"the AWS credentials cannot be used: {exc}", hint=_WAYS) from exc
                if found is None:
                    raise CredentialsError("there are no AWS credentials", hint=_WAYS)
                self._session = session
            return self._session

    def _boto(self) -> S3Client:
        with self._guard:
            if self._client is None:
                from botocore.config import Config

                self._client = self._open_session().client(
                    "s3",
                    endpoint_url=self._settings.endpoint_url,
                    region_name=self._open_session().region_name or "us-east-1",
                    config=Config(
                        connect_timeout=_CONNECT_TIMEOUT_S,
                        read_timeout=_READ_TIMEOUT_S,
                        retries={"mode": "standard", "total_max_attempts": self._settings.retries + 1},
                        user_agent_extra="s32s",
                        # Several servers refuse the trailers that newer clients send by default.
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._client

    def _page(self, bucket: str, prefix: str, token: str) -> ListObjectsV2OutputTypeDef:
        asked: ListObjectsV2RequestTypeDef = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        if token:
            asked["ContinuationToken"] = token
        return self._call(lambda: self._boto().list_objects_v2(**asked), bucket=bucket, key=prefix)


_WAYS = (
    "give them in ~/.aws/credentials (aws configure), in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or by the role of this machine"
)


class _Expired(S32sError):
    """The token is too old; stays within this module."""


_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]*?)\s*</Message>")
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed"}
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "TooManyRequests"}


def _translated(work: Callable[[], R], *, bucket: str, key: str) -> R:
    import botocore.exceptions
    from botocore.parsers import ResponseParserError
    from obstore.exceptions import BaseError

    try:
        return work()
    except ResponseParserError as exc:
        raise StoreError(f"the answer for {_shown(bucket, key)} is none of S3's", hint="check the endpoint") from exc
    except (BaseError, OSError) as exc:
        # obstore raises FileNotFoundError and other built-in errors of that family where they fit.
        raise _of_obstore(exc, bucket=bucket, key=key) from exc
    except botocore.exceptions.ClientError as exc:
        facts = exc.response.get("Error", {})
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise _of_code(
            facts.get("Code") or "", facts.get("Message") or "", status=status, bucket=bucket, key=key
        ) from exc
    except botocore.exceptions.BotoCoreError as exc:
        if isinstance(exc, botocore.exceptions.NoCredentialsError | botocore.exceptions.PartialCredentialsError):
            raise CredentialsError("there are no AWS credentials", hint=_WAYS) from exc
        if isinstance(exc, botocore.exceptions.HTTPClientError | botocore.exceptions.ConnectionError):
            raise _unreachable(bucket, _reason(f"{exc} {exc.kwargs.get('error', '')}")) from exc
        raise StoreError(paths.escape(str(exc)), where=_shown(bucket, key)) from exc


def _of_obstore(exc: Exception, *, bucket: str, key: str) -> S32sError:
    from obstore import exceptions

    text = str(exc)
    code = found[1] if (found := _CODE.search(text)) else ""
    message = found[1] if (found := _MESSAGE.search(text)) else ""
    status = int(found[1]) if (found := re.search(r"status(?: code)?:? (\d{3})", text)) else 0
    if isinstance(exc, exceptions.NotFoundError | FileNotFoundError) and not code:
        code = "NoSuchKey"
    elif isinstance(exc, exceptions.PreconditionError | exceptions.AlreadyExistsError):
        code = "PreconditionFailed"
    elif isinstance(exc, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError) and not code:
        code = "AccessDenied"
    if not code and not status:
        return _unreachable(bucket, _reason(text))
    return _of_code(code, message, status=status, bucket=bucket, key=key)


def _of_code(code: str, message: str, *, status: int, bucket: str, key: str) -> S32sError:
    where = _shown(bucket, key)
    said = paths.escape(f"{code}: {message}" if message else code or f"HTTP {status}")
    if code in _EXPIRED:
        return _Expired(said, where=where)
    if code == "NoSuchBucket":
        return BucketMissing(f"the bucket {bucket} does not exist", hint="check the name and the region")
    if code in ("NoSuchKey", "NoSuchVersion", "404", "NotFound") or (status == 404 and not code):
        return NotFound(f"{where} does not exist")
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412") or status in (409, 412):
        return PreconditionFailed(f"{where} was changed by somebody else")
    if code in _UNKNOWN_KEYS or status == 401:
        return CredentialsError(f"S3 does not accept the credentials for bucket {bucket} ({said})", hint=_WAYS)
    if code == "RequestTimeTooSkewed":
        return StoreError("the clock of this machine is wrong, and S3 refuses its requests", hint="set the clock")
    if code == "InvalidObjectState":
        return AccessDenied(f"{where} is archived and cannot be read", hint="restore it from its storage class first")
    if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled") or status == 403:
        return AccessDenied(f"S3 denies access to {where}", hint="check the policy of this user or role")
    if code in _BUSY or status >= 500 or status == 429:
        return Unreachable(f"S3 is too busy or failing ({said}) at {where}", hint="run it again later")
    return StoreError(f"S3 refuses {where} ({said})")


def _unreachable(bucket: str, reason: str) -> Unreachable:
    return Unreachable(
        f"S3 could not be reached for bucket {bucket}: {paths.escape(reason)[:300]}",
        hint="check the endpoint and the network, and run it again",
    )


def _reason(text: str) -> str:
    """The innermost cause in obstore's nested message."""
    lowered = text.lower()
    for needle, shown in (
        ("connection refused", "connection refused"),
        ("dns error", "the host name is not known"),
        ("timed out", "no answer in time"),
        ("timedout", "no answer in time"),
        ("certificate", "the server's certificate is not trusted"),
        ("connection reset", "the connection was cut"),
        ("connection closed", "the connection was cut"),
        ("incompletemessage", "the connection was cut"),
    ):
        if needle in lowered:
            return shown
    return text.splitlines()[0] if text else "no reason given"


def _version(version: str | None) -> str | None:
    """A version id that names one version: buckets without versioning may answer "null"."""
    return version if version != "null" else None


def _bare(etag: str | None) -> str | None:
    """An ETag without quotes and weakness mark: servers and calls differ in both."""
    return etag.removeprefix("W/").strip('"') if etag else None


def _shown(bucket: str, key: str) -> str:
    return paths.escape(f"s3://{bucket}/{key}")
