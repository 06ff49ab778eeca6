"""Events for systemd: a status line that `systemctl status` shows while a run is at work (sd_notify(3))."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping

from s32s.core import events
from s32s.core.events import Event
from s32s.core.summary import Tally

_PAUSE_S = 1.0


class Notify:
    """Tells systemd how a run is coming along; pass `on_event` as `emit`. Costs nothing where nobody listens.

    Args:
        environment: for $NOTIFY_SOCKET.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._tally = Tally()
        self._told_s = 0.0

    def on_event(self, event: Event) -> None:
        """Tell of a phase, and once a second of files."""
        if not self._address:
            return
        self._tally.on_event(event)
        match event:
            case events.Phase() | events.Waiting():
                self._tell(event.entry)
            case events.FilePut():
                if time.monotonic() - self._told_s >= _PAUSE_S:
                    self._tell(event.entry)
            case events.EntryFinished():
                self._tally = Tally("done" if event.error is None else "failed")
                self._tell(event.entry)
            case _:
                pass

    def _tell(self, entry: str) -> None:
        self._told_s = time.monotonic()
        tally = self._tally
        files = f" {tally.files}/{tally.files_of}" if tally.files_of else ""
        text = f"STATUS={entry}: {tally.phase}{files}".replace("\n", " ")
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(text.encode("utf-8", "backslashreplace"), address)
