"""The line that tells how much was read so far."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from s32s.core.errors import Interrupted
from s32s.frontends.cli.commands.common import counted


class Terminal(io.StringIO):
    """Text for people."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_terminal_sees_how_much_was_read(monkeypatch: pytest.MonkeyPatch, kind: type[io.StringIO]) -> None:
    """Nobody else; the line is gone in the end, and a stop ends the work."""
    stream, stop = kind(), threading.Event()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")

    with counted("packs are read", stop) as progress:
        progress(5_000_000)
    shown = stream.getvalue()
    stop.set()
    with counted("packs are read", stop) as progress, pytest.raises(Interrupted):
        progress(1)

    assert shown == ("\r\x1b[Kpacks are read: 5.0 MB\r\x1b[K" if kind is Terminal else "")
