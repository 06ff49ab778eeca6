"""S3 servers that lack something: conditions of a PUT, a listing of uploads, deletions without an MD5."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import pytest
from support.checks import assert_failed, left_overs
from support.faultproxy import FaultProxy, Request, Rewrite, Rule, Status, on
from support.machine import Loop
from support.servers import S3Server, get, keys, put
from support.trees import make_tree, snapshot

from s32s.format.head import read_head

FIRST = {"a": b"a" * 1000, "d/b": b"b", "gone": b"g"}


def of_head(refused: Callable[[str], bool]) -> Callable[[Request], bool]:
    """Writes of the head whose condition is refused."""

    def matches(request: Request) -> bool:
        condition = request.headers.get("if-match", request.headers.get("if-none-match", ""))
        return on("PUT", "data/web/.s32s/head.json")(request) and bool(condition) and refused(condition)

    return matches


REFUSALS = {
    "an ETag in quotes": (of_head(lambda condition: condition.startswith('"')), Status(412, "PreconditionFailed")),
    "any ETag": (of_head(lambda condition: condition != "*"), Status(412, "PreconditionFailed")),
    "any condition, as unknown": (of_head(lambda condition: True), Status(501, "NotImplemented")),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_server_that_refuses_conditions_is_no_rival(proxied: Loop, proxy: FaultProxy, what: str) -> None:
    """Pushes are published, and a run finds out once which condition is taken."""
    rule = proxy.add(Rule(*REFUSALS[what]))
    make_tree(proxied.source, FIRST)
    first = proxied.push()
    (proxied.source / "a").write_bytes(b"new")
    before = rule.fired

    second = proxied.push()

    assert first.status == 0, first.err
    assert second.status == 0, second.err
    assert 1 <= rule.fired - before <= 2
    assert proxied.pull().status == 0
    assert snapshot(proxied.target) == snapshot(proxied.source)


@pytest.mark.parametrize("what", REFUSALS)
def test_a_rival_is_noticed_all_the_same(proxied: Loop, proxy: FaultProxy, what: str) -> None:
    """Another master that writes the head during a push stops it before it deletes anything."""
    proxy.add(Rule(*REFUSALS[what]))
    make_tree(proxied.source, FIRST)
    assert proxied.push().status == 0
    key = "data/web/.s32s/head.json"
    (proxied.source / "gone").unlink()
    (proxied.source / "a").write_bytes(b"new")

    def take_the_head(request: Request) -> bool:
        if request.method == "PUT" and request.key == "data/web/a":
            head = read_head(get(proxied.server, proxied.bucket, key))
            rival = head.model_copy(update={"nonce": "theirs", "host": "rival", "writer": "theirs", "push": None})
            put(proxied.server, proxied.bucket, key, rival.to_bytes())
        return False

    proxy.add(Rule(take_the_head, Status(500, "never")))
    ended = proxied.push()

    assert ended.status == 1
    assert "rival changed the head" in ended.err
    assert "data/web/gone" in keys(proxied.server, proxied.bucket)


def is_deletion(request: Request) -> bool:
    """Whether a request deletes something, one or many."""
    return request.method == "DELETE" or "delete" in request.query


def test_deletions_carry_an_md5(proxied: Loop, proxy: FaultProxy) -> None:
    """Older servers ask for it."""
    make_tree(proxied.source, {**FIRST, **{f"gone-{number}": b"x" for number in range(20)}})
    proxied.push()
    for number in range(10):
        (proxied.source / f"gone-{number}").unlink()
    proxy.clear()

    assert proxied.push().status == 0

    deletions = [request for request in proxy.requests if request.method == "POST" and "delete" in request.query]
    assert deletions
    for request in deletions:
        assert len(base64.b64decode(request.headers["content-md5"])) == hashlib.md5(usedforsecurity=False).digest_size


def test_a_push_that_dies_before_its_deletions_stops_no_slave(proxied: Loop, proxy: FaultProxy) -> None:
    """What waits for its deletion is not taken for a stranger's object; the next push deletes it."""
    make_tree(proxied.source, {**FIRST, "dir/x": b"x"})
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    (proxied.source / "gone").unlink()
    (proxied.source / "dir/x").unlink()
    (proxied.source / "dir").rmdir()
    (proxied.source / "dir").symlink_to("d")
    rule = proxy.add(Rule(is_deletion, Status(403, "AccessDenied")))
    died = proxied.push()

    followed = proxied.pull("--verify")
    stranger = put(proxied.server, proxied.bucket, "data/web/other", b"o")
    noticed = proxied.pull("--verify")
    proxy.rules.clear()
    healed = proxied.push()

    assert rule.fired
    assert died.status == 1
    assert followed.status == 0, followed.err
    assert stranger
    assert noticed.status == 1
    assert '"other"' in noticed.err
    assert '"gone"' not in noticed.err
    assert healed.status == 0, healed.err
    assert "data/web/gone" not in keys(proxied.server, proxied.bucket)
    assert proxied.pull("--verify").status == 0
    assert snapshot(proxied.target) == snapshot(proxied.source)
    assert left_overs(proxied) == []


