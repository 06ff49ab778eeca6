"""What is refused by trees and plans alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.core import guards, plan, tree
from s32s.core.errors import Refused
from s32s.core.guards import Limits, MaxDelete
from s32s.core.item import Item, Kind
from s32s.core.rules import compile_rules
from s32s.core.tree import Tree

NO_LIMIT = Limits(MaxDelete(100, percent=True))


def files(count: int, *, first: int = 0) -> Tree:
    """A tree of so many files."""
    return tree.make(Item(f"f{number:04}", size=1, sha256="0" * 64) for number in range(first, first + count))


def percent(number: float) -> MaxDelete:
    """A limit as a percentage."""
    return MaxDelete(number, percent=True)


def count(number: float) -> MaxDelete:
    """A limit as a count."""
    return MaxDelete(number, percent=False)


@pytest.mark.parametrize(
    ("limit", "deletions", "of", "allowed"),
    [
        pytest.param(count(5), 5, 5, True, id="a count is reached"),
        pytest.param(count(5), 6, 1000, False, id="a count is exceeded"),
        pytest.param(count(0), 1, 1000, False, id="a count of none forbids one"),
        pytest.param(count(0), 0, 1000, True, id="a count of none allows none"),
        pytest.param(count(3), 9, 10, False, id="a count knows no ten that are free"),
        pytest.param(percent(50), 50, 100, True, id="a percentage is reached"),
        pytest.param(percent(50), 51, 100, False, id="a percentage is exceeded"),
        pytest.param(percent(50), 10, 20, True, id="ten are half of twenty"),
        pytest.param(percent(50), 10, 19, False, id="ten are more than half of nineteen"),
        pytest.param(percent(50), 9, 9, True, id="a percentage never refuses fewer than ten"),
        pytest.param(percent(0), 9, 1000, True, id="not even none percent"),
        pytest.param(percent(0), 10, 1000, False, id="ten are enough for none percent to refuse"),
        pytest.param(percent(100), 1000, 1000, True, id="all may go"),
        pytest.param(percent(12.5), 125, 1000, True, id="a fraction of a percent is reached"),
        pytest.param(percent(12.5), 126, 1000, False, id="a fraction of a percent is exceeded"),
    ],
)
def test_max_delete_is_a_count_or_a_percentage(limit: MaxDelete, deletions: int, of: int, allowed: bool) -> None:
    """A limit is judged by what the destination holds now."""
    assert limit.allows(deletions, of=of) is allowed


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.integers(0, 100), st.integers(0, 9), st.integers(0, 10**6))
def test_a_percentage_never_refuses_fewer_than_ten(number: int, deletions: int, of: int) -> None:
    """Small directories change wholesale every day."""
    assert percent(number).allows(deletions, of=of)


@pytest.mark.parametrize(("limit", "shown"), [(percent(50), "50%"), (percent(12.5), "12.5%"), (count(500), "500")])
def test_a_limit_is_shown_as_it_is_written(limit: MaxDelete, shown: str) -> None:
    """The message repeats the words of the configuration."""
    assert str(limit) == shown


def test_too_many_deletions_are_refused_with_the_numbers_and_the_way_out() -> None:
    """The administrator sees how many of how many, the limit, and the option that lifts it."""
    made = plan.make(files(40), files(100))

    with pytest.raises(Refused) as caught:
        guards.check_plan(made, Limits(percent(50)))

    assert "60 of 100 files" in str(caught.value)
    assert "50%" in str(caught.value)
    assert "--force-delete" in str(caught.value)
    assert caught.value.exit_status == 3
    assert caught.value.paths == tuple(f"f{number:04}" for number in range(40, 100))


def test_deletions_within_the_limit_pass() -> None:
    """Half may go where half is allowed."""
    guards.check_plan(plan.make(files(50), files(100)), Limits(percent(50)))


def test_the_base_is_what_the_destination_holds_now() -> None:
    """New files of the source do not make room for more deletions."""
    made = plan.make(files(1000, first=60), files(100))

    with pytest.raises(Refused, match="60 of 100"):
        guards.check_plan(made, Limits(percent(50)))


def test_empty_directories_are_no_deletions() -> None:
    """Only files and links count."""
    dirs = [Item(f"d{number}", Kind.DIR) for number in range(100)]

    guards.check_plan(plan.make(files(1), tree.make([*files(1), *dirs])), Limits(count(0)))


def test_force_lifts_the_limit_and_allows_an_emptying() -> None:
    """`--force-delete` means that the files shall go."""
    guards.check_plan(plan.make(tree.make([]), files(100)), Limits(count(0), force=True))


def test_copy_is_never_refused_for_deletions() -> None:
    """Where nothing is deleted there is nothing to limit."""
    guards.check_plan(plan.make(files(1), files(100, first=50), deletes=False), Limits(count(0)))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param([], [Item("a", size=1)], id="nothing over something"),
        pytest.param([], [], id="nothing over nothing"),
        pytest.param([Item("d", Kind.DIR)], [Item("a", size=1)], id="empty directories only"),
    ],
)
def test_an_empty_source_is_refused(source: list[Item], target: list[Item]) -> None:
    """A wrong path or a failed mount empties no server, whatever the limit."""
    with pytest.raises(Refused, match="the source contains no files"):
        guards.check_plan(plan.make(tree.make(source), tree.make(target)), NO_LIMIT)


def test_a_source_of_which_nothing_is_accepted_is_refused() -> None:
    """An accept pattern with a slip empties no server, and the message says that it was the pattern."""
    made = plan.make(files(3), files(3), rules=compile_rules(accept=["nothing/{slug}"]))

    with pytest.raises(Refused, match="no file of the source is accepted"):
        guards.check_plan(made, NO_LIMIT)


def test_a_source_of_which_everything_is_ignored_is_refused() -> None:
    """`ignore: ["*"]` is taken for a slip."""
    with pytest.raises(Refused):
        guards.check_plan(plan.make(files(3), files(3), rules=compile_rules(ignore=["*"])), NO_LIMIT)


@pytest.mark.parametrize(
    ("items", "named"),
    [
        pytest.param([Item("a"), Item("a/b")], ("a",), id="a file beside what is below it"),
        pytest.param([Item("a", Kind.LINK, target="x"), Item("a/b")], ("a",), id="a link beside what is below it"),
        pytest.param([Item("a/b"), Item("a/b/c/d")], ("a/b",), id="a file above a directory that is not listed"),
        pytest.param([Item("a"), Item("a.b"), Item("a/b")], ("a",), id="a name sorts between the two"),
        pytest.param([Item("a"), Item("a/b"), Item("c"), Item("c/d")], ("a", "c"), id="several are named at once"),
    ],
)
def test_a_file_with_something_below_it_is_refused(items: list[Item], named: tuple[str, ...]) -> None:
    """No file system holds `a` beside `a/b`, and every such name is told."""
    with pytest.raises(Refused) as caught:
        guards.check_shape(tree.make(items), what="the prefix bucket/x")

    assert caught.value.paths == named
    assert "the prefix bucket/x" in str(caught.value)
    assert '"a' in str(caught.value)


def test_a_tree_that_a_file_system_can_hold_passes() -> None:
    """Directories, listed or not, may have something below them."""
    guards.check_shape(
        tree.make([Item("a", Kind.DIR), Item("a/b"), Item("a-b"), Item("ab"), Item("c/d/e"), Item("c.d")]), what="it"
    )


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        pytest.param("a", "b", False, id="a neighbour"),
        pytest.param("a", "b/c", False, id="something below"),
        pytest.param("d/a", "../b", False, id="up and down again"),
        pytest.param("d/a", "..", False, id="the root itself"),
        pytest.param("d/e/a", "../../b/c", False, id="up twice from the second level"),
        pytest.param("a", ".", False, id="its own directory"),
        pytest.param("d/a", "./../b", False, id="dots and slashes change nothing"),
        pytest.param("d/a", "..//.//b", False, id="neither do empty segments"),
        pytest.param("a", "..b", False, id="two dots that begin a name"),
        pytest.param("a", "/etc/passwd", True, id="absolute"),
        pytest.param("a", "/", True, id="the root of the system"),
        pytest.param("a", "..", True, id="above the tree"),
        pytest.param("a", "../a", True, id="above the tree and back"),
        pytest.param("d/a", "../..", True, id="above the tree from a directory"),
        pytest.param("d/a", "../../d/b", True, id="above the tree from a directory and back"),
        pytest.param("a", "b/../c", True, id="up behind a name that may be a link"),
        pytest.param("d/a", "../b/../../c", True, id="up behind a name from a directory"),
        pytest.param("a", "", True, id="nowhere"),
        pytest.param("a", "b\0c", True, id="a NUL"),
    ],
)
def test_a_link_that_leaves_its_tree_is_seen(path: str, target: str, expected: bool) -> None:
    """Leaving is judged by the words of the target alone, and a doubt counts as leaving."""
    assert guards.leaves(Item(path, Kind.LINK, target=target)) is expected


def test_links_that_leave_are_refused_with_their_targets() -> None:
    """Each is named with where it points, escaped; links that stay and files pass."""
    items = [
        Item("ok", Kind.LINK, target="d/x"),
        Item("file"),
        Item("out", Kind.LINK, target="/etc/\x1b[2J"),
        Item("up", Kind.LINK, target="../x"),
    ]

    with pytest.raises(Refused) as caught:
        guards.check_links(tree.make(items), what="the manifest")

    assert caught.value.paths == ("out", "up")
    assert '"out" -> "/etc/\\x1b[2J"' in str(caught.value)


def test_many_links_that_leave_are_counted() -> None:
    """The message stays short, the report has all."""
    links = [Item(f"l{number}", Kind.LINK, target="/x") for number in range(1005)]

    with pytest.raises(Refused, match=r"and 1,000 more") as caught:
        guards.check_links(tree.make(links), what="the manifest")

    assert len(caught.value.paths) == 1005


def test_links_inside_the_tree_pass() -> None:
    """A tree of well-behaved links is not a reason to refuse."""
    guards.check_links(tree.make([Item("d/a", Kind.LINK, target="../b"), Item("b")]), what="the manifest")


OWNED = ["/etc", "/etc/cron.d", "/usr/share/x", "/boot/grub", "/bin/x", "/lib64/x", "/sbin", "/dev/shm/x", "/proc/1",
         "/sys/x", "/var/lib/dpkg", "/var/lib/rpm/x", "/var/run/x", "/run/x", "/var/spool/cron/crontabs"]  # fmt: skip
FREE = ["/srv/www", "/var/www", "/var/www/html", "/opt/app", "/home/x/site", "/data", "/mnt/x", "/media/usb/x",
        "/usr/local/share/x", "/etcetera", "/library", "/var/lib/app", "/tmp/x"]  # fmt: skip


@pytest.mark.parametrize("directory", OWNED)
def test_what_the_system_owns_is_neither_target_nor_allowed_unless_the_configuration_says_so(directory: str) -> None:
    """All below counts too, under both names of a merged /usr."""
    assert "allow_system = true" in (guards.allow_problem(directory, allow_system=False) or "")
    assert guards.target_problem(directory, allow_system=False)
    assert guards.allow_problem(directory, allow_system=True) is None


@pytest.mark.parametrize("directory", FREE)
def test_what_the_administrator_owns_may_be_both(directory: str) -> None:
    """Also a name that only begins like one of the system's."""
    assert guards.allow_problem(directory, allow_system=False) is None
    assert guards.target_problem(directory, allow_system=False) is None


