"""Every error that s32s raises on purpose, by who is at fault.

The class carries the exit status of the command (design, section 6), the instance carries what went wrong, where, and
what to do about it. Front ends print `str(error)`; nothing else formats an error. Exceptions of libraries end where
they are called: the store engine, the disk verbs and the parsers turn them into one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class S32sError(Exception):
    """Root of all errors for people: what happened, where, and the way out.

    Attributes:
        what: the fact, in one sentence without a full stop.
        where: the entry, file or path it happened at; may be empty.
        hint: what to do next; may be empty.
        paths: relative paths the error is about, for reports; may be empty.
        reasons: why each of them is, where that differs; may be empty.
    """

    exit_status: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        paths: tuple[str, ...] = (),
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.paths = paths or tuple(reasons or ())
        self.reasons: Mapping[str, str] = reasons or {}

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if text.endswith("\n"):  # a list of problems, a line each
            return f"{text}{self.hint}".rstrip("\n")
        return f"{text}; {self.hint}" if self.hint else text


# -- the administrator's input ---------------------------------------------------------------------------------------


class UsageError(S32sError):
    """The command line asks for something that does not exist."""

    exit_status = 2


class ConfigError(S32sError):
    """The configuration file is missing, unreadable or wrong."""

    exit_status = 2


class MapError(S32sError):
    """One or more map files are wrong; `what` holds every problem, a line each."""

    exit_status = 2


# -- guards ----------------------------------------------------------------------------------------------------------


class Refused(S32sError):
    """A guard stopped the run before its first effect; nothing was touched."""

    exit_status = 3


class WrongLayout(Refused):
    """A prefix is in another layout than it was taken for."""


class NoHistory(Refused):
    """A place keeps no earlier generations."""


class Declined(Refused):
    """The person who was asked has said no; nothing was touched."""


class BadPath(Refused):
    """A key or file name is not a safe relative path."""


# -- the entry ---------------------------------------------------------------------------------------------------------


class EntryFailed(S32sError):
    """This entry could not be done; the destination is as the verb's promise says."""


class DiskFull(EntryFailed):
    """The disk of a target has no room for a change; the target is as the message says.

    Attributes:
        missing: how many bytes more it takes; 0 where that is not known.
    """

    missing: int = 0


class Unreadable(EntryFailed):
    """The source directory holds things that cannot be replicated (sockets, unreadable files …)."""


class IntegrityError(EntryFailed):
    """Bytes arrived that are not those that were announced, also after a fresh try."""


class SourceChanged(EntryFailed):
    """The source moved under the run. `run` starts such an entry over, a bounded number of times."""


class StaleManifest(EntryFailed):
    """The manifest no longer describes the objects of its prefix."""


class Conflict(EntryFailed):
    """Another master published, or is publishing, on the same prefix."""


# -- S3 ----------------------------------------------------------------------------------------------------------------


class StoreError(S32sError):
    """S3 answered with an error that a retry does not cure."""


class NotFound(StoreError):
    """The key does not exist (HTTP 404)."""


class BucketMissing(StoreError):
    """The bucket does not exist, or not for these credentials."""


class AccessDenied(StoreError):
    """The credentials are known but may not do this (HTTP 403)."""


class CredentialsError(StoreError):
    """There are no credentials, or S3 does not accept them."""


class Unsupported(StoreError):
    """This server does not offer what was asked for (HTTP 501); no retry changes that."""


class PreconditionFailed(StoreError):
    """A conditional request found another state than the one it named (HTTP 412 or 409)."""


class WriteConflict(PreconditionFailed):
    """Somebody writes the object at the same time (HTTP 409); the same request may be taken a moment later."""


# -- later -------------------------------------------------------------------------------------------------------------


class TemporaryFailure(S32sError):
    """Nothing is wrong here; the same command will work later."""

    exit_status = 75


class Locked(TemporaryFailure):
    """Another run works on the same target."""


class Unreachable(TemporaryFailure):
    """S3 could not be reached, or did not answer in time.

    Attributes:
        pause_s: how long the server asks to wait before the next attempt; None where it does not say.
        is_busy: whether it asks for fewer requests.
    """

    pause_s: float | None = None
    is_busy: bool = False


class ServerDown(Unreachable):
    """Nothing answers at the address of S3: the connection is refused, or the host is not known."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"S3 at {host} could not be reached: {why}", hint="check the endpoint and the network, and run it again"
        )


class PushInProgress(TemporaryFailure):
    """A master has begun a push that it has not finished."""


class Interrupted(S32sError):
    """A signal ended the run; `number` is the signal's."""

    def __init__(self, number: int, *, what: str = "interrupted", hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.number = number


class OutOfTime(Interrupted):
    """The run took longer than it was given; it ends as by a signal, and the next one goes on."""

    exit_status = 75
