"""Whose turn it is at a prefix that several people write to, as its head tells.

Who writes may have claimed the head, and gives a sign of life every few seconds: the head gets another nonce. A claim
that has given none for a while, by the watch of who waits, is abandoned and may be taken over; no clocks are compared.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from s32s.backends.base import Backend
from s32s.core.errors import Refused
from s32s.stores.base import Position
from s32s.stores.objects.prefix import FoundHead

#: After how long without a sign of life a claim is abandoned, in seconds.
LEASE_S = 30.0
#: How long to wait before the head is looked at again while somebody else writes, in seconds.
_LOOK_S = (0.1, 0.6)
#: How often a head that was there is looked for again, and after how long, in seconds: some servers, such as `rclone
#: serve s3`, do not show an object for a moment while it is replaced.
_MISSES, _MISSES_S = 4, 0.3


class Turns:
    """Waits for one person until nobody else writes.

    Args:
        read_head: see `Prefix.read_head`.
        writer: id of who waits.
        wait: waits so many seconds, and raises where the run is to end.
        tell: told what is waited for.
    """

    def __init__(
        self,
        backend: Backend,
        read_head: Callable[[], FoundHead],
        writer: str,
        *,
        wait: Callable[[float], None],
        tell: Callable[[str], None],
    ) -> None:
        self._place = backend.location
        self._read_head = read_head
        self._writer = writer
        self._wait = wait
        self._tell = tell
        able = backend.capabilities
        if not (able.conditional_put or able.reads_back):
            raise Refused(
                f"{self._place} cannot be shared: it takes no conditional writes, and nothing proves there "
                "who was quicker when two people write at the same time",
                hint="share a prefix on S3",
            )

    def position(self) -> Position | None:
        """Where the prefix stands by its head alone; None where somebody writes, or nobody has yet."""
        found = self._read_head()
        return found.position if found.is_published and found.head and found.head.push is None else None

    def at_rest(self, *, expects_head: bool) -> FoundHead:
        """The head, once nobody writes: without a claim, or with one that is abandoned, or our own of before.

        Args:
            expects_head: there was one when this machine has looked last.
        """
        found, since_s = self._read_head(), time.monotonic()
        told = False
        for _ in range(_MISSES if expects_head else 0):
            if found.head is not None:
                break
            self._wait(_MISSES_S)
            found = self._read_head()
        while (claim := found.head.push if found.head else None) is not None and claim.writer != self._writer:
            if time.monotonic() - since_s > LEASE_S:
                break
            if not told and time.monotonic() - since_s > 2:
                told = True
                self._tell(f"waiting for {claim.host}, which writes to {self._place}")
            self._wait(random.uniform(*_LOOK_S))  # noqa: S311 # no secret
            now = self._read_head()
            if now.nonce != found.nonce:
                found, since_s = now, time.monotonic()
        return found
