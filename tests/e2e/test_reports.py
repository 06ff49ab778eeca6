"""What a run leaves in writing, and what a person sees of a plan."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time

import pytest
from support.checks import assert_failed
from support.machine import Loop, Machine
from support.servers import keys, put
from support.trees import make_tree

PHOTOS = ["stores/{slug}/{photos|menus}/{number}.jpg"]


def report(machine: Machine, directory: str = "report") -> dict[str, str]:
    """The files of the report of WEB by name; what begins with a dot is for the next run."""
    return {file.name: file.read_text() for file in (machine.root / directory / "WEB").iterdir() if file.name[0] != "."}


def test_rejected_files_stay_behind_with_their_reasons(loop: Loop) -> None:
    """A photo store: each file that is named wrongly is told why, and the others travel."""
    loop.write_map(accept=PHOTOS)
    make_tree(
        loop.source,
        {
            "stores/rome/photos/1.jpg": b"1",
            "stores/rome/photos/2.png": b"2",
            "stores/rome/menus/front.jpg": b"3",
            "stores/Milan/menus/1.jpg": b"4",
        },
    )

    ended = loop.push("--report", "report")

    assert ended.status == 0, ended.err
    assert "1 new; 1 file, 3 rejected" in ended.out
    assert "! rejected  stores/rome/photos/2.png  (extension is png, not jpg)" in ended.out
    written = report(loop.master)
    assert written["success.txt"] == written["new.txt"] == "stores/rome/photos/1.jpg\n"
    assert written["error.txt"].splitlines() == [
        'stores/Milan/menus/1.jpg\tdirectory "Milan" contains "M"; allowed are a-z, 0-9 and -',
        "stores/rome/menus/front.jpg\tfile name is not a number",
        "stores/rome/photos/2.png\textension is png, not jpg",
    ]
    stored = [key for key in keys(loop.server, loop.bucket, "data/") if ".s32s" not in key]
    assert stored == ["data/web/stores/rome/photos/1.jpg"]


def test_files_that_are_all_rejected_are_told_why(loop: Loop) -> None:
    """The guard against an empty source stops the run, and the report says what is wrong with each file."""
    loop.write_map(accept=PHOTOS)
    make_tree(loop.source, {"a.png": b"1"})

    ended = loop.push("--report", "report")

    assert_failed(ended, 3, says="no file of the source is accepted")
    assert report(loop.master)["error.txt"] == f"a.png\tit is less deep than {PHOTOS[0]}\n"


def test_a_report_is_that_of_the_last_run_only(loop: Loop) -> None:
    """What the run before has written is replaced, also by nothing."""
    make_tree(loop.source, {"a": b"1"})
    loop.push("--report", "report")
    first = report(loop.master)

    loop.push("--report", "report")

    assert first["new.txt"] == "a\n"
    assert report(loop.master) == {
        "new.txt": "",
        "modified.txt": "",
        "deleted.txt": "",
        "unchanged.txt": "a\n",
        "success.txt": "a\n",
        "error.txt": "",
    }


def test_a_run_that_ends_early_is_reported(loop: Loop) -> None:
    """S3 is gone before there is any plan: the report says so, and what was true yesterday has gone."""
    make_tree(loop.source, {"a": b"1"})
    loop.push("--report", "report")
    loop.master.config.write_text(loop.master.config.read_text().replace(loop.bucket, "no-such-bucket-x"))

    ended = loop.push("--report", "report", "--update-maps")

    assert_failed(ended, 1)
    assert not (loop.master.root / "report/WEB").exists()
    told = (loop.master.root / "report/error.txt").read_text()
    assert told.endswith("\tthe bucket no-such-bucket-x does not exist\n")
    loop.master.config.write_text(loop.master.config.read_text().replace("no-such-bucket-x", loop.bucket))
    loop.push("--report", "report")
    assert (loop.master.root / "report/error.txt").read_text() == ""
    assert report(loop.master)["unchanged.txt"] == "a\n"


def test_each_entry_has_a_directory_of_its_own(loop: Loop) -> None:
    """However many there are; of one that takes no part any more nothing stays but what others have put there."""
    make_tree(loop.source, {"a": b"1"})
    more = {"name": "A/B: ü", "s3": f"{loop.bucket}/more", "master": str(loop.source)}
    put(loop.server, loop.bucket, "maps/more.json", json.dumps([more]).encode())
    directory = loop.master.root / "report"

    assert loop.push("--report", "report", "--update-maps").status == 0

    both = {path.name for path in directory.iterdir() if path.name[0] != "."}
    assert both == {"WEB", "A%2FB%3A%20%C3%BC", "error.txt"}
    assert all((directory / name / "new.txt").read_text() == "a\n" for name in both - {"error.txt"})
    (directory / "WEB/mine").write_text("x")
    (directory / "OTHER").mkdir()
    (directory / "OTHER/error.txt").write_text("nobody's")
    assert loop.master.run("sync", "A/B: ü", "--report", "report").status == 0
    assert sorted(path.name for path in (directory / "WEB").iterdir()) == ["mine"]
    assert (directory / "OTHER/error.txt").read_text() == "nobody's"


@pytest.mark.parametrize("verb", ["dryrun", "copy", "sync"])
def test_a_report_that_cannot_be_written_stops_the_run(loop: Loop, verb: str) -> None:
    """It is said before anything is done."""
    make_tree(loop.source, {"a": b"1"})
    (loop.master.root / "taken").write_text("a file")

    ended = loop.master.run(verb, "--report", "taken/report")

    assert_failed(ended, 2, says="cannot be written")
    assert "the run has not begun" in ended.err
    assert keys(loop.server, loop.bucket, "data/") == {}


def test_a_run_that_nobody_watches_leaves_its_report_with_the_state(loop: Loop) -> None:
    """A timer has no terminal; a dry run leaves nothing anywhere."""
    make_tree(loop.source, {"a": b"1"})

    loop.master.run("dryrun")
    before = (loop.master.root / "state").exists()
    loop.push()

    assert not before
    assert report(loop.master, "state/report")["new.txt"] == "a\n"


def test_a_long_plan_is_cut_to_a_screen(loop: Loop) -> None:
    """On a terminal each kind gets its share, and what is cut is counted; `--all` shows everything."""
    make_tree(loop.source, {f"{number:03}": b"1" for number in range(300)} | {"a/b": b"2"})

    cut = on_terminal(loop.master, "dryrun", lines=24)
    whole = on_terminal(loop.master, "dryrun", "--all", lines=24)
    piped = loop.master.run("dryrun").out

    assert len(cut.splitlines()) <= 24
    assert ["+", "new", "301", "files", "301", "B"] in [line.split() for line in cut.splitlines()]
    assert "(--all shows them)" in cut
    assert whole.count("+ new") == piped.count("+ new") == 302


def test_a_dry_run_as_json_is_whole(loop: Loop) -> None:
    """Counts, bytes and every path with its reason."""
    loop.write_map(accept=["{number}"])
    make_tree(loop.source, {str(number): b"12" for number in range(100)} | {"x": b"1"})

    ended = loop.master.run("dryrun", "--json")

    planned = next(line for line in ended.lines if line["event"] == "planned")
    assert (planned["new"], planned["new_bytes"], planned["unchanged"]) == (100, 200, 0)
    assert len(planned["paths"]["new"]) == 100
    assert planned["paths"]["rejected"] == [{"path": "x", "reason": "file name is not a number"}]


def test_patterns_that_are_wrong_are_pointed_at(loop: Loop) -> None:
    """`s32s maps check` names file, entry, property and column."""
    wrong = [{"name": "P", "s3": "b/p", "accept": ["a/{slgu}.jpg", "a/{number.jpg", "{a||b}.jpg"]}]
    (loop.master.root / "photos.json").write_text(json.dumps(wrong))

    ended = loop.master.run("maps", "check", "photos.json")

    assert_failed(
        ended, 2, says='accept[0]: "a/{slgu}.jpg": unknown placeholder {slgu} at column 3; did you mean {slug}?'
    )
    assert "the brace at column 3 is not closed" in ended.err
    assert "an alternative is empty in the braces at column 1" in ended.err


def test_every_map_file_that_cannot_be_read_is_named(loop: Loop) -> None:
    """Together with what is wrong in the others."""
    (loop.master.root / "wrong.json").write_text("[")

    ended = loop.master.run("maps", "check", "one.json", "wrong.json", "two.json")

    assert_failed(ended, 2, says="3 problems")
    for said in ("one.json: it cannot be read: No such file", "two.json: it cannot be read", "wrong.json: "):
        assert said in ended.err


def on_terminal(machine: Machine, *arguments: str, lines: int) -> str:
    """Run the command on a terminal of its own and return what stands on it."""
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        machine.command(*arguments),
        env={**machine.environment(), "TERM": "xterm", "NO_COLOR": "1", "LINES": str(lines), "COLUMNS": "120"},
        cwd=machine.root,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    said = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([reader], [], [], 0.2)[0]:
            try:
                piece = os.read(reader, 65536)
            except OSError:  # the last writer has gone
                break
            if not piece:
                break
            said += piece
    process.wait(60)
    os.close(reader)
    return said.decode().replace("\r\n", "\n")
