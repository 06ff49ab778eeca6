"""How units get to their place: written, checked by systemd, started, removed.

`install` starts the timer; below another root it only writes. A unit that is already as it should be is left alone, so
installing twice changes nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from s32s.core import paths
from s32s.core.errors import S32sError, UsageError
from s32s.core.role import Role
from s32s.frontends.units import SYSTEM_UNITS, Schedule, Service, units
from s32s.system import atomic


class ServiceError(S32sError):
    """systemd refuses what it was asked for; its own words are in the message."""


def install(service: Service, *, root: Path | None = None) -> list[str]:
    """Write the units, let systemd check them, start the timer; return what was done, for people.

    Args:
        root: install below it instead, without a running systemd.

    Raises:
        UsageError: not root, no systemd runs here, or the schedule is not one; nothing was written.
        ServiceError: systemd does not understand the units; they are as they were.
    """
    texts = units(service)
    directory = _below(root, service.directory)
    _check_schedule(service)
    if root is None:
        _check_systemd(service)
    done: list[str] = []
    before = {name: _text_of(directory / name) for name in texts}
    try:
        for name, text in texts.items():
            if before[name] != text:
                directory.mkdir(parents=True, exist_ok=True)
                atomic.write_atomic(directory / name, text.encode())
                done.append(f"wrote {directory / name}")
    except OSError as exc:
        raise UsageError(f"{exc.filename or directory} cannot be written: {exc.strerror}") from exc
    unit, other = service.enabled, replace(service, watches=not service.watches)
    if root is not None:
        for file in (directory / other.wants / other.enabled, *_not_needed(directory, service)):
            if file.is_symlink() or file.exists():
                file.unlink()
                done.append(f"removed {file}")
        link = directory / service.wants / unit
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../{unit}")
            done.append(f"enabled {unit}")
        return done or ["nothing to do: the units are as they should be"]
    try:
        _verify([directory / name for name in texts], service)
    except ServiceError:
        for name, old in before.items():
            _put_back(directory / name, old)
        raise
    if (directory / other.wants / other.enabled).is_symlink():
        _systemctl(service, "disable", "--now", other.enabled)
        done.append(f"stopped {other.enabled}")
    for file in _not_needed(directory, service):
        file.unlink(missing_ok=True)
    if done:
        _systemctl(service, "daemon-reload")
    # A watch is ready after its first comparison, which nobody has to wait for.
    _systemctl(service, "enable", "--now", *(["--no-block"] if service.watches else []), unit)
    if service.watches:
        if done:
            _systemctl(service, "restart", "--no-block", unit)
        return [*(done or ["the unit is as it should be"]), f"{unit} watches; journalctl -u {unit} says what it does"]
    return [*(done or ["the units are as they should be"]), f"the timer {unit} runs", *_next_run(service)]


def _not_needed(directory: Path, service: Service) -> list[Path]:
    """Files of the other way to run, which this one has not."""
    return [directory / f"{service.name}.timer"] if service.watches else []


def remove(
    instance: str | None, *, is_user_unit: bool, directory: Path = SYSTEM_UNITS, root: Path | None = None
) -> list[str]:
    """Stop the timer and remove the units; configuration and data stay. Return what was done, for people.

    Raises:
        UsageError: they cannot be removed.
    """
    service = Service(
        (), Path(), Role.SLAVE, Schedule(()), instance=instance, is_user_unit=is_user_unit, directory=directory
    )
    directory, name = _below(root, directory), service.name
    watch = replace(service, watches=True)
    links = [directory / one.wants / one.enabled for one in (service, watch)]
    files = [directory / f"{name}.service", directory / f"{name}.timer", *links]
    there = [file for file in files if file.is_symlink() or file.exists()]
    if not there:
        return [f"nothing to do: there is no {name}.service in {directory}"]
    if root is None:
        _check_root(service)
        for one in (service, watch):
            if (directory / one.enabled).exists():
                _systemctl(service, "disable", "--now", one.enabled)
    for file in there:
        try:
            file.unlink(missing_ok=True)  # disabling has taken the link away already
        except OSError as exc:
            raise UsageError(f"{file} cannot be removed: {exc.strerror}") from exc
    if root is None:
        _systemctl(service, "daemon-reload")
    return [f"removed {file}" for file in there] + ["configuration, state and directories stay as they are"]


# -- systemd -----------------------------------------------------------------------------------------------------------


def _below(root: Path | None, directory: Path) -> Path:
    return directory if root is None else root / directory.relative_to("/")


def _check_systemd(service: Service) -> None:
    if not os.path.isdir("/run/systemd/system") or shutil.which("systemctl") is None:
        raise UsageError(
            "systemd does not run on this machine",
            hint='"s32s service show" prints the units, --root writes them elsewhere; or run "s32s sync" from cron',
        )
    _check_root(service)


def _check_root(service: Service) -> None:
    if not service.is_user_unit and os.geteuid() != 0:
        raise UsageError("only root may install a system service", hint="use sudo, or --user for a service of your own")


def _check_schedule(service: Service) -> None:
    if shutil.which("systemd-analyze") is None:
        return  # where the units will be used, systemd says so itself
    for line in service.schedule.lines:
        if line.startswith("OnCalendar="):
            ended = _run("systemd-analyze", "calendar", line.removeprefix("OnCalendar="))
            if ended.returncode:
                raise UsageError(f"systemd does not understand the schedule: {_words(ended)}")


def _verify(files: Sequence[Path], service: Service) -> None:
    user = ["--user"] if service.is_user_unit else []
    ended = _run("systemd-analyze", *user, "verify", "--man=no", *map(str, files))
    if ended.returncode:
        raise ServiceError(f"systemd does not accept the units: {_words(ended)}", hint="nothing was changed")


def _systemctl(service: Service, *words: str) -> None:
    ended = _run("systemctl", *(["--user"] if service.is_user_unit else []), *words)
    if ended.returncode:
        raise ServiceError(f"systemctl {' '.join(words)} failed: {_words(ended)}")


def _next_run(service: Service) -> list[str]:
    user = ["--user"] if service.is_user_unit else []
    ended = _run("systemctl", *user, "show", "--property=NextElapseUSecRealtime", "--value", f"{service.name}.timer")
    return [f"next run: {ended.stdout.strip()}"] if ended.stdout.strip() else []


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)


def _words(ended: subprocess.CompletedProcess[str]) -> str:
    return paths.escape(" ".join((ended.stderr.strip() or ended.stdout.strip()).split()))


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _put_back(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink(missing_ok=True)
    else:
        atomic.write_atomic(file, text.encode())
