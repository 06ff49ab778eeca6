"""Servers of files, on loopback: `rclone serve sftp` and `webdav`, and OpenSSH's sftp-server from Debian.

OpenSSH's program speaks SFTP over its standard streams; the connection around it is paramiko's, as sshd wants a system
of its own. What is tested is how OpenSSH answers.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from support.servers import rclone_binary

USER, PASSWORD = "me", "p@ss:word"
_LOGIN = f"{USER}:p%40ss%3Aword"
#: What each kind is called in a URL.
KINDS = {"rclone-sftp": "sftp", "openssh": "sftp", "webdav": "webdav"}


@contextlib.contextmanager
def serving(kind: str, directory: Path) -> Iterator[str]:
    """Serve a directory; yield its URL."""
    if kind == "openssh":
        with _openssh() as port:
            yield f"sftp://{_LOGIN}@127.0.0.1:{port}{directory}"
        return
    scheme = KINDS[kind]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [str(rclone_binary()), "serve", scheme, "--addr", f"127.0.0.1:{port}", "--user", USER, "--pass", PASSWORD]
    words += ["--cache-dir", str(directory.parent / "cache"), str(directory)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"{scheme}://{_LOGIN}@127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def trust(url: str, home: Path) -> None:
    """Put the host key of a server into `~/.ssh/known_hosts`."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    transport = paramiko.Transport(("127.0.0.1", port))
    try:
        transport.start_client(timeout=10)
        key = transport.get_remote_server_key()
    finally:
        transport.close()
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    with (home / ".ssh/known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")


def _sftp_server() -> Path:
    """OpenSSH's program: installed, or out of Debian's package."""
    found = _found_sftp_server()
    if isinstance(found, str):
        pytest.skip(f"no OpenSSH sftp-server here, and it cannot be fetched: {found}")
    return found


@functools.cache
def _found_sftp_server() -> Path | str:
    """The program, or why there is none."""
    installed = Path("/usr/lib/openssh/sftp-server")
    if installed.is_file():
        return installed
    directory = Path(tempfile.mkdtemp(prefix="s32s-sftp-server-"))
    try:
        subprocess.run(
            ["apt-get", "download", "openssh-sftp-server"], cwd=directory, capture_output=True, timeout=30, check=True
        )
        (package,) = directory.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(directory)], capture_output=True, check=True)
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        return str(exc)
    return directory / "usr/lib/openssh/sftp-server"


class _Access(paramiko.ServerInterface):
    """Let one user in, by password or by any key, to the subsystem of files alone."""

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return int(paramiko.AUTH_SUCCESSFUL if username == USER else paramiko.AUTH_FAILED)

    def check_auth_password(self, username: str, password: str) -> int:
        is_right = (username, password) == (USER, PASSWORD)
        return int(paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if name == "sftp":
            threading.Thread(target=_serve_files, args=(channel,), daemon=True).start()
        return name == "sftp"


@contextlib.contextmanager
def _openssh() -> Iterator[int]:
    """Listen until the block ends; yield the port."""
    _sftp_server()
    key = paramiko.ECDSAKey.generate()
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                transport = paramiko.Transport(connection)
                transports.append(transport)
                transport.add_server_key(key)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=_Access())

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for transport in transports:
                transport.close()


def _serve_files(channel: paramiko.Channel) -> None:
    """Connect a channel to the program until either ends."""
    process = subprocess.Popen([_sftp_server()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    questions, answers = process.stdin, process.stdout
    assert questions is not None
    assert answers is not None

    def answer() -> None:
        with contextlib.suppress(OSError):
            while data := answers.read(65536):
                channel.sendall(data)

    threading.Thread(target=answer, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := channel.recv(65536):
            questions.write(data)
    process.kill()
    process.wait()