def test_several_pushes_that_die_before_their_deletions_stop_no_slave(proxied: Loop, proxy: FaultProxy) -> None:
    """What the first one left is known by the manifest of its time."""
    make_tree(proxied.source, {**FIRST, "b": b"b"})
    assert proxied.push().status == 0
    rule = proxy.add(Rule(is_deletion, Status(403, "AccessDenied")))
    for name in ("gone", "b", "d/b"):
        (proxied.source / name).unlink()
        assert proxied.push().status == 1

    ended = proxied.pull("--verify")

    assert rule.fired >= 3
    assert ended.status == 0, ended.err
    assert snapshot(proxied.target) == snapshot(proxied.source)


def test_a_dead_push_is_healed_where_uploads_cannot_be_listed(proxied: Loop, proxy: FaultProxy) -> None:
    """The listing is for tidying only."""
    make_tree(proxied.source, FIRST)
    broken = proxy.add(Rule(on("PUT", "data/web/a"), Status(403, "AccessDenied")))
    assert proxied.push().status == 1
    assert broken.fired
    proxy.rules.clear()
    unlisted = proxy.add(
        Rule(lambda request: request.method == "GET" and "uploads" in request.query, Status(501, "NotImplemented"))
    )

    ended = proxied.push()

    assert unlisted.fired
    assert ended.status == 0, ended.err


@pytest.mark.parametrize("status", [501, 403])
def test_what_a_server_cannot_do_is_not_tried_again(
    proxied: Loop, proxy: FaultProxy, status: int, rclone: S3Server
) -> None:
    """It is an error with the server's own words, not a request to try later."""
    make_tree(proxied.source, FIRST)
    rule = proxy.add(
        Rule(on("PUT", "data/web/a"), Status(status, {501: "NotImplemented", 403: "AccessDenied"}[status]))
    )

    ended = proxied.push()

    assert ended.status == 1
    assert rule.fired <= 2


def without_etag(name: bytes) -> Rewrite:
    """A listing that has no ETag of the objects whose key matches."""
    pattern = re.compile(rb"(<Key>" + name + rb"</Key>(?:(?!</Contents>).)*?<ETag>)[^<]*(</ETag>)", re.DOTALL)
    return Rewrite(lambda status, headers, body: (status, headers, pattern.sub(rb"\1\2", body)))


def test_an_object_that_lost_its_etag_is_stored_again(proxied: Loop, proxy: FaultProxy) -> None:
    """The server has lost sight of it: a slave that compares says so, and the next push brings it."""
    make_tree(proxied.source, FIRST)
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    rule = proxy.add(Rule(on("GET", listing=True), without_etag(rb"data/web/a")))

    noticed = proxied.pull("--verify")
    pushed = proxied.push()

    assert rule.fired
    assert noticed.status == 1
    assert 'not those of the manifest: "a"' in noticed.err
    assert pushed.status == 0, pushed.err
    assert proxy.count(on("PUT", "data/web/a")) == 2
    assert proxy.count(on("PUT", "data/web/d/b")) == 1


def test_a_listing_without_any_etag_proves_nothing(proxied: Loop, proxy: FaultProxy) -> None:
    """Some servers leave all of them out."""
    make_tree(proxied.source, FIRST)
    assert proxied.push().status == 0
    rule = proxy.add(Rule(on("GET", listing=True), without_etag(rb"[^<]*")))

    pushed, pulled = proxied.push(), proxied.pull("--verify")

    assert rule.fired
    assert pushed.changed_nothing
    assert pulled.status == 0, pulled.err
    assert proxy.count(on("PUT", "data/web/a")) == 1


@pytest.mark.usually("moto")
def test_uploads_of_a_dead_push_without_a_manifest_are_ended(loop: Loop, moto: S3Server) -> None:
    """Those of the files that are sent again or deleted; what another tool uploads there is left alone."""
    if loop.server.name != "moto":
        pytest.skip("one server will do")
    client = moto.client()
    loop.write_map(manifest=False)
    make_tree(loop.source, {"gone": b"x", "large": b"x"})
    assert loop.push().status == 0
    for key in ("data/web/gone", "data/web/large", "data/web/theirs"):
        client.create_multipart_upload(Bucket=loop.bucket, Key=key)
    make_tree(loop.source, {"large": bytes(9 << 20)})
    (loop.source / "gone").unlink()

    assert loop.push().status == 0

    left = client.list_multipart_uploads(Bucket=loop.bucket).get("Uploads", [])
    assert [upload["Key"] for upload in left] == ["data/web/theirs"]


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed")])
def test_a_server_that_knows_no_versions_has_no_generations(
    proxied: Loop, proxy: FaultProxy, status: int, code: str
) -> None:
    """In the plain layout; whichever way it says so, what helps is told."""
    make_tree(proxied.source, {"a": b"a"})
    assert proxied.push().status == 0
    proxy.add(Rule(lambda request: "versions" in request.query, Status(status, code)))

    for command in ("log", "diff", "rollback"):
        ended = proxied.master.run(command, "WEB")
        assert_failed(ended, 3, says=("keeps no earlier generations", "s32s convert WEB --layout packed"))
