"""A packed prefix as the copy of another one: packs that are missing are copied, then the head moves.

Packs never change, so nothing is read again: the root is that of the source, and names the same packs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from s32s.backends.base import Backend, Chunk, ServerSideCopy, unwrapped
from s32s.core import paths, tree
from s32s.core.errors import Conflict, IntegrityError, NotFound, Refused, SourceChanged
from s32s.core.item import Item
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.format import packs
from s32s.format.generation import Pack
from s32s.stores.base import Body, Look, Policy, Position, Progress, Published, Snapshot, Transaction
from s32s.stores.objects.heads import HeadWriter
from s32s.stores.objects.packed.prefix import PackedPrefix, PackedSnapshot
from s32s.stores.objects.packed.publication import History, undeleted, warn_of_left
from s32s.stores.objects.packed.roots import stored_packs
from s32s.stores.objects.packed.target import PackedTarget
from s32s.stores.objects.prefix import FoundHead
from s32s.stores.objects.publisher import Writer
from s32s.system.concurrency import for_each

#: How many packs are copied at the same time: each is some megabytes, also where they pass through here.
_AT_ONCE = 8


class PackedMirror(PackedTarget):
    """A packed prefix that becomes the copy of another one; see `stores.base.Target`.

    Args:
        source: the backend that the packs come from.
        verify: read all packs of the copy, and copy those again that are damaged.
    """

    def __init__(
        self, prefix: PackedPrefix, writer: Writer, source: Backend, *, verify: bool, warn: Callable[[str], None]
    ) -> None:
        super().__init__(prefix, writer, History(), warn=warn)
        self._source = source
        self._verify = verify
        self._wanted = PackedSnapshot(tree.make(()))
        self._missing: frozenset[str] = frozenset()
        self._there: dict[str, int] = {}

    def look(self) -> Look[PackedSnapshot]:
        """See `stores.base.Target`: the head, and which packs are there, as nobody else would miss one."""
        look = super().look()
        self._there = {one.key: one.size for one in stored_packs(self._prefix.backend)}
        listed = hashlib.sha256(repr(sorted(self._there.items())).encode()).hexdigest()
        manifest = look.fingerprint()
        return look._replace(fingerprint=lambda: manifest and f"{manifest} {listed}")

    def refine(self, mine: PackedSnapshot, *, against: Snapshot, jobs: int, progress: Progress) -> PackedSnapshot:
        """See `stores.base.Target`: another root is something to publish, whatever the paths say."""
        if not isinstance(against, PackedSnapshot):
            raise AssertionError("the mirror of something else")
        self._wanted = against
        is_same = mine.position.manifest == against.position.manifest
        wanted = against.root.packs if against.root is not None else ()
        missing = {one.pack for one in wanted if self._there.get(packs.key_of(one.pack)) != one.size}
        if self._verify and mine.found.head is not None:
            missing.update(self._unsound([one for one in wanted if one.pack not in missing], progress))
        self._missing = frozenset(missing)
        return replace(mine, is_published=mine.is_published and is_same and not missing)

    def _without_head(self) -> PackedSnapshot:
        """Nothing: its packs are those of the source, and so is what its head is to say."""
        return self._prefix.snapshot(FoundHead())

    def _snapshot(self, found: FoundHead) -> PackedSnapshot:
        """What the copy holds; nothing, where its manifest cannot be read: that is copied again."""
        try:
            return super()._snapshot(found)
        except (IntegrityError, NotFound) as exc:
            self._warn(f"the manifest of the mirror cannot be read, so all of its packs are looked at: {exc.what}")
            self._verify = True
            return PackedSnapshot(tree.make(()), is_published=False, found=found)

    def _unsound(self, wanted: Sequence[Pack], progress: Progress) -> Iterator[str]:
        """The packs that the copy has not got, or with other bytes than their names promise."""
        for pack in wanted:
            digest = hashlib.sha256()
            try:
                for chunk in self._prefix.backend.get(packs.key_of(pack.pack)).chunks:
                    digest.update(chunk)
                    progress(len(chunk))
            except NotFound:
                pass
            if digest.hexdigest() != pack.pack:
                yield pack.pack

    def check(self, mine: PackedSnapshot, plan: Plan, wanted: Tree) -> None:
        """See `stores.base.Target`; what the source holds, this one can hold.

        Raises:
            Refused: nothing was ever pushed to the source. There is no generation that the copy could have.
        """
        if self._wanted.root is None:
            raise Refused(
                f"nothing has been pushed to {self._source.location} yet, so there is nothing to copy",
                hint="run s32s sync on the master",
            )

    @contextlib.contextmanager
    def transaction(self, mine: PackedSnapshot, plan: Plan, policy: Policy) -> Iterator[Transaction]:
        """See `stores.base.Target`."""
        yield _Copies(
            self._prefix,
            self._source,
            mine,
            self._wanted,
            self._writer.id,
            missing=self._missing,
            warn=self._warn,
        )


class _Copies:
    """Packs that are copied, and the head behind them; see `stores.base.Transaction`."""

    is_staged = True
    takes_objects = False
    wanted: Sequence[Item] = ()

    def __init__(
        self,
        prefix: PackedPrefix,
        source: Backend,
        mine: PackedSnapshot,
        wanted: PackedSnapshot,
        writer: str,
        *,
        missing: Collection[str],
        warn: Callable[[str], None],
    ) -> None:
        self._warn = warn
        self._backend = prefix.backend
        self._prefix = prefix
        self._source = source
        self._mine = mine
        self._new = wanted
        self._writer = writer
        self._missing = missing
        self._heads = HeadWriter(prefix.backend, writer, mine.found)

    def put(self, body: Body, progress: Progress) -> None:
        """See `stores.base.Transaction`; nothing is asked for."""
        raise AssertionError("a mirror of packs takes no files")

    def publish(self) -> Published:
        """Copy what is missing, and move the head.

        Raises:
            SourceChanged: a pack of the source has gone meanwhile.
            IntegrityError: one has other bytes than its name promises.
            Conflict: somebody else writes to the mirror.
        """
        head, root = self._new.found.head, self._new.root
        if head is None or root is None:
            raise AssertionError("a mirror of nothing")
        missing = [one for one in root.packs if one.pack in self._missing]
        for_each(missing, lambda one: self._copy(one.pack, one.size), jobs=_AT_ONCE)
        known = self._mine.found.head
        if known is not None and known.generation > head.generation:
            raise Conflict(
                f"the mirror is at generation {known.generation:,}, and its source at {head.generation:,}: "
                "somebody pushes to the mirror, or the source has gone back",
                hint="mirror to a prefix that nobody else writes to",
            )
        self._heads.write(head.model_copy(update={"writer": self._writer, "push": None}), what="publish")
        return Published(Position(head.generation, head.root.sha256 if head.root else ""))

    def sweep(self) -> None:
        """Delete packs that were garbage already at the mirror's generation before."""
        root, before = self._new.root, self._mine.root
        if root is None or before is None:
            return
        needed = {one.pack for one in root.packs} | set(root.garbage)
        gone = ({one.pack for one in before.packs} | set(before.garbage)) - needed
        if gone:
            failed = undeleted(self._backend, sorted(map(packs.key_of, gone)))
            hint = f"delete them by hand when the store allows it: {paths.some(failed, limit=20)}"
            warn_of_left(failed, self._warn, hint=hint)

    def _copy(self, pack: str, size: int) -> None:
        key, target = packs.key_of(pack), self._backend
        try:
            if isinstance(target, ServerSideCopy) and target.copies_from(unwrapped(self._source)):
                found = self._source.head(key)
                if found.size != size:
                    raise packs.damaged(pack, f"at the source it has {found.size:,} bytes instead of {size:,}")
                target.copy(unwrapped(self._source), key, key, size=size, etag=found.etag, progress=lambda copied: None)
                return
            target.put(key, lambda: self._checked(pack, key, size), size=size)
        except NotFound as exc:
            raise SourceChanged(f"a pack of the source has gone meanwhile: {exc.what}") from exc

    def _checked(self, pack: str, key: str, size: int) -> Iterator[Chunk]:
        digest = hashlib.sha256()
        for chunk in self._source.get(key, expected=size).chunks:
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != pack:
            raise packs.damaged(pack, "at the source it has other bytes than its name promises")
