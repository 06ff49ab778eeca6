"""How map files are read: `parse` returns entries and every problem at once, each with file, entry and property.

`combine` adds the rules that span files. Pure: who fetches and caches the bytes is `agent/catalog.py`. Map files are
hostile input: their size, depth, numbers, duplicate keys and characters are bounded here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pydantic

from s32s.config.json_mistakes import Lines, explain, places
from s32s.config.maps import Entry, MapSet, Problem
from s32s.core import paths
from s32s.core.rules import compile_rules
from s32s.core.text import closest

MAX_MAP = 1024 * 1024
MAX_JSON_DEPTH = 32


#: How many problems of one file are shown with their lines.
_EXCERPTS = 1000


def parse(data: bytes, file: str) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """Read one map file; return its entries and everything that is wrong with it.

    Args:
        data: UTF-8, with or without a byte order mark.
        file: what people know the file by.
    """
    document, text, problem = _document(data, file)
    if problem is not None:
        return (), (problem,)
    if not isinstance(document, list):
        hint = "; write [ before it and ] after it" if isinstance(document, dict) else ""
        return (), (Problem(file, "", "", f"a map file is a list of entries, not {_kind(document)}{hint}"),)
    entries: list[Entry] = []
    found: list[tuple[int, Problem]] = []
    for number, raw in enumerate(document):
        who = _who(raw, number + 1)
        if not isinstance(raw, dict):
            found.append((number, Problem(file, who, "", f"an entry is an object, not {_kind(raw)}")))
            continue
        try:
            entry = Entry.model_validate(raw)
        except pydantic.ValidationError as exc:
            found += ((number, _problem(error, file=file, who=who)) for error in exc.errors())
            continue
        entries.append(entry)
        found += ((number, Problem(file, who, name, text)) for name, text in _contradictions(entry))
    # Over the raw names: a wrong entry is still one of two that share a name.
    names = (raw.get("name") for raw in document if isinstance(raw, dict))
    twice = _duplicates((name, file) for name in names if isinstance(name, str))
    return tuple(entries), (*_placed(found, text), *twice)


def _placed(found: Sequence[tuple[int, Problem]], text: str) -> Iterator[Problem]:
    """Problems with the lines in which they are.

    Args:
        found: each with the number of its entry, from 0 on.
    """
    if not found:
        return
    lines, begins = Lines(text), places(text)
    for number, problem in found[:_EXCERPTS]:
        name, _, _ = problem.property.partition("[")
        at = begins.get((number, name), begins.get((number, "")))
        yield problem if at is None else problem.at(lines.number(at), lines.excerpt(at))
    yield from (problem for _, problem in found[_EXCERPTS:])  # nobody reads so many lines, and each takes its time


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


def problem_of(name: str, value: Any) -> str | None:
    """What is wrong with one property of an entry, for who is asked for it; None when it is fine."""
    raw = {"name": "x", "s3": "bucket/prefix", name: value}
    _, problems = parse(json.dumps([raw]).encode(), "")
    return next((problem.text for problem in problems if problem.property.partition("[")[0] == name), None)


def written(entry: Entry) -> bytes:
    """A map file of one entry, as people read it: without what is as by default."""
    return (json.dumps([entry.model_dump(exclude_defaults=True)], indent=2, ensure_ascii=False) + "\n").encode()


class _Duplicate(ValueError):
    pass


def _document(data: bytes, file: str) -> tuple[Any, str, Problem | None]:
    """What a file holds, as values and as text."""

    def bad(what: str) -> tuple[None, str, Problem]:
        return None, "", Problem(file, "", "", what)

    if len(data) > MAX_MAP:
        return bad(f"it is larger than {MAX_MAP // 1024:,} KiB, the limit of a map file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        return bad(f"line {line} is not UTF-8; save the file in that encoding")
    if _depth(text) > MAX_JSON_DEPTH:
        return bad(f"it is nested more than {MAX_JSON_DEPTH} levels deep")
    try:
        document = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer)
    except json.JSONDecodeError as exc:
        mistake, lines = explain(text, exc), Lines(text)
        where = lines.number(mistake.at), lines.excerpt(mistake.at) if text.strip() else ""
        return None, "", Problem(file, "", "", mistake.text).at(*where)
    except (_Duplicate, ValueError) as exc:
        return bad(str(exc))
    if any("\ud800" <= char <= "\udfff" for text in _strings(document) for char in text):
        return bad("a text contains half of a surrogate pair, which is not a character")
    return document, text, None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            who = f"entry {paths.quote(str(dict(pairs)['name']))}: " if "name" in made or name == "name" else ""
            raise _Duplicate(f"{who}the property {paths.quote(name)} appears twice")
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
    "string_type": "it must be a string",
    "list_type": "it must be a list",
    "bool_type": "it must be true or false",
    "string_too_short": "it is empty",
    "too_short": "the list is empty",
}


#: With the limit of each; the one number of an entry has both.
_LIMITED = {
    "int_type": "it must be a whole number",
    "greater_than_equal": "it must be a whole number of {ge} or more",
    "less_than_equal": "it must be a whole number of {le} or less",
    "string_too_long": "it has more than {max_length} characters",
    "too_long": "the list has more than {max_length} items",
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
    elif error["type"] in _LIMITED:
        text = _LIMITED[error["type"]].format_map(error.get("ctx", {}))
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
    if entry.is_packed and not entry.manifest:
        yield "manifest", "a packed prefix always has a manifest; take this out"


def _duplicates(named: Iterable[tuple[str, str]]) -> list[Problem]:
    files: dict[str, list[str]] = {}
    for name, file in named:
        files.setdefault(name, []).append(file)
    found = []
    for name, found_in in files.items():
        if len(found_in) > 1:
            others = sorted(set(found_in))
            where = f"in {' and '.join(others)}" if len(others) > 1 else f"{len(found_in)} times"
            found.append(Problem(others[0], _quoted(name), "name", f"the name is used {where}; names are unique"))
    return found
