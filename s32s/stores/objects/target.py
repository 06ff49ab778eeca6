"""A prefix as the target of a run: listed always, so that a push also heals what another tool has changed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from s32s.core import cures, tree
from s32s.core.errors import BadPath, IntegrityError, NotFound
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.format import manifest
from s32s.stores.base import Look, Policy, Position, Progress, Published, Snapshot, Transaction
from s32s.stores.objects.etags import CopyCache, copies_of, with_md5s, with_originals
from s32s.stores.objects.head_checks import lost_head, packs_there, warn_of_other_writer, warn_of_return
from s32s.stores.objects.listing import differences
from s32s.stores.objects.prefix import FoundHead, Listed, ManifestCache, Prefix
from s32s.stores.objects.publisher import Publisher, Writer
from s32s.stores.objects.source import ObjectSnapshot
from s32s.stores.objects.transaction import ObjectTransaction

if TYPE_CHECKING:
    from s32s.stores.objects.memory import PrefixMemory

_UNPUBLISHED = "a sync will publish the manifest"


class ObjectTarget:
    """A prefix that is open for writing; see `stores.base.Target`.

    Args:
        writer: who publishes.
        has_manifest: False to neither read nor write one.
        like_source: write one only where the source has one, or where one is already.
        copies: what is known of earlier copies; None where nothing is to be known.
        warn: told what people should know and stops nothing.
        memory: of a watch.
        takes_over: see `ObjectStore`.
    """

    def __init__(
        self,
        prefix: Prefix,
        writer: Writer,
        *,
        has_manifest: bool,
        like_source: bool,
        manifests: ManifestCache,
        copies: CopyCache | None,
        warn: Callable[[str], None],
        memory: PrefixMemory | None = None,
        takes_over: Callable[[str], None] | None = None,
    ) -> None:
        self._prefix = prefix
        self._writer = writer
        self._has_manifest = has_manifest
        self._like_source = like_source
        self._manifests = manifests
        self._copies = copies
        self._warn = warn
        self._memory = memory
        self._takes_over = takes_over
        self._looked = False
        self._transaction: ObjectTransaction | None = None

    def look(self) -> Look[ObjectSnapshot]:
        """The head, then a LIST: a push that ends in between is noticed when the head is claimed.

        A watch asks for neither: whether the head is still the one that it has left, its claim shows.
        """
        known = self._memory
        if known is not None and self._looked:
            known.forget()
        self._looked = True
        if known is not None and known.tree is not None:
            mine = ObjectSnapshot(known.tree, known.found.position, found=known.found, has_manifest=self._has_manifest)
            return Look(lambda: None, lambda: mine, mine.position, lambda: mine.tree)
        with self._prefix.named():
            return self._look()

    def _look(self) -> Look[ObjectSnapshot]:
        found = self._prefix.read_head() if self._has_manifest else FoundHead()
        warn_of_other_writer(found, self._writer, self._prefix.backend.location, self._warn)
        stored = self._prefix.list_objects()
        if stored.has_packs and not self._has_manifest:
            raise packs_there(self._prefix.backend.location)
        if stored.has_packs and found.head is None and not self._writer.take_over:
            raise lost_head(self._prefix.backend.location, for_plain=True)
        if stored.has_packs and found.head is not None and not found.head.is_packed and not self._like_source:
            why = "has packs that nothing needs, left by a conversion that was cut off"
            self._warn(f"{self._prefix.backend.location} {why}; {cures.NO_PACKS}")
        listed = stored.tree
        published = found.manifest.sha256 if found.head and found.manifest and not found.head.push else ""

        def fingerprint() -> str:
            return hashlib.sha256(f"{listed.digest()} {published}".encode()).hexdigest()

        def known_tree() -> Tree:
            return self._prefix.manifest_tree(found.manifest) if found.manifest else listed

        position = found.position._replace(note="")
        return Look(fingerprint, lambda: self._snapshot(found, stored, position), position, known_tree)

    def refine(self, mine: ObjectSnapshot, *, against: Snapshot, jobs: int, progress: Progress) -> ObjectSnapshot:
        """Ask which ETags are MD5s where the comparison hangs on it; see `stores.base.Target`."""
        if self._like_source and not against.position.generation and mine.found.head is None:
            mine = replace(mine, is_published=True, has_manifest=False, position=Position())
        return with_md5s(mine, self._prefix.backend, against.tree, mine.tree, jobs=jobs, progress=progress)

    def check(self, mine: ObjectSnapshot, plan: Plan, wanted: Tree) -> None:
        """Refuse what no manifest could hold; see `stores.base.Target`.

        Raises:
            Refused: there are too many paths, or the objects there are somebody else's.
        """
        touched = len(plan.extras) + sum(put.old is not None for put in plan.puts)
        if self._takes_over is not None and mine.found.head is None and touched:
            self._takes_over(
                f"{self._prefix.backend.location} contains what s32s has never published, "
                f"and {touched:,} of it would be replaced or deleted"
            )
        if mine.has_manifest and not (plan.is_empty and mine.is_published):
            manifest.check_size(wanted)
        if not plan.is_empty and mine.found.head is None and not len(mine.tree):
            self._warn_of_limits()

    def check_changeable(self) -> None:
        """See `stores.base.Target`; the claim finds out."""

    @contextlib.contextmanager
    def transaction(self, mine: ObjectSnapshot, plan: Plan, policy: Policy) -> Iterator[Transaction]:
        """Open a push. Left early, the old head still names the old generation, with the claim of an unfinished push.

        Raises:
            Conflict: another master is at it.
        """
        publisher, backend, known = None, self._prefix.backend, self._memory
        like = None
        if known is not None:
            # Unless all ends well, nobody knows what the prefix holds.
            like = mine.tree if known.tree is mine.tree else None
            known.forget()
        if mine.has_manifest:
            warn_of_return(mine.found, self._writer, backend.location, self._warn)
            publisher = Publisher(
                backend,
                self._writer,
                mine.found,
                self._manifests,
                like=like,
                manifests=mine.manifests,
                is_strict=known is not None and known.is_strict(backend),
            )
        self._transaction = transaction = ObjectTransaction(backend, plan, publisher)
        transaction.claim()
        yield transaction

    def remember(self, mine: ObjectSnapshot, plan: Plan, published: Published | None) -> None:
        """Keep which copy belongs to which original; see `stores.base.Target`."""
        self._keep(mine, plan, published)
        if self._copies is None:
            return
        known, copies = self._copies.load(), copies_of(plan, published)
        copies |= {item.path: known[item.path] for item in plan.spared if item.path in known}
        if copies != known:
            self._copies.save(copies)

    def _keep(self, mine: ObjectSnapshot, plan: Plan, published: Published | None) -> None:
        """Let a watch know what the prefix holds now."""
        if self._memory is None or self._copies is not None:
            return
        if published is None:
            if mine.is_published:
                self._memory.keep(mine.found, mine.tree)
        elif self._transaction is not None and (left := self._transaction.left(mine.tree)) is not None:
            self._memory.keep(*left)

    def _snapshot(self, found: FoundHead, stored: Listed, position: Position) -> ObjectSnapshot:
        """The objects by LIST, with what the manifest knows of them."""
        with self._prefix.named():
            made, is_published = self._tree(found, stored.tree)
        if self._copies is not None:
            made = with_originals(made, self._copies.load())
        position = position if is_published else position._replace(note=_UNPUBLISHED)
        return ObjectSnapshot(
            made,
            position,
            is_published,
            found=found,
            has_manifest=self._has_manifest,
            manifests=stored.manifests,
        )

    def _tree(self, found: FoundHead, listed: Tree) -> tuple[Tree, bool]:
        """The items, and whether a manifest describes exactly these."""
        if not self._has_manifest:
            return listed, True
        if found.head is None or found.manifest is None:
            return listed, False
        try:
            known = self._prefix.manifest_tree(found.manifest)
        except (NotFound, IntegrityError, BadPath):
            return listed, False  # the push writes a new one
        different = set(differences(known, listed))
        is_published = not different and found.head.push is None
        if not different and not any(listed.of_kind(Kind.DIR)):
            return known, is_published
        items: dict[str, Item] = {}
        for item in listed:
            told = known.get(item.path)
            items[item.path] = told if told is not None and item.path not in different else item
            if told is not None and told.kind is Kind.DIR and item.kind is Kind.DIR:
                items[item.path] = told._replace(etag=item.etag)
        for item in known:
            if item.kind is not Kind.FILE and item.path not in items:
                items[item.path] = item
        return tree.make(items.values()), is_published

    def _warn_of_limits(self) -> None:
        """Say what the place cannot do, before the first thing is written there."""
        able = self._prefix.backend.capabilities
        if not self._has_manifest:
            self._warn("without a manifest, the target keeps no modes and no times")
        elif not able.conditional_put:
            self._warn("the target has no conditional writes: let one computer alone write there")
        if self._copies is not None and not able.metadata:
            self._warn("the target keeps no headers and no metadata of objects")
