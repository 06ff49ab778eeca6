"""Map files: every rule of their format, and everything that may be wrong with one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.config import map_files, maps
from s32s.config.maps import Entry, Problem
from s32s.core.location import S3Path
from s32s.core.role import Role

GOOD: dict[str, Any] = {"name": "A", "s3": "bucket/x"}

checked = settings(max_examples=150, deadline=None, print_blob=True)


def parsed(*entries: Any) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """A map file with these entries, parsed."""
    return map_files.parse(json.dumps(entries).encode(), "m.json")


def problems(*entries: Any) -> list[str]:
    """What is wrong with a map file of these entries, a line each."""
    return [str(problem) for problem in parsed(*entries)[1]]


def entry(**properties: Any) -> Entry:
    """The one entry of a map file that has no problems."""
    entries, found = parsed(GOOD | properties)
    assert found == ()
    return entries[0]


# -- what is right ---------------------------------------------------------------------------------------------------


def test_the_map_of_the_design_is_read() -> None:
    """The example in the contract has no problem, and each property arrives."""
    document = [
        {
            "name": "PROJECT 1",
            "description": "optional",
            "master": "c:/path/dir/master/1",
            "s3": "bucketname/backup/dir1",
            "slave": "/path/slave/dir1",
            "ignore": ["*__pycache__*", ".*", "*.bmp"],
        },
        {
            "name": "PROJECT 2",
            "master": "c:/path/dir/master/2",
            "s3": "bucketname/dir/dir/dir",
            "slave": "/path/slave/dir2",
            "files": ["filename_1", "filename_2"],
        },
    ]

    entries, found = parsed(*document)

    assert found == ()
    assert [read.name for read in entries] == ["PROJECT 1", "PROJECT 2"]
    assert entries[0].location == S3Path("bucketname", "backup/dir1")
    assert entries[0].place(Role.MASTER) == "c:/path/dir/master/1"
    assert entries[0].place(Role.SLAVE) == "/path/slave/dir1"
    assert entries[0].place(Role.MIRROR) is None
    assert entries[0].rules().ignores("a/__pycache__/b")
    assert entries[1].files == ["filename_1", "filename_2"]


def test_only_name_and_s3_are_mandatory() -> None:
    """All else has a value that the design names."""
    read = entry()

    assert (read.master, read.slave, read.mirror, read.files, read.accept, read.after) == (None,) * 6
    assert (read.manifest, read.apply, read.ignore, read.description) == (True, "swap", [], "")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("bucket/prefix", S3Path("bucket", "prefix"), id="bucket and prefix"),
        pytest.param("s3://bucket/prefix", S3Path("bucket", "prefix"), id="as a URL"),
        pytest.param("bucket/a/b/", S3Path("bucket", "a/b"), id="a slash at the end"),
        pytest.param("bucket", S3Path("bucket", ""), id="a whole bucket"),
        pytest.param("my.bucket-1/a b/é", S3Path("my.bucket-1", "a b/é"), id="odd but allowed letters"),
    ],
)
def test_an_s3_path_is_a_bucket_and_a_prefix(written: str, expected: S3Path) -> None:
    """With and without `s3://` and the final slash it is the same place."""
    assert entry(s3=written).location == expected
    assert S3Path.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("/srv/a", "/srv/a", id="an absolute path"),
        pytest.param("/srv//a/./b/", "/srv/a/b", id="slashes and dots that mean nothing"),
        pytest.param("c:/dir/sub", "c:/dir/sub", id="a drive"),
        pytest.param("c:\\dir\\sub", "c:/dir/sub", id="back-slashes"),
        pytest.param("C:\\dir/sub\\", "C:/dir/sub", id="both slashes"),
    ],
)
def test_a_master_may_run_windows(written: str, expected: str) -> None:
    """Drives and back-slashes are accepted for the master."""
    assert entry(master=written).master == expected


def test_a_slave_runs_linux() -> None:
    """A back-slash in a slave's path is a character of a name."""
    assert entry(slave="/srv/a\\b").slave == "/srv/a\\b"


def test_a_byte_order_mark_is_accepted() -> None:
    """Windows editors write one."""
    entries, found = map_files.parse(b"\xef\xbb\xbf" + json.dumps([GOOD]).encode(), "m.json")

    assert found == ()
    assert entries[0].name == "A"


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param({"manifest": False}, id="no manifest"),
        pytest.param({"apply": "in-place"}, id="in place"),
        pytest.param({"after": "reload-nginx"}, id="a command by its name"),
        pytest.param({"accept": ["stores/{slug}/{photos|menus}/{number}.jpg", "**/*.txt"]}, id="accept patterns"),
        pytest.param({"mirror": "other/x"}, id="a mirror in another bucket"),
        pytest.param({"mirror": "bucket/xy"}, id="a mirror beside the prefix"),
        pytest.param({"slave": None, "files": None}, id="null where a property may be missing"),
        pytest.param({"description": "a\nb"}, id="a description of two lines"),
    ],
)
def test_a_property_of_the_design_is_accepted(properties: dict[str, Any]) -> None:
    """What the contract names is not a problem."""
    assert problems(GOOD | properties) == []


