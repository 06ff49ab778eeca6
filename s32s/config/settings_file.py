"""The configuration file: found, read, checked, changed; and where this machine keeps what is not in it.

A configuration is found, read and checked once, by the front end; what works gets the values it needs. Unknown keys are
refused by name, with the nearest known one.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from s32s.config.environment import Key, keys, laid_over, named, typed, variable
from s32s.config.map_files import suggestion
from s32s.config.settings import (
    NAME,
    NO_MAPS,
    Directories,
    MenuSettings,
    NotifySettings,
    S3Connection,
    Settings,
    link_problem,
)
from s32s.core import paths
from s32s.core.errors import ConfigError
from s32s.core.role import Role
from s32s.system import atomic, openat


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
    if openat.user_id() == 0:
        return Path("/etc/s32s") / NAME
    return _xdg(environment, "XDG_CONFIG_HOME", ".config") / NAME


def directories(environment: Mapping[str, str]) -> Directories:
    """State and cache: systemd's directories, else the system's for root, else XDG's."""
    state, cache = environment.get("STATE_DIRECTORY"), environment.get("CACHE_DIRECTORY")
    if openat.user_id() == 0:
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


def load(path: Path, environment: Mapping[str, str] | None = None, words: Sequence[str] = ()) -> Settings:
    """Read and check a configuration.

    Args:
        path: the file; it need not be there where the rest says enough.
        environment: variables that hold instead of the file, see `environment.py`; None for none.
        words: KEY=VALUE, which hold instead of both.

    Raises:
        ConfigError: missing, unreadable, unsafe, no TOML, or wrong; every wrong key at once.
        UsageError: a word names no key.
    """
    over = overlay(environment or {}, words)
    where = str(path)
    try:
        document = read(path)
    except FileNotFoundError as exc:
        if not _is_enough(over):
            raise _missing(path) from exc
        document, where = {}, "the environment"
    return check(laid_over(document, over), where=where, over=over)


def load_for_places(explicit: str | None, environment: Mapping[str, str], words: Sequence[str] = ()) -> Settings:
    """Read and check what holds for a command that names its places itself: it takes no role, no maps and no file.

    Args:
        explicit: `--config`; that file must be there.
        environment, words: see `load`.

    Raises:
        ConfigError, UsageError: see `load`.
    """
    path, over = find(explicit, environment), overlay(environment, words)
    where = str(path)
    try:
        document = read(path)
    except FileNotFoundError as exc:
        if explicit:
            raise _missing(path) from exc
        document, where = {}, "the environment"
    laid = {"role": "peer", "maps": NO_MAPS, **laid_over(document, over)}
    return check(laid, where=where, over=over, needs_allow=False)


_CONFIGURE = "s32s configure --role ROLE --maps BUCKET/PREFIX"


def _missing(path: Path) -> ConfigError:
    return ConfigError(
        f"there is no configuration at {path}",
        hint=f"write one with: {_CONFIGURE}; or set S32S_ROLE and S32S_MAPS",
    )


def overlay(environment: Mapping[str, str], words: Sequence[str]) -> dict[Key, Any]:
    """What holds instead of the file."""
    return {**named(environment), **typed(words)}


def is_set_up(path: Path, environment: Mapping[str, str], words: Sequence[str] = ()) -> bool:
    """Whether there is a configuration for entries: a file, or enough that holds instead of one.

    A file that names neither role nor maps is for places that somebody types, and none for entries yet.
    """
    over = overlay(environment, words)
    if _is_enough(over):
        return True
    try:
        document = read(path)
    except FileNotFoundError:
        return False
    except ConfigError:
        return True  # which is told when it is loaded
    return bool({"role", "maps"} & {*document, *(key[0] for key in over)})


def _is_enough(over: Mapping[Key, Any]) -> bool:
    return {("role",), ("maps",)} <= over.keys()


def read(path: Path) -> dict[str, Any]:
    """What a configuration file holds.

    Raises:
        FileNotFoundError: nothing is there.
        ConfigError: unreadable, unsafe, or no TOML.
    """
    try:
        with path.open("rb") as file:
            _check_owner(os.fstat(file.fileno()), path)
            return tomllib.load(file)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deeply") from exc


def check(document: Mapping[str, Any], *, where: str, over: Collection[Key] = (), needs_allow: bool = True) -> Settings:
    """Check the content of a configuration.

    Args:
        over: keys that come from elsewhere.
        needs_allow: whether a slave has to say where it may write.

    Raises:
        ConfigError: every wrong key at once.
    """
    try:
        settings = Settings.model_validate(document)
    except pydantic.ValidationError as exc:
        lines = "\n  ".join(_wrong(error) + _origin(error, over) for error in exc.errors())
        if over and all(_origin(error, over) for error in exc.errors()):
            where = "a setting"  # none of the file
        is_short = all(error["type"] == "missing" and error["loc"][0] in ("role", "maps") for error in exc.errors())
        raise ConfigError(
            f"{where} is wrong:\n  {lines}\n", hint=f"write them with: {_CONFIGURE}" if is_short else ""
        ) from exc
    if needs_allow and settings.role is Role.SLAVE and not settings.allow:
        raise ConfigError(
            'a slave needs "allow": the directories it may write below, such as allow = ["/srv"], or S32S_ALLOW=/srv',
            where=where,
        )
    return settings


def _origin(error: Any, over: Collection[Key]) -> str:
    key = tuple(str(part) for part in error["loc"])
    return next((f" ({variable(key[:length])})" for length in (1, 2) if key[:length] in over), "")


