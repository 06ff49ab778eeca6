"""A prefix on S3: the source of a pull and the target of a push, one object a file.

With a manifest the head says what the prefix holds, and a LIST only confirms it; without one the LIST is all there is.
Where another tool writes to the same prefix the manifest goes stale behind an unchanged head, so every body is checked
against the ETag and hash that it names, and `tree` compares it with a LIST when asked to.

A push claims the head before its first object (`Head.push`) and gives the claim up with the new generation. A claim
that is not ours stops a second master before it has overwritten anything. The claim and the publish are conditional
writes, and both are read back: an endpoint that ignores conditions is found out by the nonce that it then holds.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

from s32s.backends.base import Backend, ListedObject
from s32s.core import compare, paths, tree
from s32s.core.errors import BadPath, IntegrityError, NotFound, PushInProgress, SourceChanged, StaleManifest, StoreError
from s32s.core.plan import Plan
from s32s.core.rules import EVERYTHING, Rules
from s32s.core.tree import Item, Kind, Tree, is_md5
from s32s.format import manifest
from s32s.format.manifest import HEAD_KEY, Head, ManifestRef
from s32s.stores.base import Batch
from s32s.stores.objects.bodies import ObjectBody, ReadAhead
from s32s.stores.objects.change import ManifestCache, ObjectChange, Publisher, Writer

#: Of earlier generations, that are looked into for what a push has not deleted yet.
_MOST_MANIFESTS = 10


class ObjectStore:
    """A bucket and prefix.

    Args:
        backend: the place.
        rules: paths that they ignore are not reason to call a manifest stale.
        has_manifest: False to neither read nor write one.
        cache: of manifests.
    """

    at_once = 1

    def __init__(
        self,
        backend: Backend,
        *,
        rules: Rules = EVERYTHING,
        has_manifest: bool = True,
        cache: ManifestCache | None = None,
        on_disk: bool = True,
    ) -> None:
        self.backend = backend
        self._on_disk = on_disk
        self.head: Head | None = None
        self._head_etag: str | None = None
        self._rules = rules
        self._has_manifest = has_manifest
        self._cache = cache or ManifestCache()
        self._listed: Tree | None = None
        self._fresh: Tree | None = None  # of a LIST that nobody has looked at yet

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.backend.location

    # -- listing

    def tree(self, *, compare: bool, known: bool = False, read: bool = True) -> Tree:
        """What a slave follows: the manifest's tree, or the LIST's where there is none.

        Args:
            read: read the head first; False where `read_head` was called just now.
            compare: hold the manifest against a LIST.
            known: this machine has followed a manifest here before, so that a missing one is an alarm.

        Raises:
            StaleManifest: the manifest does not describe the objects, and no push is under way that would explain it.
            PushUnderway: a push explains it.
            BadPath: a key is not a safe relative path.
        """
        if not self._has_manifest:
            return self._list()
        if read:
            self.read_head()
        if self.head is None:
            if known:
                raise StaleManifest(
                    f"the manifest of {self.place} is gone, and this machine has followed one", hint=self._cures()
                )
            return self._list()
        if self.head.manifest is None:
            raise self._underway("its first push is not finished")
        try:
            made = self._manifest_tree(self.head, self.head.manifest)
        except NotFound as exc:
            self._check_same_head()
            raise StaleManifest(
                f"the head of {self.place} names a manifest that is not there", hint=self._cures()
            ) from exc
        if compare:
            self.compare(made)
        return made.but(note=self.note)

    def compare(self, made: Tree) -> None:
        """Hold the tree of a manifest against a LIST.

        Raises:
            StaleManifest, PushUnderway: see `tree`.
            SourceChanged: a push began or ended meanwhile.
        """
        different = [path for path in _differences(made, self._list()) if not self._rules.ignores(path)]
        if not different:
            return
        self._check_same_head()
        different = self._without_leftovers(different, made)
        if not different:
            return
        if self.head is not None and self.head.push is not None:
            if all((item := made.get(path)) is not None and item.version for path in different):
                return  # a versioned bucket: the old generation is whole, by its version ids
            raise self._underway(f"{len(different):,} objects are between two generations")
        raise StaleManifest(
            f"the objects below {self.place} are not those of the manifest: {paths.some(different)}",
            hint=self._cures(),
            paths=tuple(different),
        )

    @property
    def note(self) -> str:
        """What people should know of the head that was read last; may be empty."""
        claim = self.head.push if self.head else None
        return f"unfinished push by {paths.escape(claim.host)}" if claim else ""

    def listing(self) -> str:
        """A digest of a LIST of now; the next tree is made of this very LIST."""
        self._fresh = self._list()
        return self._fresh.digest()

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest that the head that was read last names; "" without one."""
        return self.head.manifest.sha256 if self.head and self.head.manifest else ""

    def known_tree(self) -> Tree:
        """The tree of the manifest that the head that was read last names, else of the last LIST; nothing is fetched
        that is at hand, and nothing compared."""
        if self.head is None or self.head.manifest is None:
            return self._list()
        return self._manifest_tree(self.head, self.head.manifest)

    def target_tree(self, *, read: bool = True) -> Tree:
        """What a master finds: the objects by LIST, with what the manifest knows of them.

        Always a LIST, so that a push also heals what another tool has changed. `published` tells whether the manifest
        describes exactly this.

        Args:
            read: read the head first; False where `read_head` was called just now.
        """
        listed = self._list()
        if not self._has_manifest:
            return listed
        if read:
            self.read_head()
        if self.head is None or self.head.manifest is None:
            return listed.but(published=False, generation=self.head.generation if self.head else 0)
        try:
            known = self._manifest_tree(self.head, self.head.manifest)
        except (NotFound, IntegrityError, BadPath):
            # The push writes a new one.
            return listed.but(published=False, generation=self.head.generation)
        different = set(_differences(known, listed))
        is_published = not different and self.head.push is None
        if not different and not any(listed.of_kind(Kind.DIR)):
            return known.but(published=is_published)
        items: dict[str, Item] = {}
        for item in listed:
            told = known.get(item.path)
            items[item.path] = told if told is not None and item.path not in different else item
            if told is not None and told.kind is Kind.DIR and item.kind is Kind.DIR:
                items[item.path] = told._replace(etag=item.etag)
        for item in known:
            if item.kind is not Kind.FILE and item.path not in items:
                items[item.path] = item
        return tree.make(
            items.values(),
            published=is_published,
            generation=self.head.generation,
        )

    def check_unchanged(self) -> None:
        """After a pull without a manifest: make sure that the prefix still holds what was listed.

        Raises:
            SourceChanged: it does not, so the files may be of two states.
        """
        if self.head is not None or self._listed is None:
            return
        before = self._listed
        if _differences(before, self._list()):
            raise SourceChanged(f"the objects below {self.place} changed during the run")

    def read_head(self) -> Head | None:
        """Read the head afresh; None where there is none."""
        try:
            data, self._head_etag = self.backend.read(HEAD_KEY, limit=manifest.MAX_HEAD)
        except NotFound:
            self.head = self._head_etag = None
            return None
        self.head = manifest.read_head(data)
        return self.head

    # -- reading bodies

    def batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        """One object a batch: in this layout every file is an object of its own."""
        for item in items:
            yield (ObjectBody(self.backend, item),)

    def read_ahead(self, jobs: int) -> ReadAhead:
        """This prefix as a source whose bodies come here, at most `jobs` of them at once."""
        return ReadAhead(self.backend, at_once=min(jobs, self.backend.capabilities.concurrent_gets))

    # -- writing

    @contextlib.contextmanager
    def change(self, plan: Plan, writer: Writer | None) -> Iterator[ObjectChange]:
        """Open a push. Left early, the old head still names the old generation, with the claim of an unfinished push.

        Args:
            writer: who publishes; None for no manifest.

        Raises:
            Conflict: another master is at it.
        """
        publisher = None
        if self._has_manifest and writer is not None:
            publisher = Publisher(self.backend, writer, self.head, self._head_etag, self._cache)
        change = ObjectChange(self.backend, plan, publisher)
        change.claim()
        yield change

    # -- inside

    def _without_leftovers(self, different: list[str], made: Tree) -> list[str]:
        """Leave out objects that only wait for their deletion: those of earlier generations whose manifests are still
        there, since a push that died after it had published has not come to delete either."""
        listed = self._listed
        gone = [path for path in different if (now := made.get(path)) is None or now.kind is not Kind.FILE]
        if listed is None or not gone:
            return different
        waiting: set[str] = set()
        for before in self._earlier_trees():
            for path in gone:
                item, old = listed.get(path), before.get(path)
                if item is not None and old is not None and compare.agrees(old, item):
                    waiting.add(path)
        return [path for path in different if path not in waiting]

    def _earlier_trees(self) -> Iterator[Tree]:
        """The trees of the manifests that are there beside the one of the head, as far as they can be read."""
        current = self.head.manifest.key if self.head and self.head.manifest else None
        stored = {found.key for page in self.backend.list(paths.RESERVED) for found in page}
        for key in sorted(stored - {current})[:_MOST_MANIFESTS]:
            if not (sha256 := manifest.sha256_of(key)):
                continue
            with contextlib.suppress(NotFound, IntegrityError, BadPath):
                data, _ = self.backend.read(key, limit=manifest.MAX_MANIFEST)
                ref = ManifestRef(key=key, size=len(data), sha256=sha256)
                yield manifest.read(data, ref, generation=0, room=self.backend.capabilities.max_key_bytes)

    def _manifest_tree(self, head: Head, ref: ManifestRef) -> Tree:
        source = self.place
        data = self._cache.load(source, ref.sha256)
        if data is None:
            data, _ = self.backend.read(ref.key, limit=ref.size)
            made = manifest.read(data, ref, generation=head.generation, room=self.backend.capabilities.max_key_bytes)
            self._cache.save(source, data)
            return made
        return manifest.read(data, ref, generation=head.generation, room=self.backend.capabilities.max_key_bytes)

    def _list(self) -> Tree:
        fresh, self._fresh = self._fresh, None
        if fresh is None:
            objects = itertools.chain.from_iterable(self.backend.list(""))
            room = self.backend.capabilities.max_key_bytes
            fresh = listed_tree(objects, self.place, room=room, on_disk=self._on_disk)
        self._listed = fresh
        return fresh

    def _check_same_head(self) -> None:
        """A push that began or ended between our look at the head and the LIST is not a stale manifest."""
        before = self.head.nonce if self.head else None
        after = self.read_head()
        if (after.nonce if after else None) != before:
            raise SourceChanged(f"a push to {self.place} began or ended during the listing")

    def _cures(self) -> str:
        return 'run "s32s sync" on the master, or set "manifest": false in the entry if another tool writes there'

    def _underway(self, what: str) -> PushInProgress:
        claim = self.head.push if self.head else None
        who = f" by {paths.escape(claim.host)}, begun {paths.escape(claim.started)}" if claim else ""
        return PushInProgress(
            f"unfinished push{who}: {what}, so the old files stay",
            hint="wait for it; if the master died, run s32s sync there again",
        )


