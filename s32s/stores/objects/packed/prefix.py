"""What a packed prefix holds: its head, the root that it names, and the segments of the manifest."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from s32s.backends.base import Backend, PartRequest
from s32s.backends.parts import read_parts
from s32s.core import cures, tree
from s32s.core.errors import IntegrityError, NotFound, WrongLayout
from s32s.core.tree import Tree
from s32s.format import generation, manifest, packs, pages, segments
from s32s.format.generation import Root, Segment
from s32s.format.head import RootRef
from s32s.format.packs import Decoder
from s32s.format.segments import Place, Places
from s32s.stores.base import Snapshot
from s32s.stores.objects.packed.blobs import Wanted, read_blobs
from s32s.stores.objects.prefix import FoundHead, named, read_head

#: A pack that is no larger is fetched as a whole where its root is wanted: most segments are in there too.
_WHOLE = 8 * 1024 * 1024
_JOBS = 16


class SegmentCache(NamedTuple):
    """What is kept of a prefix between runs: roots by their SHA-256, and pages of segments.

    Attributes:
        load: one of them, which may be damaged.
        save: some of them, and which of all are still of use; None for all.
        unfinished: packs that pushes which died have written, and their bytes.
        note: that a pack is about to be written; None when a push has ended well.
    """

    load: Callable[[str, str], bytes | None] = lambda place, sha256: None
    save: Callable[[str, Mapping[str, bytes], Collection[str] | None], None] = lambda place, blobs, used: None
    unfinished: Callable[[str], Mapping[str, int]] = lambda place: {}
    note: Callable[[str, tuple[str, int] | None], None] = lambda place, pack: None


@dataclass(frozen=True, slots=True)
class PackedSnapshot(Snapshot):
    """What a packed prefix holds.

    Attributes:
        found: its head.
        root: of the generation; None where nothing was pushed yet.
        places: where the files of the tree are, row by row.
    """

    found: FoundHead = field(default_factory=FoundHead)
    root: Root | None = None
    places: Places = field(default_factory=Places)


class PackedPrefix:
    """The packs of one backend, read as a tree.

    Args:
        label: what errors call it, where two of the kind take part.
        takes_plain: whether it may be in the plain layout until now.
        claims: see `HeadWriter`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        cache: SegmentCache,
        label: str = "",
        takes_plain: bool = False,
        claims: bool = False,
    ) -> None:
        self.backend = backend
        self.cache = cache
        self.claims = claims
        self._label = label
        self._takes_plain = takes_plain

    def named(self) -> contextlib.AbstractContextManager[None]:
        """See `stores.objects.prefix.named`."""
        return named(self._label, self.backend)

    @contextlib.contextmanager
    def needed(self) -> Iterator[None]:
        """Say of a pack that is not there that the generation needs it.

        Raises:
            IntegrityError: instead of NotFound.
        """
        try:
            yield
        except NotFound as exc:
            raise IntegrityError(
                f"a pack that the current generation needs is gone: {exc.what}", hint=cures.HEAL
            ) from exc

    def read_head(self) -> FoundHead:
        """The head as it is now.

        Raises:
            WrongLayout: the prefix is in the plain layout.
            IntegrityError: it is not a head.
        """
        found = read_head(self.backend)
        if found.head is not None and not found.head.is_packed and not self._takes_plain:
            raise WrongLayout(
                f"{self.backend.location} is in the plain layout, and not in the packed one",
                hint=cures.IS_PLAIN,
            )
        return found

    def snapshot(self, found: FoundHead) -> PackedSnapshot:
        """All that the generation of a head holds.

        Raises:
            IntegrityError, BadPath: it cannot be believed.
            NotFound: a pack is gone.
        """
        if found.head is None or found.head.root is None:
            return PackedSnapshot(tree.make(()), is_published=False, found=found)
        root, made, places = self.generation(found.head.root, is_current=True)
        return PackedSnapshot(made, found.position, found=found, root=root, places=places)

    def generation(self, ref: RootRef, *, is_current: bool = False) -> tuple[Root, Tree, Places]:
        """A generation by its root; see `snapshot`.

        Args:
            is_current: what is kept of others is of no use any more.
        """
        came: dict[str, bytes] = {}
        root = self._root(ref, came)
        if sum(segment.size for segment in root.segments) > manifest.MAX_MEMORY:
            raise IntegrityError(f"the manifest takes more than {manifest.MAX_MEMORY // 10**6} MB of memory")
        fresh = {ref.sha256: came[ref.sha256]} if came else {}
        left = self._pages(root.segments, came, fresh)
        if fresh:
            self.remember(ref, root, fresh, drops_others=is_current)
            fresh.clear()
        left.reverse()  # from here on, each is given up when its rows are made
        made = pages.Pages()
        for segment in root.segments:
            if made.add(left.pop(), segment.sha256[:12]) != segment.items:
                raise IntegrityError(
                    f"segment {segment.sha256[:12]} of the manifest has another number of items", hint=cures.HEAL
                )
        return root, Tree(made.columns), made.places

    def root(self, ref: RootRef) -> Root:
        """The root of a generation alone."""
        came: dict[str, bytes] = {}
        root = self._root(ref, came)
        if came:
            self.remember(ref, root, {ref.sha256: came[ref.sha256]})
        return root

    def _root(self, ref: RootRef, came: dict[str, bytes]) -> Root:
        """A root; where it is not known here, `came` gets it, and what came with it: segments by their SHA-256."""
        data = self.cache.load(self.backend.location, ref.sha256)
        if data is None or hashlib.sha256(data).hexdigest() != ref.sha256:
            if ref.pack_size > _WHOLE:
                wanted = Wanted(Place(ref.pack, ref.offset, ref.stored), ref.size, bytes.fromhex(ref.sha256))
                ((_, blob),) = read_blobs(self.backend, [wanted], jobs=1)
                came[ref.sha256] = bytes(blob)
            else:
                came |= self._whole(ref)
            if (data := came.get(ref.sha256)) is None:
                raise packs.damaged(ref.pack, "it has not got the root that the head names")
        return generation.read_root(data, ref)

    def _whole(self, ref: RootRef) -> dict[str, bytes]:
        """All that is in the pack of a root, by SHA-256."""
        request = PartRequest(packs.key_of(ref.pack), 0, ref.pack_size)
        ((_, pack),) = read_parts(self.backend, [request], concurrency=1)
        decoder, view = Decoder(), memoryview(pack)
        return {
            blob.sha256.hex(): bytes(
                decoder.decode(
                    view[blob.offset : blob.offset + blob.stored], size=blob.size, sha256=blob.sha256, pack=ref.pack
                )
            )
            for blob in packs.read_index(pack, ref.pack, size=ref.pack_size)
        }

    def _pages(self, wanted: Sequence[Segment], came: Mapping[str, bytes], fresh: dict[str, bytes]) -> list[bytes]:
        """The page of each segment: as it is known, else its text is fetched and read, and `fresh` gets what is made.

        Args:
            came: texts that are here already.
        """
        made = [_known_page(self.cache, self.backend.location, one.sha256) for one in wanted]
        missing = [row for row, page in enumerate(made) if page is None]
        here = [(row, came[wanted[row].sha256]) for row in missing if wanted[row].sha256 in came]
        absent = [row for row in missing if wanted[row].sha256 not in came]
        asked = [
            Wanted(Place(one.pack, one.offset, one.stored), one.size, bytes.fromhex(one.sha256))
            for one in (wanted[row] for row in absent)
        ]
        fetched = ((absent[number], data) for number, data in read_blobs(self.backend, asked, jobs=_JOBS))
        for row, text in itertools.chain(here, fetched):
            made[row] = fresh[pages.name_of(wanted[row].sha256)] = self._page(wanted[row], bytes(text))
        return [page for page in made if page is not None]

    def _page(self, segment: Segment, text: bytes) -> bytes:
        reader = segments.Reader(room=self.backend.capabilities.max_key_bytes)
        if len(text) != segment.size:
            raise IntegrityError(f"segment {segment.sha256[:12]} of the manifest has another size")
        count = reader.add(text, segment.sha256[:12])
        return pages.to_page(segment.sha256, Tree(reader.columns), reader.places, range(count))

    def remember(self, ref: RootRef, root: Root, fresh: Mapping[str, bytes], *, drops_others: bool = False) -> None:
        """Keep a root and pages for the next run."""
        used = {ref.sha256, *(pages.name_of(segment.sha256) for segment in root.segments)}
        self.cache.save(self.backend.location, fresh, used if drops_others else None)

    def is_same_head(self, found: FoundHead) -> bool:
        """Whether the head still is the one that was found."""
        now = self.read_head().head
        return (now.nonce if now else None) == (found.head.nonce if found.head else None)


def cached_tree(cache: SegmentCache, place: str, sha256: str) -> Tree | None:
    """What a generation holds, by its root, as far as all of it is kept here; nothing is asked for.

    Raises:
        IntegrityError, BadPath: what is kept cannot be believed.
    """
    data = cache.load(place, sha256)
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        return None
    made = pages.Pages()
    for segment in generation.parse_root(data).segments:
        if (page := _known_page(cache, place, segment.sha256)) is None:
            return None
        made.add(page, segment.sha256[:12])
    return Tree(made.columns)


def _known_page(cache: SegmentCache, place: str, sha256: str) -> bytes | None:
    """What is kept of a segment, if it can be believed."""
    page = cache.load(place, pages.name_of(sha256))
    return page if page is not None and pages.is_sound(page, sha256) else None
