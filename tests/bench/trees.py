"""Trees that the benchmark makes, copies, changes and compares."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

MIB = 1024 * 1024
LARGE = 256 * MIB
#: Above this number files are smaller.
MANY = 20_000


def make_tree(root: Path, files: int) -> Path:
    """Files of 2 to 16 KB, or 1 to 3 KB where there are many, in directories of a hundred; with 0, two of 256 MiB."""
    if root.exists():
        return root
    rng = random.Random(files)
    if not files:
        root.mkdir(parents=True)
        for name in ("one.bin", "two.bin"):
            with (root / name).open("wb") as file:
                for _ in range(LARGE // (4 * 1024 * 1024)):
                    file.write(rng.randbytes(4 * 1024 * 1024))
        return root
    least, most = (2_000, 16_000) if files <= MANY else (1_000, 3_000)
    for number in range(files):
        path = root / f"{number // 100:04}/{number:06}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(least, most)))
    return root


def twin(source: Path, target: Path, *, linked: bool) -> Path:
    """A copy of a tree, with its times; with `linked` its files are hard links, for trees that nobody writes to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-al" if linked else "-a", str(source), str(target)], check=True)
    return target


def changed(root: Path, number: int, *, every: int) -> list[Path]:
    """Make one file in so many another one, of another size; return which."""
    files = sorted(path for path in root.rglob("*") if path.is_file())[number % every :: every]
    for file in files:
        temporary = file.with_suffix(".new")
        temporary.write_bytes(file.read_bytes()[::-1] + b"more")
        temporary.replace(file)
    return files


def changed_inside(root: Path, number: int) -> list[Path]:
    """Write another MiB into the middle of each file, as a new file; return which."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for file in files:
        temporary = file.with_suffix(".new")
        data = bytearray(file.read_bytes())
        middle = len(data) // 2
        data[middle : middle + MIB] = random.Random(f"{file.name} {number}").randbytes(MIB)
        temporary.write_bytes(data)
        temporary.replace(file)
    return files


def same(one: Path, other: Path) -> bool:
    """Whether two directories hold the same."""
    ended = subprocess.run(["diff", "-rq", "-x", ".s32s", str(one), str(other)], capture_output=True, check=False)
    return ended.returncode == 0
