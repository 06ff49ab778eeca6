"""How runs have ended: what this machine remembers of each entry, and tells in `status` and metrics."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from s32s.replication.checkpoints import Checkpoint

#: Status of a result that a signal or a person has ended: as of a command that SIGINT ended.
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Result:
    """How the last run of an entry in a role ended.

    Attributes:
        time_s: when it ended, in seconds since the epoch.
        ok: whether it succeeded.
        status: the exit status it would have had alone.
        text: what it did, or what went wrong.
        success_s: when it last succeeded; None if never.
        generation: the manifest generation that the destination follows; 0 without one.
        manifest: SHA-256 of its manifest; "" without one.
        listed_s: when manifest and LIST were last compared; None if never.
        pending: an `after` command that still has to run.
        seconds: that it took.
        files, size, deletions: what it moved, in files and bytes, and deleted.
        drift: paths that it found changed at the destination although the source had stood still.
        source, target: between which places it ran; "" where an older version has not noted them.
    """

    time_s: float
    ok: bool
    status: int
    text: str
    success_s: float | None = None
    generation: int = 0
    listed_s: float | None = None
    pending: bool = False
    seconds: float = 0.0
    files: int = 0
    size: int = 0
    deletions: int = 0
    drift: int = 0
    source: str = ""
    target: str = ""
    manifest: str = ""

    def ran_between(self, source: str, target: str) -> bool:
        """Whether the run was from and to these places, as far as that is known."""
        return self.source in ("", source) and self.target in ("", target)


_T = TypeVar("_T", Checkpoint, Result)
#: What the annotations of remembered facts allow; text, as annotations are not evaluated in this module.
_KINDS: dict[Any, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
    "float | None": (float, int, type(None)),
}
#: No time or duration that was remembered is as large: the year 5138.
_LATEST_S = 1e11


def of_facts(made: type[_T], data: str) -> _T:
    """What JSON says, if it has the types that were written.

    Raises:
        ValueError, TypeError: it does not, so it is not ours.
    """
    facts = json.loads(data)
    for field in fields(made):
        value = facts.get(field.name, field.default)
        if not isinstance(value, _KINDS[field.type]) or (isinstance(value, bool) and field.type != "bool"):
            raise TypeError(f"{field.name} is a {type(value).__name__}")
        if isinstance(value, float) and not (math.isfinite(value) and abs(value) < _LATEST_S):
            raise ValueError(f"{field.name} is out of range")
    return made(**facts)


def facts_of(result: Result) -> dict[str, Any]:
    """A result as JSON-ready facts."""
    return {name: getattr(result, name) for name in Result.__dataclass_fields__}
