"""What two generations do not have in common, as people read it."""

from __future__ import annotations

from s32s.core import tree
from s32s.core.item import Item, Kind
from s32s.frontends.render.differences import change_of, difference_line, reason_of
from s32s.stores.objects.packed.upkeep import differences

ONE, OTHER = "1" * 64, "2" * 64


def file(path: str, *, size: int = 1, sha256: str = ONE, mode: int = 0o644, mtime_ns: int = 0) -> Item:
    """A file of a generation."""
    return Item(path, Kind.FILE, size, sha256=sha256, mode=mode, mtime_ns=mtime_ns)


BEFORE = [
    file("becomes-dir"),
    Item("becomes-file", Kind.DIR, mode=0o755),
    file("becomes-file/a"),
    file("becomes-link"),
    file("content"),
    file("gone"),
    file("mode"),
    file("time"),
    Item("turned", Kind.LINK, target="a"),
]
AFTER = [
    Item("becomes-dir", Kind.DIR, mode=0o755),
    file("becomes-dir/a"),
    file("becomes-file"),
    Item("becomes-link", Kind.LINK, target="content"),
    file("content", sha256=OTHER),
    Item("fresh", Kind.DIR, mode=0o755),
    file("mode", mode=0o600),
    file("time", mtime_ns=1),
    Item("turned", Kind.LINK, target="b"),
]


def test_a_change_of_kind_is_told() -> None:
    """A directory that has become a file is more than modified, and each reason is that of a plan."""
    found = list(differences(tree.make(BEFORE), tree.make(AFTER)))

    assert [difference_line(one) for one in found] == [
        "~ modified  becomes-dir/  (a directory instead of a file)",
        "+ new       becomes-dir/a",
        "~ modified  becomes-file  (a file instead of a directory)",
        "- deleted   becomes-file/a",
        "~ modified  becomes-link  (a link instead of a file)",
        "~ modified  content  (content)",
        "+ new       fresh/",
        "- deleted   gone",
        "~ modified  mode  (permissions)",
        "~ modified  time  (modification time)",
        "~ modified  turned  (the link points elsewhere)",
    ]
    told = [reason.value for one in found if (reason := reason_of(one)) is not None]
    assert told == ["kind", "kind", "kind", "content", "mode", "time", "target"]
    assert [change_of(one) for one in found].count("modified") == len(told)
