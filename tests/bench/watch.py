"""A watch: how soon a saved file is on the server, and what it costs to wait.

    .venv/bin/python tests/bench/watch.py [--files N] [--saves N] [--poll TIME] [--lsyncd PROGRAM] [--json FILE]

Starts `rclone serve s3` on loopback, pushes a tree, pulls it, and lets two processes of s32s watch: a master its
directory, a slave its prefix. Then it saves files, one at a time, and waits for each at the other end. Beside it, in
the same run, lsyncd (where it is installed, or named) with `rclone sync` as its action, and `rclone sync` in a loop in
place of the slave. What a full sync takes for one changed file is measured as well.

CPU time is of the processes and their children, in percent of a core; memory is what is resident. Requests are counted
in saves of their own, through a proxy.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from compare import make_tree
from support.faultproxy import FaultProxy, fault_proxy
from support.servers import S3Server, make_bucket, rclone_binary, start_rclone

BUCKET = "bench"
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 120.0


@dataclass(slots=True)
class Figures:
    """What one tool showed.

    Attributes:
        delays_s: from each save to its arrival.
        idle_cpu: of the master and of the slave, in percent of a core, while nothing happens.
        saving_cpu_s: CPU seconds a save, of both together.
        memory_mb: of both, after the saves.
        requests: that one save costs the master.
    """

    delays_s: list[float] = field(default_factory=list)
    idle_cpu: tuple[float, float] = (0.0, 0.0)
    saving_cpu_s: float = 0.0
    memory_mb: tuple[float, float] = (0.0, 0.0)
    requests: dict[str, int] = field(default_factory=dict)

    def told(self, name: str) -> str:
        """One line of the table."""
        delays = sorted(self.delays_s)
        late = delays[min(len(delays) - 1, int(len(delays) * 0.99))]
        requests = sum(self.requests.values())
        pairs = f"{self.idle_cpu[0]:.1f} / {self.idle_cpu[1]:.1f} | {self.saving_cpu_s:.2f} | "
        pairs += f"{self.memory_mb[0]:.0f} / {self.memory_mb[1]:.0f}"
        return f"| {name} | {statistics.median(delays):.2f} | {late:.2f} | {pairs} | {requests or '-'} |"


@dataclass(slots=True)
class Place:
    """The directories of one tool."""

    root: Path
    prefix: str

    @property
    def source(self) -> Path:
        """What is saved into."""
        return self.root / "source"

    @property
    def target(self) -> Path:
        """Where it is to arrive."""
        return self.root / "srv/target"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--saves", type=int, default=100)
    parser.add_argument("--peer-saves", type=int, default=10)
    parser.add_argument("--poll", default="1s", help="how often the slave asks (default: 1s)")
    parser.add_argument("--lsyncd", default=shutil.which("lsyncd"), help="the program (default: that of PATH)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s32s-bench-") as name:
        work = Path(name)
        found = _measured(work, options)
    if options.json:
        options.json.write_text(json.dumps({tool: asdict(figures) for tool, figures in found.items()}, indent=1))


def _measured(work: Path, options: argparse.Namespace) -> dict[str, Figures]:
    tree = make_tree(work / "tree", options.files)
    (work / "disk").mkdir()
    found: dict[str, Figures] = {}
    with start_rclone(work / "disk") as server:
        make_bucket(server, BUCKET)
        place = Place(work / "s32s", "s32s")
        shutil.copytree(tree, place.source)
        first = [_sync(place, server, is_push=True), _sync(place, server, is_push=False)]
        print(f"first push {first[0]:.1f} s, first pull {first[1]:.1f} s, {options.files:,} files", flush=True)
        fulls = [_full(place, server, number) for number in range(3)]
        pushed, pulled = (statistics.median(times) for times in zip(*fulls, strict=True))
        figures, runs = _watched(place, server, options)
        found["s32s"] = figures
        runs_push, runs_pull = (statistics.median(seconds) if seconds else 0.0 for seconds in runs)
        print(f"one changed file: push by a full sync {pushed:.2f} s, under watch {runs_push:.2f} s", end="")
        print(f" ({runs_push / pushed:.2f}); pull {pulled:.2f} s, {runs_pull:.2f} s ({runs_pull / pulled:.2f})")
        if options.lsyncd:
            place = Place(work / "lsyncd", "lsyncd")
            shutil.copytree(tree, place.source)
            found["lsyncd, rclone"] = _peers(place, server, options)
    print("\n| tool | median s | 99 % s | idle CPU % | CPU s a save | memory MB | requests a save |")
    print("|---|---|---|---|---|---|---|")
    for tool, figures in found.items():
        print(figures.told(tool), flush=True)
    return found


# -- s32s --------------------------------------------------------------------------------------------------------------


def _words(place: Place, *, is_push: bool) -> list[str]:
    remote = f"s3://{BUCKET}/{place.prefix}"
    return [str(place.source), remote] if is_push else [remote, str(place.target)]


def _environment(place: Place, server: S3Server, *, is_push: bool) -> dict[str, str]:
    home = place.root / ("master" if is_push else "slave")
    home.mkdir(parents=True, exist_ok=True)
    kept = {"HOME": str(home), "STATE_DIRECTORY": str(home / "state"), "CACHE_DIRECTORY": str(home / "cache")}
    return {
        "PATH": os.environ["PATH"],
        "RCLONE_CONFIG": os.devnull,
        "AWS_ENDPOINT_URL": server.endpoint_url,
        **server.environment(),
        **kept,
    }


def _sync(place: Place, server: S3Server, *, is_push: bool) -> float:
    place.target.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    words = [sys.executable, "-m", "s32s", "sync", "--quiet", "--yes", *_words(place, is_push=is_push)]
    subprocess.run(words, env=_environment(place, server, is_push=is_push), check=True)
    return time.perf_counter() - began


def _full(place: Place, server: S3Server, number: int) -> tuple[float, float]:
    """What push and pull of one changed file take without a watch."""
    file = sorted((place.source / "0000").iterdir())[number]
    file.write_bytes(os.urandom(2000 + number))
    time.sleep(1.1)
    return _sync(place, server, is_push=True), _sync(place, server, is_push=False)


@contextmanager
def _watch(
    place: Place, server: S3Server, log: Path, *options: str, is_push: bool
) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "s32s", "watch", "--json", *options, *_words(place, is_push=is_push)]
    with log.open("wb") as file:
        process = subprocess.Popen(words, env=_environment(place, server, is_push=is_push), stdout=file)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _watched(
    place: Place, server: S3Server, options: argparse.Namespace
) -> tuple[Figures, tuple[list[float], list[float]]]:
    logs = place.root / "master.jsonl", place.root / "slave.jsonl"
    with ExitStack() as held:
        both = [
            held.enter_context(_watch(place, server, logs[0], is_push=True)),
            held.enter_context(_watch(place, server, logs[1], "--poll", options.poll, "--yes", is_push=False)),
        ]
        time.sleep(15)  # both have compared everything
        figures = _figures(place, both, options.saves)
        runs = _seconds(logs[0]), _seconds(logs[1])
    with fault_proxy(server.endpoint_url) as proxy, ExitStack() as held:
        held.enter_context(_watch(place, server.at(proxy.endpoint_url), logs[0], is_push=True))
        time.sleep(15)
        figures.requests = _requests(place, proxy, server)
    return figures, runs


def _seconds(log: Path) -> list[float]:
    """How long the runs took that have changed something."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [event["seconds"] for event in events if event["event"] == "finished" and event["changed"]]


