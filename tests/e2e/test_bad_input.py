"""Wrong configurations, wrong maps, and an S3 that denies, lies, stalls or breaks off: a status, a message, no harm."""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.checks import assert_failed, assert_untouched, left_overs
from support.faultproxy import (
    Fault,
    FaultProxy,
    FlipBit,
    Request,
    Reset,
    Rewrite,
    Rule,
    Stall,
    Status,
    Truncate,
    fault_proxy,
    on,
)
from support.machine import Ended, Loop, make_loop
from support.servers import S3Server, get, keys, make_bucket, put
from support.trees import Entry, make_tree, snapshot

HEAD = "data/web/.s32s/head.json"
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """One server is enough where the faults come from the proxy or from the machine itself."""
    return moto


def is_body(request: Request) -> bool:
    """Whether this asks for the content of one of the entry's files."""
    return request.method == "GET" and request.key.startswith("data/web/") and ".s32s" not in request.key


def is_body_of(name: str) -> Callable[[Request], bool]:
    """Whether this asks for the content of the file `name`."""
    return on("GET", f"data/web/{name}")


def is_manifest(request: Request) -> bool:
    """Whether this asks for a manifest."""
    return request.method == "GET" and "/.s32s/manifest-" in request.key


def is_listing(request: Request) -> bool:
    """Whether this asks for a page of the entry's prefix, not of the maps."""
    return request.is_list and request.query.get("prefix", "").startswith("data/")


def is_later_page(request: Request) -> bool:
    """Whether this asks for the second page of the entry's prefix or one behind it."""
    return is_listing(request) and "continuation-token" in request.query


def assert_says(ended: Ended, status: int, *texts: str) -> None:
    """One documented status, every text on standard error, and no traceback."""
    assert_failed(ended, status)
    missing = [text for text in texts if text not in ended.err]
    assert not missing, f"{missing} in {ended.err}"


# -- the configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["sync"], ["dryrun"], ["copy"], ["status"], ["maps", "update"], ["maps", "list"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_no_command_works_without_a_configuration(loop: Loop, arguments: list[str]) -> None:
    """Status 2, the place where the file was looked for, and the command that writes one; no state is made."""
    loop.slave.config.unlink()

    ended = loop.slave.run(*arguments)

    assert_says(ended, 2, str(loop.slave.config), "s32s configure")
    assert not (loop.slave.root / "state").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('role = "slave\n', ["is no valid TOML", "line 1"], id="TOML that breaks off"),
        pytest.param('maps = "bucket/m"\n', ["role: it is mandatory and missing"], id="no role"),
        pytest.param(
            'role = "slav"\nmaps = "bucket/m"\n', ['"slav" is no role', 'did you mean "slave"'], id="unknown role"
        ),
        pytest.param('role = "slave"\nallow = ["/srv"]\n', ["maps: it is mandatory and missing"], id="no maps path"),
        pytest.param('role = "slave"\nmaps = ""\n', ["maps: it must be the S3 path of the maps"], id="empty maps path"),
        pytest.param('role = "slave"\nmaps = "bucket/m"\n', ['a slave needs "allow"'], id="a slave without allow"),
        pytest.param(
            'role = "slave"\nmaps = "bucket/m"\nalow = ["/srv"]\n',
            ["alow: unknown key", 'did you mean "allow"'],
            id="unknown key",
        ),
        pytest.param(
            'role = "master"\nmaps = "bucket/m"\n[s3]\nendpoint = "http://x"\n',
            ["s3.endpoint: unknown key", 'did you mean "endpoint_url"'],
            id="unknown key of a table",
        ),
        pytest.param(
            'role = "x"\nmaps = 5\nmax_delete = "half"\nlist_every = "soon"\n',
            ["role:", "maps:", "max_delete:", "list_every:"],
            id="four mistakes are told at once",
        ),
    ],
)
def test_a_wrong_configuration_says_which_key_of_which_file(loop: Loop, text: str, says: list[str]) -> None:
    """Status 2 before S3 is asked or a directory made."""
    loop.slave.config.write_text(text)

    ended = loop.pull()

    assert_says(ended, 2, str(loop.slave.config), *says)
    assert not loop.target.exists()
    assert not (loop.slave.root / "state").exists()


