"""What a tree may hold, and how it arrives."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checks import assert_failed, assert_untouched, left_overs
from support.faultproxy import FaultProxy, on
from support.machine import Loop
from support.servers import S3Server, get, keys, put, put_many
from support.trees import Link, awkward_names, make_tree, random_tree, snapshot

from s32s.agent.state import State
from s32s.config.settings import Directories
from s32s.stores.local.stat_cache import StatCache, stamp


def both(loop: Loop, *arguments: str) -> None:
    """Push and pull, and both must succeed."""
    pushed = loop.push(*arguments)
    assert pushed.status == 0, pushed.err
    pulled = loop.pull(*arguments)
    assert pulled.status == 0, pulled.err


def inodes(root: Path) -> dict[str, int]:
    """Inode of every file, by relative path."""
    return {str(path.relative_to(root)): path.lstat().st_ino for path in root.rglob("*") if not path.is_dir()}


@pytest.fixture
def on_moto(request: pytest.FixtureRequest, loop: Loop) -> Iterator[Loop]:
    """A loop on the server that can hold any key."""
    loop.server.needs("keys of any kind", "conditional writes")
    return loop


def test_every_awkward_name_arrives_byte_for_byte(loop: Loop) -> None:
    """Blanks, percent signs, quotes, back-slashes, emoji, NFC and NFD twins, 255 bytes …"""
    room = 1024 - len("data/web/")
    names = [name for name in awkward_names() if len(name.encode()) <= room]
    make_tree(loop.source, {name: name.encode() for name in names})

    both(loop)

    assert snapshot(loop.target) == snapshot(loop.source)
    assert len(snapshot(loop.target)) >= len(names) > 100


def test_random_trees_stay_equal_over_many_changes(loop: Loop) -> None:
    """Files become directories and back, links come and go, and each round ends exact and quiet."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(4):
        for path in sorted(loop.source.rglob("*"), reverse=True):
            if rng.random() < 0.4:
                if path.is_symlink() or not path.is_dir():
                    path.unlink()
                elif not any(path.iterdir()):
                    path.rmdir()
        make_tree(loop.source, {f"r{rng.randrange(10**9)}/{name}": data for name, data in random_tree(rng, 20).items()})
        both(loop, "--force-delete")

        assert snapshot(loop.target) == snapshot(loop.source)
        assert loop.pull().changed_nothing


def test_modes_times_links_and_empty_directories_travel(loop: Loop) -> None:
    """What the master recorded is what the slave has."""
    make_tree(loop.source, {"bin/run": b"#!", "secret/key": b"k", "empty/deep": None, "bin/ln": Link("run")})
    (loop.source / "bin/run").chmod(0o755)
    (loop.source / "secret").chmod(0o700)
    (loop.source / "secret/key").chmod(0o400)
    os.utime(loop.source / "bin/run", ns=(1, 1_234_567_890_123_456_789))

    both(loop)

    assert snapshot(loop.target) == snapshot(loop.source)


def test_a_change_of_mode_or_time_alone_moves_no_bytes_and_spares_the_old_inode(
    proxied: Loop, proxy: FaultProxy
) -> None:
    """The live file is never re-stamped through a hard link: whoever has it open sees it as it was."""
    make_tree(proxied.source, {"a.txt": b"a", "b.txt": b"b"})
    both(proxied)
    proxy.clear()
    (proxied.source / "a.txt").chmod(0o600)
    os.utime(proxied.source / "b.txt", ns=(5, 5))

    with (proxied.target / "a.txt").open() as held:
        both(proxied)
        kept = os.fstat(held.fileno()).st_mode

    assert snapshot(proxied.target) == snapshot(proxied.source)
    assert kept & 0o777 == 0o644
    assert proxy.count(lambda asked: asked.key.endswith("a.txt") or asked.key.endswith("b.txt")) == 0


