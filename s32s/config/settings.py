"""This machine's configuration as values: the tables of `s32s.toml` (design 3). `settings_file.py` reads the file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic
from pydantic_core import PydanticCustomError

from s32s.config.map_files import suggestion
from s32s.core import guards, paths
from s32s.core.guards import MaxDelete
from s32s.core.location import STORE_NAME, S3Path
from s32s.core.role import Role
from s32s.core.rules import compile_rules
from s32s.system.rate_limit import bytes_a_second

if TYPE_CHECKING:
    from s32s.config.maps import Entry

NAME = "s32s.toml"
#: Stands for the maps where a configuration names none.
NO_MAPS = "no-maps-on-this-machine"
#: At most: enough to hide the round trips of small files on a long line; on a short one fewer are used.
DEFAULT_JOBS = 256
MAX_JOBS = 512

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(s|sec|min|m|h|d)")
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


_URL = r"^https?://([^/\s:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/.*)?$"


class S3Connection(pydantic.BaseModel):
    """How an S3 endpoint is reached. All optional: what is missing comes from where boto3 looks."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    endpoint_url: Annotated[str, pydantic.StringConstraints(pattern=_URL)] | None = None
    """Address of an S3 server other than AWS, such as http://nas:9000."""
    profile: Annotated[str, pydantic.StringConstraints(min_length=1)] | None = None
    """AWS profile; otherwise credentials are found as boto3 finds them."""
    region: Annotated[str, pydantic.StringConstraints(min_length=1)] | None = None
    """AWS region."""
    ca_bundle: Annotated[str, pydantic.StringConstraints(pattern=r"^/")] | None = None
    """PEM file with the certificates of a private authority; otherwise AWS_CA_BUNDLE, or those of the system."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """How a bucket is addressed: in the path, or as a virtual host; "auto" is the path for servers other than AWS."""
    retries: Annotated[int, pydantic.Field(ge=0, le=20)] = 8
    """How often a request that fails for the moment is repeated, 0 to 20; 8 by default."""


class MenuSettings(pydantic.BaseModel):
    """The table [menu]: how the interactive menu behaves; it writes these itself."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    sort: Literal["map", "name", "state"] = "map"
    """Order of the entries: "map", "name" or "state"."""
    ask: bool = True
    """Whether it asks before something is deleted or replaced; true by default."""
    details: bool = True
    """Whether details of the chosen entry are beside the list, or below it; true by default."""


class WatchSettings(pydantic.BaseModel):
    """The table [watch]: how often `s32s watch` looks."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    settle_s: Annotated[float, pydantic.Field(alias="settle")] = 0.5
    """How long a directory must have been quiet before its changes are taken; "0.5s" by default, ten times at most."""
    poll_s: Annotated[float, pydantic.Field(alias="poll")] = 5.0
    """How often S3 is asked whether there is anything new; "5s" by default."""

    @pydantic.field_validator("settle_s", "poll_s", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> float:
        try:
            seconds = duration_s(value)
        except ValueError as exc:
            raise _fail(str(exc)) from exc
        if not 0.1 <= seconds <= 86400:
            raise _fail(f"{shown(value)} is not between 0.1s and 1d")
        return seconds


class PeerSettings(pydantic.BaseModel):
    """The table [peer]: what this person wants of shared folders."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    ignore: tuple[str, ...] = ()
    """More rules as those of "ignore" in a map, for this computer alone: what they name is neither sent nor fetched."""
    folders: Mapping[str, str] = {}
    """Where the folder of an entry is on this computer, by the entry's name, instead of where the map says."""

    @pydantic.field_validator("ignore", mode="before")
    @classmethod
    def _ignore(cls, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(rule, str) and rule for rule in value):
            raise _fail("it must be a list of rules")
        try:
            compile_rules(ignore=value)
        except ValueError as exc:
            raise _fail(str(exc)) from exc
        return tuple(value)