def test_an_unknown_role_on_the_command_line_is_named(loop: Loop) -> None:
    """`--role slav` has the same answer as a wrong role in the file."""
    assert_says(loop.pull("--role", "slav"), 2, '"slav" is no role', 'did you mean "slave"')


# -- the maps ----------------------------------------------------------------------------------------------------------


def test_a_prefix_without_maps_is_named(loop: Loop) -> None:
    """Status 2; an empty list of work would look like success."""
    loop.slave.write_config("slave", f"{loop.bucket}/nothing", allow=[loop.target.parent])

    assert_says(loop.pull(), 2, f"{loop.bucket}/nothing", "no map files", "check the maps path")


def test_invalid_json_is_told_by_line_and_column(loop: Loop) -> None:
    """The administrator finds the comma without counting."""
    put(loop.server, loop.bucket, "maps/web.json", b'[\n  {"name": "WEB",\n   "s3" "b/x"}\n]')

    assert_says(loop.pull(), 2, "maps/web.json", "line 3, column 9")


@pytest.mark.parametrize("files", [["maps/web.json"], ["maps/web.json", "maps/more/other.json"]], ids=["one", "two"])
def test_two_entries_of_one_name_are_refused(loop: Loop, files: list[str]) -> None:
    """Neither is done, since nobody can say which is meant; the files of both are named."""
    entry = {"name": "WEB", "s3": f"{loop.bucket}/data/web", "slave": str(loop.target)}
    put(loop.server, loop.bucket, "data/web/x", b"x")
    for file in files:
        put(loop.server, loop.bucket, file, json.dumps([entry] * (3 - len(files))).encode())

    ended = loop.pull()

    assert_says(ended, 2, '"WEB"', "names are unique", *files)
    assert not loop.target.exists()


# -- credentials, permissions, names -----------------------------------------------------------------------------------


def test_without_credentials_the_ways_to_give_them_are_named(loop: Loop) -> None:
    """No variable, an empty home, no instance role: status 1, and what to do."""
    home = loop.slave.root / "empty"
    home.mkdir()

    ended = loop.slave.run("sync", environment={**NO_KEYS, "HOME": str(home)})

    assert_says(ended, 1, "there are no AWS credentials", "aws configure", "AWS_ACCESS_KEY_ID")
    assert not loop.target.exists()


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_leave_the_target_as_it_was(tmp_path: Path, rclone: S3Server, wrong: str) -> None:
    """rclone checks the signature: status 1, and the bucket is named."""
    loop = in_step(tmp_path, rclone)
    before = snapshot(loop.target)

    ended = loop.slave.run("sync", environment={wrong: "AKIAWRONGWRONGWRONG1"})

    assert_says(ended, 1, loop.bucket, "credentials")
    assert_untouched(loop, before)


def test_a_bucket_that_does_not_exist_is_named(tmp_path: Path, server: S3Server) -> None:
    """The maps name a bucket that was never made: status 1, and the target is as it was."""
    loop = in_step(tmp_path, server)
    before = snapshot(loop.target)
    loop.write_map(s3="no-such-bucket-anywhere/data/web")

    ended = loop.pull("--update-maps")

    assert_says(ended, 1, "no-such-bucket-anywhere", "does not exist", "check the name")
    assert_untouched(loop, before)


def test_an_unreachable_server_asks_to_try_again(tmp_path: Path, server: S3Server) -> None:
    """A closed port: status 75 soon, also where a target is there already."""
    loop = in_step(tmp_path, server)
    before = snapshot(loop.target)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        loop.slave.endpoint_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        loop.slave.write_config("slave", f"{loop.bucket}/maps", allow=[loop.target.parent], retries=1)
        ended = loop.pull()

    assert_says(ended, 75, loop.bucket, "connection refused", "check the endpoint")
    assert_untouched(loop, before)


