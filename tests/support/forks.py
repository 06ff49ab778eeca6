"""The command as a process of its own that is forked and not started.

Most of the CPU of a short command goes into the start of Python and into imports, always the same. So each process that
runs tests has one child that has imported the command and does nothing but fork. A fork gets the arguments, the
variables, the directory and the three streams of the new command, and calls `main`. It is a process as any other: it
has its own number, takes signals, and can be killed.

What differs from a real start: the order of the imports (tests/static/test_house.py keeps them free of cycles, so that
each order is good), the name that ps(1) shows, and the seed of hash(). `pytest --long` starts each command for real. So
does a test that runs `Machine.command` itself, and one that sets variables which Python, the C library or the loader
read at the start.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn, Self

COMMAND = (sys.executable, "-m", "s32s")
#: What is read before the first line of the program.
_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_", "GLIBC_")
_BLOCK = 64 * 1024
#: A message is one packet, and the kernel takes no larger one.
_MOST_BYTES = 100_000


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdout: int | IO[str] = subprocess.PIPE,
    stderr: int | IO[str] = subprocess.PIPE,
) -> Process:
    """Run a command without input: `s32s ARGUMENTS` in a fork where that is the same, another one in a new process."""
    facts = {"arguments": command[len(COMMAND) :], "variables": dict(env), "directory": str(cwd), "umask": _umask()}
    message = json.dumps(facts).encode()
    is_ours = tuple(command[: len(COMMAND)]) == COMMAND and _at_start(env) == _at_start(os.environ)
    if _is_used and is_ours and len(message) <= _MOST_BYTES:
        return Fork(command, message, stdout=stdout, stderr=stderr)
    return subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True
    )


def start_for_real() -> None:
    """Let each command be a new process from now on."""
    global _is_used
    _is_used = False


@contextlib.contextmanager
def forked() -> Iterator[None]:
    """Fork inside even so: for tests of hundreds of commands, none of which is about its start."""
    global _is_used
    was_used, _is_used = _is_used, sys.platform == "linux"
    try:
        yield
    finally:
        _is_used = was_used


#: Only where fork(2) of a process with libraries in it is safe.
_is_used = sys.platform == "linux"


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


class Fork:
    """A command that was forked; its methods are those of `subprocess.Popen`, as far as tests use them."""

    def __init__(self, command: Sequence[str], message: bytes, *, stdout: int | IO[str], stderr: int | IO[str]) -> None:
        self.args = command
        self.returncode: int | None = None
        self._said: dict[int, bytearray] = {}
        self._lock = threading.Lock()
        out, self.stdout = _stream(stdout)
        err, self.stderr = (out, None) if stderr == subprocess.STDOUT else _stream(stderr)
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            _forker().ask(message, [out, err, theirs.fileno()])
        for number, stream in ((out, self.stdout), (err, self.stderr)):
            if stream is not None:
                os.close(number)
        self.pid = self._hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def poll(self) -> int | None:
        """Its status, or None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                self.returncode = self._hear()
                self._status.close()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its status once it has ended."""
        until = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if left == 0.0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            # Another thread may hear the status first, and close this.
            select.select([self._status], [], [], min(left or 0.5, 0.5))
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it writes until it ends; after a timeout, the next call returns that too."""
        until = None if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as reading:
            for stream in (self.stdout, self.stderr):
                if stream is not None and not stream.closed:
                    reading.register(stream, selectors.EVENT_READ)
            while reading.get_map():
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                for key, _ in reading.select(left):
                    data = os.read(key.fd, _BLOCK)
                    self._said.setdefault(id(key.fileobj), bytearray()).extend(data)
                    if not data:
                        reading.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]
        self.wait(None if until is None else max(0.0, until - time.monotonic()))
        out, err = (self._said.get(id(stream), b"").decode() for stream in (self.stdout, self.stderr))
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def _hear(self) -> int:
        told = self._status.recv(4)
        if not told:
            raise ChildProcessError(f"{self.args}: the process that forks has ended")
        return int.from_bytes(told, "big", signed=True)


Process = subprocess.Popen[str] | Fork


def _stream(wanted: int | IO[str]) -> tuple[int, IO[str] | None]:
    """The descriptor for the command, and what is read here."""
    if wanted == subprocess.PIPE:
        reader, writer = os.pipe()
        return writer, open(reader, encoding="utf-8")
    return (wanted if isinstance(wanted, int) else wanted.fileno()), None


class _Forker:
    """The process that has imported the command, as seen from the tests; it ends when they do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # It keeps this handle, and so no `ResourceWarning` says that the process still runs at the end.
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                # A Ctrl-C at the terminal is for the tests; they end what they have started.
                start_new_session=True,
            )

    def ask(self, message: bytes, descriptors: list[int]) -> None:
        """Ask for a fork; the last descriptor is where it tells the number of the process, and later its status."""
        with self._lock:
            socket.send_fds(self._socket, [message], descriptors)


@cache
def _forker() -> _Forker:
    return _Forker()


def _serve(asked: socket.socket) -> None:
    """Fork for each message, and tell how each fork ended, until the tests end."""
    running: dict[int, int] = {}
    told, telling = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([asked, told], [], [])
        if told in ready:
            os.read(told, _BLOCK)
            _tell_ended(running)
        if asked not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(asked, _MOST_BYTES, 3)
        if not message:
            return
        out, err, status = descriptors
        number = os.fork()
        if number == 0:
            _become(message, out, err)
        os.close(out)
        os.close(err)
        os.write(status, number.to_bytes(4, "big", signed=True))
        running[number] = status


def _tell_ended(running: dict[int, int]) -> None:
    while running:
        number, status = os.waitpid(-1, os.WNOHANG)
        if number == 0:
            return
        told = running.pop(number)
        # A test need not wait for it.
        with contextlib.suppress(BrokenPipeError):
            os.write(told, os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
        os.close(told)


def _become(message: bytes, out: int, err: int) -> NoReturn:
    """Be the command."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        facts = json.loads(message)
        os.chdir(facts["directory"])
        os.umask(facts["umask"])
        os.environ.clear()
        os.environ.update(facts["variables"])
        sys.path[0] = facts["directory"]
        main_module = import_module("s32s.frontends.cli.main")
        sys.argv = [str(Path(main_module.__file__ or "").parents[2] / "__main__.py"), *facts["arguments"]]
        main_module.main()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


def _import_command() -> None:
    """Import what commands import, but for the menu and the demonstration."""
    import s32s

    for module in pkgutil.walk_packages(s32s.__path__, "s32s."):
        if not module.name.endswith("__main__") and ".menu" not in module.name:
            try:
                import_module(module.name)
            except ImportError:
                continue  # of a library, or a system, that is not here


if __name__ == "__main__":
    _import_command()
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads: a fork would lose all but one"
    gc.freeze()  # what is here already stays: its pages are shared
    _serve(socket.socket(fileno=int(sys.argv[1])))
