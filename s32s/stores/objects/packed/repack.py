"""Packs that are mostly dead, or too small, are written again, some of them at each push.

Nothing that is there changes: what the next generation needs of such a pack is copied into a new one, and the old one
goes when no kept generation needs it any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from s32s.backends.base import Backend
from s32s.core.errors import IntegrityError, StoreError
from s32s.core.tree import Tree
from s32s.format.generation import Root
from s32s.format.packs import BlobKind, Decoder, Encoded, Encoding
from s32s.format.segments import ChunkPlace, Place, Places, Where
from s32s.stores.objects.packed.blobs import Wanted, part, read_spans
from s32s.stores.objects.packed.packer import Packer, Ticket

#: A pack of which less is needed is written again. What that costs was dead before, so it is paid once.
LEAST_LIVE = 0.5
#: Packs below this size, in bytes, are joined when there are more than so many: each costs a line of every root.
SMALL_PACK, MANY_SMALL = 1024 * 1024, 16
#: How much one push copies at the most: this many bytes, or this share of what the generation holds.
BUDGET, SHARE = 64 * 1024 * 1024, 0.125
_JOBS = 8


def thin(sizes: Mapping[str, int], live: Mapping[str, int]) -> list[str]:
    """The packs that are to be written again, the worst first, as far as one push may.

    Args:
        sizes: bytes of packs that were there before.
        live: how many bytes of each pack the next generation needs.
    """
    there = {pack: used for pack, used in live.items() if used and pack in sizes}
    chosen = {pack for pack, used in there.items() if used < sizes[pack] * LEAST_LIVE}
    small = [pack for pack in there if sizes[pack] < SMALL_PACK]
    if len(small) > MANY_SMALL:
        chosen.update(small)
    budget = max(BUDGET, SHARE * sum(live.values()))
    taken: list[str] = []
    for pack in sorted(chosen, key=lambda pack: (there[pack] / sizes[pack], pack)):
        budget -= there[pack]
        if budget < 0:
            break
        taken.append(pack)
    return taken


def repacked(
    backend: Backend, published: Tree, places: Places, used: Mapping[str, int], root: Root | None, packer: Packer
) -> tuple[Places, list[str]]:
    """Where the files of the next generation are, after what is needed of thin packs was copied into new ones.

    Besides, the paths that are elsewhere by that.

    A pack that cannot be read stays where it is: `verify` tells of it.

    Args:
        used: see `Places.used`.
        root: of the generation before; None for none.
        packer: takes what is copied.
    """
    if root is None:
        return places, []
    taken = set(thin({pack.pack: pack.size for pack in root.packs}, used))
    if not taken:
        return places, []
    wanted = list({one.place: one for one in blobs(published, places) if one.place.pack in taken}.values())
    try:
        copied = carried(backend, wanted, packer, jobs=_JOBS)
    except (IntegrityError, StoreError):
        return places, []
    packer.finish()
    return relocated(published, places, {place: ticket.place for place, ticket in copied.items()})


def carried(backend: Backend, wanted: Sequence[Wanted], packer: Packer, *, jobs: int) -> dict[Place, Ticket]:
    """Copy blobs into other packs as they are stored.

    Raises:
        IntegrityError: a pack is damaged.
        NotFound: a pack is gone.
    """
    copied: dict[Place, Ticket] = {}
    decoder = Decoder()
    for span, data in read_spans(backend, [one.place for one in wanted], jobs=jobs):
        for number in span.members:
            place, size, sha256 = wanted[number]
            stored = part(span, data, place)
            decoder.decode(stored, size=size, sha256=sha256, pack=place.pack)  # nothing damaged is carried on
            encoding = Encoding.RAW if len(stored) == size else Encoding.ZSTD
            copied[place] = packer.add(Encoded(sha256, encoding, bytes(stored), size), BlobKind.DATA)
    return copied


def relocated(tree: Tree, places: Places, to: Mapping[Place, Place]) -> tuple[Places, list[str]]:
    """Where files are once some blobs are elsewhere, and the paths that this moves, in order."""
    moved, elsewhere = Places(), list[str]()
    for row in range(len(places)):
        where = places.get(row)
        there = _moved(where, to)
        if there != where:
            elsewhere.append(tree.path(row))
        moved.add(there)
    return moved, elsewhere


def blobs(tree: Tree, places: Places) -> Iterator[Wanted]:
    """The blobs that files are made of, in the order of their paths."""
    for row in range(len(places)):
        where = places.get(row)
        if isinstance(where, Place):
            item = tree[row]
            yield Wanted(where, item.size, bytes.fromhex(item.sha256 or ""))
        else:
            yield from (Wanted(*chunk) for chunk in where or ())


def _moved(where: Where | None, to: Mapping[Place, Place]) -> Where | None:
    if where is None:
        return None
    if isinstance(where, Place):
        return to.get(where, where)
    return tuple(ChunkPlace(to.get(chunk.place, chunk.place), chunk.size, chunk.sha256) for chunk in where)
