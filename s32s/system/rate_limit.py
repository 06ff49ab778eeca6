"""How fast bytes may move: a limit that all threads of a run share."""

from __future__ import annotations

import re
import threading
import time

_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([KMG]?)i?B?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
#: Less would not even carry the listings of a small prefix.
_LEAST = 1024
#: Time that may be made up for, so that threads which come a little late do not leave the line idle.
_SAVED_S = 0.1


def bytes_a_second(text: str) -> int:
    """Read "500K", "10M" or "1.5G" as bytes a second; K, M and G are powers of 1024.

    Raises:
        ValueError: for people.
    """
    match = _RATE.fullmatch(text.strip())
    rate = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if rate < _LEAST:
        raise ValueError(f'"{text}" is not a bandwidth of at least 1K bytes a second, such as "500K", "10M" or "1G"')
    return rate


class RateLimiter:
    """Lets so many bytes a second through, over all threads. None lets everything through."""

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._guard = threading.Lock()
        self._free_s = 0.0

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._rate is not None

    def acquire(self, size: int) -> None:
        """Wait for the turn of so many bytes."""
        if self._rate is None:
            return
        with self._guard:
            now = time.monotonic()
            begins_s = max(self._free_s, now - _SAVED_S)
            self._free_s = begins_s + size / self._rate
        time.sleep(max(0.0, begins_s - now))
