"""This machine's configuration: `s32s.toml`, and where state and cache live (design 3).

The only module that reads the environment. A configuration is found, parsed and checked once, by the front end; what
works gets the values it needs. Unknown keys are refused by name, with the nearest known one.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError

from s32s.config.maps import Role, S3Path, suggestion
from s32s.core import guards, paths
from s32s.core.errors import ConfigError
from s32s.core.guards import MaxDelete
from s32s.system import atomic
from s32s.system.rate_limit import bytes_a_second

NAME = "s32s.toml"
#: At most: enough to hide the round trips of small files on a long line; on a short one fewer are used.
DEFAULT_JOBS = 64
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


class S3Settings(S3Connection):
    """The table [s3], and in it [s3.mirror]: where a mirror's copies go, when that is another endpoint or account.

    The two share nothing, so that a mirror from a server of one's own to AWS needs no way to say "no endpoint".
    """

    mirror: S3Connection | None = None


class MenuSettings(pydantic.BaseModel):
    """The table [menu]: how the interactive menu behaves; it writes these itself."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    sort: Literal["map", "name", "state"] = "map"
    """Order of the entries: "map", "name" or "state"."""
    ask: bool = True
    """Whether it asks before something is deleted or replaced; true by default."""
    details: bool = False
    """Whether details of the chosen entry stand below the list."""


class MetricsSettings(pydantic.BaseModel):
    """The table [metrics]: where numbers for Prometheus are left."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    textfile: Annotated[str, pydantic.StringConstraints(pattern=r"^/.*[^/]\.prom$")] | None = None
    """File for the text collector of node_exporter; it ends in .prom."""


class Settings(pydantic.BaseModel):
    """The content of `s32s.toml`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    role: Role
    """What this machine is: master, slave or mirror."""
    maps: S3Path
    """S3 path of the maps: bucket/prefix with every *.json below it, or one .json object."""
    allow_system: bool = False
    """Whether "allow" and targets may lie in directories of the system, such as /etc; false by default."""
    allow: tuple[str, ...] = ()
    """Directories strictly below which a slave may write."""
    max_delete: MaxDelete = MaxDelete(50, percent=True)
    """A sync that would delete more is refused: a count, or a percentage of what is there now; "50%" by default."""
    list_every_s: Annotated[float, pydantic.Field(alias="list_every")] = 3600.0
    """How often a slave compares manifest and objects: "1h" by default, "0s" always, "never"."""
    jobs: Annotated[int, pydantic.Field(ge=1, le=MAX_JOBS)] = DEFAULT_JOBS
    """How many files move at once at most, 1 to 512; 64 by default."""
    bandwidth: int | None = None
    """Bytes a second in each direction, such as "10M"; no limit by default."""
    s3: S3Settings = S3Settings()
    commands: Mapping[str, Annotated[str, pydantic.StringConstraints(min_length=1)]] = {}
    after_timeout_s: Annotated[float, pydantic.Field(alias="after_timeout")] = 600.0
    """How long a command of "after" may take; "10min" by default."""
    metrics: MetricsSettings = MetricsSettings()
    menu: MenuSettings = MenuSettings()

    @pydantic.field_validator("role", mode="before")
    @classmethod
    def _role(cls, value: object) -> Role:
        try:
            return Role(value)
        except ValueError:
            known = ", ".join(role.value for role in Role)
            close = suggestion(value, [role.value for role in Role]) if isinstance(value, str) else ""
            raise _fail(f"{_shown(value)} is not a role; the roles are {known}", close) from None

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
        return tuple(map(_directory, value))

    @pydantic.field_validator("max_delete", mode="before")
    @classmethod
    def _max_delete(cls, value: object) -> MaxDelete:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return MaxDelete(value, percent=False)
        if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", value.strip())):
            number, percent = float(match[1]), bool(match[2])
            if number <= 100 if percent else match[1].isdigit():
                return MaxDelete(number, percent=percent)
        raise _fail(f'{_shown(value)} is neither a count, such as 500, nor a percentage up to 100, such as "50%"')

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
            raise _fail(f'{_shown(value)} is not a bandwidth, such as "500K", "10M" or "1G"')
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
        raise ValueError(f'{_shown(value)} is not a duration, such as "90s", "30min", "1h" or "2d"')
    return float(match[1]) * _UNITS[match[2]]


