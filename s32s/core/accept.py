"""The patterns of `accept`: which paths fit, and for one that fits none, what is wrong with it as a person would say.

A pattern is a path whose segments hold literal text and wildcards: `{slug}`, `{number}`, `{name}`, `{a|b}`, `*` within
a segment and `**` for any depth. The reason for a rejection is found afterwards, by going along the pattern that the
path follows longest.

Patterns come from maps and paths from S3, so a match takes time in proportion to the length of the path, whatever the
pattern. A regular expression does so where it has little to try: a segment that has matched is never tried a second
time (atomic groups), nor is a wildcard that can end at one place only (possessive repeats). What is left to choose
within one segment decides how long a path the expression is asked for. Longer ones are matched by sets of positions,
kept as the bits of an integer, all of which one addition moves through a run of characters (Cameron et al., "Bitwise
Data Parallelism in Regular Expression Matching", 2014). That is linear for every pattern, and some ten times slower.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from s32s.core.expressions import Expression, is_expression
from s32s.core.paths import quote
from s32s.core.text import closest

#: Wildcards in a segment, and `**` in the whole: more are hard to read, and mistakes as a rule.
MAX_WILDCARDS = 3
MAX_DEPTHS = 2

_PLACEHOLDERS = {"slug": r"[a-z0-9-]+", "number": r"[0-9]+", "name": r"[^/]+"}
_DEPTH = "**"
#: Ways through a path that the expression may try: a tenth of a millisecond at most.
_MOST_TRIES = 16_384


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment.

    Attributes:
        text: as the pattern has it.
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
        choices = max(map(_choices, self._segments))
        #: The longest path that the expression matches in time; None for any.
        self.limit = None if choices <= 1 else int(_MOST_TRIES ** (1 / choices))

    def fits(self, path: str) -> bool:
        """Tell whether `path` fits, in linear time whatever the pattern."""
        return _fits(path, self._segments)

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
            if not _fits(names[at], [pieces]):
                return at, _why(names[at], pieces, is_file=is_file)
        last = self._segments[-1]
        if depth is not None and not _is_deep(last) and not _fits(names[-1], [last]):
            return len(front), _why(names[-1], last, is_file=True)
        return len(front), f"it does not fit {self.text}"

    def _depth(self, *, deeper: bool) -> str:
        where = "deeper" if deeper else "less deep"
        return f"it is {where} than {self.text}"


AnyPattern = Pattern | Expression


def compile_patterns(texts: Iterable[str]) -> tuple[AnyPattern, ...]:
    """Compile the patterns of an entry.

    Raises:
        ValueError: one cannot be understood; the message points into it.
    """
    return tuple(Expression(text) if is_expression(text) else Pattern(text) for text in texts)


def matcher(patterns: Sequence[AnyPattern]) -> Callable[[str], object] | None:
    """What tells, by a true answer, that a path fits one of `patterns`; None where there are none."""
    plain = _matcher([pattern for pattern in patterns if isinstance(pattern, Pattern)])
    matching = [pattern for pattern in patterns if isinstance(pattern, Expression)]
    if not matching:
        return plain
    return lambda path: (plain is not None and plain(path)) or any(pattern.fits(path) for pattern in matching)


def _matcher(patterns: Sequence[Pattern]) -> Callable[[str], object] | None:
    if not patterns:
        return None
    every = _any_of(patterns).fullmatch
    slow = [pattern for pattern in patterns if pattern.limit is not None]
    if not slow:
        return every
    limit = min(pattern.limit or 0 for pattern in slow)
    quick = _any_of([pattern for pattern in patterns if pattern.limit is None]).fullmatch

    def fits(path: str) -> object:
        if len(path) <= limit:
            return every(path)
        return quick(path) or any(pattern.fits(path) for pattern in slow)

    return fits


def _any_of(patterns: Sequence[Pattern]) -> re.Pattern[str]:
    # Without a pattern: what nothing matches.
    return re.compile("|".join(f"(?:{pattern.expression})" for pattern in patterns) or "(?!)", re.DOTALL)


def reason(path: str, patterns: Sequence[AnyPattern]) -> str:
    """Say to a person why `path` fits none of `patterns`: what the nearest of them asks for."""
    told = [(pattern, *pattern.explain(path)) for pattern in patterns]
    if not told:
        return "nothing is accepted"
    nearest, fitting, why = max(told, key=lambda for_each: for_each[1])
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
            raise ValueError(f"the ** in the segment at column {column} must be alone between slashes")
        if sum(not piece.words for piece in pieces) > MAX_WILDCARDS:
            raise ValueError(f"the segment at column {column} contains more than {MAX_WILDCARDS} wildcards")
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
            raise ValueError(f"an alternative contains a slash in the braces at column {column}")
        return Piece(f"{{{text}}}", words, "(?:" + "|".join(map(re.escape, words)) + ")")
    known = _PLACEHOLDERS.get(text)
    if known is None:
        near = closest(text, _PLACEHOLDERS)
        hint = f"did you mean {{{near}}}?" if near else "there are {slug}, {number}, {name} and {a|b}"
        raise ValueError(f"unknown placeholder {{{text}}} at column {column}; {hint}")
    return Piece(f"{{{text}}}", (), known)


def _is_deep(pieces: Sequence[Piece]) -> bool:
    return len(pieces) == 1 and pieces[0].text == _DEPTH


# -- as a regular expression -------------------------------------------------------------------------------------------


def _joined(segments: Sequence[Sequence[Piece]]) -> str:
    """The whole expression: `**` between slashes also stands for no directory at all."""
    done = ""
    rest = list(segments)
    while rest:
        pieces, *rest = rest
        if not _is_deep(pieces):
            done += _segment(pieces, is_last=not rest)
            continue
        while rest and _is_deep(rest[0]):
            rest = rest[1:]
        after = next((at for at, for_each in enumerate(rest) if _is_deep(for_each)), None)
        if not rest:
            done += ".*"
        elif after is None:
            done += "(?:.*/)?"
        else:
            # The first place where what stands between two `**` fits leaves the most to the second one.
            between = "".join(_segment(for_each, is_last=False) for for_each in rest[:after])
            done += f"(?>(?:.*?/)??{between})"
            rest = rest[after:]
    return done


def _segment(pieces: Sequence[Piece], *, is_last: bool) -> str:
    """One segment to its end, which is known: a slash, or the end of the path."""
    text = "".join(
        piece.expression + ("+" if not piece.words and not _is_open(piece, after) else "")
        for piece, after in zip(pieces, [*pieces[1:], None], strict=True)
    )
    end = r"\Z" if is_last else "/"
    return f"(?>{text}{end})"


def _choices(pieces: Sequence[Piece]) -> int:
    """How many pieces of a segment multiply what there is to try; one alone costs no more than the path is long."""
    found = 0
    for piece, after in zip(pieces, [*pieces[1:], None], strict=True):
        if piece.words:
            # Of words none of which begins another, one at most fits.
            words = sorted(set(piece.words))
            found += any(later.startswith(word) for word, later in itertools.pairwise(words))
        else:
            # Behind a piece that is tried at several places, each run through a wildcard counts.
            found += bool(found) or _is_open(piece, after)
    return found


def _is_open(piece: Piece, after: Piece | None) -> bool:
    """Whether a wildcard may end at several places: what follows may begin with what it takes itself."""
    if after is None:
        return False
    one = re.compile(piece.expression[:-1], re.DOTALL)
    return not after.words or any(one.match(word) for word in after.words)


# -- by sets of positions ----------------------------------------------------------------------------------------------


def _fits(path: str, segments: Sequence[Sequence[Piece]]) -> bool:
    """Tell whether `path` fits, by the positions that each piece can end at; bit n stands for "before character n"."""
    ends = 1
    known: dict[str, int] = {}
    last = len(segments) - 1
    for at, pieces in enumerate(segments):
        if _is_deep(pieces):
            first = ends & -ends
            if at == last:
                return bool(ends)
            ends |= (_class(path, "/", known) & -first) << 1
            continue
        for piece in pieces:
            if piece.words:
                starts, ends = ends, 0
                for word in piece.words:
                    ends |= _after_word(path, word, starts, known)
            else:
                run = _class(path, piece.expression[:-1], known)
                starts = ends if piece.expression.endswith("*") else (ends & run) << 1
                # The addition carries each start to the end of its run.
                ends = (((starts & run) + run) ^ run) | starts
            if not ends:
                return False
        if at != last:
            ends = (ends & _class(path, "/", known)) << 1
    return bool(ends >> len(path))


def _after_word(path: str, word: str, starts: int, known: dict[str, int]) -> int:
    key = f"={word}"  # no expression of a class begins so
    if key not in known:
        places = 0
        at = path.find(word)
        while at >= 0:
            places |= 1 << at
            at = path.find(word, at + 1)
        known[key] = places
    return (starts & known[key]) << len(word)


def _class(path: str, expression: str, known: dict[str, int]) -> int:
    """The positions before a character that `expression` matches."""
    if expression not in known:
        bits = _translation(expression)
        # A base that is a power of two is read in linear time.
        known[expression] = int(path.translate(bits)[::-1] or "0", 2)
    return known[expression]


class _Bits(dict[int, str]):
    """Characters to "1" or "0", by whether an expression matches them."""

    def __init__(self, expression: str) -> None:
        super().__init__()
        self._one = re.compile(expression, re.DOTALL)

    def __missing__(self, char: int) -> str:
        return "1" if self._one.fullmatch(chr(char)) else "0"


@functools.cache
def _translation(expression: str) -> _Bits:
    return _Bits(expression)


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
            return f"{what} contains {quote(odd)}; allowed are a-z, 0-9 and -"
    return f"{what} does not fit {''.join(piece.text for piece in pieces)}"


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
