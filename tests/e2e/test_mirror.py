"""Role mirror: one prefix kept equal to another one, within S3 and between two servers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.checks import assert_failed
from support.faultproxy import Do, FaultProxy, Request, Rule, Status, fault_proxy, on
from support.machine import Ended, Machine
from support.servers import S3Server, get, keys, make_bucket, put, put_many, start_moto, start_rclone
from support.trees import make_tree, snapshot


@dataclass(frozen=True)
class Pair:
    """Two prefixes, and the machine that keeps the second one equal to the first."""

    machine: Machine
    here: S3Server
    there: S3Server
    working: str
    public: str

    @property
    def store(self) -> str:
        """What goes before a place of the mirror's server, in a map."""
        return "" if self.here is self.there else "backup:"

    def write_map(self, **properties: Any) -> None:
        """Upload the map with one entry, PHOTOS."""
        entry = {"name": "PHOTOS", "s3": f"{self.working}/in", "mirror": f"{self.store}{self.public}/out", **properties}
        put(self.here, self.working, "maps/photos.json", json.dumps([entry]).encode())

    def put(self, path: str, data: bytes = b"photo") -> None:
        """Store an object at the source."""
        put(self.here, self.working, f"in/{path}", data)

    def run(self, *arguments: str) -> Ended:
        """`s32s ARGUMENTS` on the machine."""
        return self.machine.run(*arguments)

    def copied(self) -> dict[str, int]:
        """What the mirror holds, without what belongs to s32s."""
        found = keys(self.there, self.public, "out/")
        return {key.removeprefix("out/"): size for key, size in found.items() if not key.startswith("out/.s32s/")}


def make_pair(root: Path, here: S3Server, there: S3Server, *, endpoint_url: str | None = None) -> Pair:
    """A pair of new buckets with a map and a configuration; a store where the servers are two."""
    pair = Pair(
        Machine(root / "machine", here, endpoint_url=endpoint_url),
        here,
        there,
        f"working-{uuid.uuid4().hex}",
        f"public-{uuid.uuid4().hex}",
    )
    make_bucket(here, pair.working)
    make_bucket(there, pair.public)
    pair.write_map()
    pair.machine.write_config("mirror", f"{pair.working}/maps")
    if there is not here:
        with pair.machine.config.open("a") as file:
            file.write(f'[stores.backup]\ntype = "s3"\nendpoint_url = "{there.endpoint_url}"\n')
    return pair


@pytest.fixture
def pair(tmp_path: Path, server: S3Server) -> Pair:
    """Both prefixes on one server."""
    return make_pair(tmp_path, server, server)


@pytest.fixture(params=["moto to rclone", "rclone to moto"])
def apart(request: pytest.FixtureRequest, tmp_path: Path, moto: S3Server, rclone: S3Server) -> Pair:
    """The prefixes on two servers."""
    here, there = (moto, rclone) if request.param == "moto to rclone" else (rclone, moto)
    return make_pair(tmp_path, here, there)


@pytest.fixture
def watched(tmp_path: Path, moto: S3Server) -> Iterator[tuple[Pair, FaultProxy]]:
    """Both prefixes on one server behind a proxy that sees every request."""
    with fault_proxy(moto.endpoint_url) as proxy:
        yield make_pair(tmp_path, moto, moto, endpoint_url=proxy.endpoint_url), proxy


def is_copy(request: Request) -> bool:
    """Whether this asks S3 to copy an object."""
    return "x-amz-copy-source" in request.headers


