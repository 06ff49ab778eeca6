"""The planner: a row for each line of its table, and what holds of every plan."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.core import guards, paths, plan, tree
from s32s.core.compare import Reason, difference
from s32s.core.errors import Refused
from s32s.core.guards import Limits, MaxDelete
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan, Put, Rejection, Verb
from s32s.core.rules import Rules, Verdict, compile_rules
from s32s.core.tree import Tree

ZEROS, ONES = "0" * 64, "1" * 64
MD5, OTHER_MD5 = "0123456789abcdef" * 2, "f" * 32
FILE = Item("f", size=3, mtime_ns=1, mode=0o644, sha256=ZEROS)
FIRST, THEN = (Item("f", size=3, etag=MD5, stored_ns=stored_ns) for stored_ns in (1, 2))
LINK = Item("f", Kind.LINK, target="x")
DIR = Item("f", Kind.DIR, mode=0o755)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        pytest.param(FILE, LINK, Reason.KIND, id="kinds differ, file and link"),
        pytest.param(FILE, DIR, Reason.KIND, id="kinds differ, file and directory"),
        pytest.param(DIR, FILE, Reason.KIND, id="kinds differ, directory and file"),
        pytest.param(LINK, DIR, Reason.KIND, id="kinds differ, link and directory"),
        pytest.param(FILE, Item("f", Kind.OTHER), Reason.KIND, id="kinds differ, file and what cannot be replicated"),
        pytest.param(LINK, LINK._replace(target="y"), Reason.TARGET, id="links, targets differ"),
        pytest.param(LINK, LINK, None, id="links, targets are equal"),
        pytest.param(
            LINK._replace(mtime_ns=1, mode=0o700), LINK._replace(mtime_ns=2, mode=0o777), None, id="links keep no time"
        ),
        pytest.param(FILE, FILE._replace(size=4), Reason.SIZE, id="sizes differ"),
        pytest.param(
            FILE._replace(etag=MD5), FILE._replace(size=4, etag=MD5), Reason.SIZE, id="sizes differ before all the rest"
        ),
        pytest.param(FILE, FILE._replace(sha256=ONES), Reason.CONTENT, id="both SHA-256 known and different"),
        pytest.param(
            FILE._replace(etag=MD5),
            FILE._replace(etag=MD5, sha256=ONES),
            Reason.CONTENT,
            id="a SHA-256 is believed before an ETag",
        ),
        pytest.param(
            FILE._replace(etag=MD5),
            FILE._replace(etag="e-2"),
            None,
            id="both SHA-256 known and equal whatever the ETag",
        ),
        pytest.param(
            Item("f", size=3, etag="e-2"), Item("f", size=3, etag="e-2"), None, id="both ETags known and equal"
        ),
        pytest.param(
            Item("f", size=3, etag=MD5, sha256=ZEROS),
            Item("f", size=3, etag=MD5),
            None,
            id="ETags where a hash is missing",
        ),
        pytest.param(
            Item("f", size=3, md5=MD5), Item("f", size=3, etag=MD5), None, id="the MD5 here is the ETag there"
        ),
        pytest.param(
            Item("f", size=3, etag=MD5), Item("f", size=3, md5=MD5), None, id="the MD5 there is the ETag here"
        ),
        pytest.param(
            Item("f", size=3, md5=OTHER_MD5), Item("f", size=3, etag=MD5), Reason.CONTENT, id="the MD5 is another"
        ),
        pytest.param(
            Item("f", size=3, md5=MD5), Item("f", size=3, etag=f"{MD5}-2"), Reason.UNKNOWN, id="the ETag has parts"
        ),
        pytest.param(
            Item("f", size=3, etag=MD5),
            Item("f", size=3, etag=OTHER_MD5),
            Reason.UNKNOWN,
            id="only ETags, and different",
        ),
        pytest.param(
            FIRST, THEN._replace(etag="e-2", copy_of=MD5), None, id="objects, the target is a copy of the source"
        ),
        pytest.param(
            FIRST._replace(md5=MD5),
            THEN._replace(etag=OTHER_MD5, md5=OTHER_MD5),
            Reason.ETAG,
            id="objects, both ETags are known to be MD5s",
        ),
        pytest.param(
            FIRST._replace(md5=MD5), THEN._replace(etag=OTHER_MD5), None, id="objects, one ETag may be no MD5"
        ),
        pytest.param(
            THEN, FIRST._replace(etag=OTHER_MD5), Reason.ETAG, id="objects, stored later, ETags look like MD5s"
        ),
        pytest.param(THEN._replace(etag="e-2"), FIRST, Reason.NEWER, id="objects, stored later, ETags of parts"),
        pytest.param(FIRST, THEN._replace(etag="e-2"), None, id="objects, the target was stored later"),
        pytest.param(THEN, THEN._replace(etag="e-2"), Reason.NEWER, id="objects, stored in the same second"),
        pytest.param(Item("f", size=3), Item("f", size=3), Reason.UNKNOWN, id="nothing to compare by"),
        pytest.param(Item("f", mtime_ns=1), Item("f", mtime_ns=1), Reason.UNKNOWN, id="equal times prove nothing"),
        pytest.param(Item("f", size=3, sha256=ZEROS), Item("f", size=3), Reason.UNKNOWN, id="a hash on one side only"),
        pytest.param(FILE, FILE._replace(mode=0o600), Reason.MODE, id="modes known on both sides and different"),
        pytest.param(DIR, DIR._replace(mode=0o700), Reason.MODE, id="modes of directories"),
        pytest.param(FILE, FILE._replace(mode=None), None, id="a mode known on one side only"),
        pytest.param(FILE, FILE._replace(mode=0o600, mtime_ns=2), Reason.MODE, id="a mode comes before a time"),
        pytest.param(FILE, FILE._replace(mtime_ns=2), Reason.TIME, id="times known on both sides and different"),
        pytest.param(FILE, FILE._replace(mtime_ns=None), None, id="a time known on one side only"),
        pytest.param(FILE._replace(mtime_ns=0), FILE._replace(mtime_ns=1), Reason.TIME, id="the epoch is a time"),
        pytest.param(FILE._replace(mode=0), FILE._replace(mode=0o644), Reason.MODE, id="no bits are a mode"),
        pytest.param(DIR._replace(mtime_ns=1), DIR._replace(mtime_ns=2), None, id="directories have no time"),
        pytest.param(FILE, FILE, None, id="nothing differs"),
        pytest.param(Item("f", size=0), Item("f", size=0), Reason.UNKNOWN, id="empty files are compared like others"),
    ],
)
def test_two_items_are_compared_by_the_table(source: Item, target: Item, expected: Reason | None) -> None:
    """The first line of the table that fits decides."""
    assert difference(source, target) is expected


@pytest.mark.parametrize(
    ("item", "reason", "expected"),
    [
        *((FILE, reason, True) for reason in (Reason.NEW, Reason.KIND, Reason.SIZE, Reason.CONTENT, Reason.UNKNOWN)),
        *((FILE, reason, False) for reason in (Reason.MODE, Reason.TIME)),
        *((LINK, reason, False) for reason in (Reason.NEW, Reason.KIND, Reason.TARGET)),
        *((DIR, reason, False) for reason in (Reason.NEW, Reason.KIND, Reason.MODE)),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Item) else getattr(value, "value", None),
)
def test_only_new_bytes_move(item: Item, reason: Reason, expected: bool) -> None:
    """Links, directories and changes of mode or time need no body."""
    assert Put(item, reason).needs_bytes is expected


@pytest.mark.parametrize(
    ("verb", "changes", "deletes"), [(Verb.DRYRUN, False, True), (Verb.COPY, True, False), (Verb.SYNC, True, True)]
)
def test_a_verb_says_how_far_to_go(verb: Verb, changes: bool, deletes: bool) -> None:
    """A dry run shows what sync would do."""
    assert (verb.changes, verb.deletes) == (changes, deletes)


# -- plans by example ------------------------------------------------------------------------------------------------


def file(path: str, *, content: str = "0", size: int = 1) -> Item:
    """A file whose bytes are known."""
    return Item(path, size=size, sha256=content * 64)


def listed(made: Plan) -> dict[str, list[str]]:
    """The paths of a plan by list."""
    return {
        "puts": [put.item.path for put in made.puts],
        "keeps": [keep.source.path for keep in made.unchanged],
        "extras": [item.path for item in made.extras],
        "carried": [item.path for item in made.spared],
        "rejected": [rejection.path for rejection in made.rejected],
    }


def test_a_plan_sorts_paths_by_their_fate() -> None:
    """New, modified, the same, extra: each path once, with the sums."""
    source = tree.make([file("new", size=10), file("mod", content="1", size=5), file("same"), Item("d", Kind.DIR)])
    target = tree.make([file("mod", size=5), file("same"), file("extra"), Item("e", Kind.DIR)])

    made = plan.make(source, target)

    assert listed(made) == {
        "puts": ["d", "mod", "new"],
        "keeps": ["same"],
        "extras": ["e", "extra"],
        "carried": [],
        "rejected": [],
    }
    assert [put.item.path for put in made.new] == ["d", "new"]
    assert [(put.item.path, put.reason) for put in made.modified] == [("mod", Reason.CONTENT)]
    assert made.modified[0].old == file("mod", size=5)
    assert (made.deletions, made.size, made.source_files, made.target_files) == (1, 15, 3, 3)
    assert not made.is_empty


def test_a_file_that_becomes_a_directory_is_replaced() -> None:
    """The file is put away, what lies in the new directory is put, and nothing is left over."""
    source, target = tree.make([Item("a", Kind.DIR), file("a/b")]), tree.make([file("a")])

    made = plan.make(source, target)

    assert [(put.item.path, put.reason) for put in made.puts] == [("a", Reason.KIND), ("a/b", Reason.NEW)]
    assert made.extras == ()


def test_a_file_that_becomes_a_directory_nobody_lists_is_an_extra() -> None:
    """A LIST has no directories: the file has to go all the same."""
    made = plan.make(tree.make([file("a/b")]), tree.make([file("a")]))

    assert listed(made)["puts"] == ["a/b"]
    assert listed(made)["extras"] == ["a"]


def test_a_directory_that_becomes_a_file_is_replaced_with_all_below() -> None:
    """What lay in it is deleted and counted, the file stands in its place."""
    source = tree.make([file("a")])
    target = tree.make([Item("a", Kind.DIR), file("a/b"), Item("a/c", Kind.DIR), file("a/c/d")])

    made = plan.make(source, target)

    assert [(put.item.path, put.reason) for put in made.puts] == [("a", Reason.KIND)]
    assert listed(made)["extras"] == ["a/b", "a/c", "a/c/d"]
    assert made.deletions == 2


def test_a_directory_is_kept_for_what_lies_in_it() -> None:
    """A directory that the source does not list is not an extra while something of the source lies in it."""
    target = tree.make([Item("a", Kind.DIR), Item("a/b", Kind.DIR), file("a/b/c")])

    made = plan.make(tree.make([file("a/b/c")]), target)

    assert made.is_empty


COPY_CLASHES = [
    pytest.param([file("a")], [Item("a", Kind.DIR)], ["a"], id="a file where an empty directory stands"),
    pytest.param([file("a")], [file("a/b")], ["a"], id="a file where a directory stands that nobody lists"),
    pytest.param([LINK], [Item("f", Kind.DIR), file("f/x")], ["f"], id="a link where a directory stands"),
    pytest.param([Item("a", Kind.DIR)], [file("a")], ["a"], id="a directory where a file stands"),
    pytest.param(
        [Item("a", Kind.DIR), file("a/b")], [file("a")], ["a", "a/b"], id="a full directory where a file stands"
    ),
    pytest.param([file("a/b/c")], [file("a")], ["a/b/c"], id="a deep path below a file"),
    pytest.param([file("a/b")], [Item("a", Kind.LINK, target="x")], ["a/b"], id="a path below a link"),
]


@pytest.mark.parametrize(("source", "target", "rejected"), COPY_CLASHES)
def test_copy_leaves_what_is_in_the_way_and_says_so(
    source: list[Item], target: list[Item], rejected: list[str]
) -> None:
    """A file and a directory of one name cannot both be there, and copy removes neither."""
    made = plan.make(tree.make([*source, file("z")]), tree.make(target), deletes=False)

    assert listed(made)["puts"] == ["z"]
    assert listed(made)["rejected"] == rejected
    assert all("nothing is deleted" in rejection.reason for rejection in made.rejected)


def test_a_link_in_the_way_is_called_one() -> None:
    """And not a file."""
    made = plan.make(
        tree.make([Item("a", Kind.DIR), Item("b", Kind.DIR)]),
        tree.make([Item("a", Kind.LINK, target="x"), file("b")]),
        deletes=False,
    )
    assert [one.reason.partition(",")[0] for one in made.rejected] == ["there is a symbolic link", "there is a file"]


def test_copy_replaces_a_modified_file() -> None:
    """`copy` brings new and modified files over."""
    made = plan.make(tree.make([file("a", content="1")]), tree.make([file("a"), file("b")]), deletes=False)

    assert listed(made) == {"puts": ["a"], "keeps": [], "extras": [], "carried": ["b"], "rejected": []}


def test_what_accept_rejects_stays_behind_with_the_reason() -> None:
    """A rejected file does not travel, and an older one of its name at the destination goes."""
    rules = compile_rules(accept=["{slug}.jpg"])
    source = tree.make([file("a.jpg"), file("B.jpg"), file("c.txt")])

    made = plan.make(source, tree.make([file("c.txt")]), rules=rules)

    assert listed(made)["puts"] == ["a.jpg"]
    assert made.rejected == (
        Rejection("B.jpg", 'file name contains "B"; allowed are a-z, 0-9 and -'),
        Rejection("c.txt", "extension is txt, not jpg"),
    )
    assert listed(made)["extras"] == ["c.txt"]
    assert made.source_files == 1


def test_a_slave_keeps_only_the_listed_files() -> None:
    """With `files`, everything else at the destination goes."""
    rules = compile_rules(files=["d/a"])
    source = tree.make([Item("d", Kind.DIR), file("d/a"), file("d/b"), Item("e", Kind.DIR)])

    made = plan.make(source, tree.make([file("x"), Item("y", Kind.DIR)]), rules=rules)

    assert listed(made) == {"puts": ["d", "d/a"], "keeps": [], "extras": ["x", "y"], "carried": [], "rejected": []}


def test_a_slave_does_not_keep_what_is_ignored() -> None:
    """A rebuilt directory holds what the source holds under the rules, and no more."""
    made = plan.make(
        tree.make([file("a")]), tree.make([file("a"), file("b.tmp")]), rules=compile_rules(ignore=["*.tmp"])
    )

    assert listed(made)["extras"] == ["b.tmp"]


def test_a_master_spares_what_is_ignored_with_its_directories() -> None:
    """An ignored path at the destination stays, and the directory that holds it stays for its sake."""
    rules = compile_rules(ignore=["*.tmp"])
    target = tree.make([file("a"), Item("d", Kind.DIR), file("d/b.tmp"), file("d/c"), Item("e", Kind.DIR)])

    made = plan.make(tree.make([file("a")]), target, rules=rules, spare_ignored=True)

    assert listed(made)["carried"] == ["d", "d/b.tmp"]
    assert listed(made)["extras"] == ["d/c", "e"]


def guarded(source: Tree, target: Tree, rules: Rules) -> Plan | None:
    """A master's plan, or None where it is refused."""
    try:
        made = plan.make(source, target, rules=rules, spare_ignored=True)
        guards.check_plan(made, Limits(MaxDelete(100, percent=True)))
    except Refused:
        return None
    return made


