"""A slave that goes back to an earlier tree, holds there and follows again: real servers and the installed command."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.faultproxy import FaultProxy, Reset, Rule, on
from support.machine import Loop, make_loop
from support.servers import S3Server
from support.trees import make_tree, snapshot

TREE = {"index.html": b"one", "css/site.css": b"body {}", "empty": None}


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """One is enough: nothing of this asks S3."""
    return moto


@pytest.fixture
def layout() -> str:
    """Of the entry."""
    return "plain"


@pytest.fixture
def loop(layout: str, tmp_path: Path, proxy: FaultProxy, server: S3Server, bucket: str) -> Loop:
    """A master and a slave that keeps two earlier trees, after three generations."""
    made = make_loop(tmp_path, server, bucket, endpoint_url=proxy.endpoint_url)
    made.write_map(layout=layout)
    configure(made)
    make_tree(made.source, TREE)
    assert made.push().status == 0
    assert made.pull().status == 0
    for number, text in ((2, b"two two"), (3, b"three three")):
        (made.source / "index.html").write_bytes(text)
        (made.source / f"new-{number}").write_bytes(b"n")
        assert made.push().status == 0
        assert made.pull().status == 0
    return made


def configure(loop: Loop, text: str = "keep = 2") -> None:
    """Write the slave's configuration."""
    loop.slave.write_config("slave", f"{loop.bucket}/maps", allow=[loop.target.parent], text=text)


def page(loop: Loop) -> bytes:
    """What the slave shows."""
    return (loop.target / "index.html").read_bytes()


@pytest.mark.parametrize("layout", ["plain", "packed"])
def test_back_held_and_on_again(loop: Loop, proxy: FaultProxy) -> None:
    """Without S3, by one command; the timer leaves it alone until a release, and then moves the difference."""
    slave = loop.slave.run
    proxy.clear()
    ended = slave("rollback", "WEB")
    assert ended.status == 0, ended.err
    assert proxy.requests == []
    assert "generation 2 is back on this machine, and held there" in ended.out
    assert page(loop) == b"two two"
    assert not (loop.target / "new-3").exists()
    ended = loop.pull()
    assert ended.status == 0, ended.err
    assert "WEB: held at generation 2 since" in ended.out, ended.out
    assert "s32s release WEB" in ended.out
    assert page(loop) == b"two two"
    (_, finished, summary) = slave("sync", "--json").lines
    assert (finished["held"], finished["ok"], finished["generation"], summary["status"]) == (True, True, 2, 0)
    (line,) = slave("status", "--json").lines
    assert line["held"]["generation"] == 2, line
    assert re.match(r"held at generation 2 since .*, 1 generation behind", line["state"]), line
    assert slave("status", "--check", "0s").status == 0

    (back,) = slave("rollback", "WEB", "--json").lines
    assert (back["event"], back["generation"], back["changed"]) == ("went_back", 1, True)
    assert page(loop) == b"one"
    assert_failed(slave("rollback", "WEB"), 3, says='no tree of "WEB" is kept from before generation 1')
    assert_failed(slave("rollback", "WEB", "7"), 3, says='generation 7 of "WEB" is not kept')

    ended = slave("release", "WEB")
    assert ended.status == 0, ended.err
    assert "not held any more" in ended.out
    assert_failed(slave("release", "WEB"), 2, says="not held")
    planned = next(line for line in slave("sync", "--json").lines if line["event"] == "planned")
    assert (planned["modified"], planned["new"], planned["deleted"]) == (1, 2, 0)
    assert snapshot(loop.target) == snapshot(loop.source)


