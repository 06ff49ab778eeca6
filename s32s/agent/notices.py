"""What is told elsewhere: a ping to a watchdog such as healthchecks, and a command after a failure.

It is told after each run; by a watch once a minute, and at once when an entry fails or works again.

A watchdog notices what a machine cannot tell itself: that it did not run at all. Nothing here fails a run.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping

from s32s.agent.report import Report
from s32s.config.settings import NotifySettings
from s32s.core import events
from s32s.core.errors import S32sError
from s32s.core.events import Emit, EntryFinished
from s32s.core.paths import escape
from s32s.system import processes

_PATIENCE_S = 10.0
_COMMAND_S = 60.0
_BEAT_S = 60.0
_MOST = 10_000  # bytes of a ping


def send(settings: NotifySettings, report: Report) -> Iterator[str]:
    """Ping the address, and run the command after a failure.

    Yields:
        What went wrong with that, for people.
    """
    is_failed = bool(report.exit_status)
    if settings.url:
        url = settings.url.rstrip("/") + ("/fail" if is_failed else "")
        try:
            # The settings take http and https alone.
            asked = urllib.request.Request(url, data=told(report).encode()[:_MOST], headers={"User-Agent": "s32s"})  # noqa: S310
            urllib.request.urlopen(asked, timeout=_PATIENCE_S).close()  # noqa: S310
        except (OSError, ValueError) as exc:  # of which urllib.error.URLError is one
            yield f"{escape(url)} could not be told: {escape(str(exc))}"
    if settings.on_failure and is_failed:
        failed = ", ".join(end.entry for end in report.finished if end.error is not None)
        variables = {
            "S32S_STATUS": str(report.exit_status),
            "S32S_FAILED": escape(failed),
            "S32S_ERROR": told(report)[:_MOST],
        }
        try:
            status = processes.run(settings.on_failure, variables=variables, timeout_s=_COMMAND_S)
        except TimeoutError:
            yield f"the command of on_failure was stopped after {_COMMAND_S:g} s"
        else:
            if status:
                yield f"the command of on_failure ended with status {status}"


def told(report: Report) -> str:
    """A run in a few lines: what has failed, else how many entries are well."""
    lines = [f"{escape(end.entry)}: {end.error}" for end in report.finished if end.error is not None]
    lines += [str(problem) for problem in report.problems]
    if report.error is not None:
        lines.append(str(report.error))
    number = len(report.finished)
    return "\n".join(lines) or f"{number:,} {'entry' if number == 1 else 'entries'}, all well"


class Heartbeat:
    """What a watch tells: how the entries stand, on a thread of its own, since nobody waits for a watchdog.

    Args:
        emit: told what went wrong with it.
    """

    def __init__(self, settings: NotifySettings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self._told: dict[str, str] | None = None
        self._due_s = 0.0
        self._sending: threading.Thread | None = None

    def tick(self, standing: Mapping[str, S32sError | None]) -> None:
        """Tell how all is, if it is time to or something has failed or works again; call it again and again.

        Args:
            standing: the last error of each entry; None where it is well.
        """
        failing = {name: str(error) for name, error in standing.items() if error is not None}
        is_due = failing != self._told or time.monotonic() >= self._due_s
        if not is_due or (self._sending is not None and self._sending.is_alive()):
            return
        settings = self._settings
        if failing.items() <= (self._told or {}).items():
            settings = settings.model_copy(update={"on_failure": None})  # a failure that lasts is told once
        self._told, self._due_s = failing, time.monotonic() + _BEAT_S
        report = Report(tuple(EntryFinished(name, None, 0.0, error=error) for name, error in standing.items()))
        self._sending = threading.Thread(target=self._send, args=(settings, report), daemon=True)
        self._sending.start()

    def _send(self, settings: NotifySettings, report: Report) -> None:
        for problem in send(settings, report):
            self._emit(events.Warned("notify", problem))
