"""What S3 answers, as errors of ours; exceptions of botocore end here, too.

S3 says what is wrong by an HTTP status and a code such as `NoSuchKey` (S3 API, "Error responses"). An answer that is
not one of S3's is an error like any other, never a traceback.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TypeVar

from s32s.core import paths
from s32s.core.errors import (
    AccessDenied,
    BucketMissing,
    CredentialsError,
    NotFound,
    PreconditionFailed,
    S32sError,
    StoreError,
    Unreachable,
    Unsupported,
    WriteConflict,
)

R = TypeVar("R")

#: How credentials are given, for people.
WAYS = (
    "give them in ~/.aws/credentials (aws configure), in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or by the role of this machine"
)


class Expired(S32sError):
    """The token is too old: `connection` renews it once, so nobody above meets this one."""


class Refusal(Exception):
    """An error that S3 has answered; `translated` makes one for people of it.

    Attributes:
        code, message: as S3 gives them; may be empty.
        headers: of the answer, by lower-case name.
    """

    def __init__(self, code: str, message: str, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(code)
        self.code, self.message, self.status, self.headers = code, message, status, headers


def refusal_in(body: bytes, *, status: int, headers: Mapping[str, str]) -> Refusal:
    """The error that the beginning of a body tells of."""
    code = found[1].decode() if (found := _CODE.search(body)) else ""
    message = found[1].decode(errors="replace")[:300] if (found := _MESSAGE.search(body)) else ""
    return Refusal(code, message, status=status, headers=headers)


_CODE = re.compile(rb"<Code>\s*(\w+)\s*</Code>")
_MESSAGE = re.compile(rb"<Message>\s*([^<]*?)\s*</Message>")
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "Redirect", "301", "307"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed"}
#: What S3 says of wrong keys in a sentence on how signatures are calculated.
_OF_KEYS = {
    "InvalidAccessKeyId": "there is no such access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
}
_NO_REASON = {"", "accessdenied", "forbidden"}
_SLOWER = {"SlowDown", "ServiceUnavailable", "Throttling", "TooManyRequests"}
_BUSY = {*_SLOWER, "InternalError", "RequestTimeout"}


def in_words(code: str, message: str, *, between: str = ": ") -> str:
    """A code and a message as S3 gives them, and once what both say, as in "NotImplemented: Not Implemented."."""
    return between.join(text for text in (code, message if _plain(message) != _plain(code) else "") if text)


def _plain(text: str) -> str:
    return text.lower().rstrip(".").replace(" ", "")


def translated(work: Callable[[], R], *, bucket: str, key: str) -> R:
    """Call `work`; refusals and errors of botocore become ours.

    Raises:
        StoreError, TryAgain: by what S3 has said.
    """
    try:
        return work()
    except S32sError:
        raise
    except Refusal as exc:
        raise _of_refusal(exc, bucket=bucket, key=key) from exc
    except Exception as exc:
        # The library is imported here, where it must be loaded anyway: this is called for every request.
        ours = _of_botocore(exc, bucket=bucket, key=key)
        if ours is None:
            raise
        raise ours from exc


def _of_botocore(exc: Exception, *, bucket: str, key: str) -> S32sError | None:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(exc, ResponseParserError):
        return StoreError(f"the answer for {shown(bucket, key)} is not an answer of S3", hint="check the endpoint")
    if isinstance(exc, exceptions.ClientError):
        facts = exc.response.get("Error", {})
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = Refusal(facts.get("Code") or "", facts.get("Message") or "", status=status, headers={})
        return _of_refusal(said, bucket=bucket, key=key)
    if not isinstance(exc, exceptions.BotoCoreError):
        return None
    if isinstance(exc, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return CredentialsError("there are no AWS credentials", hint=WAYS)
    if isinstance(exc, exceptions.HTTPClientError | exceptions.ConnectionError):  # where credentials come from
        return Unreachable(
            f"the credentials for bucket {bucket} could not be fetched: {paths.escape(str(exc))[:300]}",
            hint="check the network, and run it again",
        )
    return StoreError(paths.escape(str(exc)), where=shown(bucket, key))


def _of_refusal(refusal: Refusal, *, bucket: str, key: str) -> S32sError:
    code, message, status, headers = refusal.code, refusal.message, refusal.status, refusal.headers
    where = shown(bucket, key)
    if 300 <= status < 400 or code in _ELSEWHERE:
        return _elsewhere(code, status, headers, bucket=bucket)
    said = paths.escape(in_words(code, message) or f"HTTP {status}")
    if code in _EXPIRED:
        return Expired(said, where=where)
    if code == "NoSuchBucket":
        return BucketMissing(f"the bucket {bucket} does not exist", hint="check the name and the region")
    if code in ("NoSuchKey", "NoSuchVersion", "404", "NotFound") or (status == 404 and not code):
        return NotFound(f"{where} does not exist")
    if code == "ConditionalRequestConflict" or status == 409:
        return WriteConflict(f"{where} is being changed by somebody else")
    if code in ("PreconditionFailed", "412") or status == 412:
        return PreconditionFailed(f"{where} was changed by somebody else")
    if code in _UNKNOWN_KEYS or status == 401:
        said = _OF_KEYS.get(code, said)
        return CredentialsError(f"S3 does not accept the credentials for bucket {bucket}: {said}", hint=WAYS)
    if code == "RequestTimeTooSkewed":
        return StoreError("the clock of this machine is wrong, and S3 refuses its requests", hint="set the clock")
    if code == "InvalidObjectState":
        return AccessDenied(f"{where} is archived and cannot be read", hint="restore it from its storage class first")
    if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled") or status == 403:
        # Newer servers say why: which policy denies what to whom, or that the object is locked.
        why = f" ({paths.escape(message)})" if _plain(message) not in {*_NO_REASON, _plain(code)} else ""
        return AccessDenied(f"S3 denies access to {where}{why}", hint="check the policy of this user or role")
    if status in (405, 501) or code in ("MethodNotAllowed", "NotImplemented"):
        return Unsupported(f"this S3 server cannot do what was asked of {where} ({said})")
    if code in _BUSY or status >= 500 or status == 429:
        busy = Unreachable(f"S3 is too busy or failing ({said}) at {where}", hint="run it again later")
        after = headers.get("retry-after", "")
        busy.is_busy = code in _SLOWER or status in (429, 503)
        busy.pause_s = float(after) if after.isdecimal() and len(after) < 6 else None
        return busy
    return StoreError(f"S3 refuses {where} ({said})")


def _elsewhere(code: str, status: int, headers: Mapping[str, str], *, bucket: str) -> S32sError:
    """A redirect, which is never followed: it would carry what we send to a host that nobody has configured."""
    if code == "TemporaryRedirect":
        return Unreachable(
            f"the bucket {bucket} is new and not known everywhere yet ({code})", hint="run it again later"
        )
    if region := headers.get("x-amz-bucket-region"):
        return StoreError(
            f"the bucket {bucket} is in the region {paths.escape(region)}", hint="set region in [s3] to it"
        )
    try:
        to = urllib.parse.urlsplit(headers.get("location", "")).netloc.rpartition("@")[2]
    except ValueError:  # not an address
        to = ""
    where = f" to {paths.escape(to)[:200]}" if to else ""
    said = code or f"HTTP {status}"
    return StoreError(
        f"S3 answers for the bucket {bucket} with a redirect{where} ({said}), which is not followed",
        hint="check endpoint_url and region",
    )


def refuses_plain_http(body: bytes) -> bool:
    """Whether a 400 says that plain HTTP came where TLS is spoken, as nginx, Go's net/http and Apache put it."""
    said = body.lower()
    return any(text in said for text in (b"plain http request was sent to https", b"http request to an https server",
                                         b"speaking plain http to an ssl-enabled"))  # fmt: skip


def shown(bucket: str, key: str) -> str:
    """An object or prefix, for people."""
    return paths.escape(f"s3://{bucket}/{key}")