def test_a_way_back_needs_no_server_of_today(loop: Loop, proxy: FaultProxy) -> None:
    """Maps are cached by server, and another one may be named when the usual one is away."""
    proxy.clear()
    elsewhere = ("--set", "s3.endpoint_url=http://127.0.0.1:9")
    ended = loop.slave.run(*elsewhere, "log", "WEB")
    assert "kept on this machine: 2" in ended.out, ended.err
    ended = loop.slave.run(*elsewhere, "rollback", "WEB")
    assert ended.status == 0, ended.err
    assert page(loop) == b"two two"
    assert proxy.requests == []
    assert loop.slave.run(*elsewhere, "release", "WEB").status == 0
    for file in (loop.slave.root / "cache").glob("maps-*.json"):
        file.unlink()
    assert_failed(loop.slave.run(*elsewhere, "rollback", "WEB"), 75, says="could not be reached")


def test_a_way_back_runs_the_command_and_shows_in_metrics(loop: Loop, layout: str) -> None:
    """What reloads a web server after a sync reloads it after a way back as well."""
    metrics = loop.slave.root / "s32s.prom"
    reloaded = loop.slave.root / "reloaded"
    loop.write_map(after="reload", layout=layout)
    configure(loop, "keep = 2")
    with loop.slave.config.open("a") as file:
        file.write(f'[metrics]\ntextfile = "{metrics}"\n[commands]\nreload = "cat $S32S_CHANGED > {reloaded}"\n')
    assert loop.slave.run("maps", "update").status == 0
    assert loop.slave.run("rollback", "WEB", "1").status == 0
    assert "~ index.html" in reloaded.read_text()
    assert loop.pull().status == 0
    assert 's32s_held{entry="WEB",role="slave"} 1' in metrics.read_text()
    assert loop.slave.run("release", "WEB").status == 0
    assert loop.pull().status == 0
    assert 's32s_held{entry="WEB",role="slave"} 0' in metrics.read_text()


def test_a_hold_outlives_the_state_and_the_maps(loop: Loop) -> None:
    """It protects a server: a lost database or an entry that left the maps does not end it."""
    assert loop.slave.run("rollback", "WEB").status == 0
    (loop.slave.root / "state/state.db").write_bytes(b"damaged" * 1000)
    assert "held at generation 2" in loop.pull().out
    assert page(loop) == b"two two"
    loop.write_map(slave=None)
    assert loop.slave.run("maps", "update").status == 0
    ended = loop.slave.run("status")
    assert "WEB: held at generation 2" in ended.err, ended.err
    assert "s32s release WEB" in ended.err
    assert loop.slave.run("release", "WEB").status == 0
    assert "held" not in loop.slave.run("status").err


def test_a_hold_outlives_another_name(loop: Loop) -> None:
    """What was put back is the directory: an entry that is renamed in the maps does not bring the broken release."""
    run = loop.slave.run
    assert run("rollback", "WEB").status == 0
    loop.write_map(name="SHOP")
    ended = run("sync", "--update-maps")
    assert ended.status == 0, ended.err
    told = "SHOP: held at generation 2 since .*, under its former name WEB; s32s release SHOP"
    assert re.search(told, ended.out), ended.out
    assert page(loop) == b"two two"
    shown = run("status")
    assert re.search("held at generation 2 since .*, under its former name WEB", shown.out), shown.out
    assert "held" not in shown.err

    ended = run("rollback", "SHOP", "1")
    assert ended.status == 0, ended.err
    assert page(loop) == b"one"
    assert "former" not in run("status").out
    assert_failed(run("release", "WEB"), 2, says='"WEB" is not held; held is "SHOP"')
    loop.write_map()
    assert run("maps", "update").err == ""
    assert run("release", "WEB").status == 0
    assert run("sync").status == 0
    assert page(loop) == b"three three"


