"""The commands as an administrator types them, with good and with bad input."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from support.checks import assert_failed, assert_untouched
from support.machine import Loop, Machine
from support.network import make_certificate, tls_front
from support.servers import S3Server, keys, make_bucket, put
from support.trees import make_tree, snapshot


@pytest.fixture
def ready(loop: Loop) -> Loop:
    """A loop with a small tree that is up to date."""
    make_tree(loop.source, {"a": b"a", "b": b"b", "d/c": b"c"})
    assert loop.push().status == 0
    assert loop.pull().status == 0
    return loop


@pytest.fixture
def lonely(tmp_path: Path, moto: S3Server) -> Machine:
    """A machine without a configuration."""
    return Machine(tmp_path / "lonely", moto)


def everything(loop: Loop) -> object:
    """All that a run could change: targets, state, cache, bucket."""
    return snapshot(loop.slave.root), snapshot(loop.master.root), keys(loop.server, loop.bucket)


# -- configuration


def test_without_a_configuration_the_message_says_how_to_write_one(lonely: Machine) -> None:
    """Status 2."""
    assert_failed(lonely.run("sync"), 2, says="s32s configure --role")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('role = "slave\n', "not valid TOML", id="broken TOML"),
        pytest.param('role = "slav"\nmaps = "bkt/m"\nallow = ["/srv"]', 'did you mean "slave"', id="an unknown role"),
        pytest.param('role = "master"', "maps: it is mandatory", id="no maps path"),
        pytest.param('role = "master"\nmaps = "bkt/m"\nrol = 1', 'did you mean "role"', id="an unknown key"),
        pytest.param(
            'role = "master"\nmaps = "bkt/m"\n[s3]\nregio = "x"',
            's3.regio: unknown key; did you mean "region"',
            id="[s3]",
        ),
        pytest.param('role = "slave"\nmaps = "bkt/m"', 'a slave needs "allow"', id="a slave without allow"),
        pytest.param('role = "master"\nmaps = "bkt/m"\nmax_delete = "most"', "max_delete", id="no number"),
        pytest.param('role = "master"\nmaps = "bkt/m"\nlist_every = "soon"', "is not a duration", id="no duration"),
        pytest.param('role = "master"\nmaps = 5', "maps", id="a number for a path"),
    ],
)
def test_a_wrong_configuration_is_explained(lonely: Machine, text: str, says: str) -> None:
    """Status 2, the file, the key, and what would be right."""
    lonely.config.write_text(text)

    ended = lonely.run("sync")

    assert_failed(ended, 2, says=says)
    assert str(lonely.config) in ended.err


def test_a_configuration_that_anybody_may_write_is_refused(lonely: Machine) -> None:
    """It names commands to run and directories to replace."""
    lonely.config.write_text('role = "master"\nmaps = "bkt/m"\n')
    lonely.config.chmod(0o666)

    assert_failed(lonely.run("sync"), 2, says="chmod o-w")


def test_configure_writes_and_changes_a_configuration(lonely: Machine) -> None:
    """Comments, order and the file's mode stay; what would be wrong is not written."""
    first = lonely.run(
        "configure", "--role", "slave", "--maps", "bkt/maps", "--allow", "/srv", "--allow", "/var/www", "--no-check"
    )
    assert first.status == 0, first.err
    lonely.config.write_text("# mine\n" + lonely.config.read_text() + '[commands]\nx = "true" # why\n')
    lonely.config.chmod(0o600)

    second = lonely.run(
        "configure", "--maps", "bkt/other", "--max-delete", "10%", "--region", "eu-south-1", "--no-check"
    )

    assert second.status == 0, second.err
    text = lonely.config.read_text()
    assert text.startswith("# mine\n")
    assert 'maps = "bkt/other"' in text
    assert 'x = "true" # why' in text
    assert 'region = "eu-south-1"' in text
    assert stat.S_IMODE(lonely.config.stat().st_mode) == 0o600
    assert_failed(lonely.run("configure", "--role", "king"), 2, says="is not a role")
    assert lonely.config.read_text() == text


def test_the_configuration_is_searched_in_order(lonely: Machine) -> None:
    """`--config`, then $S32S_CONFIG, then ./s32s.toml, then the user's own."""
    here = lonely.root / "here"
    here.mkdir()
    (here / "s32s.toml").write_text("x = 'cwd'")
    lonely.config.write_text("x = 'env'")
    explicit = lonely.root / "explicit.toml"
    explicit.write_text("x = 'explicit'")

    assert str(explicit) in lonely.run("--config", str(explicit), "sync", cwd=here).err
    assert str(explicit) in lonely.run("sync", "--config", str(explicit), cwd=here).err
    assert str(lonely.config) in lonely.run("sync", cwd=here).err
    assert "s32s: s32s.toml is wrong" in lonely.run("sync", cwd=here, environment={"S32S_CONFIG": ""}).err


