"""What a month of runs that find nothing new costs on AWS: by calculation, from requests that were counted.

    .venv/bin/python tests/bench/compare.py --case noop-pull --rounds 1 --json counted.json
    .venv/bin/python tests/bench/cost.py counted.json

One run a minute, 30 days. Prices of S3 Standard in us-east-1, in dollars a request (aws.amazon.com/s3/pricing). s32s
compares manifest and LIST once an hour besides, as it does by default.
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
    each = sum(PRICES[kind] * count for kind, count in requests.items())
    compared = HOURS * math.ceil(files / PAGE) * PRICES["LIST"] if tool == "s32s" else 0.0
    return RUNS * each + compared


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="written by compare.py --json")
    results: list[dict[str, Any]] = json.loads(parser.parse_args().results.read_text())
    for result in results:
        files = 100_000 if result["case"].endswith("100k") else 10_000
        print(f"{result['case']}, {files:,} files\n\n| tool | requests a run | 1 slave | 100 slaves | 10,000 slaves |")
        print("|---|---|---|---|---|")
        for tool, figures in result["tools"].items():
            counted = figures["requests"]
            sent = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counted.items()))
            dollars = a_month(tool, counted, files)
            print(
                f"| {tool} | {sent} | " + " | ".join(f"${dollars * slaves:,.2f}" for slaves in (1, 100, 10_000)) + " |"
            )


if __name__ == "__main__":
    main()