def test_a_hold_without_an_entry_is_told(loop: Loop) -> None:
    """By each command that could surprise somebody, with what to do."""
    run = loop.slave.run
    assert run("rollback", "WEB").status == 0
    elsewhere = str(loop.target.parent / "elsewhere")
    loop.write_map(name="SHOP", slave=elsewhere)
    says = f"the maps have no entry of this name or with the slave {loop.target} any more; s32s release WEB forgets"
    for words in (("maps", "update"), ("status",), ("sync",)):
        ended = run(*words)
        assert ended.status == 0, ended.err
        assert "WEB: held at generation 2 since " in ended.err
        assert says in ended.err, ended.err

    (file,) = (loop.slave.root / "state/holds").iterdir()
    facts = json.loads(file.read_text())
    del facts["target"]  # as an older version has left it
    file.write_text(json.dumps(facts))
    assert "if it has another name now, s32s rollback with that name and 2 holds it again" in run("status").err
    assert run("release", "WEB").status == 0
    for words in (("maps", "update"), ("status",), ("sync",)):
        assert "held" not in run(*words).err


def test_a_way_back_that_fails_holds_nothing(loop: Loop) -> None:
    """The guards hold for it as for any sync; nothing changes, and the entry goes on to follow S3."""
    configure(loop, "keep = 2\nmax_delete = 0")
    assert_failed(loop.slave.run("rollback", "WEB"), 3, says="--force-delete")
    assert page(loop) == b"three three"
    assert loop.pull().changed_nothing
    assert loop.slave.run("rollback", "WEB", "--force-delete").status == 0
    assert page(loop) == b"two two"


def test_content_that_is_live_elsewhere_is_found_there(loop: Loop) -> None:
    """A record has only what the target has not got; a file that was touched since is read, whatever its path."""
    for tree in ({"a": b"same", "b": b"another size"}, {"a": b"longer than before", "b": b"same"}):
        make_tree(loop.source, tree)
        for name in tree:
            os.utime(loop.source / name, (1_000_000_000, 1_000_000_000))  # old enough to be known without a look
        assert loop.push().status == 0
        assert loop.pull().status == 0
    os.utime(loop.target / "b", (1, 1))

    back = loop.slave.run("rollback", "WEB")

    assert back.status == 0, back.err
    assert (loop.target / "a").read_bytes() == b"same"
    assert (loop.target / "b").read_bytes() == b"another size"


def test_where_nothing_is_kept(loop: Loop) -> None:
    """The way to keep something is said; what was kept goes when it is no longer wanted."""
    kept = list(loop.target.parent.glob(".s32s-kept-*"))
    assert len(kept) == 1
    configure(loop, "")
    assert loop.pull().status == 0
    assert not kept[0].exists()
    assert_failed(loop.slave.run("rollback", "WEB"), 3, says=("no earlier tree", "keep = 2"))
    assert_failed(loop.slave.run("rollback", "WEB", "--message", "x"), 2, says="--message")


def test_log_names_what_is_kept_here(loop: Loop, proxy: FaultProxy) -> None:
    """Also where S3 does not answer, which may be why somebody asks."""
    proxy.add(Rule(on(), Reset()))
    ended = loop.slave.run("log", "WEB")
    assert ended.status != 0
    assert re.search(r"kept on this machine: 2 \(until .*\), 1 \(until", ended.out), ended.out


def test_log_shows_what_is_kept_here_where_s3_keeps_nothing(loop: Loop) -> None:
    """A plain prefix in a bucket without versions has no history, and the slave has one of its own."""
    ended = loop.slave.run("log", "WEB", environment={"TZ": "UTC"})
    assert ended.status == 0, ended.err
    assert re.search(r"kept on this machine: 2 \(until .*\), 1 \(until .*\), UTC", ended.out), ended.out
    assert "keeps no earlier generations" in ended.err
    ended = loop.slave.run("log", "WEB", "--json")
    assert ended.status == 0, ended.err
    assert [(one["event"], one["generation"], one["files"]) for one in ended.lines] == [("kept", 2, 3), ("kept", 1, 2)]
    shutil.rmtree(next(loop.target.parent.glob(".s32s-kept-*")))
    assert_failed(loop.slave.run("log", "WEB"), 3, says="keeps no earlier generations")