def in_step(root: Path, server: S3Server, *, endpoint_url: str | None = None) -> Loop:
    """A loop on a bucket of its own, in step; its master has not pushed anything else yet."""
    bucket = f"test-{uuid.uuid4().hex}"
    make_bucket(server, bucket)
    loop = make_loop(root, server, bucket, endpoint_url=endpoint_url)
    make_tree(loop.source, {"a.txt": b"A" * 5000, "d/same.txt": b"same"})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    return loop


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["manifest", "no manifest"])
def pending(request: pytest.FixtureRequest, proxied: Loop, proxy: FaultProxy) -> tuple[Loop, dict[str, Entry]]:
    """A slave in step with a first tree, while a second one is published; and what its target holds."""
    proxied.write_map(manifest=request.param)
    make_tree(proxied.source, {"a.txt": b"A" * 5000, "d/same.txt": b"same"})
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    make_tree(proxied.source, {"a.txt": b"X" * 5000, "new.bin": os.urandom(1_500_000), "empty": b""})
    assert proxied.push().status == 0
    proxied.slave.write_config("slave", f"{proxied.bucket}/maps", allow=[proxied.target.parent], retries=2)
    proxy.clear()
    return proxied, snapshot(proxied.target)


@pytest.mark.parametrize(
    ("matches", "fault"),
    [
        pytest.param(is_body_of("new.bin"), Reset(700_000), id="the connection is cut in the middle of a body"),
        pytest.param(is_body_of("new.bin"), Reset(0), id="the connection is cut before the first byte"),
        pytest.param(is_body_of("new.bin"), FlipBit(1_400_000, bit=7), id="one wrong bit"),
        pytest.param(is_body_of("new.bin"), Truncate(1_499_999), id="a body one byte short, with an agreeing length"),
        pytest.param(is_body_of("a.txt"), Truncate(0), id="an empty body, with an agreeing length"),
        pytest.param(is_listing, Reset(50), id="the connection is cut in a listing"),
    ],
)
def test_one_fault_in_a_body_is_repaired_by_another_read(
    pending: tuple[Loop, dict[str, Entry]], proxy: FaultProxy, matches: Callable[[Request], bool], fault: Fault
) -> None:
    """Status 0, and every byte is the master's."""
    loop, _ = pending
    rule = proxy.add(Rule(matches, fault, times=1))

    ended = loop.pull("--verify")

    assert rule.fired == 1
    assert ended.status == 0, ended.err
    assert contents(loop.target) == contents(loop.source)
    assert left_overs(loop) == []


@pytest.mark.parametrize(
    ("matches", "fault", "status", "says"),
    [
        pytest.param(is_body_of("new.bin"), Status(403, "AccessDenied"), 1, ["denies access", "new.bin"], id="403"),
        pytest.param(
            is_body_of("new.bin"), Status(403, "InvalidObjectState"), 1, ["archived", "new.bin"], id="archive"
        ),
        pytest.param(is_body_of("new.bin"), Reset(100_000), 75, ["cut"], id="the connection is cut each time"),
        pytest.param(is_body_of("new.bin"), FlipBit(1_400_000), 1, ["new.bin", "wrong bytes"], id="wrong bytes"),
        pytest.param(is_body_of("new.bin"), Truncate(1_499_999), 1, ["new.bin"], id="one byte short"),
        pytest.param(is_body_of("a.txt"), Truncate(0), 1, ["a.txt"], id="empty bodies"),
    ],
)
def test_a_body_that_never_comes_right_fails_the_entry_and_nothing_else(
    pending: tuple[Loop, dict[str, Entry]],
    proxy: FaultProxy,
    matches: Callable[[Request], bool],
    fault: Fault,
    status: int,
    says: list[str],
) -> None:
    """The file is named, no other file has changed, and without the fault the next run succeeds."""
    loop, before = pending
    rule = proxy.add(Rule(matches, fault))

    ended = loop.pull()

    assert rule.fired
    assert_says(ended, status, "WEB", *says)
    assert_untouched(loop, before)
    proxy.clear()
    assert loop.pull().status == 0
    assert contents(loop.target) == contents(loop.source)


