"""What people type: spellings of other tools, names with wildcards, settings without a file, completion."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Loop, Machine
from support.servers import S3Server, put
from support.trees import make_tree, snapshot


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """Nothing of it depends on the server."""
    return moto


@pytest.fixture
def many(loop: Loop) -> Loop:
    """Three entries, of which two have something to push."""
    entries = []
    for name in ("SHOP", "SHOP-OLD", "BLOG"):
        source = loop.source.parent / name
        make_tree(source, {"index.html": name.encode()})
        entries.append({"name": name, "s3": f"{loop.bucket}/{name}", "master": str(source), "slave": f"/srv/{name}"})
    put(loop.server, loop.bucket, "maps/web.json", json.dumps(entries).encode())
    return loop


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        pytest.param(["sync", "--dryrn"], 'did you mean "--dry-run"?; see s32s sync --help', id="misspelt option"),
        pytest.param(["sync", "--exclude", "x"], "here it is --ignore", id="rsync's option"),
        pytest.param(["sync", "A", "--delete"], "which deletes by itself", id="option of aws s3 sync"),
        pytest.param(["maps", "check", "--jsn", "x"], "see s32s maps check --help", id="option of an action"),
        pytest.param(["sync", "--exit-code"], 'no option "--exit-code"; see', id="no way around a guard is suggested"),
        pytest.param(["sync", "--set", "max_delete=abc"], "a setting is wrong", id="the file is not blamed"),
        pytest.param(["--json", "status"], "--json goes behind the command: s32s status --json", id="in front"),
        pytest.param(["maps", "--json", "list"], "s32s maps list --json", id="in front of an action"),
        pytest.param(["push"], "here it is sync", id="command of other tools"),
        pytest.param(["maps", "uplaod"], 'did you mean "upload"?', id="misspelt action"),
        pytest.param(["env", "x"], 's32s env has no further argument "x"', id="one word too many"),
        pytest.param(["--set", "jobs", "env"], "has no value", id="setting without a value"),
        pytest.param(["env", "--set", "max_delte=3"], "did you mean max_delete?", id="misspelt setting"),
        pytest.param(["sync", "-q", "-v"], "not allowed with", id="quiet and verbose"),
    ],
)
def test_what_is_typed_wrongly_is_put_right(many: Loop, typed: list[str], says: str) -> None:
    """The nearest spelling, and the help of the command that was meant."""
    assert_failed(many.master.run(*typed), 2, says=says)


@pytest.mark.parametrize("command", [["verify"], ["prune"], ["trash", "list"]], ids=" ".join)
def test_a_folder_that_is_named_like_an_entry(many: Loop, tmp_path: Path, command: list[str]) -> None:
    """With maps and without, it is said how the folder is named; a place is not taken for a folder."""
    alone = Machine(tmp_path / "alone", many.server)
    for machine in (many.master, alone):
        (machine.root / "pc").mkdir()
        assert_failed(machine.run(*command, "pc", cwd=machine.root), 2, says="./pc")
        ended = machine.run(*command, "s3://bkt/three", cwd=machine.root)
        assert_failed(ended, 2, says="s3://bkt/three is a place, and this takes an entry or a folder")
        assert "mkdir" not in ended.err


@pytest.mark.parametrize("layout", ["plain", "packed"])
def test_a_new_map_has_the_layout_that_was_asked_for(many: Loop, layout: str) -> None:
    """What is so by default is left out, as of other properties."""
    words = ("--name", "NEW", "--s3", "bkt/new", "--slave", "/srv/new", "--layout", layout)
    made = many.master.run("maps", "new", *words)
    assert made.status == 0, made.err
    (entry,) = json.loads((many.master.root / "new.json").read_text())
    assert entry.get("layout", "plain") == layout


def test_a_dry_run_by_option(many: Loop) -> None:
    """Of sync and of copy, each as it is."""
    assert many.master.run("sync", "SHOP").status == 0
    source = many.source.parent / "SHOP"
    (source / "index.html").rename(source / "home.html")

    shown, kept = many.master.run("sync", "SHOP", "-n"), many.master.run("copy", "SHOP", "--dry-run")

    assert "- deleted  1 file" in shown.out
    assert "+ new      1 file" in shown.out
    assert "deleted" not in kept.out
    assert "+ new" in kept.out
    assert "1 new, 1 deleted" in many.master.run("sync", "SHOP").out


def test_verbose_names_every_path(many: Loop) -> None:
    """What is deleted comes first."""
    many.master.run("sync", "SHOP")
    source = many.source.parent / "SHOP"
    (source / "index.html").rename(source / "home.html")

    ended = many.master.run("sync", "SHOP", "-v")

    assert ended.out.splitlines()[:2] == ["  - deleted   index.html", "  + new       home.html"]


def test_names_may_be_wildcards(many: Loop) -> None:
    """For verbs and for status; one that fits nothing is a mistake."""
    ended = many.master.run("sync", "SHOP*")
    assert ended.status == 0, ended.err
    assert [line.partition(":")[0] for line in ended.out.splitlines()] == ["SHOP", "SHOP-OLD"]

    told = many.master.run("status", "*OLD", "BLOG")
    assert [line.split()[0] for line in told.out.splitlines()[2:]] == ["SHOP-OLD", "BLOG"]
    assert_failed(many.master.run("sync", "X*"), 2, says='no entry of the maps fits "X*"')
    assert_failed(many.master.run("status", "shop"), 2, says='did you mean "SHOP"?')


def test_no_file_is_needed(many: Loop, tmp_path: Path) -> None:
    """Variables say all that a configuration would; what is typed holds instead of both."""
    many.master.run("sync", "BLOG")
    target = tmp_path / "srv/BLOG"
    target.parent.mkdir(exist_ok=True)
    entry = {"name": "BLOG", "s3": f"{many.bucket}/BLOG", "slave": str(target)}
    put(many.server, many.bucket, "others/blog.json", json.dumps([entry]).encode())
    container = Machine(tmp_path / "container", many.server)
    container.extra = {
        "S32S_ROLE": "slave",
        "S32S_MAPS": f"{many.bucket}/others",
        "S32S_ALLOW": f"/nowhere:{target.parent}",
        "S32S_S3_ENDPOINT_URL": many.server.endpoint_url,
        "S32S_JOBS": "3",
    }

    ended = container.run("sync")

    assert ended.status == 0, ended.err
    assert snapshot(target) == snapshot(many.source.parent / "BLOG")
    assert_failed(container.run("sync", "--set", "allow=/nowhere"), 3, says="allow")
    wrong = container.run("sync", environment={"S32S_JOBS": "many"})
    assert_failed(wrong, 2, says="jobs: it must be a whole number from 1 to 512 (S32S_JOBS)")


def test_env_shows_what_holds_and_why(many: Loop) -> None:
    """Each setting with its source, and where things are."""
    many.master.extra["S32S_MAX_DELETE"] = "7"

    ended = many.master.run("env", "--set", "jobs=3", "--json")

    places, *settings = ended.lines
    assert places["places"]["configuration"] == str(many.master.config)
    told = {line["key"]: (line["value"], line["source"]) for line in settings}
    assert told["role"] == ("master", str(many.master.config))
    assert told["max_delete"] == (7, "S32S_MAX_DELETE")
    assert told["jobs"] == (3, "--set")
    assert told["s3.addressing"] == ("auto", "default")
    assert "S32S_MAX_DELETE" in many.master.run("env").out


def test_rejected_files_can_fail_a_run(loop: Loop) -> None:
    """With --strict."""
    loop.write_map(accept=["*.jpg"])
    make_tree(loop.source, {"1.jpg": b"1", "notes.txt": b"x"})

    assert loop.push().status == 0
    assert_failed(loop.push("--strict"), 1, says="1 file was rejected")


def test_json_tells_of_early_errors_and_sums_up(many: Loop) -> None:
    """Each line has its time; the numbers are those of the text."""
    ended = many.master.run("sync", "SHOP", "--json")
    *_, planned, _, summary = ended.lines
    assert (planned["new"], planned["new_directories"]) == (1, 0)
    assert (summary["event"], summary["status"], summary["entries"], summary["changed"]) == ("summary", 0, 1, 1)
    assert all(line["time"].endswith("Z") for line in ended.lines)

    wrong = many.master.run("sync", "NONE", "--json")
    assert wrong.status == 2
    assert wrong.lines[-1]["event"] == "error"
    assert wrong.lines[-1]["error"]["type"] == "UsageError"


def test_json_is_there_wherever_something_is_told(many: Loop, tmp_path: Path) -> None:
    """Every line is one of the schema, which `Machine.run` looks at; text for people is not among them."""
    machine = Machine(tmp_path / "another", many.server)
    role = ("--role", "slave", "--allow", str(tmp_path))
    wrote = machine.run("configure", *role, "--maps", f"{many.bucket}/x", "--no-check", "--json")
    assert [line["event"] for line in wrote.lines] == ["written"]
    shown = machine.run("service", "show", "--json")
    assert [Path(line["file"]).suffix for line in shown.lines] == [".service", ".timer"]
    entry = ("--name", "NEW", "--s3", f"{many.bucket}/new", "--master", "/data", "--file", str(tmp_path / "n.json"))
    made = machine.run("maps", "new", *entry, "--json")
    assert [line["event"] for line in made.lines] == ["written"]
    again = machine.run("maps", "new", *entry, "--json")
    assert [line["event"] for line in again.lines] == ["error"]


def test_cron_hears_of_changes_alone(many: Loop) -> None:
    """A dry run and -v say that all is up to date; a run that is asked for news alone says nothing."""
    first, again = many.master.run("sync"), many.master.run("sync")

    assert first.out.count(" new; ") == 3
    assert (again.status, again.out, again.err) == (0, "", "")
    assert many.master.run("sync", "-v").out.count("up to date") == 3
    assert many.master.run("dryrun").out.count("up to date") == 3


def test_a_service_keeps_no_setting_of_a_single_run(many: Loop) -> None:
    """It would be lost in silence."""
    refused = many.slave.run("service", "show", "--set", "jobs=3")

    assert_failed(refused, 2, says="write it into the configuration")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_and_entries(many: Loop) -> None:
    """By what the installed command prints."""
    assert many.master.run("maps", "update").status == 0
    script = many.master.run("completion", "bash").out
    command = " ".join(many.master.command())

    def completed(*words: str) -> list[str]:
        line = " ".join(f'"{word}"' for word in ("s32s", *words))
        ask = (
            f's32s() {{ {command} "$@"; }}\n{script}\nCOMP_WORDS=({line})\nCOMP_CWORD={len(words)}\n_s32s\n'
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        ended = subprocess.run(
            ["bash", "-c", ask], env=many.master.environment(), capture_output=True, text=True, check=True, timeout=60
        )
        return ended.stdout.split()

    assert completed("syn") == ["sync"]
    assert "--update-maps" in completed("sync", "--up")
    assert completed("sync", "SH") == ["SHOP", "SHOP-OLD"]
    assert completed("maps", "edit", "B") == ["BLOG"]
    assert many.master.run("completion", "fish").out.startswith("# fish")
    assert many.master.run("completion", "zsh").out.startswith("#compdef")