def test_a_master_deletes_no_ignored_file_for_a_directory_of_its_name() -> None:
    """Where the source has a directory of the name of an ignored file, a master spares the file or refuses."""
    made = guarded(tree.make([file("a/b")]), tree.make([file("a")]), compile_rules(ignore=["a"]))

    assert made is None or listed(made)["extras"] == []


def test_a_master_puts_no_file_above_an_ignored_one_that_stays() -> None:
    """What a master leaves on S3 is a tree that a file system can hold, or it refuses."""
    target = tree.make([file("a/b.tmp")])

    made = guarded(tree.make([file("a")]), target, compile_rules(ignore=["*.tmp"]))

    if made is not None:
        guards.check_shape(plan.apply_to_model(made, target), what="the destination")


def test_a_tree_comes_sorted_whatever_it_was_made_from() -> None:
    """Listings are never trusted to come sorted, and plans are in the order of the bytes."""
    items = [file(path) for path in ("b", "a/b", "\U0001f600", "a.b", "a", "\uffee")]

    made = plan.make(tree.make(items), tree.make([]))

    assert listed(made)["puts"] == ["a", "a.b", "a/b", "b", "\uffee", "\U0001f600"]


def test_what_cannot_travel_is_deleted_from_a_destination() -> None:
    """A socket in a slave's directory is an extra like others, whatever bytes its name has."""
    made = plan.make(tree.make([file("a")]), tree.make([file("a"), Item("s\udcff", Kind.OTHER)]))

    assert listed(made)["extras"] == ["s\udcff"]
    assert made.deletions == 1