def test_unchanged_files_keep_their_inode_and_are_not_uploaded_again(proxied: Loop, proxy: FaultProxy) -> None:
    """A new tree is made of links to what is the same."""
    make_tree(proxied.source, {"same.txt": b"same", "d/same.txt": b"same too", "changes.txt": b"1"})
    both(proxied)
    before = inodes(proxied.target)
    proxy.clear()
    make_tree(proxied.source, {"changes.txt": b"22"})

    both(proxied)

    after = inodes(proxied.target)
    assert after["same.txt"] == before["same.txt"]
    assert after["d/same.txt"] == before["d/same.txt"]
    assert after["changes.txt"] != before["changes.txt"]
    uploads = [asked.key for asked in proxy.requests if asked.method == "PUT" and ".s32s" not in asked.key]
    assert uploads == ["data/web/changes.txt"]


def test_a_renamed_file_is_not_downloaded_again(proxied: Loop, proxy: FaultProxy) -> None:
    """The bytes lie in the old tree under another name."""
    make_tree(proxied.source, {"old.bin": b"z" * 100_000, "stays": b"s"})
    both(proxied)
    (proxied.source / "old.bin").rename(proxied.source / "new.bin")
    assert proxied.push().status == 0
    proxy.clear()

    assert proxied.pull().status == 0

    assert snapshot(proxied.target) == snapshot(proxied.source)
    assert proxy.count(on("GET", "data/web/new.bin")) == 0


def test_a_large_file_goes_in_parts_and_is_in_step_afterwards(proxied: Loop, proxy: FaultProxy) -> None:
    """Its ETag is not an MD5, and must not make the manifest look stale."""
    make_tree(proxied.source, {"large.bin": os.urandom(20_000_000), "small": b"s"})

    both(proxied)

    assert snapshot(proxied.target) == snapshot(proxied.source)
    assert proxy.count(lambda asked: "partNumber" in asked.query) >= 3
    assert proxied.push().changed_nothing
    assert proxied.pull("--verify").changed_nothing


