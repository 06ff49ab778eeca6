"""What S3 and the network do wrong while a slave pulls: each fault once, and for ever."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checks import assert_failed, assert_untouched, left_overs
from support.faultproxy import (
    Do,
    DropAnswer,
    Fault,
    FaultProxy,
    FlipBit,
    Request,
    Reset,
    Rewrite,
    Rule,
    Status,
    Truncate,
    on,
)
from support.machine import Loop
from support.servers import put
from support.trees import Entry, make_tree, snapshot

FIRST = {"a.txt": b"A" * 5000, "d/b.txt": b"B" * 9000, "d/c.bin": os.urandom(400_000), "d/same.txt": b"same"}
SECOND = {"a.txt": b"X" * 5000, "new.bin": os.urandom(2_000_000)}
ODD_LISTING = b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>%s</IsTruncated></ListBucketResult>'


def of_data(name: str = "") -> Callable[[Request], bool]:
    """Reads of the entry's files."""
    return lambda request: (
        request.method == "GET"
        and request.key.startswith("data/web/")
        and ".s32s" not in request.key
        and request.key.endswith(name)
    )


def of_listing(request: Request) -> bool:
    """LISTs of the entry's prefix, not of the maps."""
    return request.is_list and request.query.get("prefix", "").startswith("data/")


def without_the_last(status: int, headers: dict[str, str], page: bytes) -> tuple[int, dict[str, str], bytes]:
    """A page of a listing with one object less, which another page has: servers here fill a page with 1,000."""
    kept, _, last = page.rpartition(b"<Contents>")
    page = kept + last.partition(b"</Contents>")[2]
    more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>"
    return status, headers, page.replace(b"<IsTruncated>false</IsTruncated>", more)


def body(data: bytes) -> Rewrite:
    """Another body with status 200."""
    return Rewrite(lambda _status, headers, _body: (200, headers, data))


@pytest.fixture(params=[True, False], ids=["with a manifest", "without one"])
def pending(request: pytest.FixtureRequest, proxied: Loop, proxy: FaultProxy) -> tuple[Loop, dict[str, Entry]]:
    """A slave that is up to date with the first tree, while the second is published; and its tree."""
    if not request.param:
        proxied.write_map(manifest=False)
    make_tree(proxied.source, FIRST)
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    make_tree(proxied.source, SECOND)
    assert proxied.push().status == 0
    proxy.clear()
    return proxied, snapshot(proxied.target)


@pytest.mark.parametrize(
    ("matches", "fault"),
    [
        pytest.param(of_data("new.bin"), Reset(100_000), id="the connection is cut in a body"),
        pytest.param(of_data("a.txt"), FlipBit(100), id="wrong bytes of the right length"),
        pytest.param(of_data("a.txt"), Truncate(100), id="a short body with an agreeing length"),
        pytest.param(of_data("a.txt"), Status(404, "NoSuchKey"), id="an object seems to be gone"),
        pytest.param(of_data(), Status(503, "SlowDown"), id="S3 is busy"),
        pytest.param(of_data(), Status(500, "InternalError"), id="S3 fails"),
        pytest.param(of_data(), Status(400, "ExpiredToken"), id="the token expires"),
    ],
)
def test_a_passing_fault_is_survived(
    pending: tuple[Loop, dict[str, Entry]], proxy: FaultProxy, matches: Callable[[Request], bool], fault: Fault
) -> None:
    """One blow, and the pull still ends with the right bytes."""
    loop, _ = pending
    rule = proxy.add(Rule(matches, fault, times=1))

    ended = loop.pull()

    assert rule.fired == 1
    assert ended.status == 0, ended.err
    assert {name: entry.content for name, entry in snapshot(loop.target).items()} == {
        name: entry.content for name, entry in snapshot(loop.source).items()
    }
    assert left_overs(loop) == []


