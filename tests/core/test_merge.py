"""The three-way merge: each line of its table, and what holds for any three trees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from s32s.core import guards, paths, tree
from s32s.core.item import Item, Kind
from s32s.core.merge import Clash, Merge, Resolution, merge, outcome, settled
from s32s.core.portable import twins
from s32s.core.tree import Tree


def file(content: str, *, mode: int = 0o644, mtime_ns: int = 1) -> Item:
    """A file, still without a path."""
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Item("", size=len(content), mtime_ns=mtime_ns, mode=mode, sha256=sha256)


def link(target: str) -> Item:
    """A link, still without a path."""
    return Item("", Kind.LINK, target=target)


DIR = Item("", Kind.DIR, mode=0o755)


def make(items: Mapping[str, Item | None]) -> Tree:
    """A tree; None stands for nothing."""
    return tree.make(item._replace(path=path) for path, item in items.items() if item is not None)


A, B, C = file("a"), file("bb"), file("ccc")

#: What was common, mine, theirs; uploads, downloads, conflicts: "+path", "~path", "-path".
ROWS: dict[str, tuple[dict[str, Item], dict[str, Item], dict[str, Item], str, str, dict[str, Clash]]] = {
    "unchanged": ({"p": A}, {"p": A}, {"p": A}, "", "", {}),
    "new here": ({}, {"p": A}, {}, "+p", "", {}),
    "modified here": ({"p": A}, {"p": B}, {"p": A}, "~p", "", {}),
    "deleted here": ({"p": A}, {}, {"p": A}, "-p", "", {}),
    "kind changed here": ({"p": A}, {"p": DIR, "p/x": B}, {"p": A}, "~p +p/x", "", {}),
    "directory became a file here": ({"p": DIR, "p/x": B}, {"p": A}, {"p": DIR, "p/x": B}, "~p -p/x", "", {}),
    "new there": ({}, {}, {"p": A}, "", "+p", {}),
    "modified there": ({"p": A}, {"p": A}, {"p": B}, "", "~p", {}),
    "deleted there": ({"p": A}, {"p": A}, {}, "", "-p", {}),
    "kind changed there": ({"p": A}, {"p": A}, {"p": link("x")}, "", "~p", {}),
    "case twins": ({}, {"P": A}, {"p": B}, "+P", "+p", {}),
    "new, the same": ({}, {"p": A}, {"p": A}, "", "", {}),
    "modified to the same": ({"p": A}, {"p": B}, {"p": B}, "", "", {}),
    "deleted on both sides": ({"p": A}, {}, {}, "", "", {}),
    "new, another": ({}, {"p": A}, {"p": B}, "", "", {"p": Clash.NEW}),
    "modified otherwise": ({"p": A}, {"p": B}, {"p": C}, "", "", {"p": Clash.MODIFIED}),
    "deleted here, modified there": ({"p": A}, {}, {"p": B}, "", "", {"p": Clash.DELETED_HERE}),
    "modified here, deleted there": ({"p": A}, {"p": B}, {}, "", "", {"p": Clash.DELETED_THERE}),
    "directory deleted here, new in it there": (
        {"d": DIR, "d/a": A},
        {},
        {"d": DIR, "d/a": A, "d/n": B},
        "-d/a",
        "",
        {"d/n": Clash.DIRECTORY_DELETED_HERE},
    ),
    "new in it here, directory deleted there": (
        {"d": DIR, "d/a": A},
        {"d": DIR, "d/a": A, "d/n": B},
        {},
        "",
        "-d/a",
        {"d/n": Clash.DIRECTORY_DELETED_THERE},
    ),
    "all of a directory here, a part of it there": (
        {"d": DIR, "d/a": A, "d/b": B},
        {},
        {"d": DIR, "d/b": B},
        "-d -d/b",
        "",
        {},
    ),
    "deleted here, became a directory there": (
        {"p": A},
        {},
        {"p": DIR, "p/x": B},
        "",
        "",
        {"p": Clash.DELETED_HERE},
    ),
    "file against directory": ({}, {"p": A}, {"p": DIR, "p/x": B}, "", "", {"p": Clash.KINDS}),
    "directory against a modified file": ({"p": A}, {"p": DIR, "p/x": B}, {"p": C}, "", "", {"p": Clash.KINDS}),
    "file for a directory, in which something changed": (
        {"p": DIR, "p/x": A, "p/y": A},
        {"p": C},
        {"p": DIR, "p/x": B, "p/y": A},
        "",
        "",
        {"p": Clash.KINDS},
    ),
    "mode changed here": ({"p": A}, {"p": file("a", mode=0o600)}, {"p": A}, "~p", "", {}),
    "time changed there": ({"p": A}, {"p": A}, {"p": file("a", mtime_ns=9)}, "", "~p", {}),
    "mode changed on both sides": ({"p": A}, {"p": file("a", mode=0o600)}, {"p": file("a", mode=0o640)}, "", "~p", {}),
    "time changed here, content there": ({"p": A}, {"p": file("a", mtime_ns=9)}, {"p": B}, "", "~p", {}),
    "never met": ({}, {"p": A, "q": A}, {"p": A, "r": B}, "+q", "+r", {}),
}


def shown(made: Merge) -> tuple[str, str, dict[str, Clash]]:
    """The steps in a word each."""
    told = [
        " ".join(f"{'-' if step.new is None else '+' if step.old is None else '~'}{step.path}" for step in steps)
        for steps in (made.uploads, made.downloads)
    ]
    return told[0], told[1], {conflict.path: conflict.clash for conflict in made.conflicts}


@pytest.mark.parametrize("row", ROWS)
def test_the_table(row: str) -> None:
    """Each line of it."""
    base, mine, theirs, *expected = ROWS[row]
    assert shown(merge(make(base), make(mine), make(theirs))) == tuple(expected)


def test_what_cannot_be_read_is_frozen() -> None:
    """Neither deleted there, nor forgotten, whatever has happened to it there."""
    base = make({"d": DIR, "d/a": A, "d/b": B, "e": A})
    made = merge(base, make({"e": A}), make({"d": DIR, "d/a": C, "e": B}), frozen=["d"])

    assert shown(made) == ("", "~e", {})
    _, theirs, common = outcome(made)
    assert theirs.get("d/a") is not None
    assert [common.get(path) for path in ("d/a", "d/b")] == [base.get("d/a"), base.get("d/b")]


def test_a_conflict_stays_until_somebody_settles_it() -> None:
    """Also where a directory was deleted around it."""
    made = merge(make({"d": DIR, "d/a": A}), make({}), make({"d": DIR, "d/a": A, "d/n": B}))
    for _ in range(3):
        mine, theirs, base = outcome(made)
        made = merge(base, mine, theirs)
        assert shown(made) == ("", "", {"d/n": Clash.DIRECTORY_DELETED_HERE})

    kept = settled(made, {"d/n": Resolution.THEIRS}, copy_name=str)
    assert shown(kept) == ("", "+d +d/n", {})
    given_up = settled(made, {"d/n": Resolution.MINE}, copy_name=str)
    assert shown(given_up)[0] == "-d -d/n"


def test_both_are_kept() -> None:
    """Ours under another name, a whole directory too."""
    made = merge(make({}), make({"p": DIR, "p/x": A, "p/y": B}), make({"p": C}))
    both = settled(made, {"p": Resolution.BOTH}, copy_name=lambda path: f"{path} (mine)")
    mine, theirs, _ = outcome(both)

    assert {item.path: item.sha256 for item in mine} == {item.path: item.sha256 for item in theirs}
    assert list(mine.paths) == ["p", "p (mine)", "p (mine)/x", "p (mine)/y"]
    assert mine.get("p") == make({"p": C}).get("p")


def test_names_that_are_one_name_elsewhere() -> None:
    """Whole groups."""
    assert twins(make({"a": A, "A": B, "ß": A, "SS": B, "b": C})) == [("A", "a"), ("SS", "ß")]


# -- what holds for any three trees

LEAF = st.one_of(
    st.builds(file, st.sampled_from(["a", "bb", "ccc"]), mode=st.sampled_from([0o644, 0o600])),
    st.sampled_from([link("x"), link("y")]),
)


def _trees() -> st.SearchStrategy[Tree]:
    child = st.one_of(st.none(), LEAF, st.just(DIR))
    inside = st.dictionaries(st.sampled_from(["x", "y"]), child, max_size=2)
    entry = st.one_of(st.none(), LEAF, inside)

    def built(drawn: Mapping[str, object]) -> Tree:
        items: dict[str, Item | None] = {}
        for name, what in drawn.items():
            if isinstance(what, Item):
                items[name] = what
            elif isinstance(what, dict):
                items[name] = DIR
                items |= {f"{name}/{inner}": item for inner, item in what.items()}
        return make(items)

    return st.dictionaries(st.sampled_from(["p", "q"]), entry, max_size=2).map(built)


TREES = _trees()
CHOICES = st.sampled_from([*Resolution])


def contents(found: Tree) -> dict[str, tuple[Kind, object]]:
    """What a tree holds, without modes and times."""
    return {item.path: (item.kind, item.sha256 or item.target) for item in found}


def changes(base: Tree, side: Tree) -> set[tuple[Kind, object]]:
    """What a side holds that was not common at its path: nobody else has it."""
    known = contents(base)
    return {what for path, what in contents(side).items() if what[0] is not Kind.DIR and known.get(path) != what}


@given(TREES, TREES, TREES)
def test_no_new_content_is_lost(base: Tree, mine: Tree, theirs: Tree) -> None:
    """It is on at least one of both sides afterwards, and neither holds a file with something below it."""
    here, there, _ = outcome(merge(base, mine, theirs))
    held = {*contents(here).values(), *contents(there).values()}

    assert changes(base, mine) | changes(base, theirs) <= held
    for side in (here, there):
        guards.check_shape(side, what="the outcome")
        assert {above for path in side.paths for above in paths.ancestors(path)} <= set(side.paths)


@given(TREES, TREES, TREES)
def test_a_second_merge_finds_only_what_is_open(base: Tree, mine: Tree, theirs: Tree) -> None:
    """And without a conflict both sides are equal."""
    first = merge(base, mine, theirs)
    here, there, common = outcome(first)
    again = merge(common, here, there)

    assert (again.uploads, again.downloads) == ((), ())
    assert {conflict.path for conflict in again.conflicts} == {conflict.path for conflict in first.conflicts}
    if not first.conflicts:
        assert contents(here) == contents(there) == contents(common)


@given(TREES, TREES, TREES)
def test_the_order_of_syncs_does_not_matter(base: Tree, ann: Tree, bob: Tree) -> None:
    """Of two who share a place: where nothing conflicts, all end with the same, whoever comes first."""

    def shared(order: str) -> list[dict[str, tuple[Kind, object]]]:
        folders, known, hub = {"a": ann, "b": bob}, {"a": base, "b": base}, base
        for who in order * 3:
            made = merge(known[who], folders[who], hub)
            assume(not made.conflicts)
            folders[who], hub, known[who] = outcome(made)
        return [contents(folders["a"]), contents(folders["b"]), contents(hub)]

    one, other = shared("ab"), shared("ba")
    assert one[0] == one[1] == one[2] == other[0] == other[1] == other[2]


@given(TREES, TREES, TREES)
def test_the_sides_may_be_exchanged(base: Tree, mine: Tree, theirs: Tree) -> None:
    """What goes up from here comes down there."""
    one, other = merge(base, mine, theirs), merge(base, theirs, mine)
    (up, down), (its_up, its_down) = (
        ([(step.path, step.new and step.new.sha256) for step in steps] for steps in (made.uploads, made.downloads))
        for made in (one, other)
    )

    assert {path for path, _ in up} ^ {path for path, _ in its_down} <= _attributes_alone(mine, theirs)
    assert {path for path, _ in down} ^ {path for path, _ in its_up} <= _attributes_alone(mine, theirs)
    assert [conflict.path for conflict in one.conflicts] == [conflict.path for conflict in other.conflicts]


def _attributes_alone(mine: Tree, theirs: Tree) -> set[str]:
    """Where both have changed a mode, theirs are taken on either side."""
    here, there = contents(mine), contents(theirs)
    return {path for path in here if here[path] == there.get(path)}


@given(TREES, TREES, TREES, st.dictionaries(st.sampled_from(["p", "q", "p/x", "p/y", "q/x", "q/y"]), CHOICES))
def test_what_is_settled_is_equal_on_both_sides(
    base: Tree, mine: Tree, theirs: Tree, choices: dict[str, Resolution]
) -> None:
    """Each conflict by its choice; with `BOTH` nothing that is new is lost."""
    first = merge(base, mine, theirs)
    chosen = {conflict.path: choices.get(conflict.path, Resolution.BOTH) for conflict in first.conflicts}
    made = settled(first, chosen, copy_name=lambda path: f"{path}~")
    here, there, common = outcome(made)

    assert made.conflicts == ()
    assert contents(here) == contents(there) == contents(common)
    for side in (here, there):
        guards.check_shape(side, what="the outcome")
        assert {above for path in side.paths for above in paths.ancestors(path)} <= set(side.paths)
    if all(choice is Resolution.BOTH for choice in chosen.values()):
        assert changes(base, mine) | changes(base, theirs) <= {*contents(here).values()}
