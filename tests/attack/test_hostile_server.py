"""A server that answers with anything: no wrong byte, no hang, no flood of memory, no secret to another host.

Each case is a kind of request and an answer to it. The run is a process of its own with a deadline and a watch on its
memory; afterwards the same machine runs against the honest server and must be healed. `S32S_HOSTILE` (a regular
expression) chooses cases of the long variant, `S32S_HOSTILE_DEADLINE` its seconds, `S32S_HOSTILE_TABLE` names a file
for the table.
"""

from __future__ import annotations

import collections
import json
import os
import queue
import random
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import answers
import pytest
import zstandard
from support.checks import left_overs
from support.hostile import ENOUGH, Answer, Asked, Hostile, start_hostile
from support.machine import Loop, Machine, make_loop
from support.servers import S3Server, get, keys, make_bucket, put
from support.trees import make_tree, snapshot

DEADLINE_S = float(os.environ.get("S32S_HOSTILE_DEADLINE", "120"))
MEMORY = 500_000_000
PARALLEL = 4
STATUSES = (0, 1, 2, 3, 75)
LARGE = 9 * 1024 * 1024

Matches = Callable[[Asked], bool]


def _is_list(asked: Asked) -> bool:
    return asked.method == "GET" and "list-type" in asked.query and asked.query.get("prefix", "").startswith("data/")


#: Who runs, and which of its requests is answered.
KINDS: dict[str, tuple[str, Matches]] = {
    "pull, head": ("slave", lambda a: a.method == "GET" and a.path.endswith("/head.json")),
    "pull, manifest": ("slave", lambda a: a.method == "GET" and "/.s32s/manifest-" in a.path),
    "pull, head and manifest": ("slave", lambda a: a.method == "GET" and "/.s32s/" in a.path),
    "pull, small object": ("slave", lambda a: a.method == "GET" and a.path == "data/web/a"),
    "pull, range": ("slave", lambda a: a.method == "GET" and a.path == "data/web/large"),
    "pull, listing": ("slave", lambda a: _is_list(a) and "continuation-token" not in a.query),
    "plain pull, listing": ("plain", lambda a: _is_list(a) and "continuation-token" not in a.query),
    "plain pull, second page": ("plain", lambda a: _is_list(a) and "continuation-token" in a.query),
    "plain pull, object": ("plain", lambda a: a.method == "GET" and a.path == "data/web/a"),
    "push, head": ("master", lambda a: a.method == "GET" and a.path.endswith("/head.json")),
    "push, listing": ("master", _is_list),
    "push, put": ("master", lambda a: a.method == "PUT" and a.path == "data/web/a"),
    "push, put of the head": ("master", lambda a: a.method == "PUT" and a.path.endswith("/head.json")),
    "push, put of the manifest": ("master", lambda a: a.method == "PUT" and "/.s32s/manifest-" in a.path),
    "push, create upload": ("master large", lambda a: a.method == "POST" and "uploads" in a.query),
    "push, part": ("master large", lambda a: a.method == "PUT" and "partNumber" in a.query),
    "push, complete upload": ("master large", lambda a: a.method == "POST" and "uploadId" in a.query),
    "push, delete": ("master", lambda a: a.method == "DELETE" or (a.method == "POST" and "delete" in a.query)),
    "mirror, copy": ("mirror", lambda a: a.method == "PUT" and "x-amz-copy-source" in a.headers),
    "mirror, listing": ("mirror", _is_list),
    "maps, listing": ("maps", lambda a: "list-type" in a.query),
    "maps, object": ("maps", lambda a: a.method == "GET" and a.path.startswith("maps/")),
}

