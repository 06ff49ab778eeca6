"""SFTP by paramiko, with host keys that are checked: fsspec's own class takes any."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from s32s.backends.base import Chunk
from s32s.backends.remote.files import PATIENCE_S, READ_SIZE, Files, Info, etag_of
from s32s.core.errors import Unsupported

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # its errors are raised as well


class _StrictSftp(SFTPFileSystem):  # type: ignore[misc] # fsspec has no types
    """Only servers whose keys `~/.ssh/known_hosts` or the system's file has; keys, agent and hosts as ssh has them."""

    protocol = "sftp"

    def _connect(self) -> None:
        options: dict[str, Any] = {
            "timeout": PATIENCE_S,
            "banner_timeout": PATIENCE_S,
            "auth_timeout": PATIENCE_S,
            **_configured(self.host),
            **self.ssh_kwargs,
        }
        if options.get("password"):
            # Servers close the connection after a few keys that they do not know, before a password has its turn.
            options = {"look_for_keys": False, "allow_agent": False, **options}
        client = paramiko.SSHClient()
        client.load_system_host_keys()
        if (system := Path("/etc/ssh/ssh_known_hosts")).is_file():
            client.load_system_host_keys(str(system))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(options.pop("hostname", self.host), **options)
        self.client = client
        self.ftp = client.open_sftp()
        self.ftp.get_channel().settimeout(PATIENCE_S)


class SftpFiles(Files):
    """One connection to an SFTP server.

    Args:
        options: of `paramiko.SSHClient.connect`.
    """

    def __init__(self, host: str, options: Mapping[str, Any]) -> None:
        super().__init__(_StrictSftp(host, skip_instance_cache=True, **options))

    def read(self, path: str) -> Generator[tuple[Info, Iterator[Chunk]], None, None]:
        """See `Files`; the file that was opened is the one that is described, whatever takes its name meanwhile."""
        with self.fs.ftp.open(path, "rb") as file:
            stat = file.stat()
            size, stored_ns = stat.st_size, stat.st_mtime * 10**9
            file.prefetch(size)
            info = Info(path.rpartition("/")[2], "file", size, etag_of(size, stored_ns), stored_ns)
            yield info, iter(lambda: file.read(READ_SIZE), b"")

    def write(self, path: str, chunks: Iterator[Chunk], size: int) -> None:
        """See `Files`."""
        with self.fs.ftp.open(path, "wb") as file:
            file.set_pipelined(True)
            for chunk in chunks:
                file.write(bytes(chunk))

    def make_directory(self, path: str) -> None:
        """See `Files`. Another connection may make the same directory at the same time, which is as good."""
        made = "/" if path.startswith("/") else ""
        for name in filter(None, path.split("/")):
            made = f"{made.rstrip('/')}/{name}" if made else name
            try:
                self.fs.ftp.stat(made)
            except FileNotFoundError:
                with contextlib.suppress(OSError):
                    self.fs.ftp.mkdir(made)
        if self.info(path).kind != "directory":
            raise NotADirectoryError(f"{path} is a file")

    def move(self, source: str, target: str) -> None:
        """See `Files`; OpenSSH's extension replaces a file in one step, the protocol's own rename may not."""
        try:
            self.fs.ftp.posix_rename(source, target)
        except OSError as exc:
            if "unsupported" in str(exc).lower():
                raise Unsupported(
                    "this SFTP server cannot replace a file in one step (posix-rename@openssh.com)",
                    hint="use one that can, such as OpenSSH, or WebDAV",
                ) from exc
            raise


def _configured(host: str) -> dict[str, Any]:
    """What `~/.ssh/config` says of a host, see ssh_config(5): real name, user, port, keys and a command to connect."""
    path = Path("~/.ssh/config").expanduser()
    if not path.is_file():
        return {}
    found = paramiko.SSHConfig.from_path(os.fspath(path)).lookup(host)
    options: dict[str, Any] = {"hostname": found["hostname"]}
    if "user" in found:
        options["username"] = found["user"]
    if "port" in found:
        options["port"] = int(found["port"])
    if "identityfile" in found:
        options["key_filename"] = [name for name in found["identityfile"] if os.path.exists(name)]
    if "proxycommand" in found:
        options["sock"] = paramiko.ProxyCommand(found["proxycommand"])
    return options
