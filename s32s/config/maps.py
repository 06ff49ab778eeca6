"""Map files: which directory belongs to which S3 path (design 2).

A map file is a JSON list of entries. `parse` takes bytes and returns entries and every problem at once, each with file,
entry and property; `combine` adds the rules that span files. Pure: who fetches and caches the bytes is `state` and
`run`. Map files are hostile input: their size, depth, numbers, duplicate keys and characters are bounded here.
"""

from __future__ import annotations

import enum
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError

from s32s.core import paths
from s32s.core.accept import Pattern
from s32s.core.rules import Rules, compile_rules
from s32s.core.text import closest

MAX_MAP = 1024 * 1024
MAX_JSON_DEPTH = 32
#: What a pattern list may cost: far above honest use, it bounds the compiled expression.
MAX_RULES = 1000

_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}")
_DRIVE = re.compile(r"^[A-Za-z]:/")


class Role(enum.Enum):
    """A direction: which of an entry's places is this machine's own."""

    MASTER = "master"
    SLAVE = "slave"
    MIRROR = "mirror"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a map file, for people.

    Attributes:
        file: name of the file or key.
        entry: the entry's name in quotes, or its place in the list; empty for the whole file.
        property: which property; empty for the whole entry.
        text: what is wrong, and what would be right.
    """

    file: str
    entry: str
    property: str
    text: str

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.entry, self.property) if part)
        return f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class S3Path:
    """A bucket and the prefix below it, without a slash at either end."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> S3Path:
        """Read `bucket/prefix`, with or without `s3://`.

        Raises:
            ValueError: for people.
        """
        bare = text.removeprefix("s3://")
        bucket, _, prefix = bare.removesuffix("/").partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{paths.quote(bucket)} is not a bucket name; write bucket/prefix")
        if prefix and (reason := paths.problem(prefix, room=paths.MAX_KEY - 100)):
            raise ValueError(f"the prefix {paths.quote(prefix)} cannot be used: {reason}")
        if prefix and paths.RESERVED in prefix.split("/"):
            raise ValueError(f"{paths.RESERVED!r} in a prefix is kept for s32s itself")
        return cls(bucket, prefix)

    def key(self, path: str) -> str:
        """The key of a relative path."""
        return f"{self.prefix}/{path}" if self.prefix else path

    @property
    def room(self) -> int:
        """Bytes that the prefix leaves of a key's 1,024."""
        return paths.MAX_KEY - (len(self.prefix.encode()) + 1 if self.prefix else 0)

    def overlaps(self, other: S3Path) -> bool:
        """Tell whether one prefix is, or lies in, the other."""
        if self.bucket != other.bucket:
            return False
        if not self.prefix or not other.prefix:
            return True  # one is a whole bucket
        return paths.overlaps(self.prefix, other.prefix)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket


def _fail(text: str) -> PydanticCustomError:
    return PydanticCustomError("s32s", "{text}", {"text": text})


def _s3_path(text: str) -> str:
    try:
        return str(S3Path.parse(text))
    except ValueError as exc:
        raise _fail(str(exc)) from exc


def _local_path(text: str, *, drives: bool) -> str:
    if reason := _unprintable(text):
        raise _fail(reason)
    if text.startswith("~"):
        raise _fail('a path may not start with "~"; write the whole path')
    path = text.replace("\\", "/") if drives else text
    if not (path.startswith("/") or (drives and _DRIVE.match(path))):
        raise _fail(f"{paths.quote(text)} is not absolute")
    if ".." in path.split("/"):
        raise _fail('a path may not hold ".."')
    root = path[: 3 if _DRIVE.match(path) else 1]
    return root + "/".join(part for part in path[len(root) :].split("/") if part not in ("", "."))


def _unprintable(text: str) -> str | None:
    if not text.strip():
        return "it is empty"
    return "it holds a control character" if paths.escape(text) != text else None


def _master(text: str) -> str:
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


