"""What people are told about a file that fits no pattern of `accept`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s.accept import compile_patterns, reason
from s32s.rules import Verdict, compile_rules

PHOTOS = "stores/{slug}/{photos|menus}/{number}.jpg"
SEVERAL = [PHOTOS, "logos/{slug}.{png|svg}", "docs/**/{number}-{slug}.txt", "README"]
ONLY = "allowed are a-z, 0-9 and -"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("stores/rome/photos/1.png", "extension is png, not jpg"),
        ("stores/rome/photos/1.JPG", "extension is JPG, not jpg"),
        ("stores/rome/photos/1", "it has no extension, and jpg is asked for"),
        ("stores/rome/photos/.jpg", "it has no extension, and jpg is asked for"),
        ("stores/rome/photos/1.", "extension is empty, not jpg"),
        ("stores/rome/photos/front.jpg", "file name is not a number"),
        ("stores/rome/photos/12a.jpg", "file name is not a number"),
        ("stores/rome/pictures/1.jpg", 'directory "pictures" is not photos or menus'),
        ("stores/Rome/photos/1.jpg", f'directory "Rome" holds "R"; {ONLY}'),
        ("stores/ro me/photos/1.jpg", f'directory "ro me" holds " "; {ONLY}'),
        ("store/rome/photos/1.jpg", 'directory "store" is not stores'),
        ("stores/rome/1.jpg", f"it lies less deep than {PHOTOS}"),
        ("1.jpg", f"it lies less deep than {PHOTOS}"),
        ("stores/rome/photos/old/1.jpg", f"it lies deeper than {PHOTOS}"),
    ],
)
def test_one_pattern_tells_what_is_wrong(path: str, why: str) -> None:
    """The first thing that does not fit, in the words of whoever named the file."""
    rules = compile_rules(accept=[PHOTOS])

    assert rules.verdict(path) is Verdict.REJECTED
    assert rules.reason(path) == why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("stores/rome/photos/1.png", f"extension is png, not jpg ({PHOTOS})"),
        ("logos/acme.gif", "extension is gif, not png or svg (logos/{slug}.{png|svg})"),
        ("logos/old/acme.png", "it lies deeper than logos/{slug}.{png|svg}"),
        ("docs/a/b/1.txt", "file name does not fit {number}-{slug} (docs/**/{number}-{slug}.txt)"),
        ("docs/1-a.md", "extension is md, not txt (docs/**/{number}-{slug}.txt)"),
        ("other/1.jpg", "it fits none of the 4 accept patterns, not even at its start"),
    ],
)
def test_of_several_patterns_the_nearest_speaks(path: str, why: str) -> None:
    """The one that the path follows longest, and it is named."""
    rules = compile_rules(accept=SEVERAL)

    assert rules.verdict(path) is Verdict.REJECTED
    assert rules.reason(path) == why


@given(
    st.lists(st.text("ab1.-/A", min_size=1, max_size=3), min_size=1, max_size=5).map("/".join),
    st.lists(
        st.sampled_from(
            [PHOTOS, "**", "a/**", "**/b", "{slug}.{a|b}", "*.1", "{name}", "a.b", "{a|b}/*", "a/*/b-{number}"]
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_every_rejection_has_a_reason(path: str, patterns: list[str]) -> None:
    """Whatever the path and the patterns."""
    assert reason(path, compile_patterns(patterns))
