"""The patterns of `accept`: which paths fit, and for one that fits none, what is wrong with it as a person would say.

A pattern is a path whose segments hold literal text and wildcards: `{slug}`, `{number}`, `{name}`, `{a|b}`, `*` within
a segment and `**` for any depth. It is compiled once to a regular expression, which alone decides. The reason for a
rejection is found afterwards, by going along the pattern that the path follows longest.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from s32s.paths import quote

#: Wildcards in a segment, and `**` in the whole: each multiplies what matching may cost by the length of a name.
MAX_WILDCARDS = 3
MAX_DEPTHS = 2

_PLACEHOLDERS = {"slug": r"[a-z0-9-]+", "number": r"[0-9]+", "name": r"[^/]+"}
_DEPTH = "**"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment.

    Attributes:
        text: as it stands in the pattern.
        words: the alternatives it stands for; one for literal text, none for a wildcard.
        expression: what it matches.
    """

    text: str
    words: tuple[str, ...]
    expression: str


class Pattern:
    """One compiled pattern.

    Raises:
        ValueError: it cannot be understood; the message points into it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._segments = [tuple(pieces) for pieces in _segments(text)]
        self.expression = _joined(self._segments)
        self._compiled = [
            re.compile("".join(piece.expression for piece in pieces), re.DOTALL) for pieces in self._segments
        ]

    def explain(self, path: str) -> tuple[int, str]:
        """Say what keeps `path` from fitting, and how many of its segments fit before that."""
        names = path.split("/")
        depth = next((at for at, pieces in enumerate(self._segments) if _is_deep(pieces)), None)
        front = self._segments if depth is None else self._segments[:depth]
        for at, pieces in enumerate(front):
            is_file = at == len(names) - 1
            if depth is None and is_file != (at == len(front) - 1):
                return at, self._depth(deeper=not is_file)
            if at >= len(names) or (is_file and depth is not None):
                return at, self._depth(deeper=False)
            if not self._compiled[at].fullmatch(names[at]):
                return at, _why(names[at], pieces, is_file=is_file)
        last = self._segments[-1]
        if depth is not None and not _is_deep(last) and not self._compiled[-1].fullmatch(names[-1]):
            return len(front), _why(names[-1], last, is_file=True)
        return len(front), f"it does not fit {self.text}"

    def _depth(self, *, deeper: bool) -> str:
        where = "deeper" if deeper else "less deep"
        return f"it lies {where} than {self.text}"


def compile_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Compile the patterns of an entry.

    Raises:
        ValueError: one cannot be understood; the message points into it.
    """
    return tuple(map(Pattern, texts))


def reason(path: str, patterns: Sequence[Pattern]) -> str:
    """Say to a person why `path` fits none of `patterns`: what the nearest of them asks for."""
    told = [(pattern, *pattern.explain(path)) for pattern in patterns]
    if not told:
        return "nothing is accepted"
    nearest, fitting, why = max(told, key=lambda each: each[1])
    if len(patterns) > 1 and not fitting:
        return f"it fits none of the {len(patterns)} accept patterns, not even at its start"
    return why if len(patterns) == 1 or nearest.text in why else f"{why} ({nearest.text})"


# -- reading a pattern -------------------------------------------------------------------------------------------------


def _segments(text: str) -> Iterator[list[Piece]]:
    if text.count(_DEPTH) > MAX_DEPTHS:
        raise ValueError(f"there is a ** too many at column {text.rfind(_DEPTH) + 1}; {MAX_DEPTHS} are allowed")
    column = 1
    for segment in _split(text):
        if not segment:
            raise ValueError(f"the segment at column {column} is empty")
        pieces = list(_pieces(segment, column))
        if _DEPTH in (piece.text for piece in pieces) and len(pieces) > 1:
            raise ValueError(f"the ** in the segment at column {column} must stand alone between slashes")
        if sum(not piece.words for piece in pieces) > MAX_WILDCARDS:
            raise ValueError(f"the segment at column {column} holds more than {MAX_WILDCARDS} wildcards")
        yield pieces
        column += len(segment) + 1


def _split(text: str) -> list[str]:
    """Segments; a slash within braces is the braces' mistake, not a boundary."""
    return re.split(r"/(?![^{}]*\})", text)


