"""Stores that the configuration names, in the entries of maps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Loop, Machine
from support.servers import S3Server, keys, make_bucket, put
from support.trees import make_tree, snapshot

FILES = {"a": b"a", "d/b": b"b"}


def with_store(machine: Machine, server: S3Server, name: str = "nas") -> None:
    """Add a store of type "s3" to a configuration."""
    with machine.config.open("a") as file:
        file.write(f'[stores.{name}]\ntype = "s3"\nendpoint_url = "{server.endpoint_url}"\nregion = "us-east-1"\n')


@pytest.fixture
def apart(tmp_path: Path, loop: Loop, moto: S3Server, rclone: S3Server) -> tuple[Loop, S3Server]:
    """An entry whose files are on another server than the maps."""
    other = rclone if loop.server.name == "moto" else moto
    make_bucket(other, loop.bucket)
    loop.write_map(s3=f"nas:{loop.bucket}/site")
    make_tree(loop.source, FILES)
    return loop, other


def test_an_entry_in_a_store(apart: tuple[Loop, S3Server]) -> None:
    """Push, pull, status, a change and a mirror back; the S3 of the maps holds the maps alone."""
    loop, other = apart
    for machine in (loop.master, loop.slave):
        with_store(machine, other)

    assert (loop.push().status, loop.pull().status) == (0, 0)
    (loop.source / "a").write_bytes(b"changed")
    assert (loop.push().status, loop.pull().status) == (0, 0)

    assert snapshot(loop.target) == snapshot(loop.source)
    assert "up to date" in loop.slave.run("status").out
    assert set(keys(loop.server, loop.bucket)) == {"maps/web.json"}
    assert {"site/a", "site/d/b"} < set(keys(other, loop.bucket))
    loop.write_map(s3=f"nas:{loop.bucket}/site", mirror=f"{loop.bucket}/copy")
    mirrored = loop.master.run("sync", "--role", "mirror", "--update-maps")
    assert mirrored.status == 0, mirrored.err
    assert {"copy/a", "copy/d/b"} < set(keys(loop.server, loop.bucket))


def test_a_store_that_the_configuration_lacks(apart: tuple[Loop, S3Server]) -> None:
    """The entry fails alone, with the table that is missing; a name that is nearly right is proposed."""
    loop, other = apart
    with_store(loop.master, other, "nase")
    entries = [
        {"name": "WEB", "s3": f"nas:{loop.bucket}/site", "master": str(loop.source)},
        {"name": "PLAIN", "s3": f"{loop.bucket}/plain", "master": str(loop.source)},
    ]
    put(loop.server, loop.bucket, "maps/web.json", json.dumps(entries).encode())

    pushed = loop.push()

    assert pushed.status == 2, pushed.err
    assert "[stores.nas]" in pushed.err
    assert "did you mean nase?" in pushed.err
    assert "PLAIN: 2 new" in pushed.out
    status = loop.master.run("status")
    assert "[stores.nas]" in status.err + status.out


def test_places_that_overlap_in_a_store(apart: tuple[Loop, S3Server]) -> None:
    """Two entries of which one would delete the other's files; by whatever name the server is reached."""
    loop, other = apart
    with_store(loop.master, other)
    with_store(loop.master, other, "same")
    entries = [
        {"name": "WEB", "s3": f"nas:{loop.bucket}/site", "master": str(loop.source)},
        {"name": "IN", "s3": f"same:{loop.bucket}/site/in", "master": str(loop.source)},
    ]
    put(loop.server, loop.bucket, "maps/web.json", json.dumps(entries).encode())

    assert_failed(loop.push(), 3, says="overlap")


@pytest.mark.parametrize("place", ["nas:../x", "nas:a/.s32s/b", "Nas:bucket/x", "os.system:x/y", "nas:x//y"])
def test_a_place_that_is_none(loop: Loop, tmp_path: Path, place: str) -> None:
    """A map can name a store of this machine and nothing else."""
    file = tmp_path / "map.json"
    file.write_text(json.dumps([{"name": "WEB", "s3": place, "master": "/x"}]))

    assert_failed(loop.master.run("maps", "check", str(file)), 2, says="s3")


def test_a_mirror_table_of_before_is_told_what_to_write(loop: Loop) -> None:
    """And nothing runs."""
    with loop.master.config.open("a") as file:
        file.write('[s3.mirror]\nendpoint_url = "http://127.0.0.1:1"\n')

    assert_failed(loop.push(), 2, says="[stores.backup]")


def test_a_store_that_is_a_directory(loop: Loop, tmp_path: Path) -> None:
    """One of two places, never above its own path; and the place of an entry, which a server follows."""
    make_tree(loop.source, FILES)
    disk = tmp_path / "disk"
    disk.mkdir()
    for machine in (loop.master, loop.slave):
        with machine.config.open("a") as file:
            file.write(f'[stores.usb]\ntype = "file"\npath = "{disk}"\n')

    copied = loop.master.run("sync", str(loop.source), "usb:site")
    assert copied.status == 0, copied.err
    assert snapshot(disk / "site") == snapshot(loop.source)
    assert_failed(loop.master.run("sync", str(loop.source), "usb:../site"), 2, says="prefix")
    loop.write_map(s3="usb:entry")
    assert loop.push("--update-maps").status == 0
    assert loop.push().changed_nothing
    assert loop.pull("--update-maps").status == 0
    assert snapshot(loop.target) == snapshot(loop.source)
    (loop.source / next(iter(FILES))).write_bytes(b"changed")
    assert loop.push().status == 0
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)
    disk.rename(tmp_path / "away")
    assert_failed(loop.push(), 1, says="check whether its disk is mounted")
    assert_failed(loop.pull(), 1, says="check whether its disk is mounted")
    assert snapshot(loop.target) == snapshot(loop.source)
