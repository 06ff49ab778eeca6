"""The systemd units of one machine, as values and texts; `systemd.py` brings them to their place.

The sandbox grants what the configuration allows and no more. Each of `ReadWritePaths` becomes a mount point inside it,
and a rename across two of them fails, so it names the directories of `allow`, below which targets and staging are side
by side. Other processes stay visible: their mount tables tell whether a target is mounted into a container.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from s32s.config.settings import Settings, duration_s
from s32s.core import paths
from s32s.core.errors import ConfigError, UsageError
from s32s.core.role import Role

SYSTEM_UNITS = Path("/etc/systemd/system")
_MINUTE = 60
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the timer fires: lines of its `[Timer]` section."""

    lines: tuple[str, ...]

    @classmethod
    def every(cls, text: str) -> Schedule:
        """A fixed pace, such as "5min" or "1h"; every host keeps an offset of its own within it.

        Raises:
            UsageError: it is not a duration, or shorter than ten seconds.
        """
        try:
            seconds = int(duration_s(text))
        except ValueError as exc:
            raise UsageError(f"--every: {exc}") from exc
        if seconds < 10:
            raise UsageError(f"--every {text}: the pace is ten seconds at least")
        spread = min(seconds, 60 * _MINUTE)
        calendar = _calendar(seconds)
        if calendar is not None:
            # Persistent only means something to calendar timers (systemd.timer(5)): a run that was missed is made up.
            return cls((f"OnCalendar={calendar}", "Persistent=true", *_spread(spread)))
        return cls((f"OnBootSec={min(seconds, 60)}s", f"OnUnitActiveSec={seconds}s", *_spread(spread)))

    @classmethod
    def on_calendar(cls, text: str) -> Schedule:
        """A calendar expression, as systemd.time(7) knows it."""
        if "\n" in text or not text.strip():
            raise UsageError("--on-calendar takes an expression of systemd.time(7), such as Mon..Fri 06:00")
        return cls((f"OnCalendar={text.strip()}", "Persistent=true", *_spread(_MINUTE)))


@dataclass(frozen=True, slots=True)
class Service:
    """What the units of one machine say.

    Attributes:
        program: words of the command.
        config: the configuration file.
        allow: directories that a slave may write below.
        sources: directories that a master reads.
        schedule: of the timer.
        instance: which of several configurations; None for the only one.
        user: whom it runs as; None for root.
        is_user_unit: for the systemd of a user, which has no sandbox to speak of.
        update_maps: whether each run fetches the maps first.
        credentials: a file of AWS credentials that systemd hands over; None for none.
        directory: where the units lie.
        metrics: directory of the file for Prometheus; None for none.
        watches: a service that watches, instead of one that a timer starts.
    """

    program: tuple[str, ...]
    config: Path
    role: Role
    schedule: Schedule
    allow: tuple[str, ...] = ()
    instance: str | None = None
    user: str | None = None
    is_user_unit: bool = False
    update_maps: bool = False
    credentials: Path | None = None
    directory: Path = SYSTEM_UNITS
    metrics: str | None = None
    watches: bool = False

    @property
    def name(self) -> str:
        """Of both units, without what tells them apart."""
        return f"s32s@{self.instance}" if self.instance else "s32s"

    @property
    def enabled(self) -> str:
        """The unit that is to be enabled: the timer, or a service that watches."""
        return f"{self.name}.{'service' if self.watches else 'timer'}"

    @property
    def wants(self) -> str:
        """The directory of links that enables it, beside the units."""
        if not self.watches:
            return "timers.target.wants"
        return "default.target.wants" if self.is_user_unit else "multi-user.target.wants"