def _pieces(segment: str, column: int) -> Iterator[Piece]:
    at = 0
    while at < len(segment):
        if segment[at] == "{":
            end = segment.find("}", at)
            if end < 0:
                raise ValueError(f"the brace at column {column + at} is not closed")
            yield _placeholder(segment[at + 1 : end], column=column + at)
            at = end + 1
        elif segment[at] == "}":
            raise ValueError(f"the brace at column {column + at} closes nothing")
        elif segment.startswith(_DEPTH, at):
            yield Piece(_DEPTH, (), ".*")
            at += 2
        elif segment[at] == "*":
            yield Piece("*", (), "[^/]*")
            at += 1
        else:
            literal = re.match(r"[^{}*]+", segment[at:])[0]  # type: ignore[index] # one character at least
            yield Piece(literal, (literal,), re.escape(literal))
            at += len(literal)


def _placeholder(text: str, *, column: int) -> Piece:
    if "|" in text:
        words = tuple(text.split("|"))
        if not all(words):
            raise ValueError(f"an alternative is empty in the braces at column {column}")
        if any("/" in word for word in words):
            raise ValueError(f"an alternative holds a slash in the braces at column {column}")
        return Piece(f"{{{text}}}", words, "(?:" + "|".join(map(re.escape, words)) + ")")
    known = _PLACEHOLDERS.get(text)
    if known is None:
        close = difflib.get_close_matches(text, _PLACEHOLDERS, n=1)
        hint = f"did you mean {{{close[0]}}}?" if close else "there are {slug}, {number}, {name} and {a|b}"
        raise ValueError(f"unknown placeholder {{{text}}} at column {column}; {hint}")
    return Piece(f"{{{text}}}", (), known)


def _joined(segments: Sequence[Sequence[Piece]]) -> str:
    """The whole expression: `**` between slashes also stands for no directory at all."""
    done = ""
    for at, pieces in enumerate(segments):
        last = at == len(segments) - 1
        if _is_deep(pieces):
            done += ".*" if last else "(?:.*/)?"
        else:
            done += "".join(piece.expression for piece in pieces) + ("" if last else "/")
    return done


def _is_deep(pieces: Sequence[Piece]) -> bool:
    return len(pieces) == 1 and pieces[0].text == _DEPTH


# -- saying why --------------------------------------------------------------------------------------------------------


def _why(name: str, pieces: Sequence[Piece], *, is_file: bool) -> str:
    """Say what is wrong with one segment of a path."""
    what = "file name" if is_file else f"directory {quote(name)}"
    if is_file:
        stem, extension = _extension(pieces)
        if extension is not None:
            base, dot, given = name.rpartition(".")
            if not dot or not base:
                return f"it has no extension, and {_or(extension.words)} is asked for"
            if given not in extension.words:
                return f"extension is {given or 'empty'}, not {_or(extension.words)}"
            return _why_not(base, stem, what)
    return _why_not(name, pieces, what)


def _extension(pieces: Sequence[Piece]) -> tuple[Sequence[Piece], Piece | None]:
    """Split a file's pieces into those of its stem and the one of its extension, where the pattern names one."""
    *stem, last = pieces
    if len(last.words) == 1:
        literal, dot, extension = last.text.rpartition(".")
        if dot and extension and (literal or stem):
            before = [*stem, Piece(literal, (literal,), re.escape(literal))] if literal else stem
            return before, Piece(extension, (extension,), re.escape(extension))
    elif last.words and stem and len(stem[-1].words) == 1 and stem[-1].text.endswith("."):
        literal = stem[-1].text[:-1]
        before = [*stem[:-1], Piece(literal, (literal,), re.escape(literal))] if literal else stem[:-1]
        return before, last
    return pieces, None


def _why_not(name: str, pieces: Sequence[Piece], what: str) -> str:
    if len(pieces) == 1:
        piece = pieces[0]
        if piece.words:
            return f"{what} is not {_or(piece.words)}"
        if piece.text == "{number}":
            return f"{what} is not a number"
        if piece.text == "{slug}":
            odd = next((char for char in name if not re.fullmatch(_PLACEHOLDERS["slug"], char)), "")
            return f"{what} holds {quote(odd)}; allowed are a-z, 0-9 and -"
    return f"{what} does not fit {''.join(piece.text for piece in pieces)}"


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