def find(explicit: str | None, environment: Mapping[str, str]) -> Path:
    """The configuration file to use: `--config`, $S32S_CONFIG, ./s32s.toml, then the system's or the user's own.

    The file need not exist: `configure` makes it where `load` would look for it.
    """
    if explicit:
        return Path(explicit)
    if environment.get("S32S_CONFIG"):
        return Path(environment["S32S_CONFIG"])
    if os.path.lexists(NAME):
        return Path(NAME)
    if os.geteuid() == 0:
        return Path("/etc/s32s") / NAME
    return _xdg(environment, "XDG_CONFIG_HOME", ".config") / NAME


def directories(environment: Mapping[str, str]) -> Directories:
    """State and cache: systemd's directories, else the system's for root, else XDG's."""
    state, cache = environment.get("STATE_DIRECTORY"), environment.get("CACHE_DIRECTORY")
    if os.geteuid() == 0:
        default_state, default_cache = Path("/var/lib/s32s"), Path("/var/cache/s32s")
    else:
        default_state = _xdg(environment, "XDG_STATE_HOME", ".local/state")
        default_cache = _xdg(environment, "XDG_CACHE_HOME", ".cache")
    # systemd separates several directories by colons (systemd.exec(5)); the first is ours.
    return Directories(
        state=Path(state.split(":")[0]) if state else default_state,
        cache=Path(cache.split(":")[0]) if cache else default_cache,
    )


