"""SIGKILL at each request of a push, a prune and a conversion in packs, and at system calls of a slave with kept trees.

A process that dies while the server works on its n-th request leaves there what n requests have done. So to die at
each of them in turn is to meet every state that a prefix can be left in. What is there is read by this process,
generation by generation, and compared with what was pushed.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pytest
from support.checks import left_overs
from support.faultproxy import Do, FaultProxy, Rule
from support.machine import Loop, Machine
from support.packed import Packed
from support.servers import get, keys
from support.trees import Entry, make_tree, snapshot

from s32s.backends.memory import MemoryBackend

Files = dict[str, bytes]
T = TypeVar("T")
#: So many files, of which most change each time: packs become thin, and are written again.
FILES, CHANGES = 40, 30
#: Strace starts for real what it kills.
pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("in_forks")]

#: More than any of these commands makes.
EACH = range(200)


def some_and_all(*some: int) -> pytest.MarkDecorator:
    """A few of the requests; and, if asked for, each."""
    every = pytest.param(EACH, id="at each request", marks=[pytest.mark.long, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("numbers", [pytest.param(some, id="at some requests"), every])


class Prefix:
    """A packed prefix with a master and a slave, and what each of its generations holds.

    Attributes:
        pushed: every tree that was ever pushed, or about to be.
    """

    def __init__(self, loop: Loop, proxy: FaultProxy) -> None:
        self.loop = loop
        self.proxy = proxy
        self.random = random.Random(1)
        self.pushed: list[Files] = []
        loop.write_map(layout="packed", keep=3)
        make_tree(loop.source, {f"d{n % 4}/f{n}": self.random.randbytes(3000) for n in range(FILES)})

    def change(self) -> Files:
        """Change most of the source; return what it holds now."""
        for n in self.random.sample(range(FILES), CHANGES):
            path = self.loop.source / f"d{n % 4}/f{n}"
            path.unlink(missing_ok=True)
            if self.random.random() < 0.9:
                path.write_bytes(self.random.randbytes(self.random.randint(0, 3000)))
        self.pushed.append(files_of(self.loop.source))
        return self.pushed[-1]

    def push(self) -> None:
        """Change most, and push it."""
        self.change()
        self.run(self.loop.master, "sync")

    def run(self, machine: Machine, *command: str) -> None:
        """Run a command that must go well."""
        ended = machine.run(*command)
        assert ended.status == 0, f"{command}: {ended.out}{ended.err}"

    def is_killed_at(self, number: int, *command: str) -> bool:
        """Run a command of the master and kill it at a request, counted from 0; False where it made fewer."""
        started: list[subprocess.Popen[str]] = []
        rule = self.proxy.add(Rule(lambda request: True, Do(lambda: started[0].kill()), after=number, times=1))
        started.append(self.loop.master.start(*command))
        _, errors = started[0].communicate(timeout=120)
        self.proxy.rules.clear()
        assert started[0].returncode == (-signal.SIGKILL if rule.fired else 0), errors
        return bool(rule.fired)

    def stored(self) -> Packed:
        """All that is there, as somebody sees it who knows nothing yet."""
        server, bucket, place = self.loop.server, self.loop.bucket, MemoryBackend()
        for key in keys(server, bucket, f"{self.loop.prefix}/"):
            try:
                data = get(server, bucket, key)
            except server.client().exceptions.NoSuchKey:
                continue  # a deletion of the process that died was on its way
            place.put(key.removeprefix(f"{self.loop.prefix}/"), lambda data=data: iter([data]), size=len(data))  # type: ignore[misc]
        return Packed(place)

    def check(self) -> dict[int, Files]:
        """Read every generation that is kept: each is a tree that was pushed, and none is older than one before it."""
        found = self.stored().all_generations()
        assert found
        ages = [self.pushed.index(found[number]) for number in sorted(found)]
        assert ages == sorted(ages)
        return found

    def check_clean(self) -> None:
        """After a prune the packs that are there are just those that the kept generations need."""
        stored = self.stored()
        assert set(stored.stored()) == {pack for number in stored.numbers() for pack in stored.needed(number)}


def files_of(root: Path) -> Files:
    """The bytes of all files below a directory."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def prefix(proxied: Loop, proxy: FaultProxy) -> Prefix:
    """One with three generations, and a slave at the newest."""
    made = Prefix(proxied, proxy)
    for _ in range(3):
        made.push()
    made.run(proxied.slave, "sync")
    return made


