"""`files`, `ignore` and `accept`: what they mean, path by path."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.core import paths
from s32s.core.accept import Pattern
from s32s.core.rules import EVERYTHING, Verdict, compile_rules

ACCEPTED, IGNORED, REJECTED = Verdict.ACCEPTED, Verdict.IGNORED, Verdict.REJECTED
PHOTOS = "stores/{slug}/{photos|menus}/{number}.jpg"
SEGMENTS = st.text("ab.é", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
WILDCARDS = st.lists(st.text("ab.*/[?", min_size=1, max_size=5), max_size=3)

checked = settings(max_examples=400, deadline=None, print_blob=True)


def wildcard_matches(rule: str, path: str) -> bool:
    """The rule of the design, by first principles: a star is any run of characters, all else is itself."""
    if not rule:
        return not path
    if rule[0] == "*":
        return any(wildcard_matches(rule[1:], path[at:]) for at in range(len(path) + 1))
    return bool(path) and rule[0] == path[0] and wildcard_matches(rule[1:], path[1:])


@pytest.mark.parametrize(
    ("rule", "path", "expected"),
    [
        pytest.param("text*", "text/a/b", True, id="a star at the end means starts with"),
        pytest.param("text*", "a/text", False, id="starts with is not contains"),
        pytest.param("*text*", "a/b.text/c", True, id="two stars mean contains"),
        pytest.param("*text", "a/b.text", True, id="a star in front means ends with"),
        pytest.param("*text", "text/a", False, id="ends with is not contains"),
        pytest.param("text", "text", True, id="no star means equal"),
        pytest.param("text", "a/text", False, id="equal is the whole path and not the name"),
        pytest.param("text", "text/a", False, id="equal is not a directory and all below"),
        pytest.param("*.bmp", "a/b/c.bmp", True, id="a star takes slashes too"),
        pytest.param("*.bmp", "a/b/c.BMP", False, id="case counts"),
        pytest.param(".*", ".git/config", True, id="a dot is a dot"),
        pytest.param(".*", "a/.git", False, id="a hidden file further down does not start with a dot"),
        pytest.param("*", "anything/at all", True, id="a star alone is everything"),
        pytest.param("a*c", "abbc", True, id="a star in the middle"),
        pytest.param("a*c", "ac", True, id="a star may stand for nothing"),
        pytest.param("a?c", "abc", False, id="a question mark is not a wildcard"),
        pytest.param("[ab]", "a", False, id="brackets are not wildcard"),
        pytest.param("a\\*", "a\\b", True, id="a back-slash escapes nothing"),
        pytest.param("*x*", "line\u2028x", True, id="a star takes line separators too"),
        pytest.param("é*", "e\u0301", False, id="two spellings of a letter are two letters"),
    ],
)
def test_an_ignore_rule_is_a_wildcard_on_the_whole_path(rule: str, path: str, expected: bool) -> None:
    """Starts with, contains, ends with, equal: the star says which."""
    assert compile_rules(ignore=[rule]).ignores(path) is expected


@checked
@given(PATHS, WILDCARDS)
def test_ignore_rules_mean_what_their_stars_say(path: str, ignore: list[str]) -> None:
    """Any one rule that matches is enough, and nothing but the star is special."""
    assert compile_rules(ignore=ignore).ignores(path) == any(wildcard_matches(rule, path) for rule in ignore)


@checked
@given(PATHS, PATHS, WILDCARDS)
def test_below_a_pruned_directory_everything_is_ignored(directory: str, rest: str, ignore: list[str]) -> None:
    """Who does not look into a pruned directory misses nothing."""
    rules = compile_rules(ignore=ignore)

    if rules.prunes(directory):
        assert rules.ignores(f"{directory}/{rest}")


def test_a_directory_that_only_its_own_name_ignores_is_not_pruned() -> None:
    """What lies below takes part, so somebody has to look."""
    rules = compile_rules(ignore=["build"])

    assert rules.ignores("build")
    assert not rules.prunes("build")
    assert rules.verdict("build/a") is ACCEPTED


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        pytest.param(PHOTOS, "stores/rome-1/photos/17.jpg", True, id="each placeholder has its kind"),
        pytest.param(PHOTOS, "stores/rome/menus/0.jpg", True, id="the other word"),
        pytest.param(PHOTOS, "stores/Rome/photos/17.jpg", False, id="a slug has no capitals"),
        pytest.param(PHOTOS, "stores/ro_me/photos/17.jpg", False, id="a slug has no underscore"),
        pytest.param(PHOTOS, "stores/rómé/photos/17.jpg", False, id="a slug has no accents"),
        pytest.param(PHOTOS, "stores//photos/17.jpg", False, id="a slug is not empty"),
        pytest.param(PHOTOS, "stores/rome/video/17.jpg", False, id="a word that is not listed"),
        pytest.param(PHOTOS, "stores/rome/photos/.jpg", False, id="a number is not empty"),
        pytest.param(PHOTOS, "stores/rome/photos/1a.jpg", False, id="a number is digits"),
        pytest.param(PHOTOS, "stores/rome/photos/٣.jpg", False, id="a number is digits 0 to 9"),
        pytest.param(PHOTOS, "stores/rome/photos/17xjpg", False, id="a dot is a dot"),
        pytest.param(PHOTOS, "x/stores/rome/photos/17.jpg", False, id="the whole path has to fit"),
        pytest.param(PHOTOS, "stores/rome/photos/17.jpg/x", False, id="the whole path has to fit to its end"),
        pytest.param(PHOTOS, "stores/rome/photos/17.jpg\n", False, id="a newline at the end is not overlooked"),
        pytest.param("{name}.txt", "any thing é.txt", True, id="a name is any segment"),
        pytest.param("{name}.txt", "a/b.txt", False, id="a name is one segment"),
        pytest.param("{name}.txt", ".txt", False, id="a name is not empty"),
        pytest.param("*.txt", "a.txt", True, id="a star within a segment"),
        pytest.param("*.txt", ".txt", True, id="a star may stand for nothing"),
        pytest.param("*.txt", "d/a.txt", False, id="a star takes no slash"),
        pytest.param("**", "a/b/c", True, id="two stars take any depth"),
        pytest.param("docs/**", "docs/a/b", True, id="everything below"),
        pytest.param("docs/**", "docsx/a", False, id="below is below"),
        pytest.param("**/*.txt", "a.txt", True, id="any depth may be none"),
        pytest.param("**/*.txt", "d/e/a.txt", True, id="any depth in front"),
        pytest.param("a/**/b", "a/b", True, id="any depth in the middle may be none"),
        pytest.param("a/**/b", "a/x/y/b", True, id="any depth in the middle"),
        pytest.param("a/**/b", "axb", False, id="any depth keeps its slashes"),
        pytest.param("a+(b)[c]?", "a+(b)[c]?", True, id="all else is itself"),
        pytest.param("{a.b|c*}", "a.b", True, id="a word is taken as it is written"),
        pytest.param("{a.b|c*}", "cd", False, id="a star in a word is a star"),
    ],
)
def test_an_accept_pattern_takes_exactly_its_paths(pattern: str, path: str, expected: bool) -> None:
    """Placeholders stay within a segment, and a path that fits none is rejected."""
    assert compile_rules(accept=[pattern]).verdict(path) is (ACCEPTED if expected else REJECTED)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        pytest.param("a/{slug", "brace at column 3 is not closed", id="an open brace"),
        pytest.param("a}b", "brace at column 2 closes nothing", id="a closing brace"),
        pytest.param("a/{wat}", "unknown placeholder {wat} at column 3", id="an unknown placeholder"),
        pytest.param("{Slug}", "unknown placeholder {Slug}", id="a placeholder in capitals"),
        pytest.param("{}", "unknown placeholder {}", id="a placeholder without a name"),
        pytest.param("{a|}", "alternative is empty in the braces at column 1", id="an empty word"),
        pytest.param("{|}", "alternative is empty", id="only empty words"),
        pytest.param("x/{slgu}.jpg", "{slgu} at column 3; did you mean {slug}?", id="a misspelt placeholder"),
        pytest.param("{a|b/c}", "alternative contains a slash in the braces at column 1", id="a word across segments"),
        pytest.param("a//b", "segment at column 3 is empty", id="an empty segment"),
        pytest.param("a**/b", "** in the segment at column 1 must be alone", id="two stars beside other text"),
    ],
)
def test_a_pattern_that_cannot_be_understood_says_where(pattern: str, why: str) -> None:
    """The message points into the pattern."""
    with pytest.raises(ValueError, match=re.escape(why)):
        compile_rules(accept=[pattern])


@checked
@given(st.text("ab*/{}|.slugnumbername", max_size=20))
def test_a_pattern_is_either_understood_or_refused(pattern: str) -> None:
    """Whatever is written gives an expression that compiles, or an error for people."""
    try:
        expression = Pattern(pattern).expression
    except ValueError as exc:
        assert "column" in str(exc)  # noqa: PT017 # a refusal is one of two good ends
    else:
        re.compile(expression)


def test_one_of_several_patterns_is_enough() -> None:
    """Patterns are alternatives."""
    rules = compile_rules(accept=[PHOTOS, "*.txt"])

    assert [rules.verdict(path) for path in ("a.txt", "stores/a/menus/1.jpg", "a.bmp")] == [
        ACCEPTED,
        ACCEPTED,
        REJECTED,
    ]


def test_ignore_comes_before_accept() -> None:
    """What is ignored is not reported as rejected."""
    rules = compile_rules(ignore=["*.tmp"], accept=["*.txt"])

    assert rules.verdict("a.tmp") is IGNORED
    assert rules.verdict("a.bmp") is REJECTED


def test_accept_never_rejects_a_directory() -> None:
    """Something that fits may lie in it."""
    assert compile_rules(accept=[PHOTOS]).verdict("stores", is_dir=True) is ACCEPTED


def test_files_let_only_themselves_and_their_directories_take_part() -> None:
    """With `files`, all other paths are not this entry's business."""
    rules = compile_rules(files=["a/b/c", "d"])

    assert [rules.verdict(path) for path in ("a/b/c", "d", "a/b/x", "D")] == [ACCEPTED, ACCEPTED, IGNORED, IGNORED]
    assert [rules.verdict(path, is_dir=True) for path in ("a", "a/b", "d", "e")] == [
        ACCEPTED,
        ACCEPTED,
        IGNORED,
        IGNORED,
    ]
    assert [rules.prunes(path) for path in ("a", "a/b", "a/x")] == [False, False, True]


