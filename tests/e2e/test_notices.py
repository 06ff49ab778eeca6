"""What is told elsewhere after a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.machine import Loop
from support.servers import S3Server
from support.trees import make_tree


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """Nothing of it depends on the server."""
    return moto


@pytest.fixture
def pings() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A watchdog: its address, and the path and body of each ping."""
    came: list[tuple[str, str]] = []

    class Watchdog(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Watchdog)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}/check", came
    listening.shutdown()
    listening.server_close()


def test_a_watchdog_is_told_of_each_run(loop: Loop, pings: tuple[str, list[tuple[str, str]]]) -> None:
    """A failure at another address, with what has failed; and a command runs then. A dry run tells nobody."""
    url, came = pings
    note = loop.master.root / "note"
    loop.master.extra |= {
        "S32S_NOTIFY_URL": url,
        "S32S_NOTIFY_ON_FAILURE": f'echo "$S32S_STATUS $S32S_FAILED: $S32S_ERROR" > {note}',
    }
    make_tree(loop.source, {"a": b"1"})
    loop.push()
    loop.master.run("dryrun")
    assert came == [("/check", "1 entry, all well")]
    assert not note.exists()

    (loop.source / "a").unlink()
    ended = loop.push()

    assert ended.status == 3
    assert [path for path, _ in came] == ["/check", "/check/fail"]
    assert came[1][1].startswith("WEB: the source contains no files")
    assert note.read_text().startswith("3 WEB: WEB: the source contains no files")


def test_a_watchdog_that_is_away_fails_no_run(loop: Loop) -> None:
    """It is a warning."""
    loop.master.extra |= {"S32S_NOTIFY_URL": "http://127.0.0.1:9/check", "S32S_NOTIFY_ON_FAILURE": "exit 3"}
    make_tree(loop.source, {"a": b"1"})

    ended = loop.push()

    assert ended.status == 0
    assert "http://127.0.0.1:9/check could not be told" in ended.err


def test_a_watch_tells_how_it_stands(loop: Loop, pings: tuple[str, list[tuple[str, str]]]) -> None:
    """At once when an entry fails or works again; the command runs once for a failure that lasts."""
    url, came = pings
    note = loop.master.root / "note"
    loop.master.extra |= {"S32S_NOTIFY_URL": url, "S32S_NOTIFY_ON_FAILURE": f"echo x >> {note}"}
    make_tree(loop.source, {"a": b"1"})

    def wait_for(*paths: str) -> None:
        deadline = time.monotonic() + 60
        while [path for path, _ in came] != list(paths) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [path for path, _ in came] == list(paths)

    watch = loop.master.start("watch", "--settle", "0.1s")
    try:
        wait_for("/check")
        (loop.source / "a").unlink()
        wait_for("/check", "/check/fail")
        make_tree(loop.source, {"a": b"1"})
        wait_for("/check", "/check/fail", "/check")
    finally:
        watch.kill()
        watch.communicate()

    assert came[1][1].startswith("WEB: the source contains no files")
    assert note.read_text() == "x\n"
