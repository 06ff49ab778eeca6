"""What ten generations take on S3, with one file in a hundred changed in each.

    .venv/bin/python tests/bench/generations.py [--files N] [--generations N]

Pushes with the installed command to `rclone serve s3` on loopback, and weighs the prefix after each push. Everything
counts: packs of files, of the manifest, and what waits to be swept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.machine import Machine
from support.servers import make_bucket, put, start_rclone
from trees import changed, make_tree


def main() -> None:
    """Print a line a generation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--generations", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s32s-bench-") as name:
        top = Path(name)
        (top / "disk").mkdir()
        tree = make_tree(top / "tree", asked.files)
        with start_rclone(top / "disk") as server:
            make_bucket(server, "bench")
            entry = {"name": "BENCH", "s3": "bench/data", "master": str(tree), "layout": "packed"}
            put(server, "bench", "maps/map.json", json.dumps([{**entry, "keep": asked.generations}]).encode())
            master = Machine(top / "master", server)
            master.write_config("master", "bench/maps/")
            first = 0
            for number in range(asked.generations):
                if number:
                    changed(tree, number, every=100)
                ended = master.run("sync", "--quiet")
                if ended.status:
                    sys.exit(ended.err)
                stored = [path.stat().st_size for path in (top / "disk/bench/data").rglob("*") if path.is_file()]
                first = first or sum(stored)
                print(
                    f"generation {number + 1:>2}: {len(stored):>3} objects, {sum(stored) / 1e6:8.2f} MB, "
                    f"{sum(stored) / first:.3f} of the first",
                    flush=True,
                )


if __name__ == "__main__":
    main()
