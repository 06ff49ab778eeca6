"""Names for both sides of a conflict, and names that other systems cannot hold."""

from __future__ import annotations

import pytest

from s32s.core import paths, tree
from s32s.core.conflict_names import copy_name
from s32s.core.item import Item
from s32s.core.portable import problem, problems


def name(path: str, *taken: str, host: str = "STUDIO") -> str:
    """The name of a copy, where some are taken."""
    return copy_name(path, host=host, when="2026-11-23 10.15", is_taken=lambda one: one in taken)


class TestCopies:
    def test_the_ending_stays_so_that_it_opens(self) -> None:
        """And the name says what it is, from where, and from when."""
        assert name("d/house.dwg") == "d/house (conflict, STUDIO, 2026-11-23 10.15).dwg"
        assert name("Makefile") == "Makefile (conflict, STUDIO, 2026-11-23 10.15)"
        assert name(".profile") == ".profile (conflict, STUDIO, 2026-11-23 10.15)"

    def test_a_second_one_is_counted(self) -> None:
        """No copy replaces another one."""
        first = name("a.txt")
        assert name("a.txt", first) == "a (conflict, STUDIO, 2026-11-23 10.15) 2.txt"

    def test_a_long_name_is_cut_between_characters(self) -> None:
        """To what a file system holds, with its ending."""
        made = name("ü" * 125 + ".txt")

        assert len(made.encode()) <= paths.MAX_SEGMENT
        assert made.endswith(").txt")
        assert made.startswith("üü")

    def test_a_strange_host_cannot_make_a_path(self) -> None:
        """Only letters, digits, hyphens and underscores of it."""
        assert name("a", host="../x y") == "a (conflict, xy, 2026-11-23 10.15)"
        assert name("a", host="///") == "a (conflict, here, 2026-11-23 10.15)"


class TestPortable:
    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("a/what?.txt", "Windows allows no ? in a name"),
            ("a\\b", "Windows allows no \\ in a name"),
            ("con", "con is a device on Windows"),
            ("d/con.air.nfo", "con.air.nfo is a device on Windows"),
            ("LPT1.txt/x", "LPT1.txt is a device on Windows"),
            ("a.", 'Windows drops the dot at the end of "a."'),
            ("d /x", 'Windows drops the space at the end of "d "'),
        ],
    )
    def test_what_windows_cannot_hold(self, path: str, why: str) -> None:
        """By Microsoft's rules."""
        assert problem(path) == why

    @pytest.mark.parametrize("path", ["a.txt", "console", ".hidden", "a b/c.d", "LPT", "ünï"])
    def test_what_it_can(self, path: str) -> None:
        """No warning for a good name."""
        assert problem(path) is None

    def test_case_twins_are_told_for_what_is_new(self) -> None:
        """What has been there for long is not told again."""
        found = tree.make(Item(path) for path in ("Plan.txt", "plan.txt", "old.txt", "OLD.txt"))

        assert problems(found, {"plan.txt"}) == {"plan.txt": 'on Windows and macOS it is the same name as "Plan.txt"'}