@pytest.mark.parametrize(
    ("matches", "fault", "status", "says"),
    [
        pytest.param(of_data("new.bin"), Status(403, "AccessDenied"), 1, "new.bin", id="403 on one object"),
        pytest.param(of_data("new.bin"), Reset(100_000), 75, "the connection was cut", id="every body is cut"),
        pytest.param(of_data("a.txt"), FlipBit(100), 1, '"a.txt" arrived with wrong bytes', id="wrong bytes"),
        pytest.param(of_data("a.txt"), Truncate(100), 1, '"a.txt"', id="short bodies"),
        pytest.param(of_data(), Status(503, "SlowDown"), 75, "SlowDown", id="S3 stays busy"),
        pytest.param(of_data(), Status(400, "ExpiredToken"), 75, "expired", id="the token stays expired"),
        pytest.param(of_listing, Status(500, "InternalError"), 75, "InternalError", id="LIST fails"),
        pytest.param(of_listing, Status(403, "AccessDenied"), 1, "denies access", id="LIST is denied"),
        pytest.param(of_listing, body(b"<html>hello</html>"), 1, "listing", id="LIST is a web page"),
        pytest.param(
            of_listing, body(b"<Error><Code>InternalError</Code></Error>"), 75, "InternalError", id="LIST: error in 200"
        ),
        pytest.param(of_listing, body(b"<ListBucketResult><Name>b</Na"), 75, "S3", id="LIST is broken XML"),
        pytest.param(of_listing, body(ODD_LISTING % b"true"), 1, "breaks off", id="LIST continues without a token"),
        pytest.param(of_listing, body(ODD_LISTING % b"false"), 1, "", id="LIST is empty"),
        pytest.param(of_listing, Status(404, "NoSuchBucket"), 1, "does not exist", id="the bucket is gone"),
    ],
)
def test_a_lasting_fault_leaves_the_target_as_it_was(
    pending: tuple[Loop, dict[str, Entry]],
    proxy: FaultProxy,
    matches: Callable[[Request], bool],
    fault: Fault,
    status: int,
    says: str,
) -> None:
    """The pull fails with the documented status and a clear message; the next one heals without help."""
    loop, before = pending
    rule = proxy.add(Rule(matches, fault))

    ended = loop.pull("--verify")

    assert rule.fired
    # An empty listing without a manifest is an empty source, which is refused.
    assert_failed(ended, status, *([3] if not says else []), says=says)
    assert_untouched(loop, before)
    proxy.clear()
    proxy.rules.clear()
    assert loop.pull().status == 0
    assert snapshot(loop.target).keys() == snapshot(loop.source).keys()


def test_retries_are_bounded(pending: tuple[Loop, dict[str, Entry]], proxy: FaultProxy) -> None:
    """A server that is always busy gets each request `retries` times more, not for ever."""
    loop, _ = pending
    proxy.add(Rule(of_data(), Status(503, "SlowDown")))

    loop.pull()

    assert 4 <= proxy.count(of_data()) <= 2 * 4


@pytest.mark.parametrize("status", [403, 404], ids=["denied", "gone"])
def test_a_head_that_cannot_be_read_is_not_taken_for_none(proxied: Loop, proxy: FaultProxy, status: int) -> None:
    """A slave that has followed a manifest does not fall back to a LIST."""
    make_tree(proxied.source, FIRST)
    proxied.push()
    proxied.pull()
    before = snapshot(proxied.target)
    rule = proxy.add(
        Rule(on("GET", "data/web/.s32s/head.json"), Status(status, {403: "AccessDenied", 404: "NoSuchKey"}[status]))
    )

    ended = proxied.pull()

    assert rule.fired
    assert_failed(ended, 1)
    assert_untouched(proxied, before)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Status(500, "InternalError"), id="fails"),
        pytest.param(body(b"<Error><Code>InternalError</Code></Error>"), id="contains an error"),
        pytest.param(body(ODD_LISTING % b"false"), id="is empty"),
    ],
)
def test_a_listing_that_breaks_off_on_a_later_page_is_never_taken_for_the_whole(
    proxied: Loop, proxy: FaultProxy, fault: Fault
) -> None:
    """With objects of another tool and a second page that is not to be had, nothing is deleted."""
    loop = proxied
    for number in range(10):
        put(loop.server, loop.bucket, f"data/web/{number:05}", b"x")
    assert loop.pull().status == 0
    before = snapshot(loop.target)
    rule = proxy.add(
        Rule(
            lambda asked: of_listing(asked) and not {"continuation-token", "start-after"}.isdisjoint(asked.query), fault
        )
    )
    proxy.add(Rule(of_listing, Rewrite(without_the_last)))

    ended = loop.pull()

    assert rule.fired
    if ended.status == 0:
        pytest.fail("a part was taken for the whole")
    assert_failed(ended, 1, 3, 75)
    assert_untouched(loop, before)


