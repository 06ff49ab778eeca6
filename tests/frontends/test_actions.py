"""What the menu asks, and what it does not ask twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.terminal import terminal

from s32s.core import plan, tree
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.frontends.menu.actions import ask_once, needs_question
from s32s.frontends.menu.prompter import meant


def made(source: list[str], target: list[str]) -> Plan:
    """The plan from one set of names to another."""
    return plan.make(tree.make(Item(name) for name in source), tree.make(Item(name) for name in target))


def test_only_what_takes_something_away_is_asked_about() -> None:
    """New files harm nobody."""
    assert not needs_question(made(["a", "b"], []))
    assert needs_question(made(["a"], ["b"]))


def test_nothing_is_asked_twice() -> None:
    """A second plan of a run is asked about only when it takes away more than was agreed to."""
    asked: list[int] = []

    def ask(entry: str, told: Plan) -> bool:
        asked.append(len(told.extras))
        return True

    approve = ask_once(ask)

    assert all(approve("A", made([], gone)) for gone in (["x", "y"], ["x"], ["x", "y", "z"]))
    assert asked == [2, 3]


def test_a_no_stays_a_no() -> None:
    """Nothing is agreed to by it."""
    answers = iter([False, True])
    approve = ask_once(lambda entry, told: next(answers))

    assert [approve("A", made([], ["x"])) for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("1", "sync"),
        ("3", "dryrun"),
        ("4", None),
        ("0", None),
        ("dry", "dryrun"),
        ("s", "sync"),
        ("x", None),
        ("", None),
    ],
)
def test_an_answer_is_a_number_a_word_or_its_beginning(answer: str, word: str | None) -> None:
    """Whichever is quicker to type."""
    assert meant(answer, ["sync", "copy", "dryrun"]) == word


def test_sigterm_at_the_first_question(tmp_path: Path) -> None:
    """The program ends with its status, and nothing was written."""
    import signal
    import sys

    environment = {"HOME": str(tmp_path), "S32S_CONFIG": str(tmp_path / "s32s.toml"), "PATH": "/usr/bin:/bin"}
    with terminal([sys.executable, "-m", "s32s"], environment, tmp_path) as screen:
        screen.wait_for("What is this machine?", "Number or word")
        screen.process.send_signal(signal.SIGTERM)

        assert screen.ended() == 143
        assert "Traceback" not in screen.text
    assert list(tmp_path.iterdir()) == []
