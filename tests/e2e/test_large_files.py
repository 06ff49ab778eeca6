"""Files of more than a gibibyte in packs: sent, changed in the middle, taken back, with memory that does not follow."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path

import pytest
from support.machine import Machine, make_loop
from support.servers import S3Server, keys, make_bucket

MIB = 1024 * 1024
RANDOM, SPARSE, ISLANDS = 1200 * MIB, 1500 * MIB, 40
#: What any of the commands may take of memory; the larger file has more than twice as much.
MOST_MEMORY = 600 * MIB


def make_files(root: Path, seed: int) -> None:
    """One file of random bytes, and one of holes with random islands."""
    dice = random.Random(seed)
    with (root / "random").open("wb") as file:
        for _ in range(RANDOM // MIB):
            file.write(dice.randbytes(MIB))
    with (root / "sparse").open("wb") as file:
        file.truncate(SPARSE)
        for _ in range(ISLANDS):
            file.seek(dice.randrange(SPARSE - MIB))
            file.write(dice.randbytes(64 * 1024))


def change(path: Path) -> None:
    """Write a mebibyte into the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 + 12_345)
        file.write(os.urandom(MIB))


def sums(root: Path) -> dict[str, str]:
    """The SHA-256 of both."""
    found = {}
    for name in ("random", "sparse"):
        with (root / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def run(machine: Machine, *command: str) -> int:
    """Run a command that must go well; return the most memory that it had."""
    process = subprocess.Popen(machine.command(*command), env=machine.environment(), cwd=machine.root)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    used_s = used.ru_utime + used.ru_stime
    print(f"{' '.join(command)}: {used.ru_maxrss / 1024:,.0f} MiB of memory, {used_s:,.0f} s of CPU")
    return used.ru_maxrss * 1024


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_large_files_in_packs(tmp_path: Path, rclone: S3Server) -> None:
    """A change of a mebibyte moves its surroundings; each way back brings the very bytes, and holes stay holes."""
    bucket = f"large-{os.getpid()}"
    make_bucket(rclone, bucket)
    loop = make_loop(tmp_path, rclone, bucket)
    loop.write_map(layout="packed", keep=3)
    loop.slave.write_config("slave", f"{bucket}/maps", allow=[loop.target.parent], text="keep = 2")
    make_files(loop.source, 1)
    first = sums(loop.source)
    memory = [run(loop.master, "sync"), run(loop.slave, "sync")]
    assert sums(loop.target) == first
    assert (loop.target / "sparse").stat().st_blocks * 512 < SPARSE // 10
    before = sum(keys(rclone, bucket, f"{loop.prefix}/").values())

    for name in first:
        change(loop.source / name)
    second = sums(loop.source)
    memory += [run(loop.master, "sync"), run(loop.slave, "sync")]

    assert sums(loop.target) == second
    assert sum(keys(rclone, bucket, f"{loop.prefix}/").values()) - before < 32 * MIB
    memory += [run(loop.slave, "rollback", "WEB"), run(loop.master, "verify", "WEB")]
    assert sums(loop.target) == first
    back = tmp_path / "back"
    memory.append(run(loop.master, "restore", "WEB", ".", "--generation", "1", "--to", str(back)))
    assert sums(back) == first
    assert (back / "sparse").stat().st_blocks * 512 < SPARSE // 10
    assert max(memory) < MOST_MEMORY
