"""s32s from Python: settings and maps in memory, events, and a report."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.machine import Loop
from support.trees import make_tree, snapshot

import s32s

PACKAGE = Path(s32s.__file__).parent


def settings(loop: Loop, role: str) -> s32s.Settings:
    """A configuration that no file holds."""
    return s32s.Settings.model_validate(
        {
            "role": role,
            "maps": f"{loop.bucket}/maps",
            "allow": [str(loop.target.parent)],
            "s3": {"endpoint_url": loop.server.endpoint_url, "region": loop.server.region},
        }
    )


@pytest.fixture
def directories(tmp_path: Path) -> s32s.Directories:
    """State and cache of the program."""
    return s32s.Directories(tmp_path / "api/state", tmp_path / "api/cache")


@pytest.fixture(autouse=True)
def _credentials(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in loop.server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def maps(loop: Loop) -> s32s.MapSet:
    """A map that S3 does not hold."""
    entry = {
        "name": "SITE",
        "s3": f"{loop.bucket}/data/site",
        "master": str(loop.source),
        "slave": str(loop.target),
    }
    return s32s.load_map_files([("one.json", json.dumps([entry]).encode())])


def test_a_loop_in_memory(loop: Loop, maps: s32s.MapSet, directories: s32s.Directories) -> None:
    """Push and pull by two agents, with their events and reports; the status tells both."""
    make_tree(loop.source, {"a": b"1", "d/b": b"2"})
    told: list[object] = []
    with s32s.open_agent(settings(loop, "master"), directories=directories) as master:
        assert master.run("sync", maps=maps, emit=told.append).exit_status == 0
        assert [entry.state for entry in master.status(maps=maps)] == [s32s.EntryState.UP_TO_DATE]
    with s32s.open_agent(settings(loop, "slave"), directories=directories) as slave:
        report = slave.run(s32s.Verb.SYNC, ["SITE"], maps=maps)

    assert snapshot(loop.target) == snapshot(loop.source)
    assert [(end.entry, end.error, end.generation) for end in report.finished] == [("SITE", None, 1)]
    assert {event.path for event in told if isinstance(event, s32s.FilePut)} == {"a", "d/b"}
    assert isinstance(told[-1], s32s.EntryFinished)


def test_a_plan_can_be_declined(loop: Loop, maps: s32s.MapSet, directories: s32s.Directories) -> None:
    """By the program, which has seen it; nothing is changed."""
    make_tree(loop.source, {"a": b"1"})
    seen: list[s32s.Plan] = []

    def decline(entry: str, plan: s32s.Plan) -> bool:
        seen.append(plan)
        return False

    with s32s.open_agent(settings(loop, "master"), directories=directories) as agent:
        report = agent.run("sync", maps=maps, approve=decline)

    assert [put.item.path for put in seen[0].puts] == ["a"]
    assert isinstance(report.finished[0].error, s32s.Declined)


def test_what_keeps_a_run_from_beginning_is_raised(
    loop: Loop, maps: s32s.MapSet, directories: s32s.Directories
) -> None:
    """As one of our errors, with a way out."""
    with s32s.open_agent(settings(loop, "slave"), directories=directories) as agent:
        with pytest.raises(s32s.UsageError, match="use sync, copy, dryrun"):
            agent.run("synch", maps=maps)
        with pytest.raises(s32s.UsageError, match='did you mean "SITE"'):
            agent.run("sync", ["SIET"], maps=maps)
    with pytest.raises(s32s.ConfigError, match="there is no configuration"):
        s32s.open_agent(Path("/nowhere/s32s.toml"), directories=directories)


def test_a_stopped_run_says_so(loop: Loop, maps: s32s.MapSet, directories: s32s.Directories) -> None:
    """It raises, and nothing was published."""
    make_tree(loop.source, {"a": b"1"})
    stop = threading.Event()
    stop.set()
    with s32s.open_agent(settings(loop, "master"), directories=directories) as agent:
        with pytest.raises(s32s.Interrupted, match="slaves follow the last published generation"):
            agent.run("sync", maps=maps, stop=stop)
        assert [entry.state for entry in agent.status(maps=maps)] == [s32s.EntryState.INTERRUPTED]


def test_two_places(loop: Loop, tmp_path: Path, directories: s32s.Directories) -> None:
    """Without a configuration; a dry run changes nothing, a wrong verb is told."""
    make_tree(loop.source, {"a": b"1", "d/b": b"2"})
    s3 = s32s.S3Connection(endpoint_url=loop.server.endpoint_url, region=loop.server.region)
    place, back, told = f"s3://{loop.bucket}/places", tmp_path / "back", list[object]()

    def run(source: object, target: object, verb: str = "sync") -> s32s.Report:
        asked = s32s.Between(str(source), str(target))
        return s32s.run_places(asked, verb, s3=s3, directories=directories, emit=told.append)

    assert run(loop.source, place, "dryrun").finished[0].due
    assert run(loop.source, place).finished[0].changed
    assert not run(loop.source, place).finished[0].due
    assert run(place, back).exit_status == 0
    assert snapshot(back) == snapshot(loop.source)
    assert any(isinstance(event, s32s.FilePut) for event in told)
    with pytest.raises(s32s.UsageError, match="not a verb"):
        run(place, back, "move")


def test_a_shared_folder(loop: Loop, tmp_path: Path) -> None:
    """A program decides about conflicts, by what files hold."""
    s3 = s32s.S3Connection(endpoint_url=loop.server.endpoint_url, region=loop.server.region)
    place, told = f"s3://{loop.bucket}/team", list[str]()
    folders = {name: tmp_path / name for name in ("ann", "bob")}
    for name, folder in folders.items():
        make_tree(folder, {"plan": name.encode()})

    def decide(name: str, made: s32s.Merge, contents: s32s.Contents) -> s32s.Merge:
        for conflict in made.conflicts:
            told.append(f"{contents.mine(conflict.path)!r} {contents.theirs(conflict.path)!r}")
        return s32s.decided(made, keep=s32s.Resolution.MINE)

    def run(name: str, verb: str = "sync") -> s32s.Report:
        directories = s32s.Directories(tmp_path / f"{name}-state", tmp_path / f"{name}-cache")
        return s32s.run_peer(str(folders[name]), place, verb, s3=s3, directories=directories, decide=decide)

    assert run("ann", "dryrun").finished[0].due
    assert [run(name).exit_status for name in ("ann", "bob", "ann")] == [0, 0, 0]

    assert told == ["b'bob' b'ann'"]
    assert (folders["ann"] / "plan").read_bytes() == b"bob"
    with pytest.raises(s32s.UsageError, match="a folder is shared through"):
        s32s.run_peer(str(folders["ann"]), "sftp://host/team")


class TestNames:
    def test_every_name_is_there(self) -> None:
        """In the list, in the table of homes, and for type checkers."""
        assert sorted(s32s._HOMES) == sorted(s32s.__all__)
        assert all(getattr(s32s, name) is not None for name in s32s.__all__)
        assert set(s32s.__all__) <= set(dir(s32s))

    def test_every_error_and_every_event_is_public(self) -> None:
        """Whatever a run raises or tells can be named."""
        for module in ("core/errors.py", "core/events.py"):
            defined = [
                node.name for node in ast.parse((PACKAGE / module).read_text()).body if isinstance(node, ast.ClassDef)
            ]
            assert set(defined) <= set(s32s.__all__)

    def test_help_shows_them(self) -> None:
        """`help(s32s)` is where a programmer looks first."""
        program = "import s32s, pydoc; print(pydoc.render_doc(s32s, renderer=pydoc.plaintext))"
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

        assert [
            name for name in ("open_agent", "class Agent", "class Refused", "class FilePut") if name not in shown
        ] == []

    def test_importing_it_costs_nothing(self) -> None:
        """Names are imported at their first use."""
        program = "import sys, s32s; print(sorted(name for name in sys.modules if name.startswith('s32s.')))"
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

        assert shown.strip() == "[]"