def test_nothing_is_read_or_written_when_nothing_changed(proxied: Loop, proxy: FaultProxy) -> None:
    """A run without work is one request, and leaves the target alone."""
    make_tree(proxied.source, {"a.txt": b"a"})
    both(proxied)
    before = proxied.target.stat()
    proxy.clear()

    ended = proxied.pull()

    assert ended.changed_nothing
    assert [(asked.method, asked.key) for asked in proxy.requests] == [("GET", "data/web/.s32s/head.json")]
    after = proxied.target.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_drift_is_repaired(loop: Loop) -> None:
    """Edited, deleted and added files of the target, and an edit that restores the time stamp."""
    make_tree(loop.source, {"edited": b"1234", "deleted": b"d", "hidden": b"5678", "stays": b"s"})
    both(loop)
    (loop.target / "edited").write_bytes(b"4321")
    (loop.target / "deleted").unlink()
    (loop.target / "added").write_bytes(b"x")
    times = (loop.target / "hidden").stat()
    (loop.target / "hidden").write_bytes(b"8765")
    os.utime(loop.target / "hidden", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert loop.pull().status == 0

    assert snapshot(loop.target) == snapshot(loop.source)


def test_verify_finds_what_no_time_stamp_shows(loop: Loop) -> None:
    """A file whose bytes changed and whose index row was made to agree: only `--verify` reads it."""
    make_tree(loop.source, {"a.txt": b"1234"})
    os.utime(loop.source / "a.txt", ns=(10**18, 10**18))
    both(loop)
    (loop.source / "a.txt").write_bytes(b"4321")
    os.utime(loop.source / "a.txt", ns=(10**18, 10**18))
    state = State.open(Directories(loop.master.root / "state", loop.master.root / "cache"))
    known = state.stat_cache(str(loop.source)).get("a.txt")
    assert known is not None
    row = known._replace(stamp=stamp((loop.source / "a.txt").stat()), seen_ns=2 * 10**18)
    state.save_stat_cache(str(loop.source), StatCache([("a.txt", row)]))
    state.close()

    assert loop.push().changed_nothing
    both(loop, "--verify")

    assert (loop.target / "a.txt").read_bytes() == b"4321"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda at: os.mkfifo(at / "pipe"), '"pipe": it is a FIFO', id="a FIFO"),
        pytest.param(
            lambda at: socket.socket(socket.AF_UNIX).bind(str(at / "s")), '"s": it is a socket', id="a socket"
        ),
        pytest.param(lambda at: (at / "out").symlink_to("../x"), '"out": it is a symbolic link', id="a leaving link"),
        pytest.param(lambda at: (at / "etc").symlink_to("/etc"), '"etc": it is a symbolic link', id="an absolute link"),
        pytest.param(lambda at: (at / "a\nb").touch(), r'"a\nb": it contains the control', id="a newline"),
        pytest.param(lambda at: (at / "a\x1b[2Jb").touch(), r'"a\x1b[2Jb": it contains the control', id="an escape"),
        pytest.param(lambda at: os.mkdir(os.fsencode(at) + b"/\xff"), r'"\xff": it is not valid UTF-8', id="no UTF-8"),
        pytest.param(lambda at: (at / ".s32s").touch(), "belongs to s32s itself", id="a name of ours"),
    ],
)
def test_what_cannot_travel_is_named_and_fails_the_entry(loop: Loop, make: object, says: str) -> None:
    """Nothing is left out silently, and nothing is uploaded."""
    make_tree(loop.source, {"good": b"g"})
    assert callable(make)
    cwd = Path.cwd()
    os.chdir(loop.source)  # a socket's path is at most 108 bytes long
    try:
        make(Path())
    finally:
        os.chdir(cwd)

    ended = loop.push()

    assert_failed(ended, 1, says=says)
    assert "\x1b" not in ended.err
    assert keys(loop.server, loop.bucket, "data/") == {}


def test_what_is_ignored_may_be_anything(loop: Loop) -> None:
    """Ignored paths are not uploaded, not deleted at the prefix, and not kept by the slave."""
    loop.write_map(ignore=["*.tmp", "cache*"])
    make_tree(loop.source, {"a": b"a", "x.tmp": b"x", "cache/deep/f": b"f"})
    os.mkfifo(loop.source / "pipe.tmp")
    put(loop.server, loop.bucket, "data/web/theirs.tmp", b"t")

    both(loop)
    make_tree(loop.target, {"local.tmp": b"l"})
    assert loop.pull().status == 0

    assert snapshot(loop.target).keys() == {"a"}
    assert "data/web/theirs.tmp" in keys(loop.server, loop.bucket)


def test_files_are_all_that_travels(loop: Loop) -> None:
    """With `files` the prefix and the target hold only these."""
    loop.write_map(files=["a", "d/b"])
    make_tree(loop.source, {"a": b"a", "d/b": b"b", "d/other": b"o", "e/x": b"x"})

    both(loop)

    assert {name for name, entry in snapshot(loop.target).items() if entry.kind != "dir"} == {"a", "d/b"}
    assert {key for key in keys(loop.server, loop.bucket, "data/") if ".s32s" not in key} == {
        "data/web/a",
        "data/web/d/b",
    }


def test_a_listed_file_that_is_missing_fails_the_entry(loop: Loop) -> None:
    """Nothing changes, on the master and on the slave."""
    make_tree(loop.source, {"a": b"a", "b": b"b"})
    both(loop)
    before = snapshot(loop.target)
    loop.write_map(files=["a", "gone"])

    assert_failed(loop.push("--update-maps"), 1, says='"gone"')
    assert_failed(loop.pull("--update-maps"), 1, says='"gone"')
    assert_untouched(loop, before)


