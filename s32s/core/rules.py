"""Which paths take part: an entry's `files`, `ignore` and `accept`, compiled once, asked per path.

`ignore` rules are wildcards on the whole relative path, case-sensitive: `*` stands for any run of characters, slashes
too, and nothing else is special. `accept` patterns are those of `accept.py`. Both may be regular expressions, see
`expressions.py`. No I/O here; the same rules serve both sides of a plan.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from s32s.core import accept as accepting
from s32s.core import expressions, paths
from s32s.core.accept import AnyPattern


class Verdict(enum.Enum):
    """What the rules say of a path."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    REJECTED = "rejected"


class Links(enum.Enum):
    """What happens to a symbolic link that points out of its tree; one that stays inside always travels."""

    REFUSE = "refuse"  # the entry fails and names it
    SKIP = "skip"  # it is left behind, and reported
    FOLLOW = "follow"  # what it leads to travels in its place
    KEEP = "keep"  # it travels as it is; a slave takes it only where its own configuration allows


@dataclass(frozen=True, slots=True)
class Rules:
    """Compiled rules of one entry; build it with `compile_rules`.

    Attributes:
        files: the only paths that take part, or None for all.
        accept: the patterns, one of which a file must fit; none means that all do.
        links: what happens to links that point out of the tree.
        below: the only directory of which anything takes part; empty for all.
        spares_own: whether what s32s keeps in a shared folder is passed over, instead of being a name in the way.
    """

    files: frozenset[str] | None = None
    accept: tuple[AnyPattern, ...] = ()
    links: Links = Links.REFUSE
    below: str = ""
    spares_own: bool = False
    _ignore: re.Pattern[str] | None = None
    _ignore_below: re.Pattern[str] | None = None
    _matches: Callable[[str], bool] | None = None
    _matches_below: Callable[[str], bool] | None = None
    _accept: Callable[[str], object] | None = None
    _file_parents: frozenset[str] = field(default=frozenset())

    def verdict(self, path: str, *, is_dir: bool = False) -> Verdict:
        """Judge a path of either side.

        A directory takes part when something may lie in it, so `accept` never rejects one; with `files` only the
        parents of the listed files do.
        """
        if self.below and self.is_outside(path, is_dir=is_dir):
            return Verdict.IGNORED
        if self.files is not None:
            listed = path in self._file_parents if is_dir else path in self.files
            return Verdict.ACCEPTED if listed and not self.ignores(path) else Verdict.IGNORED
        if self.ignores(path):
            return Verdict.IGNORED
        if self._accept is None or is_dir or self._accept(path):
            return Verdict.ACCEPTED
        return Verdict.REJECTED

    @property
    def takes_all(self) -> bool:
        """Whether nothing is ignored."""
        return self.files is None and self._ignore is None and self._matches is None and not self.below

    def is_outside(self, path: str, *, is_dir: bool = False) -> bool:
        """Tell whether a path is not in `below`; the directories above that are not outside either."""
        if not self.below or paths.is_within(path, self.below):
            return False
        return not (is_dir and paths.is_within(self.below, path))

    def sparing_own(self) -> Rules:
        """The same rules for a shared folder."""
        return replace(self, spares_own=True)

    def limited(self, directory: str) -> Rules:
        """The same rules for one directory of the tree alone; empty for all of it."""
        return replace(self, below=directory)

    def ignores(self, path: str) -> bool:
        """Tell whether an `ignore` rule names `path`."""
        if self._ignore is not None and self._ignore.fullmatch(path) is not None:
            return True
        return self._matches is not None and self._matches(path)

    def prunes(self, directory: str) -> bool:
        """Tell whether everything below `directory` is ignored too, so that nobody need look.

        True where a rule that ends in `*` matches the directory: its star swallows whatever follows.
        """
        if self.below and self.is_outside(directory, is_dir=True):
            return True
        if self.spares_own and directory == paths.RESERVED:
            return True
        if self.files is not None:
            return directory not in self._file_parents
        if self._ignore_below is not None and self._ignore_below.fullmatch(directory) is not None:
            return True
        return self._matches_below is not None and self._matches_below(directory)

    def reason(self, path: str) -> str:
        """Say to a person why `path` was rejected."""
        return accepting.reason(path, self.accept)


#: Rules that let everything take part.
EVERYTHING = Rules()


def compile_rules(
    *,
    files: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    accept: Iterable[str] = (),
    links: Links | str = Links.REFUSE,
) -> Rules:
    """Compile an entry's rules.

    Raises:
        ValueError: an `accept` pattern or an expression cannot be understood; the message points into it.
    """
    every = tuple(ignore)
    rules = [rule for rule in every if not expressions.is_expression(rule)]
    matching = [rule for rule in every if expressions.is_expression(rule)]
    patterns = accepting.compile_patterns(accept)
    listed = None if files is None else frozenset(files)
    return Rules(
        files=listed,
        accept=patterns,
        links=Links(links),
        _ignore=_any_of(map(_wildcard, rules)),
        _ignore_below=_any_of(_wildcard(rule) for rule in rules if rule.endswith("*")),
        _matches=expressions.any_of(matching),
        _matches_below=expressions.any_of([rule for rule in matching if expressions.reaches_below(rule)]),
        _accept=accepting.matcher(patterns),
        _file_parents=frozenset(above for path in listed or () for above in paths.ancestors(path)),
    )


def _wildcard(rule: str) -> str:
    """Each piece between stars is taken where it first fits, and never looked for again.

    The first fit is always good enough, and without the atomic groups a rule with many stars, which a hostile map may
    hold, would take exponential time.
    """
    first, *pieces = map(re.escape, rule.split("*"))
    if not pieces:
        return first
    *middle, last = pieces
    return first + "".join(f"(?>.*?{piece})" for piece in middle if piece) + ".*" + last


def _any_of(expressions: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(f"(?:{expression})" for expression in expressions)
    return re.compile(joined, re.DOTALL) if joined else None
