"""What people are told about a file that fits no pattern of `accept`."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from s32s.core.accept import Pattern, compile_patterns, reason
from s32s.core.rules import Verdict, compile_rules

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
        ("stores/Rome/photos/1.jpg", f'directory "Rome" contains "R"; {ONLY}'),
        ("stores/ro me/photos/1.jpg", f'directory "ro me" contains " "; {ONLY}'),
        ("store/rome/photos/1.jpg", 'directory "store" is not stores'),
        ("stores/rome/1.jpg", f"it is less deep than {PHOTOS}"),
        ("1.jpg", f"it is less deep than {PHOTOS}"),
        ("stores/rome/photos/old/1.jpg", f"it is deeper than {PHOTOS}"),
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
        ("logos/old/acme.png", "it is deeper than logos/{slug}.{png|svg}"),
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


def fits(path: str, segments: list[str]) -> bool:
    """What the README says of patterns, by first principles, segment by segment."""
    if not segments:
        return False
    here, *below = segments
    if here == "**":
        if not below:
            return True
        name, slash, rest = path.partition("/")
        return fits(path, below) or (bool(slash) and fits(rest, segments))
    name, slash, rest = path.partition("/")
    if not segment_fits(name, re.findall(r"\{[^}]*\}|.", here)):
        return False
    return fits(rest, below) if slash else not below


def segment_fits(name: str, pieces: list[str]) -> bool:
    """Whether a name is made of what the pieces of a segment stand for."""
    if not pieces:
        return not name
    here, *rest = pieces
    if "|" in here:
        return any(name.startswith(word) and segment_fits(name[len(word) :], rest) for word in here[1:-1].split("|"))
    taken = {"{slug}": "ab01-", "{number}": "01", "{name}": "ab01-.", "*": "ab01-."}.get(here)
    if taken is None:
        return name[:1] == here and segment_fits(name[1:], rest)
    run = 0
    while run < len(name) and name[run] in taken:
        run += 1
    return any(segment_fits(name[end:], rest) for end in range(here != "*", run + 1))


PIECES = ["{slug}", "{number}", "{name}", "*", "{a|ab|b}", "{a|b}", "{1.|a-}", "a", "b", "1", "-", "."]
WHOLE = st.lists(
    st.one_of(st.just("**"), st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)),
    min_size=1,
    max_size=5,
).map("/".join)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(WHOLE, st.lists(st.lists(st.text("ab01-.", min_size=1, max_size=5), min_size=1, max_size=5).map("/".join)))
def test_the_expression_and_the_sets_of_positions_take_exactly_the_paths_of_a_pattern(
    text: str, some: list[str]
) -> None:
    """Two ways to match, and both give what the pattern says."""
    try:
        pattern = Pattern(text)
    except ValueError:
        assume(False)  # too many wildcards, or two stars beside other text

    expected = [fits(path, text.split("/")) for path in some]

    assert [bool(re.fullmatch(pattern.expression, path, re.DOTALL)) for path in some] == expected
    assert [pattern.fits(path) for path in some] == expected


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("{slug}{slug}{slug}/" * 5 + "{slug}{slug}{slug}!", id="wildcards side by side in each segment"),
        pytest.param("**/{slug}{slug}{slug}x/**/{slug}{slug}{slug}x", id="the same between double stars"),
        pytest.param("**/a/**/{name}{name}{name}b", id="double stars that find everything"),
        pytest.param("*{number}{slug}!", id="a run behind each place"),
        pytest.param("*a*a*!", id="stars between the same letter"),
        pytest.param("{a|aa}" * 200 + "!", id="words that begin one another"),
        pytest.param("{slug}-{slug}.html", id="one that people write"),
    ],
)
@pytest.mark.parametrize("path", ["a" * 1_000, ("a" * 60 + "/") * 5 + "a" * 700, "a/" * 499 + "a", "-a" * 500])
def test_no_pattern_takes_longer_than_its_path_is_long(pattern: str, path: str) -> None:
    """Judgements of paths of 1,000 bytes, with their reasons, end well within a second each."""
    program = (
        "import sys\n"
        "from s32s.core.rules import Verdict, compile_rules\n"
        "rules = compile_rules(accept=[sys.argv[1]] * 3)\n"
        "for number in range(20):\n"
        "    if rules.verdict(sys.argv[2] + str(number)) is Verdict.REJECTED:\n"
        "        rules.reason(sys.argv[2] + str(number))\n"
    )

    ended = subprocess.run([sys.executable, "-c", program, pattern, path], timeout=10, check=False)

    assert ended.returncode == 0


def test_a_pattern_with_one_choice_a_segment_is_an_expression_for_paths_of_any_length() -> None:
    """What people write goes the quick way."""
    quick = [PHOTOS, *SEVERAL, "**/*.{jpg|jpeg}", "{number}-{number}-{number}.txt", "a/**/b/**/*.md"]

    assert [pattern.limit for pattern in compile_patterns(quick)] == [None] * len(quick)