# -- what holds of every plan ----------------------------------------------------------------------------------------

# Few names, so that two trees meet, clash and nest.
SEGMENTS = st.sampled_from(["a", "b", "c.txt", ".d", "é"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
IGNORES = st.lists(st.sampled_from(["a*", "*.txt", "*b*", ".*", "a", "c.txt", "*/b", "a/b"]), max_size=2)
ACCEPTS = st.none() | st.lists(st.sampled_from(["**/*.txt", "{slug}", "a/**", "{a|b}/{name}"]), min_size=1, max_size=2)
FILES = st.none() | st.lists(PATHS, min_size=1, max_size=3)

checked = settings(max_examples=150, deadline=None, print_blob=True)


@st.composite
def items(draw: st.DrawFn, path: str) -> Item:
    """An item with all that a manifest would know of it."""
    kind = draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.FILE, Kind.LINK, Kind.DIR]))
    if kind is Kind.LINK:
        return Item(path, kind, target=draw(st.sampled_from("ab")))
    if kind is Kind.DIR:
        return Item(path, kind, mode=draw(st.sampled_from([0o755, 0o700])))
    return Item(
        path,
        kind,
        size=draw(st.sampled_from([0, 1])),
        mtime_ns=draw(st.sampled_from([0, 1])),
        mode=draw(st.sampled_from([0o644, 0o600])),
        sha256=draw(st.sampled_from([ZEROS, ONES])),
    )


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree that a file system can hold, with all its directories, or like a LIST with none but empty ones."""
    made: dict[str, Item] = {}
    for path in draw(st.lists(PATHS, max_size=10, unique=True)):
        free = all(made.get(above, DIR).kind is Kind.DIR for above in paths.ancestors(path))
        if free and not any(other.startswith(path + "/") for other in made):
            made[path] = draw(items(path))
    if draw(st.booleans()):
        for above in {above for path in made for above in paths.ancestors(path)}:
            made.setdefault(above, Item(above, Kind.DIR, mode=0o755))
    return tree.make(made.values())


@st.composite
def rulesets(draw: st.DrawFn) -> Rules:
    """Rules as an entry may carry them: `files` and `accept` exclude each other."""
    listed_files = draw(FILES)
    accept = draw(ACCEPTS) if listed_files is None else None
    return compile_rules(files=listed_files, ignore=draw(IGNORES), accept=accept or ())


def contents(of: Tree) -> dict[str, Item]:
    """A tree by path, without the directories that its paths imply."""
    implied = {above for item in of for above in paths.ancestors(item.path)}
    return {item.path: item for item in of if not (item.kind is Kind.DIR and item.path in implied)}


def restricted(source: Tree, rules: Rules) -> dict[str, Item]:
    """What of the source takes part; under `accept` a directory does where a file below it does."""
    fit = [item for item in source if rules.verdict(item.path, is_dir=item.kind is Kind.DIR) is Verdict.ACCEPTED]
    files = [item.path for item in fit if item.kind is not Kind.DIR]

    def holds_a_file(item: Item) -> bool:
        return any(path.startswith(f"{item.path}/") for path in files)

    return contents(
        tree.make(item for item in fit if item.kind is not Kind.DIR or not rules.accept or holds_a_file(item))
    )


@checked
@given(trees(), trees(), rulesets())
def test_a_sync_gives_the_source_restricted_to_the_rules(source: Tree, target: Tree, rules: Rules) -> None:
    """The destination holds exactly the source's items that take part, equal in every fact."""
    after = plan.apply_to_model(plan.make(source, target, rules=rules), target)

    assert contents(after) == restricted(source, rules)
    guards.check_shape(after, what="the destination")