def _accept_pattern(text: str) -> str:
    try:
        Pattern(text)
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

    s3: Annotated[_Path, pydantic.AfterValidator(_s3_path)]
    """`bucket/prefix`; `s3://` in front is accepted."""

    master: Annotated[_Path, pydantic.AfterValidator(_master)] | None = None
    """Directory with the originals, on the master. Absolute; Windows paths and back-slashes are accepted."""

    slave: Annotated[_Path, pydantic.AfterValidator(_slave)] | None = None
    """Directory on the servers. Absolute, and strictly below a directory that the server's `allow` names."""

    mirror: Annotated[_Path, pydantic.AfterValidator(_s3_path)] | None = None
    """Another `bucket/prefix`, for the role mirror: its copy, made within S3."""

    files: Annotated[
        list[Annotated[_Path, pydantic.AfterValidator(_listed_file)]] | None,
        pydantic.Field(min_length=1, max_length=100_000),
    ] = None
    """Only these relative paths. One that is missing at the source fails the entry."""

    ignore: Annotated[list[_Path], pydantic.Field(max_length=MAX_RULES)] = []
    """Wildcards on the relative path; `*` matches slashes too. What matches never travels."""

    accept: Annotated[
        list[Annotated[_Path, pydantic.AfterValidator(_accept_pattern)]] | None,
        pydantic.Field(min_length=1, max_length=MAX_RULES),
    ] = None
    """Path patterns such as `stores/{slug}/{photos|menus}/{number}.jpg`; what fits none is rejected."""

    manifest: bool = True
    """Whether pushes publish a manifest and pulls follow it."""

    apply: Literal["swap", "in-place"] = "swap"
    """How a slave changes its directory: exchanged as a whole, or file by file for mount points."""

    after: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=200)] | None = None
    """Name of a command in the slave's own configuration, run after a sync that changed something."""

    @property
    def s3_path(self) -> S3Path:
        """The entry's bucket and prefix."""
        return S3Path.parse(self.s3)

    def rules(self) -> Rules:
        """The entry's `files`, `ignore` and `accept`, compiled."""
        return compile_rules(files=self.files, ignore=self.ignore, accept=self.accept or ())

    def place(self, role: Role) -> str | None:
        """This role's own place, or None when the entry is meant for other machines."""
        return {Role.MASTER: self.master, Role.SLAVE: self.slave, Role.MIRROR: self.mirror}[role]

    def direction(self, role: Role) -> tuple[str, str]:
        """Where from and where to."""
        place = self.place(role) or ""
        return (place, self.s3) if role is Role.MASTER else (self.s3, place)


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


def parse(data: bytes, file: str) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """Read one map file; return its entries and everything that is wrong with it.

    Args:
        data: UTF-8, with or without a byte order mark.
        file: what people know the file by.
    """
    document, problem = _document(data, file)
    if problem is not None:
        return (), (problem,)
    if not isinstance(document, list):
        return (), (Problem(file, "", "", f"a map file is a list of entries, not {_kind(document)}"),)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, raw in enumerate(document, start=1):
        who = _who(raw, number)
        if not isinstance(raw, dict):
            problems.append(Problem(file, who, "", f"an entry is an object, not {_kind(raw)}"))
            continue
        try:
            entry = Entry.model_validate(raw)
        except pydantic.ValidationError as exc:
            problems += (_problem(error, file=file, who=who) for error in exc.errors())
            continue
        entries.append(entry)
        problems += (Problem(file, who, name, text) for name, text in _contradictions(entry))
    # Over the raw names: a wrong entry is still one of two that share a name.
    names = (raw.get("name") for raw in document if isinstance(raw, dict))
    problems += _duplicates((name, file) for name in names if isinstance(name, str))
    return tuple(entries), tuple(problems)


def combine(parsed: Sequence[tuple[str, tuple[Entry, ...], tuple[Problem, ...]]]) -> MapSet:
    """Join files to one set.

    A file with a problem gives no entries: half of a wrong file is not what its writer meant. Entries whose name stands
    in two files give way both, since nobody can say which is the right one.
    """
    problems = [problem for _, _, found in parsed for problem in found]
    sound = [(file, entry) for file, entries, found in parsed if not found for entry in entries]
    twice = _duplicates((entry.name, file) for file, entry in sound)
    clashing = {problem.entry for problem in twice}
    return MapSet(
        entries=tuple(entry for _, entry in sound if _quoted(entry.name) not in clashing),
        problems=tuple(problems + twice),
        files=tuple(file for file, _, _ in parsed),
    )


def load(files: Iterable[tuple[str, bytes]]) -> MapSet:
    """Parse and combine (file, bytes) pairs."""
    return combine([(file, *parse(data, file)) for file, data in files])