@pytest.mark.parametrize("directory", ["/srv", "/opt", "/home", "/mnt", "/media", "/var", "/usr/local"])
def test_a_directory_that_holds_those_of_many_is_allowed_but_is_no_target(directory: str) -> None:
    """A map may replace what lies below it, one by one."""
    assert guards.allow_problem(directory, allow_system=False) is None
    assert "never replaced" in (guards.target_problem(directory, allow_system=False) or "")


@pytest.mark.parametrize("directory", ["/", "/etc", "/usr/lib", "/root", "/var"])
def test_some_directories_are_never_replaced(directory: str) -> None:
    """Whatever the configuration says."""
    assert "never replaced" in (guards.target_problem(directory, allow_system=True) or "")


@pytest.mark.parametrize("directory", ["/", "/root"])
def test_what_holds_too_much_is_not_allowed(directory: str) -> None:
    """A map could then take the whole system, or the keys of its administrator."""
    assert "cannot be allowed" in (guards.allow_problem(directory, allow_system=False) or "")


def test_other_places_of_s32s_below_are_not_deleted() -> None:
    """Who names a bucket instead of a prefix loses no neighbour; on purpose it goes."""
    there = tree.make([Item("a"), Item("site/.s32s/head.json"), Item("site/x"), Item("z/y/.s32s/id")])
    made = plan.make(tree.make([Item("a"), Item("b")]), there)

    with pytest.raises(Refused, match='"site", "z/y" would be deleted'):
        guards.check_plan(made, NO_LIMIT)
    guards.check_plan(made, replace(NO_LIMIT, force=True))


def test_a_push_takes_nothing_from_a_shared_folder() -> None:
    """Its lines say who has changed a path; a mirror of a shared folder has such lines on both sides."""
    theirs = Item("plan", size=1, sha256="a" * 64, changed="2026-11-29T01:00:00Z 1 ann@pc")
    deleted = plan.make(tree.make([Item("a")]), tree.make([theirs]))
    replaced = plan.make(tree.make([Item("plan", size=2)]), tree.make([theirs]), deletes=False)

    for made in (deleted, replaced):
        with pytest.raises(Refused, match="people share this prefix"):
            guards.check_plan(made, NO_LIMIT)
        guards.check_plan(made, replace(NO_LIMIT, force=True))
    mirrored = theirs._replace(path="new")
    guards.check_plan(plan.make(tree.make([mirrored]), tree.make([theirs, mirrored])), NO_LIMIT)
