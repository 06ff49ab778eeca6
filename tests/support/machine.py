"""A machine with the installed command: its own configuration, state and cache below one directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from support import forks, json_lines
from support.forks import Process
from support.servers import S3Server, put

TIMEOUT_S = 120


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def changed_nothing(self) -> bool:
        """A copy or sync that found everything up to date: without a terminal it says nothing."""
        return (self.status, self.out) == (0, "")


class Machine:
    """One computer: `root/s32s.toml`, `root/state`, `root/cache`."""

    def __init__(self, root: Path, server: S3Server, *, endpoint_url: str | None = None) -> None:
        self.root = root
        self.server = server
        self.endpoint_url = endpoint_url or server.endpoint_url
        self.extra: dict[str, str] = {}
        root.mkdir(parents=True, exist_ok=True)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / "s32s.toml"

    def write_config(
        self, role: str, maps: str, *, allow: Sequence[Path] = (), retries: int = 3, text: str = ""
    ) -> None:
        """Write a configuration; `text` is added at the top level."""
        allowed = ", ".join(json.dumps(str(path)) for path in allow)
        self.config.write_text(
            f'role = "{role}"\nmaps = "{maps}"\nallow = [{allowed}]\n{text}\n'
            f'[s3]\nendpoint_url = "{self.endpoint_url}"\nretries = {retries}\n'
        )

    def environment(self) -> dict[str, str]:
        """What the command sees: nothing of the developer's own AWS or s32s settings."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "S32S_", "XDG_")) and name not in ("STATE_DIRECTORY", "CACHE_DIRECTORY")
        }
        return {
            **clean,
            **self.server.environment(),
            "HOME": str(self.root),
            "S32S_CONFIG": str(self.config),
            "STATE_DIRECTORY": str(self.root / "state"),
            "CACHE_DIRECTORY": str(self.root / "cache"),
            **self.extra,
        }

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ended:
        """Run `s32s ARGUMENTS` to its end."""
        with self.start(*arguments, environment=environment, cwd=cwd) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            except BaseException:
                process.kill()
                raise
        if "--json" in arguments:
            json_lines.check(out)
        return Ended(process.wait(), out, err)

    def start(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        output: int | IO[str] = subprocess.PIPE,
    ) -> Process:
        """Start `s32s ARGUMENTS`; the caller ends it.

        Args:
            output: for both streams, where they are not read through pipes.
        """
        return forks.start(
            self.command(*arguments),
            env={**self.environment(), **(environment or {})},
            cwd=cwd or self.root,
            stdout=output,
            stderr=output,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line; the module, so that no installation of a script is needed."""
        return [sys.executable, "-m", "s32s", *arguments]


@dataclass(frozen=True)
class Loop:
    """A master and a slave that follow one entry."""

    server: S3Server
    bucket: str
    master: Machine
    slave: Machine
    source: Path
    target: Path

    @property
    def prefix(self) -> str:
        """The entry's prefix in the bucket."""
        return "data/web"

    def write_map(self, **properties: Any) -> None:
        """Upload the map with one entry, WEB; properties of None are left out."""
        entry: dict[str, Any] = {
            "name": "WEB",
            "s3": f"{self.bucket}/{self.prefix}",
            "master": str(self.source),
            "slave": str(self.target),
            **properties,
        }
        kept = {name: value for name, value in entry.items() if value is not None}
        put(self.server, self.bucket, "maps/web.json", json.dumps([kept]).encode())

    def push(self, *arguments: str) -> Ended:
        """`s32s sync` on the master."""
        return self.master.run("sync", *arguments)

    def pull(self, *arguments: str) -> Ended:
        """`s32s sync` on the slave."""
        return self.slave.run("sync", *arguments)


def make_loop(root: Path, server: S3Server, bucket: str, *, endpoint_url: str | None = None) -> Loop:
    """A loop below `root` with its map uploaded and both machines configured; the source directory is empty."""
    loop = Loop(
        server,
        bucket,
        Machine(root / "master", server, endpoint_url=endpoint_url),
        Machine(root / "slave", server, endpoint_url=endpoint_url),
        root / "master/site",
        root / "slave/srv/site",
    )
    loop.source.mkdir()
    loop.target.parent.mkdir()
    loop.write_map()
    loop.master.write_config("master", f"{bucket}/maps")
    loop.slave.write_config("slave", f"{bucket}/maps", allow=[loop.target.parent])
    return loop
