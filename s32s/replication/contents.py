"""What files hold on either side, for who decides about a merge."""

from __future__ import annotations

from s32s.core.errors import SourceChanged, Unreadable
from s32s.core.item import Item, Kind
from s32s.core.merge import Merge
from s32s.replication.merge_job import Contents
from s32s.stores.local.bodies import FileBody
from s32s.stores.local.source import LocalSource
from s32s.stores.shared import SharedPlace

#: The largest file that one may look into, in bytes.
_MOST = 1024 * 1024


def contents_of(made: Merge, here: LocalSource, shared: SharedPlace) -> Contents:
    """See `Contents`; it may be asked for as long as both sides are open."""

    def mine(path: str) -> bytes | None:
        if (item := _small(made.mine.get(path))) is None:
            return None
        try:
            return b"".join(FileBody(here, item).chunks())
        except (SourceChanged, Unreadable):
            return None

    def theirs(path: str) -> bytes | None:
        if (item := _small(made.theirs.get(path))) is None:
            return None
        (body,) = shared.read([item], jobs=1).bodies
        return b"".join(body.chunks())

    return Contents(mine, theirs)


def _small(item: Item | None) -> Item | None:
    return item if item is not None and item.kind is Kind.FILE and item.size <= _MOST else None
