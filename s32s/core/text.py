"""Words for people that more than one layer needs."""

from __future__ import annotations

from collections.abc import Iterable

_PLURALS = {"directory": "directories", "entry": "entries"}


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one is nearest to; None where none is near."""
    import difflib  # only where something is wrong already

    names = list(known)
    for spelling in (word, word.lower(), word.lower().replace("_", "-")):
        if near := difflib.get_close_matches(spelling, names, n=1):
            return near[0]
    by_letters = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), by_letters, n=1)
    return by_letters[near[0]] if near else None


def count(number: int, noun: str) -> str:
    """`1 file`, `1,024 files`."""
    return f"{number:,} {noun if number == 1 else _PLURALS.get(noun, noun + 's')}"


def tree_words(generation: int) -> str:
    """`generation 7`; of a tree that has no number, or of which nobody knows it, that."""
    return f"generation {generation:,}" if generation else "an unnumbered tree"


def number_words(generation: int) -> str:
    """`7`, in a list of trees."""
    return f"{generation:,}" if generation else "unnumbered"