@checked
@given(trees(), rulesets())
def test_a_tree_is_in_step_with_itself(source: Tree, rules: Rules) -> None:
    """A tree that was replicated under the rules plans nothing against its source."""
    same = tree.make(restricted(source, rules).values())

    assert plan.make(source, source).is_empty
    assert plan.make(same, same, rules=rules).is_empty


@checked
@given(trees(), trees(), rulesets(), st.booleans())
def test_a_second_plan_is_empty(source: Tree, target: Tree, rules: Rules, spare_ignored: bool) -> None:
    """A sync leaves nothing for the next one, whatever the rules and the role."""
    after = plan.apply_to_model(plan.make(source, target, rules=rules, spare_ignored=spare_ignored), target)

    again = plan.make(source, after, rules=rules, spare_ignored=spare_ignored)

    assert again.is_empty, (again.puts, again.extras)


@checked
@given(trees(), trees(), rulesets(), st.booleans())
def test_copy_removes_nothing(source: Tree, target: Tree, rules: Rules, spare_ignored: bool) -> None:
    """Every path of the destination is still there afterwards, a directory as one and the rest as no directory."""
    made = plan.make(source, target, rules=rules, deletes=False, spare_ignored=spare_ignored)
    after = plan.apply_to_model(made, target)

    assert made.extras == ()
    for item in target:
        still = after.get(item.path)
        assert still is not None
        assert (still.kind is Kind.DIR) == (item.kind is Kind.DIR)
    guards.check_shape(after, what="the destination")