# -- credentials and buckets


def test_without_credentials_the_three_usual_ways_are_named(loop: Loop) -> None:
    """Status 1."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        loop.slave.extra[name] = ""

    assert_failed(loop.pull(), 1, says="there are no AWS credentials")


def test_wrong_credentials_are_told_from_missing_permission(loop: Loop) -> None:
    """Status 1; only a server that checks them can say so."""
    loop.server.needs("checked signatures")
    loop.slave.extra["AWS_SECRET_ACCESS_KEY"] = "wrong"

    assert_failed(loop.pull(), 1, says="does not accept the credentials")


def test_an_unknown_profile_is_named(loop: Loop) -> None:
    """Status 1."""
    loop.slave.config.write_text(loop.slave.config.read_text() + 'profile = "nobody"\n')

    assert_failed(loop.pull(), 1, says="nobody")


def test_a_missing_bucket_is_named(loop: Loop) -> None:
    """Status 1, in the maps path and in an entry."""
    loop.slave.write_config("slave", "no-such-bucket/maps", allow=[loop.target.parent])
    assert_failed(loop.pull(), 1, says="no-such-bucket does not exist")

    loop.write_map(s3="no-such-bucket/x")
    assert_failed(loop.push(), 1, says="no-such-bucket")


# -- maps


def test_maps_are_listed_updated_and_cached(ready: Loop) -> None:
    """`sync` reads the cache; `maps update` says what came, went and changed."""
    ready.write_map(description="changed")
    put(ready.server, ready.bucket, "maps/deep/more.json", b'[{"name": "MORE", "s3": "bkt/x"}]')

    assert "MORE" not in ready.slave.run("maps", "list").out
    updated = ready.slave.run("maps", "update")
    assert updated.status == 0
    assert updated.out.splitlines()[:2] == ["+ MORE", "~ WEB"]
    assert "MORE" in ready.slave.run("maps", "list").out
    assert json.loads(ready.slave.run("maps", "list", "--json").out.splitlines()[0])["name"] == "MORE"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b'[{"name": "X", "s3": "bkt/x",}]', "line 1: remove this comma", id="invalid JSON"),
        pytest.param(b'[{"name": "X", "s3": "bkt/x", "slav": "/x"}]', 'did you mean "slave"?', id="a misspelling"),
        pytest.param(b'[{"name": "WEB", "s3": "bkt/x"}]', 'entry "WEB": name: the name is used', id="a second WEB"),
        pytest.param(
            b'[{"name": "X", "s3": "bkt/x", "slave": "/x", "keep": 0}]',
            "keep: it must be a whole number of 1 or more",
            id="a number that is too small",
        ),
        pytest.param(b'[{"name": "X"}, {"s3": "b"}]', "3 problems", id="every problem at once"),
    ],
)
def test_an_update_with_a_wrong_file_keeps_the_old_cache_whole(ready: Loop, text: bytes, says: str) -> None:
    """Status 2; the next sync works from what was there."""
    ready.write_map(description="not taken")
    put(ready.server, ready.bucket, "maps/wrong.json", text)
    before = snapshot(ready.slave.root / "cache")

    ended = ready.slave.run("maps", "update")

    assert_failed(ended, 2, says=says)
    assert "maps/w" in ended.err
    assert snapshot(ready.slave.root / "cache") == before
    assert ready.pull().status == 0
    assert_failed(ready.pull("--update-maps"), 2)


def test_an_update_without_s3_keeps_the_old_cache(ready: Loop) -> None:
    """Status 75."""
    before = snapshot(ready.slave.root / "cache")
    ready.slave.config.write_text(
        ready.slave.config.read_text().replace(ready.slave.endpoint_url, "http://127.0.0.1:9")
    )

    assert_failed(ready.slave.run("maps", "update"), 75)
    assert snapshot(ready.slave.root / "cache") == before


def test_a_prefix_without_maps_is_an_error(loop: Loop) -> None:
    """Status 2."""
    loop.slave.write_config("slave", f"{loop.bucket}/nothing-here", allow=[loop.target.parent])

    assert_failed(loop.slave.run("maps", "update"), 2, says="no map files")


def test_one_object_may_be_the_maps_path(ready: Loop) -> None:
    """`bucket/….json`."""
    ready.slave.write_config("slave", f"{ready.bucket}/maps/web.json", allow=[ready.target.parent])

    assert ready.pull().status == 0


def test_maps_check_needs_no_configuration(lonely: Machine) -> None:
    """Local files are checked before they are uploaded."""
    good, bad = lonely.root / "good.json", lonely.root / "bad.json"
    good.write_text('\ufeff[{"name": "X", "s3": "s3://bucket/x/", "master": "c:\\\\dir\\\\x"}]', encoding="utf-8")
    bad.write_text('[{"name": "Y", "s3": "bucket/x", "slave": "~/x"}]')

    assert lonely.run("maps", "check", str(good)).status == 0
    assert_failed(lonely.run("maps", "check", str(good), str(bad)), 2, says='entry "Y": slave: a path may not start')
    assert_failed(lonely.run("maps", "check", "gone.json"), 2, says="gone.json: it cannot be read")
    assert "$schema" in json.loads(lonely.run("maps", "schema").out)


# -- verbs


def test_dryrun_changes_nothing_anywhere(ready: Loop) -> None:
    """No state, no cache, no object, no directory; the plan is shown, `--exit-code` tells of work."""
    make_tree(ready.source, {"new": b"n", "a": b"aa"})
    (ready.source / "b").unlink()
    before = everything(ready)

    shown = ready.master.run("dryrun")
    coded = ready.master.run("dryrun", "--exit-code")
    listed = ready.master.run("dryrun", "--json")
    quiet = ready.slave.run("dryrun", "--exit-code")

    assert (shown.status, coded.status, quiet.status) == (0, 4, 0)
    assert [line.split() for line in shown.out.splitlines()[1:] if line] == [
        ["-", "deleted", "1", "file", "1", "B"],
        ["~", "modified", "1", "file", "2", "B"],
        ["+", "new", "1", "file", "1", "B"],
        ["=", "unchanged", "1", "file", "1", "B"],
        ["-", "deleted", "b"],
        ["~", "modified", "a", "(size)"],
        ["+", "new", "new"],
    ]
    planned = next(line for line in listed.lines if line["event"] == "planned")
    assert planned["paths"] == {
        "new": ["new"],
        "modified": [{"path": "a", "reason": "size"}],
        "deleted": ["b"],
        "rejected": [],
    }
    assert everything(ready) == before


def test_copy_deletes_nothing(ready: Loop) -> None:
    """New and modified files come over; what the source lacks stays."""
    make_tree(ready.source, {"new": b"n"})
    (ready.source / "b").unlink()
    make_tree(ready.target, {"local": b"l"})

    assert ready.master.run("copy").status == 0
    assert ready.slave.run("copy").status == 0

    assert snapshot(ready.target).keys() == {"a", "b", "d", "d/c", "local", "new"}


def test_json_is_all_that_stands_on_standard_output(ready: Loop) -> None:
    """Each line is an object; a failure is told there and on standard error."""
    (ready.source / "a").write_bytes(b"changed")

    pushed = ready.push("--json")
    for path in ready.source.iterdir():
        path.rename(ready.master.root / path.name)
    failed = ready.push("--json")

    assert [line["event"] for line in pushed.lines] == ["started", "planned", "finished", "summary"]
    assert pushed.lines[-2]["ok"] is True
    assert failed.status == 3
    assert failed.lines[-2]["error"]["status"] == 3
    assert "WEB" in failed.err


def test_quiet_says_nothing_but_errors(ready: Loop) -> None:
    """For cron."""
    (ready.source / "a").write_bytes(b"changed")

    assert (ready.push("--quiet").out, ready.pull("--quiet", "--jobs", "2").out) == ("", "")
    assert ready.pull("--quiet").err == ""


def test_a_report_is_one_path_a_line(ready: Loop, tmp_path: Path) -> None:
    """Six files, replaced at each run."""
    make_tree(ready.source, {"new": b"n", "a": b"aa"})
    (ready.source / "b").unlink()

    assert ready.push("--report", str(tmp_path / "report")).status == 0

    report = {path.name: path.read_text().split() for path in (tmp_path / "report/WEB").iterdir()}
    assert report == {
        "new.txt": ["new"],
        "modified.txt": ["a"],
        "deleted.txt": ["b"],
        "unchanged.txt": ["d/c"],
        "success.txt": ["a", "d/c", "new"],
        "error.txt": [],
    }
    (tmp_path / "file").touch()
    assert_failed(ready.push("--report", str(tmp_path / "file/x")), 2, says="has not begun")


def test_names_choose_entries(ready: Loop) -> None:
    """An unknown one is an error with a suggestion; one without this role is meant for others."""
    text = json.dumps(
        [
            {"name": "WEB", "s3": f"{ready.bucket}/data/web", "master": str(ready.source), "slave": str(ready.target)},
            {"name": "OTHER", "s3": f"{ready.bucket}/data/o", "master": "/nowhere"},
        ]
    )
    put(ready.server, ready.bucket, "maps/web.json", text.encode())
    ready.slave.run("maps", "update")

    assert ready.pull("WEB").status == 0
    assert "OTHER" not in ready.pull().out
    assert_failed(ready.pull("WEBB"), 2, says='did you mean "WEB"')
    assert_failed(ready.pull("OTHER"), 2, says="meant for other machines")


def test_one_entry_that_fails_does_not_stop_the_others(ready: Loop) -> None:
    """Entries are done one after the other, and the worst is said."""
    text = json.dumps(
        [
            {"name": "BAD", "s3": f"{ready.bucket}/nothing", "slave": f"{ready.target.parent}/bad"},
            {"name": "WEB", "s3": f"{ready.bucket}/data/web", "slave": str(ready.target)},
            {"name": "WORSE", "s3": "no-such-bucket/x", "slave": f"{ready.target.parent}/worse"},
        ]
    )
    put(ready.server, ready.bucket, "maps/web.json", text.encode())
    (ready.target / "a").unlink()

    ended = ready.pull("--update-maps")

    assert_failed(ended, 1, says="BAD: FAILED")
    assert "WEB: 1 new" in ended.out
    assert ready.pull("BAD").status == 3


def test_prefixes_that_would_eat_one_another_are_refused(ready: Loop) -> None:
    """A push deletes what is not its own: the maps, or another entry's files."""
    ready.write_map(s3=ready.bucket)
    assert_failed(ready.push("--update-maps"), 3, says="would delete the maps")

    text = json.dumps(
        [
            {"name": "A", "s3": f"{ready.bucket}/data", "master": str(ready.source)},
            {"name": "B", "s3": f"{ready.bucket}/data/b", "master": str(ready.source)},
        ]
    )
    put(ready.server, ready.bucket, "maps/web.json", text.encode())
    assert_failed(ready.push("--update-maps"), 3, says="overlap")