@pytest.mark.parametrize("state", ["empty", "missing"])
def test_a_source_that_is_empty_or_missing_is_refused(loop: Loop, state: str) -> None:
    """The classic way to wipe a fleet."""
    make_tree(loop.source, {"a": b"a"})
    both(loop)
    before = keys(loop.server, loop.bucket)
    (loop.source / "a").unlink()
    if state == "missing":
        loop.source.rmdir()

    ended = loop.push()

    assert_failed(ended, 3, says="the source")
    assert keys(loop.server, loop.bucket) == before


def test_too_many_deletions_are_refused_until_forced(loop: Loop) -> None:
    """`max_delete` counts against what the destination holds now."""
    make_tree(loop.source, {f"f{number}": b"x" for number in range(30)})
    both(loop)
    for number in range(20):
        (loop.source / f"f{number}").unlink()

    assert_failed(loop.push(), 3, says="20 of 30 files would be deleted")
    assert loop.push("--force-delete").status == 0
    before = snapshot(loop.target)
    assert_failed(loop.pull(), 3, says="max_delete")
    assert_untouched(loop, before)
    assert loop.pull("--force-delete").status == 0
    assert snapshot(loop.target) == snapshot(loop.source)


def test_more_than_a_batch_of_deletions(on_moto: Loop) -> None:
    """DeleteObjects takes 1,000 keys."""
    loop = on_moto
    put_many(loop.server, loop.bucket, [f"data/web/{number}" for number in range(1001)])
    make_tree(loop.source, {"only": b"o"})

    assert loop.push("--force-delete").status == 0

    assert {key for key in keys(loop.server, loop.bucket, "data/") if ".s32s" not in key} == {"data/web/only"}


def test_the_order_of_a_push(proxied: Loop, proxy: FaultProxy) -> None:
    """Claim, uploads, manifest, head, deletions: no reader misses a file that its manifest names."""
    make_tree(proxied.source, {"a": b"a", "b": b"b"})
    proxied.push()
    (proxied.source / "b").unlink()
    make_tree(proxied.source, {"c": b"c"})
    proxy.clear()

    assert proxied.push().status == 0

    writes = [
        "delete" if asked.method in ("POST", "DELETE") else asked.key.removeprefix("data/web/").split("-")[0]
        for asked in proxy.requests
        if asked.method != "GET"
    ]
    assert writes[:4] == [".s32s/head.json", "c", ".s32s/manifest", ".s32s/head.json"]
    assert set(writes[4:]) == {"delete"}


def test_a_prefix_of_another_tool_is_followed(loop: Loop) -> None:
    """Without a manifest the LIST is the source."""
    put(loop.server, loop.bucket, "data/web/index.html", b"hello")
    put(loop.server, loop.bucket, "data/web/css/site.css", b"body")
    put(loop.server, loop.bucket, "data/web2/not-mine", b"x")

    assert loop.pull().status == 0
    again = loop.pull()

    assert {name: entry.content for name, entry in snapshot(loop.target).items() if entry.kind != "dir"}.keys() == {
        "index.html",
        "css/site.css",
    }
    assert again.changed_nothing
    put(loop.server, loop.bucket, "data/web/index.html", b"HELLO")
    assert loop.pull().status == 0
    assert (loop.target / "index.html").read_bytes() == b"HELLO"


def test_objects_that_are_the_same_already_are_not_uploaded(proxied: Loop, proxy: FaultProxy) -> None:
    """A first push over another tool's objects compares by MD5, deletes what is too much, and publishes."""
    put(proxied.server, proxied.bucket, "data/web/same", b"same")
    put(proxied.server, proxied.bucket, "data/web/extra", b"extra")
    make_tree(proxied.source, {"same": b"same", "new": b"new"})
    proxy.clear()

    both(proxied)

    assert proxy.count(on("PUT", "data/web/same")) == 0
    assert snapshot(proxied.target) == snapshot(proxied.source)