@checked
@given(trees(), trees(), rulesets())
def test_a_second_copy_is_empty(source: Tree, target: Tree, rules: Rules) -> None:
    """What copy could bring over is brought over at once."""
    after = plan.apply_to_model(plan.make(source, target, rules=rules, deletes=False), target)

    assert plan.make(source, after, rules=rules, deletes=False).puts == ()


@checked
@given(trees(), trees(), IGNORES)
def test_ignored_paths_are_only_carried_by_a_master(source: Tree, target: Tree, ignore: list[str]) -> None:
    """An ignored path is neither put, kept, deleted nor rejected, but for a directory that has to hold others."""
    rules = compile_rules(ignore=ignore)
    clash = {above for item in source for above in paths.ancestors(item.path)}

    fates = listed(plan.make(source, target, rules=rules, spare_ignored=True))

    carried = fates.pop("carried")
    named = [path for fate in fates.values() for path in fate]
    assert [path for path in named if rules.ignores(path) and path not in clash] == []
    assert {item.path for item in target if rules.ignores(item.path)} - clash <= {*carried}


@checked
@given(trees(), trees(), rulesets(), st.booleans(), st.booleans())
def test_every_path_has_at_most_one_fate(
    source: Tree, target: Tree, rules: Rules, deletes: bool, spare_ignored: bool
) -> None:
    """No path is put and kept, kept and deleted, or deleted and carried, and each list is in order."""
    fates = listed(plan.make(source, target, rules=rules, deletes=deletes, spare_ignored=spare_ignored))
    del fates["rejected"]

    named = [path for fate in fates.values() for path in fate]
    assert len(named) == len(set(named))
    assert all(fate == sorted(fate) for fate in fates.values())