@pytest.mark.parametrize(
    ("matches", "fault", "status", "says"),
    [
        pytest.param(on("GET", HEAD), FlipBit(0), 1, "head.json is damaged", id="the head has a wrong bit"),
        pytest.param(on("GET", HEAD), Truncate(60), 1, "head.json is damaged", id="the head is cut short"),
        pytest.param(on("GET", HEAD), Truncate(0), 1, "head.json is damaged", id="the head is empty"),
        pytest.param(is_manifest, FlipBit(40), 1, "is not what the head announces", id="the manifest has a wrong bit"),
        pytest.param(is_manifest, Truncate(20), 1, "is not what the head announces", id="the manifest is cut short"),
        pytest.param(is_manifest, Status(404, "NoSuchKey"), 1, "names a manifest that is not there", id="no manifest"),
        pytest.param(is_manifest, Status(403, "AccessDenied"), 1, "denies access", id="the manifest is denied"),
        pytest.param(on("GET", HEAD), Reset(10), 75, "cut", id="the head is cut off"),
    ],
)
def test_a_damaged_head_or_manifest_is_not_followed(
    tmp_path: Path,
    server: S3Server,
    proxy: FaultProxy,
    matches: Callable[[Request], bool],
    fault: Fault,
    status: int,
    says: str,
) -> None:
    """Whatever is wrong with what describes the prefix, nothing is done by it."""
    loop = in_step(tmp_path, server, endpoint_url=proxy.endpoint_url)
    make_tree(loop.source, {"a.txt": b"new"})
    assert loop.push().status == 0
    loop.slave.write_config("slave", f"{loop.bucket}/maps", allow=[loop.target.parent], retries=1)
    before = snapshot(loop.target)
    rule = proxy.add(Rule(matches, fault))

    ended = loop.pull()

    assert rule.fired
    assert_says(ended, status, "WEB", says)
    assert_untouched(loop, before)


# -- a busy or failing S3 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matches", [is_body, is_listing], ids=["bodies", "listings"])
def test_a_busy_s3_is_outlasted(
    pending: tuple[Loop, dict[str, Entry]], proxy: FaultProxy, matches: Callable[[Request], bool]
) -> None:
    """503 SlowDown for as many times as there are retries, then the bytes: status 0."""
    loop, _ = pending
    rule = proxy.add(Rule(matches, Status(503, "SlowDown", retry_after=1), times=2))

    ended = loop.pull("--verify")

    assert rule.fired == 2
    assert ended.status == 0, ended.err
    assert contents(loop.target) == contents(loop.source)


@pytest.mark.parametrize("matches", [is_body, is_listing], ids=["bodies", "listings"])
def test_an_s3_that_stays_busy_gets_a_bounded_number_of_requests(
    pending: tuple[Loop, dict[str, Entry]], proxy: FaultProxy, matches: Callable[[Request], bool]
) -> None:
    """Status 75 after `retries` + 1 attempts of each request: two files with bytes, or one page."""
    loop, before = pending
    rule = proxy.add(Rule(matches, Status(503, "SlowDown")))

    ended = loop.pull("--verify")

    assert rule.fired
    assert_says(ended, 75, "SlowDown", "run it again later")
    assert 3 <= proxy.count(matches) <= 3 * 3
    assert_untouched(loop, before)


def test_a_push_that_may_not_write_publishes_nothing(proxied: Loop, proxy: FaultProxy) -> None:
    """403 on one upload: status 1 with its key, slaves stay where they are, and the next push heals."""
    make_tree(proxied.source, {"a.txt": b"first"})
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    before = snapshot(proxied.target)
    make_tree(proxied.source, {"a.txt": b"second", "denied.txt": b"x"})
    proxy.clear()
    rule = proxy.add(Rule(on("PUT", "data/web/denied.txt"), Status(403, "AccessDenied")))

    ended = proxied.push()

    assert rule.fired
    assert_says(ended, 1, "denies access", "denied.txt", "policy")
    assert proxied.pull().status in (0, 75)
    assert_untouched(proxied, before)
    proxy.clear()
    assert proxied.push().status == 0
    assert proxied.pull().status == 0
    assert snapshot(proxied.target) == snapshot(proxied.source)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("at_byte", [0, 700_000], ids=["before the first byte", "in the middle"])
