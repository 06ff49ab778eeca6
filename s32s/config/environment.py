"""Settings by environment: each key of `s32s.toml` has a variable, so that a container needs no file.

`S32S_` and the key in capitals, with its table in front: S32S_ROLE, S32S_MAX_DELETE, S32S_S3_REGION. What a variable
says holds instead of the file, and what `--set KEY=VALUE` says instead of both.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import pydantic

from s32s.config.settings import Settings
from s32s.core import paths
from s32s.core.errors import ConfigError, UsageError
from s32s.core.guards import MaxDelete
from s32s.core.text import closest

Key = tuple[str, ...]

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def keys() -> dict[Key, Any]:
    """Every key of the configuration, by the names of its tables and its own, with what pydantic knows of it."""
    return dict(_keys(Settings))


def variable(key: Key) -> str:
    """The variable of a key."""
    return "S32S_" + "_".join(key).upper()


def named(environment: Mapping[str, str]) -> dict[Key, Any]:
    """What the environment sets.

    Raises:
        ConfigError: a value cannot be read.
    """
    found: dict[Key, Any] = {}
    for key, field in keys().items():
        if text := environment.get(variable(key)):
            found[key] = _value(text, field, where=variable(key))
    return found


def typed(words: Sequence[str]) -> dict[Key, Any]:
    """What `--set KEY=VALUE` sets.

    Raises:
        UsageError: there is no such key.
        ConfigError: a value cannot be read.
    """
    known = keys()
    found: dict[Key, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        key = tuple(name.split("."))
        if not equals:
            raise UsageError(f"--set {paths.quote(word)} has no value", hint="write --set KEY=VALUE")
        if key not in known:
            near = closest(name, [".".join(one) for one in known])
            hint = f"did you mean {near}?" if near else "s32s env shows all of them"
            raise UsageError(f"--set: there is no setting {paths.quote(name)}", hint=hint)
        found[key] = _value(text, known[key], where=f"--set {name}")
    return found


def laid_over(document: Mapping[str, Any], values: Mapping[Key, Any]) -> dict[str, Any]:
    """A configuration in which some keys have other values."""
    made = dict(document)
    for (*tables, name), value in values.items():
        inner = made
        for table in tables:
            below = inner.get(table, {})
            inner[table] = inner = dict(below) if isinstance(below, Mapping) else {}
        inner[name] = value
    return made


def _keys(model: type[pydantic.BaseModel], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            yield from _keys(kind, (*above, name))
        else:
            yield (*above, field.alias or name), field


def _value(text: str, field: Any, *, where: str) -> Any:
    """A value of the type that its key has; lists and tables may be written as in TOML."""
    kinds = {field.annotation, *get_args(field.annotation)}
    if text.startswith(("[", "{")):
        try:
            return tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError as exc:
            raise ConfigError(f"{where} is not a value of TOML: {exc}") from exc
    if bool in kinds:
        if text.lower() not in _TRUTH:
            raise ConfigError(f"{where}: {paths.quote(text)} is neither true nor false")
        return _TRUTH[text.lower()]
    if isinstance(field.default, tuple) and not isinstance(field.default, MaxDelete):
        return [part for part in text.split(os.pathsep) if part]
    is_number = text.removeprefix("-").isdecimal() and kinds & {int, MaxDelete} and str not in kinds
    return int(text) if is_number else text
