"""What errors of packs propose: with the name of the entry, and what works on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Loop, Machine, make_loop
from support.peers import Peer
from support.servers import S3Server, get, keys, put
from support.trees import make_tree, snapshot

TREE = {"index.html": b"hello", "css/site.css": b"body {}"}
COPY = "copy/web"


@pytest.fixture
def packed(tmp_path: Path, server: S3Server, bucket: str) -> Loop:
    """A master and a slave of an entry in the packed layout, whose name is two words."""
    loop = make_loop(tmp_path, server, bucket)
    loop.write_map(name="MY WEB", layout="packed")
    make_tree(loop.source, TREE)
    assert loop.push().status == 0
    return loop


def damage(server: S3Server, bucket: str, prefix: str) -> None:
    """Change a byte of every pack."""
    for key in keys(server, bucket, f"{prefix}/.s32s/packs/"):
        data = get(server, bucket, key)
        put(server, bucket, key, bytes([data[0] ^ 1]) + data[1:])


def lose_head(server: S3Server, bucket: str, prefix: str) -> None:
    """Delete the head."""
    server.client().delete_object(Bucket=bucket, Key=f"{prefix}/.s32s/head.json")


def test_the_name_is_that_of_the_entry(packed: Loop) -> None:
    """In a form that a shell takes, and who has to run it."""
    damage(packed.server, packed.bucket, packed.prefix)
    assert_failed(packed.pull(), 1, says="run on the master: s32s verify 'MY WEB' --heal, or --rebuild")
    lose_head(packed.server, packed.bucket, packed.prefix)
    assert_failed(packed.pull(), 3, says="run on the master: s32s verify 'MY WEB' --rebuild")
    assert_failed(packed.push(), 3, says="; run s32s verify 'MY WEB' --rebuild")
    assert_failed(packed.pull(), 3, says="has packs and no head; run on the master: s32s verify 'MY WEB' --rebuild\n")
    for command in ("log", "diff", "rollback", "verify"):
        ended = packed.master.run(command, "MY WEB")
        assert_failed(ended, 3, says="run s32s verify 'MY WEB' --rebuild")


def test_status_says_what_helps_where_the_head_is_gone(packed: Loop) -> None:
    """Before any run has found it."""
    assert packed.pull().status == 0
    lose_head(packed.server, packed.bucket, packed.prefix)
    for machine, cure in ((packed.master, "run"), (packed.slave, "run on the master:")):
        shown = machine.run("status")
        assert "the head on S3 is gone" in shown.out
        assert f"MY WEB: {cure} s32s verify 'MY WEB' --rebuild\n" in shown.err


def test_a_manifest_is_healed_without_its_files(packed: Loop) -> None:
    """What is whole again is told, not that no path is."""
    head = f"{packed.prefix}/.s32s/head.json"
    root = json.loads(get(packed.server, packed.bucket, head))["root"]["pack"]
    (key,) = (key for key in keys(packed.server, packed.bucket, f"{packed.prefix}/.s32s/packs/") if root in key)
    put(packed.server, packed.bucket, key, b"x" * len(get(packed.server, packed.bucket, key)))
    healed = packed.master.run("verify", "MY WEB", "--heal")
    assert healed.status == 0, healed.err
    assert "generation 2 takes the place of the damaged one; its manifest is written again" in healed.out


def test_an_entry_without_a_master_names_the_one_that_has_it(packed: Loop) -> None:
    """Two entries lead to one prefix, and only one of them can heal it."""
    one = {"s3": f"{packed.bucket}/{packed.prefix}", "layout": "packed"}
    two = [
        one | {"name": "SITE", "master": str(packed.source)},
        one | {"name": "SITE2", "slave": str(packed.target)},
    ]
    put(packed.server, packed.bucket, "maps/web.json", json.dumps(two).encode())
    for machine in (packed.master, packed.slave):
        assert machine.run("maps", "update").status == 0
    damage(packed.server, packed.bucket, packed.prefix)

    assert_failed(packed.slave.run("sync", "SITE2"), 1, says="run on the master: s32s verify SITE --heal")
    for command in (("verify", "SITE2"), ("verify", "SITE2", "--heal")):
        ended = packed.master.run(*command)
        assert_failed(ended, 1, 3, says="run s32s verify SITE --heal")
        assert "verify SITE2" not in ended.err


def test_the_layout_of_an_entry(packed: Loop) -> None:
    """A slave cannot convert, and is told where that is done."""
    packed.write_map(name="MY WEB")
    convert = "s32s convert 'MY WEB' --layout plain"
    assert_failed(packed.pull(), 3, says=f"convert the prefix on the master: {convert}")
    assert packed.master.run("maps", "update").status == 0
    assert_failed(packed.push(), 3, says=f"convert the prefix: {convert}")


@pytest.mark.parametrize("knows", [True, False], ids=["same-maps", "other-maps"])
def test_a_slave_of_a_mirror_is_sent_to_the_mirror(packed: Loop, tmp_path: Path, knows: bool) -> None:
    """Only the mirror brings what its copy has lost; a slave that does not know of one is told of both."""
    bucket, server = packed.bucket, packed.server
    mirror = Machine(tmp_path / "mirror", server)
    mirror.write_config("mirror", f"{bucket}/mirrors")
    own = f'{{"name": "MY WEB", "s3": "{bucket}/{packed.prefix}", "mirror": "{bucket}/{COPY}", "layout": "packed"}}'
    follows = f'{{"name": "COPY", "s3": "{bucket}/{COPY}", "slave": "{packed.target}", "layout": "packed"}}'
    put(server, bucket, "mirrors/web.json", f"[{own}]".encode())
    put(server, bucket, "maps/web.json", f"[{follows}{f', {own}' if knows else ''}]".encode())
    assert mirror.run("sync").status == 0
    packed.slave.run("maps", "update")
    if knows:
        says = "run on the mirror: s32s sync 'MY WEB' --verify"
    else:
        says = "where this prefix is the copy of a mirror, run s32s sync --verify on the mirror instead"

    damage(server, bucket, COPY)
    assert_failed(packed.pull(), 1, says=says)
    verified = packed.slave.run("verify", "COPY")
    assert_failed(verified, 1, says=says)
    assert_failed(packed.slave.run("verify", "COPY", "--heal"), 1, 3, says=says)
    healed = mirror.run("sync", "MY WEB", "--verify")
    assert healed.status == 0, healed.err
    assert packed.slave.run("verify", "COPY").status == 0

    lose_head(server, bucket, COPY)
    assert_failed(packed.pull(), 3, says=says)
    healed = mirror.run("sync", "MY WEB", "--verify")
    assert healed.status == 0, healed.err
    assert packed.pull().status == 0
    assert snapshot(packed.target) == snapshot(packed.source)


def test_a_shared_folder_has_no_master(tmp_path: Path, server: S3Server, bucket: str) -> None:
    """It is healed from the folder of somebody who still has the files."""
    ann, bob = (Peer(tmp_path / name, server, f"s3://{bucket}/team", "packed") for name in ("ann", "bob"))
    make_tree(ann.folder, TREE)
    assert ann.sync().status == 0
    plain = Peer(tmp_path / "plain", server, ann.place)
    asked = plain.sync()
    assert_failed(asked, 3, says="add --layout packed")
    assert "entry" not in asked.err

    damage(server, bucket, "team")
    (bob.folder / "new.txt").write_text("n")
    assert_failed(bob.sync("--yes"), 1, says=f"run s32s verify {bob.folder} --heal")
    assert_failed(ann.run("verify", str(ann.folder)), 1, says=f"s32s verify {ann.folder} --heal pushes again")
    healed = ann.run("verify", str(ann.folder), "--heal")
    assert healed.status == 0, healed.err
    assert bob.sync("--yes").status == 0
    assert ann.sync("--yes").status == 0
    assert ann.tree() == bob.tree()
    pruned = ann.run("prune", str(ann.folder), "--keep", "1", "--yes", "--grace", "0s")
    assert pruned.status == 0, pruned.err
    assert ann.run("verify", str(ann.folder)).status == 0


def test_two_places_have_options(packed: Loop, tmp_path: Path) -> None:
    """What an entry would say is proposed as what a command line says."""
    machine = Machine(tmp_path / "other", packed.server)
    machine.extra = {"AWS_ENDPOINT_URL": packed.server.endpoint_url}
    plain, back = f"s3://{packed.bucket}/plain", str(tmp_path / "back")
    assert machine.run("sync", str(packed.source), plain).status == 0
    put(packed.server, packed.bucket, "plain/index.html", b"by another tool")
    stale = machine.run("sync", plain, back)
    assert_failed(stale, 1, says="add --no-manifest if another tool writes there")
    assert "entry" not in stale.err
    assert machine.run("sync", plain, back, "--no-manifest").status == 0
    (name,) = (key for key in keys(packed.server, packed.bucket, "plain/.s32s/") if "manifest-" in key)
    put(packed.server, packed.bucket, name, b"damaged")
    other = Machine(tmp_path / "third", packed.server)  # which has not got the manifest yet
    other.extra = machine.extra
    assert_failed(other.run("sync", plain, str(tmp_path / "new")), 1, says="push again with --verify")


def test_two_places_have_no_map(packed: Loop, tmp_path: Path) -> None:
    """Options are proposed, and for what only an entry can do, how there is one."""
    machine = Machine(tmp_path / "other", packed.server)
    machine.extra = {"AWS_ENDPOINT_URL": packed.server.endpoint_url}
    place = f"s3://{packed.bucket}/{packed.prefix}"
    for words in ((place, str(tmp_path / "to")), (str(packed.source), place)):
        assert_failed(machine.run("sync", *words), 3, says="add --layout packed")
    copy = (place, f"s3://{packed.bucket}/{COPY}", "--layout", "packed")
    assert machine.run("sync", *copy).status == 0
    damage(packed.server, packed.bucket, COPY)
    healed = machine.run("sync", *copy, "--verify")
    assert healed.status == 0, healed.err
    assert machine.run("sync", copy[1], str(tmp_path / "back"), "--layout", "packed").status == 0
    assert snapshot(tmp_path / "back") == snapshot(packed.source)

    damage(packed.server, packed.bucket, packed.prefix)
    ended = machine.run("sync", place, str(tmp_path / "to"), "--layout", "packed")
    says = ("name the prefix in an entry of a map", "run on its master: s32s verify ENTRY --heal")
    assert_failed(ended, 1, says=says)