def test_status_tells_how_things_stand(ready: Loop) -> None:
    """Last run, generation, drift; as JSON too, and without S3."""
    (ready.target / "a").write_bytes(b"drifted")
    (ready.source / "a").write_bytes(b"pushed")
    assert ready.push().status == 0

    shown = ready.slave.run("status")
    facts = ready.slave.run("status", "--json").lines[0]
    offline = ready.slave.run("status", "--offline")

    assert "1 generation behind" in shown.out
    assert (facts["entry"], facts["generation"], facts["drift"]) == ("WEB", 2, 1)
    assert facts["last"]["ok"] is True
    assert "drifted" in offline.out


def test_an_after_command_runs_when_something_changed(ready: Loop) -> None:
    """With the entry in its environment and no credentials; its failure is status 1, and it is run again."""
    log = ready.slave.root / "log"
    ready.write_map(after="note")
    ready.slave.write_config(
        "slave",
        f"{ready.bucket}/maps",
        allow=[ready.target.parent],
        text=f"commands.note = 'echo \"$S32S_ENTRY $S32S_TARGET $AWS_SECRET_ACCESS_KEY\" >> {log}; test -e {log}.ok'",
    )
    assert ready.pull("--update-maps").status == 0
    assert not log.exists()
    (ready.source / "a").write_bytes(b"changed")
    ready.push()

    failed = ready.pull()
    Path(f"{log}.ok").touch()
    again = ready.pull()
    third = ready.pull()

    assert_failed(failed, 1, says="the files are up to date, but the command note")
    assert (again.status, third.status) == (0, 0)
    assert log.read_text() == f"WEB {ready.target} \n" * 2


