"""Standard output and error that never stop the work: closed, full or without UTF-8, they take what they can.

What a stream cannot show is written as a backslash escape, and what it does not take is lost, which `lost` tells
afterwards. A stream that was closed becomes /dev/null before anything else opens a file: the next socket would
otherwise get its number, and the lines that were meant for people.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, TextIO

#: Carries the encoding of the streams over a restart.
_ENCODING = "_S32S_ENCODING"


def prepare() -> None:
    """Make the standard streams safe to write to; call it first."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one; what was closed stays closed for the programs we start.
            os.open(os.devnull, os.O_RDWR)
    told = os.environ.pop(_ENCODING, "")
    encoding = told or (sys.stdout or sys.stderr or sys.__stdout__ or _Default).encoding or "utf-8"
    if sys.getfilesystemencoding().lower() != "utf-8" and not told:
        # Names of files are UTF-8 whatever the locale, and Python settles that at its start (PEP 540).
        os.environ[_ENCODING] = encoding
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 # ourselves
        del os.environ[_ENCODING]
    sys.stdout = _stream(1, encoding)
    sys.stderr = _stream(2, encoding)


def lost(stream: TextIO) -> OSError | None:
    """Why a stream did not take all that was written to it; None if it did."""
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    raw: Any = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Raw) else None


class _Default:
    encoding = "utf-8"


class _Raw(io.FileIO):
    """A descriptor that takes everything; after the first failure, which it keeps, nothing arrives any more."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as exc:
                self.lost = exc
        return len(data)


def _stream(number: int, encoding: str) -> TextIO:
    raw = _Raw(number, "w", closefd=False)
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffered, encoding=encoding, errors="backslashreplace", line_buffering=number == 2 or raw.isatty()
    )