PRUNE = ("prune", "WEB", "--keep", "2", "--yes", "--grace", "0s")


@some_and_all(3, 5, 8)
def test_a_push_in_packs(prefix: Prefix, numbers: Iterable[int]) -> None:
    """All generations stay as they were, the slave goes on, and the next push uses or leaves what lies about."""
    loop, died = prefix.loop, 0
    for number in numbers:
        newest = prefix.change()
        if not prefix.is_killed_at(number, "sync"):
            break
        died += 1
        found = prefix.check()
        prefix.run(loop.slave, "sync")
        assert files_of(loop.target) == found[max(found)]
        prefix.run(loop.master, "sync")
        found = prefix.check()
        assert found[max(found)] == newest
    else:
        assert numbers is not EACH
    assert died
    prefix.run(loop.master, *PRUNE)
    prefix.check_clean()
    prefix.run(loop.slave, "sync")
    assert snapshot(loop.target) == snapshot(loop.source)


@some_and_all(2, 5, 7)
def test_a_prune(prefix: Prefix, numbers: Iterable[int]) -> None:
    """What is kept is whole after each, and the next one finishes the work."""
    loop, died = prefix.loop, 0
    for number in numbers:
        before = prefix.check()
        if not prefix.is_killed_at(number, *PRUNE):
            break
        died += 1
        found = prefix.check()
        assert found.items() <= before.items()
        assert max(found) == max(before)
        prefix.run(loop.master, *PRUNE)
        assert len(prefix.check()) == 2
        prefix.check_clean()
        prefix.push()
    else:
        assert numbers is not EACH
    assert died
    prefix.run(loop.slave, "sync")
    assert snapshot(loop.target) == snapshot(loop.source)


@some_and_all(4, 9, 12)
def test_a_conversion(prefix: Prefix, numbers: Iterable[int]) -> None:
    """Both ways in turn: the prefix is whole in one of the two layouts, and the next one finishes the work."""
    loop, died = prefix.loop, 0
    for n in range(FILES):
        if n % 5:  # few are enough: in the plain layout each is a request
            (loop.source / f"d{n % 4}/f{n}").unlink(missing_ok=True)
    prefix.pushed.append(files_of(loop.source))
    prefix.run(loop.master, "sync", "--force-delete")
    finished = set[str]()
    for number, layout in itertools.product(numbers, ("plain", "packed")):
        convert = ("convert", "WEB", "--layout", layout, "--yes")
        if layout in finished:
            prefix.run(loop.master, *convert)  # one direction takes more requests than the other
            continue
        if not prefix.is_killed_at(number, *convert):
            finished.add(layout)
            if len(finished) == 2:
                break
            continue
        died += 1
        is_packed = b'"root":{' in get(loop.server, loop.bucket, f"{loop.prefix}/.s32s/head.json").replace(b" ", b"")
        if is_packed:
            prefix.check()
        loop.write_map(layout="packed" if is_packed else "plain", keep=3)
        (loop.target / "d0").rename(loop.target / f"drift-{number}")  # so that there is something to fetch
        prefix.run(loop.slave, "sync", "--update-maps", "--force-delete")
        assert snapshot(loop.target) == snapshot(loop.source)
        prefix.run(loop.master, *convert)
        there = [key.removeprefix(f"{loop.prefix}/") for key in keys(loop.server, loop.bucket, f"{loop.prefix}/")]
        of_packs = [key for key in there if key.startswith(".s32s/packs/")]
        of_plain = [key for key in there if not key.startswith(".s32s/") or "manifest" in key]
        assert not (of_packs if layout == "plain" else of_plain)
    else:
        assert numbers is not EACH
    assert died
    loop.write_map(layout=layout, keep=3)
    prefix.run(loop.slave, "sync", "--update-maps")
    assert snapshot(loop.target) == snapshot(loop.source)


def calls(*some: tuple[str, int]) -> pytest.MarkDecorator:
    """The n-th of a system call; some, and, if asked for, many."""
    many = [
        *[("linkat", n) for n in (1, 2, 10, 40)],
        *[("renameat2", n) for n in (1, 2)],
        *[("renameat", n) for n in (1, 2, 3, 4)],
        *[("mkdirat", n) for n in (1, 3, 5, 7, 9)],
        *[("unlinkat", n) for n in (1, 3, 10, 30, 60, 80)],
        *[("fsync", n) for n in (1, 2, 3, 4, 5)],
        *[("fchmod", 2), ("utimensat", 2), ("utimensat", 20), ("syncfs", 1), ("ftruncate", 1), ("rmdir", 1)],
    ]
    rest = [pytest.param(*one, marks=pytest.mark.long) for one in many if one not in some]
    return pytest.mark.parametrize(("call", "when"), [*some, *rest])


