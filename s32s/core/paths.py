"""The one door through which a key or a file name becomes a safe relative path.

Keys, manifests and directory listings are hostile input. A path that passed `check` is relative, has no empty, `.` or
`..` segment, no control character, and fits into a file name and an S3 key; it can be joined to a directory without
leaving it. Nothing here repairs a name: a repaired name is another name.

Also here: how a name is shown. `escape` makes any string safe for a terminal and for a line-oriented report.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from s32s.core.errors import BadPath

#: Objects below this segment belong to s32s (head, manifests); they are never data.
RESERVED = ".s32s"

#: How names begin under which a pull keeps its lock, its staging and earlier trees beside a target, or in it.
LOCK_PREFIX = ".s32s-lock-"
STAGING_PREFIX = ".s32s-new-"
KEPT_PREFIX = ".s32s-kept-"

#: NAME_MAX of Linux file systems, in bytes: limits.h.
MAX_SEGMENT = 255
#: An S3 key, prefix included, in bytes of UTF-8: S3 user guide, "Naming Amazon S3 objects".
MAX_KEY = 1024
#: Directories below each other; far beyond real trees, it bounds recursion on hostile ones.
MAX_DEPTH = 128

# Not printable, or able to turn the reading direction of what follows on the line.
_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# XML 1.0 cannot hold these two, so an S3 listing cannot either.
_NOT_XML = {"\ufffe", "\uffff"}
# What nearly every path is: a few short names in ASCII that do not begin with a dot. It spares the closer look.
_USUAL = re.compile(r"[!-\-0-~][ -.0-~]{0,62}(?:/[!-\-0-~][ -.0-~]{0,62}){0,31}")


def problem(path: str, *, room: int = MAX_KEY, on_disk: bool = True) -> str | None:
    """Say why `path` is not a safe relative path, or None when it is one.

    Args:
        path: segments joined by `/`, no slash at either end.
        room: bytes that the prefix leaves of a key's 1,024.
        on_disk: whether it names a file; False where only S3 ever sees it.
    """
    if len(path) <= room and _USUAL.fullmatch(path):
        return None
    if path.isascii() and path.isprintable():
        size = len(path)  # nearly every name: nothing hidden, one byte a character
    else:
        for char in path:
            category = unicodedata.category(char)
            if category == "Cs":
                return "it is not valid UTF-8"
            if category == "Cc" or char in _NOT_XML:
                return f"it contains the control character U+{ord(char):04X}"
        size = len(path.encode())
    if not path:
        return "it is empty"
    if path[0] == "/":
        return "it is absolute"
    if path[0] == "." and on_disk and path.startswith((LOCK_PREFIX, STAGING_PREFIX, KEPT_PREFIX)):
        return "s32s keeps such names for its locks, unfinished work and earlier trees in a target"
    if size > room:
        return f"it is longer than an S3 key allows ({size} of {room} bytes)"
    segments = path.split("/")
    if len(segments) > MAX_DEPTH and on_disk:
        return f"it is more than {MAX_DEPTH} directories deep"
    for segment in segments:
        if segment in ("", ".", ".."):
            return "it has an empty segment" if not segment else f"it has a segment {segment!r}"
        if len(segment) > 63 and on_disk and len(segment.encode()) > MAX_SEGMENT:
            return f"a segment is longer than {MAX_SEGMENT} bytes"
    return None


def check(path: str, *, room: int = MAX_KEY) -> str:
    """Return `path` unchanged when it is a safe relative path.

    Raises:
        BadPath: with the reason; the name is escaped for showing.
    """
    reason = problem(path, room=room)
    if reason:
        raise BadPath(f"{quote(path)} is not a safe relative path: {reason}", paths=(path,))
    return path


def is_reserved(path: str) -> bool:
    """Tell whether `path` lies in the part of a prefix that s32s keeps for itself."""
    return path == RESERVED or path.startswith(RESERVED + "/")


def parent(path: str) -> str:
    """The directory of `path`, or "" for one in the root."""
    return path.rpartition("/")[0]


def ancestors(path: str) -> Iterator[str]:
    """Every directory above `path`, the nearest first, without the root."""
    while path := parent(path):
        yield path


def escape(text: str) -> str:
    """Make `text` safe to print on one line: control, surrogate and direction characters become C escapes."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(_escaped(char) for char in text)


def quote(text: str) -> str:
    """`text`, escaped, in double quotes; of one that is longer than any key only the beginning."""
    return f'"{escape(text)}"' if len(text) <= MAX_KEY else f'"{escape(text[:MAX_KEY])}"…'


def word(text: str) -> str:
    """`text`, escaped, as one word of a command that people copy."""
    return shlex.quote(escape(text))


def some(names: Iterable[str], *, limit: int = 5) -> str:
    """A short, quoted enumeration of `names`, with the count of the rest."""
    listed = list(names)
    text = ", ".join(quote(name) for name in listed[:limit])
    return text if len(listed) <= limit else f"{text} and {len(listed) - limit:,} more"


def listed(reasons: Mapping[str, str], *, limit: int = 20) -> str:
    """Names and what is wrong with each, a line a name, for the end of a message."""
    lines = [f"{quote(name)}: {escape(why)}" for name, why in sorted(reasons.items())]
    rest = [f"and {len(lines) - limit:,} more"] if len(lines) > limit else []
    return "\n  ".join(["", *lines[:limit], *rest]) + "\n"


def _escaped(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN and char not in _BIDI:
        return char
    point = ord(char)
    if 0xDC80 <= point <= 0xDCFF:  # a byte that was not UTF-8, as os.fsdecode carries it (PEP 383)
        return f"\\x{point - 0xDC00:02x}"
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    return named or (f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}")


def is_within(path: str, above: str) -> bool:
    """Tell whether a path is `above`, or lies below it."""
    return path == above or path.startswith(above.rstrip("/") + "/")


def is_below(path: str, above: str) -> bool:
    """Tell whether a path lies below `above`, and is not that itself."""
    return path != above and is_within(path, above)


def overlaps(one: str, other: str) -> bool:
    """Tell whether one of two paths is the other, or lies below it."""
    return is_within(one, other) or is_within(other, one)
