"""What the tests of other S3 servers share: a tree with something of each kind, and more machines for an entry."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

from support.machine import Ended, Loop, Machine
from support.servers import get, put
from support.trees import Link, make_tree

BIG = 20 * 1024 * 1024


def keep_versions(loop: Loop) -> None:
    """Switch the versions of the bucket on."""
    loop.server.needs("versions")
    loop.server.client().put_bucket_versioning(Bucket=loop.bucket, VersioningConfiguration={"Status": "Enabled"})


def fill(root: Path, files: int, *, seed: int = 1) -> None:
    """Small files in directories, one of 20 MiB, a link and an empty directory."""
    rng = random.Random(seed)
    tree = {f"d{number % 12}/file {number}.txt": rng.randbytes(rng.randint(0, 9_000)) for number in range(files)}
    make_tree(root, {**tree, "big.bin": rng.randbytes(BIG), "to/link": Link("../big.bin"), "to/empty": None})


def good(*ended: Ended) -> None:
    """Every run ended well."""
    assert [(one.status, one.err) for one in ended if one.status] == []


def write_map(loop: Loop, whose: str, **places: str) -> str:
    """Upload a map for one machine more, with the layout of the entry that is there; return where it is."""
    (entry,) = json.loads(get(loop.server, loop.bucket, "maps/web.json"))
    kept = {name: value for name, value in entry.items() if name not in ("master", "slave", "mirror")}
    put(loop.server, loop.bucket, f"maps-{whose}/web.json", json.dumps([{**kept, **places}]).encode())
    return f"{loop.bucket}/maps-{whose}"


def second_slave(loop: Loop, root: Path, **properties: str) -> Loop:
    """Another machine that follows the same entry, but for some properties."""
    other = dataclasses.replace(loop, slave=Machine(root, loop.server), target=root / "srv/site")
    other.target.parent.mkdir(parents=True)
    maps = write_map(loop, root.name, slave=str(other.target), **properties)
    other.slave.write_config("slave", maps, allow=[other.target.parent])
    return other
