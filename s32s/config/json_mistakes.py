"""What is wrong with JSON that people have written by hand: where, and what would be right.

Python's parser says what it has expected, at the place where it gave up. What people did wrong is often a little before
it, and has one of a dozen reasons.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import NamedTuple

#: Names, texts and brackets; a text that is not closed ends with its line.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|[\[\]{},:]|[^\s\[\]{},:"]+')
_SHOWN = 76


class Mistake(NamedTuple):
    """One mistake.

    Attributes:
        at: offset of the character in question.
        text: what is wrong, and what would be right.
    """

    at: int
    text: str


class Lines:
    """The lines of a text, by offset."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def number(self, at: int) -> int:
        """The line of a character, from 1 on."""
        return bisect_right(self._starts, at)

    def excerpt(self, at: int) -> str:
        """The line of a character, and under it a caret."""
        start = self._starts[self.number(at) - 1]
        line = self._text[start:].partition("\n")[0].rstrip()
        column = min(at - start, len(line))
        first = max(0, min(column - _SHOWN // 2, len(line) - _SHOWN))
        cut = "…" if first else ""
        shown = "".join(char if char.isprintable() else " " for char in line[first : first + _SHOWN])
        return f"{cut}{shown}\n{' ' * (len(cut) + column - first)}^"


def explain(text: str, error: json.JSONDecodeError) -> Mistake:
    """What is wrong in a text that the parser did not take."""
    if not text.strip():
        return Mistake(0, 'the file is empty; an empty map is "[]"')
    at = error.pos + len(text[error.pos :]) - len(text[error.pos :].lstrip())
    before = text[:at].rstrip()
    here = text[at : at + 2]
    if mistake := _in_a_text(text, error):
        return mistake
    for begins in ("//", "/*", "#"):
        if here.startswith(begins):
            return Mistake(at, 'JSON has no comments; write it into "description"')
    if here[:1] in ("'", "`"):
        return Mistake(at, 'a name or a text is in double quotes: "')
    if here[:1] in "“”„‟‘’‚«»" and here:
        return Mistake(at, 'these are typographic quotes; write plain ones: "')
    if here[:1] in ("}", "]") and before.endswith(","):
        return Mistake(len(before) - 1, f"remove this comma: nothing follows it before the {here[0]}")
    if here[:1] == "," and before.endswith((",", "[", "{")):
        return Mistake(at, "one comma too many: nothing is before it")
    if here[:1] == "," and text[at + 1 :].lstrip()[:1] in ("}", "]"):
        return Mistake(at, "remove this comma: nothing follows it")  # as Python 3.13 and later point at it
    if not here:
        return _unfinished(text)
    if "Extra data" in error.msg:
        if text.lstrip().startswith("{"):
            return Mistake(at, "a map file is a list: write [ before its first entry and ] after its last")
        return Mistake(at, "this follows the end of the list; remove it, or a bracket before it")
    if here[0] == "=" or ("':'" in error.msg and here[0] != ":"):
        return Mistake(at, "a colon belongs between a name and its value")
    if "','" in error.msg or (before and before[-1] not in ",:[{"):
        if here[0] in "}]":
            return Mistake(at, f"this {here[0]} closes a bracket of another kind")
        return Mistake(len(before) - 1, "a comma is missing after this")
    if word := re.match(r"[A-Za-z_$][\w.$-]*", text[at:]):
        return Mistake(at, _bare(word[0], is_name=text[at + word.end() :].lstrip()[:1] in (":", "=")))
    if here[0] in "}]" and before.endswith(":"):
        return Mistake(at, "a value is missing here")
    return Mistake(at, f"this is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}")


def places(text: str) -> dict[tuple[int, str], int]:
    """Where the value of each property of each entry begins, in a list of objects that is valid JSON.

    Returns:
        Offsets by the number of the entry, from 0 on, and the name of the property; of an entry itself by "".
    """
    found: dict[tuple[int, str], int] = {}
    depth, entry, name, last = 0, -1, "", ""
    for token in _TOKEN.finditer(text):
        word = token[0]
        if depth == 2 and last == ":" and name:
            found[entry, name] = token.start()
            name = ""
        if word in ("{", "["):
            if depth == 1:
                entry += 1
                found[entry, ""] = token.start()
            depth += 1
        elif word in ("}", "]"):
            depth -= 1
        elif word == ":" and depth == 2 and last.startswith('"'):
            name = json.loads(last)
        elif depth == 1 and word not in (",", ":"):
            entry += 1
            found[entry, ""] = token.start()
        last = word
    return found


def _in_a_text(text: str, error: json.JSONDecodeError) -> Mistake | None:
    """What is wrong between quotes."""
    if "escape" in error.msg:
        at = text.rfind("\\", 0, error.pos + 1)
        return Mistake(at, r"a back-slash begins an escape in JSON: write C:/Users, or C:\\Users")
    if "control character" in error.msg:
        start = text.rfind('"', 0, error.pos)
        if text[error.pos] in "\r\n":
            return Mistake(start, 'the closing quote of this text is missing on its line: "')
        return Mistake(error.pos, r"a text contains a control character; a tab is \t")
    if "Unterminated" in error.msg:
        return Mistake(error.pos, 'the closing quote of this text is missing: "')
    return None


def _unfinished(text: str) -> Mistake:
    """The text ends too early."""
    open_: list[tuple[str, int]] = []
    last = None
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            open_.append((token[0], token.start()))
        elif token[0] in ("]", "}") and open_:
            open_.pop()
        last = token
    if not open_:
        return Mistake(last.start() if last else 0, "the file ends before its value does")
    bracket, at = open_[-1]
    return Mistake(at, f"this {bracket} is never closed; write {']' if bracket == '[' else '}'} where it ends")


def _bare(word: str, *, is_name: bool) -> str:
    if is_name:
        return f'a name is in double quotes: "{word}"'
    known = {"true": "true", "false": "false", "none": "null", "null": "null", "yes": "true", "no": "false"}
    if right := known.get(word.lower()):
        return f"write {right}"
    return "a text is in double quotes"
