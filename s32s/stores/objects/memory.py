"""What a watch knows of a prefix from one run to the next, so that a run asks only for what may be new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s32s.backends.base import CREATE, OVERWRITE, Backend, PutMode, Replace
from s32s.core import paths
from s32s.core.errors import PreconditionFailed, StoreError, Unsupported
from s32s.core.tree import Tree
from s32s.stores.objects.prefix import FoundHead

if TYPE_CHECKING:
    from s32s.stores.objects.packed.prefix import PackedSnapshot

_PROBE = f"{paths.RESERVED}/probe"
_NO_ETAG = "0" * 32


@dataclass(slots=True)
class PrefixMemory:
    """What is known of one prefix.

    Attributes:
        found: the head that a run has read or written last.
        tree: what the prefix held then; None where that is not known.
        packed: all of it, of one that holds packs.
    """

    found: FoundHead = field(default_factory=FoundHead)
    tree: Tree | None = None
    packed: PackedSnapshot | None = None
    _is_strict: bool | None = None

    def keep(self, found: FoundHead, tree: Tree, packed: PackedSnapshot | None = None) -> None:
        """Remember what a run has found, or left."""
        self.found, self.tree, self.packed = found, tree, packed

    def forget(self) -> None:
        """Let the next run ask for all of it."""
        self.found, self.tree, self.packed = FoundHead(), None, None

    def is_strict(self, backend: Backend) -> bool:
        """Whether the server refuses a conditional write whose condition does not hold; tried once, on a key aside.

        Where it does, an answer that a write was done needs no look at what is then there.
        """
        if self._is_strict is None:
            self._is_strict = keeps_conditions(backend)
        return self._is_strict


def keeps_conditions(backend: Backend) -> bool:
    """Whether a server refuses what a condition forbids; tried on a key aside, by four requests."""
    if not backend.capabilities.conditional_put:
        return False

    def write(mode: PutMode) -> bool:
        try:
            backend.put(_PROBE, lambda: iter([b"s32s"]), size=4, mode=mode)
        except (PreconditionFailed, Unsupported):
            return False
        return True

    try:
        try:
            return write(OVERWRITE) and not write(CREATE) and not write(Replace(_NO_ETAG))
        finally:
            backend.delete([_PROBE])
    except StoreError:
        return False
