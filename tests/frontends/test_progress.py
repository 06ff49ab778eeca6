"""How far a run is, in words."""

from __future__ import annotations

import io
import time

import pytest

from s32s.core import events
from s32s.core.summary import Tally
from s32s.frontends.render import text
from s32s.frontends.render.layout import ago, duration, progress_words


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (-1, "0 s")]
)
def test_a_duration_is_said_in_two_units(seconds: float, told: str) -> None:
    """Rounded."""
    assert duration(seconds) == told


def test_each_number_says_what_it_is() -> None:
    """Files, bytes, rate and the time that is left."""
    tally = Tally("moving files", files=870, files_of=3000, size=9_100_000, size_of=31_500_000)

    assert progress_words(tally, 2.0, phase=True) == (
        "moving files, 870 of 3,000 files, 9.1 MB of 31.5 MB, 4.5 MB/s, 5 s left"
    )
    assert progress_words(Tally("listing"), 5.0) == ""


def test_a_line_comes_now_and_then_where_no_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none after the end of the entry, nor where errors alone are wanted."""
    monkeypatch.setattr(text, "_MINUTE_S", 0.05)
    err = io.StringIO()
    screen = text.Screen({}, err=err, out=io.StringIO())
    screen.on_event(events.EntryStarted("WEB", "a", "b"))
    screen.on_event(events.Phase("WEB", "listing"))
    deadline_s = time.monotonic() + 20
    while "WEB: listing\n" not in err.getvalue() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    screen.on_event(events.EntryFinished("WEB", None, 1.0))
    told = err.getvalue()
    time.sleep(0.2)

    assert "WEB: listing\n" in told
    assert err.getvalue() == told

    quiet = io.StringIO()
    screen = text.Screen({}, quiet=True, err=quiet, out=io.StringIO())
    screen.on_event(events.EntryStarted("WEB", "a", "b"))
    time.sleep(0.2)
    assert quiet.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (86400, "1 day ago"),
        (2e7, "231 days ago"),
    ],
)
def test_an_age_has_one_unit(seconds: float, told: str) -> None:
    """Also of a clock that went back."""
    assert ago(seconds) == told
