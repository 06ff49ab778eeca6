"""SIGKILL at random moments, over every role and way, against any S3 server.

One *way* is one command that is killed again and again while the data changes between the kills. A way first measures
how long a run with nothing to do and a run with work take, so that the kills fall where work is done. After each kill
it looks with its own eyes: at the target, at the objects, and at a slave that follows the prefix.

The tests use `kill_way`. As a script it does the same against a server that already runs:

    python tests/crash/kills.py --endpoint http://127.0.0.1:7480 --key KEY --secret SECRET --kills 500
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from botocore.exceptions import ClientError
from support.checks import left_overs
from support.machine import Ended, Loop, Machine, make_loop
from support.servers import S3Server, get, keys, make_bucket, put
from support.trees import Entry, make_tree, snapshot

FILES = 60
#: Above two parts, so that the multipart upload and the reading in ranges are met too.
BIG = 18 * 1024 * 1024
Snapshot = Mapping[str, Entry]


@dataclass
class Tally:
    """What became of the kills of one way."""

    way: str
    server: str
    seed: int
    hits: int = 0
    missed: int = 0
    old: int = 0
    new: int = 0
    between: int = 0
    seconds: float = 0.0
    pace: float = 1.0
    """Corrects the measured duration: lower after a kill that came too late."""
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One row of the table."""
        result = "all well" if not self.problems else f"{len(self.problems)} PROBLEMS: {self.problems[0][:300]}"
        return (
            f"{self.way:20} {self.server:8} {self.hits:5} {self.missed:7} {self.old:5} {self.new:5} {self.between:8}"
            f" {self.seconds:6.0f} s  seed {self.seed:<7} {result}"
        )


HEADER = f"{'way':20} {'server':8} {'kills':>5} {'missed':>7} {'old':>5} {'new':>5} {'between':>8} {'time':>8}"