def test_a_star_in_files_is_a_name() -> None:
    """`files` lists paths and knows no wildcard."""
    rules = compile_rules(files=["*.txt"])

    assert rules.verdict("a.txt") is IGNORED
    assert rules.verdict("*.txt") is ACCEPTED


@checked
@given(PATHS)
def test_without_rules_everything_takes_part(path: str) -> None:
    """An entry without rules replicates whole trees."""
    assert EVERYTHING.verdict(path) is ACCEPTED
    assert not any(EVERYTHING.prunes(above) for above in paths.ancestors(path))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(f"ignore={['*a' * 25 + '*b']!r}", id="ignore with many stars"),
        pytest.param(f"ignore={['*a*b*c*d*' * 5] * 100!r}", id="a hundred such rules"),
        pytest.param(f"accept={['*a' * 25 + '*b']!r}", id="accept with many stars"),
        pytest.param(f"accept={['{name}' * 25 + 'b']!r}", id="accept with many names in a segment"),
        pytest.param(f"accept={['**/' * 25 + 'b']!r}", id="accept with many double stars"),
    ],
)
def test_no_rule_takes_for_ever(rules: str) -> None:
    """A map from outside cannot keep a machine busy with one long path: it is judged or refused at once."""
    program = (
        "from s32s.core.rules import compile_rules\n"
        f"try:\n    rules = compile_rules({rules})\n"
        "except ValueError:\n    raise SystemExit\n"
        "for path in ('a' * 200, 'abcd' * 50, 'a/' * 60 + 'a', 'a' * 1000, 'abcd' * 250):\n"
        "    rules.verdict(path), rules.prunes(path)\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], timeout=3, check=False)

    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("rule", "path", "expected"),
    [
        (r"re:.*\.(tmp|bak)", "a/b.tmp", True),
        (r"re:.*\.(tmp|bak)", "a/b.tmp/c", False),
        ("re:a", "a/b", False),
        ("re:a.*", "a/b/c", True),
        ("re:[0-9]{4}/é", "2026/é", True),
        ("re:A", "a", False),
        ("re:(?i)A", "a", True),
    ],
)
def test_an_expression_matches_the_whole_path(rule: str, path: str, expected: bool) -> None:
    """In `ignore` and in `accept` alike."""
    assert compile_rules(ignore=[rule]).ignores(path) == expected
    assert compile_rules(ignore=["*.x", rule]).ignores(path) == expected
    rules = compile_rules(accept=["none/{slug}", rule])
    assert rules.verdict(path) is (ACCEPTED if expected else REJECTED)
    assert expected or rules.reason(path)


