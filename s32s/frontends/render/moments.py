"""Times for people: of this place, with its zone named once; JSON has UTC."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable


def seconds_of(moment: str) -> float | None:
    """A time as heads have it (ISO 8601), in seconds since the epoch; None for what is not one."""
    try:
        return datetime.datetime.fromisoformat(moment).timestamp()
    except (ValueError, OSError, OverflowError):
        return None


def full(seconds: float) -> str:
    """A time with its year and seconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def minute(seconds: float) -> str:
    """A time with its year, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def short(seconds: float) -> str:
    """A time of the last months."""
    return time.strftime("%d %b %H:%M", time.localtime(seconds))


def zone(moments: Iterable[float] = ()) -> str:
    """The zone of this place, for the head of a column: both where summer and winter are in it."""
    return "/".join(sorted({time.strftime("%Z", time.localtime(one)) for one in moments})) or time.strftime("%Z")