def test_directory_markers_are_empty_directories(on_moto: Loop) -> None:
    """Consoles write them; they are not bad keys."""
    put(on_moto.server, on_moto.bucket, "data/web/", b"")
    put(on_moto.server, on_moto.bucket, "data/web/empty/", b"")
    put(on_moto.server, on_moto.bucket, "data/web/full/", b"")
    put(on_moto.server, on_moto.bucket, "data/web/full/f", b"f")

    assert on_moto.pull().status == 0

    assert snapshot(on_moto.target).keys() == {"empty", "full", "full/f"}
    assert on_moto.pull().changed_nothing


@pytest.mark.parametrize(
    "key",
    ["../up", "a/../../b", "/abs", "a//b", "./x", "trail/..", "m" * 256, "content/"],
)
def test_keys_that_are_no_safe_paths_are_refused_by_name(on_moto: Loop, key: str) -> None:
    """The whole entry is refused; a repaired name would be another name."""
    put(on_moto.server, on_moto.bucket, "data/web/good", b"g")
    put(on_moto.server, on_moto.bucket, f"data/web/{key}", b"evil")

    ended = on_moto.pull()

    assert_failed(ended, 3, says="not safe relative paths")
    assert not on_moto.target.exists()
    assert left_overs(on_moto) == []


def test_a_file_beside_a_directory_of_its_name_is_refused(on_moto: Loop) -> None:
    """`a` and `a/b`: no file system can hold both."""
    put(on_moto.server, on_moto.bucket, "data/web/a", b"file")
    put(on_moto.server, on_moto.bucket, "data/web/a/b", b"below")

    assert_failed(on_moto.pull(), 3, says='"a"')
    assert not on_moto.target.exists()


def test_without_a_manifest_nothing_of_ours_lies_on_s3(on_moto: Loop) -> None:
    """`"manifest": false` in both roles; empty directories travel as markers."""
    on_moto.write_map(manifest=False)
    make_tree(on_moto.source, {"a": b"a", "d/b": b"b", "empty": None})

    both(on_moto)
    (on_moto.source / "a").write_bytes(b"other")
    both(on_moto)

    assert set(keys(on_moto.server, on_moto.bucket, "data/")) == {"data/web/a", "data/web/d/b", "data/web/empty/"}
    assert {name: entry.content for name, entry in snapshot(on_moto.target).items() if entry.kind == "file"} == {
        name: entry.content for name, entry in snapshot(on_moto.source).items() if entry.kind == "file"
    }
    assert (on_moto.target / "empty").is_dir()
    assert on_moto.push().changed_nothing


def test_a_stale_manifest_is_noticed_and_healed(loop: Loop) -> None:
    """Another tool writes behind an unchanged head: the slave says so at its next comparison; a push heals it."""
    make_tree(loop.source, {"a": b"a", "b": b"b"})
    both(loop)
    before = snapshot(loop.target)
    put(loop.server, loop.bucket, "data/web/a", b"foreign")
    put(loop.server, loop.bucket, "data/web/strange", b"foreign")

    assert loop.pull().status == 0  # within the hour nobody looks
    ended = loop.pull("--verify")

    assert_failed(ended, 1, says='"a", "strange"')
    assert 's32s sync" on the master' in ended.err
    assert '"manifest": false' in ended.err
    assert_untouched(loop, before)
    both(loop, "--verify")
    assert snapshot(loop.target) == snapshot(loop.source)
    assert get(loop.server, loop.bucket, "data/web/a") == b"a"


@pytest.mark.parametrize(("every", "status"), [("0s", 1), ("never", 0)])
def test_list_every_says_how_often_manifest_and_objects_are_compared(loop: Loop, every: str, status: int) -> None:
    """`"0s"` is every run, `"never"` never."""
    make_tree(loop.source, {"a": b"a"})
    both(loop)
    loop.slave.write_config("slave", f"{loop.bucket}/maps", allow=[loop.target.parent], text=f'list_every = "{every}"')
    put(loop.server, loop.bucket, "data/web/strange", b"x")

    assert loop.pull().status == status