def user_units(environment: Mapping[str, str]) -> Path:
    """Where the systemd of a user looks for units (systemd.unit(5))."""
    return _xdg(environment, "XDG_CONFIG_HOME", ".config").parent / "systemd/user"


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises:
        ConfigError: missing, unreadable, unsafe, no TOML, or wrong; every wrong key at once.
    """
    try:
        with path.open("rb") as file:
            _check_owner(os.fstat(file.fileno()), path)
            document = tomllib.load(file)
    except FileNotFoundError as exc:
        raise ConfigError(
            f"there is no configuration at {path}",
            hint="write one with: s32s configure --role slave --maps BUCKET/PREFIX --allow DIRECTORY",
        ) from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deeply") from exc
    return check(document, where=str(path))


def check(document: Mapping[str, Any], *, where: str) -> Settings:
    """Check the content of a configuration.

    Raises:
        ConfigError: every wrong key at once.
    """
    try:
        settings = Settings.model_validate(document)
    except pydantic.ValidationError as exc:
        lines = "\n  ".join(map(_wrong, exc.errors()))
        raise ConfigError(f"{where} is wrong:\n  {lines}\n") from exc
    if settings.role is Role.SLAVE and not settings.allow:
        raise ConfigError(
            'a slave needs "allow": the directories it may write below, such as allow = ["/srv"]', where=where
        )
    return settings


def configure(path: Path, changes: Mapping[str, Any]) -> Settings:
    """Write a configuration, or change the named keys of one that is there; comments and order stay.

    Args:
        path: the file; its directory is made.
        changes: keys and tables of keys as in the file; None leaves a key as it is, an empty text removes it.

    Raises:
        ConfigError: the result would be wrong (nothing is written), or the file cannot be written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError, RecursionError) as exc:
        why = "it is nested too deeply" if isinstance(exc, RecursionError) else exc
        raise ConfigError(f"{path} is there and cannot be changed: {why}", hint="fix or move it first") from exc
    _change(document, changes, tomlkit.table)
    settings = check(document.unwrap(), where=str(path))
    for directory in settings.allow:
        if problem := link_problem(directory):
            raise ConfigError(f"allow: {problem}", where=str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # An existing file keeps its bits: an administrator has chosen them.
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        atomic.write_atomic(path, tomlkit.dumps(document).encode(), mode=mode)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
    return settings


def _change(table: Any, changes: Mapping[str, Any], make_table: Callable[[], Any]) -> None:
    """Set the given keys; what is not a table where one is needed stays, for `check` to name it."""
    for name, value in changes.items():
        if value == "":
            table.pop(name, None)
        elif not isinstance(value, Mapping):
            if value is not None:
                table[name] = value
        elif name in table or _given(value):
            inner = table.setdefault(name, make_table())
            if isinstance(inner, Mapping):
                _change(inner, value, make_table)


def _given(changes: Mapping[str, Any]) -> bool:
    return any(_given(value) if isinstance(value, Mapping) else value not in (None, "") for value in changes.values())


def allow_problem(value: object, *, allow_system: bool) -> str | None:
    """Say why something cannot be one of `allow`, or None."""
    if not isinstance(value, str) or not value.startswith("/"):
        return f"{_shown(value)} is not an absolute directory"
    if ".." in value.split("/"):
        return f'{_shown(value)} holds ".."'
    return guards.allow_problem(_directory(value), allow_system=allow_system)


def link_problem(directory: str) -> str | None:
    """Say why a run would not open an allowed directory, or None."""
    real = os.path.realpath(directory)
    if real == _directory(directory):
        return None
    return (
        f"{paths.quote(directory)} is or lies below a symbolic link, and no run follows one; name {paths.quote(real)}"
    )


def homes() -> frozenset[str]:
    """The home directories of this machine's users, none of which is ever a target."""
    return frozenset(user.pw_dir.rstrip("/") for user in pwd.getpwall() if user.pw_dir.startswith("/"))


def _check_owner(status: os.stat_result, path: Path) -> None:
    """The file names directories to replace and commands to run, so only its owner and root may write it."""
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{path} belongs to another user", hint="it must belong to you or to root")
    if status.st_mode & stat.S_IWOTH:
        raise ConfigError(f"every user may write {path}", hint=f"chmod o-w {path}")


def _xdg(environment: Mapping[str, str], variable: str, fallback: str) -> Path:
    base = environment.get(variable, "")
    # The XDG base directory specification: a relative value is invalid and ignored.
    if not base.startswith("/"):
        base = str(Path(environment.get("HOME") or os.path.expanduser("~")) / fallback)
    return Path(base) / "s32s"


def _directory(value: str) -> str:
    return "/" + "/".join(part for part in value.split("/") if part not in ("", "."))


def _fail(*texts: str) -> PydanticCustomError:
    return PydanticCustomError("s32s", "{text}", {"text": "".join(texts)})


def _shown(value: object) -> str:
    return paths.quote(value) if isinstance(value, str) else paths.escape(repr(value))


def _wrong(error: Any) -> str:
    names = [str(part) for part in error["loc"]]
    where = ".".join(names)
    if error["type"] == "extra_forbidden":
        tables = {
            "s3": S3Settings.model_fields,
            "s3.mirror": S3Connection.model_fields,
            "menu": MenuSettings.model_fields,
        }
        known = list(tables.get(".".join(names[:-1]), _known()))
        return f"{paths.escape(where)}: unknown key{suggestion(names[-1], known)}"
    if error["type"] == "missing":
        return f"{where}: it is mandatory and missing"
    if where.endswith("endpoint_url"):
        return f"{where}: it must be an address that begins with http:// or https://, such as http://nas:9000"
    if where == "metrics.textfile":
        return f"{where}: it must be an absolute path that ends in .prom"
    match error["type"]:
        case "s32s":
            return f"{where}: {error['ctx']['text']}"
        case "literal_error":
            return f"{where}: it must be {error['ctx']['expected'].replace(chr(39), chr(34))}"
        case "greater_than_equal":
            return f"{where}: it must be at least {error['ctx']['ge']}"
        case "less_than_equal":
            return f"{where}: it must be at most {error['ctx']['le']}"
        case kind if kind in _TYPES:
            return f"{where}: it must be {_TYPES[kind]}"
    return f"{where}: {error['msg']}"


#: What pydantic calls a value of another type than it has to be.
_TYPES = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "string_too_short": "a text that is not empty",
    "model_type": "a table",
    "mapping_type": "a table",
}


def _known() -> Iterable[str]:
    return [field.alias or name for name, field in Settings.model_fields.items()]
