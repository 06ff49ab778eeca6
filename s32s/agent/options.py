"""What a command may ask for: its verb, and what goes beyond it."""

from __future__ import annotations

from dataclasses import dataclass

from s32s.core import paths
from s32s.core.errors import UsageError
from s32s.core.plan import Verb
from s32s.format.head import MAX_MESSAGE


@dataclass(frozen=True, slots=True)
class Options:
    """What a command may ask for beyond its verb.

    Attributes:
        verify: read every file and every listing; trust no index and no time stamp.
        force_delete: override `max_delete` and the guard against an empty source.
        take_over: override another master's unfinished push.
        accept_older: follow a generation older than the one followed last.
        jobs: how many bodies move at once at most; None for the configuration's.
        bandwidth: bytes a second in each direction; None for the configuration's.
        message: what is said of a push, for people.
        partial: go back to an earlier tree although some of its files are not to be had any more.
        below: a directory of the tree to which the run is limited, relative to its top; empty for all of it.

    Raises:
        UsageError: `below` is not such a path, or the message is too long.
    """

    verify: bool = False
    force_delete: bool = False
    take_over: bool = False
    accept_older: bool = False
    jobs: int | None = None
    bandwidth: int | None = None
    below: str = ""
    message: str = ""
    partial: bool = False

    def __post_init__(self) -> None:
        if self.below and (why := paths.problem(self.below)):
            raise UsageError(
                f"{paths.quote(self.below)} cannot be a directory of the tree: {why}",
                hint="name it relative to the top of the tree, such as css/fonts",
            )
        if len(self.message) > MAX_MESSAGE:
            raise UsageError(
                f"the message has {len(self.message):,} characters", hint=f"at most {MAX_MESSAGE} can be kept"
            )


def verb_of(text: Verb | str) -> Verb:
    """The verb of a name.

    Raises:
        UsageError: there is none.
    """
    try:
        return Verb(text)
    except ValueError as exc:
        raise UsageError(f"{text!r} is not a verb", hint="use sync, copy, dryrun or dryrun-copy") from exc
