"""A place that several people share, whatever its layout: what `replication.reconcile` asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from s32s.backends.base import Backend
from s32s.core.item import Item, Kind
from s32s.core.plan import Plan
from s32s.core.tree import Tree
from s32s.stores.base import Position, Reading, S, Transaction


class SharedPush(Transaction, Protocol):
    """What one person writes there, between the look that it is made from and its end."""

    @property
    def tree(self) -> Tree:
        """What the place holds, once that is published."""
        ...

    def keep_deleted(self, *, jobs: int) -> None:
        """Keep what is about to be deleted in the deleted folder; called before `publish`.

        Args:
            jobs: how many requests may be under way.
        """
        ...

    def leave(self, path: str) -> None:
        """Leave a file as it is there: it could not be read, or keeps changing."""
        ...


class SharedStore(Protocol[S]):
    """A place that is open for one person; `S` are its snapshots.

    Attributes:
        expects_head: whether there was a head when this machine has looked last.
        is_strict: whether the server keeps conditions; None where that is still to be tried.
    """

    expects_head: bool
    is_strict: bool | None

    @property
    def backend(self) -> Backend:
        """Where it is."""
        ...

    def look(self) -> S:
        """What it holds at one moment at which nobody writes.

        Raises:
            Conflict: somebody is always at it.
            S32sError: what is there cannot be read.
        """
        ...

    def position(self) -> Position | None:
        """Where it stands by its head alone; None where somebody writes, or nobody has yet."""
        ...

    def read(self, items: Sequence[Item], *, jobs: int) -> Reading:
        """The bodies of items of the last look; see `stores.base.Source.read`."""
        ...

    def transaction(self, mine: S, plan: Plan) -> AbstractContextManager[SharedPush]:
        """Write there.

        Raises:
            Conflict: somebody else was quicker, now or when it is published; the others see nothing of it.
        """
        ...


#: One of any layout.
SharedPlace = SharedStore[Any]


def going(plan: Plan) -> list[Item]:
    """The files and links that a plan deletes, or that make way for another kind; in the order of their paths."""
    gone = [*plan.extras, *(put.old for put in plan.puts if put.old is not None and put.old.kind is not put.item.kind)]
    return sorted((item for item in gone if item.kind is not Kind.DIR), key=lambda item: item.path)
