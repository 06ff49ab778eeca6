"""s32s beside its peers: one machine, one server, by turns.

    .venv/bin/python tests/bench/compare.py [--case NAME]... [--files N] [--rounds N] [--json FILE] [--chart FILE]
    .venv/bin/python tests/bench/compare.py --delay 15ms,50ms [--rate 100M] [--tls]

Starts `rclone serve s3` on loopback, makes the trees, and runs s32s, s5cmd, rclone and the AWS command line one after
the other, several rounds. Prints the medians of wall time, client CPU time and peak memory, each as a ratio to the best
peer, the requests that each tool sends (counted in a run of their own, through a proxy), and the floor: what `tar x`,
`cp`, waiting for the disk, hashing and plain HTTP take for the same bytes. After the last round it checks that each
tool has left the right tree.

With `--delay` S3 is that far away, one way, by a proxy that holds every byte back (`distance.c`), and rclone gets the
numbers of transfers that suit a distance; its processor time is printed. With `--tls` every tool speaks TLS to the
server.

In every figure s32s verifies, stages, exchanges and syncs to the disk; the peers do none of it, but for what the AWS
SDKs check of a body. They are installed into an environment of their own at the first use (`--peers DIR`). `--tool
restic` measures that as well, where it is installed; the ratios are not to it.

Nothing is deleted before the end: for some minutes after many files were deleted ext4 searches long for every new
inode (fs/ext4/ialloc.c, recently_deleted), and the next run pays. For the same reason wait five minutes
before you run it again on the same file system.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import chart
import peers
from distance import Line, far_away
from peers import BUCKET, MAPS, Job
from support.faultproxy import fault_proxy
from support.network import make_certificate
from support.servers import S3Server, make_bucket, rclone_binary, start_rclone
from trees import MANY, changed, changed_inside, make_tree, same, twin

#: The first two are s32s, in either layout.
OURS = ("s32s", "packed")
TOOLS = (*OURS, "s5cmd", "rclone", "aws")
#: Measured where it is asked for: it keeps packs as well, which it alone can read, and restores a whole tree each time.
BESIDES = ("restic",)


@dataclass(frozen=True, slots=True)
class Case:
    """One situation.

    Attributes:
        files: how many; 0 stands for two of 256 MiB.
        state: what is there before: "cold" nothing, "same" all, "changed" all but one file in a hundred, "one" all but
            one file, "middle" all but one MiB in the middle of each file.
        goal: the ratio of wall time to the best peer that s32s is not to exceed; None where there is none.
        far_goal: the same at a distance.
        delay_s: how far away S3 is, one way.
    """

    name: str
    is_pull: bool
    files: int
    state: str
    goal: float | None
    far_goal: float | None = None
    manifest: bool = True
    delay_s: float = 0.0

    def away(self, delay_s: float) -> Case:
        """The same case at a distance."""
        name = f"{self.name}-{delay_s * 1000:g}ms" if delay_s else self.name
        return replace(self, name=name, goal=self.far_goal if delay_s else self.goal, delay_s=delay_s)


CASES = (
    Case("cold-pull", True, 10_000, "cold", 0.9, 0.9),
    Case("cold-push", False, 10_000, "cold", 0.9, 0.9),
    Case("noop-pull", True, 10_000, "same", 0.35, 0.6),
    Case("noop-push", False, 10_000, "same", 0.5, 0.6),
    Case("noop-pull-100k", True, 100_000, "same", 0.35, 0.6),
    Case("noop-pull-plain-100k", True, 100_000, "same", 0.8, manifest=False),
    Case("noop-push-100k", False, 100_000, "same", 0.5, 0.6),
    Case("one-pull", True, 10_000, "one", None, 0.7),
    Case("one-push", False, 10_000, "one", None, 1.2),
    Case("changed-pull-100k", True, 100_000, "changed", 0.5),
    Case("changed-push-100k", False, 100_000, "changed", 0.5),
    Case("large-pull", True, 0, "cold", 1.4, 1.0),
    Case("large-push", False, 0, "cold", 1.0, 1.0),
    Case("large-changed-pull", True, 0, "middle", None),
    Case("large-changed-push", False, 0, "middle", None),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of one tool took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(slots=True)
class Figures:
    """What one tool showed in one case.

    Attributes:
        line_cpu_s: processor time of the proxy that makes the distance, which runs beside the tool.
    """

    costs: list[Cost] = field(default_factory=list)
    line_cpu_s: list[float] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    is_right: bool = True

    def median(self, name: str) -> float:
        """The median of one field of `costs`."""
        return statistics.median(getattr(cost, name) for cost in self.costs)


# -- running -----------------------------------------------------------------------------------------------------------

#: Times a command as its only child, so that memory and CPU time of children are those of the command.
_TIMER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
ended = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
wall = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
sys.stdout.buffer.write(ended.stdout[-2000:])
sys.exit(ended.returncode)
"""


