"""Plain English in the code, the messages and the documents: words that a native reader stumbles over stay out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DENIED = re.compile(
    r"\b(?:shall|anew|whoever|mends?|mended|lies on|(?<!there )(?:is|are) no (?!longer|larger|more\b|less\b|one\b)\w+"
    r"|in step with|S3 not reached|for ever\b(?!y)|rightly|left-overs? of"
    r"|lies? in one another|stands? still|cannot travel|nobody to ask)\b",
    re.IGNORECASE,
)
TEXTS = sorted(
    path
    for place in ("s32s", "docs", "packaging", "maps")
    for path in (ROOT / place).rglob("*")
    if path.suffix in (".py", ".md", ".toml", ".service", ".timer", ".example", ".txt")
)
TEXTS += [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def found(text: str) -> list[str]:
    """The denied words of a text, a line break between them counting as a space."""
    return DENIED.findall(re.sub(r"\s+#?:?\s*", " ", text))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_denied_word(path: Path) -> None:
    """See CONTRIBUTING.md for what to write instead."""
    assert found(path.read_text()) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "It shall be so.",
        "It is made anew.",
        "Whoever asks.",
        "A file is no directory.",
        "They are no\n    # safe paths.",
        "It lies on S3.",
        "We mend it.",
    ],
)
def test_a_denied_word_is_found(sentence: str) -> None:
    """Also across lines of a comment."""
    assert found(sentence)


@pytest.mark.parametrize("sentence", ["There is no file.", "It is no longer there.", "There are no maps.", "recommend"])
def test_other_words_are_free(sentence: str) -> None:
    """What only looks like one."""
    assert not found(sentence)
