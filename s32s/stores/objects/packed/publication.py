"""A generation on its way: the changed segments, the root behind them, and the head that makes both visible."""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from s32s.backends.base import Backend
from s32s.core import cures, paths
from s32s.core.errors import Interrupted, Refused, S32sError
from s32s.core.text import count
from s32s.core.tree import Tree
from s32s.format import generation, packs, pages, segments
from s32s.format.generation import Kept, Pack, Root, Segment
from s32s.format.generation import Published as Facts
from s32s.format.head import PACKED, Head, RootRef
from s32s.format.packs import BlobKind, Encoder
from s32s.format.segments import Place, Places
from s32s.stores.base import Position
from s32s.stores.objects.heads import HeadWriter
from s32s.stores.objects.packed.packer import Packer, Ticket
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.repack import thin
from s32s.stores.objects.publisher import Writer


class History(NamedTuple):
    """What a push says of itself, and how much of the past it keeps.

    Attributes:
        keep: how many generations stay whole, the new one included.
        message: for people.
        user: who pushed it.
    """

    keep: int = 10
    message: str = ""
    user: str = ""


class Counts(NamedTuple):
    """What a generation changes, in files and links."""

    new: int = 0
    modified: int = 0
    deleted: int = 0


class Publication:
    """One generation that is being written.

    Args:
        mine: what the prefix holds now.
        is_strict: see `HeadWriter`.
        damaged: packs that no segment is taken from, and the last generation of `kept` that needs each; 0 for none.
        kept: the earlier generations that stay, the newest first; by default the current one and what that keeps.
    """

    def __init__(
        self,
        prefix: PackedPrefix,
        mine: PackedSnapshot,
        writer: Writer,
        history: History,
        *,
        is_strict: bool = False,
        damaged: Mapping[str, int] = MappingProxyType({}),
        kept: Sequence[Kept] | None = None,
    ) -> None:
        self._damaged = damaged
        self._kept = kept
        self._prefix = prefix
        self._mine = mine
        self._writer = writer
        self._history = history
        self._heads = HeadWriter(prefix.backend, writer.id, mine.found, is_strict=is_strict, claims=prefix.claims)
        self._encoder = Encoder()
        #: Packs with segments and roots that were written.
        self.written: Sequence[str] = ()
        #: The root and all that the prefix holds, once they are written.
        self.root: Root | None = None
        self.left: PackedSnapshot | None = None

    def next_number(self) -> int:
        """The number of the next generation: higher than any that was published here."""
        head = self._mine.found.head
        return max(head.generation if head else 0, self._writer.generation) + 1

    def publish(
        self,
        published: Tree,
        places: Places,
        *,
        used: Mapping[str, int],
        written: Mapping[str, int],
        counts: Counts = Counts(),  # noqa: B008 # a tuple
        like: Iterable[Root] = (),
        of: int = 0,
        changed: Sequence[str] | None = None,
    ) -> Position:
        """Write the next generation.

        Args:
            published: what it holds, as segments are read (see `segments.as_read`), and `places` where its files are.
            used: see `Places.used`.
            written: bytes of packs that are new, by name.
            like: generations, besides the current one, whose segments may be those of this one.
            of: see `generation.Published`.
            changed: the paths that may be others than in the current generation, or elsewhere, in order; None where
                that is not known.

        Raises:
            Conflict: somebody else has published meanwhile.
        """
        facts = Facts(
            number=self.next_number(),
            time=self._writer.now(),
            host=self._writer.host,
            user=self._history.user,
            message=self._history.message,
            files=published.files,
            size=published.size,
            new=counts.new,
            modified=counts.modified,
            deleted=counts.deleted,
            of=of,
        )
        meta, fresh = Packer(self._prefix.backend, BlobKind.SEGMENT), dict[str, bytes]()
        made = self._segments(published, places, like, meta, fresh, changed)
        needed = {pack: live for pack, live in used.items() if live}
        position = self._finish(facts, made, needed, self._still_kept(), written, meta, fresh)
        self.left = PackedSnapshot(published, position, found=self._heads.found, root=self.root, places=places)
        return position

    def publish_again(self, keep: int) -> Position:
        """Write the current generation once more, and keep only so many, itself included.

        Raises:
            Conflict: somebody else has published meanwhile.
        """
        root = self._mine.root
        if root is None:
            raise AssertionError("nothing was published yet")
        used = {one.pack: one.live for one in root.packs if one.until == root.number}
        for segment in root.segments:
            used[segment.pack] = used.get(segment.pack, 0) - segment.stored
        head = self._mine.found.head
        if head is not None and head.root is not None and head.root.pack in used:
            used[head.root.pack] -= head.root.stored
        made = [_Made.of(segment) for segment in root.segments]
        kept = root.kept[: max(keep - 1, 0)]
        meta = Packer(self._prefix.backend, BlobKind.SEGMENT)
        return self._finish(root.published, made, {k: v for k, v in used.items() if v > 0}, kept, {}, meta, {})

    def sweep(self) -> Mapping[str, str]:
        """Delete packs that were garbage before this generation already: readers may still be at the one before.

        Returns:
            Why each of those that are still there is, by their keys. Only `prune` finds them again.
        """
        if self.root is None or self._mine.root is None:
            return {}
        needed = {pack.pack for pack in self.root.packs}
        gone = sorted(map(packs.key_of, set(self._mine.root.garbage) - needed))
        return undeleted(self._prefix.backend, gone) if gone else {}

    @property
    def keeps_versions(self) -> bool:
        """See `HeadWriter`."""
        return self._heads.keeps_versions

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `HeadWriter.delete`."""
        return self._heads.delete(keys, what="delete what is not needed")

    def _still_kept(self) -> Sequence[Kept]:
        """The generations before the next one that stay."""
        root, head, kept = self._mine.root, self._mine.found.head, self._kept
        if root is None or head is None or head.root is None:
            return []
        if kept is None:
            kept = root.generations(head.root)
        return kept[: max(self._history.keep - 1, 0)]

    def _segments(
        self,
        published: Tree,
        places: Places,
        like: Iterable[Root],
        meta: Packer,
        fresh: dict[str, bytes],
        changed: Sequence[str] | None,
    ) -> list[_Made]:
        """The segments of the manifest; those that are there are not written again, or even put into words."""
        roots = [*like, *([self._mine.root] if self._mine.root else [])]
        before = {segment.sha256: segment for root in roots for segment in root.segments}
        if self._mine.root is not None:
            sizes = {one.pack: one.size for one in self._mine.root.packs}
            live = Counter[str]()
            for one in self._mine.root.segments:
                live[one.pack] += one.stored
            thin_packs = set(thin({pack: sizes[pack] for pack in live}, live))
            left = thin_packs | self._damaged.keys()
            before = {sha256: one for sha256, one in before.items() if one.pack not in left}
        same_at = self._unchanged(published.paths, before, changed)
        made: list[_Made] = []
        for rows in segments.cut(published.paths, known=lambda row: one.items if (one := same_at(row)) else 0):
            if (same := same_at(rows[0])) is not None:
                made.append(_Made.of(same))
                continue
            text = segments.to_text((published[row], places.get(row)) for row in rows)
            sha256 = hashlib.sha256(text).digest()
            if (same := before.get(sha256.hex())) is not None:
                made.append(_Made.of(same))
                continue
            ticket = meta.add(self._encoder.encode(text, sha256))
            fresh[pages.name_of(sha256.hex())] = pages.to_page(sha256.hex(), published, places, rows)
            made.append(_Made(published.path(rows[0]), len(rows), sha256.hex(), len(text), ticket))
        return made

    def _unchanged(
        self, names: Sequence[str], before: Mapping[str, Segment], changed: Sequence[str] | None
    ) -> Callable[[int], Segment | None]:
        """Tells of a row that begins a segment whether it is one of the current generation, by the changed paths alone.

        Args:
            names: of all items.
            before: segments that may be taken, by their SHA-256.
        """
        root = self._mine.root
        if root is None or changed is None:
            return lambda row: None
        known = {one.first: one for one in root.segments if one.sha256 in before}
        last = root.segments[-1].sha256 if root.segments else ""

        def same_at(row: int) -> Segment | None:
            one = known.get(names[row])
            if one is None or (end := row + one.items) > len(names):
                return None
            if one.sha256 == last and end < len(names):
                return None  # it ended where there were no more paths
            at = bisect.bisect_left(changed, one.first)
            return one if at == len(changed) or changed[at] > names[end - 1] else None

        return same_at

    def _finish(
        self,
        facts: Facts,
        made: Sequence[_Made],
        used: dict[str, int],
        kept: Sequence[Kept],
        written: Mapping[str, int],
        meta: Packer,
        fresh: dict[str, bytes],
    ) -> Position:
        """Write the root behind the last segments, in the same pack: who wants the one mostly wants the others.

        Then the head.
        """
        placed = tuple(one.segment for one in made)
        for one in placed:
            if one.pack:
                used[one.pack] = used.get(one.pack, 0) + one.stored
        sizes = {one.pack: one.size for one in self._mine.root.packs} if self._mine.root else {}
        now, garbage = self._packs(facts.number, used, {**sizes, **written, **meta.written}, kept)
        text = Root(published=facts, segments=placed, packs=now, kept=tuple(kept), garbage=garbage).to_bytes()
        sha256 = hashlib.sha256(text).digest()
        ticket = meta.add(self._encoder.encode(text, sha256), BlobKind.ROOT)
        meta.finish()
        self.written = tuple(meta.written)
        fresh[sha256.hex()] = text
        place = ticket.place
        ref = RootRef(
            pack=place.pack,
            pack_size=meta.written[place.pack],
            offset=place.offset,
            stored=place.stored,
            size=len(text),
            sha256=sha256.hex(),
        )
        head = Head(
            format=PACKED,
            generation=facts.number,
            writer=self._writer.id,
            nonce="",
            host=self._writer.host,
            time=facts.time,
            files=facts.files,
            size=facts.size,
            root=ref,
        )
        self._heads.write(head, what="publish")
        if not self._prefix.backend.capabilities.conditional_put and not self._prefix.claims:
            self._heads.settle("publish")  # a rival who looked before we wrote has the last word, and we are told
        self.root = generation.read_root(text, ref)
        self._prefix.remember(ref, self.root, fresh, drops_others=True)
        return Position(facts.number, ref.sha256)

    def _packs(
        self, number: int, used: Mapping[str, int], sizes: Mapping[str, int], kept: Sequence[Kept]
    ) -> tuple[tuple[Pack, ...], tuple[str, ...]]:
        """All packs that some kept generation needs, and those that none needs any more."""
        now = {name: Pack(pack=name, size=sizes[name], until=number, live=live) for name, live in used.items()}
        oldest = min((one.number for one in kept), default=number)
        garbage: list[str] = []
        for old in self._mine.root.packs if self._mine.root else ():
            if old.pack in now:
                continue
            until = self._damaged.get(old.pack, old.until)
            # The root of a generation that is written again is not that of an older one.
            is_needed = until >= oldest if until < number else any(one.root.pack == old.pack for one in kept)
            if is_needed:
                now[old.pack] = old.model_copy(update={"until": until})
            else:
                garbage.append(old.pack)
        return tuple(now.values()), tuple(garbage)


def undeleted(backend: Backend, keys: Sequence[str]) -> Mapping[str, str]:
    """Delete what nobody needs, as far as the store lets it go; return why each of the others is still there."""
    try:
        return backend.delete(keys)
    except Interrupted:
        raise
    except S32sError as exc:
        return dict.fromkeys(keys, exc.what)


def warn_of_left(
    failed: Mapping[str, str],
    warn: Callable[[str], None],
    *,
    hint: str = "s32s prune deletes what is left when the store allows it",
) -> None:
    """Say that packs are still there which nobody needs any more, and why."""
    if failed:
        why = failed[min(failed)]
        warn(
            f"{count(len(failed), 'pack')} that no generation needs any more could not be deleted: "
            f"{paths.escape(why)}; {hint}"
        )


class _Made(NamedTuple):
    """A segment that is there, or on its way; one that waits for the pack of the root names no pack."""

    first: str
    items: int
    sha256: str
    size: int
    where: Ticket | Place

    @classmethod
    def of(cls, segment: Segment) -> _Made:
        place = Place(segment.pack, segment.offset, segment.stored)
        return cls(segment.first, segment.items, segment.sha256, segment.size, place)

    @property
    def segment(self) -> Segment:
        place = self.where.place if isinstance(self.where, Ticket) else self.where
        return Segment(
            first=self.first,
            items=self.items,
            sha256=self.sha256,
            size=self.size,
            pack=place.pack,
            offset=place.offset,
            stored=place.stored,
        )


def root_of(mine: PackedSnapshot, number: int) -> RootRef:
    """The root of a generation that is kept.

    Raises:
        Refused: it is gone, or was never there.
    """
    root, head = mine.root, mine.found.head
    if root is None or head is None or head.root is None:
        raise Refused("nothing was pushed there yet", hint="run s32s sync on the master")
    numbers = [one.number for one in root.generations(head.root)]
    if number in numbers:
        return root.generations(head.root)[numbers.index(number)].root
    shown = f"only {numbers[0]:,}" if len(numbers) == 1 else f"{min(numbers):,} to {max(numbers):,}"
    raise Refused(
        f"generation {number:,} is not kept; {shown} {'is' if len(numbers) == 1 else 'are'}",
        hint=f'{cures.LOG}; "keep" in the entry says how many stay',
    )