def test_a_command_that_the_configuration_lacks_is_found_before_the_sync(ready: Loop) -> None:
    """Status 2, nothing done."""
    ready.write_map(after="reload")
    before = snapshot(ready.target)
    (ready.source / "a").write_bytes(b"changed")
    ready.push("--update-maps")

    assert_failed(ready.pull("--update-maps"), 2, says='"reload"')
    assert_untouched(ready, before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "this is not a terminal, so nothing can be asked"),
        (["snyc"], 'there is no command "snyc"; did you mean "sync"?'),
        (["sync", "--jobs", "0"], "from 1 to 512"),
        (["sync", "--role", "mastr"], 'did you mean "master"'),
        (["maps"], "needs an action"),
        (["configure"], "with --role and --maps"),
        (["configure", "--role", "slave"], "needs --role and --maps"),
    ],
)
def test_a_wrong_command_line_is_status_2(lonely: Machine, arguments: list[str], says: str) -> None:
    """And one line says what would be right."""
    ended = lonely.run(*arguments)

    assert_failed(ended, 2, says=says)
    assert len(ended.err.splitlines()) == 1


def test_help_and_version(lonely: Machine) -> None:
    """Help names every command and exit status; help of a command has an example."""
    assert lonely.run("--version").out.startswith("s32s ")
    shown = lonely.run("help")
    assert shown.status == 0
    for word in ("configure", "maps", "dryrun", "copy", "sync", "status", "demo", "75"):
        assert word in shown.out
    assert "example:" in lonely.run("help", "sync").out