def connection_with(connection: S3Connection, words: Mapping[str, Any]) -> S3Connection:
    """A connection to S3, in which some keys are those that were typed.

    Raises:
        ConfigError: one of them cannot be.
    """
    try:
        return S3Connection.model_validate({**connection.model_dump(include=set(S3Connection.model_fields)), **words})
    except pydantic.ValidationError as exc:
        lines = "\n  ".join(map(_wrong, exc.errors()))
        raise ConfigError(f"the connection to S3 is wrong:\n  {lines}\n") from exc


def configure(
    path: Path, changes: Mapping[str, Any], *, before: Callable[[Settings], None] = lambda settings: None
) -> Settings:
    """Write a configuration, or change the named keys of one that is there; comments and order stay.

    Args:
        path: the file; its directory is made.
        changes: keys and tables of keys as in the file; None leaves a key as it is, an empty text removes it.
        before: called with the result before it is written; what it raises stops that.

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
    try:
        settings = check(document.unwrap(), where=f"{path}, as it would be written,")
    except ConfigError as exc:
        exc.hint = exc.hint or "nothing was written"
        raise
    for directory in settings.allow:
        if problem := link_problem(directory):
            raise ConfigError(f"allow: {problem}", where=str(path))
    before(settings)
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


def homes() -> frozenset[str]:
    """The home directories of this machine's users, none of which is ever a target."""
    try:
        import pwd
    except ImportError:  # Windows
        return frozenset({os.path.expanduser("~")})
    found = {user.pw_dir.rstrip("/") for user in pwd.getpwall() if user.pw_dir.startswith("/")}
    own = os.path.realpath(os.path.expanduser("~"))  # $HOME may say another one than passwd(5)
    return frozenset(found | ({own} if own != "/" else set()))


def _check_owner(status: os.stat_result, path: Path) -> None:
    """The file names directories to replace and commands to run, so only its owner and root may write it."""
    if (me := openat.user_id()) is None:
        return  # Windows, where the file is in the profile of its user
    if status.st_uid not in (0, me):
        raise ConfigError(f"{path} belongs to another user", hint="it must belong to you or to root")
    if status.st_mode & stat.S_IWOTH:
        raise ConfigError(f"every user may write {path}", hint=f"chmod o-w {path}")


def _xdg(environment: Mapping[str, str], variable: str, fallback: str) -> Path:
    base = environment.get(variable, "")
    # The XDG base directory specification: a relative value is invalid and ignored.
    if not base.startswith("/"):
        base = str(Path(environment.get("HOME") or os.path.expanduser("~")) / fallback)
    return Path(base) / "s32s"


def _wrong(error: Any) -> str:
    names = [str(part) for part in error["loc"]]
    where = ".".join(names)
    if where == "s3.mirror":
        return f"{where}: {_NO_MIRROR}"
    if error["type"] == "extra_forbidden":
        tables = {
            "s3": S3Connection.model_fields,
            "menu": MenuSettings.model_fields,
            "notify": NotifySettings.model_fields,
        }
        known = list(tables.get(".".join(names[:-1]), _known()))
        return f"{paths.escape(where)}: unknown key{suggestion(names[-1], known)}"
    if error["type"] == "missing":
        return f"{where}: it is mandatory and missing"
    if where.endswith("endpoint_url"):
        return f"{where}: it must be an address that begins with http:// or https://, such as http://nas:9000"
    if where.startswith("stores.") and where.endswith(".type"):
        return f'{where}: it must be "s3", "file", "fsspec", a name of a package\'s own, or "package.module:Class"'
    if where.startswith("stores.") and where.endswith(".[key]"):
        return f"{where.removesuffix('.[key]')}: a store is named by lower-case letters, digits and hyphens"
    if where == "notify.url":
        return f"{where}: it must be an address that begins with http:// or https://"
    if where == "metrics.textfile":
        return f"{where}: it must be an absolute path that ends in .prom"
    match error["type"]:
        case "s32s":
            return f"{where}: {error['ctx']['text']}"
        case "literal_error":
            return f"{where}: it must be {error['ctx']['expected'].replace(chr(39), chr(34))}"
        case "greater_than_equal" | "less_than_equal" | "int_type":
            return f"{where}: it must be a whole number{_range(tuple(names))}"
        case kind if kind in _TYPES:
            return f"{where}: it must be {_TYPES[kind]}"
    return f"{where}: {error['msg']}"


_NO_MIRROR = (
    'a mirror names its store now: call the table [stores.NAME], such as [stores.backup], add type = "s3", '
    'and write "mirror": "NAME:bucket/prefix" in the map'
)

#: What pydantic calls a value of another type than it has to be.
_TYPES = {
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "string_too_short": "a text that is not empty",
    "model_type": "a table",
    "mapping_type": "a table",
}


def _range(key: Key) -> str:
    """Which numbers a key may have, in words; empty for any."""
    limits: dict[str, int] = {}
    for limit in keys()[key].metadata if key in keys() else ():
        limits |= {name: getattr(limit, name) for name in ("ge", "le") if hasattr(limit, name)}
    match limits:
        case {"ge": least, "le": most}:
            return f" from {least} to {most}"
        case {"ge": least}:
            return f" of {least} or more"
    return ""


def _known() -> Iterable[str]:
    return [field.alias or name for name, field in Settings.model_fields.items()]
