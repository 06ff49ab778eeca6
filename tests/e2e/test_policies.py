"""The policies in `packaging/iam`: they allow what s32s asks S3 for, and nothing that it never asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.faultproxy import FaultProxy, Request, Rule, Status, on
from support.machine import Loop
from support.trees import make_tree

POLICIES = Path(__file__).parents[2] / "packaging/iam"

#: What only comes up where a bucket is versioned, or an object has tags, or is copied: not in the runs below.
_RARE = {"s3:GetObjectVersion", "s3:GetObjectTagging", "s3:GetObjectVersionTagging", "s3:PutObjectTagging"}


def actions(role: str) -> set[str]:
    """The actions that a policy allows."""
    policy = json.loads((POLICIES / f"{role}.json").read_text())
    assert policy["Version"] == "2012-10-17"
    assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def asked(request: Request) -> str:
    """The action that a request needs (service authorization reference, "Actions defined by Amazon S3")."""
    if "versions" in request.query:
        return "s3:ListBucketVersions"
    if "versionId" in request.query or "versionId=" in request.headers.get("x-amz-copy-source", ""):
        return "s3:GetObjectVersion"
    if "uploads" in request.query and request.method == "GET":
        return "s3:ListBucketMultipartUploads"
    if request.is_list:
        return "s3:ListBucket"
    if "uploadId" in request.query and request.method == "DELETE":
        return "s3:AbortMultipartUpload"
    if "delete" in request.query or request.method == "DELETE":
        return "s3:DeleteObject"
    return {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject"}[
        request.method
    ]


@pytest.fixture
def server(moto: object) -> object:
    """One server will do: what is asked of it is looked at."""
    return moto


def test_a_master_asks_for_just_what_its_policy_allows(proxied: Loop, proxy: FaultProxy) -> None:
    """Pushes with deletions, a large file, a push that dies and the next one that cleans up after it."""
    make_tree(proxied.source, {"a": b"1", "b": b"2", "large": b"x" * (9 * 1024 * 1024)})
    proxied.push()
    (proxied.source / "b").unlink()
    make_tree(proxied.source, {"large": b"y" * (9 * 1024 * 1024)})
    proxy.add(Rule(lambda request: request.query.get("partNumber") == "2", Status(400, "InvalidRequest")))
    assert proxied.push().status == 1
    proxy.rules.clear()

    assert proxied.push().status == 0
    proxied.master.run("status")

    assert {asked(request) for request in proxy.requests} == actions("master")


def test_a_slave_asks_for_just_what_its_policy_allows(proxied: Loop, proxy: FaultProxy) -> None:
    """With and without a manifest; versions only come up in versioned buckets."""
    make_tree(proxied.source, {"a": b"1"})
    proxied.push()
    proxy.clear()

    proxied.pull()
    proxied.pull("--verify")
    proxied.slave.run("status")
    proxied.write_map(manifest=False)
    proxied.pull("--update-maps")

    assert {asked(request) for request in proxy.requests} == actions("slave") - _RARE
    assert not proxy.count(on("PUT"))


def test_earlier_generations_take_two_actions_more(proxied: Loop, proxy: FaultProxy) -> None:
    """Where the bucket keeps versions."""
    status = {"Status": "Enabled"}
    proxied.server.client().put_bucket_versioning(Bucket=proxied.bucket, VersioningConfiguration=status)  # type: ignore[arg-type] # a TypedDict
    for text in (b"1", b"2"):
        make_tree(proxied.source, {"a": text})
        assert proxied.push().status == 0
    proxy.clear()

    back = str(proxied.source.parent / "back")
    for command in (["log", "WEB"], ["diff", "WEB"], ["restore", "WEB", "a", "--to", back], ["rollback", "WEB"]):
        ended = proxied.master.run(*command)
        assert ended.status == 0, ended.err

    assert {asked(request) for request in proxy.requests} - actions("master") == actions("generations")


def test_a_mirror_may_do_what_a_master_and_a_slave_may() -> None:
    """And take tags along."""
    assert actions("mirror") == actions("master") | actions("slave") | _RARE
