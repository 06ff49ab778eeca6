"""How things stand: per entry the last run, the generation here and on S3, and what has drifted.

Reads only: this machine's memory, the directories by stat(2), and one small object per entry from S3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from s32s import paths
from s32s.errors import NotFound, S32sError
from s32s.maps import Entry, MapSet, Role
from s32s.roles.base import Machine, prefix_of
from s32s.state import INTERRUPTED, Result
from s32s.stores.local_target import LocalTarget


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """One entry as this machine sees it.

    Attributes:
        name, source, target: of the entry.
        last: how the last run ended, or None.
        generation: that S3 holds now; 0 without a manifest, None when S3 was not asked or did not answer.
        push: who has a push under way or unfinished, or None.
        drift: names of the target that differ from what the last run left; None when that is not known.
        trouble: why S3 did not answer; may be empty.
    """

    name: str
    source: str
    target: str
    last: Result | None
    generation: int | None
    push: str | None
    drift: int | None
    trouble: str

    @property
    def state(self) -> str:
        """The short word for the list."""
        if self.push:
            return f"unfinished push by {self.push}"
        if self.last is None or self.last.success_s is None:
            return "never run" if self.last is None else self._word_of_failure
        if not self.last.ok:
            return self._word_of_failure
        if self.trouble:
            return "S3 not reached"
        behind = (self.generation or 0) - self.last.generation
        if behind > 0:
            return f"{behind:,} generation{'s' if behind > 1 else ''} behind"
        if self.drift:
            return f"{self.drift:,} drifted"
        return "in step"

    @property
    def _word_of_failure(self) -> str:
        return "interrupted" if self.last is not None and self.last.status == INTERRUPTED else "failed"


def status(machine: Machine, loaded: MapSet, *, ask_s3: bool = True) -> list[EntryStatus]:
    """Status of every entry that this machine's role has."""
    role = machine.settings.role
    return [entry_status(entry, role, machine, ask_s3=ask_s3) for entry in loaded.of(role)]


def overdue(entries: Iterable[EntryStatus], limit_s: float, *, now_s: float) -> list[EntryStatus]:
    """The entries that have not succeeded for so long, or never: what monitoring wants to know."""
    return [
        entry
        for entry in entries
        if entry.last is None or entry.last.success_s is None or not 0 <= now_s - entry.last.success_s <= limit_s
    ]


def entry_status(entry: Entry, role: Role, machine: Machine, *, ask_s3: bool = True) -> EntryStatus:
    """Status of one entry in a role that it has."""
    source, target = entry.direction(role)
    generation, push, trouble = _ask(entry, machine) if ask_s3 and entry.manifest else (None, None, "")
    drift = None
    if role is Role.SLAVE:
        drift = LocalTarget(target, in_place=False, index=lambda: machine.state.index(target)).drift()
    return EntryStatus(
        name=entry.name,
        source=source,
        target=target,
        last=machine.state.result(entry.name, role.value),
        generation=generation,
        push=push,
        drift=drift,
        trouble=trouble,
    )


def _ask(entry: Entry, machine: Machine) -> tuple[int | None, str | None, str]:
    try:
        head = prefix_of(entry, machine).read_head()
    except NotFound:
        return 0, None, ""
    except S32sError as exc:
        return None, None, str(exc)
    if head is None:
        return 0, None, ""
    push = f"{paths.escape(head.push.host)}, begun {paths.escape(head.push.started)}" if head.push else None
    return head.generation, push, ""