#: Which kinds get the answers that take long; one for each client and direction.
SLOWLY = ("pull, head", "pull, small object", "plain pull, listing", "push, put", "push, create upload")
#: Every how many of `EVERYWHERE` a kind gets; all where it is not named. Kinds of one client share the way of reading.
FEWER = {
    "pull, manifest": 7,
    "pull, small object": 2,
    "pull, range": 6,
    "pull, listing": 13,
    "plain pull, listing": 2,
    "plain pull, second page": 7,
    "plain pull, object": 13,
    "push, head": 11,
    "push, listing": 13,
    "push, put": 2,
    "push, put of the head": 4,
    "push, put of the manifest": 13,
    "push, create upload": 6,
    "push, part": 7,
    "push, complete upload": 6,
    "push, delete": 6,
    "mirror, copy": 6,
    "mirror, listing": 13,
    "maps, listing": 11,
    "maps, object": 11,
}
#: Every how many of its own answers a kind gets; all where it is not named.
FEWER_OWN = {"pull, listing": 4, "plain pull, second page": 2, "mirror, listing": 4, "plain pull, object": 2}

SPECIAL: dict[str, Mapping[str, Answer]] = {
    "pull, head": answers.HEADS,
    "pull, manifest": answers.BODIES,
    "pull, small object": answers.BODIES,
    "pull, range": {**answers.BODIES, **answers.RANGES},
    "plain pull, object": answers.BODIES,
    "pull, listing": answers.LISTS,
    "plain pull, listing": answers.LISTS,
    "plain pull, second page": answers.LISTS,
    "mirror, listing": answers.LISTS,
    "push, put": answers.WRITES,
    "push, put of the head": {**answers.WRITES, "done, answer lost": answers.lost},
    "push, create upload": answers.POSTS,
    "push, complete upload": answers.POSTS,
    "push, delete": answers.POSTS,
    "mirror, copy": answers.POSTS,
}

#: What is known to go beyond the general promise, and why that is left.
KNOWN = {
    # Every page has new keys, so it ends at the bound on the keys of a listing; within 120 s only on a quick machine.
    ("plain pull, second page", "keys that go backwards"),
    # The server has the right bytes and names another ETag. Slaves notice, and the next push writes the manifest again.
    ("push, put", "another ETag"),
}

QUICK = (
    ("pull, head", "JSON garbage"),
    ("pull, head", "an error in a 200"),
    ("pull, manifest", "wrong bytes of the right length"),
    ("pull, small object", "the last byte flipped"),
    ("pull, range", "wrong bytes"),
    ("plain pull, listing", "entities"),
    ("plain pull, listing", "a key with .."),
    ("plain pull, second page", "XML cut off"),
    ("push, put", "garbage"),
    ("push, put of the head", "412"),
)
DEADLINE_QUICK_S = 30.0