class Ground:
    """Machines, a prefix and a tree that changes; what a way stands on."""

    def __init__(self, root: Path, server: S3Server, rng: random.Random, way: str) -> None:
        self.server = server
        self.rng = rng
        self.bucket = f"kills-{uuid.uuid4().hex[:20]}"
        make_bucket(server, self.bucket)
        self.loop: Loop = make_loop(root, server, self.bucket)
        spec = {f"d{n % 5}/f{n}": rng.randbytes(rng.randint(0, 6000)) for n in range(FILES)}
        make_tree(self.loop.source, dict(spec))
        properties: dict[str, object] = {}
        if way == "pull in-place":
            properties["apply"] = "in-place"
        if way == "push, no manifest":
            properties["manifest"] = False
        self.loop.write_map(**properties)
        # The mirror's own map and the map of a slave that follows the copy.
        self.mirror = Machine(root / "mirror", server)
        self.mirror.write_config("mirror", f"{self.bucket}/maps-mirror")
        entry = {"name": "WEB", "s3": f"{self.bucket}/data/web", "mirror": f"{self.bucket}/copy/web", **properties}
        put(server, self.bucket, "maps-mirror/web.json", json.dumps([entry]).encode())
        self.follower = replace(self.loop, slave=Machine(root / "follower", server), target=root / "follower/srv/site")
        self.follower.target.parent.mkdir()
        self.follower.slave.write_config("slave", f"{self.bucket}/maps-copy", allow=[self.follower.target.parent])
        behind = {"name": "WEB", "s3": f"{self.bucket}/copy/web", "slave": str(self.follower.target)}
        put(server, self.bucket, "maps-copy/web.json", json.dumps([behind]).encode())
        self.attempts: dict[tuple[tuple[str, Entry], ...], int] = {}
        self.note()

    def note(self) -> None:
        """Remember the source as a tree that may be published from now on."""
        self.attempts[_frozen(snapshot(self.loop.source))] = len(self.attempts)

    def mutate(self, *, big: bool = False) -> None:
        """Change the source: contents, modes, new files, deleted files, now and then a large one."""
        for _ in range(self.rng.randint(1, 30)):
            path = self.loop.source / f"d{self.rng.randrange(6)}/f{self.rng.randrange(FILES)}"
            path.parent.mkdir(exist_ok=True)
            fate = self.rng.random()
            if fate < 0.2 and path.exists():
                path.unlink()
            elif fate < 0.3 and path.exists():
                path.chmod(self.rng.choice([0o600, 0o644, 0o755]))
            else:
                path.write_bytes(self.rng.randbytes(self.rng.randint(0, 20_000)))
        # So that at least one file always is other than before.
        (self.loop.source / "d0/always").write_bytes(self.rng.randbytes(100))
        large = self.loop.source / "d1/large"
        if big:
            large.write_bytes(self.rng.randbytes(1024) * (BIG // 1024))
        elif large.exists() and self.rng.random() < 0.3:
            large.unlink()
        self.note()

    def objects(self, prefix: str) -> dict[str, str]:
        """SHA-256 of every object of the data, by its path."""
        found = [key for key in keys(self.server, self.bucket, f"{prefix}/") if not key.startswith(f"{prefix}/.s32s/")]
        with ThreadPoolExecutor(8) as readers:  # some servers need 40 ms for each
            bodies = readers.map(lambda key: get(self.server, self.bucket, key), found)
            return {
                key.removeprefix(f"{prefix}/"): hashlib.sha256(body).hexdigest()
                for key, body in zip(found, bodies, strict=True)
            }


def kill_way(root: Path, server: S3Server, way: str, kills: int, *, seed: int | None = None) -> Tally:
    """Kill one way `kills` times and say what was seen; nothing is raised for a broken promise, it is noted."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    rng = random.Random(seed)
    tally = Tally(way, server.name, seed)
    began = time.monotonic()
    ground = Ground(root, server, rng, way)
    WAYS[way](ground, tally, kills)
    tally.seconds = time.monotonic() - began
    return tally


def _push(ground: Ground, tally: Tally, kills: int) -> None:
    """A slave that follows the prefix sees published trees only, in their order."""
    loop = ground.loop
    _well(tally, loop.push(), "first push")
    _well(tally, loop.pull(), "first pull")
    idle, busy = _calibrate(lambda: loop.push(), ground.mutate)
    last = 0
    for number in _rounds(tally, kills):
        big = number % 10 == 5
        ground.mutate(big=big)
        _kill(tally, ground, loop.master, idle, busy * (2 if big else 1))
        pulled = loop.pull()
        if pulled.status not in (0, 75):
            tally.problems.append(f"round {number}: the slave ended with {pulled.status}: {pulled.err[-300:]}")
        at = ground.attempts.get(_frozen(snapshot(loop.target)))
        if at is None:
            tally.problems.append(f"round {number}: the slave has a tree that was never published")
        elif at < last:
            tally.problems.append(f"round {number}: the slave went back to an older tree")
        else:
            tally.new += at == len(ground.attempts) - 1
            tally.old += at != len(ground.attempts) - 1
            last = at
    _heal(tally, ground)


def _push_plain(ground: Ground, tally: Tally, kills: int) -> None:
    """Without a manifest every object is whole: the old bytes or the new ones."""
    loop = ground.loop
    _well(tally, loop.push(), "first push")
    idle, busy = _calibrate(lambda: loop.push(), ground.mutate)
    for number in _rounds(tally, kills):
        before = ground.objects("data/web")
        big = number % 10 == 5
        ground.mutate(big=big)
        _kill(tally, ground, loop.master, idle, busy * (2 if big else 1))
        _judge(tally, number, before, ground.objects("data/web"), _contents(snapshot(loop.source)), "object")
    _heal(tally, ground)


def _pull(ground: Ground, tally: Tally, kills: int, verb: str = "sync", *, in_place: bool = False) -> None:
    """The target is the old tree or the new one; in place, each file is."""
    loop = ground.loop
    _well(tally, loop.push(), "first push")
    _well(tally, loop.pull(), "first pull")

    def publish(*, big: bool = False) -> None:
        ground.mutate(big=big)
        _well(tally, loop.push(), "push")

    idle, busy = _calibrate(lambda: loop.slave.run(verb), publish)
    big = False
    for number in _rounds(tally, kills):
        before, newest = snapshot(loop.target), snapshot(loop.source)
        after = {**before, **newest} if verb == "copy" else newest
        if before == after or ground.rng.random() < 0.25:
            big = number % 10 == 5
            publish(big=big)
            newest = snapshot(loop.source)
            after = {**before, **newest} if verb == "copy" else newest
        _kill(tally, ground, loop.slave, idle, busy * (2 if big else 1), verb)
        found = snapshot(loop.target)
        if in_place:
            mine = {path: entry for path, entry in found.items() if not path.startswith(".s32s")}
            _judge(tally, number, _contents(before), _contents(mine), _contents(after), "file")
        elif found == before:
            tally.old += 1
        elif found == after:
            tally.new += 1
        else:
            tally.problems.append(f"round {number}: a torn tree: {_difference(found, before, after)}")
    if verb == "copy":
        _well(tally, loop.slave.run("copy"), "the copy that heals")
        _same(tally, snapshot(loop.target), {**snapshot(loop.target), **snapshot(loop.source)}, "after the copy")
    _heal(tally, ground)


def _mirror(ground: Ground, tally: Tally, kills: int) -> None:
    """Each object of the copy is whole, and a slave that follows the copy sees published trees only."""
    loop, follower = ground.loop, ground.follower
    _well(tally, loop.push(), "first push")
    _well(tally, ground.mirror.run("sync"), "first mirror")
    _well(tally, follower.pull(), "first pull of the copy")

    def publish(*, big: bool = False) -> None:
        ground.mutate(big=big)
        _well(tally, loop.push(), "push")

    idle, busy = _calibrate(lambda: ground.mirror.run("sync"), publish)
    last = 0
    for number in _rounds(tally, kills):
        before = ground.objects("copy/web")
        big = number % 10 == 5
        publish(big=big)
        _kill(tally, ground, ground.mirror, idle, busy)
        _judge(tally, number, before, ground.objects("copy/web"), _contents(snapshot(loop.source)), "object")
        pulled = follower.pull()
        if pulled.status not in (0, 75):
            tally.problems.append(f"round {number}: the follower ended with {pulled.status}: {pulled.err[-300:]}")
        at = ground.attempts.get(_frozen(snapshot(follower.target)))
        if at is None or at < last:
            tally.problems.append(f"round {number}: the follower has a tree that was never published, or an older one")
        else:
            last = at
    _well(tally, ground.mirror.run("sync"), "the mirror that heals")
    _same_objects(tally, ground.objects("copy/web"), _contents(snapshot(loop.source)), "the mirror after the healing")
    _well(tally, follower.pull(), "the pull of the healed copy")
    _same(tally, snapshot(follower.target), snapshot(loop.source), "the follower after the healing")
    _no_rubbish(tally, ground, "copy/web")
    _heal(tally, ground)


WAYS: dict[str, Callable[[Ground, Tally, int], None]] = {
    "push": _push,
    "push, no manifest": _push_plain,
    "pull swap": _pull,
    "pull in-place": lambda ground, tally, kills: _pull(ground, tally, kills, in_place=True),
    "copy": lambda ground, tally, kills: _pull(ground, tally, kills, "copy"),
    "mirror": _mirror,
}


def _rounds(tally: Tally, kills: int) -> Iterator[int]:
    """Rounds until so many kills have hit, bounded; it ends early when too much is wrong already."""
    number = 0
    while tally.hits < kills and number < 3 * kills + 10 and len(tally.problems) < 10:
        yield number
        number += 1


def _calibrate(run: Callable[[], Ended], change: Callable[[], None]) -> tuple[float, float]:
    """Seconds of a run without work and of one with work."""
    change()
    began = time.monotonic()
    run()
    busy = time.monotonic() - began
    began = time.monotonic()
    run()
    return time.monotonic() - began, max(busy, 0.2)


def _kill(tally: Tally, ground: Ground, machine: Machine, idle: float, busy: float, verb: str = "sync") -> None:
    """Start a run and kill it at a random moment of its work."""
    # Most of a run without work is the interpreter's start, where a kill proves little: one in ten falls there.
    first = 0.0 if ground.rng.random() < 0.1 else min(idle, busy) * 0.5
    moment = ground.rng.uniform(first, max(busy, idle) * 1.05) * tally.pace
    process = machine.start(verb)
    try:
        _, errors = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    if process.returncode == -signal.SIGKILL:
        tally.hits += 1
        tally.pace = min(1.5, tally.pace * 1.05)
    else:
        tally.missed += 1
        tally.pace *= 0.85
        if process.returncode not in (0, 75):
            tally.problems.append(f"{verb} ended with {process.returncode} before the kill: {errors[-300:]}")


def _judge(
    tally: Tally, number: int, before: Mapping[str, str], found: Mapping[str, str], after: Mapping[str, str], what: str
) -> None:
    """Each one is old or new; what is in both trees never misses; nothing foreign appears."""
    wrong = [path for path, content in found.items() if content not in (before.get(path, ""), after.get(path, ""))] + [
        path for path in before.keys() & after.keys() if path not in found
    ]
    if wrong:
        tally.problems.append(f"round {number}: {what} neither old nor new, or missing: {sorted(wrong)[:5]}")
    elif found == after:
        tally.new += 1
    elif found == before:
        tally.old += 1
    else:
        tally.between += 1


def _heal(tally: Tally, ground: Ground) -> None:
    """One plain run on each side makes all good, and nothing is left over."""
    loop = ground.loop
    # Manifests of pushes that died go with the next push that publishes; one that finds nothing to do leaves them.
    ground.mutate()
    _well(tally, loop.push(), "the push that heals")
    _same_objects(tally, ground.objects("data/web"), _contents(snapshot(loop.source)), "the prefix after the healing")
    _well(tally, loop.pull(), "the pull that heals")
    found_tree, source = snapshot(loop.target), snapshot(loop.source)
    if tally.way == "push, no manifest":
        # Modes, times and empty directories travel in the manifest only.
        _same_objects(tally, _contents(found_tree), _contents(source), "the target after the healing")
    else:
        _same(tally, found_tree, source, "the target after the healing")
    if found := left_overs(loop):
        tally.problems.append(f"left over beside the target: {found}")
    _no_rubbish(tally, ground, "data/web")


def _no_rubbish(tally: Tally, ground: Ground, prefix: str) -> None:
    """The reserved part of a prefix holds the head and at most two manifests, and no upload is unfinished."""
    reserved = list(keys(ground.server, ground.bucket, f"{prefix}/.s32s/"))
    if len(reserved) > 3:
        tally.problems.append(f"{len(reserved)} objects below {prefix}/.s32s/: {reserved[:6]}")
    try:
        uploads = ground.server.client().list_multipart_uploads(Bucket=ground.bucket, Prefix=f"{prefix}/")
    except ClientError:
        return  # a server that cannot list them
    found = [upload["Key"] for upload in uploads.get("Uploads", [])]
    if tally.way == "push, no manifest":
        # Of a file that is neither there nor at the source nobody can tell any more whose upload it is.
        known = {f"{prefix}/{path}" for path in _contents(snapshot(ground.loop.source))}
        found = [key for key in found if key in known]
    if found:
        tally.problems.append(f"unfinished uploads: {found}")


def _well(tally: Tally, ended: Ended, what: str) -> None:
    if ended.status:
        tally.problems.append(f"{what} ended with {ended.status}: {ended.err[-300:]}")


def _same(tally: Tally, found: Snapshot, wanted: Snapshot, what: str) -> None:
    if found != wanted:
        tally.problems.append(f"{what} is not the source: {_difference(found, wanted, wanted)}")


def _same_objects(tally: Tally, found: Mapping[str, str], wanted: Mapping[str, str], what: str) -> None:
    if found != wanted:
        different = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
        tally.problems.append(f"{what} is not the source: {different[:5]}")


def _contents(tree: Snapshot) -> dict[str, str]:
    return {path: entry.content or "" for path, entry in tree.items() if entry.kind == "file"}


def _difference(found: Snapshot, *trees: Snapshot) -> list[list[str]]:
    return [
        sorted(path for path in found.keys() | tree.keys() if found.get(path) != tree.get(path))[:4] for tree in trees
    ]


def _frozen(tree: Snapshot) -> tuple[tuple[str, Entry], ...]:
    return tuple(sorted(tree.items()))


def main() -> int:
    """Kill all ways, or the named ones, against one endpoint; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--endpoint", required=True, help="address of the S3 server")
    parser.add_argument("--key", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--name", default="server", help="what the table calls the server")
    parser.add_argument("--kills", type=int, default=60, help="over all ways together")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="only this way; may be repeated")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    server = S3Server(options.name, options.endpoint, options.key, options.secret, options.region)
    ways = options.way or list(WAYS)
    tallies = []
    print(HEADER, flush=True)
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="s32s-kills-") as root:
            tallies.append(kill_way(Path(root), server, way, -(-options.kills // len(ways)), seed=options.seed))
        print(tallies[-1].line(), flush=True)
        for problem in tallies[-1].problems:
            print(f"    {problem}", flush=True)
    print(f"{sum(tally.hits for tally in tallies)} kills, {sum(len(tally.problems) for tally in tallies)} problems")
    return int(any(tally.problems for tally in tallies))


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