@pytest.mark.parametrize("times", [1, None], ids=["once", "each time"])
def test_a_server_that_falls_silent_is_given_up_in_time(
    proxied: Loop, proxy: FaultProxy, at_byte: int, times: int | None
) -> None:
    """After 30 s without a byte the body is read again; if that is in vain, status 75 within minutes."""
    make_tree(proxied.source, {"new.bin": os.urandom(1_500_000)})
    assert proxied.push().status == 0
    proxied.slave.write_config("slave", f"{proxied.bucket}/maps", allow=[proxied.target.parent], retries=1)
    stall = Stall(120, at_byte=at_byte)
    rule = proxy.add(Rule(is_body, stall, times=times))
    finished: list[Ended] = []
    run = threading.Thread(target=lambda: finished.append(proxied.pull()))

    run.start()
    run.join(300)
    stall.release()
    run.join()

    assert rule.fired
    if times == 1:
        assert finished[0].status == 0, finished[0].err
        assert snapshot(proxied.target) == snapshot(proxied.source)
    else:
        assert_says(finished[0], 75, "no answer in time")
        assert not proxied.target.exists()
    assert left_overs(proxied) == []


# -- listings ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, moto: S3Server) -> Loop:
    """A slave in step with 1,100 objects of another tool; every test of this loop leaves it so."""
    bucket = f"test-{uuid.uuid4().hex}"
    make_bucket(moto, bucket)
    loop = make_loop(tmp_path_factory.mktemp("many"), moto, bucket)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: put(moto, bucket, f"data/web/{number % 7}/{number:05}", b"x"), range(1_100)))
    assert loop.pull().status == 0
    return loop


@pytest.fixture
def paged(many: Loop, moto: S3Server) -> Iterator[tuple[Loop, FaultProxy, dict[str, Entry]]]:
    """That loop behind a proxy of its own, and what its target holds."""
    with fault_proxy(moto.endpoint_url) as proxy:
        many.slave.endpoint_url = proxy.endpoint_url
        many.slave.write_config("slave", f"{many.bucket}/maps", allow=[many.target.parent], retries=1)
        yield many, proxy, snapshot(many.target)


def instead(data: bytes) -> Rewrite:
    """Another body in an answer with status 200."""
    return Rewrite(lambda _status, headers, _body: (200, headers, data))


def edited(change: Callable[[bytes], bytes]) -> Rewrite:
    """The server's own body, changed."""
    return Rewrite(lambda status, headers, body: (status, headers, change(body)))


def without_token(page: bytes) -> bytes:
    """A page that promises more and does not say where."""
    before, _, rest = page.partition(b"<NextContinuationToken>")
    return before + rest.partition(b"</NextContinuationToken>")[2]


def without_truncation(page: bytes) -> bytes:
    """A page that does not say whether it is the last."""
    return without_token(page.replace(b"<IsTruncated>true</IsTruncated>", b""))


NO_KEYS_LISTED = (
    b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>'
)
ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We failed</Message></Error>'


@pytest.mark.parametrize(
    ("matches", "fault", "statuses", "says"),
    [
        pytest.param(is_later_page, Status(500, "InternalError"), [75], "InternalError", id="page 2 fails"),
        pytest.param(is_later_page, Status(403, "AccessDenied"), [1], "denies access", id="page 2 is denied"),
        pytest.param(is_later_page, instead(ERROR), [75], "InternalError", id="page 2 is an error with status 200"),
        pytest.param(is_later_page, instead(b"<html><body>Login</body></html>"), [1], "", id="page 2 is a web page"),
        pytest.param(is_later_page, instead(b""), [1, 75], "", id="page 2 is empty of everything"),
        pytest.param(is_later_page, edited(lambda page: page[:-40]), [1, 75], "", id="page 2 is XML that breaks off"),
        pytest.param(is_later_page, Truncate(2_000), [1, 75], "", id="page 2 ends after 2,000 bytes"),
        pytest.param(is_later_page, instead(NO_KEYS_LISTED), [1], "breaks off", id="page 2 has no keys"),
        pytest.param(is_listing, edited(without_token), [1], "breaks off", id="more is promised without a token"),
        pytest.param(is_listing, edited(without_truncation), [1], "breaks off", id="a page does not say how it ends"),
        pytest.param(is_later_page, Reset(1_000), [75], "cut", id="page 2 is cut off"),
    ],
)
def test_a_listing_that_breaks_off_is_never_taken_for_the_whole(
    paged: tuple[Loop, FaultProxy, dict[str, Entry]],
    matches: Callable[[Request], bool],
    fault: Fault,
    statuses: list[int],
    says: str,
) -> None:
    """A hundred of 1,100 objects are out of sight: the run fails, even with --force-delete, and deletes nothing."""
    loop, proxy, before = paged
    rule = proxy.add(Rule(matches, fault))

    ended = loop.pull("--force-delete")

    assert rule.fired
    assert_failed(ended, *statuses, says=says)
    assert loop.bucket in ended.err
    assert_untouched(loop, before)