# -- what is wrong with one property ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "place", "text"),
    [
        pytest.param({"name": ""}, "name", "it is empty", id="an empty name"),
        pytest.param({"name": "  "}, "name", "it is empty", id="a blank name"),
        pytest.param({"name": "a\x1b[2J"}, "name", "control character", id="a name that steers a terminal"),
        pytest.param({"name": "a\u202eb"}, "name", "control character", id="a name that turns the reading direction"),
        pytest.param({"name": 5}, "name", "must be a string, not a number", id="a number as name"),
        pytest.param({"name": None}, "name", "must be a string, not null", id="null as name"),
        pytest.param({"name": "n" * 201}, "name", "more than 200", id="a name without end"),
        pytest.param({"s3": ""}, "s3", "it is empty", id="an empty S3 path"),
        pytest.param({"s3": "/x"}, "s3", "not a bucket name", id="no bucket"),
        pytest.param({"s3": "s3:///x"}, "s3", "not a bucket name", id="a URL without a bucket"),
        pytest.param({"s3": "https://bucket/x"}, "s3", "is a URL; write bucket/prefix", id="another URL"),
        pytest.param({"s3": "b/x"}, "s3", "not a bucket name", id="a bucket of one letter"),
        pytest.param({"s3": "bucket\n/x"}, "s3", "not a bucket name", id="a bucket and a newline"),
        pytest.param({"s3": "bucket\n"}, "s3", "not a bucket name", id="a bucket and a newline at the end"),
        pytest.param({"s3": "bucket/a/../b"}, "s3", "cannot be used", id="up in a prefix"),
        pytest.param({"s3": "bucket//x"}, "s3", "cannot be used", id="an empty segment in a prefix"),
        pytest.param({"s3": "bucket/a\nb"}, "s3", "U+000A", id="a newline in a prefix"),
        pytest.param({"s3": "bucket/" + "p" * 1000}, "s3", "cannot be used", id="a prefix that leaves no room"),
        pytest.param({"s3": "bucket/x/.s32s"}, "s3", "kept for s32s", id="the part of s32s in a prefix"),
        pytest.param({"s3": ["bucket/x"]}, "s3", "must be a string, not a list", id="a list as S3 path"),
        pytest.param({"master": "~/x"}, "master", 'may not start with "~"', id="a home directory"),
        pytest.param({"slave": "~user/x"}, "slave", 'may not start with "~"', id="another's home directory"),
        pytest.param({"master": "x/y"}, "master", "is not absolute", id="a relative master"),
        pytest.param({"slave": "x/y"}, "slave", "is not absolute", id="a relative slave"),
        pytest.param({"slave": "c:/x"}, "slave", "is a path of Windows", id="a drive for a slave"),
        pytest.param({"slave": "/x/../y"}, "slave", 'must not contain ".."', id="up in a slave"),
        pytest.param({"master": "c:\\x\\..\\y"}, "master", 'must not contain ".."', id="up by back-slashes"),
        pytest.param({"slave": "/x\x00y"}, "slave", "control character", id="a NUL in a slave"),
        pytest.param({"slave": ""}, "slave", "it is empty", id="an empty slave"),
        pytest.param({"mirror": "b"}, "mirror", "not a bucket name", id="a mirror that is not an S3 path"),
        pytest.param({"files": []}, "files", "the list is empty", id="no files"),
        pytest.param({"files": "a"}, "files", "must be a list, not a text", id="a text as files"),
        pytest.param({"files": ["a", 5]}, "files[1]", "must be a string", id="a number among files"),
        pytest.param({"files": ["/a"]}, "files[0]", "absolute", id="an absolute file"),
        pytest.param({"files": ["ok", "../a"]}, "files[1]", "'..'", id="a file above"),
        pytest.param({"files": ["a/"]}, "files[0]", "empty segment", id="a file with a slash at the end"),
        pytest.param({"files": [".s32s/head.json"]}, "files[0]", "belongs to s32s", id="the head as file"),
        pytest.param({"files": ["a", "a"]}, "files", '"a" is listed twice', id="a file twice"),
        pytest.param({"files": ["a"], "ignore": ["a*"]}, "files", "ignore leaves it out", id="a file that is ignored"),
        pytest.param({"files": ["a"], "accept": ["*"]}, "accept", "not both", id="files and accept"),
        pytest.param({"ignore": "*"}, "ignore", "must be a list, not a text", id="a text as ignore"),
        pytest.param({"ignore": [""]}, "ignore[0]", "it is empty", id="an empty rule"),
        pytest.param({"ignore": ["a"] * 1001}, "ignore", "1000", id="too many rules"),
        pytest.param({"accept": []}, "accept", "the list is empty", id="no accept patterns"),
        pytest.param({"accept": ["a", "{slug"]}, "accept[1]", "column 1 is not closed", id="an open brace"),
        pytest.param({"accept": ["a/{wat}"]}, "accept[0]", "unknown placeholder {wat}", id="an unknown placeholder"),
        pytest.param({"accept": ["{a|}"]}, "accept[0]", "alternative is empty", id="an empty word"),
        pytest.param({"manifest": "no"}, "manifest", "true or false, not a text", id="a text as manifest"),
        pytest.param({"manifest": 0}, "manifest", "true or false, not a number", id="a number as manifest"),
        pytest.param({"apply": "inplace"}, "apply", "'swap' or 'in-place'", id="an unknown way to apply"),
        pytest.param({"after": ""}, "after", "it is empty", id="an empty command name"),
        pytest.param({"after": ["reload"]}, "after", "must be a string, not a list", id="a command as a list"),
    ],
)
def test_a_wrong_property_is_told_with_file_entry_and_place(properties: dict[str, Any], place: str, text: str) -> None:
    """One mistake is one problem, and says where it stands and what is wrong."""
    _, found = parsed(GOOD | properties)

    assert [(problem.file, problem.property) for problem in found] == [("m.json", place)]
    assert text in found[0].text
    assert found[0].entry in ('entry "A"', "entry no. 1", f"entry {json.dumps(properties.get('name'))}") or (
        "name" in properties and found[0].entry.startswith('entry "')
    )