EXPRESSIONS = st.lists(
    st.sampled_from(["a", "b", ".*", "[ab]", "/", "(a|b)", "é?", "\\."]), min_size=1, max_size=4
).map("".join)


@checked
@given(st.lists(EXPRESSIONS, min_size=1, max_size=3), PATHS)
def test_an_expression_means_what_it_means_elsewhere(expressions: list[str], path: str) -> None:
    """And a directory is pruned only if all below it is ignored."""
    rules = compile_rules(ignore=[f"re:{one}" for one in expressions])

    assert rules.ignores(path) == any(re.fullmatch(one, path) for one in expressions)
    if rules.prunes(path):
        assert all(rules.ignores(f"{path}/{below}") for below in ("a", "b/a", "é.x"))


@pytest.mark.parametrize(
    "rule", ["re:", "re:(", "re:a(?=b)", r"re:(a)\1", "re:" + "a" * 1001, "re:" + "(a{1000}){1000}"]
)
def test_an_expression_that_is_none_is_told(rule: str) -> None:
    """With the reason, and at once."""
    with pytest.raises(ValueError, match=r"RE2|longer|no expression"):
        compile_rules(ignore=[rule])
    with pytest.raises(ValueError, match=r"RE2|longer|no expression"):
        compile_rules(accept=[rule])


def test_an_expression_takes_linear_time() -> None:
    """What keeps other engines busy for longer than anybody waits."""
    rules = compile_rules(ignore=["re:(a+)+b", "re:(a|aa)+c"])

    assert not rules.ignores("a" * 4000)


def test_what_is_no_text_matches_no_expression() -> None:
    """Such names are refused elsewhere."""
    assert not compile_rules(ignore=["re:.*"]).ignores("a\udcff")