class TestVerbs:
    def test_a_sync_makes_the_mirror_exactly_equal(self, pair: Pair) -> None:
        """New comes, modified is replaced, what is gone goes; the second run has nothing to do."""
        put(pair.there, pair.public, "out/gone.jpg", b"old")
        put(pair.there, pair.public, "out/a/1.jpg", b"another size")
        put(pair.there, pair.public, "outside.jpg", b"not ours")
        for path in ("a/1.jpg", "a/2.jpg", "b/with space & ü.jpg"):
            pair.put(path, path.encode())

        first, second = pair.run("sync"), pair.run("sync")

        assert first.status == 0, first.err
        assert "2 new, 1 modified, 1 deleted" in first.out
        assert pair.copied() == {path: len(path.encode()) for path in ("a/1.jpg", "a/2.jpg", "b/with space & ü.jpg")}
        assert get(pair.there, pair.public, "out/a/1.jpg") == b"a/1.jpg"
        assert get(pair.there, pair.public, "outside.jpg") == b"not ours"
        assert second.changed_nothing

    def test_copy_deletes_nothing(self, pair: Pair) -> None:
        """`s32s copy` on a mirror."""
        put(pair.there, pair.public, "out/gone.jpg", b"old")
        pair.put("a.jpg")

        ended = pair.run("copy")

        assert ended.status == 0, ended.err
        assert pair.copied() == {"a.jpg": 5, "gone.jpg": 3}

    def test_a_dry_run_writes_nothing(self, watched: tuple[Pair, FaultProxy]) -> None:
        """Only readings reach S3, and no state is made."""
        pair, proxy = watched
        pair.put("a.jpg")
        proxy.clear()

        ended = pair.run("dryrun", "--exit-code")

        assert ended.status == 4, ended.err
        assert "a.jpg" in ended.out
        assert {request.method for request in proxy.requests} == {"GET"}
        assert not (pair.machine.root / "state").exists()

    def test_ignored_and_rejected_objects_stay_behind(self, pair: Pair) -> None:
        """The rules of the entry hold for mirrors, and what they ignore at the mirror is spared."""
        pair.write_map(ignore=["tmp/*"], accept=["{name}.jpg"])
        put(pair.there, pair.public, "out/tmp/kept", b"mine")
        for path in ("a.jpg", "b.png", "tmp/x.jpg"):
            pair.put(path)

        ended = pair.run("sync", "--update-maps")

        assert ended.status == 0, ended.err
        assert pair.copied() == {"a.jpg": 5, "tmp/kept": 4}

    def test_the_report_names_what_was_done(self, pair: Pair, tmp_path: Path) -> None:
        """new.txt, modified.txt, deleted.txt."""
        put(pair.there, pair.public, "out/old.jpg", b"old")
        put(pair.there, pair.public, "out/b.jpg", b"old")
        for path in ("a.jpg", "b.jpg"):
            pair.put(path)

        pair.run("sync", "--report", str(tmp_path / "report"))

        written = {file.name: file.read_text() for file in (tmp_path / "report/PHOTOS").iterdir()}
        assert written["new.txt"] == "a.jpg\n"
        assert written["modified.txt"] == "b.jpg\n"
        assert written["deleted.txt"] == "old.jpg\n"

    def test_more_than_a_batch_of_deletions(self, tmp_path: Path, rclone: S3Server) -> None:
        """1,001 objects go in two requests."""
        pair = make_pair(tmp_path, rclone, rclone)
        pair.put("a.jpg")
        put_many(rclone, pair.public, [f"out/{number}.jpg" for number in range(1_001)])

        ended = pair.run("sync", "--force-delete")

        assert ended.status == 0, ended.err
        assert "1,001 deleted" in ended.out
        assert pair.copied() == {"a.jpg": 5}

    def test_status_shows_the_mirror(self, pair: Pair) -> None:
        """`s32s status` knows the direction and the last run."""
        pair.put("a.jpg")
        pair.run("sync")

        ended = pair.run("status")

        assert f"{pair.working}/in > {pair.public}/out" in ended.out
        assert "not compared since" in ended.out