@pytest.mark.parametrize("name", ["name", "s3"])
def test_a_mandatory_property_is_missed(name: str) -> None:
    """The message names the property that is not there."""
    found = problems({key: value for key, value in GOOD.items() if key != name})

    assert len(found) == 1
    assert found[0].endswith(f": {name}: it is mandatory and missing")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ignor", "ignore"),
        ("Ignore", "ignore"),
        ("masters", "master"),
        ("slvae", "slave"),
        ("S3", "s3"),
        ("file", "files"),
        ("apply_", "apply"),
        ("acept", "accept"),
        ("manifests", "manifest"),
        ("desc_ription", "description"),
    ],
)
def test_a_misspelt_property_is_told_the_right_spelling(written: str, meant: str) -> None:
    """Unknown properties are errors, with the nearest known one."""
    assert problems(GOOD | {written: "x"}) == [
        f'm.json: line 1: entry "A": {written}: unknown property; did you mean "{meant}"?'
    ]


def test_an_unknown_property_far_from_all_is_told_what_there_is() -> None:
    """Where nothing is close, the known ones are listed."""
    (found,) = problems(GOOD | {"zzzz": 1})

    assert found.startswith('m.json: line 1: entry "A": zzzz: unknown property; there are accept, after, apply, ')


@pytest.mark.parametrize("name", ["command", "commands", "exec", "run"])
def test_a_map_carries_no_command(name: str) -> None:
    """A command is unknown in a map, however it is called."""
    assert len(problems(GOOD | {name: "rm -rf /"})) == 1


def test_an_unknown_property_is_shown_escaped_and_short() -> None:
    """The name comes from outside and steers no terminal."""
    (found,) = problems(GOOD | {"\x1b[2J" + "x" * 5000: 1})

    assert "\x1b" not in found
    assert len(found) < 500


# -- all at once -----------------------------------------------------------------------------------------------------


def test_every_problem_of_a_file_is_told_at_once() -> None:
    """Nobody mends a file mistake by mistake."""
    found = problems(
        {"name": "A", "s3": "b", "slave": "~", "ignor": []},
        5,
        {"s3": "bucket/y", "files": ["/a", "b", "../c"]},
        GOOD | {"files": ["a", "a"], "accept": ["*"]},
    )

    assert sorted(re.sub(r" line \d+:", "", line).split(": ", 3)[1:3] for line in found) == sorted(
        [
            ['entry "A"', "s3"],
            ['entry "A"', "slave"],
            ['entry "A"', "ignor"],
            ["entry no. 2", "an entry is an object, not a number"],
            ["entry no. 3", "name"],
            ["entry no. 3", "files[0]"],
            ["entry no. 3", "files[2]"],
            ['entry "A"', "files"],
            ['entry "A"', "accept"],
            ['entry "A"', "name"],
        ]
    )


