"""People who share a folder, each on a computer of their own, and what they do at random."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from s32s.backends.memory import MemoryBackend
from support.forks import Process
from support.machine import Ended, Machine
from support.packed import lines_in_packs
from support.servers import S3Server, get, keys
from support.trees import Entry, snapshot


class Peer(Machine):
    """One person: a computer, and a folder that is shared through `place`, in a layout."""

    def __init__(self, root: Path, server: S3Server, place: str, layout: str = "plain") -> None:
        super().__init__(root, server)
        self.place = place
        self.layout = layout
        self.name = root.name
        self.folder = root / "team"
        self.folder.mkdir(exist_ok=True)
        self.extra = {"AWS_ENDPOINT_URL": server.endpoint_url}
        self.extra |= dict.fromkeys(("USER", "LOGNAME", "USERNAME"), self.name)

    def sync(self, *arguments: str) -> Ended:
        """`s32s peer`, to its end."""
        return self.run(*self.words(*arguments))

    def words(self, *arguments: str) -> tuple[str, ...]:
        """The command line of a sync."""
        return ("peer", str(self.folder), self.place, "--layout", self.layout, *arguments)

    def tree(self) -> dict[str, Entry]:
        """What the folder holds, without what s32s keeps in it."""
        found = snapshot(self.folder)
        return {path: what for path, what in found.items() if path.split("/")[0] != ".s32s"}

    def files(self) -> Iterator[Path]:
        """The files of the person, without what s32s keeps there."""
        for directory, names, files in os.walk(self.folder):
            if Path(directory) == self.folder and ".s32s" in names:
                names.remove(".s32s")
            yield from (Path(directory) / name for name in files)

    def lines(self) -> set[str]:
        """Every line that is in any file of the folder, the trash included."""
        return {line for file in self.folder.rglob("*") if file.is_file() for line in _lines(file.read_bytes())}


def lines_on(server: S3Server, bucket: str, prefix: str) -> set[str]:
    """Every line that is in any file, the deleted folder included."""
    found: set[str] = set()
    if any("/.s32s/packs/" in key for key in keys(server, bucket, prefix)):
        place = MemoryBackend()
        for key in keys(server, bucket, prefix):
            data = get(server, bucket, key)
            place.put(key.removeprefix(f"{prefix}/"), lambda data=data: iter([data]), size=len(data))  # type: ignore[misc]
        return lines_in_packs(place)
    for key in keys(server, bucket, prefix):
        if "/.s32s/" not in key or "/.s32s/deleted/" in key:
            found |= _lines(get(server, bucket, key))
    return found


def _lines(data: bytes) -> set[str]:
    return set(data.decode("utf-8", "replace").split("\n"))


class Crowd:
    """Peers that write, rename and delete at random, sync at the same time, and are killed now and then.

    Each edit adds a line that is like no other, so a line that is nowhere in the end was lost. Nobody
    deletes a file with a line of their own that was never synced: what a person throws away unsynced, nobody can keep.
    """

    def __init__(self, peers: list[Peer], seed: int) -> None:
        self.peers = peers
        self.random = random.Random(seed)  # a test that can be repeated
        self.written: set[str] = set()
        self.pending: dict[str, set[str]] = {peer.name: set() for peer in peers}
        self.syncs = self.kills = 0
        #: How many attempts each sync has taken that went well beside others.
        self.attempts: list[int] = []
        self._number = 0
        #: Of the round before: the moments of the kills are spread over as much.
        self._took_s = 0.5

    def round(self, *, kills: float) -> None:
        """Everybody edits, then all sync at once; some are killed on the way."""
        for peer in self.peers:
            for _ in range(self.random.randint(0, 3)):
                self._edit(peer)
        began = time.monotonic()
        started = {peer: self._start(peer) for peer in self.peers}
        for process in started.values():
            if self.random.random() < kills:
                moment = began + self.random.uniform(0.1, 1.0) * self._took_s
                time.sleep(max(0.0, moment - time.monotonic()))
                process.send_signal(signal.SIGKILL)
        for peer, process in started.items():
            _, said = process.communicate(timeout=180)
            assert process.returncode in (0, 1, 75, -signal.SIGKILL), said
            assert "unexpected" not in said, said
            self.kills += process.returncode == -signal.SIGKILL
            if process.returncode == 0:
                begun = re.findall(r"starting over \(attempt (\d+)\)", said)
                self.attempts.append(int(begun[-1]) if begun else 1)
                self.pending[peer.name].clear()
        self._took_s = time.monotonic() - began

    def settle(self, most: int = 12) -> None:
        """Let all sync one after the other until nothing moves."""
        for _ in range(most):
            before = [peer.tree() for peer in self.peers]
            for peer in self.peers:
                ended = peer.sync("--keep", "both")
                self.syncs += 1
                assert ended.status == 0, ended.err
            if [peer.tree() for peer in self.peers] == before:
                return
        raise AssertionError("it never comes to rest")

    def _start(self, peer: Peer) -> Process:
        self.syncs += 1
        keep = self.random.choice([(), ("--keep", "both"), ("--keep", "both")])
        return peer.start(*peer.words(*keep))

    def _edit(self, peer: Peer) -> None:
        files = sorted(peer.files())
        what = self.random.choice(["new", "add", "add", "rename", "delete"])
        if what == "new" or not files:
            name = self.random.choice(["", "a/", "a/b/", "c/"]) + self.random.choice("pqrstuv") + ".txt"
            file = peer.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            self._add(peer, file)
            return
        file = self.random.choice(files)
        if what == "add":
            self._add(peer, file)
        elif what == "rename":
            to = file.with_name(f"moved-{self._next()}.txt")
            file.rename(to)
        elif not _lines(file.read_bytes()) & self.pending[peer.name]:
            file.unlink()

    def _add(self, peer: Peer, file: Path) -> None:
        line = f"{peer.name} {self._next()}"
        with file.open("a") as opened:
            opened.write(line + "\n")
        self.written.add(line)
        self.pending[peer.name].add(line)

    def _next(self) -> int:
        self._number += 1
        return self._number
