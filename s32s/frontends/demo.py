"""The whole loop on one machine: a master, an S3 server, two slaves, in a temporary directory.

The demo types nothing that a user would not type: every step is a command that it prints and runs. Only the S3 server
is its own (moto, which the extra `demo` installs); it listens on the loopback address and ends with the demo.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from s32s.core.errors import EntryFailed, UsageError
from s32s.core.paths import escape
from s32s.frontends.render.layout import can_colour, paint

_BUCKET = "demo-bucket"
_NAME = "WEBSITE"
_SLAVES = ("server1", "server2")
_TIMEOUT_S = 120


def demo(*, keep: bool = False) -> int:
    """Run the demo; return 0 only if both slaves equal the master after each pull.

    Raises:
        UsageError: the S3 server is not installed.
        EntryFailed: a step went wrong.
    """
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="s32s-demo-"))
        if keep:
            stack.callback(print, f"\nThe directory of the demo stays: {root}")
        else:
            stack.callback(shutil.rmtree, root)
        endpoint = stack.enter_context(_s3_server())
        _Demo(root, endpoint).play()
    return 0


class _Demo:
    def __init__(self, root: Path, endpoint: str) -> None:
        self._root = root
        self._endpoint = endpoint
        self._colour = can_colour(sys.stdout, os.environ)
        self._step = 0

    def play(self) -> None:
        """Every step in order."""
        self._tell("A directory with a small web site, and an S3 server on this machine:")
        _make_site(self._root / "site")
        self._show_tree("site")
        self._write_map()

        self._tell("This machine is the master. It learns its role and the place of the maps, then pushes:")
        self._run("master", "configure", "--role", "master", *self._place())
        self._run("master", "sync")

        self._tell("Two servers are slaves. Each may write only below its own directory:")
        for slave in _SLAVES:
            allow = self._path(f"{slave}/www")
            self._run(slave, "configure", "--role", "slave", *self._place(slave), "--allow", allow)
            self._run(slave, "sync")
        self._show_tree("server1")
        self._compare()

        self._tell("The site changes: a new page, another text, a page less. The master pushes again:")
        _change_site(self._root / "site")
        self._run("master", "sync")

        self._tell("A slave can look before it leaps. Then both pull:")
        self._run("server1", "dryrun")
        for slave in _SLAVES:
            self._run(slave, "sync")
        self._show_tree("server1")
        self._compare()

        self._tell("Nothing has changed since, so a pull has nothing to do. That is what a timer runs:")
        self._run("server1", "sync")
        self._run("server1", "status")
        print(f"\n{paint('Both servers equal the master.', 'green', on=self._colour)}")

    def _write_map(self) -> None:
        self._tell("A map says which directory belongs where. It is on S3 too, here one for each server:")
        client = _client(self._endpoint)
        client.create_bucket(Bucket=_BUCKET)
        for slave in _SLAVES:
            entry = {
                "name": _NAME,
                "s3": f"{_BUCKET}/sites/www",
                "master": str(self._root / "site"),
                "slave": str(self._root / slave / "www/site"),
            }
            text = json.dumps([entry], indent=2)
            client.put_object(Bucket=_BUCKET, Key=f"maps/{slave}/website.json", Body=text.encode())
            print(f"s3://{_BUCKET}/maps/{slave}/website.json")
            print(text.replace(str(self._root), "$DEMO"))

    def _place(self, slave: str = "server1") -> list[str]:
        return ["--maps", f"{_BUCKET}/maps/{slave}", "--endpoint-url", self._endpoint]

    def _path(self, name: str) -> str:
        (self._root / name).mkdir(parents=True, exist_ok=True)
        return str(self._root / name)

    def _run(self, agent: str, *arguments: str) -> None:
        """Type a command on one of the machines: each has its own configuration, state and cache."""
        home = self._path(agent)
        command = ["s32s", *arguments]
        shown = shlex.join(command).replace(str(self._root), "$DEMO")
        print(f"\n{paint(f'[{agent}] $ {shown}', 'bold', on=self._colour)}", flush=True)
        environment = {
            **os.environ,
            **_CREDENTIALS,
            "S32S_CONFIG": f"{home}/s32s.toml",
            "STATE_DIRECTORY": f"{home}/state",
            "CACHE_DIRECTORY": f"{home}/cache",
        }
        ended = subprocess.run(
            [sys.executable, "-m", "s32s", *command[1:]],
            env=environment,
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        print(ended.stdout.replace(str(self._root), "$DEMO"), end="", flush=True)
        if ended.returncode:
            raise EntryFailed(f"the step ended with status {ended.returncode}: {shown}")

    def _compare(self) -> None:
        master = snapshot(self._root / "site")
        for slave in _SLAVES:
            if snapshot(self._root / slave / "www/site") != master:
                raise EntryFailed(f"the tree of {slave} is not the master's")
        print("\nBoth servers equal the master: names, bytes, times, permissions, links, empty directories.")

    def _tell(self, text: str) -> None:
        self._step += 1
        print(f"\n{paint(f'{self._step}. {text}', 'bold', on=self._colour)}", flush=True)

    def _show_tree(self, name: str) -> None:
        top = self._root / name if name == "site" else self._root / name / "www/site"
        print(f"\n$DEMO/{top.relative_to(self._root)}")
        for path in sorted(top.rglob("*")):
            relative = path.relative_to(top)
            if path.is_symlink():
                fact = f"-> {path.readlink()}"
            else:
                fact = "" if path.is_dir() else f"{path.stat().st_size:,} bytes"
            indent = "  " * len(relative.parts)
            shown = escape(relative.name) + ("/" if path.is_dir() and not path.is_symlink() else "")
            print(f"{indent}{shown:<{28 - len(indent)}} {fact}".rstrip())


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that s32s promises to carry over, by relative path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if path.is_symlink():
            facts: tuple[object, ...] = ("link", os.readlink(path))
        elif path.is_dir():
            facts = ("dir", mode)
        else:
            facts = ("file", mode, status.st_mtime_ns, path.read_bytes())
        found[str(path.relative_to(root))] = facts
    return found


_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def _make_site(root: Path) -> None:
    (root / "css").mkdir(parents=True)
    (root / "img").mkdir()
    (root / "uploads").mkdir()
    (root / "index.html").write_text("<h1>Welcome</h1>\n")
    (root / "news.html").write_text("<h1>News</h1>\n")
    (root / "css/site.css").write_text("body { margin: 2em }\n")
    (root / "img/logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>\n')
    (root / "home.html").symlink_to("index.html")
    (root / "news.html").chmod(0o600)


def _change_site(root: Path) -> None:
    (root / "index.html").write_text("<h1>Welcome back</h1>\n")
    (root / "contact.html").write_text("<h1>Contact</h1>\n")
    (root / "news.html").unlink()


@contextlib.contextmanager
def _s3_server() -> Iterator[str]:
    try:
        from moto.server import ThreadedMotoServer
    except ImportError as exc:
        is_package = __file__.startswith("/usr/lib/s32s/")
        cure = (
            "the Debian package brings none; in a clone of the source: python3 -m venv .venv && .venv/bin/pip install"
            if is_package
            else f"in a clone of the source: {sys.executable} -m pip install"
        )
        raise UsageError("the demo needs an S3 server of its own", hint=f"{cure} '.[demo]'") from exc
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _client(endpoint: str):  # type: ignore[no-untyped-def] # boto3 is untyped without its stubs
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="demo",
        aws_secret_access_key="demo",  # noqa: S106 # the demo's own server asks for none
        region_name="us-east-1",
    )
