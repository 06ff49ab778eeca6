"""What boto3 and obstore raise, as errors of ours: their exceptions end here.

Both wrap what S3 has answered: an HTTP status and a code such as `NoSuchKey` (S3 API, "Error responses"). obstore names
them only in the text of its exceptions. An answer that is none of S3's is an error like any other, never a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from s32s import paths
from s32s.errors import (
    AccessDenied,
    BucketMissing,
    CredentialsError,
    NotFound,
    PreconditionFailed,
    S32sError,
    StoreError,
    Unreachable,
    Unsupported,
)

R = TypeVar("R")

#: How credentials are given, for people.
WAYS = (
    "give them in ~/.aws/credentials (aws configure), in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or by the role of this machine"
)


class Expired(S32sError):
    """The token is too old: `connection` renews it once, so nobody above meets this one."""


class NoRanges(StoreError):
    """The server does not answer a request for a part of an object as RFC 9110, 15.3.7 asks for; `_engine` reads on."""


_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]*?)\s*</Message>")
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed"}
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "TooManyRequests"}


def translated(work: Callable[[], R], *, bucket: str, key: str) -> R:
    """Call `work`; its errors become ours.

    Raises:
        StoreError, TryAgain: by what S3 has said.
    """
    try:
        return work()
    except S32sError:
        raise
    except Exception as exc:
        # The libraries are imported here, where one of them must be loaded anyway: this is called for every request.
        ours = _of_obstore(exc, bucket=bucket, key=key) or _of_botocore(exc, bucket=bucket, key=key)
        if ours is None:
            raise
        raise ours from exc


def _of_botocore(exc: Exception, *, bucket: str, key: str) -> S32sError | None:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(exc, ResponseParserError):
        return StoreError(f"the answer for {shown(bucket, key)} is none of S3's", hint="check the endpoint")
    if isinstance(exc, exceptions.ClientError):
        facts = exc.response.get("Error", {})
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _of_code(facts.get("Code") or "", facts.get("Message") or "", status=status, bucket=bucket, key=key)
    if not isinstance(exc, exceptions.BotoCoreError):
        return None
    if isinstance(exc, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return CredentialsError("there are no AWS credentials", hint=WAYS)
    if isinstance(exc, exceptions.HTTPClientError | exceptions.ConnectionError):
        return _unreachable(bucket, _reason(f"{exc} {exc.kwargs.get('error', '')}"))
    return StoreError(paths.escape(str(exc)), where=shown(bucket, key))


def _of_obstore(exc: Exception, *, bucket: str, key: str) -> S32sError | None:
    from obstore import exceptions

    # It raises FileNotFoundError and other built-in errors of that family where they fit.
    if not isinstance(exc, exceptions.BaseError | OSError):
        return None
    text = str(exc)
    if "non-partial response when range" in text:
        return NoRanges(f"{shown(bucket, key)} came as a whole where a part was asked for", hint="check the endpoint")
    if "No CA certificates" in text:
        # Before any request, and for plain http too.
        return StoreError("this machine has no certificates of authorities", hint="install the package ca-certificates")
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
    where = shown(bucket, key)
    said = paths.escape(f"{code}: {message}" if message else code or f"HTTP {status}")
    if code in _EXPIRED:
        return Expired(said, where=where)
    if code == "NoSuchBucket":
        return BucketMissing(f"the bucket {bucket} does not exist", hint="check the name and the region")
    if code in ("NoSuchKey", "NoSuchVersion", "404", "NotFound") or (status == 404 and not code):
        return NotFound(f"{where} does not exist")
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412") or status in (409, 412):
        return PreconditionFailed(f"{where} was changed by somebody else")
    if code in _UNKNOWN_KEYS or status == 401:
        return CredentialsError(f"S3 does not accept the credentials for bucket {bucket} ({said})", hint=WAYS)
    if code == "RequestTimeTooSkewed":
        return StoreError("the clock of this machine is wrong, and S3 refuses its requests", hint="set the clock")
    if code == "InvalidObjectState":
        return AccessDenied(f"{where} is archived and cannot be read", hint="restore it from its storage class first")
    if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled") or status == 403:
        return AccessDenied(f"S3 denies access to {where}", hint="check the policy of this user or role")
    if status == 501 or code == "NotImplemented":
        return Unsupported(f"this S3 server cannot do what was asked of {where} ({said})")
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


def shown(bucket: str, key: str) -> str:
    """An object or prefix, for people."""
    return paths.escape(f"s3://{bucket}/{key}")