class TestWhatTravels:
    def test_nothing_flows_through_this_machine(self, watched: tuple[Pair, FaultProxy]) -> None:
        """One server: objects are copied by S3, one request each."""
        pair, proxy = watched
        for number in range(5):
            pair.put(f"{number}.jpg")
        proxy.clear()

        pair.run("sync")

        assert proxy.count(is_copy) == 5
        assert not [request for request in proxy.requests if request.method == "GET" and request.key.endswith(".jpg")]

    def test_metadata_and_headers_travel(self, pair: Pair) -> None:
        """Content type, cache control and the user's own metadata, within one server."""
        store_with_facts(pair, tags=pair.here.has("tags"))

        pair.run("sync")

        assert_facts(pair, tags=pair.here.has("tags"))

    def test_metadata_and_headers_travel_between_servers(self, apart: Pair) -> None:
        """Where the bytes stream through here, all that an object carries comes along."""
        store_with_facts(apart, tags=False)

        ended = apart.run("sync")

        assert ended.status == 0, ended.err
        assert_facts(apart, tags=False)

    def test_tags_travel_between_servers(self, tmp_path: Path, moto: S3Server) -> None:
        """Two endpoints that both know tags."""
        with start_moto() as other:
            pair = make_pair(tmp_path, moto, other)
            store_with_facts(pair, tags=True)

            ended = pair.run("sync")

            assert ended.status == 0, ended.err
            assert_facts(pair, tags=True)

    def test_two_servers_end_up_equal(self, apart: Pair) -> None:
        """Small and multipart objects stream, and the second run has nothing to do."""
        apart.put("small.jpg", b"x")
        apart.put("large.bin", bytes(range(256)) * 40_000)

        first, second = apart.run("sync"), apart.run("sync")

        assert first.status == 0, first.err
        assert get(apart.there, apart.public, "out/large.bin") == bytes(range(256)) * 40_000
        assert second.changed_nothing

    def test_two_accounts_of_one_server(self, tmp_path: Path, moto: S3Server) -> None:
        """A store with a profile of its own: the copies are written with its key."""
        with start_rclone(tmp_path / "disk") as other:
            (tmp_path / "disk").mkdir(exist_ok=True)
            there = S3Server("rclone", other.endpoint_url)
            pair = make_pair(tmp_path, moto, there)
            pair.machine.extra["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "credentials")
            (tmp_path / "credentials").write_text(
                f"[public]\naws_access_key_id = {there.access_key}\naws_secret_access_key = {there.secret_key}\n"
            )
            with pair.machine.config.open("a") as file:
                file.write('profile = "public"\n')
            pair.machine.extra |= {"AWS_ACCESS_KEY_ID": "of-moto-only", "AWS_SECRET_ACCESS_KEY": "wrong-for-rclone"}
            pair.put("a.jpg")

            ended = pair.run("sync")

            assert ended.status == 0, ended.err
            assert pair.copied() == {"a.jpg": 5}


class TestManifest:
    def test_slaves_may_follow_the_mirror(self, pair: Pair, tmp_path: Path) -> None:
        """A mirror of a pushed prefix has a manifest of its own objects: links, modes and times arrive."""
        source, target = tmp_path / "site", tmp_path / "srv/site"
        make_tree(source, {"index.html": b"hello", "bin/run": b"#!/bin/sh\n", "empty": None})
        (source / "bin/run").chmod(0o755)
        (source / "link").symlink_to("index.html")
        target.parent.mkdir()
        pair.write_map(master=str(source))
        pushed = pair.run("sync", "--role", "master", "--update-maps")
        mirrored = pair.run("sync")
        put(
            pair.there,
            pair.public,
            "maps/web.json",
            json.dumps([{"name": "WEB", "s3": f"{pair.public}/out", "slave": str(target)}]).encode(),
        )
        slave = Machine(tmp_path / "slave", pair.there)
        slave.write_config("slave", f"{pair.public}/maps", allow=[target.parent])

        pulled = slave.run("sync", "--verify")

        assert [ended.status for ended in (pushed, mirrored, pulled)] == [0, 0, 0], mirrored.err + pulled.err
        assert snapshot(target) == snapshot(source)

    def test_the_manifest_comes_after_the_objects_and_before_deletions(
        self, watched: tuple[Pair, FaultProxy], tmp_path: Path
    ) -> None:
        """Whoever reads the mirror by its manifest never misses a file."""
        pair, proxy = watched
        source = tmp_path / "site"
        make_tree(source, {"a": b"1", "b": b"2"})
        pair.write_map(master=str(source))
        pair.run("sync", "--role", "master", "--update-maps")
        pair.run("sync")
        (source / "a").unlink()
        make_tree(source, {"c": b"3"})
        pair.run("sync", "--role", "master")
        proxy.clear()

        ended = pair.run("sync")

        assert ended.status == 0, ended.err
        order = [
            "copy" if is_copy(request) else "head" if request.key.endswith("head.json") else request.method
            for request in proxy.requests
            if request.method in ("PUT", "DELETE") and "manifest-" not in request.key
        ]
        assert order[:4] == ["head", "copy", "head", "DELETE"]

    def test_a_push_under_way_leaves_the_mirror_as_it_was(self, pair: Pair, tmp_path: Path) -> None:
        """The source is between two generations: status 75, try again later."""
        source = tmp_path / "site"
        make_tree(source, {"a": b"1"})
        pair.write_map(master=str(source))
        pair.run("sync", "--role", "master", "--update-maps")
        pair.run("sync")
        head = json.loads(get(pair.here, pair.working, "in/.s32s/head.json"))
        head["push"] = {"writer": "w", "host": "desk", "started": "2026-01-01T00:00:00Z"}
        put(pair.here, pair.working, "in/.s32s/head.json", json.dumps(head).encode())
        pair.put("a", b"half")

        ended = pair.run("sync")

        assert_failed(ended, 75, says="unfinished push by desk")
        assert get(pair.there, pair.public, "out/a") == b"1"

    def test_a_stale_manifest_is_not_carried_on(self, pair: Pair, tmp_path: Path) -> None:
        """Another tool wrote behind the manifest of the source: an error, and the mirror stays."""
        source = tmp_path / "site"
        make_tree(source, {"a": b"1"})
        pair.write_map(master=str(source))
        pair.run("sync", "--role", "master", "--update-maps")
        pair.put("a", b"other")

        ended = pair.run("sync")

        assert_failed(ended, 1, says="not those of the manifest")
        assert pair.copied() == {}

    def test_a_manifest_that_is_gone_is_an_alarm(self, pair: Pair, tmp_path: Path) -> None:
        """Without it modes, times and links would be lost to whoever follows the mirror."""
        source = tmp_path / "site"
        make_tree(source, {"a": b"1"})
        pair.write_map(master=str(source))
        pair.run("sync", "--role", "master", "--update-maps")
        pair.run("sync")
        pair.here.client().delete_object(Bucket=pair.working, Key="in/.s32s/head.json")

        ended = pair.run("sync")

        assert_failed(ended, 1, says="is gone")


class TestWhatDecides:
    """Size, ETag, and where ETags cannot be compared the times."""

    def test_the_etag_decides_where_both_are_md5(self, tmp_path: Path, moto: S3Server) -> None:
        """Same size, another content."""
        pair = make_pair(tmp_path, moto, moto)
        pair.put("a.jpg", b"11111")
        pair.run("sync")
        pair.put("a.jpg", b"22222")

        ended = pair.run("dryrun")

        assert "~ modified" in ended.out
        assert "a.jpg  (ETag)" in ended.out

    def test_drift_at_the_mirror_is_found(self, tmp_path: Path, moto: S3Server) -> None:
        """Somebody has replaced the copy, later and with the same size."""
        pair = make_pair(tmp_path, moto, moto)
        pair.put("a.jpg", b"11111")
        pair.run("sync")
        put(moto, pair.public, "out/a.jpg", b"drift")

        ended = pair.run("sync")

        assert ended.status == 0, ended.err
        assert "1 modified" in ended.out
        assert get(moto, pair.public, "out/a.jpg") == b"11111"

    def test_an_object_of_parts_is_copied_once(self, tmp_path: Path, moto: S3Server) -> None:
        """Its ETag differs from that of its copy: after a copy it is up to date, with and without memory."""
        pair = make_pair(tmp_path, moto, moto)
        put_in_parts(moto, pair.working, "in/big.bin", b"a")

        first, second = pair.run("sync"), pair.run("dryrun")
        forget(pair)
        third = pair.run("dryrun", "--exit-code")

        assert "1 new" in first.out, first.err
        assert "up to date" in second.out
        # Moto gives both the same second, so without memory the copy may be older: then the rule says so.
        assert "up to date" in third.out or "the source is newer, and the ETags cannot be compared" in third.out

    def test_a_newer_object_of_parts_is_copied_again(self, tmp_path: Path, moto: S3Server) -> None:
        """The rule is named."""
        pair = make_pair(tmp_path, moto, moto)
        put_in_parts(moto, pair.working, "in/big.bin", b"a")
        pair.run("sync")
        put_in_parts(moto, pair.working, "in/big.bin", b"b")

        ended = pair.run("dryrun")

        assert "the source is newer, and the ETags cannot be compared" in ended.out

    def test_an_encrypted_copy_is_in_step(self, tmp_path: Path, moto: S3Server) -> None:
        """With KMS an ETag only looks like an MD5, so another one proves no drift."""
        pair = make_pair(tmp_path, moto, moto)
        pair.put("a.jpg", b"11111")
        pair.run("sync")
        wait_for_the_next_second()
        moto.client().put_object(
            Bucket=pair.public, Key="out/a.jpg", Body=b"22222", ServerSideEncryption="aws:kms", SSEKMSKeyId="k"
        )

        ended = pair.run("dryrun")

        assert "up to date" in ended.out, ended.out


class TestBadInput:
    def test_a_mirror_onto_itself(self, pair: Pair) -> None:
        """Refused: it would feed on itself."""
        pair.write_map(mirror=f"{pair.working}/in")

        assert_failed(pair.run("sync"), 3, says="feed on itself")

    @pytest.mark.parametrize("inner", ["in/copy", ""])
    def test_a_mirror_into_its_own_prefix(self, tmp_path: Path, moto: S3Server, inner: str) -> None:
        """Refused, in either direction."""
        pair = make_pair(tmp_path, moto, moto)
        pair.write_map(mirror=f"{pair.working}/{inner}".rstrip("/"))

        assert_failed(pair.run("sync"), 3, says="feed on itself")

    def test_the_same_names_on_two_servers(self, tmp_path: Path, moto: S3Server, rclone: S3Server) -> None:
        """A bucket of the same name elsewhere is another bucket."""
        pair = make_pair(tmp_path, moto, rclone)
        make_bucket(rclone, pair.working)
        pair.write_map(mirror=f"backup:{pair.working}/in")
        pair.put("a.jpg")

        ended = pair.run("sync")

        assert ended.status == 0, ended.err
        assert get(rclone, pair.working, "in/a.jpg") == b"photo"

    def test_a_mirror_over_the_maps(self, pair: Pair) -> None:
        """Its sync would delete them."""
        pair.write_map(mirror=f"{pair.working}/maps")
        pair.put("a.jpg")

        assert_failed(pair.run("sync"), 3, says="maps")

    def test_a_mirror_over_what_a_master_pushes(self, pair: Pair) -> None:
        """Two writers on one prefix."""
        other = {"name": "SITE", "s3": f"{pair.public}/out/site", "master": "/home/me/site"}
        put(pair.here, pair.working, "maps/other.json", json.dumps([other]).encode())
        pair.put("a.jpg")

        assert_failed(pair.run("sync"), 3, says='"SITE"')

    def test_a_missing_source_bucket(self, pair: Pair) -> None:
        """The message says which of the two."""
        pair.write_map(s3="no-such-bucket-here/in")

        assert_failed(pair.run("sync"), 1, says="source no-such-bucket-here/in: the bucket no-such-bucket-here")

    def test_a_missing_destination_bucket(self, pair: Pair) -> None:
        """The message says which of the two."""
        pair.put("a.jpg")
        pair.write_map(mirror="no-such-bucket-there/out")

        assert_failed(pair.run("sync"), 1, says="mirror no-such-bucket-there/out: the bucket no-such-bucket-there")

    @pytest.mark.parametrize("side", ["source", "mirror"])
    def test_a_listing_that_is_denied(self, watched: tuple[Pair, FaultProxy], side: str) -> None:
        """The message says which of the two."""
        pair, proxy = watched
        pair.put("a.jpg")
        bucket = pair.working if side == "source" else pair.public
        prefix = "in/" if side == "source" else "out/"
        denied = Status(403, "AccessDenied")
        proxy.add(Rule(lambda asked: asked.bucket == bucket and asked.query.get("prefix", "") == prefix, denied))

        assert_failed(pair.run("sync"), 1, says=f"{side} {bucket}")

    @pytest.mark.parametrize("side", ["source", "mirror"])
    def test_a_copy_that_is_denied(self, watched: tuple[Pair, FaultProxy], side: str) -> None:
        """S3 says only "denied"; the message says which of the two."""
        pair, proxy = watched
        pair.put("a.jpg")
        proxy.add(Rule(is_copy, Status(403, "AccessDenied")))
        if side == "source":
            proxy.add(Rule(on("HEAD", "in/a.jpg"), Status(403, "AccessDenied")))

        ended = pair.run("sync")

        where = f"{pair.working}/in/a.jpg" if side == "source" else f"{pair.public}/out/a.jpg"
        assert_failed(ended, 1, says=where)

    def test_an_object_deleted_between_listing_and_copying(self, watched: tuple[Pair, FaultProxy]) -> None:
        """It is listed again, and the mirror ends up as the source then is."""
        pair, proxy = watched
        for path in ("a.jpg", "b.jpg"):
            pair.put(path)
        client = pair.here.client()
        proxy.add(
            Rule(
                lambda asked: is_copy(asked) and asked.key == "out/b.jpg",
                Do(lambda: client.delete_object(Bucket=pair.working, Key="in/b.jpg")),
                times=1,
            )
        )

        ended = pair.run("sync")

        assert ended.status == 0, ended.err
        assert "starting over" in ended.err
        assert pair.copied() == {"a.jpg": 5}

    def test_an_object_replaced_between_listing_and_copying(self, watched: tuple[Pair, FaultProxy]) -> None:
        """Moto ignores the condition of a copy, as others do; the copy is looked at all the same."""
        pair, proxy = watched
        pair.put("a.jpg", b"first")
        proxy.add(Rule(is_copy, Do(lambda: pair.put("a.jpg", b"other, and longer")), times=1))

        ended = pair.run("sync")

        assert ended.status == 0, ended.err
        assert "starting over" in ended.err
        assert get(pair.there, pair.public, "out/a.jpg") == b"other, and longer"

    def test_an_empty_source(self, pair: Pair) -> None:
        """No objects at all: nothing is deleted."""
        put(pair.there, pair.public, "out/a.jpg", b"kept")

        ended = pair.run("sync")

        assert_failed(ended, 3, says="nothing has been pushed")
        assert pair.copied() == {"a.jpg": 4}

    def test_deletions_that_fail_are_named_one_by_one(self, watched: tuple[Pair, FaultProxy], tmp_path: Path) -> None:
        """A failure inside a batch."""
        pair, proxy = watched
        pair.put("a.jpg")
        for name in ("x", *(f"y{number}" for number in range(20))):
            put(pair.there, pair.public, f"out/{name}.jpg", b"old")
        answer = (
            b'<?xml version="1.0" encoding="UTF-8"?><DeleteResult><Error><Key>out/x.jpg</Key>'
            b"<Code>AccessDenied</Code><Message>Object Lock</Message></Error></DeleteResult>"
        )
        proxy.add(Rule(lambda asked: "delete" in asked.query, rewrite(answer)))

        ended = pair.run("sync", "--force-delete", "--report", str(tmp_path / "report"))

        assert_failed(ended, 1, says='"x.jpg": AccessDenied Object Lock')
        assert (tmp_path / "report/PHOTOS/error.txt").read_text() == "x.jpg\tAccessDenied Object Lock\n"

    def test_keys_that_no_directory_could_hold(self, tmp_path: Path, moto: S3Server) -> None:
        """Refused by name, before anything is copied."""
        pair = make_pair(tmp_path, moto, moto)
        pair.put("a.jpg")
        pair.put("../b.jpg")

        ended = pair.run("sync")

        assert_failed(ended, 3, says="../b.jpg")
        assert pair.copied() == {}


# -- what the tests share ----------------------------------------------------------------------------------------------


def rewrite(body: bytes) -> Any:
    """An answer of this body, whatever the server said."""
    from support.faultproxy import Rewrite

    return Rewrite(lambda status, headers, old: (200, headers, body))


def store_with_facts(pair: Pair, *, tags: bool) -> None:
    """An object that carries all that one can carry."""
    pair.here.client().put_object(
        Bucket=pair.working,
        Key="in/a.jpg",
        Body=b"photo",
        ContentType="image/jpeg",
        CacheControl="max-age=60",
        ContentDisposition="inline",
        ContentLanguage="it",
        Metadata={"photographer": "ada"},
        **({"Tagging": "store=rome&kind=menu%20card"} if tags else {}),  # type: ignore[arg-type] # optional
    )


def assert_facts(pair: Pair, *, tags: bool) -> None:
    """The copy carries the same."""
    client = pair.there.client()
    facts = client.head_object(Bucket=pair.public, Key="out/a.jpg")
    assert facts["ContentType"] == "image/jpeg"
    assert facts["CacheControl"] == "max-age=60"
    assert facts["ContentDisposition"] == "inline"
    assert facts["ContentLanguage"] == "it"
    assert {name.lower(): value for name, value in facts["Metadata"].items()}["photographer"] == "ada"
    if tags:
        found = client.get_object_tagging(Bucket=pair.public, Key="out/a.jpg")["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in found} == {"store": "rome", "kind": "menu card"}


def put_in_parts(server: S3Server, bucket: str, key: str, letter: bytes) -> None:
    """An object whose ETag counts its parts."""
    client = server.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    parts: Any = []
    for number, data in enumerate((letter * 5 * 1024 * 1024, letter * 100), start=1):
        answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def wait_for_the_next_second() -> None:
    """S3 tells when an object was stored in whole seconds."""
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.01)


def forget(pair: Pair) -> None:
    """Delete the state: it is only a cache."""
    for file in (pair.machine.root / "state").glob("state.db*"):
        file.unlink()


def test_keys_that_only_a_file_system_minds_are_mirrored(tmp_path: Path, moto: S3Server) -> None:
    """A long segment, many directories, a name of our locks: nothing of it touches a disk here."""
    pair = make_pair(tmp_path, moto, moto)
    names = ["n" * 300, "/".join("d" * 140), ".s32s-lock-x"]
    for name in names:
        pair.put(name)

    ended = pair.run("sync")

    assert ended.status == 0, ended.err
    assert sorted(pair.copied()) == sorted(names)
    pair.put("../x")
    assert_failed(pair.run("sync"), 3, says="not safe relative paths")
