"""The door: which names are safe relative paths, and how any name is shown."""

from __future__ import annotations

import posixpath
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s32s.core import paths
from s32s.core.errors import BadPath

# Unicode 15, PropList.txt, Bidi_Control: every character that turns the reading direction of what follows it.
BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Few characters, so that separators, dots and hidden ones meet often.
AWKWARD = st.text(st.sampled_from("a./\\~ \n\x00\x1b\x7f\u0085\u202e\u2028é") | st.characters(), max_size=30)

checked = settings(max_examples=400, deadline=None, print_blob=True)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("a", id="one character"),
        pytest.param("a/b/c", id="directories"),
        pytest.param(".hidden/.b", id="leading dots"),
        pytest.param("...", id="three dots"),
        pytest.param("a..b/c..", id="dots inside a segment"),
        pytest.param(" a / b ", id="blanks at the ends"),
        pytest.param("~root", id="a tilde"),
        pytest.param("a\\b", id="a back-slash is a character like others"),
        pytest.param("%2e%2e/%2F", id="percent signs decode to nothing"),
        pytest.param("é/日本/\U0001f600", id="letters of the world"),
        pytest.param("n" * 255, id="the longest segment"),
        pytest.param("\U0001f600" * 63 + "abc", id="the longest segment in bytes of several"),
        pytest.param("/".join(["x"] * 128), id="the deepest path"),
        pytest.param("/".join(["y" * 255] * 4), id="1,023 bytes"),
        pytest.param(".s32sx", id="a name that only begins like the reserved one"),
        pytest.param("d/.s32s-lock-x", id="a name of ours where we keep none"),
    ],
)
def test_a_safe_relative_path_passes_unchanged(path: str) -> None:
    """What a file system and S3 both hold needs no repair and gets none."""
    assert paths.problem(path) is None
    assert paths.check(path) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("/etc/passwd", "absolute", id="absolute"),
        pytest.param(".s32s-lock-x", "s32s keeps such names", id="the name of a lock"),
        pytest.param(".s32s-new-x/y", "s32s keeps such names", id="below the name of unfinished work"),
        pytest.param("/", "absolute", id="the root"),
        pytest.param("..", "segment '..'", id="the directory above"),
        pytest.param("../../etc/passwd", "segment '..'", id="far above"),
        pytest.param("a/../b", "segment '..'", id="up again in the middle"),
        pytest.param("a/..", "segment '..'", id="up again at the end"),
        pytest.param(".", "segment '.'", id="the directory itself"),
        pytest.param("./x", "segment '.'", id="the directory itself in front"),
        pytest.param("a/./b", "segment '.'", id="the directory itself in the middle"),
        pytest.param("p//q", "empty segment", id="two slashes"),
        pytest.param("a/", "empty segment", id="a slash at the end"),
        pytest.param("a\x00b", "U+0000", id="NUL"),
        pytest.param("a\nb", "U+000A", id="a newline"),
        pytest.param("a\rb", "U+000D", id="a carriage return"),
        pytest.param("a\tb", "U+0009", id="a tab"),
        pytest.param("a\x1b[2Jb", "U+001B", id="an escape sequence"),
        pytest.param("a\x7f", "U+007F", id="DEL"),
        pytest.param("a\x85", "U+0085", id="a C1 control"),
        pytest.param("\ud800", "UTF-8", id="half a surrogate pair"),
        pytest.param("a\udcff", "UTF-8", id="a byte that was not UTF-8"),
        pytest.param("a\ufffe", "U+FFFE", id="what XML cannot hold"),
        pytest.param("\uffff", "U+FFFF", id="what XML cannot hold either"),
        pytest.param("n" * 256, "255 bytes", id="a segment one byte too long"),
        pytest.param("d/" + "ü" * 128, "255 bytes", id="a segment too long in bytes though not in characters"),
        pytest.param("/".join(["x"] * 129), "128 directories", id="one directory too deep"),
        pytest.param("/".join(["y" * 255] * 5), "1279 of 1024 bytes", id="longer than a key"),
    ],
)
def test_an_unsafe_path_is_refused_with_the_reason(path: str, why: str) -> None:
    """The name is refused whole, and the error carries it for the report."""
    with pytest.raises(BadPath) as caught:
        paths.check(path)

    assert why in str(caught.value)
    assert caught.value.paths == (path,)
    assert caught.value.exit_status == 3


def test_the_prefix_takes_its_room_from_the_key() -> None:
    """The limit of a key counts what the prefix needs."""
    assert paths.problem("x" * 24, room=24) is None
    assert paths.problem("x" * 25, room=24) is not None
    assert paths.problem("é" * 13, room=24) is not None


