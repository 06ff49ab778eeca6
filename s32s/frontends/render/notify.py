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
#: Between two signs of life (seconds).
_ALIVE_S = 5.0


class Notify:
    """Tells systemd how a run is coming along; pass `on_event` as `emit`. Costs nothing where nobody listens.

    Args:
        environment: for $NOTIFY_SOCKET.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._tally = Tally()
        self._told_s = 0.0
        self._alive_s = float("-inf")

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
            case events.Watching():
                self._send(f"STATUS={event.entry}: {event.text}".replace("\n", " "))
            case events.EntryFinished():
                self._tally = Tally("done" if event.error is None else "failed")
                self._tell(event.entry)
            case _:
                pass

    def ready(self) -> None:
        """Tell that the service has begun its work."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Tell that the configuration is read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that the service is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Tell the watchdog, at most once in a few seconds, that all is well."""
        if self._address and time.monotonic() - self._alive_s >= _ALIVE_S:
            self._alive_s = time.monotonic()
            self._send("WATCHDOG=1")

    def _tell(self, entry: str) -> None:
        self._told_s = time.monotonic()
        tally = self._tally
        files = f" {tally.files}/{tally.files_of}" if tally.files_of else ""
        self._send(f"STATUS={entry}: {tally.phase}{files}".replace("\n", " "))

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(text.encode("utf-8", "backslashreplace"), address)
