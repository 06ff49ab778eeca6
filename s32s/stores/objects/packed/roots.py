"""The generations that packs hold, whether a head names them or not: what is left to go by where a head is gone.

A prefix without a head is new, or a first push to it has died, or its head is lost. Packs without a root are of a push
that died early. A root of the first generation is that of a push that died just before its head, which then counts as
what is there. A root of a later one shows that there was a head.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator

from s32s.backends.base import Backend, ListedObject, PartRequest
from s32s.backends.parts import read_parts
from s32s.core.errors import IntegrityError, NotFound
from s32s.format import generation, packs
from s32s.format.generation import Root
from s32s.format.head import RootRef
from s32s.format.packs import Blob, BlobKind, Decoder
from s32s.stores.base import Position
from s32s.stores.objects.head_checks import lost_head
from s32s.stores.objects.packed.blobs import index_of
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.prefix import FoundHead
from s32s.system.concurrency import Future

#: How many packs are looked at, at the same time.
_AT_ONCE = 16


def stored_packs(backend: Backend) -> list[ListedObject]:
    """All packs that are there, those that were stored last first."""
    found = [one for page in backend.list(packs.PACKS) for one in page if packs.pack_of(one.key)]
    return sorted(found, key=lambda one: (-(one.stored_ns or 0), one.key))


def roots_in(
    prefix: PackedPrefix, stored: Iterable[ListedObject], *, tell: Callable[[int], None] = lambda done: None
) -> Iterator[tuple[Root, RootRef]]:
    """The roots in some packs, as far as these can be read; a consumer that leaves early spares the rest.

    Args:
        tell: told how many packs were looked at.
    """
    waiting = list(stored)
    for first in range(0, len(waiting), _AT_ONCE):
        looks = [Future(functools.partial(_roots_of, prefix, one)) for one in waiting[first : first + _AT_ONCE]]
        for done, look in enumerate(looks, start=first + 1):
            yield from look.result()
            tell(done)


def without_head(prefix: PackedPrefix, roots: Iterable[tuple[Root, RootRef]]) -> PackedSnapshot:
    """What a prefix holds that has no head; see the top of this module.

    Args:
        roots: those in its packs.

    Raises:
        Refused: its head is lost.
    """
    firsts: list[RootRef] = []
    for root, ref in roots:
        if root.number > 1:
            raise lost_head(prefix.backend.location)
        firsts.append(ref)
    for ref in firsts:
        with contextlib.suppress(IntegrityError, NotFound):
            root, made, places = prefix.generation(ref)
            return PackedSnapshot(made, Position(root.number, ref.sha256), False, root=root, places=places)
    return prefix.snapshot(FoundHead())


def _roots_of(prefix: PackedPrefix, one: ListedObject) -> list[tuple[Root, RootRef]]:
    """The roots in one pack, as far as it can be read."""
    pack, found = one.key.removeprefix(f"{packs.PACKS}/"), list[tuple[Root, RootRef]]()
    with contextlib.suppress(IntegrityError, NotFound):
        for blob in index_of(prefix.backend, pack, one.size):
            if blob.kind is BlobKind.ROOT:
                found.append(_read(prefix, pack, one.size, blob))
    return found


def _read(prefix: PackedPrefix, pack: str, size: int, blob: Blob) -> tuple[Root, RootRef]:
    """A root that is in a pack, and where it is.

    Raises:
        IntegrityError: it is damaged.
        NotFound: the pack is gone.
    """
    request = PartRequest(packs.key_of(pack), blob.offset, blob.stored)
    ((_, stored),) = read_parts(prefix.backend, [request], concurrency=1)
    data = Decoder().decode(stored, size=blob.size, sha256=blob.sha256, pack=pack)
    ref = RootRef(
        pack=pack, pack_size=size, offset=blob.offset, stored=blob.stored, size=blob.size, sha256=blob.sha256.hex()
    )
    return generation.read_root(bytes(data), ref), ref
