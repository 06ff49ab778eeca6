"""Generations of the plain layout, in a bucket that keeps versions: look back, go back, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.checks import assert_failed
from support.faultproxy import FaultProxy, Rule, Status
from support.machine import Ended, Loop, make_loop
from support.servers import S3Server, get, keys, put
from support.trees import make_tree, snapshot

TREE = {"index.html": b"hello", "css/site.css": b"body {}", "empty": None, "odd/ä %+": b"x", "none": b""}


@pytest.fixture
def versioned(tmp_path: Path, server: S3Server, bucket: str) -> Loop:
    """A master and a slave of an entry in the plain layout, in a bucket with versions."""
    server.needs("versions")
    turn_on(server, bucket)
    loop = make_loop(tmp_path, server, bucket)
    make_tree(loop.source, TREE)
    return loop


def turn_on(server: S3Server, bucket: str) -> None:
    """Let a bucket keep versions from now on."""
    server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def told(ended: Ended, event: str) -> list[dict[str, Any]]:
    """Lines of one kind."""
    assert ended.status == 0, ended.err
    return [line for line in ended.lines if line["event"] == event]


def lose(loop: Loop, path: str, body: bytes) -> None:
    """Delete the version of an object that has these bytes, as a rule of the bucket does."""
    client, key = loop.server.client(), f"{loop.prefix}/{path}"
    for one in client.list_object_versions(Bucket=loop.bucket, Prefix=key)["Versions"]:
        got = client.get_object(Bucket=loop.bucket, Key=key, VersionId=one["VersionId"])
        if got["Body"].read() == body:
            client.delete_object(Bucket=loop.bucket, Key=key, VersionId=one["VersionId"])


def test_look_back_and_go_back(versioned: Loop) -> None:
    """As in the packed layout: what there was, what has changed, a file of then, and all of it."""
    loop, master = versioned, versioned.master.run
    assert told(master("log", "WEB", "--json"), "generation") == []
    assert loop.push("--message", "the first").status == 0
    first = snapshot(loop.source)
    (loop.source / "index.html").write_bytes(b"changed")
    (loop.source / "css/site.css").unlink()
    (loop.source / "new.txt").write_bytes(b"new")
    assert loop.push().status == 0
    assert loop.push().changed_nothing
    assert loop.pull().status == 0
    second = snapshot(loop.source)

    log = told(master("log", "WEB", "--json"), "generation")
    assert [(one["generation"], one["current"], one["message"], one["files"]) for one in log] == [
        (2, True, "", 4),
        (1, False, "the first", 4),
    ]
    assert (log[0]["new"], log[0]["modified"], log[0]["deleted"], log[0]["rollback_to"]) == (1, 1, 1, 0)
    assert log[0]["user"]
    head = json.loads(get(loop.server, loop.bucket, f"{loop.prefix}/.s32s/head.json"))
    assert log[0]["published"] == head["time"]
    shown = master("log", "WEB").out
    assert "2*" in shown, shown
    assert "+1 ~1 -1" in shown
    differ = told(loop.slave.run("diff", "WEB", "--json"), "difference")
    assert [(one["path"], one["what"]) for one in differ] == [
        ("css/site.css", "deleted"),
        ("index.html", "modified"),
        ("new.txt", "new"),
    ]

    back = loop.source.parent / "back"
    assert told(master("restore", "WEB", "css", "--generation", "1", "--to", str(back), "--json"), "restored")
    assert (back / "css/site.css").read_bytes() == b"body {}"
    assert not (back / "index.html").exists()
    assert_failed(
        master("restore", "WEB", "index.html", "--generation", "1"), 3, says=("other content", "--yes replaces")
    )
    assert_failed(loop.slave.run("restore", "WEB", "index.html"), 2, says="--to DIR")
    assert_failed(master("restore", "WEB", "nothing"), 2, says='generation 2 has no "nothing"')

    rolled = told(master("rollback", "WEB", "--json"), "rolled_back")[0]
    assert (rolled["generation"], rolled["to"]) == (3, 1)
    assert "3 changed since the push" in master("status").out
    assert loop.pull("--verify").status == 0
    assert snapshot(loop.target) == first
    assert "new.txt" not in {key.removeprefix(f"{loop.prefix}/") for key in keys(loop.server, loop.bucket, loop.prefix)}
    log = told(master("log", "WEB", "--json"), "generation")
    assert (log[0]["generation"], log[0]["rollback_to"], log[0]["message"]) == (3, 1, "back to generation 1")
    assert "generation 4 holds what generation 2 held" in master("rollback", "WEB", "2", "--message", "no, the new").out
    assert loop.pull("--verify").status == 0
    assert snapshot(loop.target) == second
    assert loop.push().changed_nothing
    assert_failed(master("rollback", "WEB", "9"), 3, says="generation 9 is not there; 1 to 4 are; see s32s log WEB;")
    assert_failed(master("rollback", "WEB", "4"), 3, says="generation 4 is the current one; s32s log WEB")
    assert_failed(loop.slave.run("rollback", "WEB"), 3, says="no earlier tree")


def test_what_else_there_is(versioned: Loop) -> None:
    """A large file in parts, links, modes, and what has become a directory, come back as they were."""
    loop = versioned
    make_tree(loop.source, {"large": b"one" * 3_000_000, "both": b"a file"})
    (loop.source / "link").symlink_to("index.html")
    (loop.source / "index.html").chmod(0o600)
    assert loop.push().status == 0
    first = snapshot(loop.source)
    (loop.source / "large").write_bytes(b"two")
    (loop.source / "both").unlink()
    make_tree(loop.source, {"both/now": b"a directory"})
    (loop.source / "link").unlink()
    (loop.source / "index.html").chmod(0o644)
    assert loop.push().status == 0

    assert loop.master.run("rollback", "WEB").status == 0
    assert loop.pull("--verify").status == 0
    assert snapshot(loop.target) == first
    assert (loop.target / "large").read_bytes() == b"one" * 3_000_000
    back = loop.source.parent / "back"
    assert loop.master.run("restore", "WEB", "large", "both", "--generation", "2", "--to", str(back)).status == 0
    assert (back / "large").read_bytes() == b"two"
    assert (back / "both/now").read_bytes() == b"a directory"


def test_without_versions_it_says_what_to_do(loop: Loop) -> None:
    """In a bucket that keeps none, and on a server that has none."""
    make_tree(loop.source, TREE)
    assert loop.push().status == 0
    hints = (
        "is in the plain layout and keeps no earlier generations",
        "aws s3api put-bucket-versioning --bucket " + loop.bucket,
        "s32s convert WEB --layout packed",
    )
    before = keys(loop.server, loop.bucket, loop.prefix)

    for command in (["log", "WEB"], ["diff", "WEB"], ["rollback", "WEB"], ["restore", "WEB", "index.html"]):
        assert_failed(loop.master.run(*command), 3, says=hints)
    assert_failed(loop.master.run("rollback", "WEB", "--message", "x" * 600), 2, says="600 characters")
    assert_failed(loop.master.run("prune", "WEB"), 2, says=("which has no packs", "s32s convert WEB"))
    assert keys(loop.server, loop.bucket, loop.prefix) == before


def test_a_version_that_is_gone_stops_it_before_anything_changes(versioned: Loop) -> None:
    """A rule of the bucket has let it expire: the error names path and generation, and the others can come back."""
    loop, master = versioned, versioned.master.run
    assert loop.push().status == 0
    (loop.source / "index.html").write_bytes(b"changed")
    (loop.source / "css/site.css").write_bytes(b"changed, too")
    assert loop.push().status == 0
    lose(loop, "index.html", b"hello")
    head = get(loop.server, loop.bucket, f"{loop.prefix}/.s32s/head.json")
    before = keys(loop.server, loop.bucket, loop.prefix)

    said = ('"index.html" of generation 1 cannot be read any more', "expire")
    assert_failed(master("rollback", "WEB"), 3, says=said)
    back = loop.source.parent / "back"
    assert_failed(master("restore", "WEB", "index.html", "--generation", "1", "--to", str(back)), 3, says=said)
    assert get(loop.server, loop.bucket, f"{loop.prefix}/.s32s/head.json") == head
    assert keys(loop.server, loop.bucket, loop.prefix) == before
    assert master("restore", "WEB", "css", "--generation", "1", "--to", str(back)).status == 0
    assert (back / "css/site.css").read_bytes() == b"body {}"


def test_what_may_not_be_listed_is_told_with_the_permissions(
    tmp_path: Path, server: S3Server, bucket: str, proxy: FaultProxy
) -> None:
    """Which a slave does not have by its own policy."""
    server.needs("versions")
    turn_on(server, bucket)
    loop = make_loop(tmp_path, server, bucket, endpoint_url=proxy.endpoint_url)
    make_tree(loop.source, TREE)
    assert loop.push().status == 0
    for denied in ("versions", "versionId"):
        proxy.rules.clear()
        proxy.add(Rule(lambda request, denied=denied: denied in request.query, Status(403, "AccessDenied")))

        assert_failed(loop.slave.run("log", "WEB"), 1, says=("s3:ListBucketVersions and s3:GetObjectVersion",))


def test_what_was_pushed_before_there_were_versions(tmp_path: Path, server: S3Server, bucket: str) -> None:
    """Its manifest names no versions, and its objects are found by what they are."""
    server.needs("versions")
    loop = make_loop(tmp_path, server, bucket)
    make_tree(loop.source, TREE)
    assert loop.push().status == 0
    first = snapshot(loop.source)
    turn_on(server, bucket)
    (loop.source / "index.html").write_bytes(b"changed")
    (loop.source / "odd/ä %+").unlink()
    assert loop.push().status == 0

    assert "generation 3 holds what generation 1 held" in loop.master.run("rollback", "WEB").out
    assert loop.pull("--verify").status == 0
    assert snapshot(loop.target) == first


def test_a_rollback_is_guarded_as_a_push_is(versioned: Loop) -> None:
    """By the number of deletions, and by what else is in the prefix; an unfinished push of another master stops it."""
    loop, master = versioned, versioned.master.run
    assert loop.push().status == 0
    make_tree(loop.source, {f"many/{number}": b"%d" % number for number in range(20)})
    assert loop.push().status == 0
    before = keys(loop.server, loop.bucket, loop.prefix)

    assert_failed(master("rollback", "WEB", "--set", "max_delete=5"), 3, says=("20 of", "--force-delete"))
    assert keys(loop.server, loop.bucket, loop.prefix) == before
    assert master("rollback", "WEB", "--set", "max_delete=5", "--force-delete").status == 0
    assert loop.pull("--verify").status == 0
    assert not (loop.target / "many").exists()

    key = f"{loop.prefix}/.s32s/head.json"
    head = json.loads(get(loop.server, loop.bucket, key))
    head["push"] = {"writer": "0" * 32, "host": "other", "started": "2026-11-29T07:49:08Z"}
    put(loop.server, loop.bucket, key, json.dumps(head).encode())
    assert_failed(master("rollback", "WEB"), 1, 75, says=("other", "--take-over"))
    assert master("rollback", "WEB", "2", "--take-over").status == 0
