"""What a watch knows of a directory from one run to the next, so that a run looks only at what may have changed.

It holds what the last run has found, and where that may not be true any more. A look at these places makes a patch: the
same listing, less what has gone, with what has come. Whatever goes wrong, the memory is forgotten or stays marked, so
that the next run looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from s32s.core.changes import Changes
from s32s.core.tree import Tree
from s32s.stores.local.stat_cache import StatCache
from s32s.stores.local.walk import DirectoryListing, Patch


@dataclass(slots=True)
class LocalMemory:
    """What is known of one directory.

    Attributes:
        take: hands over where something may have changed since it was last called; by default nobody else changes it.
        listing, tree: what the last run has found, and what the files hold; None where that is not known.
        cache: the stat cache; None where it is to be loaded.
        unsaved: whether the stat cache knows more than what was saved.
    """

    take: Callable[[], Changes] = Changes
    listing: DirectoryListing | None = None
    tree: Tree | None = None
    cache: StatCache | None = None
    unsaved: bool = False
    _marked: Changes = field(default_factory=Changes)

    def look(self, walk: Callable[[str, bool], DirectoryListing]) -> Patch | None:
        """What the directory holds now, by a look at the marked paths alone; None where all of it must be walked.

        Args:
            walk: looks at a path, and at all below it where it is told so.
        """
        self._marked.add(self.take())
        if self.listing is None or self.tree is None or self._marked.everything:
            return None
        known, come = self.listing, DirectoryListing()
        come.file_bits = known.file_bits
        gone: set[int] = set()
        seen: set[str] = set()
        for path, deep in self._marked.tops():
            row = known.find(path)
            was_dir = row is not None and known.is_dir(row)
            found = walk(path, deep)
            is_dir = len(found) > 0 and found.is_dir(0)
            if is_dir and not was_dir and not deep:
                found = walk(path, True)
            if row is not None:
                gone.add(row)
            if deep or (was_dir and not is_dir):
                gone.update(known.below(path))
            for at, name in enumerate(found.paths):
                if name not in seen:
                    seen.add(name)
                    come.extend(found, at, at + 1)
            come.targets |= found.targets
            come.errors |= found.errors
        come = come.in_order()
        dropped = sorted(gone)
        return Patch(known.patched(dropped, come), tuple(known.paths[row] for row in dropped), come, self.tree)

    def keep(self, listing: DirectoryListing, tree: Tree, cache: StatCache, *, saved: bool) -> None:
        """Remember what a run has found, after a look at all that was marked."""
        self.listing, self.tree, self.cache = listing, tree, cache
        self.unsaved = not saved
        self._marked = Changes()

    def mark(self, path: str) -> None:
        """Let a path and all below it be looked at again; everything with ""."""
        self._marked.mark(path, deep=True)

    def forget(self) -> None:
        """Let the next run walk all of it; what the files hold stays known."""
        self.listing = self.tree = None
