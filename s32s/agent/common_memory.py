"""What this machine knows to be equal in a shared folder and at its prefix, kept between runs.

A file holds all of it; another one, beside, what has become equal since, a line a path, so that a run that is killed
loses nothing of it. Both are lines of a manifest.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from s32s.core import tree
from s32s.core.errors import BadPath, IntegrityError
from s32s.core.item import Item
from s32s.core.tree import Tree
from s32s.format import manifest
from s32s.replication.merge_job import Common
from s32s.system import atomic, locks

_FORMAT = 1


class CommonMemory:
    """The memory of one folder and one place; see `merge_job.Memory`.

    Args:
        directory: of the state.
        folder, place: which two.
        writable: False keeps nothing.
    """

    def __init__(self, directory: Path, folder: str, place: str, *, writable: bool = True) -> None:
        name = locks.digest(f"{folder}\n{place}")
        self._file = directory / "peers" / f"{name}.jsonl.zst"
        self._journal = directory / "peers" / f"{name}.journal"
        self._writable = writable
        self._open: IO[str] | None = None

    def load(self) -> Common:
        """What is known; nothing where it was lost or is damaged."""
        try:
            data = self._file.read_bytes()
            first, *lines = manifest.lines_of(data, self._file.name)
            facts = json.loads(first)
            if facts["format"] != _FORMAT:
                return Common(tree.make(()))
            known = manifest.tree_of(lines, self._file.name, room=4095, weight=len(data))
            strict = facts.get("strict")
            common = Common(
                known,
                int(facts["generation"]),
                str(facts["folder"]),
                strict if strict in (0, 1) else None,
                str(facts.get("manifest", "")),
            )
        except FileNotFoundError:
            return Common(tree.make(()))
        except (IntegrityError, BadPath, ValueError, KeyError, TypeError):
            return Common(tree.make(()))
        return common._replace(tree=self._with_journal(common.tree))

    def note(self, path: str, item: Item | None) -> None:
        """See `merge_job.Memory`."""
        if not self._writable:
            return
        if self._open is None:
            self._file.parent.mkdir(mode=0o700, exist_ok=True)
            self._open = self._journal.open("a", encoding="utf-8")
        self._open.write(json.dumps({"gone": path}) + "\n" if item is None else manifest.line_of(item))
        self._open.flush()

    def save(self, common: Common) -> None:
        """See `merge_job.Memory`."""
        if not self._writable:
            return
        facts = {"format": _FORMAT, **common._asdict(), "strict": common.is_strict}
        del facts["tree"], facts["is_strict"]
        head = json.dumps(facts) + "\n"
        data, _ = manifest.packed([head.encode(), *(manifest.line_of(item).encode() for item in common.tree)])
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        atomic.write_atomic(self._file, data, mode=0o600)
        self.close()
        self._journal.unlink(missing_ok=True)

    def forget(self) -> None:
        """Forget all of it."""
        self.close()
        self._file.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _with_journal(self, known: Tree) -> Tree:
        changed: dict[str, Item | None] = {}
        for line in self._noted():
            with contextlib.suppress(IntegrityError, BadPath, ValueError):
                facts = json.loads(line)
                if isinstance(facts.get("gone"), str):
                    changed[facts["gone"]] = None
                    continue
                for item in manifest.tree_of([line], self._journal.name, room=4095, weight=0):
                    changed[item.path] = item
        return (
            known.patched(list(changed), [item for item in changed.values() if item is not None]) if changed else known
        )

    def _noted(self) -> Iterator[str]:
        try:
            text = self._journal.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return
        # The last line may have been cut off when the run was killed.
        yield from text.split("\n")[:-1]
