"""Commands of this machine's own configuration: after a sync, and from the menu.

Only a command of `[commands]` can run; a map names one and never carries one. A command gets no terminal and none of
our AWS variables. It runs in a process group of its own, so that stopping it stops what it has started, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping

#: How long a command may take to end after SIGTERM.
_GRACE_S = 5.0
#: Of a line of output; the rest of it is dropped, so that output without line breaks takes no memory.
_MAX_LINE = 8 * 1024
_CUT = " … (cut)"


def run(
    command: str,
    *,
    variables: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    stop: threading.Event | None = None,
    timeout_s: float | None = None,
) -> int:
    """Run `command` by /bin/sh to its end; return its exit status, or the negative number of the signal that ended it.

    Args:
        variables: added to its environment.
        on_line: told of every line of its output and errors, as they come.
        stop: when it is set, the command is ended.
        timeout_s: likewise, after so many seconds.

    Raises:
        TimeoutError: it was ended because of `timeout_s`.
    """
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        env={**environment(), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    until = None if timeout_s is None else time.monotonic() + timeout_s
    # Its output may stay open behind it, in a daemon that it has started: its end is what counts.
    reader = threading.Thread(target=_read, args=(process, on_line), daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            if stop is not None and stop.is_set():
                _end(process)
            elif until is not None and time.monotonic() > until:
                _end(process)
                raise TimeoutError
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        reader.join(1.0)
        return process.returncode
    except BaseException:
        _end(process)
        raise


def environment() -> dict[str, str]:
    """What a command may see: no credentials."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _read(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
    if process.stdout is None:
        return
    line = b""
    is_cut = False

    def tell() -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        on_line(text + _CUT if is_cut else text)

    while piece := os.read(process.stdout.fileno(), 64 * 1024):
        *ended, rest = piece.split(b"\n")
        for part in ended:
            is_cut = is_cut or len(line) + len(part) > _MAX_LINE
            line = (line + part)[:_MAX_LINE]
            tell()
            line, is_cut = b"", False
        is_cut = is_cut or len(line) + len(rest) > _MAX_LINE
        line = (line + rest)[:_MAX_LINE]
    if line:
        tell()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