def test_an_unreachable_server_is_status_75(loop: Loop) -> None:
    """Nobody listens: try again later."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    loop.slave.config.write_text(
        f'role = "slave"\nmaps = "{loop.bucket}/maps"\nallow = ["{loop.target.parent}"]\n'
        f'[s3]\nendpoint_url = "http://127.0.0.1:{port}"\nretries = 1\n'
    )

    ended = loop.pull()

    assert_failed(ended, 75, says="connection refused")
    assert not loop.target.exists()


def test_a_source_that_changes_under_a_pull_is_followed(proxied: Loop, proxy: FaultProxy) -> None:
    """A push in the middle of a pull: the pull starts over and ends at the new generation."""
    make_tree(proxied.source, FIRST)
    proxied.push()
    proxied.pull()
    make_tree(proxied.source, SECOND)
    proxied.push()
    direct = proxied.master.endpoint_url
    proxied.master.endpoint_url = proxied.server.endpoint_url

    def push_again() -> None:
        make_tree(proxied.source, {"a.txt": b"third", "new.bin": b"third too"})
        proxied.master.write_config("master", f"{proxied.bucket}/maps")
        assert proxied.push().status == 0

    rule = proxy.add(Rule(of_data("new.bin"), Do(push_again), times=1))
    ended = proxied.pull()
    proxied.master.endpoint_url = direct

    assert rule.fired == 1
    assert ended.status == 0, ended.err
    assert "starting over" in ended.err
    assert snapshot(proxied.target) == snapshot(proxied.source)


def test_a_lost_answer_to_the_head_is_recognised_as_our_own_write(proxied: Loop, proxy: FaultProxy) -> None:
    """The write was done, its answer was lost, the repeated request meets a conflict: no reason to give up."""
    make_tree(proxied.source, FIRST)
    rule = proxy.add(Rule(on("PUT", "data/web/.s32s/head.json"), DropAnswer(), times=1))

    ended = proxied.push()

    assert rule.fired == 1
    assert ended.status == 0, ended.err
    assert proxied.pull().status == 0


def test_the_answer_to_any_request_of_a_push_may_be_lost(proxied: Loop, proxy: FaultProxy) -> None:
    """What was done is recognised, what was not is done again, and a slave never sees anything in between."""
    make_tree(proxied.source, FIRST)
    assert proxied.push().status == 0

    def change(number: int) -> None:
        make_tree(proxied.source, {"a.txt": b"%d" % number * 500, f"new-{number}": b"n"})
        (proxied.source / f"new-{number - 1}").unlink(missing_ok=True)

    change(0)
    before = len(proxy.requests)
    assert proxied.push().status == 0
    count = len(proxy.requests) - before
    assert count >= 8
    # Two of three where conditions are ignored are the same as where they are kept.
    for number in range(0, count, 1 if proxied.server.has("conditional writes") else 3):
        change(number + 1)
        proxy.clear()
        rule = proxy.add(Rule(lambda _: True, DropAnswer(), times=1, after=number))

        ended = proxied.push()

        assert rule.fired == 1
        assert ended.status == 0, (number, ended.err)
        proxy.clear()
        assert proxied.pull().status == 0
        assert snapshot(proxied.target) == snapshot(proxied.source)


def test_a_conflict_on_the_head_that_is_none_is_repeated_or_reported(proxied: Loop, proxy: FaultProxy) -> None:
    """A 409 means that somebody writes at the same time; nothing is deleted either way."""
    make_tree(proxied.source, FIRST)
    proxied.push()
    (proxied.source / "a.txt").unlink()
    rule = proxy.add(Rule(on("PUT", "data/web/.s32s/head.json"), Status(409, "ConditionalRequestConflict"), times=1))

    ended = proxied.push()

    assert rule.fired == 1
    assert ended.status in (0, 1)
    assert "Traceback" not in ended.err
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    assert snapshot(proxied.target) == snapshot(proxied.source)


def test_credentials_that_expire_in_the_run_are_renewed_once(proxied: Loop, proxy: FaultProxy, tmp_path: Path) -> None:
    """A credential process hands out a new key each time; the first one stops working in the middle."""
    counter = tmp_path / "count"
    script = tmp_path / "credentials"
    server = proxied.server
    script.write_text(
        f'#!/bin/sh\necho x >> {counter}\necho \'{{"Version": 1, "AccessKeyId": "{server.access_key}", '
        f'"SecretAccessKey": "{server.secret_key}", "SessionToken": "token-\'$(wc -l < {counter})\'"}}\'\n'
    )
    script.chmod(0o755)
    config = tmp_path / "aws"
    config.write_text(f"[default]\ncredential_process = {script}\nregion = us-east-1\n")
    make_tree(proxied.source, FIRST)
    proxied.push()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        proxied.slave.extra[name] = ""
    proxied.slave.extra["AWS_CONFIG_FILE"] = str(config)
    rule = proxy.add(
        Rule(
            lambda asked: of_data()(asked) and asked.headers.get("x-amz-security-token") == "token-1",
            Status(400, "ExpiredToken"),
        )
    )

    began = time.monotonic()
    ended = proxied.pull()

    assert rule.fired
    assert ended.status == 0, ended.err
    assert snapshot(proxied.target) == snapshot(proxied.source)
    assert time.monotonic() - began < 60


def test_an_object_that_is_listed_without_its_etag_is_no_difference(proxied: Loop, proxy: FaultProxy) -> None:
    """Some servers leave it out now and then: the manifest is not stale, and nothing is uploaded again."""
    import re

    make_tree(proxied.source, FIRST)
    assert proxied.push().status == 0
    without = Rewrite(
        lambda status, headers, data: (status, headers, re.sub(rb"<ETag>.*?</ETag>", b"<ETag></ETag>", data))
    )
    rule = proxy.add(Rule(of_listing, without))

    pulled, pushed = proxied.pull(), proxied.push()

    assert rule.fired >= 2
    assert pulled.status == 0, pulled.err
    assert pushed.changed_nothing
