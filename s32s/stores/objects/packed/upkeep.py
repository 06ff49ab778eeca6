"""What is done to a packed prefix besides pushes: going back, pruning, verifying, and finding the head again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from s32s.backends.base import ListedObject
from s32s.core import paths, text
from s32s.core.errors import AccessDenied, BadPath, CredentialsError, IntegrityError, NotFound, Refused, StoreError
from s32s.core.item import Item, only_directories
from s32s.core.tree import Tree, join
from s32s.format import manifest, packs
from s32s.format.head import PACKED, Head
from s32s.format.segments import Place, Places, Where
from s32s.stores.base import Position, Progress
from s32s.stores.objects.head_checks import check_not_lost
from s32s.stores.objects.heads import HeadWriter
from s32s.stores.objects.packed.blobs import TAIL
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import Counts, History, Publication, root_of
from s32s.stores.objects.packed.roots import roots_in, stored_packs
from s32s.stores.objects.prefix import FoundHead
from s32s.stores.objects.publisher import Writer

#: Packs that nobody names are left alone for so long, in seconds: a push may be about to name them.
GRACE_S = 24 * 3600.0


class Difference(NamedTuple):
    """What one path is in two generations; None where it is not there."""

    path: str
    before: Item | None
    after: Item | None


def differences(before: Tree, after: Tree) -> Iterator[Difference]:
    """The paths that two generations do not have in common, in order; directories only where nothing else tells."""
    for here, there, count in join(before.paths, after.paths):
        for nth in range(count):
            old = before[here + nth] if here is not None else None
            new = after[there + nth] if there is not None else None
            if old is None or new is None or _facts(old) != _facts(new):
                yield Difference((new or old).path, old, new)  # type: ignore[union-attr] # one of them is there


def _facts(item: Item) -> tuple[object, ...]:
    return item.kind, item.sha256, item.size, item.mtime_ns, item.mode, item.target


def roll_back(prefix: PackedPrefix, mine: PackedSnapshot, number: int, writer: Writer, history: History) -> Position:
    """Publish what an earlier generation held as the next one; nothing is uploaded but the manifest.

    Raises:
        Refused: that generation is not kept, or is the current one.
        Conflict: somebody else has published meanwhile.
    """
    ref = root_of(mine, number)
    if mine.root is not None and number == mine.root.number:
        raise Refused(f"generation {number:,} is the current one", hint="s32s log NAME shows the earlier ones")
    root, tree, places = prefix.generation(ref)
    changes = [one for one in differences(mine.tree, tree) if not only_directories(one.before, one.after)]
    new = sum(one.before is None for one in changes)
    deleted = sum(one.after is None for one in changes)
    publication = Publication(prefix, mine, writer, history)
    position = publication.publish(
        tree,
        places,
        used=places.used(),
        written={},
        counts=Counts(new, len(changes) - new - deleted, deleted),
        like=[root],
        of=number,
    )
    publication.sweep()
    return position


class Pruned(NamedTuple):
    """What a prune has done.

    Attributes:
        generations: numbers of those that were given up.
        packs, size: how many packs were deleted, and their bytes.
        young: packs that nobody names, left alone as a push may be about to.
        failed: why packs that nobody needs are still there, by their keys.
        beside: objects that are neither packs nor a head, such as those of a conversion that was cut off.
        keeps_versions: whether the bucket keeps what was deleted, as earlier versions.
    """

    generations: tuple[int, ...]
    packs: int
    size: int
    young: int
    failed: Mapping[str, str]
    keeps_versions: bool
    beside: tuple[str, ...] = ()


def prune(prefix: PackedPrefix, mine: PackedSnapshot, writer: Writer, keep: int, *, grace_s: float = GRACE_S) -> Pruned:
    """Give up generations beyond `keep`, and delete all packs that none of the others needs.

    How old a pack is, is told by the store's own clock: against the youngest object that it lists. Before anything is
    deleted, the head is written once more: a push that is under way, and that might count on a pack, begins again.
    Where nothing can be deleted, nothing is written.

    Raises:
        Conflict: somebody else has published meanwhile; what was deleted until then was of no use.
    """
    root = mine.root
    if root is None:
        raise Refused("nothing was pushed there yet", hint="run s32s sync on the master")
    publication = Publication(prefix, mine, writer, History(keep))
    stored = [one for page in prefix.backend.list("") for one in page]
    listed = [one for one in stored if one.key.startswith(packs.PACKS)]
    given_up = tuple(one.number for one in root.kept[max(keep - 1, 0) :])
    known = {pack.pack for pack in root.packs} | set(root.garbage)
    gone, young = _unneeded(listed, {pack.pack for pack in root.packs}, known, grace_s)
    if not (given_up or gone):
        return Pruned((), 0, 0, young, {}, publication.keeps_versions, _beside(stored))
    publication.publish_again(keep)
    now = publication.root
    if now is None:
        raise AssertionError("published without a root")
    gone, young = _unneeded(listed, {pack.pack for pack in now.packs}, known | set(now.garbage), grace_s)
    failed = publication.delete([one.key for one in gone])
    sizes = [one.size for one in gone if one.key not in failed]
    return Pruned(given_up, len(sizes), sum(sizes), young, failed, publication.keeps_versions, _beside(stored))


def _unneeded(
    listed: Sequence[ListedObject], needed: Collection[str], known: Collection[str], grace_s: float
) -> tuple[list[ListedObject], int]:
    """Packs that may go, and how many others nobody names that are too young for that.

    Args:
        known: packs that generations have named, so that no push is about to.
    """
    youngest_ns = max((one.stored_ns or 0 for one in listed), default=0)
    gone: list[ListedObject] = []
    young = 0
    for one in listed:
        pack = packs.pack_of(one.key)
        if pack is None or pack in needed:
            continue
        is_old = one.stored_ns is not None and youngest_ns - one.stored_ns >= grace_s * 1e9
        if pack in known or is_old:
            gone.append(one)
        else:
            young += 1
    return gone, young


def _beside(listed: Iterable[ListedObject]) -> tuple[str, ...]:
    """What of a packed prefix belongs to no generation: objects of the plain layout, or of others."""
    keys = (one.key for one in listed)
    return tuple(key for key in keys if not paths.is_reserved(key) or manifest.sha256_of(key))


@dataclass(slots=True)
class Verified:
    """What a look at every byte has shown.

    Attributes:
        packs, size: how many packs were read, and their bytes.
        damaged: what is wrong with a pack, by its name.
        paths: those that a damaged pack hits, by generation; a manifest that cannot be read hits all of them.
        unreadable: generations whose manifest cannot be read.
        generations: all that are kept, the newest first.
        beside: see `Pruned`.
    """

    packs: int = 0
    size: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    paths: dict[int, list[str]] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    generations: tuple[int, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damaged and not self.unreadable

    @property
    def holed(self) -> list[int]:
        """The generations that are not whole, the newest first."""
        return [number for number in self.generations if number in self.paths or number in self.unreadable]


def verify(prefix: PackedPrefix, mine: PackedSnapshot, *, progress: Progress) -> Verified:
    """Read every pack that a kept generation needs, and say what is damaged and which paths that hits."""
    found = Verified()
    root, head = mine.root, mine.found.head
    if root is None or head is None or head.root is None:
        check_not_lost(prefix.backend, mine.found)
        return found
    kept = root.generations(head.root)
    found.generations = tuple(one.number for one in kept)
    for pack in root.packs:
        if why := _problem(prefix, pack.pack, pack.size, progress):
            found.damaged[pack.pack] = why
        found.packs += 1
        found.size += pack.size
    found.beside = _beside(one for page in prefix.backend.list("") for one in page)
    if found.damaged:
        for number, ref in zip(found.generations, (one.root for one in kept), strict=True):
            try:
                made = root if number == root.number else prefix.root(ref)
                if hidden := found.damaged.keys() & {ref.pack, *(one.pack for one in made.segments)}:
                    found.unreadable[number] = f"pack {min(hidden)[:12]} has a part of its manifest"
                _, tree, places = (root, mine.tree, mine.places) if number == root.number else prefix.generation(ref)
            except (IntegrityError, NotFound, BadPath) as exc:
                found.unreadable.setdefault(number, exc.what)
                continue
            if hit := list(hit_by(found.damaged, tree, places)):
                found.paths[number] = hit
    return found


def hit_by(damaged: Collection[str], tree: Tree, places: Places) -> Iterator[str]:
    """The paths whose bytes are in one of some packs."""
    if not any(pack in damaged for pack in places.packs):
        return
    for row, path in enumerate(tree.paths):
        if any(place.pack in damaged for place in _places(places.get(row))):
            yield path


def _places(where: Where | None) -> Sequence[Place]:
    if where is None:
        return ()
    return (where,) if isinstance(where, Place) else [chunk.place for chunk in where]


def _problem(prefix: PackedPrefix, pack: str, size: int, progress: Progress) -> str:
    """What is wrong with a pack; empty for nothing."""
    try:
        got = prefix.backend.get(packs.key_of(pack), expected=size)
        if got.size != size:
            return f"it has {got.size:,} bytes, and should have {size:,}"
        digest, pieces = hashlib.sha256(), []
        for chunk in got.chunks:
            digest.update(chunk)
            pieces.append(bytes(chunk))
            progress(len(chunk))
        if digest.hexdigest() != pack:
            return "it has other bytes than its name promises"
        packs.read_index(b"".join(pieces)[-TAIL:], pack, size=size)
    except NotFound:
        return "it is gone"
    except (AccessDenied, CredentialsError):
        raise
    except (IntegrityError, StoreError) as exc:  # of an empty object S3 has no range
        return exc.what
    return ""


class Rebuilt(NamedTuple):
    """A head that was made again.

    Attributes:
        number: the generation that it names.
        time, host: of that.
        packs: how many were looked at.
        skipped: newer generations that are not whole, and why.
    """

    number: int
    time: str
    host: str
    packs: int
    skipped: dict[int, str]


def rebuild(
    prefix: PackedPrefix, found: FoundHead, writer: Writer, *, tell: Callable[[int, int], None] = lambda done, of: None
) -> Rebuilt:
    """Write a head that names the newest generation that is whole, by what the packs alone say.

    Args:
        found: the head as it is.
        tell: told how many packs of how many were looked at.

    Raises:
        Refused: there is no whole generation.
        Conflict: somebody else has written a head meanwhile.
    """
    stored = stored_packs(prefix.backend)
    sizes = {one.key: one.size for one in stored}
    roots = list(roots_in(prefix, stored, tell=lambda done: tell(done, len(stored))))
    skipped: dict[int, str] = {}
    # Of a generation that was written again, the later root knows fewer that are kept.
    for root, ref in sorted(roots, key=lambda one: (-one[0].number, len(one[0].kept))):
        needed = (one for one in root.packs if one.until == root.number)
        missing = [one.pack for one in needed if sizes.get(packs.key_of(one.pack)) != one.size]
        try:
            if missing:
                raise packs.damaged(missing[0], "it is gone or cut off")
            prefix.generation(ref)
        except (IntegrityError, NotFound, BadPath) as exc:
            skipped.setdefault(root.number, exc.what)
            continue
        facts = root.published
        head = Head(
            format=PACKED,
            generation=root.number,
            writer=writer.id,
            nonce="",
            host=facts.host,
            time=facts.time,
            files=facts.files,
            size=facts.size,
            root=ref,
        )
        HeadWriter(prefix.backend, writer.id, found).write(head, what="write the head")
        skipped.pop(root.number, None)
        return Rebuilt(root.number, facts.time, facts.host, len(stored), skipped)
    raise Refused(
        f"of {text.count(len(stored), 'pack')} at {prefix.backend.location}, none has a generation that is whole"
        + "".join(f"\n  {number}: {why}" for number, why in sorted(skipped.items())),
        hint=f"s32s sync{' --take-over' if roots else ''} on the master begins a new history",
    )