def _differences(known: Tree, listed: Tree) -> list[str]:
    """Paths at which a manifest and a LIST disagree; the marker of a directory that both name is not a difference.

    Some servers list no ETags at all, which proves nothing. Where others have one, an object without it is one that the
    server has lost sight of: `rclone serve s3` answers every GET of it with 500, until it is stored again.
    """
    different, without = [], []
    has_etags = False
    for at, to, count in tree.join(known.paths, listed.paths):
        if to is None:
            if at is not None and known.kind(at) is Kind.FILE:
                different.append(known.path(at))
        elif at is None:
            different.append(listed.path(to))
        elif known.is_same_object(at, listed, to, count):
            has_etags = True
        else:
            for here, there in zip(range(at, at + count), range(to, to + count), strict=True):
                told, found = known[here], listed[there]
                has_etags = has_etags or bool(found.etag)
                if not compare.agrees(told, found):
                    different.append(found.path)
                elif told.kind is Kind.FILE and told.etag and not found.etag:
                    without.append(found.path)
    return different + without if has_etags else different


def listed_tree(objects: Iterable[ListedObject], place: str, *, room: int, on_disk: bool = True) -> Tree:
    """The tree that a listing of a prefix shows, without what belongs to s32s itself.

    Args:
        place: of the prefix, for people.
        room, on_disk: see `paths.problem`.

    Raises:
        BadPath: a key is not a safe relative path; every such key is named.
        StoreError: the listing names a key twice.
    """
    bad: dict[str, str] = {}

    columns = tree.Columns()
    for key, size, etag, stored_ns in objects:
        if not key or (key.startswith(paths.RESERVED) and paths.is_reserved(key)):
            continue
        is_marker = key.endswith("/")
        path = key.removesuffix("/")
        reason = paths.problem(path, room=room, on_disk=on_disk)
        if is_marker and size:
            reason = reason or "it ends in a slash and has content"
        if reason:
            bad[key] = reason
        if is_marker:
            columns.add(Item(path, Kind.DIR, etag=etag))
        elif etag and is_md5(etag):
            columns.append(path, size, etag=bytes.fromhex(etag), stored_ns=stored_ns)
        else:
            columns.add(Item(path, Kind.FILE, size=size, etag=etag, stored_ns=stored_ns))
    listed = columns.tree()
    if bad:
        raise BadPath(
            f"{len(bad):,} of the keys below {place} are not safe relative paths:{paths.listed(bad)}",
            hint="rename or delete these objects",
            reasons=bad,
        )
    return _without_doubles(listed, place)


def _without_doubles(listed: Tree, place: str) -> Tree:
    """Let an object of a directory marker's name go before the marker.

    Raises:
        StoreError: the same key stands there twice.
    """
    doubles = [row for row in range(1, len(listed)) if listed.path(row - 1) == listed.path(row)]
    if not doubles:
        return listed
    for row in doubles:
        if listed.kind(row - 1) is listed.kind(row):
            name = paths.quote(listed.path(row))
            raise StoreError(f"the listing of {place} names {name} twice", hint="check the endpoint")
    markers = {listed.path(row) for row in doubles}
    return tree.make(item for item in listed if item.kind is not Kind.DIR or item.path not in markers)