def of_machine(
    configuration: Settings,
    config: Path,
    schedule: Schedule,
    *,
    instance: str | None = None,
    user: str | None = None,
    is_user_unit: bool = False,
    update_maps: bool = False,
    credentials: Path | None = None,
    directory: Path = SYSTEM_UNITS,
    watches: bool = False,
) -> Service:
    """The service for a configuration, checked against this machine.

    Raises:
        ConfigError: an allowed directory does not exist, so that the sandbox could not be made, or the role is peer and
            the service is not one of a user.
        UsageError: the instance is not a name.
    """
    if instance is not None and not _INSTANCE.fullmatch(instance):
        raise UsageError(f"{paths.quote(instance)} is not a name of an instance: letters, digits, _ . and -")
    if configuration.role is Role.PEER and not is_user_unit:
        raise ConfigError(
            "a shared folder belongs to a person, and a service of the system may not write there",
            hint="install a service of yours: s32s service install --user",
        )
    missing = [directory for directory in configuration.allow if not os.path.isdir(directory)]
    if configuration.role is Role.SLAVE and missing:
        raise ConfigError(
            f"{paths.some(missing)} of allow {'does' if len(missing) == 1 else 'do'} not exist",
            hint=f"make it first: mkdir -p {missing[0]}",
        )
    found = shutil.which("s32s")
    return Service(
        program=(found,) if found else (sys.executable, "-m", "s32s"),
        config=config.absolute(),
        role=configuration.role,
        schedule=schedule,
        allow=configuration.allow if configuration.role is Role.SLAVE else (),
        instance=instance,
        user=user,
        is_user_unit=is_user_unit,
        update_maps=update_maps,
        credentials=credentials.absolute() if credentials else None,
        directory=directory,
        metrics=os.path.dirname(configuration.metrics.textfile) if configuration.metrics.textfile else None,
        watches=watches,
    )


def units(service: Service) -> dict[str, str]:
    """The texts of service and timer, by file name; one that watches has no timer."""
    texts = {f"{service.name}.service": _service_text(service)}
    return texts if service.watches else {**texts, f"{service.name}.timer": _timer_text(service)}


#: Statuses of systemd itself, for a sandbox that could not be made: systemd.exec(5), "Process Exit Codes".
_SANDBOX_STATUSES = "200 203 217 218 226 228 237 238 239 243"


def _service_text(service: Service) -> str:
    words = [*service.program, "watch" if service.watches else "sync", "--config", str(service.config)]
    words += ["--update-maps"] if service.update_maps else []
    does = "keep" if service.watches else "bring"
    lines = [
        "# Written by `s32s service install`; local changes belong into a drop-in (systemctl edit).",
        "[Unit]",
        f"Description=s32s: {does} the {service.role.value} {service.instance or 'of this machine'} up to date with S3",
        "Documentation=man:s32s(1)",
        *(() if service.is_user_unit else ("Wants=network-online.target", "After=network-online.target")),
        # Status 75 is tried again at once; a machine that never gets anywhere waits for the timer.
        "StartLimitIntervalSec=10min",
        "StartLimitBurst=5",
        "",
        "[Service]",
        *(_watching(words) if service.watches else _once(words)),
        "TimeoutStopSec=15",
        "SyslogIdentifier=s32s",
        f"EnvironmentFile=-{'%h/.config' if service.is_user_unit else '/etc'}/s32s/environment",
    ]
    if service.credentials is not None:
        lines += [
            f"LoadCredential=aws:{_quoted(str(service.credentials))}",
            "Environment=AWS_SHARED_CREDENTIALS_FILE=%d/aws",
        ]
    if not service.is_user_unit:
        lines += _sandbox(service)
    if service.watches:
        lines += ["", "[Install]", f"WantedBy={service.wants.removesuffix('.wants')}"]
    return "\n".join(lines) + "\n"


def _once(words: Sequence[str]) -> list[str]:
    """How a service runs that a timer starts."""
    return [
        "Type=oneshot",
        f"ExecStart={' '.join(map(_quoted, words))}",
        "NotifyAccess=main",
        "SuccessExitStatus=143",
        # Only 75 is tried again at once: the lock is held, a push is unfinished, S3 is away. systemd 252 takes no
        # RestartForceExitStatus for a oneshot service, so all else is ruled out instead.
        "Restart=on-failure",
        f"RestartPreventExitStatus=1 2 3 130 141 {_SANDBOX_STATUSES} SIGABRT SIGKILL SIGSEGV SIGTERM",
        "RestartSec=30",
        # A oneshot service has no limit by default (systemd.service(5)), and its timer waits for it.
        "TimeoutStartSec=6h",
    ]