def test_in_place_changes_everything_but_the_directory_itself(on_moto: Loop) -> None:
    """For targets that cannot be exchanged; files and directories may even change places."""
    loop = on_moto  # the other server cannot hold `dir` while it still holds `dir/f`
    loop.write_map(apply="in-place")
    make_tree(loop.source, {"a": b"a", "dir/f": b"f", "swap": b"file", "old/deep/x": b"x", "ln": Link("a")})
    both(loop)
    before = loop.target.stat().st_ino
    for name in ("swap", "old/deep/x", "ln"):
        (loop.source / name).unlink()
    (loop.source / "old/deep").rmdir()
    (loop.source / "old").rmdir()
    (loop.source / "dir/f").unlink()
    (loop.source / "dir").rmdir()
    make_tree(loop.source, {"swap/inside": b"i", "dir": b"now a file", "a": b"aa", "new/e": None})

    both(loop, "--force-delete")

    assert snapshot(loop.target) == snapshot(loop.source)
    assert loop.target.stat().st_ino == before
    assert left_overs(loop) == []


def test_a_reader_of_the_old_directory_sees_the_old_tree(loop: Loop) -> None:
    """The exchange gives the name to another directory; the old one is emptied only after."""
    make_tree(loop.source, {"a": b"old"})
    both(loop)
    with (loop.target / "a").open("rb") as held:
        make_tree(loop.source, {"a": b"new"})
        both(loop)

        assert held.read() == b"old"
    assert (loop.target / "a").read_bytes() == b"new"


def test_an_unfinished_push_is_told_and_healed(loop: Loop) -> None:
    """A master killed in the middle: slaves keep their tree, `status` says so, the next push repairs."""
    make_tree(loop.source, {"a": b"a", "b": b"b"})
    both(loop)
    before = snapshot(loop.target)
    claim_head(loop.server, loop)
    put(loop.server, loop.bucket, "data/web/a", b"half pushed")

    ended = loop.pull("--verify")

    assert_failed(ended, 75, says="unfinished push")
    assert_untouched(loop, before)
    assert "unfinished push" in loop.slave.run("status").out
    assert "unfinished push" in loop.master.run("status").out
    assert_failed(loop.push(), 1, says="another master")
    assert loop.push("--take-over").status == 0
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)


def claim_head(server: S3Server, loop: Loop) -> None:
    """Write into the head what a push of another machine that died has left."""
    import json

    key = "data/web/.s32s/head.json"
    head = json.loads(get(server, loop.bucket, key))
    head["push"] = {"writer": "w", "host": "other-master", "started": "2026-01-01T00:00:00Z"}
    head["nonce"] = "other"
    put(server, loop.bucket, key, json.dumps(head).encode())


def test_in_a_versioned_bucket_a_generation_stays_readable(on_moto: Loop) -> None:
    """While objects are overwritten by an unfinished push, slaves read the versions of the last generation."""
    loop = on_moto
    client = loop.server.client()
    client.put_bucket_versioning(Bucket=loop.bucket, VersioningConfiguration={"Status": "Enabled"})
    make_tree(loop.source, {"a": b"first", "b": b"b"})
    assert loop.push().status == 0
    claim_head(loop.server, loop)
    put(loop.server, loop.bucket, "data/web/a", b"half pushed")

    ended = loop.pull()

    assert ended.status == 0, ended.err
    assert snapshot(loop.target) == snapshot(loop.source)


