"""The units of `s32s service`: what they say, what systemd says of them, and where they go."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Machine
from support.servers import S3Server

from s32s.core.errors import UsageError
from s32s.frontends.units import Schedule

UNITS = Path("etc/systemd/system")
has_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


@pytest.fixture
def machine(tmp_path: Path, moto: S3Server) -> Machine:
    """A slave that may write below one directory."""
    made = Machine(tmp_path / "m", moto)
    (made.root / "srv www").mkdir()
    made.write_config("slave", "bucket/maps", allow=[made.root / "srv www"])
    return made


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze, which needs no running systemd for this."""
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60)


@has_systemd
@pytest.mark.parametrize(
    "options",
    [[], ["--instance", "web"], ["--every", "7min"], ["--on-calendar", "Mon..Fri 06:00"], ["--run-as", "daemon"]],
    ids=" ".join,
)
def test_systemd_accepts_the_units(machine: Machine, options: list[str]) -> None:
    """`s32s service install --root DIR`, whatever is asked for."""
    root = machine.root / "root"

    ended = machine.run("service", "install", "--root", str(root), *options)

    files = sorted(str(file) for file in (root / UNITS).glob("s32s*"))
    assert ended.status == 0, ended.err
    assert len(files) == 2
    verified = analyze("verify", "--man=no", *files)
    assert verified.returncode == 0, verified.stderr


@has_systemd
@pytest.mark.parametrize(("options", "most"), [([], 2.5), (["--run-as", "daemon"], 2.0)], ids=["root", "a user"])
def test_the_service_is_hardened(machine: Machine, options: list[str], most: float) -> None:
    """`systemd-analyze security` gives it no more than the exposure that was promised."""
    root = machine.root / "root"
    machine.run("service", "install", "--root", str(root), *options)

    said = analyze("security", "--offline=true", str(root / UNITS / "s32s.service")).stdout

    exposure = re.search(r"exposure level for s32s.service: ([0-9.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= most


def test_installing_twice_changes_nothing(machine: Machine) -> None:
    """And removing leaves configuration and data."""
    root = machine.root / "root"
    first = machine.run("service", "install", "--root", str(root))
    before = {file: file.lstat().st_mtime_ns for file in root.rglob("*")}

    second = machine.run("service", "install", "--root", str(root))
    after = {file: file.lstat().st_mtime_ns for file in root.rglob("*")}
    removed = machine.run("service", "remove", "--root", str(root))
    again = machine.run("service", "remove", "--root", str(root))

    assert "enabled s32s.timer" in first.out
    assert "nothing to do" in second.out
    assert after == before
    assert not list((root / UNITS).glob("s32s*"))
    assert (removed.status, again.status) == (0, 0)
    assert "nothing to do" in again.out
    assert machine.config.exists()


@has_systemd
@pytest.mark.parametrize("options", [[], ["--instance", "web"], ["--run-as", "daemon"]], ids=" ".join)
def test_systemd_accepts_a_service_that_watches(machine: Machine, options: list[str]) -> None:
    """One unit, as hardened as the other, that comes up with the machine."""
    root = machine.root / "root"

    ended = machine.run("service", "install", "--watch", "--root", str(root), *options)

    assert ended.status == 0, ended.err
    [file] = (root / UNITS).glob("s32s*")
    verified = analyze("verify", "--man=no", str(file))
    assert verified.returncode == 0, verified.stderr
    said = analyze("security", "--offline=true", str(file)).stdout
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= 2.5
    text = file.read_text()
    for line in ("Type=notify", "WatchdogSec=10min", "ExecReload=kill -HUP $MAINPID", "WantedBy=multi-user.target"):
        assert f"{line}\n" in text
    assert " watch --config " in text
    assert (root / UNITS / "multi-user.target.wants" / file.name).is_symlink()


def test_a_timer_becomes_a_watch_and_a_watch_a_timer(machine: Machine) -> None:
    """Each takes the place of the other, and removing removes either."""
    root = machine.root / "root"

    def there(*options: str) -> set[str]:
        assert machine.run("service", "install", "--root", str(root), *options).status == 0
        return {str(file.relative_to(root / UNITS)) for file in (root / UNITS).rglob("s32s*")}

    timer = {"s32s.service", "s32s.timer", "timers.target.wants/s32s.timer"}
    watch = {"s32s.service", "multi-user.target.wants/s32s.service"}
    assert there() == timer
    assert there("--watch") == watch
    assert there() == timer
    assert there("--watch") == watch
    assert machine.run("service", "remove", "--root", str(root)).status == 0
    assert not list((root / UNITS).rglob("s32s*"))


def test_a_run_of_the_service_ends_some_time(machine: Machine) -> None:
    """A oneshot service has no limit of its own, and its timer waits for it."""
    shown = machine.run("service", "show")

    assert "TimeoutStartSec=6h\n" in shown.out


def test_what_is_shown_is_what_would_be_installed(machine: Machine) -> None:
    """`show` writes nothing."""
    root = machine.root / "root"
    shown = machine.run("service", "show", "--every", "1h", "--update-maps", "--credentials", "/etc/s32s/credentials")
    machine.run(
        "service",
        "install",
        *("--root", str(root), "--every", "1h", "--update-maps", "--credentials", "/etc/s32s/credentials"),
    )

    for file in (root / UNITS).glob("s32s*.*"):
        assert file.read_text() in shown.out
    assert f'ReadWritePaths="{machine.root}/srv www"' in shown.out
    assert "sync --config" in shown.out
    assert "--update-maps" in shown.out
    assert "LoadCredential=aws:/etc/s32s/credentials" in shown.out
    assert "OnCalendar=*-*-* 0/1:00:00" in shown.out


def test_a_shared_folder_has_a_service_of_its_person(machine: Machine) -> None:
    """One of the system could not write there."""
    machine.write_config("peer", "bucket/maps")

    system, own = machine.run("service", "show"), machine.run("service", "show", "--user")

    assert system.status == 2
    assert "s32s service install --user" in system.err
    assert own.status == 0
    assert "ExecStart=" in own.out


def test_several_configurations_on_one_host(machine: Machine) -> None:
    """Each with its own state."""
    shown = machine.run("service", "show", "--instance", "web")

    assert "s32s@web.timer" in shown.out
    assert "StateDirectory=s32s/web" in shown.out


@pytest.mark.parametrize(
    ("pace", "calendar"),
    [
        ("10s", "*-*-* *:*:0/10"),
        ("5min", "*-*-* *:0/5:00"),
        ("1h", "*-*-* 0/1:00:00"),
        ("6h", "*-*-* 0/6:00:00"),
        ("1d", "*-*-* 00:00:00"),
    ],
)
def test_a_pace_is_a_calendar_where_there_is_one(pace: str, calendar: str) -> None:
    """Then a run that was missed is made up for."""
    assert Schedule.every(pace).lines[:2] == (f"OnCalendar={calendar}", "Persistent=true")


def test_any_other_pace_counts_from_the_last_run() -> None:
    """There is no calendar for every seven minutes."""
    assert "OnUnitActiveSec=420s" in Schedule.every("7min").lines


def test_each_host_keeps_its_own_offset() -> None:
    """A fleet does not ask S3 all at once."""
    assert Schedule.every("5min").lines[2:] == ("RandomizedDelaySec=300s", "FixedRandomDelay=true")


@pytest.mark.parametrize("pace", ["often", "1s", "-5min", ""])
def test_a_pace_that_is_none(pace: str) -> None:
    """It is said what would be one."""
    with pytest.raises(UsageError, match="--every"):
        Schedule.every(pace)


@has_systemd
def test_a_schedule_that_systemd_does_not_understand(machine: Machine) -> None:
    """Its own words are shown, and nothing is written."""
    ended = machine.run("service", "install", "--root", str(machine.root / "root"), "--on-calendar", "sometimes")

    assert_failed(ended, 2, says="systemd does not understand the schedule")
    assert "sometimes" in ended.err
    assert not (machine.root / "root").exists()


def test_an_allowed_directory_that_does_not_exist(machine: Machine) -> None:
    """The sandbox could not be made: found before anything is written."""
    machine.write_config("slave", "bucket/maps", allow=[machine.root / "nowhere"])

    ended = machine.run("service", "install", "--root", str(machine.root / "root"))

    assert_failed(ended, 2, says="nowhere")
    assert "mkdir -p" in ended.err
    assert not (machine.root / "root").exists()


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="a systemd runs here")
def test_no_systemd_is_said_with_the_ways_out(machine: Machine) -> None:
    """What to do instead stands there, too."""
    ended = machine.run("service", "install")

    assert_failed(ended, 2, says="systemd does not run on this machine")
    assert all(way in ended.err for way in ("s32s service show", "--root", "cron"))
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["../x", "a b", "", "x" * 70])
def test_an_instance_that_is_no_name(machine: Machine, name: str) -> None:
    """It becomes part of file names."""
    assert_failed(machine.run("service", "show", "--instance", name or " "), 2, says="not a name of an instance")


