"""Events for logs: one line an entry and run, to journald in its own protocol where that listens, else as text or JSON.

Quiet when nothing changed: that is a debug line, shown on demand only. What is logged comes from events, and these hold
no credentials: names, counts, and errors that were written for people.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import TextIO

from s32s.core import events, paths
from s32s.core.errors import Interrupted
from s32s.core.events import EntryFinished, Event
from s32s.core.summary import summary

_SOCKET = "/run/systemd/journal/socket"
#: syslog(3).
_PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}


class Log:
    """Writes the events of a run to a log; pass `on_event` as `emit`. Thread-safe.

    Args:
        form: "journal", "json" or "text".
        debug: also write that nothing had changed.
        err: where text and JSON go.
        journal: journald's socket.
    """

    def __init__(self, form: str, *, debug: bool = False, err: TextIO | None = None, journal: str = _SOCKET) -> None:
        self._form = form
        self._debug = debug
        self._err = err or sys.stderr
        self._journal = journal
        self._guard = threading.Lock()

    def on_event(self, event: Event) -> None:
        """Write a line, if the event is worth one."""
        match event:
            case events.Restarted():
                self.write("warning", event.entry, f"starting over (attempt {event.attempt}): {event.reason}")
            case events.Waiting() | events.Warned():
                self.write("warning", event.entry, event.text)
            case events.Watching():
                self.write("info", event.entry, event.text)
            case events.Output():
                self.write("info", event.entry, f"{event.command}: {event.line}", {"COMMAND": event.command})
            case EntryFinished():
                self._finish(event)
            case _:
                pass

    def write(self, level: str, entry: str, text: str, facts: Mapping[str, str | int | float] | None = None) -> None:
        """Write one line.

        Args:
            level: "error", "warning", "info" or "debug".
            facts: further fields, by names that journald takes: capitals, digits and underscores.
        """
        if level == "debug" and not self._debug:
            return
        fields = {"ENTRY": entry, **(facts or {})} if entry else dict(facts or {})
        with self._guard:
            if self._form == "journal" and self._send(level, entry, text, fields):
                return
            self._print(level, entry, text, fields)

    def _finish(self, event: EntryFinished) -> None:
        result = "changed" if event.changed else "held" if event.held else "unchanged"
        facts: dict[str, str | int | float] = {
            "RESULT": "failed" if event.error else result,
            "GENERATION": event.generation,
            "DURATION_MS": round(event.seconds * 1000),
        }
        if event.plan is not None:
            facts |= {
                "NEW": len(event.plan.new),
                "MODIFIED": len(event.plan.modified),
                "DELETED": event.plan.deletions,
                "REJECTED": len(event.plan.rejected),
            }
        if event.error is not None:
            facts["STATUS"] = event.error.exit_status
            level = "warning" if isinstance(event.error, Interrupted) or event.error.exit_status == 75 else "error"
            self.write(level, event.entry, str(event.error), facts)
        else:
            self.write("info" if event.changed or event.held else "debug", event.entry, summary(event), facts)

    def _send(self, level: str, entry: str, text: str, fields: Mapping[str, str | int | float]) -> bool:
        """Send a line in journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL); tell whether it was taken."""
        message = f"{entry}: {text}" if entry else text
        all_fields = {
            "MESSAGE": message,
            "PRIORITY": str(_PRIORITIES[level]),
            "SYSLOG_IDENTIFIER": "s32s",
            **{name: str(value) for name, value in fields.items()},
        }
        data = b"".join(_field(name, value) for name, value in all_fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.sendto(data, self._journal)
        except OSError:
            return False  # too long for a datagram, or nobody listens: the stream takes it
        return True

    def _print(self, level: str, entry: str, text: str, fields: Mapping[str, str | int | float]) -> None:
        if self._form == "json":
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            facts = {name.lower(): value for name, value in fields.items()}
            line = json.dumps({"time": now, "level": level, "message": text, **facts})
        else:
            shown = paths.escape(" ".join(text.split()))
            # On a stream of journald's a number in angle brackets is the priority (sd-daemon(3)).
            mark = f"<{_PRIORITIES[level]}>" if self._form == "journal" else ""
            line = f"{mark}{paths.escape(entry)}: {shown}" if entry else f"{mark}{shown}"
        print(line, file=self._err, flush=True)


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
