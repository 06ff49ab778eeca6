"""Entries of map files: which directory belongs to which S3 path (design 2). `map_files.py` reads the files."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError

from s32s.core import paths
from s32s.core.accept import compile_patterns
from s32s.core.expressions import compiled, is_expression
from s32s.core.location import S3Path, StorePath, parse_place
from s32s.core.role import Role
from s32s.core.rules import Rules, compile_rules

#: What a pattern list may cost: far above honest use, it bounds the compiled expression.
MAX_RULES = 1000

_DRIVE = re.compile(r"^[A-Za-z]:/")
_VARIABLE = re.compile(r"\$\{?\w+\}?|%\w+%")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a map file, for people.

    Attributes:
        file: name of the file or key.
        entry: the entry's name in quotes, or its place in the list; empty for the whole file.
        property: which property; empty for the whole entry.
        text: what is wrong, and what would be right.
        line: of the file, from 1 on; None where it is not about one.
        excerpt: that line, and a second one with a caret; may be empty.
    """

    file: str
    entry: str
    property: str
    text: str
    line: int | None = None
    excerpt: str = ""

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        where = ": ".join(part for part in (self.file, line, self.entry, self.property) if part)
        return f"{where}: {self.text}"

    def at(self, line: int, excerpt: str) -> Problem:
        """The same, in a line of its file."""
        return replace(self, line=line, excerpt=excerpt)

    def told(self) -> list[str]:
        """The problem, and the line in which it is."""
        return [str(self), *(f"    {line}" for line in self.excerpt.splitlines())]


def _fail(text: str) -> PydanticCustomError:
    return PydanticCustomError("s32s", "{text}", {"text": text})


def _place(text: str) -> str:
    try:
        return str(parse_place(text))
    except ValueError as exc:
        raise _fail(str(exc)) from exc


def _local_path(text: str, *, drives: bool) -> str:
    if reason := _unprintable(text):
        raise _fail(reason)
    if text.startswith("~"):
        raise _fail('a path may not start with "~"; write the whole path')
    if found := _VARIABLE.match(text):
        raise _fail(f"variables such as {found[0]} are not replaced here; write the whole path")
    path = text.replace("\\", "/") if drives else text
    if not drives and (_DRIVE.match(text.replace("\\", "/")) or text.startswith("\\\\")):
        raise _fail(f"{paths.quote(text)} is a path of Windows; servers run Linux, and their paths begin with /")
    if not (path.startswith("/") or (drives and _DRIVE.match(path))):
        raise _fail(f"{paths.quote(text)} is not absolute; write the whole path, from / on")
    if ".." in path.split("/"):
        raise _fail('a path must not contain ".."')
    root = path[: 3 if _DRIVE.match(path) else 1]
    return root + "/".join(part for part in path[len(root) :].split("/") if part not in ("", "."))


def _unprintable(text: str) -> str | None:
    if not text.strip():
        return "it is empty"
    return "it contains a control character" if paths.escape(text) != text else None


def _master(text: str) -> str:
    return _local_path(text, drives=True)


def _peer(text: str) -> str:
    if text.startswith("~/") or text == "~":
        return "~/" + _local_path("/" + text[2:], drives=False)[1:]
    return _local_path(text, drives=True)


def _slave(text: str) -> str:
    return _local_path(text, drives=False)


def _name(text: str) -> str:
    if reason := _unprintable(text):
        raise _fail(reason)
    return text


def _listed_file(text: str) -> str:
    if reason := paths.problem(text):
        raise _fail(f"{paths.quote(text)} is not a relative path: {reason}")
    if paths.is_reserved(text):
        raise _fail(f"{paths.quote(text)} belongs to s32s itself")
    return text


def _ignore_rule(text: str) -> str:
    if is_expression(text):
        try:
            compiled(text)
        except ValueError as exc:
            raise _fail(f"{paths.quote(text)}: {exc}") from exc
    return text


def _accept_pattern(text: str) -> str:
    try:
        compile_patterns([text])
    except ValueError as exc:
        raise _fail(f"{paths.quote(text)}: {exc}") from exc
    return text


_Path = Annotated[str, pydantic.StringConstraints(min_length=1, max_length=4096)]