@pytest.mark.parametrize("last", [True, False], ids=["and ends", "and goes on"])
def test_a_second_page_that_repeats_the_first_is_noticed(
    paged: tuple[Loop, FaultProxy, dict[str, Entry]], last: bool
) -> None:
    """A server that ignores the token is found out instead of followed for ever."""
    loop, proxy, before = paged
    first: list[bytes] = []

    def keep(page: bytes) -> bytes:
        first.append(page)
        return page

    def repeat(_: bytes) -> bytes:
        ended = without_token(first[0]).replace(b">true</IsTruncated>", b">false</IsTruncated>")
        return ended if last else first[0]

    kept = proxy.add(Rule(lambda request: is_listing(request) and not is_later_page(request), edited(keep)))
    repeated = proxy.add(Rule(is_later_page, edited(repeat)))

    ended = loop.pull("--force-delete")

    assert kept.fired
    assert repeated.fired
    assert_failed(ended, 1, says="listing")
    assert proxy.count(is_listing) <= 4
    assert_untouched(loop, before)


@pytest.mark.parametrize("options", [[], ["--verify"], ["--update-maps"]], ids=" ".join)
def test_an_empty_listing_is_refused(paged: tuple[Loop, FaultProxy, dict[str, Entry]], options: list[str]) -> None:
    """Nothing at the source is a mistake until somebody says otherwise: status 3."""
    loop, proxy, before = paged
    rule = proxy.add(Rule(is_listing, instead(NO_KEYS_LISTED)))

    ended = loop.pull(*options)

    assert rule.fired
    assert_says(ended, 3, "the source holds no files", "check the path")
    assert_untouched(loop, before)


@pytest.mark.parametrize("prefix", ["data/we", "data/web2", "data/web/nothing", "Data/web"])
def test_a_prefix_that_does_not_exist_is_refused(paged: tuple[Loop, FaultProxy, dict[str, Entry]], prefix: str) -> None:
    """A prefix ends at a slash: the objects of `data/web` are not those of `data/we`."""
    loop, _, before = paged
    loop.write_map(s3=f"{loop.bucket}/{prefix}")

    ended = loop.pull("--update-maps")
    loop.write_map()
    assert loop.slave.run("maps", "update").status == 0

    assert_says(ended, 3, "the source holds no files")
    assert_untouched(loop, before)


# -- the head ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [403, 404], ids=["403", "404"])
def test_a_head_that_disappears_is_an_alarm(tmp_path: Path, server: S3Server, proxy: FaultProxy, code: int) -> None:
    """A slave that has followed a manifest never falls back to a LIST by itself."""
    loop = in_step(tmp_path, server, endpoint_url=proxy.endpoint_url)
    before = snapshot(loop.target)
    put(server, loop.bucket, "data/web/planted.txt", b"by somebody else")
    fault = Status(code, {403: "AccessDenied", 404: "NoSuchKey"}[code])
    rule = proxy.add(Rule(on("GET", HEAD), fault))

    ended = loop.pull()

    assert rule.fired
    assert_says(ended, 1, "WEB", {403: "denies access", 404: "the manifest"}[code])
    assert_untouched(loop, before)


