"""The one table: whatever is declared as a column is found, sorted and copied with its row."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from s32s.core import tree
from s32s.core.columns import Columns
from s32s.core.item import Item
from s32s.core.table import Table
from s32s.stores.local.stat_cache import CachedHash, StatCache
from s32s.stores.local.walk import DirectoryListing

PATHS = st.lists(st.text("ab./é", min_size=1, max_size=5), unique=True, max_size=12)


class Numbers(Table):
    """A column of each width, one that may be empty, and a rare one."""

    COLUMNS = {"ones": 1, "threes": 3, "codes": 2, "empty": 4}  # noqa: RUF012 # as the kinds of s32s do
    RARE = ("rare",)

    def __init__(self) -> None:
        super().__init__()
        self.ones, self.threes = array("q"), array("q")
        self.codes, self.empty = bytearray(), bytearray()
        self.rare: dict[int, str] = {}

    @classmethod
    def of(cls, paths: list[str]) -> Numbers:
        """One in which each fact of a row is made of its path."""
        made = cls()
        for row, path in enumerate(paths):
            number = hash(path) % 250
            made.paths.append(path)
            made.ones.append(number)
            made.threes.extend((number, number + 1, number + 2))
            made.codes += bytes((number, number + 1))
            if number % 2:
                made.rare[row] = path
        return made

    def facts(self) -> dict[str, object]:
        """What is known of each path."""
        return {
            path: (
                self.ones[row],
                list(self.threes[3 * row : 3 * row + 3]),
                bytes(self.codes[2 * row : 2 * row + 2]),
                self.rare.get(row),
            )
            for row, path in enumerate(self.paths)
        }


@given(PATHS)
def test_every_fact_stays_with_its_row(paths: list[str]) -> None:
    """However the rows came."""
    made = Numbers.of(paths)
    ordered = made.in_order()

    assert ordered.paths == sorted(paths)
    assert ordered.facts() == Numbers.of(paths).facts()
    assert ordered.empty == b""
    assert ordered.in_order() is ordered


@given(PATHS, PATHS)
def test_rows_are_found(paths: list[str], others: list[str]) -> None:
    """One by one, or many that come in order."""
    made = Numbers.of(paths).in_order()

    for path in others:
        row = made.find(path)
        assert (row is None) == (path not in paths)
        assert row is None or made.paths[row] == path
    found = list(made.rows(sorted(others)))
    assert found == [-1 if (row := made.find(path)) is None else row for path in sorted(others)]


@given(PATHS)
def test_a_copy_is_changed_alone(paths: list[str]) -> None:
    """A tree that others hold never changes."""
    made = Numbers.of(paths)
    before = made.facts()
    copy = made.copied()
    copy.ones.extend([1])
    copy.threes.extend([1])
    copy.rare[0] = "other"

    assert made.facts() == before


@given(PATHS)
def test_each_kind_keeps_its_facts_in_order(paths: list[str]) -> None:
    """Trees, stat caches and listings, as they are used."""
    columns, cache, listing = Columns(), StatCache(), DirectoryListing()
    for row, path in enumerate(paths):
        columns.add(Item(path, size=row, sha256=f"{row:064x}" if row % 2 else None, version="v" if row % 3 else None))
        seen = CachedHash((1, 2, row, 4, 5), 6, sha256=f"{row:064x}", etag=(f"{row:032x}", "e-2", None)[row % 3])
        cache.add(path, seen)
        listing.paths.append(path)
        listing.modes.append(0o100644 + row % 8)
        listing.stamps.extend((1, 2, row, 4, 5))

    for row, path in enumerate(paths):
        ordered = columns.in_order()
        at = ordered.find(path)
        assert at is not None
        assert ordered.item(at) == columns.item(row)
        assert cache.in_order().get(path) == cache.seen(row)
        assert listing.in_order().get(path) == listing.found(row)


@given(PATHS, PATHS, PATHS)
def test_a_patched_table_is_one_made_from_scratch(paths: list[str], gone: list[str], come: list[str]) -> None:
    """Rows that go, rows that come, and rows that are replaced."""
    before = Numbers.of(sorted(paths))
    dropped = sorted(row for path in {*gone, *come} if (row := before.find(path)) is not None)

    after = before.patched(dropped, Numbers.of(sorted(come)))

    assert after.paths == sorted({*paths} - {*gone} | {*come})
    assert after.facts() == Numbers.of(after.paths).facts()


@given(PATHS, PATHS, st.booleans(), st.booleans())
def test_a_patched_tree_keeps_every_hash(paths: list[str], come: list[str], old: bool, new: bool) -> None:
    """Also where only what stays, or only what comes, has any."""
    sha256 = "ab" * 32
    before = tree.make(Item(path, sha256=sha256 if old else None, etag="multi-2") for path in paths)

    after = before.patched(paths[:2], [Item(path, size=1, sha256=sha256 if new else None) for path in come])

    kept = [Item(path, sha256=sha256 if old else None, etag="multi-2") for path in {*paths[2:]} - {*come}]
    assert after == tree.make([*kept, *(Item(path, size=1, sha256=sha256 if new else None) for path in come)])


@given(PATHS, PATHS, st.data())
def test_parts_of_a_table_are_its_rows(paths: list[str], others: list[str], data: st.DataObject) -> None:
    """Appended to whatever rows there are: a column that only one of two has, and rare facts, too."""
    start = data.draw(st.integers(0, len(paths)))
    end = data.draw(st.integers(start, len(paths)))
    made, joined = Numbers.of(paths), Numbers.of(others)
    joined.append_parts(made.to_parts(start, end))

    assert joined.paths == others + paths[start:end]
    for nth, row in enumerate(range(start, end), start=len(others)):
        assert joined.ones[nth] == made.ones[row]
        assert joined.threes[3 * nth : 3 * nth + 3] == made.threes[3 * row : 3 * row + 3]
        assert joined.rare.get(nth) == made.rare.get(row)

    few, more = Columns(), Columns()
    for row, path in enumerate(sorted(paths)):
        few.add(Item(path, size=row, sha256=f"{row:064x}" if row >= 4 else None, target="t" if row % 3 == 1 else None))
    for row, path in enumerate(others):
        more.add(Item(path, size=row, sha256=f"{row:064x}" if row >= 2 else None, changed="x" if row % 2 else None))
    wanted = [*map(more.item, range(len(others))), *map(few.item, range(start, end))]
    more.append_parts(few.to_parts(start, end))

    assert [more.item(row) for row in range(len(wanted))] == wanted
    assert list(more.in_order().paths) == sorted(more.paths)


@given(PATHS, PATHS)
def test_two_trees_share_the_paths_that_they_have_in_common(paths: list[str], others: list[str]) -> None:
    """In memory; neither becomes another tree."""
    one, other = (tree.make(Item(path) for path in names) for names in (paths, others))
    before = list(one)
    one.share_paths(other)

    assert list(one) == before
    assert list(other.paths) == sorted(others)
    assert all(one.path(row) is path for path in other.paths if (row := one.find(path)) is not None)
