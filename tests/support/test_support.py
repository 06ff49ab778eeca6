"""The support proves itself: servers keep what they are given, faults strike as named, and none strikes unasked."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import boto3
import obstore
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError
from obstore.store import S3Store

from .faultproxy import (
    Delay,
    Do,
    DropAnswer,
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
from .servers import S3Server, by_obstore, empty, get, keys, make_bucket, new_client, put, start_moto
from .trees import Link, awkward_names, make_tree, random_tree, snapshot

pytestmark = pytest.mark.timeout(120)

BODY = Random(1).randbytes(300_000)
MIDDLE = 150_000
FAILURES = (BotoCoreError, ClientError, BaseError, OSError)


@dataclass(frozen=True, slots=True)
class Client:
    """The same three verbs on either library, each with exactly one attempt."""

    put: Callable[[str, bytes], object]
    get: Callable[[str], bytes]
    keys: Callable[[], dict[str, int]]


def boto3_client(server: S3Server, bucket: str, read_timeout_s: float = 30) -> Client:
    """Return a client on boto3 that never tries twice."""
    config = Config(
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1, "mode": "standard"},
        read_timeout=read_timeout_s,
        max_pool_connections=16,
    )
    s3 = new_client(server, config)

    def listed() -> dict[str, int]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}

    return Client(
        put=lambda key, data: s3.put_object(Bucket=bucket, Key=key, Body=data),
        get=lambda key: s3.get_object(Bucket=bucket, Key=key)["Body"].read(),
        keys=listed,
    )


def obstore_client(server: S3Server, bucket: str, read_timeout_s: float = 30) -> Client:
    """Return a client on obstore that never tries twice."""
    store = S3Store(
        bucket,
        endpoint=server.endpoint_url,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region=server.region,
        client_options={"allow_http": True, "read_timeout": timedelta(seconds=read_timeout_s)},
        retry_config={"max_retries": 0},
    )
    return Client(
        put=lambda key, data: obstore.put(store, key, data),
        get=lambda key: bytes(obstore.get(store, key).bytes()),
        keys=lambda: {item["path"]: item["size"] for page in obstore.list(store) for item in page},
    )


MakeClient = Callable[..., Client]


@pytest.fixture(params=[boto3_client, obstore_client], ids=["boto3", "obstore"])
def make_client(request: pytest.FixtureRequest) -> MakeClient:
    """Each of the two libraries in turn."""
    made: MakeClient = request.param
    return made


@pytest.fixture
def client(make_client: MakeClient, server: S3Server, proxy: FaultProxy, bucket: str) -> Client:
    """A client that reaches `server` through `proxy`, with the object `key` in the bucket."""
    put(server, bucket, "key", BODY)
    return make_client(server.at(proxy.endpoint_url), bucket)


@pytest.fixture
def raw(server: S3Server, proxy: FaultProxy, bucket: str) -> Iterator[http.client.HTTPConnection]:
    """A bare HTTP connection to the proxy, with the object `key` in the bucket."""
    put(server, bucket, "key", BODY)
    address = urlsplit(proxy.endpoint_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    yield connection
    connection.close()


def signed_path(server: S3Server, proxy: FaultProxy, bucket: str, verb: str = "get_object") -> str:
    """Return a path with its signature in the query, for a bare connection to the proxy."""
    url = server.at(proxy.endpoint_url).client().generate_presigned_url(verb, Params={"Bucket": bucket, "Key": "key"})
    return url.removeprefix(proxy.endpoint_url)


class TestWithoutFaults:
    """What passes through a proxy that nobody told to do harm."""

    @pytest.mark.usually("rclone")  # the pages of moto cost ten times as much, and the proxy reads neither
    def test_1100_keys_pass_unchanged(self, client: Client, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """Objects put, listed and read through the proxy are those the server holds, and no rule fired."""
        asleep = proxy.add(Rule(on("GET", "another key"), Status(500, "InternalError")))
        names = [f"directory {number % 7}/{number:04}" for number in range(1_100)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: client.put(name, name.encode()), names))
            read = list(pool.map(client.get, names[::10]))

        expected = dict.fromkeys(names, 16) | {"key": len(BODY)}
        assert client.keys() == expected
        assert keys(server, bucket) == expected
        assert read == [name.encode() for name in names[::10]]
        assert asleep.fired == 0
        assert proxy.count(lambda request: request.method == "PUT") == 1_100
        assert proxy.count(lambda request: request.is_list) == 2
        assert {request.status for request in proxy.requests} == {200}
        assert not any(request.fault for request in proxy.requests)

    def test_awkward_keys_pass_unchanged(
        self, client: Client, server: S3Server, proxy: FaultProxy, bucket: str
    ) -> None:
        """The key a rule sees is the key the client meant, however it looks in a URL."""
        names = awkward_names()
        for name in names:
            client.put(name, name.encode())

        assert [request.key for request in proxy.requests] == names
        assert set(client.keys()) == {*names, "key"}
        assert set(keys(server, bucket)) == {*names, "key"}
        assert [client.get(name) for name in names] == [name.encode() for name in names]

    def test_a_body_of_many_blocks_passes_both_ways(self, client: Client) -> None:
        """Streaming loses and doubles nothing."""
        data = os.urandom(4_000_001)
        client.put("big", data)

        assert client.get("big") == data

    def test_a_wrong_secret_is_refused_behind_the_proxy(self, rclone: S3Server, make_client: MakeClient) -> None:
        """The proxy neither signs nor lets rclone forget to check."""
        with fault_proxy(rclone.endpoint_url) as proxy:
            stranger = replace(rclone.at(proxy.endpoint_url), secret_key="wrong")
            with pytest.raises(FAILURES, match="SignatureDoesNotMatch"):
                make_client(stranger, "any-bucket").keys()

            assert [request.status for request in proxy.requests] == [403]

    def test_expect_100_continue_is_answered(self, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """boto3 asks before it sends a body; it must not wait in vain."""
        put(server.at(proxy.endpoint_url), bucket, "asked", b"body")

        assert proxy.requests[0].headers["expect"] == "100-continue"
        assert get(server, bucket, "asked") == b"body"

    def test_chunked_requests_are_forwarded(self, moto: S3Server) -> None:
        """A body without a declared length arrives whole; moto alone takes the unsigned request."""
        make_bucket(moto, "chunked")
        with fault_proxy(moto.endpoint_url) as proxy:
            address = urlsplit(proxy.endpoint_url)
            raw = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
            raw.request("PUT", "/chunked/key", iter([b"first ", b"second"]), encode_chunked=True)

            assert raw.getresponse().status == 200
            assert get(moto, "chunked", "key") == b"first second"
            assert proxy.requests[-1].headers["transfer-encoding"] == "chunked"
            raw.close()

    def test_one_connection_carries_many_requests(
        self, raw: http.client.HTTPConnection, server: S3Server, proxy: FaultProxy, bucket: str
    ) -> None:
        """Keep-alive survives bodies, answers without one, and errors the proxy makes up."""
        path = signed_path(server, proxy, bucket)
        refused = proxy.add(Rule(on("GET"), Status(503, "SlowDown"), times=1, after=1))
        statuses = []
        raw.connect()
        first_socket = raw.sock
        for verb, where in [
            ("get_object", "GET"),
            ("get_object", "GET"),
            ("head_object", "HEAD"),
            ("get_object", "GET"),
        ]:
            raw.request(where, path if verb == "get_object" else signed_path(server, proxy, bucket, verb))
            response = raw.getresponse()
            statuses.append(response.status)
            response.read()

        assert statuses == [200, 503, 200, 200]
        assert refused.fired == 1
        assert raw.sock is first_socket

    def test_a_server_that_is_gone_is_a_bad_gateway(self, make_client: MakeClient) -> None:
        """The proxy says so instead of hanging."""
        with start_moto() as server:
            gone = server
        with fault_proxy(gone.endpoint_url) as proxy:
            with pytest.raises(FAILURES, match=r"502|BadGateway"):
                make_client(gone.at(proxy.endpoint_url), "bucket").keys()

            assert proxy.requests[0].status == 502


class TestFaults:
    """Each fault does what its name says, and its rule counts it."""

    def test_status(self, client: Client, proxy: FaultProxy) -> None:
        """The client reads the error code that the rule names."""
        rule = proxy.add(Rule(on("GET", "key"), Status(503, "SlowDown", "slower, please", retry_after=7)))
        with pytest.raises(FAILURES, match="SlowDown"):
            client.get("key")

        assert rule.fired == 1
        assert (proxy.requests[-1].status, proxy.requests[-1].fault) == (503, rule.act)

    def test_status_is_whole_http(
        self, raw: http.client.HTTPConnection, server: S3Server, proxy: FaultProxy, bucket: str
    ) -> None:
        """Message and Retry-After come too, escaped."""
        proxy.add(Rule(on("GET"), Status(429, "TooManyRequests", "a < b", retry_after=7, headers={"x-amz-id-2": "id"})))
        raw.request("GET", signed_path(server, proxy, bucket))
        response = raw.getresponse()

        assert (response.status, response.headers["retry-after"], response.headers["x-amz-id-2"]) == (429, "7", "id")
        assert b"<Code>TooManyRequests</Code><Message>a &lt; b</Message>" in response.read()

    def test_status_stops_a_put(self, client: Client, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """The server is never asked."""
        rule = proxy.add(Rule(on("PUT"), Status(403, "AccessDenied")))
        with pytest.raises(FAILURES, match="AccessDenied"):
            client.put("new", BODY)

        assert rule.fired == 1
        assert "new" not in keys(server, bucket)

    @pytest.mark.parametrize("at_byte", [0, 1, MIDDLE, len(BODY) - 1])
    def test_reset(self, client: Client, proxy: FaultProxy, at_byte: int) -> None:
        """A client without a second attempt fails wherever the connection is reset."""
        rule = proxy.add(Rule(on("GET", "key"), Reset(at_byte)))
        with pytest.raises(FAILURES):
            client.get("key")

        assert rule.fired == 1

    def test_reset_is_a_reset(
        self, raw: http.client.HTTPConnection, server: S3Server, proxy: FaultProxy, bucket: str
    ) -> None:
        """Exactly `at_byte` bytes arrive, then ECONNRESET, not the orderly end of the stream."""
        rule = proxy.add(Rule(on("GET", "key"), Reset(MIDDLE)))
        raw.request("GET", signed_path(server, proxy, bucket))
        response = raw.getresponse()

        assert response.read(MIDDLE) == BODY[:MIDDLE]
        with pytest.raises(ConnectionResetError):
            response.read(1)
        assert rule.fired == 1

    def test_truncate(self, raw: http.client.HTTPConnection, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """The declared length is that of the short body: nothing looks wrong."""
        rule = proxy.add(Rule(on("GET", "key"), Truncate(MIDDLE)))
        raw.request("GET", signed_path(server, proxy, bucket))
        response = raw.getresponse()

        assert response.headers["content-length"] == str(MIDDLE)
        assert response.read() == BODY[:MIDDLE]
        assert rule.fired == 1

    def test_truncate_deceives_both_libraries(self, client: Client, proxy: FaultProxy) -> None:
        """Neither library notices; only a size from elsewhere can."""
        rule = proxy.add(Rule(on("GET", "key"), Truncate(MIDDLE)))

        assert client.get("key") == BODY[:MIDDLE]
        assert rule.fired == 1

    @pytest.mark.parametrize("at_byte", [0, MIDDLE, len(BODY) - 1])
    def test_flip_bit(self, client: Client, proxy: FaultProxy, at_byte: int) -> None:
        """One bit of one byte differs, and the length does not."""
        rule = proxy.add(Rule(on("GET", "key"), FlipBit(at_byte, bit=3)))
        wrong = client.get("key")

        assert len(wrong) == len(BODY)
        assert [index for index in range(len(BODY)) if wrong[index] != BODY[index]] == [at_byte]
        assert wrong[at_byte] == BODY[at_byte] ^ 8
        assert rule.fired == 1

    def test_delay(
        self, make_client: MakeClient, client: Client, server: S3Server, proxy: FaultProxy, bucket: str
    ) -> None:
        """A client with a shorter patience gives up; a released delay passes."""
        act = Delay(60)
        rule = proxy.add(Rule(on("GET", "key"), act))
        with pytest.raises(FAILURES):
            make_client(server.at(proxy.endpoint_url), bucket, read_timeout_s=0.2).get("key")
        assert (rule.fired, proxy.requests[-1].status) == (1, None)

        act.release()

        assert client.get("key") == BODY
        assert rule.fired == 2

    def test_stall_times_out(self, make_client: MakeClient, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """The head arrives and then nothing: only a read timeout helps."""
        put(server, bucket, "key", BODY)
        rule = proxy.add(Rule(on("GET", "key"), Stall(60, at_byte=10)))
        with pytest.raises(FAILURES):
            make_client(server.at(proxy.endpoint_url), bucket, read_timeout_s=0.2).get("key")

        assert (rule.fired, proxy.requests[-1].status) == (1, 200)

    def test_stall_goes_on_when_released(
        self, raw: http.client.HTTPConnection, server: S3Server, proxy: FaultProxy, bucket: str
    ) -> None:
        """Ten bytes come, no eleventh until the test says so, then all the rest."""
        act = Stall(60, at_byte=10)
        rule = proxy.add(Rule(on("GET", "key"), act))
        raw.request("GET", signed_path(server, proxy, bucket))
        response = raw.getresponse()
        assert response.read(10) == BODY[:10]
        assert raw.sock is not None
        raw.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            raw.sock.recv(1, socket.MSG_PEEK)

        act.release()
        raw.sock.settimeout(30)

        assert _rest(raw.sock, len(BODY) - 10) == BODY[10:]
        assert rule.fired == 1

    def test_rewrite(self, client: Client, proxy: FaultProxy) -> None:
        """A listing says what the function makes of it."""
        rule = proxy.add(
            Rule(
                on(listing=True),
                Rewrite(
                    lambda status, headers, body: (status, headers, body.replace(b"<Key>key<", b"<Key>another key<"))
                ),
            )
        )

        assert client.keys() == {"another key": len(BODY)}
        assert rule.fired == 1

    def test_rewrite_changes_status_and_headers(
        self, raw: http.client.HTTPConnection, server: S3Server, proxy: FaultProxy, bucket: str
    ) -> None:
        """All three are in the function's hands; the length follows the body."""
        rule = proxy.add(Rule(on("GET"), Rewrite(lambda _, headers, body: (203, headers | {"etag": '"x"'}, body[:5]))))
        raw.request("GET", signed_path(server, proxy, bucket))
        response = raw.getresponse()

        assert (response.status, response.headers["etag"], response.headers["content-length"]) == (203, '"x"', "5")
        assert response.read() == BODY[:5]
        assert rule.fired == 1

    def test_drop_answer(self, client: Client, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """The client sees a failure; the server has done what was asked."""
        rule = proxy.add(Rule(on("PUT", "new"), DropAnswer()))
        with pytest.raises(FAILURES):
            client.put("new", BODY)

        assert rule.fired == 1
        assert proxy.requests[-1].status is None
        assert get(server, bucket, "new") == BODY

    def test_do(self, client: Client, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """The object changes after the client has asked and before the server answers."""
        rule = proxy.add(Rule(on("GET", "key"), Do(lambda: put(server, bucket, "key", b"changed")), times=1))

        assert client.get("key") == b"changed"
        assert rule.fired == 1

    def test_obstore_resumes_after_a_reset(self, server: S3Server, proxy: FaultProxy, bucket: str) -> None:
        """Of a resumed read, the log shows both requests and which part the second one asked for."""
        put(server, bucket, "key", BODY)
        rule = proxy.add(Rule(on("GET", "key"), Reset(MIDDLE), times=1))
        store = by_obstore(server, bucket, proxy.endpoint_url)

        assert bytes(obstore.get(store, "key").bytes()) == BODY
        assert rule.fired == 1
        assert [request.headers.get("range") for request in proxy.requests] == [None, f"bytes={MIDDLE}-{len(BODY) - 1}"]


class TestRules:
    """When a rule acts, and what it counts."""

    def test_after_and_times_bound_a_rule(self, client: Client, proxy: FaultProxy) -> None:
        """Two pass, three are hit, the rest pass."""
        rule = proxy.add(Rule(on("GET", "key"), Truncate(1), times=3, after=2))
        sizes = [len(client.get("key")) for _ in range(7)]

        whole = len(BODY)
        assert sizes == [whole, whole, 1, 1, 1, whole, whole]
        assert rule.fired == 3

    def test_times_holds_under_concurrency(self, client: Client, proxy: FaultProxy) -> None:
        """Many requests at one moment do not fire a rule once too often."""
        rule = proxy.add(Rule(on("GET", "key"), Truncate(1), times=5))
        with ThreadPoolExecutor(16) as pool:
            sizes = list(pool.map(lambda _: len(client.get("key")), range(60)))

        assert sizes.count(1) == 5
        assert rule.fired == 5

    @pytest.mark.parametrize("act", [Reset(5), Truncate(5), FlipBit(5), Stall(60, at_byte=5)], ids=repr)
    def test_a_fault_behind_the_end_of_the_body_counts_nothing(
        self, client: Client, server: S3Server, proxy: FaultProxy, bucket: str, act: Reset | Truncate | FlipBit | Stall
    ) -> None:
        """What the client did not feel is not counted and does not use up `times`."""
        put(server, bucket, "short", b"12345")
        rule = proxy.add(Rule(on("GET"), act, times=1))

        assert client.get("short") == b"12345"
        assert rule.fired == 0
        assert proxy.requests[-1].fault is None

    def test_the_first_rule_that_is_due_acts_alone(self, client: Client, proxy: FaultProxy) -> None:
        """A rule that is used up makes room for the next one."""
        first = proxy.add(Rule(on("GET", "key"), Truncate(1), times=1))
        second = proxy.add(Rule(on("GET", "key"), Truncate(2)))
        sizes = [len(client.get("key")) for _ in range(3)]

        assert sizes == [1, 2, 2]
        assert (first.fired, second.fired) == (1, 2)

    def test_rules_may_change_while_clients_run(self, client: Client, proxy: FaultProxy) -> None:
        """Adding, removing and clearing works at once, from any thread."""
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                assert len(client.get("key")) in {1, len(BODY)}

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(4)]
            try:
                for _ in range(200):
                    rule = proxy.add(Rule(on("GET"), Truncate(1)))
                    proxy.rules.remove(rule)
            finally:
                stop.set()
            for reader in readers:
                reader.result()
        proxy.clear()

        assert (proxy.rules, proxy.requests) == ([], [])
        assert client.get("key") == BODY

    def test_an_exception_in_a_rule_is_raised_at_the_end(self, moto: S3Server, make_client: MakeClient) -> None:
        """A broken test must not pass for a broken network."""

        def broken(_: Request) -> bool:
            raise ZeroDivisionError

        def use(proxy: FaultProxy) -> None:
            proxy.add(Rule(broken, DropAnswer()))
            with pytest.raises(FAILURES):
                make_client(moto.at(proxy.endpoint_url), "bucket").keys()

        with pytest.raises(ExceptionGroup) as caught, fault_proxy(moto.endpoint_url) as proxy:
            use(proxy)

        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]

    def test_the_end_of_the_block_ends_every_pause(self, moto: S3Server) -> None:
        """A forgotten stall holds up no test run."""
        arrived = threading.Event()

        def first(_: Request) -> bool:
            arrived.set()
            return True

        with fault_proxy(moto.endpoint_url) as proxy, ThreadPoolExecutor(1) as pool:
            rule = proxy.add(Rule(first, Delay(100)))
            waiting = pool.submit(boto3_client(moto.at(proxy.endpoint_url), "no-such-bucket").keys)
            assert arrived.wait(30)
            proxy.close()
            with pytest.raises(FAILURES):
                waiting.result(30)

        assert rule.fired == 1


