"""The pictures of the menu: whatever is in them, they are exactly as large as the terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s32s.agent.history import History, Past
from s32s.agent.status import EntryState
from s32s.agent.trash import Lost
from s32s.core import events, plan, tree
from s32s.core.errors import EntryFailed
from s32s.core.item import Item
from s32s.core.plan import Verb
from s32s.frontends.menu import panes, views
from s32s.frontends.menu.model import Choosing, Listing, Progress, Row, Running, Text
from s32s.frontends.menu.past import PastList
from s32s.frontends.menu.trashed import TrashList
from s32s.frontends.render.layout import fit, width, wrap

NAMES = st.text("ab エトリ📷é\x1b\n \u202e", min_size=1, max_size=60)
SIZES = st.tuples(st.integers(40, 200), st.integers(8, 60))
ROWS = st.lists(
    st.builds(
        Row,
        name=NAMES,
        direction=st.tuples(NAMES, NAMES).map(" > ".join),
        last=st.sampled_from(["-", "21 Nov 02:12"]),
        state=st.sampled_from(["up to date", "failed", "12 to do", "unfinished push by a host with a long name", "…"]),
        generation=st.sampled_from(["", "7", "1,234"]),
        details=st.lists(st.tuples(st.just(""), st.text("ab c", max_size=100)), max_size=9).map(tuple),
    ),
    max_size=80,
)


def assert_fills(lines: list[views.Line], columns: int, rows: int) -> None:
    """As many lines as the terminal has, each as wide as it is, and nothing in them that steers it."""
    assert len(lines) == rows
    for line in lines:
        text = "".join(piece for _, piece, _ in line)
        assert width(text) == columns, text
        assert "\x1b" not in text
        assert "\n" not in text


@given(
    ROWS, SIZES, st.booleans(), st.integers(-3, 100), st.sampled_from(["", "a", "zzz"]), st.text("ab ", max_size=300)
)
def test_the_list_fills_the_terminal(
    rows: list[Row], size: tuple[int, int], details: bool, cursor: int, filtered: str, notice: str
) -> None:
    """Any entries, any size, with and without filter, details and notice."""
    listing = Listing(rows, filter=filtered)
    listing.move(cursor)

    lines = panes.list_screen(
        listing, title="s32s", notice=notice, filtering=bool(filtered), details=details, columns=size[0], rows=size[1]
    )

    assert_fills(lines, *size)


@given(st.lists(st.text("ab エ /", max_size=200), max_size=100), SIZES, st.integers(0, 300))
def test_a_text_fills_the_terminal(texts: list[str], size: tuple[int, int], top: int) -> None:
    """Long lines are wrapped, and one can scroll to the end and no further."""
    columns, rows = size
    wrapped = [part for text in texts for part in wrap(text, columns)]
    text = Text("title", texts, top=top)

    lines = views.text_screen(text, wrapped=wrapped, footer="back", columns=columns, rows=rows)

    assert_fills(lines, columns, rows)
    assert 0 <= text.top <= max(0, len(wrapped) - (rows - 2))


@given(st.lists(NAMES, min_size=1, max_size=60, unique=True), SIZES, st.integers(0, 10**9))
def test_a_run_fills_the_terminal(names: list[str], size: tuple[int, int], moved: int) -> None:
    """At every moment of it."""
    running = Running(Verb.SYNC, {name: Progress(name=name) for name in names})
    source = tree.make([Item("a", size=10**9, sha256="0" * 64)])
    made = plan.make(source, tree.make([]))

    for now, event in enumerate(
        (
            events.EntryStarted(names[0], "a", "b"),
            events.Planned(names[0], made),
            events.Phase(names[0], "moving files"),
            events.Progress(names[0], moved),
            events.Warned(names[0], "a warning"),
            events.EntryFinished(names[0], made, 1.0, error=EntryFailed("it went wrong")),
        )
    ):
        running.on_event(event, now, "FAILED: it went\n  wrong")
        assert_fills(views.run_screen(running, now_s=now + 0.5, columns=size[0], rows=size[1]), *size)

    assert running.done == 1


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=20), st.text("abc ", max_size=90)), max_size=20), SIZES)
def test_a_choice_fills_the_terminal(choices: list[tuple[str, str]], size: tuple[int, int]) -> None:
    """However much there is to choose from."""
    lines = views.choice_screen(Choosing("title", choices or [("a", "")]), notice="", columns=size[0], rows=size[1])

    assert_fills(lines, *size)


@given(st.text("ab エ📷é", max_size=50), st.integers(1, 60), st.booleans())
def test_what_is_fitted_is_exactly_as_wide(text: str, columns: int, keep_end: bool) -> None:
    """Wide characters count as two, and none is cut in half."""
    assert width(fit(text, columns, keep_end=keep_end)) == columns


def test_entries_with_trouble_come_first_when_sorted_by_state() -> None:
    """What has failed, what has work, what never ran, what is up to date."""
    kinds = [EntryState.UP_TO_DATE, EntryState.NEVER_RUN, EntryState.FAILED, EntryState.NOT_COMPARED]
    listing = Listing([Row(kind.value, "", kind=kind) for kind in kinds], sort="state")

    assert [row.name for row in listing.visible()] == ["failed", "not-compared", "never-run", "up-to-date"]


def test_the_cursor_stays_on_a_row_that_is_seen() -> None:
    """Also when the filter takes rows away."""
    listing = Listing([Row(f"{number}", "") for number in range(100)])
    listing.move(99)
    listing.scroll(10)
    listing.filter = "9"

    listing.scroll(10)

    assert listing.chosen is not None
    assert listing.top <= listing.cursor < listing.top + 10


def test_a_wrapped_text_can_be_read_to_its_end() -> None:
    """One long line, such as an error, may take more lines of the screen than the screen has."""
    wrapped = wrap("word " * 2_000 + "END", 40)
    text = Text("title", ["one line"], top=1_000_000)

    lines = views.text_screen(text, wrapped=wrapped, footer="back", columns=40, rows=10)

    assert "END" in "".join(piece for line in lines for _, piece, _ in line)


@given(st.lists(st.builds(Lost, *[NAMES] * 2, st.floats(0, 2e9), NAMES, NAMES, SIZES.map(sum)), max_size=80), SIZES)
def test_a_trash_fills_the_terminal(lost: list[Lost], size: tuple[int, int]) -> None:
    """Wherever the cursor is, its line is seen."""
    columns, rows = size
    trash = TrashList("TEAM", lost)
    for by in (0, 1, 10, 10, -3, 1_000_000, -1_000_000):
        trash.move(by)
        lines = trash.lines(columns, rows)
        assert len(lines) == rows
        assert {width("".join(text for _, text, _ in line)) for line in lines} == {columns}
        assert not lost or any(style == "class:chosen" for line in lines for style, _, _ in line)


PASTS = st.builds(
    Past,
    st.integers(0, 10**6),
    st.none() | st.floats(0, 2e9),
    NAMES,
    st.integers(0, 10**7),
    st.integers(0, 10**15),
    st.none() | st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    NAMES,
)


@given(st.lists(PASTS, max_size=80), SIZES, NAMES)
def test_generations_fill_the_terminal(found: list[Past], size: tuple[int, int], trouble: str) -> None:
    """Wherever the cursor is, its line is seen."""
    columns, rows = size
    past = PastList("WEB", History(tuple(found), trouble), is_slave=True)
    for by in (0, 1, 10, 10, -3, 1_000_000, -1_000_000):
        past.move(by)
        lines = past.lines(columns, rows)
        assert len(lines) == rows
        assert {width("".join(text for _, text, _ in line)) for line in lines} == {columns}
        if found and rows > 7:
            assert any(style == "class:chosen" for line in lines for style, _, _ in line)