@checked
@given(AWKWARD)
@example("a/../../b")
def test_a_path_that_passes_stays_below_its_directory(text: str) -> None:
    """Joined to a directory, an accepted path lies in it under the very same name."""
    if paths.problem(text) is None:
        assert posixpath.normpath(f"/root/dir/{text}") == f"/root/dir/{text}"
        assert len(text.encode()) <= paths.MAX_KEY


@checked
@given(AWKWARD)
def test_a_path_that_passes_is_one_line(text: str) -> None:
    """No accepted path can forge a line of a report or steer a terminal."""
    if paths.problem(text) is None:
        assert not any(unicodedata.category(char) == "Cc" for char in text)


@checked
@given(AWKWARD)
def test_check_and_problem_agree(text: str) -> None:
    """`check` raises exactly where `problem` has something to say, and never another error."""
    try:
        passed = paths.check(text) == text
    except BadPath:
        passed = False

    assert passed == (paths.problem(text) is None)


PIECES = st.sampled_from(
    ["", ".", "..", ".s32s-lock-", ".s32s", "a", "a b", "-", "é", "\x7f", "n" * 63, "n" * 64, "n" * 300]
)


@given(pieces=st.lists(PIECES, min_size=1, max_size=40), room=st.sampled_from([5, 100, 1024]))
def test_the_short_look_at_a_usual_path_passes_nothing_that_the_long_one_refuses(pieces: list[str], room: int) -> None:
    """Nearly every path is judged by a pattern alone."""
    path = "/".join(pieces)
    quick = paths.problem(path, room=room)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_USUAL", re.compile("(?!)"))
        assert paths.problem(path, room=room) == quick


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".s32s", True),
        (".s32s/head.json", True),
        (".s32s/a/b", True),
        (".s32sx", False),
        (".S32S/head.json", False),
        ("a/.s32s/head.json", False),
        ("s32s", False),
    ],
)
def test_the_part_that_s32s_keeps_is_the_first_segment(path: str, expected: bool) -> None:
    """Only `.s32s` at the top of a prefix, written exactly so, is not data."""
    assert paths.is_reserved(path) is expected


def test_ancestors_come_nearest_first_and_without_the_root() -> None:
    """The directories above a path end before the root."""
    assert list(paths.ancestors("a/b/c")) == ["a/b", "a"]
    assert list(paths.ancestors("a")) == []
    assert (paths.parent("a/b"), paths.parent("a")) == ("a", "")


@checked
@given(st.text(max_size=40))
def test_what_is_shown_holds_nothing_hidden(text: str) -> None:
    """Escaped text is one line, encodes to UTF-8 and steers no terminal."""
    shown = paths.escape(text)

    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in shown)
    assert shown.encode().decode() == shown


@pytest.mark.parametrize("char", BIDI_CONTROLS, ids=lambda char: f"U+{ord(char):04X}")
def test_no_name_turns_the_reading_direction(char: str) -> None:
    """A name cannot make `gpj.exe` look like a picture."""
    assert char not in paths.escape(f"a{char}gpj.exe")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain é", "plain é", id="printable text stays"),
        pytest.param("a\nb\rc\td", "a\\nb\\rc\\td", id="the three that have names"),
        pytest.param("\x1b[31m", "\\x1b[31m", id="an escape sequence"),
        pytest.param("\udcff", "\\xff", id="a byte that was not UTF-8"),
        pytest.param("\ud800", "\\ud800", id="half a surrogate pair"),
        pytest.param("\u2028", "\\u2028", id="a line separator"),
        pytest.param("\u202e", "\\u202e", id="a direction"),
    ],
)
def test_hidden_characters_are_shown_as_c_escapes(text: str, shown: str) -> None:
    """What cannot be seen is spelt."""
    assert paths.escape(text) == shown


def test_an_enumeration_is_short_and_counts_the_rest() -> None:
    """Five names are shown, and how many there are beyond."""
    assert paths.some(["a", "b\n"]) == '"a", "b\\n"'
    assert paths.some(str(number) for number in range(2005)) == '"0", "1", "2", "3", "4" and 2,000 more'


def test_what_only_a_file_system_minds_passes_where_there_is_none() -> None:
    """What could lead out of a directory does not."""
    for path in ("n" * 300, "/".join("d" * 200), ".s32s-lock-x"):
        assert paths.problem(path)
        assert paths.problem(path, on_disk=False) is None
    for path in ("../x", "a//b", "/x", "\x00", "n" * 1025):
        assert paths.problem(path, on_disk=False)


def test_a_name_longer_than_any_key_is_shown_in_part() -> None:
    """A tree may be so deep that one path fills a screen."""
    assert paths.quote("a" * 1024) == f'"{"a" * 1024}"'
    assert paths.quote("a" * 5000) == f'"{"a" * 1024}"…'