@dataclass
class Outcome:
    """What became of one case."""

    kind: str
    answer: str
    status: int | None
    seconds: float
    memory: int
    says: str
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One row."""
        result = "; ".join(self.problems) or self.says
        status = "-" if self.status is None else self.status
        return (
            f"{self.kind:26} {self.answer:40} {status:>4} {self.seconds:6.1f} s {self.memory / 1e6:5.0f} MB  {result}"
        )


class Stage:
    """The machines of one worker behind a hostile server of its own."""

    def __init__(self, root: Path, server: S3Server, hostile: Hostile) -> None:
        self.root = root
        self.server = server
        self.hostile = hostile
        self.count = 0
        self.push_loop = self._loop(root / "push")
        assert self.push_loop.push().status == 0
        assert self.push_loop.pull().status == 0
        self.slave = self._behind(root / "slave")
        self.plain = self._behind(root / "plain", manifest=False)
        self.bucket = f"mirror-{uuid.uuid4().hex[:16]}"
        make_bucket(server, self.bucket)
        self.mirror = Machine(root / "mirror", server, endpoint_url=hostile.endpoint_url)
        self._remember(self.mirror)
        self.mirror.write_config("mirror", f"{self.bucket}/maps", retries=1)
        entry = {"name": "WEB", "s3": f"{self.bucket}/data/web", "mirror": f"{self.bucket}/copy/web"}
        put(server, self.bucket, "maps/web.json", json.dumps([entry]).encode())
        for name in "abcdef":
            put(server, self.bucket, f"data/web/{name}", name.encode() * 5)
        assert self.mirror.run("sync").status == 0

    def _remember(self, machine: Machine) -> None:
        # A token as well: it is what a redirect has leaked.
        machine.extra["AWS_SESSION_TOKEN"] = "token-that-must-not-leak"

    def _loop(self, root: Path, **properties: object) -> Loop:
        bucket = f"hostile-{uuid.uuid4().hex[:16]}"
        make_bucket(self.server, bucket)
        loop = make_loop(root, self.server, bucket, endpoint_url=self.hostile.endpoint_url)
        loop.write_map(**properties)
        loop.master.write_config("master", f"{bucket}/maps", retries=1)
        loop.slave.write_config(
            "slave",
            f"{bucket}/maps",
            allow=[loop.target.parent],
            retries=1,
            text='list_every = "0s"\nmax_delete = "100%"',
        )
        self._remember(loop.master)
        self._remember(loop.slave)
        make_tree(loop.source, {"a": b"first", "d/b": b"b" * 5000, "c": b"c", "e": b"e", "f": b"f", "g": b"g"})
        return loop

    def _behind(self, root: Path, **properties: object) -> Loop:
        """A slave up to date with the first tree, kept as a pattern; the second lies on the server."""
        loop = self._loop(root, **properties)
        assert loop.push().status == 0
        assert loop.pull().status == 0
        (loop.source / "a").write_bytes(b"second")
        (loop.source / "large").write_bytes(os.urandom(1024) * (LARGE // 1024))
        (loop.source / "c").unlink()
        assert loop.push().status == 0
        shutil.copytree(loop.slave.root, root / "pattern", symlinks=True)
        return loop

    def attack(self, kind: str, name: str, answer: Answer, deadline_s: float) -> Outcome:
        """Try one case."""
        who, matches = KINDS[kind]
        before = after = None
        command, machine = "sync", self.slave.slave
        if who in ("slave", "plain", "maps"):
            loop = self.plain if who == "plain" else self.slave
            machine = loop.slave
            shutil.rmtree(machine.root)
            shutil.copytree(loop.slave.root.parent / "pattern", machine.root, symlinks=True)
            before = snapshot(loop.target)
        elif who == "mirror":
            loop, machine = self.push_loop, self.mirror
            self.count += 1
            put(self.server, self.bucket, "data/web/a", f"number {self.count}".encode())
        else:
            loop, machine = self.push_loop, self.push_loop.master
            self._change(loop.source, large=who == "master large")
            before, after = snapshot(loop.target), snapshot(loop.source)

        self.hostile.arm(matches, answer)
        try:
            arguments = ["maps", "update"] if who == "maps" else [command]
            outcome = self._watched(machine, arguments, deadline_s, kind, name)
            outcome.problems += self._told(outcome)
        finally:
            self.hostile.disarm()
        self._judge(outcome, who, loop, machine, before, after)
        return outcome

    def _change(self, source: Path, *, large: bool) -> None:
        self.count += 1
        (source / "a").write_bytes(f"number {self.count}".encode())
        (source / f"gone-{self.count - 1}").unlink(missing_ok=True)
        (source / f"gone-{self.count}").write_bytes(b"x")
        if large:
            (source / "large").write_bytes(os.urandom(1024) * (LARGE // 1024))

    def _watched(self, machine: Machine, arguments: list[str], deadline_s: float, kind: str, name: str) -> Outcome:
        """Run a command under the watch; kill it when it takes too much."""
        began = time.monotonic()
        problems: list[str] = []
        memory = 0
        with (self.root / "out").open("w+b") as out:
            process = subprocess.Popen(
                machine.command(*arguments),
                env=machine.environment(),
                cwd=machine.root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            while True:
                try:
                    process.wait(0.05)
                    break
                except subprocess.TimeoutExpired:
                    memory = max(memory, _peak(process.pid))
                if memory > MEMORY:
                    problems.append("took too much memory")
                elif time.monotonic() - began > deadline_s:
                    problems.append(f"no end in {deadline_s:.0f} s")
                else:
                    continue
                process.kill()
                process.wait()
                break
            out.seek(0)
            text = out.read(2_000_000).decode(errors="replace")
        killed = bool(problems)
        if not killed and process.returncode not in STATUSES:
            problems.append(f"ended with {process.returncode}")
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        for word in ("Traceback", "unexpected", "panicked", "please report"):
            if word in text:
                problems.append(f"says {word!r}: {last[:160]}")
                break
        if any(ord(letter) < 32 and letter not in "\n\t\r" for letter in text) or "\x1b" in text:
            problems.append("sends control characters to the terminal")
        status = None if killed else process.returncode
        return Outcome(kind, name, status, time.monotonic() - began, memory, last[:160], problems)

    def _told(self, outcome: Outcome) -> Iterator[str]:
        if not self.hostile.hits:
            yield "the request was never sent"
        if self.hostile.most >= ENOUGH:
            yield "took an answer without end"
        for stranger in list(self.hostile.strangers):
            leaked = re.findall(rb"(?i)(x-amz-[a-z0-9-]+|authorization)(?::|=)", stranger)
            yield f"reached the other host with {sorted(set(leaked)) or 'nothing of ours'}"

    def _judge(self, outcome: Outcome, who: str, loop: Loop, machine: Machine, before: object, after: object) -> None:
        """Old or new now, new after a run against the honest server, and nothing left over."""
        problems = outcome.problems
        if who == "mirror":
            wanted = {name: get(self.server, self.bucket, f"data/web/{name}") for name in "abcdef"}
            healed = machine.run("sync")
            found = keys(self.server, self.bucket, "copy/web/")
            if healed.status:
                problems.append(f"not healed, {healed.status}: {healed.err[-200:]}")
            elif {name: get(self.server, self.bucket, f"copy/web/{name}") for name in wanted} != wanted:
                problems.append("wrong bytes on the mirror after the healing")
            elif len(found) != len(wanted):
                problems.append(f"the mirror contains other keys: {sorted(found)[:8]}")
            return
        if who == "maps":
            healed = loop.pull("--update-maps")
        elif who.startswith("master"):
            seen = loop.pull()
            target = snapshot(loop.target)
            if target not in (before, after):
                problems.append("a slave has a tree that was never published")
            if seen.status not in (0, 75):
                problems.append(f"a slave ended with {seen.status}: {seen.err[-200:]}")
            pushed = loop.push()
            if pushed.status:
                problems.append(f"the master is not healed, {pushed.status}: {pushed.err[-200:]}")
            healed = loop.pull()
        else:
            target = snapshot(loop.target)
            if target != before and not _is_new(target, loop, who):
                problems.append("WRONG TREE: neither old nor new")
            healed = loop.pull()
        if healed.status:
            problems.append(f"not healed, {healed.status}: {healed.err[-200:]}")
        elif not _is_new(snapshot(loop.target), loop, who):
            problems.append("the target is not the source after the healing")
        if found_left := left_overs(loop):
            problems.append(f"left over: {found_left}")


def _is_new(target: object, loop: Loop, who: str) -> bool:
    new = snapshot(loop.source)
    if who != "plain":
        return target == new
    # Without a manifest only names and bytes travel.
    assert isinstance(target, dict)
    files = [{path: entry.content for path, entry in tree.items() if entry.kind == "file"} for tree in (target, new)]
    return files[0] == files[1]


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def forgeries(stage: Stage) -> dict[str, Answer]:
    """Heads and manifests after the pattern of the true ones."""
    loop = stage.slave
    key = next(key for key in keys(stage.server, loop.bucket, "data/web/.s32s/manifest-"))
    text = zstandard.ZstdDecompressor().decompress(get(stage.server, loop.bucket, key))
    return answers.manifests([json.loads(line) for line in text.splitlines()])


def all_cases(stage: Stage) -> list[tuple[str, str, Answer]]:
    """Every kind with every answer that fits it."""
    cases = []
    for place, kind in enumerate(KINDS):
        if kind == "pull, head and manifest":
            cases += [(kind, name, answer) for name, answer in forgeries(stage).items()]
            continue
        step = FEWER.get(kind, 1)
        general = [(kind, name, answer) for name, answer in answers.EVERYWHERE.items()]
        # Another part of them for each kind, so that all of them are met.
        cases += general[place % step :: step]
        own = [(kind, name, answer) for name, answer in SPECIAL.get(kind, {}).items()]
        cases += own[:: FEWER_OWN.get(kind, 1)]
        if kind in SLOWLY:
            cases += [(kind, name, answer) for name, answer in answers.SLOW.items()]
    return cases


def table(outcomes: list[Outcome]) -> str:
    """All cases, then the numbers."""
    numbers = collections.Counter("killed" if o.status is None else f"status {o.status}" for o in outcomes)
    wrong = [outcome for outcome in outcomes if outcome.problems]
    return "\n".join(
        [
            *(outcome.line() for outcome in sorted(outcomes, key=lambda o: (o.kind, o.answer))),
            "",
            f"{len(outcomes)} answers tried, {len(wrong)} with problems; "
            + ", ".join(f"{name}: {number}" for name, number in sorted(numbers.items())),
            f"longest {max(o.seconds for o in outcomes):.0f} s, peak {max(o.memory for o in outcomes) / 1e6:.0f} MB",
            "",
            *(f"PROBLEM  {outcome.line()}" for outcome in wrong),
        ]
    )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, moto: S3Server) -> Iterator[Stage]:
    """One stage for the quick cases."""
    with start_hostile(moto.endpoint_url) as hostile:
        yield Stage(tmp_path_factory.mktemp("stage"), moto, hostile)


@pytest.mark.parametrize(("kind", "name"), QUICK, ids=lambda value: value)
def test_a_hostile_answer_does_no_harm(stage: Stage, kind: str, name: str) -> None:
    """A documented status, the old tree or the new one, and the next honest run heals."""
    answer = {**answers.EVERYWHERE, **SPECIAL.get(kind, {})}[name]

    outcome = stage.attack(kind, name, answer, DEADLINE_QUICK_S)

    assert outcome.problems == [], outcome.line()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_hostile_answer_does_harm(tmp_path: Path, moto: S3Server) -> None:
    """The same for all kinds and all answers, at least 300."""
    outcomes: list[Outcome] = []
    lock = threading.Lock()
    with ExitStack() as stack:
        stages: queue.Queue[Stage] = queue.Queue()
        for number in range(PARALLEL):
            hostile = stack.enter_context(start_hostile(moto.endpoint_url))
            stages.put(Stage(tmp_path / str(number), moto, hostile))
        first = stages.get()
        cases = all_cases(first)
        stages.put(first)
        wanted = re.compile(os.environ.get("S32S_HOSTILE", ""))
        chosen = [case for case in cases if wanted.search(f"{case[0]}: {case[1]}")]
        # A case that is met late must not always be the same one.
        random.SystemRandom().shuffle(chosen)

        def run(case: tuple[str, str, Answer]) -> None:
            mine = stages.get()
            try:
                outcome = mine.attack(*case, DEADLINE_S)
            finally:
                stages.put(mine)
            with lock:
                outcomes.append(outcome)
                if place := os.environ.get("S32S_HOSTILE_TABLE"):
                    with open(place, "a") as file:
                        file.write(f"{'WRONG' if outcome.problems else 'well':6}{outcome.line()}\n")

        # The slow ones first, so that none of them is left alone at the end.
        chosen.sort(key=lambda case: case[1] not in answers.SLOW)
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                list(pool.map(run, chosen))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    print(table(outcomes))
    if place := os.environ.get("S32S_HOSTILE_TABLE"):
        Path(place).write_text(table(outcomes) + "\n")
    assert len(cases) >= 300
    unknown = [outcome for outcome in outcomes if (outcome.kind, outcome.answer) not in KNOWN]
    assert [outcome.line() for outcome in unknown if outcome.problems] == []
