"""What is at a prefix: its head, the manifest that the head names, and a listing.

With a manifest the head says what the prefix holds, and a LIST only confirms it; without one the LIST is all there is.
Where another tool writes to the same prefix the manifest goes stale behind an unchanged head, so `compare_with_list`
holds the two against each other when it is asked to.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from s32s.backends.base import Backend, ListedObject, ListsInParts
from s32s.core import compare, cures, paths
from s32s.core.errors import (
    BadPath,
    IntegrityError,
    NotFound,
    PushInProgress,
    SourceChanged,
    StaleManifest,
    StoreError,
    TemporaryFailure,
    Unsupported,
    WrongLayout,
)
from s32s.core.item import Kind
from s32s.core.rules import Rules
from s32s.core.tree import Tree
from s32s.format import head, manifest, packs
from s32s.format.head import HEAD_KEY, MAX_MANIFEST, Head, ManifestRef
from s32s.stores.base import Position
from s32s.stores.objects.listing import differences, listed_tree

#: Objects between two bounds of a listing: a page has a thousand (S3 API, ListObjectsV2), and a few may come to be.
_PART = 990
#: What the keys of all manifests begin with.
MANIFESTS = f"{paths.RESERVED}/manifest-"
#: Of earlier generations, that are looked into for what a push has not deleted yet.
_MOST_MANIFESTS = 10


class ManifestCache(NamedTuple):
    """What is kept of a prefix between runs, by its location.

    Attributes:
        load, save: its manifest.
        bounds, save_bounds: keys that stand so far apart as a page of a listing reaches.
    """

    load: Callable[[str, str], bytes | None] = lambda source, sha256: None
    save: Callable[[str, bytes], None] = lambda source, data: None
    bounds: Callable[[str], Sequence[str]] = lambda source: ()
    save_bounds: Callable[[str, Sequence[str]], None] = lambda source, keys: None


class Listed(NamedTuple):
    """What a LIST shows.

    Attributes:
        manifests: the keys of all manifests that are there.
        has_packs: whether any pack is there.
    """

    tree: Tree
    manifests: frozenset[str] = frozenset()
    has_packs: bool = False


class FoundHead(NamedTuple):
    """A head and the ETag of its object; None where there is none."""

    head: Head | None = None
    etag: str | None = None

    @property
    def manifest(self) -> ManifestRef | None:
        """The manifest that it names."""
        return self.head.manifest if self.head else None

    @property
    def nonce(self) -> str | None:
        """Which write of the head it is; None without one."""
        return self.head.nonce if self.head else None

    @property
    def position(self) -> Position:
        """Where the prefix stands by it."""
        if self.head is None:
            return Position()
        claim = self.head.push
        note = f"unfinished push by {paths.escape(claim.host)}" if claim else ""
        named = self.manifest or self.head.root
        return Position(self.head.generation, named.sha256 if named else "", note)

    @property
    def is_published(self) -> bool:
        """Whether it names a generation."""
        return self.head is not None and (self.head.manifest is not None or self.head.root is not None)


def read_head(backend: Backend) -> FoundHead:
    """The head as it is now.

    Raises:
        IntegrityError: it is not one.
    """
    try:
        data, etag = backend.read(HEAD_KEY, limit=head.MAX_HEAD)
    except NotFound:
        return FoundHead()
    return FoundHead(head.read_head(data), etag)


@contextlib.contextmanager
def named(label: str, backend: Backend) -> Iterator[None]:
    """Say which place an error is about, where two of the kind take part.

    Args:
        label: what errors call it; empty where there is but one.
    """
    try:
        yield
    except (StoreError, TemporaryFailure) as exc:
        if label:
            exc.where = exc.where or f"{label} {backend.location}"
        raise


class Prefix:
    """The objects of one backend, read as a tree. It keeps nothing: what was found is handed back in.

    Args:
        rules: paths that they ignore are not reason to call a manifest stale.
        cache: of manifests.
        on_disk: whether what it holds becomes files here.
        label: what errors call it, where two of the kind take part.
        takes_packs: whether it may hold packs until now.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        rules: Rules,
        cache: ManifestCache,
        on_disk: bool = True,
        label: str = "",
        takes_packs: bool = False,
    ) -> None:
        self.backend = backend
        self._label = label
        self._rules = rules
        self._cache = cache
        self._on_disk = on_disk
        self._takes_packs = takes_packs

    def named(self) -> contextlib.AbstractContextManager[None]:
        """See `named`."""
        return named(self._label, self.backend)

    def read_head(self) -> FoundHead:
        """The head as it is now.

        Raises:
            WrongLayout: the prefix holds packs.
            IntegrityError: it is not a head.
        """
        found = read_head(self.backend)
        if found.head is not None and found.head.is_packed and not self._takes_packs:
            raise WrongLayout(
                f"{self.backend.location} is in the packed layout, and not in the plain one",
                hint=cures.IS_PACKED,
            )
        return found

    def list_objects(self, expected: Tree | None = None) -> Listed:
        """What a LIST shows; a long one in parts that are asked for at the same time.

        Args:
            expected: what is probably there; else it is known from the last time.

        Raises:
            BadPath: a key is not a safe relative path.
        """
        place = self.backend.location
        known: tuple[str, ...] = ()
        if isinstance(self.backend, ListsInParts):
            known = tuple(self._cache.bounds(place)) or (_bounds(expected) if expected is not None else ())
        listed = self._listed(known)
        if isinstance(self.backend, ListsInParts) and (bounds := _bounds(listed.tree)) != known:
            self._cache.save_bounds(place, bounds)
        return listed

    def _listed(self, bounds: Sequence[str]) -> Listed:
        pages = self.backend.list("")
        if bounds and isinstance(self.backend, ListsInParts):
            with contextlib.suppress(Unsupported):
                return self._tree_of(self.backend.list_parts(bounds))
        return self._tree_of(pages)

    def _tree_of(self, pages: Iterator[Sequence[ListedObject]]) -> Listed:
        manifests: set[str] = set()
        has_packs = False

        def objects() -> Iterator[ListedObject]:
            nonlocal has_packs
            for one in itertools.chain.from_iterable(pages):
                if one.key.startswith(MANIFESTS):
                    manifests.add(one.key)
                elif one.key.startswith(packs.PACKS) and packs.pack_of(one.key):
                    has_packs = True
                yield one

        made = listed_tree(objects(), self.backend.location, room=self._room, on_disk=self._on_disk)
        return Listed(made, frozenset(manifests), has_packs)

    def manifest_tree(self, ref: ManifestRef, *, known: tuple[ManifestRef, Tree] | None = None) -> Tree:
        """What a manifest names; it is fetched where the cache has not got it.

        Args:
            known: another manifest, and what it names: only lines that it has not got are read.

        Raises:
            NotFound: it is not there.
            IntegrityError, BadPath: it cannot be believed.
        """
        place = self.backend.location
        if known is not None and known[0] == ref:
            return known[1]
        before = None
        if known is not None and (old := self._cache.load(place, known[0].sha256)) is not None:
            before = old, known[1]
        data = self._cache.load(place, ref.sha256)
        if data is not None:
            return self._read(data, ref, before)
        data, _ = self.backend.read(ref.key, limit=ref.size)
        made = self._read(data, ref, before)
        self._cache.save(place, data)
        return made

    def _read(self, data: bytes, ref: ManifestRef, before: tuple[bytes, Tree] | None) -> Tree:
        if before is None:
            return manifest.read(data, ref, room=self._room)
        from s32s.format import manifest_patch  # for a watch alone

        return manifest_patch.read(data, ref, before, room=self._room)

    def compare_with_list(self, found: FoundHead, made: Tree) -> None:
        """Hold the tree of the manifest that a head names against a LIST.

        Raises:
            StaleManifest: it does not describe the objects, and no push is under way that would explain it.
            PushInProgress: a push explains it.
            SourceChanged: a push began or ended meanwhile.
        """
        listed = self.list_objects(made).tree
        different = [path for path in differences(made, listed) if not self._rules.ignores(path)]
        if not different:
            return
        self.check_same_head(found)
        different = self._without_leftovers(different, found, made, listed)
        if not different:
            return
        if found.head is not None and found.head.push is not None:
            if all((item := made.get(path)) is not None and item.version for path in different):
                return  # a versioned bucket: the old generation is whole, by its version ids
            raise self.in_progress(found, f"{len(different):,} objects are between two generations")
        raise self.stale(
            f"the objects below {self.backend.location} are not those of the manifest: {paths.some(different)}",
            tuple(different),
        )

    def check_same_head(self, found: FoundHead) -> None:
        """A push that began or ended between the look at the head and the LIST is not a stale manifest.

        Raises:
            SourceChanged: there was one.
        """
        before, after = found.head, self.read_head().head
        if (after.nonce if after else None) != (before.nonce if before else None):
            raise SourceChanged(f"a push to {self.backend.location} began or ended during the listing")

    def stale(self, what: str, different: tuple[str, ...] = ()) -> StaleManifest:
        """The error that what a manifest says cannot be followed."""
        return StaleManifest(
            what,
            hint=cures.IS_STALE,
            paths=different,
        )

    def in_progress(self, found: FoundHead, what: str) -> PushInProgress:
        """The error that a push has to end first."""
        claim = found.head.push if found.head else None
        who = f" by {paths.escape(claim.host)}, begun {paths.escape(claim.started)}" if claim else ""
        return PushInProgress(
            f"unfinished push{who}: {what}, so the old files stay",
            hint="wait for it; if the master died, run s32s sync there again",
        )

    @property
    def _room(self) -> int:
        return self.backend.capabilities.max_key_bytes

    def _without_leftovers(self, different: list[str], found: FoundHead, made: Tree, listed: Tree) -> list[str]:
        """Leave out objects that only wait for their deletion: those of earlier generations whose manifests are still
        there, since a push that died after it had published has not come to delete either."""
        gone = [path for path in different if (now := made.get(path)) is None or now.kind is not Kind.FILE]
        if not gone:
            return different
        waiting: set[str] = set()
        for before in self._earlier_trees(found):
            for path in gone:
                item, old = listed.get(path), before.get(path)
                if item is not None and old is not None and compare.agrees(old, item):
                    waiting.add(path)
        return [path for path in different if path not in waiting]

    def _earlier_trees(self, found: FoundHead) -> Iterator[Tree]:
        """The trees of the manifests that are there beside the one of the head, as far as they can be read."""
        current = found.manifest.key if found.manifest else None
        stored = {one.key for page in self.backend.list(paths.RESERVED) for one in page}
        earlier = sorted((key, sha256) for key in stored - {current} if (sha256 := manifest.sha256_of(key)))
        for key, sha256 in earlier[:_MOST_MANIFESTS]:
            with contextlib.suppress(NotFound, IntegrityError, BadPath):
                data, _ = self.backend.read(key, limit=MAX_MANIFEST)
                yield manifest.read(data, ManifestRef(key=key, size=len(data), sha256=sha256), room=self._room)


def _bounds(tree: Tree) -> tuple[str, ...]:
    """Keys between which a page of a listing fits."""
    return tuple(tree.path(row) for row in range(_PART, len(tree), _PART))
