"""What requests cost on AWS: by calculation, from requests that were counted.

    .venv/bin/python tests/bench/compare.py --case noop-pull --case cold-pull --rounds 1 --json counted.json
    .venv/bin/python tests/bench/cost.py counted.json

Of a case in which nothing is new, a month of runs: one a minute, 30 days. Of any other, one run. Prices of S3 Standard
in us-east-1, in dollars a request (aws.amazon.com/s3/pricing). s32s compares manifest and LIST of a plain prefix once
an hour besides, as it does by default.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

PRICES = {"LIST": 0.005 / 1000, "PUT": 0.005 / 1000, "GET": 0.0004 / 1000, "HEAD": 0.0004 / 1000}
RUNS = 30 * 24 * 60
HOURS = 30 * 24
PAGE = 1000  # keys of a LIST (S3 API, ListObjectsV2)


def a_month(tool: str, requests: dict[str, int], files: int) -> float:
    """Dollars for one slave."""
    compared = HOURS * math.ceil(files / PAGE) * PRICES["LIST"] if tool == "s32s" else 0.0
    return RUNS * once(requests) + compared


def once(requests: dict[str, int]) -> float:
    """Dollars for one run."""
    return sum(PRICES[kind] * count for kind, count in requests.items())


def shown(dollars: float) -> str:
    """An amount, with as many digits as it needs."""
    return f"${dollars:,.2f}" if dollars >= 0.1 else f"${dollars:.6f}"


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="written by compare.py --json")
    results: list[dict[str, Any]] = json.loads(parser.parse_args().results.read_text())
    for result in results:
        files = 100_000 if result["case"].endswith("100k") else 10_000
        is_idle = result["case"].startswith("noop")
        machines = (1, 100, 10_000) if "pull" in result["case"] else (1,)
        heads = " | ".join(f"{number:,} {'slave' if number == 1 else 'slaves'}" for number in machines)
        heads = heads if "pull" in result["case"] else "dollars"
        print(f"{result['case']}, {files:,} files{', a month' if is_idle else ', once'}\n")
        print(f"| tool | requests a run | {heads} |\n|---|---|{'---|' * len(machines)}")
        for tool, figures in result["tools"].items():
            counted = figures["requests"]
            sent = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counted.items()))
            dollars = a_month(tool, counted, files) if is_idle else once(counted)
            print(f"| {tool} | {sent} | " + " | ".join(shown(dollars * number) for number in machines) + " |")


if __name__ == "__main__":
    main()
