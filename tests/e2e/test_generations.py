"""The packed layout with real servers and the installed command: push, pull, look back, go back, convert."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.faultproxy import FaultProxy, Rule, Status, on
from support.machine import Ended, Loop, Machine, make_loop
from support.network import make_certificate, tls_front
from support.servers import S3Server, get, keys, put
from support.trees import make_tree, snapshot

from s32s.format import packs

TREE = {"index.html": b"hello", "css/site.css": b"body {}", "empty": None, "odd/ä %+": b"x", "none": b""}


@pytest.fixture
def packed(tmp_path: Path, server: S3Server, bucket: str) -> Loop:
    """A master and a slave of an entry in the packed layout."""
    loop = make_loop(tmp_path, server, bucket)
    loop.write_map(layout="packed", keep=3)
    make_tree(loop.source, TREE)
    return loop


def made_of(root: Path) -> dict[str, bytes | None]:
    """A directory as `make_tree` takes it, but for directories with files."""
    found: dict[str, bytes | None] = {}
    for path in root.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
        elif not any(path.iterdir()):
            found[str(path.relative_to(root))] = None
    return found


def stored_at(loop: Loop) -> dict[str, bytes]:
    """All objects of the prefix."""
    return {key: get(loop.server, loop.bucket, key) for key in keys(loop.server, loop.bucket, loop.prefix)}


def told(ended: Ended, event: str) -> list[dict[str, object]]:
    """Lines of one kind."""
    assert ended.status == 0, ended.err
    return [line for line in ended.lines if line["event"] == event]


def test_push_pull_and_look_back(packed: Loop) -> None:
    """What a person does with generations, from the first push on."""
    master = packed.master.run
    assert told(master("log", "WEB", "--json"), "generation") == []
    assert packed.push("--message", "the first").status == 0
    assert packed.pull().status == 0
    assert snapshot(packed.target) == snapshot(packed.source)
    assert packed.push().changed_nothing
    assert packed.pull().changed_nothing

    (packed.source / "index.html").write_bytes(b"changed")
    (packed.source / "css/site.css").unlink()
    assert packed.push().status == 0
    assert packed.pull().status == 0
    assert snapshot(packed.target) == snapshot(packed.source)

    log = told(master("log", "WEB", "--json"), "generation")
    assert [(one["generation"], one["current"], one["message"]) for one in log] == [
        (2, True, ""),
        (1, False, "the first"),
    ]
    assert (log[0]["new"], log[0]["modified"], log[0]["deleted"]) == (0, 1, 1)
    shown = master("log", "WEB").out
    assert "the first" in shown, shown
    here = {"TZ": "ABC-5:30"}
    moment = datetime.datetime.fromisoformat(str(log[0]["published"])) + datetime.timedelta(hours=5, minutes=30)
    shown = master("log", "WEB", environment=here).out
    assert "TIME (ABC)" in shown, shown
    assert f"{moment:%Y-%m-%d %H:%M:%S}" in shown, shown
    assert "LAST RUN (ABC)" in master("status", environment=here).out
    assert told(master("log", "WEB", "--json", environment=here), "generation")[0]["published"] == log[0]["published"]
    assert "2*" in shown
    differ = told(master("diff", "WEB", "--json"), "difference")
    assert [(one["path"], one["what"]) for one in differ] == [("css/site.css", "deleted"), ("index.html", "modified")]
    assert [(one["kind"], one["kind_before"]) for one in differ] == [("file", "file")] * 2
    assert ["reason" in one for one in differ] == [False, True]

    back = packed.source.parent / "back"
    assert told(master("restore", "WEB", "css", "--generation", "1", "--to", str(back), "--json"), "restored")
    assert (back / "css/site.css").read_bytes() == b"body {}"
    assert_failed(
        master("restore", "WEB", "index.html", "--generation", "1"), 3, says=("other content", "--yes replaces")
    )
    assert master("restore", "WEB", "index.html", "--generation", "1", "--yes").status == 0
    assert (packed.source / "index.html").read_bytes() == b"hello"
    assert_failed(master("restore", "WEB", "nothing"), 2, says='generation 2 has no "nothing"; see s32s diff WEB')
    restored = master("restore", "WEB", "index.html", "--generation", "1", "--json").lines
    assert [(one["event"], one["restored"], one["unchanged"]) for one in restored] == [("restore", 0, 1)]
    assert (restored[0]["bytes"], restored[0]["to"]) == (0, str(packed.source))
    some = packed.source.parent / "some"
    one = master("restore", "WEB", "css", "none", "--generation", "1", "--to", str(some)).out
    assert one.splitlines()[-1] == f"WEB: 2 files (7 B) restored from generation 1 to {some}", one
    (some / "none").unlink()
    one = master("restore", "WEB", "css", "none", "--generation", "1", "--to", "some").out
    assert one.splitlines()[-1] == f"WEB: 1 file (0 B) restored from generation 1 to {some}; 1 file there as then", one
    one = master("restore", "WEB", "css", "none", "--generation", "1", "--to", str(some)).out
    assert one == f"WEB: nothing to restore to {some}: 2 files of generation 1 are there as they were\n"
    whole = packed.source.parent / "whole"
    restored = master("restore", "WEB", ".", "--generation", "1", "--to", str(whole), "--json").lines
    assert restored[-1]["generation"] == 1
    assert made_of(whole) == TREE

    in_the_way = packed.source.parent / "in-the-way"
    make_tree(in_the_way, {"index.html/a": b"", "css": b"a file"})
    blocked = master("restore", "WEB", ".", "--generation", "1", "--to", str(in_the_way), "--yes")
    assert_failed(blocked, 3, says=("cannot be restored there", "index.html", "css/site.css", "--to DIR"))
    assert "--force-delete" not in blocked.err
    assert sorted(os.listdir(in_the_way)) == ["css", "index.html"]
    blocked = master("restore", "WEB", "index.html", "--generation", "1", "--to", str(in_the_way))
    assert_failed(blocked, 3, says=("cannot be restored there", "--to DIR"))

    assert told(master("rollback", "WEB", "--json"), "rolled_back")[0]["to"] == 1
    assert packed.pull().status == 0
    assert (packed.target / "index.html").read_bytes() == b"hello"
    assert (packed.target / "css/site.css").read_bytes() == b"body {}"
    assert_failed(master("rollback", "WEB", "9"), 3, says="generation 9 is not kept; 1 to 3 are; see s32s log WEB;")
    assert_failed(master("rollback", "WEB", "3"), 3, says="is the current one; s32s log WEB shows")
    assert_failed(packed.slave.run("rollback", "WEB"), 3, says="no earlier tree")


def test_many_restored_paths_are_named_where_that_is_asked_for(packed: Loop) -> None:
    """As by other commands; the last line says how many came."""
    make_tree(packed.source, {f"many/{number}": b"" for number in range(30)})
    assert packed.push().status == 0
    for words, named in (((), 0), (("-v",), 30)):
        shutil.rmtree(packed.source / "many")
        told_of = packed.master.run("restore", "WEB", "many", *words).out
        assert told_of.count("restored  many/") == named
        assert "WEB: 30 files (0 B) restored from generation 1 to" in told_of


def test_prune_verify_heal_and_rebuild(packed: Loop) -> None:
    """What keeps a prefix sound."""
    master = packed.master.run
    for text in (b"1", b"2", b"3", b"4"):
        (packed.source / "index.html").write_bytes(text)
        assert packed.push().status == 0
    assert [one["generation"] for one in told(master("log", "WEB", "--json"), "generation")] == [4, 3, 2]
    assert_failed(master("prune", "WEB", "--keep", "1"), 3, says="--yes")
    pruned = told(master("prune", "WEB", "--keep", "1", "--yes", "--grace", "0s", "--json"), "pruned")[0]
    assert pruned["generations"] == [3, 2]
    before = stored_at(packed)
    assert master("prune", "WEB", "--grace", "0s").out == "WEB: nothing to delete\n"
    assert stored_at(packed) == before
    assert told(master("verify", "WEB", "--json"), "verified")[0]["damaged"] == {}
    assert "none damaged" in master("verify", "WEB").out

    stored = keys(packed.server, packed.bucket, f"{packed.prefix}/{packs.PACKS}")
    for key in stored:
        if stored[key] < 400:
            put(packed.server, packed.bucket, key, b"x" * stored[key])
    damaged = master("verify", "WEB")
    assert damaged.status == 1
    assert "generation 4: " in damaged.out, damaged.out
    assert "s32s verify WEB --heal" in damaged.err, damaged.err
    (packed.source / "new").write_bytes(b"not pushed yet")
    (packed.source / "odd/ä %+").write_bytes(b"changed")
    healed = master("verify", "WEB", "--heal", "--json")
    assert healed.status == 1, healed.out + healed.err
    (line,) = [line for line in healed.lines if line["event"] == "healed"]
    assert line["generation"] == 5
    assert line["paths"] == ["css/site.css", "index.html"]
    assert line["left"] == {"odd/ä %+": "the directory has other content there"}
    (packed.source / "odd/ä %+").write_bytes(b"x")
    healed = master("verify", "WEB", "--heal")
    assert healed.status == 0, healed.out + healed.err
    assert "generation 6 takes the place of the damaged one; 1 path is whole again" in healed.out
    log = told(master("log", "WEB", "--json"), "generation")
    assert [(one["generation"], one["new"], one["modified"], one["deleted"]) for one in log] == [(6, 0, 0, 0)]
    assert master("verify", "WEB").status == 0
    (packed.source / "new").unlink()
    assert packed.push().status == 0
    assert packed.pull().status == 0
    assert snapshot(packed.target) == snapshot(packed.source)

    assert_failed(master("verify", "WEB", "--rebuild"), 3, says="there is nothing to rebuild")
    put(packed.server, packed.bucket, f"{packed.prefix}/.s32s/head.json", b"{")
    assert_failed(packed.pull(), 1, says=("damaged", "s32s verify WEB --rebuild"))
    for machine in (packed.master, packed.slave):
        shown = machine.run("status")
        assert_failed(shown, 1, says="s32s verify WEB --rebuild")
        assert "unreachable" not in shown.out
        assert ("head unreadable" in shown.out) == (machine is packed.master)  # of the slave, the pull has failed
    rebuilt = told(master("verify", "WEB", "--rebuild", "--json"), "rebuilt")[0]
    assert rebuilt["generation"] == 7
    (packed.source / "index.html").write_bytes(b"5")
    assert packed.push().status == 0
    assert packed.pull().status == 0
    assert (packed.target / "index.html").read_bytes() == b"5"


def test_from_one_layout_to_the_other_and_back(tmp_path: Path, server: S3Server, bucket: str) -> None:
    """The other layout is complete before the head moves, and nothing else in the prefix is touched."""
    loop = make_loop(tmp_path, server, bucket)
    loop.write_map()
    make_tree(loop.source, TREE)
    assert loop.push().status == 0
    assert loop.pull().status == 0
    put(server, bucket, f"{loop.prefix}/of-others.txt", b"theirs")
    assert_failed(loop.master.run("log", "WEB"), 3, says=("plain layout", "s32s convert WEB --layout packed"))

    converted = loop.master.run("convert", "WEB", "--layout", "packed")
    assert converted.status == 0, converted.err
    assert 'now set "layout": "packed"' in converted.err
    names = [name.removeprefix(f"{loop.prefix}/") for name in keys(server, bucket, loop.prefix)]
    assert [name for name in names if not name.startswith(".s32s/")] == ["of-others.txt"]
    assert_failed(loop.pull(), 3, says=("packed layout", '"layout": "packed"'))
    assert_failed(loop.push(), 3, says="packed layout")

    loop.write_map(layout="packed")
    assert loop.push("--update-maps").changed_nothing
    (loop.source / "index.html").write_bytes(b"changed")
    assert loop.push().status == 0
    assert loop.pull("--update-maps").status == 0
    assert snapshot(loop.target) == snapshot(loop.source)

    converted = loop.master.run("convert", "WEB", "--layout", "plain", "--yes", "--json")
    assert converted.status == 0, converted.err
    assert_failed(loop.pull(), 3, says="plain layout")
    loop.write_map()
    (loop.source / "none").unlink()
    assert loop.push("--update-maps").status == 0
    assert loop.pull("--update-maps").status == 0
    assert snapshot(loop.target) == snapshot(loop.source)
    assert not [name for name in keys(server, bucket, loop.prefix) if packs.PACKS in name]


def test_a_message_that_no_generation_has_is_told(packed: Loop) -> None:
    """Whether nothing was pushed, or nothing ever is from here."""
    says = "the message is not recorded: "
    first = packed.push("--message", "the first")
    assert says not in first.err, first.err
    again = packed.push("--message", "again")
    assert again.status == 0
    assert f"WEB: {says}nothing was published" in again.err
    assert f"{says}a slave publishes nothing of its own" in packed.pull("--message", "m").err
    assert [one["message"] for one in told(packed.master.run("log", "WEB", "--json"), "generation")] == ["the first"]

    where = ("--endpoint-url", packed.server.endpoint_url, "--region", "us-east-1", "--message", "m")
    place, back = f"s3://{packed.bucket}/place", str(packed.source.parent / "back")
    run = packed.master.run
    assert says not in run("sync", str(packed.source), place, *where).err
    assert f"{says}nothing was published" in run("sync", str(packed.source), place, *where).err
    assert f"{says}only a push of a directory to a prefix" in run("sync", place, back, *where).err


def test_a_file_that_becomes_a_directory_is_in_the_log(packed: Loop) -> None:
    """Of a push, and of the way back."""
    assert packed.push().status == 0
    (packed.source / "none").unlink()
    (packed.source / "none").mkdir()
    assert "1 modified" in packed.push().out
    assert packed.master.run("rollback", "WEB", "1").status == 0
    log = told(packed.master.run("log", "WEB", "--json"), "generation")
    assert [(one["new"], one["modified"], one["deleted"]) for one in log[:2]] == [(0, 1, 0)] * 2


def test_who_publishes_is_not_behind(packed: Loop) -> None:
    """What a master publishes without a push is its own, and status compares its directory with that."""
    master = packed.master.run
    for text in (b"1", b"2", b"3"):
        (packed.source / "index.html").write_bytes(text)
        assert packed.push().status == 0
    assert packed.pull().status == 0

    assert master("rollback", "WEB", "1").status == 0
    assert "1 changed since the push" in master("status").out
    assert "1 generation behind" in packed.slave.run("status").out
    assert packed.push().status == 0
    assert "up to date" in master("status").out

    for key in keys(packed.server, packed.bucket, f"{packed.prefix}/{packs.PACKS}"):
        put(packed.server, packed.bucket, key, b"x" * keys(packed.server, packed.bucket, key)[key])
        if master("verify", "WEB").status:
            break
    assert master("verify", "WEB", "--heal").status == 0
    assert "up to date" in master("status").out
    assert packed.pull().status == 0

    assert master("convert", "WEB", "--layout", "plain", "--yes").status == 0
    assert "behind" not in master("status").out
    packed.write_map()
    assert master("maps", "update").status == 0
    assert "up to date" in master("status").out


def test_what_a_cut_conversion_has_left_is_told(packed: Loop, proxy: FaultProxy) -> None:
    """By status at once, by a push to a plain prefix, by prune and verify of packs; and one command removes it."""
    server, bucket, prefix = packed.server, packed.bucket, packed.prefix
    packed.write_map()
    assert packed.push().status == 0
    proxy.add(Rule(on("PUT", f"{prefix}/.s32s/head.json"), Status(403, "AccessDenied")))
    through = ("--set", f"s3.endpoint_url={proxy.endpoint_url}")
    failed = packed.master.run("convert", "WEB", "--layout", "packed", *through)
    assert_failed(failed, 1, says="denies access")
    status = packed.master.run("status")
    assert "interrupted" in status.out
    command = "s32s convert WEB --layout"
    says = f"conversion to the packed layout was cut off; {command} packed completes it, {command} plain undoes it"
    assert says in status.out
    assert f"has packs that nothing needs, left by a conversion that was cut off; {command} plain" in packed.push().err

    undone = packed.master.run("convert", "WEB", "--layout", "plain", "--yes")
    assert undone.status == 0, undone.err
    assert "objects that a conversion had left are deleted" in undone.out
    assert packs.PACKS not in "".join(keys(server, bucket, prefix))
    assert "packs" not in packed.push().err
    assert "up to date" in packed.master.run("status").out

    assert packed.master.run("convert", "WEB", "--layout", "packed").status == 0
    packed.write_map(layout="packed", keep=3)
    assert packed.master.run("maps", "update").status == 0
    assert "up to date" in packed.master.run("status").out
    put(server, bucket, f"{prefix}/index.html", TREE["index.html"])
    put(server, bucket, f"{prefix}/of-others.txt", b"theirs")
    says = f'2 objects beside the packs belong to no generation: "index.html", "of-others.txt"; {command} packed'
    for words in (("verify", "WEB"), ("prune", "WEB", "--yes")):
        ended = packed.master.run(*words)
        assert ended.status == 0, ended.err
        assert says in ended.err, ended.err
        assert packed.master.run(*words, "--json").lines[0]["beside"] == ["index.html", "of-others.txt"]
    undone = packed.master.run("convert", "WEB", "--layout", "packed")
    assert "1 object that a conversion had left is deleted" in undone.out, undone.out + undone.err
    left = [name.removeprefix(f"{prefix}/") for name in keys(server, bucket, prefix)]
    assert [name for name in left if not name.startswith(".s32s/")] == ["of-others.txt"]


def test_two_places_in_packs(packed: Loop) -> None:
    """Without a map; from prefix to prefix the packs go as they are."""
    run, root = packed.master.run, packed.source.parent
    where = ("--endpoint-url", packed.server.endpoint_url, "--region", "us-east-1", "--layout", "packed")
    one, two = f"s3://{packed.bucket}/one", f"s3://{packed.bucket}/two"
    for source, target in ((str(packed.source), one), (one, two), (two, str(root / "round"))):
        ended = run("sync", source, target, *where)
        assert ended.status == 0, ended.err
    assert snapshot(root / "round") == snapshot(packed.source)
    plain = run("sync", one, str(root / "other"), *where[:-2])
    assert_failed(plain, 3, says=("packed layout", "add --layout packed"))
    assert "map" not in plain.err, plain.err
    assert run("sync", str(packed.source), f"s3://{packed.bucket}/plain", *where[:-2]).status == 0
    wrong = run("sync", f"s3://{packed.bucket}/plain", str(root / "other"), *where)
    assert_failed(wrong, 3, says=("plain layout", "leave --layout packed out"))
    assert "map" not in wrong.err, wrong.err
    assert_failed(run("copy", one, two, *where), 2, says="as a whole")
    assert_failed(run("sync", str(packed.source), str(root / "b"), *where), 2, says="both places are directories")
    assert_failed(run("sync", str(packed.source), two, *where, "--no-manifest"), 2, says="leave --no-manifest out")


def test_a_prefix_that_has_lost_its_head_is_not_empty(packed: Loop) -> None:
    """Every command says so, and no push in the other layout begins over its packs."""
    assert packed.push().status == 0
    packed.server.client().delete_object(Bucket=packed.bucket, Key=f"{packed.prefix}/.s32s/head.json")
    lost = ("has packs and no head", "--rebuild")
    for command in (("log", "WEB"), ("rollback", "WEB"), ("diff", "WEB"), ("verify", "WEB")):
        assert_failed(packed.master.run(*command), 3, says=lost)
    before = keys(packed.server, packed.bucket, packed.prefix)
    packed.write_map(layout="plain")
    assert packed.master.run("maps", "update").status == 0
    for command in (("sync",), ("dryrun",), ("convert", "WEB", "--layout", "packed")):
        assert_failed(packed.master.run(*command), 3, says=lost)
    assert keys(packed.server, packed.bucket, packed.prefix) == before
    packed.write_map(layout="packed")
    assert packed.master.run("maps", "update").status == 0
    assert packed.master.run("verify", "WEB", "--rebuild").status == 0
    assert packed.push().changed_nothing


@pytest.mark.parametrize("layout", ["packed", "plain"])
def test_no_option_takes_a_lost_head_for_an_empty_source(packed: Loop, tmp_path: Path, layout: str) -> None:
    """A server that knows nothing yet, a mirror and two places: none of them empties what they bring up to date."""
    for text in (b"1", b"2"):
        make_tree(packed.source, {"a": text})
        assert packed.push().status == 0
    make_tree(packed.target, {"precious": b"1"})
    packed.server.client().delete_object(Bucket=packed.bucket, Key=f"{packed.prefix}/.s32s/head.json")
    packed.write_map(layout=layout)
    place, url = f"s3://{packed.bucket}/{packed.prefix}", packed.server.endpoint_url
    alone = Machine(tmp_path / "alone", packed.server)
    directory = tmp_path / "alone" / "dir"
    make_tree(directory, {"precious": b"1"})
    how = ("--layout", layout, "--endpoint-url", url, "--yes", "--force-delete")

    lost = "has packs and no head"
    for verb in ("sync", "copy"):
        assert_failed(packed.slave.run(verb, "--update-maps", "--force-delete"), 3, says=lost)
        assert_failed(alone.run(verb, place, str(directory), *how), 3, says=lost)
    assert_failed(alone.run("sync", place, f"s3://{packed.bucket}/copy", *how), 3, says=lost)
    make_tree(tmp_path / "alone/team", {"mine": b"1"})
    assert_failed(alone.run("peer", str(tmp_path / "alone/team"), place, *how[:-1]), 3, says=lost)
    how = ("--no-manifest", *how[2:])
    assert_failed(alone.run("sync", place, str(directory), *how), 3, says="has packs")
    assert_failed(alone.run("sync", str(directory), place, *how), 3, says="has packs")
    assert (packed.target / "precious").read_bytes() == (directory / "precious").read_bytes() == b"1"


def test_a_conversion_publishes_nothing_new_and_takes_nothing_away(packed: Loop) -> None:
    """Whatever the directory has become meanwhile, and without a question no generation is given up."""
    convert = ("convert", "WEB", "--layout")
    for text in (b"1", b"2"):
        make_tree(packed.source, {"a": text})
        assert packed.push().status == 0
    assert_failed(packed.master.run(*convert, "plain"), 3, says="confirm")
    assert packed.master.run("rollback", "WEB", "1").status == 0
    rolled_back = packed.master.run(*convert, "plain", "--yes")
    assert_failed(rolled_back, 3, says=("1 modified", "publishes nothing new", "s32s dryrun WEB"))
    (packed.source / "a").write_bytes(b"1")
    assert packed.push().status == 0

    assert packed.master.run(*convert, "plain", "--yes").status == 0
    packed.write_map()
    assert packed.master.run("maps", "update").status == 0
    (packed.source / "index.html").unlink()
    assert_failed(packed.master.run(*convert, "packed"), 3, says="1 deleted")
    make_tree(packed.source, {"index.html": TREE["index.html"]})
    assert packed.push().status == 0
    assert packed.master.run(*convert, "packed").status == 0


def test_a_conversion_leaves_what_others_have_put_there(packed: Loop) -> None:
    """What the entry ignores stays, in either direction and as often as one likes."""
    server, bucket, prefix = packed.server, packed.bucket, packed.prefix
    packed.write_map(ignore=["*.log"])
    assert packed.push().status == 0
    put(server, bucket, f"{prefix}/of-others.log", b"theirs")
    (packed.source / "more").write_bytes(b"1")
    assert packed.push().status == 0

    assert packed.master.run("convert", "WEB", "--layout", "packed").status == 0
    assert f"{prefix}/of-others.log" in keys(server, bucket, prefix)
    packed.write_map(layout="packed", ignore=["*.log"])
    assert packed.master.run("maps", "update").status == 0
    for layout in ("plain", "packed"):
        assert packed.master.run("convert", "WEB", "--layout", layout, "--yes").status == 0
        assert f"{prefix}/of-others.log" in keys(server, bucket, prefix)


def test_a_lost_head_of_a_folder_without_a_map_is_found_again(packed: Loop, tmp_path: Path) -> None:
    """The hint names the folder, and can be followed as it is."""
    machine = Machine(tmp_path / "alone", packed.server)
    folder, place = machine.root / "team", f"s3://{packed.bucket}/team"
    url = packed.server.endpoint_url
    where = ("--set", f"s3.endpoint_url={url}")
    share = ("peer", str(folder), place, "--layout", "packed", "--yes", "--endpoint-url", url)
    for text in (b"1", b"2"):
        make_tree(folder, {"a": text})
        assert machine.run(*share).status == 0
    packed.server.client().delete_object(Bucket=packed.bucket, Key="team/.s32s/head.json")

    lost = machine.run(*share)

    assert_failed(lost, 3, says=("has packs and no head", f"s32s verify {folder} --rebuild"))
    rebuilt = machine.run(*where, "verify", str(folder), "--rebuild")
    assert rebuilt.status == 0, rebuilt.err
    assert "the head names generation 2 again" in rebuilt.out
    assert machine.run(*where, "verify", str(folder)).status == 0
    assert machine.run(*share).status == 0


def test_a_folder_in_a_store_of_files_is_known_by_its_path(packed: Loop, tmp_path: Path) -> None:
    """Its marker has a path, and the configuration a name for where that begins."""
    machine = Machine(tmp_path / "alone", packed.server)
    (tmp_path / "nas").mkdir()
    store = f'[stores.nas]\ntype = "file"\npath = "{tmp_path / "nas"}"\n'
    machine.config.write_text(f'role = "peer"\nmaps = "{packed.bucket}/maps/"\n{store}')
    folder = machine.root / "team"
    make_tree(folder, {"a": b"1"})
    shared = machine.run("peer", str(folder), "nas:team", "--layout", "packed", "--yes")
    assert shared.status == 0, shared.err

    for asked in (("verify", str(folder)), ("trash", "list", str(folder))):
        ended = machine.run(*asked)
        assert ended.status == 0, ended.err


def test_a_master_that_was_installed_again_begins_no_history_over_packs(packed: Loop) -> None:
    """It has lost its memory, and the prefix its head: what is there is found again, and not given up."""
    for text in ("1", "2"):
        make_tree(packed.source, {"a": text.encode()})
        assert packed.push().status == 0
    packed.server.client().delete_object(Bucket=packed.bucket, Key=f"{packed.prefix}/.s32s/head.json")
    for name in ("state", "cache"):
        shutil.rmtree(packed.master.root / name)
    assert packed.master.run("maps", "update").status == 0
    before = keys(packed.server, packed.bucket, packed.prefix)

    for command in ("dryrun", "sync"):
        ended = packed.master.run(command)
        assert_failed(ended, 3, says=("has packs and no head", "s32s verify WEB --rebuild"))
    assert_failed(packed.pull(), 3, says="has packs and no head")  # a slave that has followed nothing yet

    assert keys(packed.server, packed.bucket, packed.prefix) == before
    assert packed.master.run("verify", "WEB", "--rebuild").status == 0
    assert packed.master.run("dryrun", "--exit-code").status == 0
    assert [line["generation"] for line in packed.master.run("log", "WEB", "--json").lines] == [2, 1]


def test_packs_behind_a_private_authority(packed: Loop, tmp_path: Path) -> None:
    """Each command trusts the one that is named; by another one it ends at once, and says what it was checked by."""
    for name in ("ours", "other"):
        (tmp_path / name).mkdir()
    ours, other = (make_certificate(tmp_path / name) for name in ("ours", "other"))
    machines = (packed.master, packed.slave)
    with tls_front(packed.server.endpoint_url, ours) as url:
        for machine, role in zip(machines, ("master", "slave"), strict=True):
            machine.endpoint_url = url
            machine.write_config(role, f"{packed.bucket}/maps", allow=[packed.target.parent])
            machine.extra["S32S_S3_CA_BUNDLE"] = str(ours)
        make_tree(packed.source, {"large": os.urandom(9_000_000)})
        for text in (b"1", b"2"):
            make_tree(packed.source, {"index.html": text})
            assert packed.push().status == 0
            assert packed.pull().status == 0
        assert snapshot(packed.target) == snapshot(packed.source)
        for command in (("log",), ("verify",), ("diff",), ("prune", "--yes")):
            assert packed.master.run(command[0], "WEB", *command[1:]).status == 0

        for machine in machines:
            machine.extra["S32S_S3_CA_BUNDLE"] = str(other)
        commands = [("sync",), ("log", "WEB"), ("verify", "WEB"), ("prune", "WEB", "--yes"), ("rollback", "WEB")]
        ended = [
            packed.master.run(*command) for command in [*commands, ("convert", "WEB", "--layout", "plain", "--yes")]
        ]

        for one in [*ended, packed.pull()]:
            assert_failed(one, 2, says=("is not trusted", f"it was checked by {other} (ca_bundle)"))
            assert "trying again" not in one.err