class TestServers:
    """The verbs that judge what the product did."""

    def test_keys_are_raw_and_all_there(self, server: S3Server, bucket: str) -> None:
        """A listing of more than one page holds every key, undecoded once too often, and only those of the prefix."""
        names = {f"% +{number}%20" for number in range(1_100)}
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: put(server, bucket, name, b"12"), [*names, "other"]))

        assert keys(server, bucket) == dict.fromkeys([*names, "other"], 2)
        assert set(keys(server, bucket, "% +")) == names

    def test_empty_leaves_an_empty_bucket(self, server: S3Server, bucket: str) -> None:
        """Neither number nor awkwardness of the keys keeps one of them there."""
        for name in awkward_names():
            put(server, bucket, name, b"")
        empty(server, bucket)

        assert keys(server, bucket) == {}

    def test_the_environment_is_enough_to_sign(self, rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that knows nothing but the variables and the address is let in."""
        for name, value in rclone.environment().items():
            monkeypatch.setenv(name, value)
        s3 = boto3.session.Session().client("s3", endpoint_url=rclone.endpoint_url)

        assert "Buckets" in s3.list_buckets()


class TestTrees:
    """What a tree is made of, and what a snapshot sees."""

    def test_a_snapshot_sees_every_kind_and_every_change(self, tmp_path: Path) -> None:
        """Content, mode, time, target and presence each make a difference; a second look at the same makes none."""
        make_tree(tmp_path, {"a/file": b"1", "a/link": Link("/etc/passwd"), "empty": None})
        os.mkfifo(tmp_path / "fifo")
        before = snapshot(tmp_path)
        assert {path: entry.kind for path, entry in before.items()} == {
            "a": "dir",
            "a/file": "file",
            "a/link": "link",
            "empty": "dir",
            "fifo": "other",
        }
        assert snapshot(tmp_path) == before

        seen = [before]
        os.utime(tmp_path / "a/file", ns=(1, 1))
        seen.append(snapshot(tmp_path))
        (tmp_path / "a/file").chmod(0o4755)
        seen.append(snapshot(tmp_path))
        (tmp_path / "a/file").write_bytes(b"2")
        os.utime(tmp_path / "a/file", ns=(1, 1))
        seen.append(snapshot(tmp_path))
        (tmp_path / "a/link").unlink()
        (tmp_path / "a/link").symlink_to("/etc/shadow")
        seen.append(snapshot(tmp_path))
        (tmp_path / "empty").rmdir()
        seen.append(snapshot(tmp_path))

        assert all(seen[index] != seen[index + 1] for index in range(len(seen) - 1))

    def test_a_snapshot_follows_no_link(self, tmp_path: Path) -> None:
        """What lies behind a link to a directory does not belong to the tree."""
        make_tree(tmp_path, {"outside/secret": b"1", "root/link": Link("../outside")})

        assert list(snapshot(tmp_path / "root")) == ["link"]

    def test_a_snapshot_refuses_what_it_cannot_read(self, tmp_path: Path) -> None:
        """A missing root is not an empty tree."""
        with pytest.raises(FileNotFoundError):
            snapshot(tmp_path / "missing")

    def test_names_that_are_not_utf8_are_kept(self, tmp_path: Path) -> None:
        """Such a name is in the snapshot, and leads back to the file."""
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_bytes(b"1")

        (name,) = snapshot(tmp_path)
        assert os.fsencode(name) == b"\xff\xfe"

    def test_awkward_names_live_side_by_side(self, tmp_path: Path) -> None:
        """The list describes one possible tree: no duplicates, no control characters, short enough for S3."""
        names = awkward_names()
        make_tree(tmp_path, {name: name.encode() for name in names})
        files = {path for path, entry in snapshot(tmp_path).items() if entry.kind == "file"}

        assert files == set(names)
        assert len(names) == len(set(names))
        assert all(len(name.encode()) <= 1_024 for name in names)
        assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for name in names for character in name)

    @pytest.mark.parametrize("seed", range(20))
    def test_random_trees_can_be_made_and_made_again(self, tmp_path: Path, seed: int) -> None:
        """One seed is one tree, with as many entries as asked for."""
        spec = random_tree(Random(seed), 30, links=3, empty_directories=2, awkward=seed % 2 == 1)
        make_tree(tmp_path, spec)
        kinds = [entry.kind for entry in snapshot(tmp_path).values()]

        assert spec == random_tree(Random(seed), 30, links=3, empty_directories=2, awkward=seed % 2 == 1)
        assert (kinds.count("file"), kinds.count("link")) == (30, 3)


def _rest(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size and (block := connection.recv(size - len(received))):
        received += block
    return bytes(received)
