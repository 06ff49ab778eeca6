"""S3 at a distance: a proxy that delays every byte, and limits how many pass a second.

It is `distance.c`, compiled when it is first needed: a proxy in Python would take as much of a processor as what is
measured.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_SOURCE = Path(__file__).with_name("distance.c")
_START_TIMEOUT_S = 10.0
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")


@dataclass(frozen=True, slots=True)
class Line:
    """A running proxy.

    Attributes:
        endpoint_url: the server, seen from far away.
    """

    endpoint_url: str
    pid: int

    def cpu_s(self) -> float:
        """The processor time that it has taken so far (proc_pid_stat(5), utime and stime)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def far_away(endpoint_url: str, *, delay_s: float, bytes_per_s: float = 0.0) -> Iterator[Line]:
    """Put a line before a server on loopback for as long as the block lasts.

    Args:
        delay_s: of one way.
        bytes_per_s: of all connections together, in either direction; 0 for no limit.

    Raises:
        SystemExit: it cannot be compiled.
    """
    parts = urlsplit(endpoint_url)
    command = [str(_compiled()[0]), str(parts.port), f"{delay_s * 1e6:.0f}", f"{bytes_per_s:.0f}"]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stdin=subprocess.DEVNULL)
        try:
            until = time.monotonic() + _START_TIMEOUT_S
            while not (found := _ADDRESS.search(_read(output.fileno()))):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the proxy of the benchmark does not start")
                time.sleep(0.01)
            yield Line(f"{parts.scheme}://{found.group()}", process.pid)
        finally:
            process.terminate()
            process.wait()


def _read(fd: int) -> str:
    return os.pread(fd, 4096, 0).decode()


@functools.cache
def _compiled() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """The program, and what keeps it there."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("--delay needs a C compiler: install gcc or clang")
    place = tempfile.TemporaryDirectory(prefix="s32s-distance-")
    program = Path(place.name, "distance")
    subprocess.run([compiler, "-O2", "-std=gnu11", "-o", str(program), str(_SOURCE)], check=True)
    return program, place