@pytest.fixture
def keeping(prefix: Prefix, apply: str) -> Prefix:
    """A slave that keeps two earlier trees, and has one."""
    loop = prefix.loop
    keep = 'keep = 2\nmax_delete = "90%"'
    loop.slave.write_config("slave", f"{loop.bucket}/maps", allow=[loop.target.parent], text=keep)
    loop.write_map(layout="packed", keep=3, apply=apply)
    prefix.push()
    prefix.run(loop.slave, "sync", "--update-maps")
    return prefix


def is_killed_at(machine: Machine, call: str, when: int, *command: str) -> bool:
    """Run a command that the kernel kills at a system call."""
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={when}"]
    ended = subprocess.run(
        [*strace, *machine.command(*command)],
        env=machine.environment(),
        cwd=machine.root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def is_whole(loop: Loop, apply: str, *trees: Files) -> bool:
    """Whether the target is one of some trees; in place, whether each file is one of theirs."""
    found = without_ours(files_of(loop.target))
    if apply == "swap":
        return found in trees
    return all(any(tree.get(path) == data for tree in trees) for path, data in found.items())


#: The server has no part in what a slave does on its disk.
one_server = pytest.mark.parametrize("server", ["moto"], indirect=True)
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
each_way = pytest.mark.parametrize("apply", ["swap", pytest.param("in-place", marks=pytest.mark.long)])


@needs_strace
@one_server
@each_way
@calls(("linkat", 10))
def test_a_pull_that_keeps_trees(keeping: Prefix, call: str, when: int, apply: str) -> None:
    """Old or new; the next pull does the rest, and the tree before still comes back as it was."""
    loop, slave = keeping.loop, keeping.loop.slave
    old, before = contents(loop.target), files_of(loop.source)
    keeping.push()
    is_killed_at(slave, call, when, "sync")

    assert is_whole(loop, apply, before, files_of(loop.source))
    keeping.run(slave, "sync")
    assert contents(loop.target) == contents(loop.source)
    check_no_half_records(loop)
    keeping.run(slave, "rollback", "WEB")
    assert contents(loop.target) == old
    keeping.run(slave, "release", "WEB")
    keeping.run(slave, "sync")
    assert contents(loop.target) == contents(loop.source)


@needs_strace
@one_server
@each_way
@calls(("renameat2", 2))
def test_a_way_back_on_a_slave(keeping: Prefix, call: str, when: int, apply: str) -> None:
    """Old or new; nothing follows S3 meanwhile, and the same command goes on with it."""
    loop, slave = keeping.loop, keeping.loop.slave
    back = max(int(number) for number in re.findall(r"(\d+) \(until", slave.run("log", "WEB").out))
    newest, earlier = contents(loop.source), keeping.pushed[-2]
    is_killed_at(slave, call, when, "rollback", "WEB", str(back))

    assert is_whole(loop, apply, files_of(loop.source), earlier)
    now = contents(loop.target)
    meanwhile = slave.run("sync")
    if "held at generation" not in meanwhile.out:
        assert meanwhile.status == (1 if "was cut off" in meanwhile.err else 0), meanwhile.err
        assert contents(loop.target) == now
        keeping.run(slave, "rollback", "WEB", str(back))
    assert without_ours(files_of(loop.target)) == earlier
    keeping.run(slave, "release", "WEB")
    keeping.run(slave, "sync")
    assert contents(loop.target) == newest
    check_no_half_records(loop)


def contents(root: Path) -> dict[str, Entry]:
    """What a directory holds, without what is ours in it."""
    return without_ours(snapshot(root))


def without_ours(found: dict[str, T]) -> dict[str, T]:
    """All paths but those of s32s."""
    return {path: what for path, what in found.items() if not path.startswith(".s32s")}


def check_no_half_records(loop: Loop) -> None:
    """No staging is left, and no record of a tree that is not whole."""
    assert [name for name in left_overs(loop) if "kept" not in name and "lock" not in name] == []
    assert list(loop.target.parent.rglob("*.new")) == []