class Entry(pydantic.BaseModel):
    """One directory and its place on S3."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=200), pydantic.AfterValidator(_name)]
    """Unique over all map files; what `s32s sync NAME` takes."""

    description: Annotated[str, pydantic.StringConstraints(max_length=2000)] = ""
    """For people."""

    s3: Annotated[_Path, pydantic.AfterValidator(_place)]
    """`bucket/prefix`; `s3://` in front is accepted. `NAME:prefix` is a place in a store of the configuration."""

    master: Annotated[_Path, pydantic.AfterValidator(_master)] | None = None
    """Directory with the originals, on the master. Absolute; Windows paths and back-slashes are accepted."""

    slave: Annotated[_Path, pydantic.AfterValidator(_slave)] | None = None
    """Directory on the servers. Absolute, and strictly below a directory that the server's `allow` names."""

    mirror: Annotated[_Path, pydantic.AfterValidator(_place)] | None = None
    """Another `bucket/prefix` or `NAME:prefix`, for the role mirror: its copy, made within S3 where that can be."""

    peer: Annotated[_Path, pydantic.AfterValidator(_peer)] | None = None
    """Folder that several people share through `s3`, both ways, for the role peer. Absolute; the same on each computer,
    or beginning with `~` for everybody's own home directory."""

    files: Annotated[
        list[Annotated[_Path, pydantic.AfterValidator(_listed_file)]] | None,
        pydantic.Field(min_length=1, max_length=100_000),
    ] = None
    """Only these relative paths. One that is missing at the source fails the entry."""

    ignore: Annotated[
        list[Annotated[_Path, pydantic.AfterValidator(_ignore_rule)]], pydantic.Field(max_length=MAX_RULES)
    ] = []
    """Wildcards on the relative path; `*` matches slashes too. What matches never travels. `re:…` is a regular
    expression (RE2) that matches the whole path."""

    accept: Annotated[
        list[Annotated[_Path, pydantic.AfterValidator(_accept_pattern)]] | None,
        pydantic.Field(min_length=1, max_length=MAX_RULES),
    ] = None
    """Path patterns such as `stores/{slug}/{photos|menus}/{number}.jpg`; what fits none is rejected.
    `re:…` as in `ignore`."""

    links: Literal["refuse", "skip", "follow", "keep"] = "refuse"
    """What happens to symbolic links that point out of the tree: the entry fails and names them, they are left behind
    and reported, what they lead to travels in their place, or they travel as they are, and a slave takes them to where
    its own `allow_links` says."""

    manifest: bool = True
    """Whether pushes publish a manifest and pulls follow it."""

    layout: Literal["plain", "packed"] = "plain"
    """How `s3` is laid out: one object a file, which any tool reads, or packs that hold many, with generations."""

    keep: Annotated[int, pydantic.Field(ge=1, le=1000)] = 10
    """How many generations of a packed prefix stay whole, the newest included."""

    apply: Literal["swap", "in-place"] = "swap"
    """How a slave changes its directory: exchanged as a whole, or file by file for mount points."""

    after: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=200)] | None = None
    """Name of a command in the slave's own configuration, run after a sync that changed something."""

    @property
    def location(self) -> S3Path | StorePath:
        """Where `s3` is."""
        return parse_place(self.s3)

    @property
    def is_packed(self) -> bool:
        """Whether `s3` holds packs."""
        return self.layout == "packed"

    @property
    def s3_paths(self) -> list[S3Path]:
        """Where its data is on the S3 of the configuration."""
        places = [self.location, *([parse_place(self.mirror)] if self.mirror else [])]
        return [place for place in places if isinstance(place, S3Path)]

    def rules(self) -> Rules:
        """The entry's `files`, `ignore` and `accept`, compiled."""
        return compile_rules(files=self.files, ignore=self.ignore, accept=self.accept or (), links=self.links)

    def place(self, role: Role) -> str | None:
        """This role's own place, or None when the entry is meant for other machines."""
        places = {Role.MASTER: self.master, Role.SLAVE: self.slave, Role.MIRROR: self.mirror, Role.PEER: self.peer}
        return places[role]

    def direction(self, role: Role) -> tuple[str, str]:
        """Where from and where to."""
        place = self.place(role) or ""
        return (place, self.s3) if role in (Role.MASTER, Role.PEER) else (self.s3, place)


@dataclass(frozen=True, slots=True)
class MapSet:
    """Entries of all loaded files, and the problems that kept others out."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    files: tuple[str, ...] = ()

    def of(self, role: Role) -> list[Entry]:
        """The entries that are meant for machines of a role."""
        return [entry for entry in self.entries if entry.place(role) is not None]


def schema() -> dict[str, Any]:
    """The JSON Schema of a map file (draft 2020-12), made from the model."""
    made = pydantic.TypeAdapter(list[Entry]).json_schema()
    for name, text in _docstrings().items():
        properties = made["$defs"]["Entry"]["properties"]
        # Before the constraints, as people read it.
        properties[name] = {"description": text} | properties[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "s32s map file",
        "description": "Which directory belongs to which S3 path.",
        **made,
    }


def _docstrings() -> dict[str, str]:
    """What stands under the fields of `Entry`. pydantic can read it too, but at every start, which takes its time."""
    import ast
    import inspect

    (model,) = ast.parse(inspect.getsource(Entry)).body
    found: dict[str, str] = {}
    for field, text in itertools.pairwise(getattr(model, "body", [])):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return found
