"""A row for each line of the planner's table."""

from __future__ import annotations

import pytest

from s32s.core.compare import Reason, difference
from s32s.core.tree import Item, Kind

FILE = Item("f", size=3, mtime_ns=1, mode=0o644, sha256="0" * 64)
MD5 = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        pytest.param(FILE, Item("f", Kind.LINK, target="x"), Reason.KIND, id="kinds differ"),
        pytest.param(Item("f", Kind.LINK, target="x"), Item("f", Kind.LINK, target="y"), Reason.TARGET, id="links"),
        pytest.param(Item("f", Kind.LINK, target="x"), Item("f", Kind.LINK, target="x"), None, id="equal links"),
        pytest.param(FILE, Item("f", size=4, sha256="0" * 64), Reason.SIZE, id="sizes differ"),
        pytest.param(FILE, Item("f", size=3, sha256="1" * 64), Reason.CONTENT, id="hashes differ"),
        pytest.param(Item("f", size=3, etag="e-2"), Item("f", size=3, etag="e-2"), None, id="ETags are equal"),
        pytest.param(Item("f", size=3, md5=MD5), Item("f", size=3, etag=MD5), None, id="MD5 is the ETag"),
        pytest.param(
            Item("f", size=3, etag=MD5), Item("f", size=3, md5="f" * 32), Reason.CONTENT, id="MD5 is not the ETag"
        ),
        pytest.param(Item("f", size=3, md5=MD5), Item("f", size=3, etag="e-2"), Reason.UNKNOWN, id="multipart ETag"),
        pytest.param(Item("f", size=3), Item("f", size=3), Reason.UNKNOWN, id="nothing to compare by"),
        pytest.param(FILE, Item("f", size=3, mode=0o600, sha256="0" * 64), Reason.MODE, id="modes differ"),
        pytest.param(FILE, Item("f", size=3, mtime_ns=2, sha256="0" * 64), Reason.TIME, id="times differ"),
        pytest.param(FILE, Item("f", size=3, sha256="0" * 64), None, id="an unknown mode or time is not a difference"),
        pytest.param(Item("d", Kind.DIR, mode=0o700), Item("d", Kind.DIR, mode=0o755), Reason.MODE, id="directories"),
    ],
)
def test_two_items_are_compared_by_the_table(source: Item, target: Item, expected: Reason | None) -> None:
    """First match decides."""
    assert difference(source, target) is expected
