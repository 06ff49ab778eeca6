"""A terminal that a test sits at: a pseudo-terminal with the screen that a person would see.

Keys go in, and `wait_for` looks at the screen until something stands on it. pyte draws the screen from what the program
writes; what the program asks of the terminal (where is the cursor?) is answered.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyte

#: Far beyond what anything takes; a test that waits so long has failed.
PATIENCE_S = 40.0

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "page down": "\x1b[6~",
    "end": "\x1b[F",
    "ctrl-c": "\x03",
    "ctrl-d": "\x04",
    "backspace": "\x7f",
    "tab": "\t",
}


class _Screen(pyte.Screen):
    """A screen that answers the questions of the program into `answers`."""

    def __init__(self, columns: int, rows: int, answers: int) -> None:
        super().__init__(columns, rows)
        self._answers = answers

    def write_process_input(self, data: str) -> None:
        """See pyte: what a terminal sends back by itself."""
        os.write(self._answers, data.encode())


class Terminal:
    """A program at a terminal; get one from `terminal`."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, columns: int, rows: int
    ) -> None:
        self._reader, writer = pty.openpty()
        self._screen = _Screen(columns, rows, self._reader)
        self._stream = pyte.ByteStream(self._screen)
        self._set_size(columns, rows)
        self.raw = b""
        self.process = subprocess.Popen(
            list(command),
            env={"TERM": "xterm-256color", **environment},
            cwd=cwd,
            stdin=writer,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(writer)

    @property
    def text(self) -> str:
        """What stands on the screen now."""
        self._read()
        return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, *keys: str) -> None:
        """Send keys: names of `KEYS`, or text as it is."""
        for key in keys:
            os.write(self._reader, KEYS.get(key, key).encode())
            # A person does not press two keys at once, and Esc alone must not become the beginning of another key.
            self._read(0.12 if key == "escape" else 0.02)

    def click(self, column: int, row: int) -> None:
        """Click on a place, counted from 0."""
        for letter in "Mm":
            os.write(self._reader, f"\x1b[<0;{column + 1};{row + 1}{letter}".encode())
        self._read(0.05)

    def wait_for(self, *texts: str, without: str = "") -> str:
        """Wait until all of `texts` stand on the screen, and `without` does not; return the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            text = self.text
            if all(wanted in text for wanted in texts) and not (without and without in text):
                return text
            if self.process.poll() is not None and not self._read(0.1):
                break
            self._read(0.05)
        raise AssertionError(f"{texts} did not come (without {without!r}); the screen is:\n{self.text}")

    def wait_until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened beside the screen; whoever needs it asserts it afterwards."""
        deadline = time.monotonic() + PATIENCE_S
        while not happened() and time.monotonic() < deadline:
            self._read(0.05)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as dragging a corner of the window does."""
        self._screen.resize(rows, columns)
        self._set_size(columns, rows)
        os.kill(self.process.pid, signal.SIGWINCH)
        self._read(0.05)

    def ended(self) -> int:
        """Wait for the end of the program; return its status."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        return self.process.wait(1)

    def close(self) -> None:
        """End the program, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self._reader)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._reader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, wait_s: float = 0.0) -> bool:
        """Draw what has come; tell whether anything has."""
        came = False
        while select.select([self._reader], [], [], wait_s)[0]:
            try:
                data = os.read(self._reader, 65536)
            except OSError:  # the last writer has gone
                return came
            if not data:
                return came
            self.raw += data
            self._stream.feed(data)
            came = True
            wait_s = 0.0
        return came


@contextlib.contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, *, columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """Run a program at a terminal for as long as the block lasts."""
    made = Terminal(command, environment, cwd, columns, rows)
    try:
        yield made
    finally:
        made.close()
