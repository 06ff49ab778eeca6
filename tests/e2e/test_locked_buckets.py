"""Buckets whose objects cannot be deleted: an object lock, and a policy that forbids deletions.

With an object lock S3 still takes a DELETE that names no version, and only writes a marker: the bytes stay as an
earlier version. Where a policy, or a server of another kind, refuses it, what is not needed any more stays in sight.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.faultproxy import FaultProxy, Request, fault_proxy
from support.machine import Loop, make_loop
from support.peers import Peer
from support.servers import S3Server, keys, make_bucket
from support.trees import make_tree, snapshot

LAYOUTS = pytest.mark.parametrize("layout", ["plain", "packed"])
#: Sent in parts in the plain layout, and in a pack of its own in the other one.
LARGE = 9 * 1024 * 1024


def lock(server: S3Server, bucket: str) -> None:
    """Let a bucket lock each new object for a day, by itself."""
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    server.client().put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},  # type: ignore[typeddict-item]
    )


def forbid_deletions(server: S3Server, bucket: str) -> None:
    """As against a master that was taken over."""
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    server.client().put_bucket_policy(Bucket=bucket, Policy=policy)


def is_deletion(request: Request) -> bool:
    """Whether it asks for one or several objects to go."""
    return request.method == "DELETE" or "delete" in request.query


@pytest.fixture
def denied(tmp_path: Path, moto: S3Server, bucket_on_moto: str) -> Iterator[tuple[Loop, FaultProxy]]:
    """A packed prefix of some generations, in a bucket that forbids deletions from now on."""
    with fault_proxy(moto.endpoint_url) as proxy:
        loop = make_loop(tmp_path, moto, bucket_on_moto, endpoint_url=proxy.endpoint_url)
        loop.write_map(layout="packed", keep=2)
        for number in range(3):
            make_tree(loop.source, {"a": b"%d" % number * 1000, "d/b": b"b%d" % number})
            assert loop.push().status == 0
        assert loop.pull().status == 0
        forbid_deletions(moto, loop.bucket)
        proxy.clear()
        yield loop, proxy


@pytest.fixture
def bucket_on_moto(moto: S3Server) -> str:
    """A new and empty one."""
    name = f"denied-{uuid.uuid4().hex}"
    make_bucket(moto, name)
    return name


@LAYOUTS
def test_objects_that_are_locked_as_they_come(tmp_path: Path, moto: S3Server, layout: str) -> None:
    """S3 takes them only with an MD5 (S3 user guide, "Object Lock considerations"); all goes on as elsewhere."""
    bucket = f"locked-{uuid.uuid4().hex}"
    moto.client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    lock(moto, bucket)
    loop = make_loop(tmp_path, moto, bucket)
    loop.write_map(layout=layout, keep=2)
    for number in range(4):
        make_tree(loop.source, {"a": b"%d" % number, f"only-{number}": b"x", "large": bytes([number]) * LARGE})
        (loop.source / f"only-{number - 1}").unlink(missing_ok=True)
        pushed = loop.push()
        assert pushed.status == 0, pushed.err
        assert loop.pull().status == 0
        assert snapshot(loop.target) == snapshot(loop.source)

    if layout == "packed":
        pruned = loop.master.run("prune", "WEB", "--keep", "1", "--yes", "--json")
        assert pruned.status == 0, pruned.err
        assert pruned.lines[0]["packs"] > 0
        assert pruned.lines[0]["keeps_versions"] is True
        assert "the bucket keeps versions" in pruned.err, pruned.err
        assert loop.master.run("verify", "WEB").status == 0
    assert (
        loop.master.run("convert", "WEB", "--layout", "packed" if layout == "plain" else "plain", "--yes").status == 0
    )


def test_a_push_says_what_it_could_not_delete(denied: tuple[Loop, FaultProxy]) -> None:
    """It goes well, names what stays and why, and asks once for each pack, not again with every push."""
    loop, proxy = denied
    asked: list[str] = []
    for number in range(3):
        make_tree(loop.source, {"a": b"later %d" % number * 1000})
        proxy.clear()
        pushed = loop.push()

        assert pushed.status == 0, pushed.err
        asked += sorted({request.key for request in proxy.requests if is_deletion(request)})
        assert "no generation needs any more could not be deleted" in pushed.err, pushed.err
        assert "S3 denies access" in pushed.err
        assert "s32s prune" in pushed.err
    assert len(asked) == len(set(asked)) > 3
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)


def test_a_prune_names_what_stays_and_a_later_one_deletes_it(denied: tuple[Loop, FaultProxy]) -> None:
    """Status 1, and no pack is asked for more than twice; the generations are given up."""
    loop, proxy = denied
    prune = ("prune", "WEB", "--keep", "1", "--yes", "--grace", "0s")
    for _ in range(2):
        proxy.clear()
        pruned = loop.master.run(*prune)
        assert_failed(pruned, 1, says=("could not be deleted", "denies access", "run it again when the store allows"))
        assert "0 packs deleted" in pruned.out
        asked = Counter(request.key for request in proxy.requests if is_deletion(request))
        assert max(asked.values()) <= 2
    assert [line["generation"] for line in loop.master.run("log", "WEB", "--json").lines] == [3]
    assert loop.master.run("verify", "WEB").status == 0

    loop.server.client().delete_bucket_policy(Bucket=loop.bucket)
    pruned = loop.master.run(*prune, "--json")
    assert pruned.status == 0, pruned.err
    assert pruned.lines[0]["failed"] == {}
    verified = loop.master.run("verify", "WEB", "--json").lines[0]
    assert len(keys(loop.server, loop.bucket, f"{loop.prefix}/.s32s/packs/")) == verified["packs"]
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)


def test_a_conversion_is_done_and_names_what_stays(denied: tuple[Loop, FaultProxy]) -> None:
    """The new layout counts; the old one goes when it may, by the same command."""
    loop, _ = denied
    convert = ("convert", "WEB", "--layout", "plain", "--yes")
    for _ in range(2):
        converted = loop.master.run(*convert)
        assert_failed(converted, 1, says=("could not be deleted", "denies access", "the prefix is in the plain layout"))
    loop.write_map()
    assert loop.push("--update-maps").changed_nothing
    (loop.target / "a").unlink()
    assert loop.pull("--update-maps").status == 0
    assert snapshot(loop.target) == snapshot(loop.source)

    loop.server.client().delete_bucket_policy(Bucket=loop.bucket)
    assert loop.master.run(*convert).status == 0
    assert keys(loop.server, loop.bucket, f"{loop.prefix}/.s32s/packs/") == {}


def test_the_deleted_folder_of_people_who_share(tmp_path: Path, moto: S3Server, bucket_on_moto: str) -> None:
    """Syncs go on; to empty the folder for good says what stays."""
    one, two = (Peer(tmp_path / name, moto, f"s3://{bucket_on_moto}/team", "packed") for name in ("one", "two"))
    forbid_deletions(moto, bucket_on_moto)
    make_tree(one.folder, {"a": b"a", "b": b"b"})
    for number in range(3):
        for peer in (one, two):
            (peer.folder / f"{peer.name}-{number}").write_bytes(b"x")
            ended = peer.sync()
            assert ended.status == 0, ended.err
    (two.folder / "a").unlink()
    assert two.sync().status == 0

    emptied = one.run("trash", "empty", str(one.folder), "--everywhere", "--older", "0s", "--yes")

    assert_failed(emptied, 1, says=("could not be deleted", "denies access"))
    assert one.sync().status == 0
    assert not (one.folder / "a").exists()