@checked
@given(trees(), trees(), rulesets(), st.booleans())
def test_the_counts_are_those_of_the_lists(source: Tree, target: Tree, rules: Rules, deletes: bool) -> None:
    """What guards and reports count is what the plan holds."""
    made = plan.make(source, target, rules=rules, deletes=deletes)

    assert len(made.new) + len(made.modified) == len(made.puts)
    assert made.deletions <= len(made.extras) <= len(target)
    assert made.source_files <= source.files
    assert made.target_files == target.files
    assert all((put.old is None) == (put.reason is Reason.NEW) for put in made.puts)


@checked
@given(trees(), trees(), rulesets())
def test_planning_changes_neither_tree(source: Tree, target: Tree, rules: Rules) -> None:
    """The planner is pure: the same two trees give the same plan."""
    assert plan.make(source, target, rules=rules) == plan.make(source, target, rules=rules)


MANY = [Item(f"d/{number:04}", size=3, mtime_ns=1, mode=0o644, sha256=ZEROS, etag=MD5) for number in range(200)]
CHANGES = st.sampled_from(
    [
        {"size": 4},
        {"mtime_ns": 2},
        {"mtime_ns": None},
        {"mode": 0o600},
        {"mode": None},
        {"sha256": ONES},
        {"sha256": None},
        {"etag": OTHER_MD5},
        {"etag": "e-2"},
        {"version": "v"},
        {"md5": MD5},
        {"kind": Kind.DIR, "size": 0},
        {"kind": Kind.LINK, "target": "x", "size": 0},
    ]
)