def test_monitoring_is_told_of_an_entry_that_does_not_succeed(machine: Machine) -> None:
    """`s32s status --check TIME` exits with 1, and names it."""
    from support.servers import make_bucket, put

    make_bucket(machine.server, "check-bucket")
    put(
        machine.server,
        "check-bucket",
        "maps/m.json",
        b'[{"name": "WEB", "s3": "check-bucket/w", "master": "/nowhere"}]',
    )
    machine.write_config("master", "check-bucket/maps")
    machine.run("sync")

    late = machine.run("status", "--check", "30min")
    wrong = machine.run("status", "--check", "soon")

    assert_failed(late, 1, says="WEB: no success within 30min")
    assert_failed(wrong, 2, says="--check")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_sync_works_in_the_sandbox(tmp_path: Path, moto: S3Server) -> None:
    """A file system that is read-only but for `allow`, which is a mount of its own, and few capabilities left."""
    import uuid

    from support.machine import make_loop
    from support.servers import make_bucket
    from support.trees import make_tree, snapshot

    bucket = f"test-{uuid.uuid4().hex}"
    make_bucket(moto, bucket)
    loop = make_loop(tmp_path, moto, bucket)
    make_tree(loop.source, {"a": b"1", "d/b": b"2"})
    loop.push()
    loop.slave.run("status")
    for name in ("state", "cache"):
        (loop.slave.root / name).mkdir(exist_ok=True)
    mounts = " && ".join(
        f"mount --bind '{path}' '{path}'"
        for path in (loop.target.parent, loop.slave.root / "state", loop.slave.root / "cache")
    )
    inside = (
        f"mount --make-rprivate / && {mounts} && mount -o remount,ro,bind / && "
        "exec setpriv --no-new-privs --bounding-set=-all,+chown,+dac_override,+fowner,+fsetid "
        '--inh-caps=-all "$@"'
    )

    def sandboxed() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", inside, "sh", *loop.slave.command("sync")],
            env=loop.slave.environment(),
            cwd=loop.slave.root,
            capture_output=True,
            text=True,
            check=False,
        )

    first = sandboxed()
    if "Operation not permitted" in first.stderr and "mount" in first.stderr:
        pytest.skip("mounting is not allowed here")
    make_tree(loop.source, {"a": b"other"})
    loop.push()
    second = sandboxed()

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert snapshot(loop.target) == snapshot(loop.source)