class MetricsSettings(pydantic.BaseModel):
    """The table [metrics]: where numbers for Prometheus are left."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    textfile: Annotated[str, pydantic.StringConstraints(pattern=r"^/.*[^/]\.prom$")] | None = None
    """File for the text collector of node_exporter; it ends in .prom."""


class NotifySettings(pydantic.BaseModel):
    """The table [notify]: what is told elsewhere after each copy and sync of entries, and by a watch."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    url: Annotated[str, pydantic.StringConstraints(pattern=_URL)] | None = None
    """Address for a POST after each run, and by a watch each minute; "/fail" is put behind it after a failure."""
    on_failure: Annotated[str, pydantic.StringConstraints(min_length=1)] | None = None
    """Command for /bin/sh after a run that failed; it finds S32S_STATUS, S32S_FAILED (entries) and S32S_ERROR."""


class StoreSettings(pydantic.BaseModel):
    """A table [stores.NAME]: a place for trees that is not the S3 of [s3]. All other keys are for its type."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True, strict=True)

    type: Annotated[str, pydantic.StringConstraints(pattern=r"^([a-z][a-z0-9-]*|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")]
    """"s3" with the keys of [s3], "file" with a path, "fsspec" with the url of a directory and what its library takes,
    "package.module:Class" or the name under which a package offers its backend, with what that takes."""


class Settings(pydantic.BaseModel):
    """The content of `s32s.toml`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    role: Role
    """What this machine is: master, slave, mirror or peer."""
    maps: S3Path
    """S3 path of the maps: bucket/prefix with every *.json below it, or one .json object."""
    allow_system: bool = False
    """Whether "allow" and targets may be in directories of the system, such as /etc; false by default."""
    allow: tuple[str, ...] = ()
    """Directories strictly below which a slave may write."""
    allow_links: tuple[str, ...] = ()
    """Directories that symbolic links of a slave may point to or into, out of their tree; none by default."""
    max_delete: MaxDelete = MaxDelete(50, percent=True)
    """A sync that would delete more is refused: a count, or a percentage of what is there now; "50%" by default."""
    keep: Annotated[int, pydantic.Field(ge=0, le=100)] = 0
    """How many earlier trees of each target a slave keeps beside it, to go back to without S3; none by default."""
    list_every_s: Annotated[float, pydantic.Field(alias="list_every")] = 3600.0
    """How often a slave compares manifest and objects: "1h" by default, "0s" always, "never"."""
    jobs: Annotated[int, pydantic.Field(ge=1, le=MAX_JOBS)] = DEFAULT_JOBS
    """How many files move at once at most, 1 to 512; 256 by default."""
    bandwidth: int | None = None
    """Bytes a second in each direction, such as "10M"; no limit by default."""
    s3: S3Connection = S3Connection()
    stores: Mapping[Annotated[str, pydantic.StringConstraints(pattern=rf"^{STORE_NAME}$")], StoreSettings] = {}
    commands: Mapping[str, Annotated[str, pydantic.StringConstraints(min_length=1)]] = {}
    after_timeout_s: Annotated[float, pydantic.Field(alias="after_timeout")] = 600.0
    """How long a command of "after" may take; "10min" by default."""
    metrics: MetricsSettings = MetricsSettings()
    notify: NotifySettings = NotifySettings()
    menu: MenuSettings = MenuSettings()
    watch: WatchSettings = WatchSettings()
    peer: PeerSettings = PeerSettings()

    def place(self, entry: Entry, role: Role) -> str | None:
        """The place of a role on this computer; of a shared folder, `peer.folders` goes before the map."""
        place = entry.place(role)
        return self.peer.folders.get(entry.name, place) if role is Role.PEER and place else place

    def direction(self, entry: Entry, role: Role) -> tuple[str, str]:
        """Where from and where to, on this computer."""
        return (self.place(entry, role) or "", entry.s3) if role is Role.PEER else entry.direction(role)

    @property
    def has_maps(self) -> bool:
        """Whether entries may be named here, and not places alone."""
        return str(self.maps) != NO_MAPS

    @pydantic.field_validator("role", mode="before")
    @classmethod
    def _role(cls, value: object) -> Role:
        try:
            return Role(value)
        except ValueError:
            close = suggestion(value, [role.value for role in Role]) if isinstance(value, str) else ""
            raise _fail(f"{shown(value)} is not a role", close) from None

    @pydantic.field_validator("maps", mode="before")
    @classmethod
    def _maps(cls, value: object) -> S3Path:
        if not isinstance(value, str) or not value:
            raise _fail("it must be the S3 path of the maps, such as bucket/prefix")
        try:
            return S3Path.parse(value)
        except ValueError as exc:
            raise _fail(str(exc)) from exc

    @pydantic.field_validator("allow", mode="before")
    @classmethod
    def _allow(cls, value: object, info: pydantic.ValidationInfo) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise _fail("it must be a list of directories")
        # Where that key itself is wrong only this is told.
        allow_system = info.data.get("allow_system", True)
        for path in value:
            if problem := allow_problem(path, allow_system=allow_system):
                raise _fail(problem)
        return tuple(map(plain_directory, value))

    @pydantic.field_validator("allow_links", mode="before")
    @classmethod
    def _allow_links(cls, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise _fail("it must be a list of directories")
        for path in value:
            if not isinstance(path, str) or not path.startswith("/") or ".." in path.split("/"):
                raise _fail(f"{shown(path)} is not an absolute directory")
        return tuple(map(plain_directory, value))

    @pydantic.field_validator("max_delete", mode="before")
    @classmethod
    def _max_delete(cls, value: object) -> MaxDelete:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return MaxDelete(value, percent=False)
        if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", value.strip())):
            number, percent = float(match[1]), bool(match[2])
            if number <= 100 if percent else match[1].isdigit():
                return MaxDelete(number, percent=percent)
        raise _fail(f'{shown(value)} is neither a count, such as 500, nor a percentage up to 100, such as "50%"')

    @pydantic.field_validator("list_every_s", mode="before")
    @classmethod
    def _list_every(cls, value: object) -> float:
        if value == "never":
            return float("inf")
        try:
            return duration_s(value)
        except ValueError as exc:
            raise _fail(f'{exc}; or "never"') from exc

    @pydantic.field_validator("bandwidth", mode="before")
    @classmethod
    def _bandwidth(cls, value: object) -> int:
        if not isinstance(value, str):
            raise _fail(f'{shown(value)} is not a bandwidth, such as "500K", "10M" or "1G"')
        try:
            return bytes_a_second(value)
        except ValueError as exc:
            raise _fail(str(exc)) from exc

    @pydantic.field_validator("after_timeout_s", mode="before")
    @classmethod
    def _after_timeout(cls, value: object) -> float:
        try:
            return duration_s(value)
        except ValueError as exc:
            raise _fail(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Directories:
    """Where this machine keeps what it remembers.

    Attributes:
        state: index, locks, results.
        cache: maps and manifests; deleting it is always safe.
    """

    state: Path
    cache: Path

    @property
    def report(self) -> Path:
        """Where a run that nobody watches leaves its report; of the last run only."""
        return self.state / "report"


def is_url(text: str) -> bool:
    """Whether a text may be an `endpoint_url`."""
    return re.match(_URL, text) is not None


def duration_s(value: object) -> float:
    """Read "90s", "30min", "1h" or "2d" as seconds.

    Raises:
        ValueError: for people.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'{shown(value)} is not a duration, such as "90s", "30min", "1h" or "2d"')
    return float(match[1]) * _UNITS[match[2]]


def allow_problem(value: object, *, allow_system: bool) -> str | None:
    """Say why something cannot be one of `allow`, or None."""
    if not isinstance(value, str) or not value.startswith("/"):
        return f"{shown(value)} is not an absolute directory"
    if ".." in value.split("/"):
        return f'{shown(value)} contains ".."'
    return guards.allow_problem(plain_directory(value), allow_system=allow_system)


def link_problem(directory: str) -> str | None:
    """Say why a run would not open an allowed directory, or None."""
    real = os.path.realpath(directory)
    if real == plain_directory(directory):
        return None
    return f"{paths.quote(directory)} is, or is below, a symbolic link, which no run follows; name {paths.quote(real)}"


def plain_directory(value: str) -> str:
    """A directory without empty segments and dots, and without a final slash."""
    return "/" + "/".join(part for part in value.split("/") if part not in ("", "."))


def _fail(*texts: str) -> PydanticCustomError:
    return PydanticCustomError("s32s", "{text}", {"text": "".join(texts)})


def shown(value: object) -> str:
    """A value that is wrong, for people."""
    return paths.quote(value) if isinstance(value, str) else paths.escape(repr(value))
