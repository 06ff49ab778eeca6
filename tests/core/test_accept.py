"""The patterns of `accept`, by example."""

from __future__ import annotations

import pytest

from s32s.rules import Verdict, compile_rules

PHOTOS = "stores/{slug}/{photos|menus}/{number}.jpg"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        (PHOTOS, "stores/rome-1/photos/17.jpg", True),
        (PHOTOS, "stores/rome-1/menus/1.jpg", True),
        (PHOTOS, "stores/Rome/photos/17.jpg", False),
        (PHOTOS, "stores/rome/photos/17.png", False),
        (PHOTOS, "stores/rome/photos/a.jpg", False),
        (PHOTOS, "stores/rome/other/17.jpg", False),
        (PHOTOS, "x/stores/rome/photos/17.jpg", False),
        ("*.txt", "a.txt", True),
        ("*.txt", "d/a.txt", False),
        ("**/*.txt", "a.txt", True),
        ("**/*.txt", "d/e/a.txt", True),
        ("docs/**", "docs/a/b", True),
        ("{name}/x", "any thing/x", True),
        ("{name}/x", "a/b/x", False),
        ("a.b", "axb", False),
    ],
)
def test_a_path_fits_a_pattern(pattern: str, path: str, fits: bool) -> None:
    """Placeholders stay within a segment, and dots are dots."""
    verdict = compile_rules(accept=[pattern]).verdict(path)

    assert verdict is (Verdict.ACCEPTED if fits else Verdict.REJECTED)


def test_a_directory_is_never_rejected() -> None:
    """Something that fits may lie in it."""
    assert compile_rules(accept=[PHOTOS]).verdict("stores", is_dir=True) is Verdict.ACCEPTED
