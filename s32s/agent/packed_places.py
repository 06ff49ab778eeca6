"""Prefixes in the packed layout, as what runs of this machine read and write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from s32s.agent.roles.writer import user
from s32s.agent.state import State
from s32s.backends.base import Backend
from s32s.core import paths
from s32s.core.errors import UsageError
from s32s.core.plan import Verb
from s32s.stores.objects.memory import PrefixMemory
from s32s.stores.objects.packed.prefix import PackedPrefix
from s32s.stores.objects.packed.publication import History
from s32s.stores.objects.packed.store import PackedStore
from s32s.stores.objects.source import Follower

if TYPE_CHECKING:
    from s32s.stores.objects.packed.shared import PackedShared
    from s32s.stores.objects.publisher import Writer


def check_whole(name: str, verb: Verb, below: str) -> None:
    """Refuse a part of a mirror: packs hold what they hold.

    Raises:
        UsageError: only a part was asked for.
    """
    if verb in (Verb.COPY, Verb.DRYRUN_COPY) or below:
        raise UsageError(
            f"the packs of {paths.quote(name)} are mirrored as a whole", hint="use s32s sync, without --below"
        )


def followed(
    backend: Backend, state: State, follower: Follower, *, label: str = "", memory: PrefixMemory | None = None
) -> PackedStore:
    """A prefix that is followed; see `PackedStore`."""
    return PackedStore(backend, cache=state.segments(), label=label, follower=follower, memory=memory)


def shared(
    backend: Backend,
    state: State,
    writer: Writer,
    *,
    keep: int,
    message: str,
    wait: Callable[[float], None],
    tell: Callable[[str], None],
) -> PackedShared:
    """A prefix that several people write to; see `PackedShared`."""
    from s32s.stores.objects.packed.shared import PackedShared  # for peers alone

    prefix = PackedPrefix(backend, cache=state.segments())
    return PackedShared(prefix, writer, History(keep, message, user()), wait=wait, tell=tell)


def written(
    backend: Backend,
    state: State,
    writer: Writer,
    *,
    keep: int,
    message: str,
    lock: Callable[[bool], AbstractContextManager[None]],
    warn: Callable[[str], None],
    label: str = "",
    kind: str = "",
    mirrors: Backend | None = None,
    verify: bool = False,
    memory: PrefixMemory | None = None,
) -> PackedStore:
    """A prefix that is written; see `PackedStore`.

    Args:
        kind: of use of what is cached, where one prefix is known for two.
    """
    return PackedStore(
        backend,
        cache=state.segments(kind),
        label=label,
        writer=writer,
        history=History(keep, message, user()),
        lock=lock,
        warn=warn,
        mirrors=mirrors,
        verify=verify,
        memory=memory,
    )