@st.composite
def long_trees(draw: st.DrawFn) -> Tree:
    """Many files, some of them changed and some of them gone, so that there are runs that are the same."""
    changed = draw(st.dictionaries(st.integers(0, 199), st.none() | CHANGES, max_size=8))
    changes = (changed.get(row, {}) for row in range(len(MANY)))
    pairs = zip(MANY, changes, strict=True)
    return tree.make(item._replace(**change) for item, change in pairs if change is not None)


@checked
@given(long_trees(), long_trees())
def test_long_runs_are_compared_as_one_by_one(source: Tree, target: Tree) -> None:
    """What is compared as a whole gives what every item gives alone."""
    made = plan.make(source, target)

    there = {item.path: item for item in target}
    reasons = {item.path: difference(item, there[item.path]) if item.path in there else Reason.NEW for item in source}
    assert {put.item.path: put.reason for put in made.puts} == {path: why for path, why in reasons.items() if why}
    assert [keep.source for keep in made.unchanged] == [item for item in source if reasons[item.path] is None]
    assert [keep.target for keep in made.unchanged] == [there[keep.source.path] for keep in made.unchanged]


@checked
@given(long_trees(), long_trees())
def test_what_is_kept_is_published_with_its_objects(source: Tree, target: Tree) -> None:
    """Each item is the source's, with the hash that either side knows, and with ETag and version of the object."""
    made = plan.make(source, target)

    assert list(Tree(made.unchanged.as_objects())) == [
        here._replace(sha256=here.sha256 or there.sha256, etag=there.etag, version=there.version)
        for here, there in made.unchanged
    ]


@checked
@given(long_trees(), long_trees())
def test_a_digest_tells_trees_apart(one: Tree, other: Tree) -> None:
    """It is the same only of trees that hold the same."""
    assert (one.digest() == other.digest()) == (list(one) == list(other))


def test_trees_are_sorted_by_the_bytes_of_their_paths() -> None:
    """The order is that of the UTF-8, not of a locale, of UTF-16 or of segments."""
    listed = ["\U0001f600", "\uffee", "a/b", "a.b", "a-b", "a0", "B", "é", "a"]

    made = [item.path for item in tree.make(Item(path) for path in listed)]

    assert made == ["B", "a", "a-b", "a.b", "a/b", "a0", "é", "\uffee", "\U0001f600"]
    assert made == sorted(listed, key=str.encode)