def test_a_name_that_stands_twice_in_a_file_is_a_problem() -> None:
    """Names are what `sync NAME` takes."""
    assert problems(GOOD, GOOD | {"s3": "bucket/y"}) == [
        'm.json: entry "A": name: the name is used 2 times; names are unique'
    ]


def loaded(**files: list[Any]) -> maps.MapSet:
    """Map files by name, loaded together."""
    return map_files.load((f"{name}.json", json.dumps(document).encode()) for name, document in files.items())


def test_a_name_that_stands_in_two_files_gives_way_in_both() -> None:
    """Nobody can say which is the right one, and the others of both files load."""
    found = loaded(one=[GOOD, GOOD | {"name": "B"}], two=[GOOD, GOOD | {"name": "C"}])

    assert [str(problem) for problem in found.problems] == [
        'one.json: entry "A": name: the name is used in one.json and two.json; names are unique'
    ]
    assert [read.name for read in found.entries] == ["B", "C"]


def test_names_are_compared_as_they_are_written() -> None:
    """Two names that differ in case are two names."""
    assert loaded(one=[GOOD], two=[GOOD | {"name": "a"}]).problems == ()


def test_a_bad_file_does_not_stop_the_others() -> None:
    """A file with a problem gives no entries, the others give theirs."""
    found = map_files.load(
        [
            ("bad.json", b"{"),
            ("good.json", json.dumps([GOOD]).encode()),
            ("half.json", json.dumps([GOOD | {"name": "B"}, {"name": "C"}]).encode()),
        ]
    )

    assert [read.name for read in found.entries] == ["A"]
    assert {problem.file for problem in found.problems} == {"bad.json", "half.json"}
    assert found.files == ("bad.json", "good.json", "half.json")


# -- hostile files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"[" * 100_000, "nested more than 32 levels", id="a hundred thousand brackets"),
        pytest.param(b"[" + b"1" * 5000 + b"]", "is too long", id="a number of 5,000 digits"),
        pytest.param(b'[{"name": "A", "s3": "bucket/x", "name": "B"}]', '"name" appears twice', id="a duplicate key"),
        pytest.param(b"[NaN]", "NaN is not JSON", id="not a number"),
        pytest.param(b"[-Infinity]", "-Infinity is not JSON", id="infinity"),
        pytest.param(b'[{"name": "\\ud800", "s3": "bucket/x"}]', "surrogate", id="half a surrogate pair"),
        pytest.param(b'[{"\\udfff": 1}]', "surrogate", id="half a surrogate pair in a key"),
        pytest.param(b'[{"ignore": ' + b"[" * 31 + b"]" * 31 + b"}]", "nested more than", id="33 levels"),
        pytest.param(b'[{"a":' * 20_000, "nested more than", id="objects in lists in objects"),
        pytest.param(b" " * (2**20 + 1), "larger than 1,024 KiB", id="more than a MiB"),
        pytest.param(b'[{"name": "A",\n "s3": "\xff"}]', "line 2 is not UTF-8", id="another encoding"),
        pytest.param("[]".encode("utf-16"), "line 1 is not UTF-8", id="two bytes a character"),
        pytest.param(b"", "the file is empty", id="nothing"),
        pytest.param(b"{}", "list of entries, not an object", id="an object"),
        pytest.param(b'"x"', "list of entries, not a text", id="a text"),
        pytest.param(b"null", "list of entries, not null", id="null"),
        pytest.param(b"5", "list of entries, not a number", id="a number"),
    ],
)
def test_a_hostile_file_is_one_clear_problem(data: bytes, text: str) -> None:
    """No exception, no recursion and no silent half comes out of it."""
    entries, found = map_files.parse(data, "m.json")

    assert entries == ()
    assert len(found) == 1
    assert found[0].file == "m.json"
    assert text in found[0].text


def test_brackets_in_a_text_are_no_depth() -> None:
    """Only nesting counts."""
    assert problems(GOOD | {"description": "[" * 100 + '\\"' + "{" * 100}) == []