#: Reads files for their SHA-256, one after the other.
_HASHER = """
import hashlib, sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
"""


def timed(command: list[str], home: Path, environment: Mapping[str, str]) -> Cost:
    """Run a command to its end.

    Raises:
        SystemExit: it failed.
    """
    home.mkdir(parents=True, exist_ok=True)
    os.sync()
    ended = subprocess.run(
        [sys.executable, "-S", "-c", _TIMER, str(home / "cost"), *command],
        env={**environment, "HOME": str(home), "STATE_DIRECTORY": str(home / "state"), "CACHE_DIRECTORY": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}: {ended.stdout} {ended.stderr}")
    return Cost(*json.loads((home / "cost").read_text()))


@dataclass(slots=True)
class Bench:
    """The server and the places of one run.

    Attributes:
        ca_file: what its certificate is checked by; None without TLS.
        lines: the ways to it that have a length, by their delay.
    """

    work: Path
    server: S3Server
    peers: Path
    ca_file: Path | None
    lines: Mapping[float, Line]

    @property
    def environment(self) -> dict[str, str]:
        """What the tools see."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "RCLONE_CONFIG": os.devnull,
            **self.server.environment(),
            "RESTIC_PASSWORD": "bench",
            **({"AWS_CA_BUNDLE": str(self.ca_file), "RCLONE_CA_CERT": str(self.ca_file)} if self.ca_file else {}),
        }

    def endpoint_url(self, case: Case) -> str:
        """Where S3 is in a case."""
        return self.lines[case.delay_s].endpoint_url if case.delay_s else self.server.endpoint_url

    def run(self, tool: str, job: Job, home: Path) -> Cost:
        """Run one tool."""
        return timed(peers.commands(self.peers, self.server, self.work)[tool](job), home, self.environment)


class Place:
    """One tool in one case: its source, its target, its prefix and its home."""

    def __init__(self, case: Case, tool: str, work: Path) -> None:
        self.case = case
        self.tool = tool
        self.directory = work / case.name / tool
        self.stored = work / "disk" / BUCKET / case.name / tool
        self.source = work / "trees" / str(case.files)

    @property
    def is_packed(self) -> bool:
        """Whether the prefix holds packs, which the tool alone can lay down and read."""
        return self.tool in ("packed", *BESIDES)

    def prepare(self) -> None:
        """Before the server starts, as it does not see what changes below it: lay down what is there already."""
        if not self.is_packed and (self.case.is_pull or self.case.state != "cold"):
            # Of a pull the server's files are only read.
            linked = self.case.files > MANY and self.case.is_pull and self.case.state == "same"
            twin(self.source, self.stored, linked=linked)
        if self.case.is_pull and self.case.state != "cold":
            twin(self.source, self.directory / "srv/target", linked=False)
        if self.case.state in ("changed", "one", "middle"):
            # What changes here is replaced, never written to.
            self.source = twin(self.source, self.directory / "source", linked=True)

    def settle(self, bench: Bench) -> None:
        """Publish the manifest that s32s follows, and let the tool run once, so that all its caches are filled."""
        if (self.tool == "s32s" and self.case.is_pull and self.case.manifest) or (
            self.is_packed and (self.case.is_pull or self.case.state != "cold")
        ):
            self.publish(bench)
        if self.case.state != "cold":
            for _ in range(2):
                bench.run(self.tool, self.job(bench, 0, bench.endpoint_url(self.case)), self.home(0))

    def publish(self, bench: Bench) -> None:
        """What the source holds becomes what the prefix holds, by the tool whose layout it is."""
        job = Job(
            bench.server.endpoint_url,
            self.source,
            self.prefix(0),
            is_pull=False,
            manifest=self.case.manifest,
            layout=self.layout,
        )
        tool = "s32s" if self.tool in OURS else self.tool
        self.begin(bench, job)
        bench.run(tool, job, self.directory / ("publisher" if self.case.is_pull else "home"))

    def begin(self, bench: Bench, job: Job) -> None:
        """Make the repository that a tool wants, unless it is there."""
        if self.tool == "restic" and not (bench.work / "disk" / BUCKET / job.prefix / "config").exists():
            timed(peers.restic(job, "init"), self.directory / "publisher", bench.environment)

    def before(self, bench: Bench, number: int) -> None:
        """What happens before each run."""
        if self.case.state not in ("changed", "one", "middle"):
            if self.case.state == "cold" and not self.case.is_pull:
                self.begin(bench, self.job(bench, number, bench.server.endpoint_url))
            return
        time.sleep(1.1)  # the peers compare whole seconds
        if self.case.state == "middle":
            files = changed_inside(self.source, number)
        else:
            files = changed(self.source, number, every=100 if self.case.state == "changed" else self.case.files)
        if self.case.is_pull and (self.tool == "s32s" or self.is_packed):
            self.publish(bench)
        elif self.case.is_pull:
            for file in files:
                key = f"{self.prefix(number)}/{file.relative_to(self.source)}"
                bench.server.client().put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())

    def job(self, bench: Bench, number: int, endpoint_url: str) -> Job:
        """What the tool is to do in a round."""
        is_cold = self.case.state == "cold"
        local = self.source
        if self.case.is_pull:
            local = self.directory / (f"srv/target-{number}" if is_cold else "srv/target")
            local.parent.mkdir(parents=True, exist_ok=True)
        return Job(
            endpoint_url,
            local,
            self.prefix(number),
            self.case.is_pull,
            self.case.manifest,
            is_far=self.case.delay_s > 0,
            layout=self.layout,
        )

    @property
    def layout(self) -> str:
        """Of the prefix."""
        return "packed" if self.is_packed else "plain"

    def prefix(self, number: int) -> str:
        """Where the objects are, or, for a cold push, will be."""
        beyond = f"/{number}" if self.case.state == "cold" and not self.case.is_pull else ""
        return f"{self.case.name}/{self.tool}{beyond}"

    def home(self, number: int) -> Path:
        """The tool's state: fresh for a cold run."""
        return self.directory / (f"home-{number}" if self.case.state == "cold" else "home")

    def is_right(self, bench: Bench, number: int) -> bool:
        """Whether the last run has left what it should."""
        if self.case.is_pull:
            return same(self.source, self.brought(self.job(bench, number, "").local))
        if self.is_packed:
            back = self.directory / "srv" / f"back-{number}"
            back.parent.mkdir(parents=True, exist_ok=True)
            job = self.job(bench, number, bench.server.endpoint_url)
            tool = "s32s" if self.tool in OURS else self.tool
            bench.run(tool, replace(job, local=back, is_pull=True), self.directory / "reader")
            return same(self.source, self.brought(back))
        return same(self.source, bench.work / "disk" / BUCKET / self.prefix(number))

    def brought(self, local: Path) -> Path:
        """Where the tree is below the directory that it was brought to: restic restores the whole path."""
        return local / self.source.relative_to("/") if self.tool == "restic" else local


def measure(bench: Bench, case: Case, places: list[Place], *, rounds: int, count: bool) -> dict[str, Figures]:
    """All rounds of a case, the tools by turns."""
    figures = {place.tool: Figures() for place in places}
    for place in places:
        place.settle(bench)
    for number in range(rounds):
        for place in places:
            place.before(bench, number)
            job = place.job(bench, number, bench.endpoint_url(case))
            before_s = line.cpu_s() if (line := bench.lines.get(case.delay_s)) else 0.0
            figures[place.tool].costs.append(bench.run(place.tool, job, place.home(number)))
            figures[place.tool].line_cpu_s.append(line.cpu_s() - before_s if line else 0.0)
    for place in places:
        figures[place.tool].is_right = place.is_right(bench, rounds - 1)
        if count:
            place.before(bench, rounds)
            with fault_proxy(bench.server.endpoint_url) as proxy:
                bench.run(place.tool, place.job(bench, rounds, proxy.endpoint_url), place.home(rounds))
                kinds = ("LIST" if request.is_list else request.method for request in proxy.requests)
                figures[place.tool].requests = dict(collections.Counter(kinds))
    return figures


def floors(work: Path, case: Case) -> dict[str, float]:
    """What the same bytes cost without S3: seconds by way.

    Where files have changed in a tree, it is what every exchange of a whole tree costs: a link for each file that
    stays, and then the old names are removed.
    """
    source = work / "trees" / str(case.files)
    place = work / case.name / "floor"
    place.mkdir(parents=True)
    if case.state == "changed":
        return _seconds(
            {
                "cp -al": ["cp", "-al", str(source), str(place / "linked")],
                "rm -r": ["rm", "-r", str(place / "linked")],
            }
        )
    archive = place / "all.tar"
    subprocess.run(["tar", "cf", str(archive), "-C", str(source), "."], check=True)
    (place / "tar").mkdir()
    ways = {
        "tar x": ["tar", "xf", str(archive), "-C", str(place / "tar")],
        "cp -r": ["cp", "-r", str(source), str(place / "cp")],
        "cp -r and sync": ["sh", "-c", 'cp -r "$1" "$2" && sync -f "$2"', "sh", str(source), str(place / "synced")],
    }
    if not case.files:
        ways["SHA-256"] = [sys.executable, "-S", "-c", _HASHER, *map(str, sorted(source.iterdir()))]
    found = _seconds(ways)
    if case.is_pull and shutil.which("curl"):
        found["HTTP"] = _plain_http(source, place)
    return found


def _seconds(ways: Mapping[str, list[str]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, command in ways.items():
        os.sync()
        began = time.perf_counter()
        subprocess.run(command, check=True)
        found[name] = time.perf_counter() - began
    return found


def _plain_http(source: Path, place: Path) -> float:
    """Every file by plain HTTP GET from rclone, 32 at once, into nothing."""
    with _http_server(source, place / "log") as address:
        lines = [
            f'url = "{address}{path.relative_to(source)}"\noutput = "/dev/null"'
            for path in source.rglob("*")
            if path.is_file()
        ]
        (place / "urls").write_text("\n".join(lines))
        began = time.perf_counter()
        options = ["--silent", "--fail", "--parallel", "--parallel-max", "32"]
        with (place / "curl.log").open("wb") as log_of_curl:
            subprocess.run(["curl", *options, "--config", str(place / "urls")], check=True, stderr=log_of_curl)
        return time.perf_counter() - began


@contextmanager
def _http_server(source: Path, log: Path) -> Iterator[str]:
    command = [str(rclone_binary()), "serve", "http", "--addr=127.0.0.1:0", str(source)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={"RCLONE_CONFIG": os.devnull})
    try:
        until = time.monotonic() + 30
        while "http://127.0.0.1:" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        port = log.read_text().split("http://127.0.0.1:")[1].split("/")[0].strip()
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


# -- what is shown -----------------------------------------------------------------------------------------------------


def best_peer(figures: Mapping[str, Figures], name: str) -> float:
    """The least median of the peers; of s32s where it runs alone."""
    ours = min(figures[tool].median(name) for tool in figures)
    return min((figures[tool].median(name) for tool in figures if tool not in (*OURS, *BESIDES)), default=ours)


def table(case: Case, figures: Mapping[str, Figures], floor: Mapping[str, float]) -> str:
    """One case, for people."""
    goal = f"the goal is {case.goal} of the best peer's wall time" if case.goal else "no goal"
    lines = [f"{case.name}: {goal}"]
    lines.append(f"  {'':<7} {'wall s':>8} {'ratio':>6} {'CPU s':>7} {'ratio':>6} {'MB':>6}  requests")
    best_wall, best_cpu = best_peer(figures, "wall_s"), best_peer(figures, "cpu_s")
    for tool, figure in figures.items():
        wall, cpu = figure.median("wall_s"), figure.median("cpu_s")
        requests = ", ".join(f"{count:,} {method}" for method, count in sorted(figure.requests.items()))
        wrong = "" if figure.is_right else "  LEFT ANOTHER TREE"
        lines.append(
            f"  {tool:<7} {wall:>8.2f} {wall / best_wall:>6.2f} {cpu:>7.2f} {cpu / best_cpu:>6.2f} "
            f"{max(cost.peak_mb for cost in figure.costs):>6.0f}  {requests}{wrong}"
        )
    if case.delay_s:
        shares = (f"{tool} {statistics.median(figure.line_cpu_s):.2f} s" for tool, figure in figures.items())
        lines.append("  CPU of the proxy that makes the distance: " + ", ".join(shares))
    if floor:
        lines.append("  floor: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in floor.items()))
    return "\n".join(lines)


def as_json(case: Case, figures: Mapping[str, Figures], floor: Mapping[str, float]) -> dict[str, object]:
    """One case, for programs."""
    return {
        "case": case.name,
        "goal": case.goal,
        "delay_s": case.delay_s,
        "floor_s": dict(floor),
        "tools": {
            tool: {
                "wall_s": [cost.wall_s for cost in figure.costs],
                "cpu_s": [cost.cpu_s for cost in figure.costs],
                "line_cpu_s": figure.line_cpu_s,
                "peak_mb": [cost.peak_mb for cost in figure.costs],
                "wall_ratio": figure.median("wall_s") / best_peer(figures, "wall_s"),
                "cpu_ratio": figure.median("cpu_s") / best_peer(figures, "cpu_s"),
                "requests": figure.requests,
                "is_right": figure.is_right,
            }
            for tool, figure in figures.items()
        },
    }


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 on')
    return int(text)


def _delays(text: str) -> list[float]:
    """Delays such as "15ms,50ms", in seconds."""
    found = [re.fullmatch(r"(\d+(?:\.\d+)?)ms", part) for part in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f'"{text}" is not a list of delays such as 15ms,50ms')
    return [float(part[1]) / 1000 for part in found if part]


def _rate(text: str) -> float:
    found = re.fullmatch(r"(\d+)M", text)
    if not found:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of megabytes a second such as 100M')
    return float(found[1]) * 1e6


def main() -> None:
    """Run what was asked for and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only this; repeatable")
    parser.add_argument("--tool", action="append", choices=(*TOOLS, *BESIDES), help="only this; repeatable")
    parser.add_argument("--files", type=_count, help="so many small files in every case, instead of 10,000 and 100,000")
    parser.add_argument("--rounds", type=_count, default=3)
    parser.add_argument("--delay", type=_delays, default=[0.0], help="S3 is so far away, one way, such as 15ms,50ms")
    parser.add_argument("--rate", type=_rate, default=0.0, help="what that line carries a second, such as 100M")
    parser.add_argument("--tls", action="store_true", help="S3 speaks TLS")
    parser.add_argument("--no-requests", action="store_true", help="do not count requests")
    parser.add_argument("--json", type=Path, help="also write every figure there")
    parser.add_argument("--chart", type=Path, help="also draw the ratios there, as SVG")
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "s32s-bench-peers")
    options = parser.parse_args()
    for path in (options.json, options.chart):
        if path and not path.parent.is_dir():
            parser.error(f"{path} cannot be written: there is no directory {path.parent}")
    if options.rate and 0.0 in options.delay:
        parser.error("--rate is of the line that --delay makes")
    peers.install(options.peers)
    results: list[dict[str, object]] = []
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s32s-bench-")))
        (work / "disk").mkdir()
        chosen: dict[Case, list[Place]] = {}
        for delay_s, case in itertools.product(options.delay, CASES):
            if case.name not in options.case if options.case else delay_s and case.far_goal is None:
                continue
            if options.files and case.files:
                case = replace(case, files=options.files)
            make_tree(work / "trees" / str(case.files), case.files)
            # With ten requests at once the AWS command line takes minutes for what takes the others seconds.
            tools = options.tool or [tool for tool in TOOLS if not (delay_s and tool == "aws")]
            case = case.away(delay_s)
            chosen[case] = [Place(case, tool, work) for tool in tools]
            for place in chosen[case]:
                place.prepare()
        certificate = make_certificate(work) if options.tls else None
        server = stack.enter_context(start_rclone(work / "disk", certificate))
        lines = {
            delay_s: stack.enter_context(far_away(server.endpoint_url, delay_s=delay_s, bytes_per_s=options.rate))
            for delay_s in options.delay
            if delay_s
        }
        if certificate:
            os.environ["AWS_CA_BUNDLE"] = str(certificate)  # for the client that lays things out
        for bucket in {BUCKET, MAPS}.difference(path.name for path in (work / "disk").iterdir()):
            make_bucket(server, bucket)
        bench = Bench(work, server, options.peers, certificate, lines)
        for case, places in chosen.items():
            figures = measure(
                bench, case, places, rounds=options.rounds, count=not options.no_requests and not options.tls
            )
            has_floor = case.state == "cold" or (case.state == "changed" and case.is_pull)
            floor = floors(work, case) if has_floor and not case.delay_s else {}
            print(table(case, figures, floor), flush=True)
            results.append(as_json(case, figures, floor))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if options.chart:
        options.chart.write_text(chart.drawn(results))


if __name__ == "__main__":
    main()
