"""JSON as people write it: where it is wrong, and the cure."""

from __future__ import annotations

import json

import pytest

from s32s.config.json_mistakes import Lines, explain, places
from s32s.config.map_files import parse


@pytest.mark.parametrize(
    ("text", "line", "under", "says"),
    [
        pytest.param("", 1, "", "the file is empty", id="empty"),
        pytest.param(" \n\n", 1, "", "the file is empty", id="blank"),
        pytest.param('[{"a": 1\n  "b": 2}]', 1, "1", "a comma is missing after this", id="comma missing"),
        pytest.param('[{"a": ["x"\n\n"y"]}]', 1, '"', "a comma is missing after this", id="comma missing in a list"),
        pytest.param('[{"a": 1}\n{"a": 2}]', 1, "}", "a comma is missing after this", id="no comma after an entry"),
        pytest.param('[{"a": 1,\n}]', 1, ",", "remove this comma", id="comma before a brace"),
        pytest.param('[{"a": 1},\n\n]', 1, ",", "remove this comma", id="comma before a bracket"),
        pytest.param('[{"a": 1},,{"a": 2}]', 1, ",", "one comma too many", id="two commas"),
        pytest.param('[\n// note\n]', 2, "/", "JSON has no comments", id="comment"),
        pytest.param('[{"a": 1, # note\n"b": 2}]', 1, "#", "JSON has no comments", id="shell's comment"),
        pytest.param('[{"a": 1 /* note */}]', 1, "/", "JSON has no comments", id="C's comment"),
        pytest.param("[{'a': 1}]", 1, "'", "double quotes", id="single quotes"),
        pytest.param("[{“a”: 1}]", 1, "“", "typographic quotes", id="curly quotes"),
        pytest.param('[{"a":\n"C:\\Users"}]', 2, "\\", "write C:/Users", id="back-slash"),
        pytest.param('[{"a":\n"C:\\users"}]', 2, "\\", "write C:/Users", id="back-slash before u"),
        pytest.param('[\n{"a": "b,\n"c": 1}]', 2, '"', "closing quote", id="quote missing"),
        pytest.param('[{"a": "b}]', 1, '"', "closing quote", id="last quote missing"),
        pytest.param('[{"a": "b\tc"}]', 1, " ", "a tab is", id="tab"),
        pytest.param('[{a: 1}]', 1, "a", '"a"', id="bare name"),
        pytest.param('[{"a": True}]', 1, "T", "write true", id="Python's true"),
        pytest.param('[{"a": site}]', 1, "s", "double quotes", id="bare text"),
        pytest.param('[{"a" 1}]', 1, "1", "a colon belongs", id="colon missing"),
        pytest.param('[{"a" = 1}]', 1, "=", "a colon belongs", id="equals"),
        pytest.param('[{"a":}]', 1, "}", "a value is missing", id="value missing"),
        pytest.param('[\n{"a": 1}', 1, "[", "never closed; write ]", id="bracket missing"),
        pytest.param('[\n{"a": 1', 2, "{", "never closed; write }", id="brace missing"),
        pytest.param('[{"a": 1]}', 1, "]", "another kind", id="wrong bracket"),
        pytest.param('{"a": 1},\n{"a": 2}', 1, ",", "write [ before its first entry", id="no list"),
        pytest.param('[]\n]', 2, "]", "follows the end", id="too much"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_where_it_was_made(text: str, line: int, under: str, says: str) -> None:
    """The line of the mistake, a caret under it, and what would be right."""
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads(text)

    mistake, lines = explain(text, raised.value), Lines(text)

    assert says in mistake.text
    assert lines.number(mistake.at) == line
    shown, caret = lines.excerpt(mistake.at).split("\n")
    assert shown[len(caret) - 1 :][:1] == under


def test_a_long_line_is_cut_around_the_mistake() -> None:
    """It fits a terminal."""
    text = f'["{"x" * 500}" "{"y" * 500}"]'

    shown, caret = Lines(text).excerpt(501).split("\n")

    assert len(shown) <= 80
    assert shown[len(caret) - 1] == text[501]


def test_what_is_wrong_with_a_value_names_its_line() -> None:
    """Also in a list, and of an entry as a whole."""
    text = """[
  {"name": "A", "s3": "bucket/p",
   "slave": "$HOME/www", "ignore": ["x",
     "re:("]},
  {"s3": "bucket/q"}
]"""
    _, problems = parse(text.encode(), "m.json")

    assert [(problem.line, problem.property) for problem in problems] == [(3, "slave"), (3, "ignore[1]"), (5, "name")]
    assert problems[0].told()[1:] == [
        '       "slave": "$HOME/www", "ignore": ["x",',
        "                ^",
    ]


def test_values_are_found_by_entry_and_name() -> None:
    """Not those of objects in objects, and not what looks like one in a text."""
    text = '[{"a": {"b": 1}, "b": "x, \\"b\\": 2", "c": []}, 7, {"\\u0061": 3}]'

    found = places(text)

    assert {key: text[at : at + 2] for key, at in found.items()} == {
        (0, ""): '{"', (0, "a"): '{"', (0, "b"): '"x', (0, "c"): "[]", (1, ""): "7,", (2, ""): '{"', (2, "a"): "3}",
    }  # fmt: skip
