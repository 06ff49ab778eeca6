"""Holes travel: a master does not read them from the disk, and a slave does not fill them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from support.local import Run
from support.machine import Loop
from support.trees import snapshot

from s32s.system import file_bytes

MIB = 1024 * 1024


def make_sparse(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    """A file of holes but for some pieces."""
    with path.open("wb") as file:
        for at, data in pieces.items():
            os.pwrite(file.fileno(), data, at)
        file.truncate(size)
    return path


def on_disk(path: Path) -> int:
    """Bytes that a file takes."""
    return path.stat().st_blocks * 512


def read(path: Path) -> bytes:
    """Its content, as a master reads it."""
    with path.open("rb", buffering=0) as file:
        return b"".join(file_bytes.read_chunks(file.fileno()))


def test_holes_travel(loop: Loop) -> None:
    """The slave's file has the same bytes and takes as little room."""
    name = make_sparse(loop.source / "image", 16 * MIB, {5 * MIB: b"x" * 5000, 10 * MIB + 77: b"y"})

    assert loop.push().status == 0
    assert loop.pull().status == 0

    assert snapshot(loop.target) == snapshot(loop.source)
    assert on_disk(loop.target / "image") <= on_disk(name) + MIB


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        pytest.param(0, {}, id="nothing"),
        pytest.param(10 * MIB, {}, id="one hole"),
        pytest.param(10 * MIB + 1, {10 * MIB: b"z"}, id="a byte behind a hole"),
        pytest.param(10 * MIB, {3 * MIB: b"z" * MIB}, id="data between holes"),
        pytest.param(10 * MIB, {0: b"z" * 3 * MIB}, id="data before a hole"),
        pytest.param(10 * MIB, {9 * MIB: b"z" * MIB}, id="a hole before data"),
        pytest.param(3 * MIB, {0: b"z" * 3 * MIB}, id="no hole"),
        pytest.param(5000, {}, id="a small hole"),
        pytest.param(4095, {}, id="less than a block"),
    ],
)
def test_every_byte_of_a_sparse_file_is_read_and_written(tmp_path: Path, size: int, pieces: dict[int, bytes]) -> None:
    """Holes are zeros, wherever they lie, and become holes again."""
    name = make_sparse(tmp_path / "file", size, pieces)
    data = name.read_bytes()

    assert read(name) == data

    Run(tmp_path / "target").go({"file": data})

    assert (tmp_path / "target/file").read_bytes() == data
    assert on_disk(tmp_path / "target/file") <= max(on_disk(name), 4096) + 64 * 1024


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_any_size_make_the_same_file(tmp_path: Path, seed: int) -> None:
    """However a body is cut, and whatever of it is zero."""
    rng = random.Random(seed)
    data = b"".join(rng.choice([bytes, rng.randbytes])(rng.choice([1, 4095, 4096, 70_000, 200_000])) for _ in range(20))
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    at = 0
    while at < len(data):
        piece = data[at : at + rng.choice([1, 1000, 4096, 65_536, 100_000])]
        file_bytes.write_sparsely(fd, memoryview(piece), at)
        at += len(piece)
    os.ftruncate(fd, at)
    os.close(fd)

    assert (tmp_path / "file").read_bytes() == data


def test_a_hole_is_not_read(tmp_path: Path) -> None:
    """Of a gigabyte of nothing two megabytes are asked for at most: proc(5), rchar."""
    name = make_sparse(tmp_path / "file", 1024 * MIB, {500 * MIB: b"x"})

    def asked() -> int:
        return int(Path("/proc/thread-self/io").read_text().split()[1])

    before = asked()
    with name.open("rb", buffering=0) as file:
        size = sum(map(len, file_bytes.read_chunks(file.fileno())))

    assert size == 1024 * MIB
    assert asked() - before < 2 * MIB
