"""What is damaged in the packs of the current generation, brought again from the files that a master still has.

What the generation holds does not change, so nothing is taken for new and no server moves a file. It takes the place of
the damaged one in the history. Earlier generations never change: they keep their holes.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from s32s.backends.base import Chunk
from s32s.core.errors import BadPath, EntryFailed, IntegrityError, NotFound, Refused
from s32s.core.text import count
from s32s.format.generation import Kept
from s32s.format.packs import BlobKind, Encoder
from s32s.format.segments import Places
from s32s.stores.base import Body, Position, Progress
from s32s.stores.objects.packed.chunker import chunks_of
from s32s.stores.objects.packed.packer import Packer, Ticket
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import History, Publication
from s32s.stores.objects.packed.repack import blobs, relocated
from s32s.stores.objects.packed.upkeep import hit_by
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.transaction import steadily

#: The bytes of files of the master, by their paths, as far as they are there.
ReadFiles = Callable[[Sequence[str]], Iterator[Body]]


class Healed(NamedTuple):
    """What was done for the current generation.

    Attributes:
        position: of the generation that was published; None where nothing could be done.
        paths: those that are whole again.
        left: those that are still damaged, and why.
    """

    position: Position | None
    paths: tuple[str, ...]
    left: Mapping[str, str]


def heal(
    prefix: PackedPrefix,
    mine: PackedSnapshot,
    damaged: Collection[str],
    read: ReadFiles,
    writer: Writer,
    history: History,
    *,
    progress: Progress = lambda size: None,
) -> Healed:
    """Push again what damaged packs hold of the current generation, by its SHA-256, and publish where it is now.

    Args:
        damaged: packs.
        history: its message is ours.

    Raises:
        Refused: nothing was pushed yet.
        Conflict: somebody else has published meanwhile.
    """
    root, head = mine.root, mine.found.head
    if root is None or head is None or head.root is None:
        raise Refused("nothing was pushed there yet", hint="run s32s sync on the master")
    hit = list(hit_by(damaged, mine.tree, mine.places))
    lost = {one.place: one.sha256 for one in blobs(mine.tree, mine.places) if one.place.pack in damaged}
    packer = Packer(prefix.backend, BlobKind.DATA)
    came, failed = _brought(hit, set(lost.values()), read, packer, progress)
    to = {place: came[sha256].place for place, sha256 in lost.items() if sha256 in came}
    places, moved = relocated(mine.tree, mine.places, to)
    still = set(hit_by(damaged, mine.tree, places))
    left = {path: failed.get(path, "the directory has other content there") for path in hit if path in still}
    manifest = {head.root.pack, *(one.pack for one in root.segments)}
    healed = tuple(path for path in hit if path not in still)
    if not healed and manifest.isdisjoint(damaged):
        return Healed(None, (), left)
    again = f"{count(len(healed), 'path')} pushed again" if healed else "its manifest is written again"
    message = f"generation {root.number} was damaged: {again}"
    publication = Publication(
        prefix,
        mine,
        writer,
        history._replace(message=message),
        damaged=_until(prefix, damaged, root.kept),
        kept=root.kept,
    )
    position = publication.publish(mine.tree, places, used=places.used(), written=packer.written, changed=moved)
    publication.sweep()
    return Healed(position, healed, left)


def _brought(
    hit: Sequence[str], lost: Collection[bytes], read: ReadFiles, packer: Packer, progress: Progress
) -> tuple[Mapping[bytes, Ticket], Mapping[str, str]]:
    """Blobs that are lost and that files still hold, and why files could not be read."""
    came: dict[bytes, Ticket] = {}
    failed = dict.fromkeys(hit, "the directory has no such file")
    encoder = Encoder()

    def take(body: Body) -> None:
        def pieces() -> Iterator[Chunk]:
            for piece in body.chunks():
                progress(len(piece))
                yield piece

        for chunk in chunks_of(pieces()):
            sha256 = hashlib.sha256(chunk).digest()
            if sha256 in lost and sha256 not in came:
                came[sha256] = packer.add(encoder.encode(bytes(chunk), sha256))

    for body in read(hit):
        del failed[body.item.path]
        try:
            steadily(body, functools.partial(take, body))
        except EntryFailed as exc:
            failed[body.item.path] = exc.what
    packer.finish()
    return came, failed


def _until(prefix: PackedPrefix, damaged: Collection[str], kept: Sequence[Kept]) -> Mapping[str, int]:
    """The last of some generations that needs each damaged pack; 0 for none."""
    until = dict.fromkeys(damaged, 0)
    for one in reversed(kept):
        try:
            root, _, places = prefix.generation(one.root)
            used = {one.root.pack, *(segment.pack for segment in root.segments), *_live(places)}
        except (IntegrityError, NotFound, BadPath):
            used = set(damaged)
        until |= dict.fromkeys(used & until.keys(), one.number)
    return until


def _live(places: Places) -> Iterator[str]:
    return (pack for pack, live in places.used().items() if live)
