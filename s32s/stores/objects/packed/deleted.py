"""What somebody deletes from a shared prefix in packs, on its way to the deleted folder.

Generations are given up by their number, however young they are, and twenty people make ten of them in a minute. So
what is deleted gets packs of its own, which no generation names: they stay until the deleted folder is emptied.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence

from s32s.backends.base import Backend, ServerSideCopy, unwrapped
from s32s.backends.below import Below
from s32s.core import tree
from s32s.core.errors import NotFound, S32sError, SourceChanged
from s32s.core.item import Item
from s32s.core.tree import Tree
from s32s.format import packs, segments
from s32s.format.packs import BlobKind
from s32s.format.segments import Place, Places
from s32s.stores.objects.deleted import DeletedFolder
from s32s.stores.objects.packed.blobs import Wanted
from s32s.stores.objects.packed.packer import Packer
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.repack import blobs, carried, relocated
from s32s.stores.objects.packed.source import missing
from s32s.system.concurrency import for_each

#: A pack is copied as a whole, on the server, where so much of it is wanted.
_MOSTLY = 0.5


class Deletions:
    """What one run deletes; it may need several attempts until it is the quickest.

    Args:
        folder: takes it.
    """

    def __init__(self, folder: DeletedFolder, prefix: PackedPrefix) -> None:
        self._folder = folder
        self._prefix = prefix
        self._kept: dict[str, tuple[Item, ...]] = {}
        self._now: tuple[Item, ...] = ()

    def keep(self, mine: PackedSnapshot, items: Sequence[Item], *, jobs: int) -> None:
        """Copy what is about to be deleted into packs of the deleted folder, and note who deletes it.

        Args:
            items: files and links of `mine`, in the order of their paths.
            jobs: how many requests may be under way.

        Raises:
            SourceChanged: a pack is gone meanwhile.
            StaleManifest: one is gone that is still needed.
        """
        self._now = tuple(items)
        if not items or self._now in self._kept.values():
            return
        gone, places = tree.make(items), Places()
        for item in gone:
            row = mine.tree.find(item.path)
            places.add(mine.places.get(row) if row is not None else None)
        place, facts = self._folder.begin()
        wanted = list({one.place: one for one in blobs(gone, places)}.values())
        try:
            moved = _copied(self._prefix.backend, place, mine, wanted, jobs)
        except (NotFound, SourceChanged) as exc:
            raise missing(self._prefix, exc, mine.found, [item.path for item in items]) from exc
        places, _ = relocated(gone, places, moved)
        text = segments.to_text((item, places.get(row)) for row, item in enumerate(gone)).decode()
        first, _, lines = text.partition("\n")
        self._folder.end(place, {**facts, **json.loads(first)}, lines)
        self._kept[place.rpartition("/")[2]] = self._now

    def published(self, now: Tree) -> None:
        """Forget what earlier attempts have kept and was not deleted in the end, or was kept once more.

        Args:
            now: what the prefix holds.
        """
        of_now = {(item.path, item.sha256) for item in self._now}

        def is_needless(item: Item) -> bool:
            there = now.get(item.path)
            is_there = there is not None and (there.kind, there.sha256) == (item.kind, item.sha256)
            return is_there or (item.path, item.sha256) in of_now

        gone = [name for name, items in self._kept.items() if items != self._now and all(map(is_needless, items))]
        with contextlib.suppress(S32sError):  # tidying only
            self._folder.remove(gone)
        self._kept.clear()


def _copied(
    backend: Backend, place: str, mine: PackedSnapshot, wanted: Sequence[Wanted], jobs: int
) -> dict[Place, Place]:
    """Copy blobs to a place below, and say where those are that are elsewhere by that."""
    below = Below(backend, place)
    sizes = {one.pack: one.size for one in mine.root.packs} if mine.root else {}
    used = Counter[str]()
    for one in wanted:
        used[one.place.pack] += one.place.stored
    whole: list[str] = []
    if isinstance(backend, ServerSideCopy) and backend.copies_from(unwrapped(backend)):
        whole = [pack for pack, size in used.items() if size >= _MOSTLY * sizes.get(pack, 0)]

    def copy(pack: str) -> None:
        key = packs.key_of(pack)
        etag = backend.head(key).etag
        below.copy(unwrapped(backend), key, key, size=sizes[pack], etag=etag, progress=lambda size: None)

    for_each([pack for pack in whole if pack in sizes], copy, jobs=jobs)
    packer = Packer(below, BlobKind.DATA)
    copied = carried(backend, [one for one in wanted if one.place.pack not in whole], packer, jobs=jobs)
    packer.finish()
    return {place: ticket.place for place, ticket in copied.items()}
