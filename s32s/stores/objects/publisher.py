"""One master's hold on a head: claim it, publish a generation, give the claim up with it.

A claim that is not ours stops a second master before it has overwritten anything. The claim and the publish are
conditional writes of the head; see `heads.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import NamedTuple

from s32s.backends.base import Backend
from s32s.core import paths
from s32s.core.errors import Conflict, StoreError
from s32s.core.tree import Tree
from s32s.format import manifest
from s32s.format.head import Change, Claim, Head, ManifestRef
from s32s.stores.base import Position
from s32s.stores.objects.heads import HeadWriter
from s32s.stores.objects.prefix import FoundHead, ManifestCache


class Writer(NamedTuple):
    """Who pushes.

    Attributes:
        id: this machine's own random id.
        host: its name, for people.
        now: the time as UTC in ISO 8601.
        generation: the last one that this machine has published there; the next one is higher, whatever the head says.
        take_over: whether a claim of another master is overridden.
        user: who works there, for people.
        message: what is said of the push.
        of: for a rollback, the generation whose content it publishes.
    """

    id: str
    host: str
    now: Callable[[], str]
    take_over: bool = False
    generation: int = 0
    user: str = ""
    message: str = ""
    of: int = 0


class Publisher:
    """One master's hold on a head.

    Args:
        found: the head as it is.
        like: what its manifest was made of, where the new one is to be made from that.
        is_strict: whether the server is known to refuse what a condition forbids, so that its answers are proof enough.
        manifests: the keys of all that are there, as far as they are known.
        settles: whether it is known not to, so that a claim is left alone for a moment before it is believed.
    """

    def __init__(
        self,
        backend: Backend,
        writer: Writer,
        found: FoundHead,
        cache: ManifestCache,
        *,
        like: Tree | None = None,
        is_strict: bool = False,
        settles: bool = False,
        manifests: frozenset[str] = frozenset(),
    ) -> None:
        self._backend = backend
        self._cache = cache
        self._writer = writer
        self._heads = HeadWriter(backend, writer.id, found, is_strict=is_strict)
        self._like = like
        self._settles = settles
        self._dropped: str | None = None  # the manifest that is named no more
        self._manifests = manifests

    @property
    def found(self) -> FoundHead:
        """The head as we have left it."""
        return self._heads.found

    def claim(self) -> bool:
        """Write a head with our claim; return whether a push that died is being healed.

        Raises:
            Conflict: another master has a claim, or was quicker.
        """
        before = self._heads.found.head
        claim = before.push if before else None
        if claim is not None and claim.writer != self._writer.id and not self._writer.take_over:
            raise Conflict(
                f"another master, {paths.escape(claim.host)}, began a push to {self._backend.location} "
                f"at {paths.escape(claim.started)} and has not finished it",
                hint="wait for it; if it died, push from there again, or take over here with --take-over",
            )
        base = before or Head(generation=0, writer=self._writer.id, nonce="", host=self._writer.host, time="")
        mine = Claim(writer=self._writer.id, host=self._writer.host, started=self._writer.now())
        self._heads.write(base.model_copy(update={"push": mine}), what="begin the push")
        if self._settles or not self._backend.capabilities.conditional_put:
            self._heads.settle("begin the push")
        return claim is not None

    def renew(self) -> None:
        """Show that the claim is alive: the head gets another nonce.

        Raises:
            Conflict: the head is no longer ours.
        """
        self._heads.write(self._held(), what="continue the push")

    def release(self) -> None:
        """Give up a claim, of the generation that the head names.

        Raises:
            Conflict: the head is no longer ours.
        """
        self._heads.write(self._held().model_copy(update={"push": None}), what="end the push")

    def publish(
        self,
        published: Tree,
        *,
        changed: Collection[str] = (),
        counts: tuple[int, int, int] = (0, 0, 0),
        keeps_claim: bool = False,
    ) -> Position:
        """Write the manifest and the head of the next generation.

        Args:
            changed: paths whose items may be others than before.
            counts: how many files and links are new, modified and deleted.
            keeps_claim: for `release`, as something is still to be done before another one may push.

        Raises:
            Conflict: the head is no longer ours.
        """
        held = self._held()
        data, ref = self._encoded(published, held, changed)
        self._backend.put(ref.key, lambda: iter([data]), size=len(data))
        head = Head(
            # Slaves refuse one that is not higher than the last that they have followed.
            generation=max(held.generation, self._writer.generation) + 1,
            writer=self._writer.id,
            nonce="",
            host=self._writer.host,
            time=self._writer.now(),
            files=published.files,
            size=published.size,
            manifest=ref,
            previous=held.manifest.key if held.manifest else None,
            push=held.push if keeps_claim else None,
            change=self._change(*counts),
        )
        self._heads.write(head, what="publish")
        self._cache.save(self._backend.location, data)
        return Position(head.generation, ref.sha256)

    def forget_old_manifests(self) -> None:
        """Delete manifests that neither this generation nor the one before names; readers may still be at that one.

        Among them are those that a push has left which died.
        """
        head = self._held()
        kept = {head.manifest.key if head.manifest else None, head.previous}
        gone = {*self._manifests, self._dropped}
        # Tidying only: what stays costs a few bytes. The same content may have come back under the same key.
        with contextlib.suppress(StoreError):
            self._backend.delete(sorted(key for key in gone if key is not None and key not in kept))

    def _encoded(self, published: Tree, held: Head, changed: Collection[str]) -> tuple[bytes, ManifestRef]:
        self._dropped = held.previous
        if self._like is not None and held.manifest is not None:
            before = self._cache.load(self._backend.location, held.manifest.sha256)
            if before is not None:
                from s32s.format import manifest_patch  # for a watch alone

                return manifest_patch.write(published, (before, self._like), changed)
        return manifest.to_bytes(published)

    def _change(self, new: int, modified: int, deleted: int) -> Change:
        me = self._writer
        return Change(user=me.user, message=me.message, new=new, modified=modified, deleted=deleted, of=me.of)

    def _held(self) -> Head:
        if self._heads.found.head is None:
            raise AssertionError("publish without a claim")
        return self._heads.found.head
