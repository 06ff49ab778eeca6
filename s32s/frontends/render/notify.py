"""Events for systemd: a status line that `systemctl status` shows while a run is at work (sd_notify(3))."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping

from s32s.core import events
from s32s.core.events import Event

_PAUSE_S = 1.0


class Notify:
    """Tells systemd how a run is coming along; pass `on_event` as `emit`. Costs nothing where nobody listens.

    Args:
        environment: for $NOTIFY_SOCKET.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._phase = ""
        self._files = self._files_of = 0
        self._told_s = 0.0

    def on_event(self, event: Event) -> None:
        """Tell of a phase, and once a second of files."""
        if not self._address:
            return
        match event:
            case events.Phase() | events.Waiting():
                self._phase = event.what if isinstance(event, events.Phase) else event.text
                self._tell(event.entry)
            case events.Planned():
                self._files = 0
                self._files_of = sum(1 for put in event.plan.puts if put.needs_bytes)
            case events.FilePut():
                self._files += 1
                if time.monotonic() - self._told_s >= _PAUSE_S:
                    self._tell(event.entry)
            case events.EntryFinished():
                self._phase = "done" if event.error is None else "failed"
                self._files_of = 0
                self._tell(event.entry)
            case _:
                pass

    def _tell(self, entry: str) -> None:
        self._told_s = time.monotonic()
        files = f" {self._files}/{self._files_of}" if self._files_of else ""
        text = f"STATUS={entry}: {self._phase}{files}".replace("\n", " ")
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(text.encode("utf-8", "backslashreplace"), address)