def _watching(words: Sequence[str]) -> list[str]:
    """How a service runs that watches. It is ready when every entry has had its turn, which may take as long as a sync.

    It ends by itself only for what trying again does not cure.
    """
    return [
        "Type=notify",
        f"ExecStart={' '.join(map(_quoted, words))}",
        "ExecReload=kill -HUP $MAINPID",
        "NotifyAccess=main",
        "WatchdogSec=10min",
        "SuccessExitStatus=143",
        "Restart=on-failure",
        f"RestartPreventExitStatus=2 3 {_SANDBOX_STATUSES}",
        "RestartSec=30",
        "TimeoutStartSec=6h",
    ]


def _sandbox(service: Service) -> list[str]:
    """What the service may do: as little as a sync needs (systemd.exec(5))."""
    state = f"s32s/{service.instance}" if service.instance else "s32s"
    at_home = service.role is Role.MASTER or any(_is_within(path, ("/home", "/root")) for path in service.allow)
    in_tmp = any(_is_within(path, ("/tmp", "/var/tmp")) for path in service.allow)  # noqa: S108 # names, not files
    # Root keeps what it needs to give files to their directory's owner and to replace those of others.
    capabilities = "" if service.user else "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID"
    return [
        *([f"User={service.user}"] if service.user else []),
        f"StateDirectory={state}",
        f"CacheDirectory={state}",
        "StateDirectoryMode=0700",
        "CacheDirectoryMode=0700",
        *(f"ReadWritePaths={_quoted(path)}" for path in service.allow),
        # With a minus: numbers that cannot be left must not keep the service from starting.
        *([f"ReadWritePaths=-{_quoted(service.metrics)}"] if service.metrics else []),
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if at_home else 'yes'}",
        f"PrivateTmp={'no' if in_tmp else 'yes'}",
        "PrivateDevices=yes",
        "PrivateMounts=yes",
        # Processes stay visible (no ProtectProc): their mount tables tell what is mounted into containers.
        "ProcSubset=pid",
        f"CapabilityBoundingSet={capabilities}",
        "NoNewPrivileges=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        *([] if service.user else ["SystemCallFilter=@chown"]),
        "SystemCallErrorNumber=EPERM",
        "UMask=0022",
    ]


def _timer_text(service: Service) -> str:
    lines = [
        "# Written by `s32s service install`; local changes belong into a drop-in (systemctl edit).",
        "[Unit]",
        f"Description=s32s: when to bring {service.instance or 'this machine'} up to date with S3",
        "Documentation=man:s32s(1)",
        "",
        "[Timer]",
        *service.schedule.lines,
        "AccuracySec=1s",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join(lines) + "\n"


def _calendar(seconds: int) -> str | None:
    """A calendar expression that fires at this pace, where there is one."""
    if seconds < 60 and 60 % seconds == 0:
        return f"*-*-* *:*:0/{seconds}"
    minutes, rest = divmod(seconds, 60)
    if not rest and minutes < 60 and 60 % minutes == 0:
        return f"*-*-* *:0/{minutes}:00"
    hours, rest = divmod(seconds, 3600)
    if not rest and hours < 24 and 24 % hours == 0:
        return f"*-*-* 0/{hours}:00:00"
    return "*-*-* 00:00:00" if seconds == 86400 else None


def _spread(seconds: int) -> tuple[str, ...]:
    """An offset of each host's own, the same every time: a fleet does not ask S3 all at once."""
    return f"RandomizedDelaySec={seconds}s", "FixedRandomDelay=true"


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) reads it: quoted where it must be, with its own signs doubled."""
    plain = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./-]+", plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def _is_within(path: str, above: Sequence[str]) -> bool:
    return any(paths.is_within(path, one) for one in above)
