"""Map files from the first one on: made, checked, uploaded, edited; with no other tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.faultproxy import Do, DropAnswer, FaultProxy, Rule, on
from support.machine import Loop, Machine
from support.servers import S3Server, get, keys, put
from support.terminal import terminal
from support.trees import make_tree, snapshot


@pytest.fixture
def bare(tmp_path: Path, server: S3Server) -> Machine:
    """A machine that nobody has set up yet."""
    return Machine(tmp_path / "bare", server)


def written(path: Path, *entries: dict[str, object]) -> Path:
    """A map file on this computer."""
    path.write_text(json.dumps(entries))
    return path


def uploaded(loop: Loop, name: str = "web.json") -> list[dict[str, object]]:
    """What a map file on S3 holds."""
    found: list[dict[str, object]] = json.loads(get(loop.server, loop.bucket, f"maps/{name}"))
    return found


def test_from_nothing_to_a_server_that_follows(tmp_path: Path, bare: Machine, bucket: str, server: S3Server) -> None:
    """A bucket that holds nothing, two computers, and only s32s."""
    source, target = tmp_path / "site", tmp_path / "srv/site"
    target.parent.mkdir()
    make_tree(source, {"index.html": b"hello"})
    address = ["--endpoint-url", server.endpoint_url]

    configured = bare.run("configure", "--role", "master", "--maps", f"{bucket}/maps", *address)
    assert configured.status == 0, configured.err
    assert "note: there are no map files" in configured.err
    made = bare.run(
        "maps", "new", "--name", "Our Site", "--s3", f"{bucket}/data/site", "--master", str(source),
        "--slave", str(target), "--upload",
    )  # fmt: skip
    assert made.status == 0, made.err
    assert f"uploaded {bucket}/maps/our-site.json" in made.out
    assert json.loads((bare.root / "our-site.json").read_text()) == [
        {"name": "Our Site", "s3": f"{bucket}/data/site", "master": str(source), "slave": str(target)}
    ]
    assert bare.run("sync").status == 0
    other = Machine(tmp_path / "other", server)
    assert other.run(
        "configure", "--role", "slave", "--maps", f"{bucket}/maps", "--allow", str(target.parent), *address
    ).status == 0  # fmt: skip
    assert other.run("sync").status == 0

    assert snapshot(target) == snapshot(source)


def test_the_questions_make_the_first_map(tmp_path: Path, bare: Machine, bucket: str, server: S3Server) -> None:
    """A path without maps is no dead end."""
    source = tmp_path / "site"
    with terminal(bare.command(), {"LANG": "C.UTF-8", **bare.environment()}, bare.root, columns=100, rows=40) as screen:
        screen.wait_for("What is this machine?")
        screen.press("master", "enter")
        screen.wait_for("S3 server")
        screen.press(server.endpoint_url, "enter")
        screen.wait_for("S3 path of the maps")
        screen.press(f"{bucket}/maps", "enter")
        screen.wait_for("There is no map at", "make the first map now")
        screen.press("new", "enter")
        screen.wait_for("Name of the entry")
        screen.press("WEB", "enter")
        screen.wait_for("Directory with the originals")
        screen.press("$HOME/www", "enter")
        screen.wait_for("write the whole path")
        screen.press(*["backspace"] * 9, str(source), "enter")
        screen.wait_for("Directory on the servers")
        screen.press("/srv/www/web", "enter")
        screen.wait_for(f"[{bucket}/data/web]")
        screen.press("enter")
        screen.wait_for("does not exist yet.", "make it when the configuration is written")
        screen.press("enter")
        screen.wait_for("never run")
        screen.press("q")

        assert screen.ended() == 0
    assert source.is_dir()
    assert list(keys(server, bucket, "maps/")) == ["maps/web.json"]


def test_a_configuration_is_tried_before_it_is_written(bare: Machine, bucket: str, server: S3Server) -> None:
    """As the questions do; unless that is not wanted."""
    wrong = ["configure", "--role", "master", "--maps", f"no-{bucket}/maps", "--endpoint-url", server.endpoint_url]

    assert_failed(bare.run(*wrong), 1, says="--no-check writes it all the same")
    assert not bare.config.exists()
    assert bare.run(*wrong, "--no-check").status == 0
    assert bare.config.exists()


def test_an_upload_says_whom_it_concerns(loop: Loop) -> None:
    """New entries go at once; what machines know already is changed only when that is confirmed."""
    loop.write_map()
    (entry,) = uploaded(loop)
    file = written(loop.master.root / "shop.json", {"name": "SHOP", "s3": f"{loop.bucket}/shop", "slave": "/srv/shop"})
    added = loop.master.run("maps", "upload", str(file))
    assert added.status == 0, added.err
    assert "+ new  SHOP  slave  /srv/shop" in added.out

    changed = {**entry, "slave": "/srv/elsewhere", "ignore": ["*.bmp"]}
    file = written(loop.master.root / "web.json", changed)
    assert_failed(loop.master.run("maps", "upload", str(file)), 3, says="--yes")
    assert uploaded(loop) == [entry]
    told = loop.master.run("maps", "upload", str(file), "--yes")
    assert told.status == 0, told.err
    assert f"{entry['slave']} becomes /srv/elsewhere" in told.out
    assert "ignore: [] becomes ['*.bmp']" in told.out
    assert uploaded(loop) == [changed]
    assert "has the same already" in loop.master.run("maps", "upload", str(file)).out

    gone = written(loop.master.root / "web.json")
    told = loop.master.run("maps", "upload", str(gone), "--yes")
    assert "- deleted  WEB" in told.out
    assert "/srv/elsewhere is not touched any more" in told.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('[{"name": "X" "s3": "b/x"}]', "a comma is missing", id="JSON"),
        pytest.param('[{"name": "X", "s3": "b/x", "slave": "srv"}]', "not absolute", id="a value"),
        pytest.param('[{"name": "WEB", "s3": "bucket/x"}]', "the name is used in", id="a name of another file"),
        pytest.param('[{"name": "X", "s3": "BUCKET/maps/x"}]', "is where the maps are", id="data among the maps"),
    ],
)
def test_a_wrong_map_is_not_uploaded(loop: Loop, text: str, says: str) -> None:
    """Nothing changes on S3."""
    loop.write_map()
    (loop.master.root / "x.json").write_text(text.replace("BUCKET", loop.bucket))

    assert_failed(loop.master.run("maps", "upload", "x.json"), 2, says=says)
    assert_failed(loop.master.run("maps", "upload", "none.json"), 2, says="none.json cannot be read: No such file")
    assert list(keys(loop.server, loop.bucket, "maps/")) == ["maps/web.json"]


@pytest.mark.parametrize("name", ["x.txt", ".s32s/x.json"])
def test_a_file_that_would_not_be_found_is_refused(loop: Loop, name: str) -> None:
    """By its name."""
    path = loop.master.root / name
    path.parent.mkdir(exist_ok=True)
    written(path, {"name": "X", "s3": "bucket/x"})

    ended = loop.master.run("maps", "upload", name)

    if name == "x.txt":
        assert_failed(ended, 2, says="map files end in .json")
    else:
        assert ended.status == 0, ended.err  # a directory of this computer says nothing
        assert "maps/x.json" in keys(loop.server, loop.bucket, "maps/")


def test_two_people_who_upload_the_same_file(proxied: Loop, proxy: FaultProxy) -> None:
    """The second one is told, and overwrites nothing."""
    proxied.server.needs("conditional writes")
    proxied.write_map()
    (entry,) = uploaded(proxied)
    theirs = [{**entry, "description": "theirs"}]
    file = written(proxied.master.root / "web.json", {**entry, "description": "mine"})
    proxy.add(
        Rule(
            on("PUT", "maps/web.json"),
            Do(lambda: put(proxied.server, proxied.bucket, "maps/web.json", json.dumps(theirs).encode())),
            times=1,
        )
    )

    ended = proxied.master.run("maps", "upload", str(file), "--yes")

    assert_failed(ended, 2, says="changed by somebody else")
    assert uploaded(proxied) == theirs


def test_a_lost_answer_is_no_conflict(proxied: Loop, proxy: FaultProxy) -> None:
    """Its own write is recognised."""
    file = written(proxied.master.root / "new.json", {"name": "NEW", "s3": f"{proxied.bucket}/new", "slave": "/srv/n"})
    rule = proxy.add(Rule(on("PUT", "maps/new.json"), DropAnswer(), times=1))

    ended = proxied.master.run("maps", "upload", str(file))

    assert rule.fired == 1
    assert ended.status == 0, ended.err


def test_a_map_is_edited_where_it_is(loop: Loop) -> None:
    """The file of the entry comes into the editor; a mistake comes back to it; what it changes is asked."""
    loop.write_map()
    (entry,) = uploaded(loop)
    script = loop.master.root / "edit"
    script.write_text(
        "#!/bin/sh\nif grep -q description $1; then sed -i 's/,,/,/' $1; "
        'else sed -i \'s/"name"/"description": "better",, "name"/\' $1; fi\n'
    )
    script.chmod(0o755)
    environment = {"LANG": "C.UTF-8", **loop.master.environment(), "EDITOR": str(script)}

    with terminal(
        loop.master.command("maps", "edit", "WEB"), environment, loop.master.root, columns=100, rows=40
    ) as screen:
        screen.wait_for("one comma too many", "Edit it again?")
        screen.press("y", "enter")
        screen.wait_for("description:", "becomes better", "Upload?")
        screen.press("y", "enter")
        assert screen.ended() == 0

    assert uploaded(loop) == [{**entry, "description": "better"}]
    assert_failed(loop.master.run("maps", "edit", "WEB"), 2, says="needs a terminal")


def test_a_new_map_overwrites_no_file_and_takes_no_wrong_value(loop: Loop) -> None:
    """By options alone nothing is asked."""
    (loop.master.root / "x.json").write_text("mine")
    wanted = ["maps", "new", "--name", "X", "--s3", "bucket/x", "--slave", "/srv/x"]

    assert_failed(loop.master.run(*wanted), 2, says="exists already")
    assert (loop.master.root / "x.json").read_text() == "mine"
    assert_failed(loop.master.run(*wanted[:-1], "srv", "--file", "y.json"), 2, says="--slave")
    assert_failed(loop.master.run("maps", "new", "--name", "X"), 2, says="missing: --s3, one of --master")
    assert not (loop.master.root / "y.json").exists()


def test_entries_that_stand_in_each_others_way_are_noted(loop: Loop) -> None:
    """Before they are uploaded, since every machine would refuse them."""
    entries = [
        {"name": "A", "s3": "bucket/x", "master": "/a", "slave": "/srv/a"},
        {"name": "B", "s3": "bucket/x/y", "master": "/b", "slave": "/srv/a/b"},
        {"name": "C", "s3": "bucket/z"},
    ]
    (loop.master.root / "x.json").write_text(json.dumps(entries))

    told = loop.master.run("maps", "check", "x.json").err

    assert 'entries "A" and "B": their places on S3 overlap' in told
    assert 'entries "A" and "B": their slave directories overlap' in told
    assert 'entry "C" has no master, slave, mirror or peer' in told