def test_the_demo_ends_well_and_leaves_nothing(lonely: Machine) -> None:
    """`s32s demo` needs no configuration and no network."""
    scratch = lonely.root / "tmp"
    scratch.mkdir()

    ended = lonely.run("demo", environment={"TMPDIR": str(scratch)})

    assert ended.status == 0, ended.err
    assert "Both servers equal the master." in ended.out
    assert os.listdir(scratch) == []


def test_a_damaged_state_is_built_again(ready: Loop) -> None:
    """It is a cache: whatever happens to it, the next run is right."""
    database = ready.slave.root / "state/state.db"
    data = bytearray(database.read_bytes())
    for damage in (b"", b"not a database at all", bytes(data[: len(data) // 2])):
        database.write_bytes(damage)
        (ready.source / "a").write_bytes(b"after " + damage[:3] + os.urandom(4))
        assert ready.push().status == 0

        ended = ready.pull()

        assert ended.status == 0, ended.err
        assert snapshot(ready.target) == snapshot(ready.source)


def test_two_maps_may_share_a_bucket(moto: S3Server, tmp_path: Path) -> None:
    """A new bucket with nothing but a map is a good start."""
    make_bucket(moto, "fresh-bucket")
    put(moto, "fresh-bucket", "m/x.json", b'[{"name": "X", "s3": "fresh-bucket/x"}]')
    machine = Machine(tmp_path / "m", moto)
    machine.write_config("master", "fresh-bucket/m")

    ended = machine.run("sync")

    assert ended.status == 0
    assert "nothing to do on this machine" in ended.out


def test_a_traceback_is_for_those_who_ask(ready: Loop) -> None:
    """`S32S_DEBUG=1` shows where an error comes from; otherwise nobody sees one."""
    ready.slave.write_config("slave", "no-such-bucket/maps", allow=[ready.target.parent])

    assert_failed(ready.pull(), 1)
    assert "Traceback" in ready.slave.run("sync", environment={"S32S_DEBUG": "1"}).err


def test_a_reader_that_goes_away_does_not_stop_the_work(ready: Loop) -> None:
    """`s32s sync | head -0`: every entry is still done."""

    text = json.dumps(
        [
            {"name": name, "s3": f"{ready.bucket}/data/web", "slave": f"{ready.target.parent}/{name}"}
            for name in ("one", "two", "three")
        ]
    )
    put(ready.server, ready.bucket, "maps/web.json", text.encode())
    process = ready.slave.start("sync", "--update-maps")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=60)

    assert "Traceback" not in errors
    assert sorted(os.listdir(ready.target.parent)) == ["one", "site", "three", "two"]


def test_a_machine_without_certificates_is_told_what_to_install(ready: Loop, tmp_path: Path) -> None:
    """A minimal system has none; plain http needs none."""
    for machine in (ready.master, ready.slave):
        machine.extra |= {"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nonexistent"}
    (ready.source / "new.txt").write_text("new")
    assert ready.push().status == 0
    assert ready.pull().status == 0
    with tls_front(ready.server.endpoint_url, make_certificate(tmp_path)) as url:
        ready.master.endpoint_url = url
        ready.master.write_config("master", f"{ready.bucket}/maps")

        assert_failed(ready.push(), 2, says="the package ca-certificates")


def test_a_damaged_memory_is_told(ready: Loop) -> None:
    """Once: what it guarded against, such as an older generation, is not known any more."""
    (ready.slave.root / "state/state.db").write_bytes(b"garbage")

    first, second = ready.pull(), ready.pull()

    assert (first.status, second.status) == (0, 0)
    assert "WEB: the memory of this machine was damaged" in first.err
    assert second.err == ""