@pytest.mark.parametrize("layout", ["packed"])
def test_what_somebody_else_has_made_hides_nothing_of_what_s3_has(loop: Loop) -> None:
    """Its path is told, and what S3 has is shown."""
    place = next(loop.target.parent.glob(".s32s-kept-*"))
    place.chmod(0o777)
    ended = loop.slave.run("log", "WEB")
    assert ended.status == 0, ended.err
    assert str(place) in ended.err
    assert len(ended.out.splitlines()) == 4
    (loop.source / "index.html").write_bytes(b"four")
    assert loop.push().status == 0
    assert_failed(loop.pull(), 3, says=(str(place), "look into it, then move it away", "chmod go-w"))
    assert page(loop) == b"three three"


def test_in_place_keeps_trees_in_the_target(loop: Loop, layout: str) -> None:
    """A target that cannot be exchanged has its earlier trees in itself, where no walk sees them."""
    loop.write_map(apply="in-place", layout=layout)
    assert loop.slave.run("maps", "update").status == 0
    (loop.source / "index.html").write_bytes(b"four")
    assert loop.push().status == 0
    assert loop.pull().status == 0
    assert len(list(loop.target.glob(".s32s-kept-*"))) == 1
    assert json.loads(loop.slave.run("status", "--json").out)["state"] == "up to date"
    assert loop.slave.run("rollback", "WEB").status == 0
    assert page(loop) == b"three three"


def test_a_way_back_that_was_cut_off_is_told(loop: Loop) -> None:
    """A kill between the hold and the change leaves the tree as it was; nobody may take it for the earlier one."""
    assert loop.slave.run("rollback", "WEB", "1").status == 0
    (file,) = (loop.slave.root / "state/holds").iterdir()
    file.write_text(file.read_text().replace('"is_done": true', '"is_done": false'))
    assert_failed(
        loop.pull(), 1, says=("the rollback to generation 1", "was cut off", "s32s rollback WEB 1", "release")
    )
    (line,) = loop.slave.run("status", "--json").lines
    assert line["held"]["done"] is False, line
    assert "was cut off" in line["state"]
    assert loop.slave.run("status", "--check", "1h").status == 1
    assert loop.slave.run("release", "WEB").status == 0
    assert loop.pull().status == 0
    assert page(loop) == b"three three"


def test_one_entry_is_one_entry(loop: Loop) -> None:
    """A pattern is no name where one entry is changed."""
    assert_failed(loop.slave.run("rollback", "W*"), 2, says='"W*" fits "WEB"')
    assert page(loop) == b"three three"
    assert_failed(loop.slave.run("rollback", "WEB", "3"), 3, says="is what is here now")


@pytest.mark.parametrize("layout", ["plain", "packed"])
@pytest.mark.parametrize("first", [("sync", "--below", "s"), ("copy",)], ids=["below", "copy"])
def test_what_two_runs_replace_comes_back(loop: Loop, first: tuple[str, ...]) -> None:
    """A run that brings a part, and one that brings the rest, leave one tree behind, and all of that is kept."""
    make_tree(loop.source, {"s/s": b"s" * 10, "f": b"f" * 10, "goes": b"g" * 10})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    before = snapshot(loop.target)
    make_tree(loop.source, {"s/s": b"S" * 20, "f": b"F" * 20})
    (loop.source / "goes").unlink()
    assert loop.push().status == 0

    assert loop.slave.run(*first).status == 0
    assert loop.pull().status == 0
    assert snapshot(loop.target) == snapshot(loop.source)
    ended = loop.slave.run("rollback", "WEB")
    assert ended.status == 0, ended.err
    assert "generation 4 is back" in ended.out
    assert snapshot(loop.target) == before


