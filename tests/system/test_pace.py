"""Bandwidth: how it is written, and how long bytes wait for it."""

from __future__ import annotations

import pytest

from s32s.system import rate_limit
from s32s.system.rate_limit import RateLimiter, bytes_a_second


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1024", 1024),
        ("1K", 1024),
        ("500k", 500 * 1024),
        ("10M", 10 * 1024**2),
        ("10 MiB/s", 10 * 1024**2),
        ("1.5G", 3 * 1024**3 // 2),
    ],
)
def test_rates_are_powers_of_1024(text: str, rate: int) -> None:
    """As other tools read them."""
    assert bytes_a_second(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "10X", "-1M", "0", "1000", "M", "1e3", "10 M B"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """With what one may write."""
    with pytest.raises(ValueError, match="500K"):
        bytes_a_second(text)


def waits(
    monkeypatch: pytest.MonkeyPatch, rate: int | None, sizes: list[int], *, each_takes_s: float = 0.0
) -> list[float]:
    """How long each of some payments waits, by a clock that only waiting and `each_takes_s` move."""
    now = 100.0
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waited.append(seconds)

    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: now)
    monkeypatch.setattr(rate_limit.time, "sleep", sleep)
    limit = RateLimiter(rate)
    for size in sizes:
        limit.acquire(size)
        now += each_takes_s
    return waited


def test_bytes_wait_for_those_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1,000 bytes a second 500 bytes hold the next ones up for half a second."""
    assert waits(monkeypatch, 1000, [100, 500, 1000, 1]) == pytest.approx([0.0, 0.0, 0.5, 1.0])


def test_time_that_passed_is_not_saved_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow moment is followed by no burst to speak of."""
    assert waits(monkeypatch, 1000, [1000, 1000, 1000], each_takes_s=0.5) == pytest.approx([0.0, 0.4, 0.5])


def test_no_limit_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody even asks the clock."""
    assert waits(monkeypatch, None, [10**12, 10**12]) == []
