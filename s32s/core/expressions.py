"""Regular expressions of maps and command lines, written `re:…`: RE2, which takes linear time whatever the expression.

An expression must match the whole path, as the wildcards of `ignore` do. The syntax is that of RE2
(github.com/google/re2/wiki/Syntax): no look-around, no references back. A map is hostile input, so length, number and
memory are bounded. The library is loaded where there is an expression.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

START = "re:"
#: Bytes that a compiled expression may take.
_MOST_MEMORY = 1024 * 1024
_MOST_LENGTH = 1000


def is_expression(text: str) -> bool:
    """Whether a rule is a regular expression."""
    return text.startswith(START)


class Expression:
    """One expression as a pattern of `accept`; see `accept.Pattern`.

    Raises:
        ValueError: it cannot be understood; the message says why.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.fits = compiled(text)

    def explain(self, path: str) -> tuple[int, str]:
        """Say what keeps `path` from fitting, and how many of its segments fit before that: nobody knows."""
        return 0, f"it does not match {self.text}"


@functools.lru_cache(maxsize=4096)
def compiled(text: str) -> Callable[[str], bool]:
    """What tells whether a path matches an expression.

    Raises:
        ValueError: it cannot be understood; the message says why.
    """
    import re2

    expression = text.removeprefix(START)
    if not expression:
        raise ValueError("there is no expression behind re:")
    if len(expression) > _MOST_LENGTH:
        raise ValueError(f"the expression is longer than {_MOST_LENGTH:,} characters")
    options: Any = re2.Options()
    options.max_mem, options.never_capture, options.log_errors, options.dot_nl = _MOST_MEMORY, True, False, True
    try:
        match = re2.compile(expression, options=options).fullmatch
    except re2.error as exc:
        why = exc.args[0] if exc.args else exc
        shown = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise ValueError(f"it is not a regular expression that RE2 knows: {shown}") from exc

    def fits(path: str) -> bool:
        try:
            return match(path) is not None
        except UnicodeEncodeError:
            return False  # such a name is refused anyway

    return fits


def any_of(texts: Sequence[str]) -> Callable[[str], bool] | None:
    """What tells whether a path matches one of some expressions; None where there are none."""
    every = [compiled(text) for text in texts]
    return (lambda path: any(fits(path) for fits in every)) if every else None


def reaches_below(text: str) -> bool:
    """Whether an expression that matches a directory certainly matches all below it: it ends in `.*`, whatever else.

    Only where that is seen at once; a directory that is looked at in vain costs time and nothing else.
    """
    return text.endswith(".*") and not text.endswith("\\.*") and "|" not in text and "\\E" not in text