def test_back_from_a_part(loop: Loop) -> None:
    """A plain rollback after a part of the next generation brings the tree before it; a second one goes further."""
    before = snapshot(loop.target)
    make_tree(loop.source, {"css/site.css": b"body { color: red }", "index.html": b"four four four"})
    assert loop.push().status == 0
    assert loop.slave.run("sync", "--below", "css").status == 0
    ended = loop.slave.run("rollback", "WEB")
    assert ended.status == 0, ended.err
    assert "generation 3 is back" in ended.out
    assert snapshot(loop.target) == before
    ended = loop.slave.run("rollback", "WEB")
    assert ended.status == 0, ended.err
    assert "generation 2 is back" in ended.out
    assert page(loop) == b"two two"


def test_a_kept_tree_has_its_number_under_another_name(loop: Loop) -> None:
    """The number is that of what the directory holds, whatever the entry is called, also after a first failure."""
    loop.write_map(name="SHOP")
    assert loop.slave.run("maps", "update").status == 0
    (loop.source / "index.html").write_bytes(b"four four four")
    assert loop.push("--update-maps").status == 0
    config = loop.slave.config.read_text()
    loop.slave.config.write_text(re.sub(r'endpoint_url = ".*"', 'endpoint_url = "http://127.0.0.1:9"', config))
    loop.pull()
    loop.slave.config.write_text(config)
    assert loop.pull().status == 0
    ended = loop.slave.run("log", "SHOP")
    assert re.search(r"kept on this machine: 3 \(until .*\), 2 \(until", ended.out), ended.out
    ended = loop.slave.run("rollback", "SHOP", "3")
    assert ended.status == 0, ended.err
    assert "generation 3 is back" in ended.out
    assert page(loop) == b"three three"


def test_a_tree_of_no_known_number_is_told_in_words(loop: Loop) -> None:
    """Where the machine has lost its memory; nobody is told of a generation 0."""
    (loop.slave.root / "state/state.db").write_bytes(b"damaged" * 1000)
    (loop.source / "index.html").write_bytes(b"four four four")
    assert loop.push().status == 0
    assert loop.pull().status == 0
    ended = loop.slave.run("log", "WEB")
    assert re.search(r"kept on this machine: unnumbered \(until .*\), 2 \(until", ended.out), ended.out
    ended = loop.slave.run("rollback", "WEB")
    assert ended.status == 0, ended.err
    assert "an unnumbered tree is back on this machine" in ended.out
    assert page(loop) == b"three three"
    assert "held at an unnumbered tree since" in loop.slave.run("status").out
    assert_failed(loop.slave.run("rollback", "WEB"), 3, says=("which tree of", "was before", "kept are 4, 2"))
    assert loop.slave.run("rollback", "WEB", "2").status == 0
    assert page(loop) == b"two two"


def test_a_partial_way_back_that_brings_nothing_holds_nothing(loop: Loop) -> None:
    """What differs is lost, so nothing is back."""
    for file in next(loop.target.parent.glob(".s32s-kept-*")).glob("*/files/*"):
        file.unlink()
    (loop.target / "new-3").unlink()
    before = snapshot(loop.target)
    assert_failed(
        loop.slave.run("rollback", "WEB", "--partial"), 1, says="nothing of generation 2 could be brought back"
    )
    assert snapshot(loop.target) == before
    assert "held" not in loop.slave.run("status").out


def test_a_way_back_that_is_refused_leaves_the_status_alone(loop: Loop) -> None:
    """The tree is as it was, and so is what is told of it."""
    before = loop.slave.run("status", "--json").lines
    for file in next(loop.target.parent.glob(".s32s-kept-*")).glob("*/files/*"):
        file.unlink()
    assert_failed(loop.slave.run("rollback", "WEB"), 1, says="not to be had any more")
    configure(loop, "keep = 2\nmax_delete = 0")
    assert_failed(loop.slave.run("rollback", "WEB", "--partial"), 3, says="--force-delete")
    after = loop.slave.run("status", "--json").lines
    assert [line["state"] for line in after] == [line["state"] for line in before] == ["up to date"]
    assert [line["last"] for line in after] == [line["last"] for line in before]
