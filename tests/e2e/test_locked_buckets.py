"""Buckets with an object lock: no version of an object can be deleted for a while."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from support.machine import make_loop
from support.servers import S3Server
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
