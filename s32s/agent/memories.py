"""What a watch knows of a pair of places, from one run to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

from s32s.stores.local.memory import LocalMemory
from s32s.stores.objects.memory import PrefixMemory


@dataclass(slots=True)
class Memories:
    """What a watch knows of its two places; each is used by the store that it is of.

    Attributes:
        source_dir, target_dir: of a directory.
        source, target: of a prefix.
    """

    source_dir: LocalMemory = field(default_factory=LocalMemory)
    target_dir: LocalMemory = field(default_factory=LocalMemory)
    source: PrefixMemory = field(default_factory=PrefixMemory)
    target: PrefixMemory = field(default_factory=PrefixMemory)

    def forget(self) -> None:
        """Let the next run look at all of both."""
        for memory in (self.source_dir, self.target_dir, self.source, self.target):
            memory.forget()