def test_two_masters_never_publish_unseen(loop: Loop) -> None:
    """Of masters that race, every one that reports success is the one whose files are there."""
    from support.machine import Machine

    other = Machine(loop.master.root.parent / "master2", loop.server)
    other.write_config("master", f"{loop.bucket}/maps")
    for turn in range(4):
        make_tree(loop.source, {"a": f"turn {turn}".encode(), f"f{turn}": b"x" * 1000})
        racing = [machine.start("sync") for machine in (loop.master, other)]
        errors = [process.communicate(timeout=60)[1] for process in racing]

        statuses = sorted(process.returncode for process in racing)
        assert statuses in ([0, 0], [0, 1]), errors
        if statuses == [0, 1]:
            lost = next(error for process, error in zip(racing, errors, strict=True) if process.returncode)
            assert "FAILED" in lost
            assert "Traceback" not in lost
        assert loop.push("--take-over").status == 0
        assert loop.pull("--verify").status == 0
        assert snapshot(loop.target) == snapshot(loop.source)


def test_a_manifest_that_is_gone_is_an_alarm(loop: Loop) -> None:
    """The head names it, so it must be there; a push writes it again."""
    make_tree(loop.source, {"a": b"a"})
    assert loop.push().status == 0
    key = next(key for key in keys(loop.server, loop.bucket, "data/") if "manifest-" in key)
    loop.server.client().delete_object(Bucket=loop.bucket, Key=key)

    assert_failed(loop.pull(), 1, says="names a manifest that is not there")
    assert not loop.target.exists()


def test_rejected_files_stay_behind_and_are_reported(loop: Loop, tmp_path: Path) -> None:
    """With `accept` only what fits a pattern is uploaded."""
    loop.write_map(accept=["stores/{slug}/{number}.jpg"])
    make_tree(loop.source, {"stores/rome/1.jpg": b"1", "stores/rome/x.jpg": b"x", "notes.txt": b"n"})

    assert loop.push("--report", str(tmp_path / "report")).status == 0

    assert {key for key in keys(loop.server, loop.bucket, "data/") if ".s32s" not in key} == {
        "data/web/stores/rome/1.jpg"
    }
    rejected = [line.split("\t")[0] for line in (tmp_path / "report/WEB/error.txt").read_text().splitlines()]
    assert rejected == ["notes.txt", "stores/rome/x.jpg"]


def test_odd_things_in_the_target_are_extras(loop: Loop) -> None:
    """Sockets, FIFOs and names that are not UTF-8: `copy` keeps them, `sync` removes them."""
    make_tree(loop.source, {"a": b"a"})
    both(loop)
    os.mkfifo(loop.target / "pipe")
    (loop.target / os.fsdecode(b"\xff\xfe")).write_bytes(b"?")
    (loop.target / "line\nbreak").write_bytes(b"?")
    make_tree(loop.source, {"b": b"b"})
    assert loop.push().status == 0

    assert loop.slave.run("copy").status == 0
    assert len(os.listdir(loop.target)) == 5
    shown = loop.slave.run("dryrun")
    assert "line\\nbreak" in shown.out
    assert "\\xff\\xfe" in shown.out
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("apply", ["swap", "in-place"])
def test_what_root_writes_belongs_to_the_owner_of_the_target(loop: Loop, apply: str) -> None:
    """A web server that runs as another user can read and change its files."""
    loop.write_map(apply=apply)
    make_tree(loop.source, {"a": b"a", "d/b": b"b", "ln": Link("a")})
    loop.target.mkdir()
    os.chown(loop.target, 1234, 2345)

    both(loop)
    make_tree(loop.source, {"a": b"aa", "new/c": b"c"})
    both(loop)

    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (loop.target, *loop.target.rglob("*"))}
    assert owners == {(1234, 2345)}


def test_a_new_target_is_readable_by_others(loop: Loop) -> None:
    """Where nobody recorded a mode, files get 0644 and directories 0755, whatever the umask of the service."""
    put(loop.server, loop.bucket, "data/web/d/f", b"f")
    before = os.umask(0o077)
    try:
        assert loop.pull().status == 0
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (loop.target, *loop.target.rglob("*"))}
    assert modes == {"site": 0o755, "d": 0o755, "f": 0o644}