# -- lsyncd and rclone -------------------------------------------------------------------------------------------------

_LSYNCD = """
settings {{ nodaemon = true, logfile = "{log}", statusFile = "{log}.status" }}
sync {{
    {{
        delay = 1, maxProcesses = 1,
        init = function(event) spawn(event, "/bin/sh", "-c", "{command}") end,
        action = function(inlet) spawn(inlet.getEvents(), "/bin/sh", "-c", "{command}") end,
        collect = function(agent, code) if code ~= 0 then return "again" end return "ok" end,
    }},
    source = "{source}",
}}
"""


def _peers(place: Place, server: S3Server, options: argparse.Namespace) -> Figures:
    def command(endpoint_url: str, *, is_push: bool) -> str:
        remote = f":s3:{BUCKET}/{place.prefix}"
        pair = [str(place.source), remote] if is_push else [remote, str(place.target)]
        where = ["--s3-provider=Other", f"--s3-endpoint={endpoint_url}", "--s3-env-auth", "--fast-list"]
        return " ".join([str(rclone_binary()), "sync", "--transfers=32", "--checkers=32", *where, *pair])

    def lsyncd(endpoint_url: str) -> subprocess.Popen[bytes]:
        file = place.root / "lsyncd.lua"
        push = command(endpoint_url, is_push=True)
        file.write_text(_LSYNCD.format(log=place.root / "lsyncd.log", command=push, source=place.source))
        environment = _environment(place, server, is_push=True)
        library = {"LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]} if "LD_LIBRARY_PATH" in os.environ else {}
        return subprocess.Popen(
            [options.lsyncd, str(file)], env=environment | library, stdout=subprocess.DEVNULL, start_new_session=True
        )

    place.target.mkdir(parents=True)
    environment = _environment(place, server, is_push=True)
    for is_push in (True, False):
        subprocess.run(["/bin/sh", "-c", command(server.endpoint_url, is_push=is_push)], env=environment, check=True)
    master = lsyncd(server.endpoint_url)
    pull = f"while sleep {options.poll.removesuffix('s')}; do {command(server.endpoint_url, is_push=False)}; done"
    slave = subprocess.Popen(["/bin/sh", "-c", pull], env=environment, start_new_session=True)
    try:
        _rest(master)
        figures = _figures(place, [master, slave], options.peer_saves)
    finally:
        _end(master)
        _end(slave)
    with fault_proxy(server.endpoint_url) as proxy:
        master = lsyncd(proxy.endpoint_url)
        try:
            _rest(master)
            figures.requests = _requests(place, proxy, server)
        finally:
            _end(master)
    return figures


def _rest(process: subprocess.Popen[bytes]) -> None:
    """Wait until lsyncd has compared everything: its child has ended, and so counts."""
    before = _cpu_s(process.pid)
    while (now := _cpu_s(process.pid)) == before:
        time.sleep(1)
    while now != before:
        before = now
        time.sleep(15)
        now = _cpu_s(process.pid)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, and those that it has started."""
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


# -- measuring ---------------------------------------------------------------------------------------------------------


def _figures(place: Place, both: list[subprocess.Popen[bytes]], saves: int) -> Figures:
    figures, rng = Figures(), random.Random(1)
    before, began = [_cpu_s(process.pid) for process in both], time.monotonic()
    time.sleep(20)
    seconds = time.monotonic() - began
    idle = [100 * (_cpu_s(process.pid) - was) / seconds for process, was in zip(both, before, strict=True)]
    figures.idle_cpu = idle[0], idle[1]
    before = [_cpu_s(process.pid) for process in both]
    directories = sorted(place.source.iterdir())
    for _ in range(saves):
        file = rng.choice(sorted(rng.choice(directories).iterdir()))
        figures.delays_s.append(_save(place, file, rng))
        time.sleep(rng.uniform(0.0, 1.0))
    figures.saving_cpu_s = sum(_cpu_s(process.pid) for process in both) - sum(before)
    figures.saving_cpu_s /= saves
    figures.memory_mb = _memory_mb(both[0].pid), _memory_mb(both[1].pid)
    return figures


def _save(place: Place, file: Path, rng: random.Random) -> float:
    """Save a file; how long it takes until the other end has it."""
    data, there = rng.randbytes(rng.randrange(1000, 3000)), place.target / file.relative_to(place.source)
    began = time.monotonic()
    file.write_bytes(data)
    _wait(lambda: there.read_bytes() == data, f"{file.name} does not arrive")
    return time.monotonic() - began


def _requests(place: Place, proxy: FaultProxy, server: S3Server) -> dict[str, int]:
    """What one save costs its master, by method."""
    file = sorted((place.source / "0001").iterdir())[0]
    proxy.clear()
    data = os.urandom(2500)
    file.write_bytes(data)
    key = f"{place.prefix}/{file.relative_to(place.source)}"
    _wait(lambda: server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == data, "it is not pushed")
    time.sleep(10)
    return dict(collections.Counter(request.method for request in proxy.requests))


def _wait(happened: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if happened():
                return
        except OSError:
            pass  # it is being replaced
        if time.monotonic() > until:
            raise SystemExit(what)
        time.sleep(0.01)


def _cpu_s(process: int) -> float:
    """CPU seconds of a process and of its children that have ended: proc(5)."""
    facts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, facts[11:15])) / _TICKS


def _memory_mb(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