def test_invalid_json_is_told_with_its_line() -> None:
    """The problem leads to the place in the editor; `test_json_mistakes.py` has every kind."""
    entries, found = map_files.parse(b'[\n  {"name": "A"\n   "s3": "b"}\n]', "m.json")

    assert entries == ()
    assert found[0].told() == [
        "m.json: line 2: a comma is missing after this",
        '      {"name": "A"',
        "                 ^",
    ]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("b'[\"' + b'\\\\\"' * 500_000", id="a text of quotes without an end"),
        pytest.param("b'[\"' + b'\\\\' * 1_000_000", id="a text of back-slashes without an end"),
        pytest.param("b'\"' * 1_000_000", id="only quotes"),
        pytest.param("json.dumps([GOOD | {'files': [f'{n:05}' for n in range(90_000)]}])", id="ninety thousand files"),
        pytest.param("json.dumps([GOOD | {'files': ['a'] * 99_000}])", id="one file again and again"),
        pytest.param("json.dumps([{'name': str(n), 's3': 'bucket/x'} for n in range(10_000)])", id="many entries"),
        pytest.param("json.dumps([GOOD | {f'x{n:06}': 1 for n in range(15_000)}])", id="many unknown properties"),
        pytest.param("'[' + '1,' * 200_000 + '1]'", id="many entries that are none"),
    ],
)
def test_no_file_takes_for_ever(document: str) -> None:
    """A map from outside cannot keep a machine busy: a MiB is read or refused in seconds."""
    program = (
        "import json, resource\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (6, 6))\n"
        "from s32s.config import map_files\n"
        f"GOOD = {GOOD!r}\n"
        f"document = {document}\n"
        "data = document if isinstance(document, bytes) else document.encode()\n"
        "assert len(data) <= map_files.MAX_MAP\n"
        "map_files.parse(data, 'm.json')\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert ended.returncode == 0


PROPERTIES = st.sampled_from(sorted(Entry.model_fields))
TEXTS = st.text(max_size=8) | st.sampled_from(["bucket/x", "/srv/x", "c:\\x", "{slug}", "*", "swap", "\ud800", "../x"])
LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PROPERTIES | TEXTS, inner, max_size=3)
)
ENTRIES = st.dictionaries(PROPERTIES, LEAVES | st.lists(TEXTS, max_size=3)).map(lambda given: GOOD | given)
DOCUMENTS = VALUES | st.lists(ENTRIES | VALUES, max_size=3)


@checked
@given(st.binary(max_size=100) | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_parsing_never_raises(data: bytes) -> None:
    """Whatever comes is entries or problems, and each problem is one printable line."""
    entries, found = map_files.parse(data, "m.json")

    assert all(str(problem).startswith("m.json: ") for problem in found)
    assert all(str(problem).isprintable() for problem in found if str(problem).isascii())
    assert all("\n" not in str(problem) and str(problem).encode() for problem in found)
    assert found or all(read.location and read.rules() for read in entries)


@checked
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_changed_byte_never_raises(at: int, byte: int) -> None:
    """A good map with one byte damaged is a map or a problem."""
    data = bytearray(json.dumps([GOOD | {"files": ["a"], "slave": "/srv/x", "apply": "swap", "after": "b"}]).encode())
    data[at % len(data)] = byte

    entries, found = map_files.parse(bytes(data), "m.json")

    assert entries or found


# -- S3 paths and the schema -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("bucket/a", "bucket/a", True),
        ("bucket/a", "bucket/a/b", True),
        ("bucket", "bucket/a/b", True),
        ("bucket/a", "bucket/ab", False),
        ("bucket/a", "bucket/b", False),
        ("bucket/a", "other/a", False),
    ],
)
def test_prefixes_overlap_by_segments(one: str, other: str, expected: bool) -> None:
    """`a` holds `a/b`, and has nothing to do with `ab`, whichever is asked."""
    assert S3Path.parse(one).overlaps(S3Path.parse(other)) is expected
    assert S3Path.parse(other).overlaps(S3Path.parse(one)) is expected


@pytest.mark.parametrize(("written", "key", "room"), [("bucket", "a/b", 1024), ("bucket/é", "é/a/b", 1021)])
def test_a_key_is_prefix_and_path(written: str, key: str, room: int) -> None:
    """A path and its prefix share the 1,024 bytes of a key."""
    assert S3Path.parse(written).key("a/b") == key
    assert S3Path.parse(written).room == room


def test_the_schema_knows_every_property_and_no_other() -> None:
    """An editor that follows the schema marks the same unknown properties as s32s does."""
    schema = maps.schema()
    made = schema["$defs"]["Entry"]

    assert schema["type"] == "array"
    assert made["additionalProperties"] is False
    assert made["required"] == ["name", "s3"]
    assert made["properties"].keys() == Entry.model_fields.keys()
    assert all(of.get("description") for of in made["properties"].values())