class _Duplicate(ValueError):
    pass


def _document(data: bytes, file: str) -> tuple[Any, Problem | None]:
    def bad(text: str) -> tuple[None, Problem]:
        return None, Problem(file, "", "", text)

    if len(data) > MAX_MAP:
        return bad(f"it is larger than {MAX_MAP // 1024:,} KiB, the limit of a map file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        return bad(f"line {line} is not UTF-8")
    if _depth(text) > MAX_JSON_DEPTH:
        return bad(f"it is nested more than {MAX_JSON_DEPTH} levels deep")
    try:
        document = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer)
    except json.JSONDecodeError as exc:
        return bad(f"line {exc.lineno}, column {exc.colno}: not valid JSON: {exc.msg}")
    except (_Duplicate, ValueError) as exc:
        return bad(str(exc))
    if any("\ud800" <= char <= "\udfff" for text in _strings(document) for char in text):
        return bad("a text holds half of a surrogate pair, which is not a character")
    return document, None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            who = f"entry {paths.quote(str(dict(pairs)['name']))}: " if "name" in made or name == "name" else ""
            raise _Duplicate(f"{who}the property {paths.quote(name)} stands twice")
        made[name] = value
    return made


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"the number {text[:20]}… is too long")
    return int(text)


def _depth(text: str) -> int:
    """Nesting of brackets outside strings: Python's parser recurses, so it is bounded before."""
    depth = deepest = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[{\]}]', text, re.DOTALL):
        char = token[0]
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _strings(item)


def _who(raw: Any, number: int) -> str:
    name = raw.get("name") if isinstance(raw, dict) else None
    return _quoted(name) if isinstance(name, str) and name else f"entry no. {number}"


def _quoted(name: str) -> str:
    return f"entry {paths.quote(name[:200])}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else "a number"


_WANTED = {
    "missing": "it is mandatory and missing",
    "string_type": "it must be a text",
    "list_type": "it must be a list",
    "bool_type": "it must be true or false",
    "string_too_short": "it is empty",
    "too_short": "the list is empty",
}


def _problem(error: Any, *, file: str, who: str) -> Problem:
    name = str(error["loc"][0]) if error["loc"] else ""
    place = f"{name}[{error['loc'][1]}]" if len(error["loc"]) > 1 and isinstance(error["loc"][1], int) else name
    if error["type"] == "extra_forbidden":
        return Problem(file, who, paths.escape(name[:100]), "unknown property" + suggestion(name, Entry.model_fields))
    if error["type"] == "s32s":
        text = error["ctx"]["text"]
    elif error["type"] == "literal_error":
        text = f"it must be {error['ctx']['expected']}"
    elif error["type"] in _WANTED:
        text = f"{_WANTED[error['type']]}, not {_kind(error['input'])}"
        if error["type"] in ("missing", "string_too_short", "too_short"):
            text = _WANTED[error["type"]]
    else:
        text = paths.escape(error["msg"])
    return Problem(file, who, place, text)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean "…"?` for a misspelt name, or the names there are."""
    names = sorted(known)
    near = closest(name, names)
    return f"; did you mean {paths.quote(near)}?" if near else f"; there are {', '.join(names)}"


def _contradictions(entry: Entry) -> Iterator[tuple[str, str]]:
    rules = compile_rules(ignore=entry.ignore)
    for path in entry.files or ():
        if rules.ignores(path):
            yield "files", f"{paths.quote(path)} is listed, and a rule of ignore leaves it out"
    for path in sorted(path for path, times in Counter(entry.files or ()).items() if times > 1):
        yield "files", f"{paths.quote(path)} is listed twice"
    if entry.files and entry.accept:
        yield "accept", "an entry has files or accept, not both"


def _duplicates(named: Iterable[tuple[str, str]]) -> list[Problem]:
    files: dict[str, list[str]] = {}
    for name, file in named:
        files.setdefault(name, []).append(file)
    found = []
    for name, places in files.items():
        if len(places) > 1:
            others = sorted(set(places))
            where = f"in {' and '.join(others)}" if len(others) > 1 else f"{len(places)} times"
            found.append(Problem(others[0], _quoted(name), "name", f"the name stands {where}; names are unique"))
    return found
