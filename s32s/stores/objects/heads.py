"""The head of a prefix as one writer replaces it: by a conditional write, which is believed only when it is read back.

A server that ignores conditions is found out by the nonce that the head then holds. Of two who write there at the same
moment, each may read its own nonce before the other's write comes in; where that matters, a head is claimed first.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence

from s32s.backends.base import CREATE, Backend, PutResult, Replace
from s32s.core import paths
from s32s.core.errors import Conflict, PreconditionFailed, Unsupported, WriteConflict
from s32s.format.head import HEAD_KEY, Claim, Head
from s32s.stores.objects.prefix import FoundHead, read_head

#: Before a head that somebody else writes at the same time is written once more.
_CONFLICT_PAUSES_S = (0.2, 0.5, 1.0)
#: How many objects are deleted between two looks at the head.
_BATCH = 1000
#: How long a claim is left alone, on a server that takes no conditions, before it is believed.
_SETTLE_S = 0.5


class HeadWriter:
    """Replaces a head, as long as nobody else does.

    Args:
        writer: its id.
        found: the head as it is.
        is_strict: whether the server is known to refuse what a condition forbids, so that its answers are proof enough.
        claims: whether it is known not to, and several write there: each head is claimed before it is replaced.
    """

    def __init__(
        self, backend: Backend, writer: str, found: FoundHead, *, is_strict: bool = False, claims: bool = False
    ) -> None:
        self._backend = backend
        self._writer = writer
        self._head, self._etag = found
        self._is_strict = is_strict
        self._claims = claims
        #: Whether the bucket has named the version of a head that it took: what is deleted there is not gone.
        self.keeps_versions = False

    @property
    def found(self) -> FoundHead:
        """The head as we have left it."""
        return FoundHead(self._head, self._etag)

    def write(self, head: Head, *, what: str) -> None:
        """Replace the head by a conditional write, and believe only what is then there.

        An answer may be lost after the write was done, and the repeated request then meets its own result as a
        conflict; a server may ignore the condition; so the head is read back and its nonce decides.

        Args:
            what: was to be done, for people.

        Raises:
            Conflict: somebody else has replaced it.
        """
        if self._claims:
            nobody = {"generation": 0, "files": 0, "size": 0, "manifest": None, "root": None}
            before = self._head or head.model_copy(update=nobody)
            claim = Claim(writer=self._writer, host=head.host, started=head.time)
            self._replace(before.model_copy(update={"push": claim}), what)
            self.settle(what)
        self._replace(head, what)

    def settle(self, what: str) -> None:
        """Leave a claim alone for a moment: a rival who looked before it was written has written by then.

        Raises:
            Conflict: one has.
        """
        time.sleep(_SETTLE_S)
        self.check_still_held(what)

    def _replace(self, head: Head, what: str) -> None:
        if self._etag is not None and not self._is_strict:
            self.check_still_held(what)
        mine = head.model_copy(update={"nonce": secrets.token_hex(16)})
        answer = self._try(mine)
        self.keeps_versions = answer is not None and answer.version is not None
        if self._is_strict and answer is not None and answer.etag is not None:
            self._head, self._etag = mine, answer.etag
            return
        is_refused = answer is None
        there, etag = read_head(self._backend)
        if there is not None and there.nonce == mine.nonce:
            self._head, self._etag = there, etag
            return
        if not is_refused or not self._is_known(there):
            raise self._lost(there, what)
        place = self._backend.location
        raise Conflict(
            f"could not {what}: the head of {place} cannot be replaced, although nobody has changed it",
            hint="run it again; docs/servers.md says what S3 servers can do",
        )

    def _try(self, mine: Head) -> PutResult | None:
        """Write the head; None where the backend has not taken it."""
        data = mine.to_bytes()
        for pause_s in (*_CONFLICT_PAUSES_S, None):
            mode = CREATE if self._etag is None else Replace(self._etag)
            try:
                return self._backend.put(HEAD_KEY, lambda: iter([data]), size=len(data), mode=mode)
            except WriteConflict:
                there, etag = read_head(self._backend)
                if pause_s is None or not self._is_known(there):
                    return None
                self._etag = etag
                time.sleep(pause_s)
            except (PreconditionFailed, Unsupported):
                return None
        return None

    def _is_known(self, there: Head | None) -> bool:
        """Whether a head is the one that we mean to replace."""
        return (there.nonce if there else None) == (self._head.nonce if self._head else None)

    def check_still_held(self, what: str) -> None:
        """Make sure that the head still is as we know it.

        Where conditions are ignored, this last look before writing is what keeps two masters apart.

        Raises:
            Conflict: somebody else has replaced it.
        """
        there, etag = read_head(self._backend)
        if not self._is_known(there):
            raise self._lost(there, what)
        self._etag = etag

    def delete(self, keys: Sequence[str], *, what: str) -> Mapping[str, str]:
        """Delete objects as long as the head is as we know it; return why each of those that are still there is.

        Raises:
            Conflict: somebody else has replaced the head; what was deleted until then was of no use.
        """
        failed: dict[str, str] = {}
        for first in range(0, len(keys), _BATCH):
            self.check_still_held(what)
            failed |= self._backend.delete(keys[first : first + _BATCH])
        return failed

    def _lost(self, there: Head | None, what: str) -> Conflict:
        claim = there.push if there else None
        by = claim.writer if claim else there.writer if there else ""
        if by == self._writer:
            who = "another run on this machine"
        else:
            who = paths.escape((claim.host if claim else there.host) if there else "somebody")
        place = self._backend.location
        return Conflict(
            f"could not {what}: {who} changed the head of {place} at the same time; nothing was deleted",
            hint="let one machine push to a prefix, and run the one that should win again",
        )
