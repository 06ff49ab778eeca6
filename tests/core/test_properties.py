"""Properties of the planner and the rules, over trees that nobody thought of."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.core import paths, plan, tree
from s32s.core.item import Item, Kind
from s32s.core.rules import Rules, compile_rules
from s32s.core.tree import Tree

# Few names, so that two trees meet, clash and nest.
SEGMENTS = st.sampled_from(["a", "b", "c.txt", "d.bmp", ".hidden", "é", "x y"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
RULES = st.lists(st.sampled_from(["a*", "*.bmp", "*b*", ".*", "a", "c.txt", "*/d.bmp"]), max_size=3)

checked = settings(max_examples=400, deadline=None)


@st.composite
def items(draw: st.DrawFn, path: str) -> Item:
    """An item with all that a manifest would know of it."""
    kind = draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.FILE, Kind.LINK, Kind.DIR]))
    if kind is Kind.LINK:
        return Item(path, kind, target=draw(st.sampled_from(["a", "b"])))
    if kind is Kind.DIR:
        return Item(path, kind, mode=draw(st.sampled_from([0o755, 0o700])))
    content = draw(st.sampled_from(["0", "1"]))
    return Item(
        path,
        kind,
        size=draw(st.sampled_from([1, 2])),
        mtime_ns=draw(st.sampled_from([1, 2])),
        mode=draw(st.sampled_from([0o644, 0o600])),
        sha256=content * 64,
    )


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree that a file system can hold: above every path there are directories."""
    made: dict[str, Item] = {}
    for path in draw(st.lists(PATHS, max_size=12, unique=True)):
        if any(made.get(above, Item(above, Kind.DIR)).kind is not Kind.DIR for above in paths.ancestors(path)):
            continue
        if any(other.startswith(path + "/") for other in made):
            made.setdefault(path, Item(path, Kind.DIR, mode=0o755))
            continue
        made[path] = draw(items(path))
        for above in paths.ancestors(path):
            made.setdefault(above, Item(above, Kind.DIR, mode=0o755))
    return tree.make(made.values())


def contents(of: Tree) -> dict[str, Item]:
    """A tree by path."""
    return {item.path: item for item in of}


@checked
@given(trees(), trees())
def test_a_plan_applied_to_the_destination_gives_the_source(source: Tree, target: Tree) -> None:
    """`sync` is exact."""
    made = plan.make(source, target)

    assert contents(plan.apply_to_model(made, target)) == contents(source)


@checked
@given(trees(), trees(), RULES)
def test_a_second_plan_is_empty(source: Tree, target: Tree, ignore: list[str]) -> None:
    """Whatever the rules, a sync leaves nothing for the next one."""
    rules = compile_rules(ignore=ignore)
    after = plan.apply_to_model(plan.make(source, target, rules=rules), target)

    again = plan.make(source, after, rules=rules)

    assert again.is_empty, (again.puts, again.extras)


@checked
@given(trees())
def test_a_tree_is_in_step_with_itself(source: Tree) -> None:
    """Equal trees make an empty plan that keeps everything."""
    made = plan.make(source, source)

    assert made.is_empty
    assert len(made.unchanged) == len(source)


@checked
@given(trees(), trees(), RULES)
def test_copy_deletes_nothing(source: Tree, target: Tree, ignore: list[str]) -> None:
    """After `copy` every path of the destination is still there, as the kind of thing it was or as a newer file."""
    made = plan.make(source, target, rules=compile_rules(ignore=ignore), deletes=False)
    after = contents(plan.apply_to_model(made, target))

    assert not made.extras
    assert contents(target).keys() <= after.keys()
    for item in target:
        assert (after[item.path].kind is Kind.DIR) == (item.kind is Kind.DIR)


@checked
@given(trees(), trees(), RULES)
def test_a_master_neither_sends_nor_deletes_what_is_ignored(source: Tree, target: Tree, ignore: list[str]) -> None:
    """Ignored files of the destination are carried over, ignored ones of the source stay at home."""
    rules = compile_rules(ignore=ignore)

    made = plan.make(source, target, rules=rules, spare_ignored=True)

    assert not any(rules.ignores(put.item.path) for put in made.puts)
    ignored = {item.path for item in target if rules.ignores(item.path) and item.kind is not Kind.DIR}
    sent = {above for put in made.puts for above in (put.item.path, *paths.ancestors(put.item.path))}
    kept = {above for keep in made.unchanged for above in paths.ancestors(keep.source.path)}
    assert ignored - sent - kept <= {item.path for item in made.spared}


@checked
@given(trees(), trees(), RULES)
def test_every_path_has_one_fate(source: Tree, target: Tree, ignore: list[str]) -> None:
    """No path stands in two lists of a plan."""
    made = plan.make(source, target, rules=compile_rules(ignore=ignore), spare_ignored=True)
    fates = [
        [put.item.path for put in made.puts],
        [keep.source.path for keep in made.unchanged],
        [item.path for item in made.extras],
        [item.path for item in made.spared],
    ]

    listed = [path for fate in fates for path in fate]
    assert len(listed) == len(set(listed))


@checked
@given(PATHS, st.lists(st.text("ab*./d", min_size=1, max_size=6), max_size=4))
def test_ignore_rules_are_plain_wildcards(path: str, ignore: list[str]) -> None:
    """`*` is the only special character, and stands for any run of characters."""
    rules = compile_rules(ignore=ignore)

    assert rules.ignores(path) == any(fnmatchcase(path, rule) for rule in ignore)


@checked
@given(trees(), RULES)
def test_a_pruned_directory_holds_nothing_that_is_wanted(source: Tree, ignore: list[str]) -> None:
    """Not looking into a directory never loses a file."""
    rules = compile_rules(ignore=ignore)

    for item in source:
        if any(rules.prunes(above) for above in paths.ancestors(item.path)):
            assert rules.ignores(item.path)


def test_no_rules_let_everything_pass() -> None:
    """An entry without rules takes whole trees."""
    assert not Rules().ignores("anything")
    assert not Rules().prunes("anything")