def test_a_denied_head_is_not_a_missing_one_at_the_first_contact_either(
    tmp_path: Path, server: S3Server, proxy: FaultProxy
) -> None:
    """Without permission to list, S3 answers 403 for keys that do not exist: nobody can know, so status 1."""
    loop = in_step(tmp_path, server, endpoint_url=proxy.endpoint_url)
    fresh = make_loop(tmp_path / "fresh", server, loop.bucket, endpoint_url=proxy.endpoint_url)
    rule = proxy.add(Rule(on("GET", HEAD), Status(403, "AccessDenied")))

    ended = fresh.pull()

    assert rule.fired
    assert_says(ended, 1, "denies access", "head.json")
    assert not fresh.target.exists()


def test_an_endpoint_that_ignores_conditions_serves_one_master_well(tmp_path: Path, rclone: S3Server) -> None:
    """rclone obeys no If-Match: plain pushes and pulls work, and each push counts one generation."""
    loop = in_step(tmp_path, rclone)
    make_tree(loop.source, {"a.txt": b"second", "new.txt": b"x"})
    (loop.source / "d/same.txt").unlink()

    pushed, pulled = loop.push(), loop.pull()

    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert json.loads(get(rclone, loop.bucket, HEAD))["generation"] == 2
    assert snapshot(loop.target) == snapshot(loop.source)
    assert not any(key.endswith("same.txt") for key in keys(rclone, loop.bucket))


# -- credentials that expire -------------------------------------------------------------------------------------------


@pytest.fixture
def renewing(proxied: Loop, tmp_path: Path) -> tuple[Loop, Path]:
    """A loop whose slave gets a new access key from each call of a `credential_process`; and the list of its calls."""
    calls, script, config = tmp_path / "calls", tmp_path / "credentials", tmp_path / "aws"
    script.write_text(
        f"#!/bin/sh\necho call >>{calls}\nn=$(wc -l <{calls})\n"
        'printf \'{"Version": 1, "AccessKeyId": "AKIAKEYNUMBER%s", "SecretAccessKey": "secret"}\' $n\n'
    )
    script.chmod(0o700)
    config.write_text(f"[default]\ncredential_process = {script}\nregion = us-east-1\n")
    make_tree(proxied.source, {f"f{number}": os.urandom(2_000) for number in range(40)})
    assert proxied.push().status == 0
    # Set but empty, they would count as credentials that are not there; the process comes next.
    proxied.slave.extra.update(NO_KEYS, AWS_CONFIG_FILE=str(config))
    return proxied, calls


def signed_by(number: int) -> Callable[[Request], bool]:
    """Whether a request is signed with the key of the call `number`."""
    return lambda request: f"Credential=AKIAKEYNUMBER{number}/" in request.headers.get("authorization", "")


def test_credentials_that_expire_in_a_run_are_renewed_once(renewing: tuple[Loop, Path], proxy: FaultProxy) -> None:
    """The first key ends after ten requests: the run fetches another one, and succeeds with it."""
    loop, calls = renewing
    rule = proxy.add(Rule(signed_by(1), Status(400, "ExpiredToken", "The provided token has expired."), after=10))

    ended = loop.pull()

    assert rule.fired
    assert ended.status == 0, ended.err
    assert calls.read_text().count("call") == 2
    assert proxy.count(signed_by(2))
    assert snapshot(loop.target) == snapshot(loop.source)


def test_credentials_that_stay_expired_ask_to_try_again(renewing: tuple[Loop, Path], proxy: FaultProxy) -> None:
    """Every key is refused in the middle of the run: status 75, and not one call of the process for each file."""
    loop, calls = renewing
    assert loop.pull().status == 0
    before = snapshot(loop.target)
    make_tree(loop.source, {f"f{number}": os.urandom(2_000) for number in range(40)})
    assert loop.push().status == 0
    proxy.clear()
    calls.write_text("")
    rule = proxy.add(Rule(is_body, Status(400, "ExpiredToken", "The provided token has expired.")))

    ended = loop.pull()

    assert rule.fired
    assert_says(ended, 75, "expired", "renew them")
    assert calls.read_text().count("call") <= 3
    assert_untouched(loop, before)


def contents(root: Path) -> dict[str, str | None]:
    """The bytes of every file, without what plain objects do not carry."""
    return {path: entry.content for path, entry in snapshot(root).items() if entry.kind == "file"}
