"""`trash` and `forget`: what shared folders have lost, and what is remembered of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import UsageError
from s32s.frontends.cli.commands.common import confirm, open_context, print_json

if TYPE_CHECKING:
    import argparse
    import threading

    from s32s.agent.roles.base import AgentContext
    from s32s.agent.trash import SharedTrash


def trash_usage(options: argparse.Namespace, stop: threading.Event) -> int:
    raise UsageError("an action is missing", hint="s32s trash list, restore or empty; see s32s trash --help")


def trash_list(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends.render import moments
    from s32s.frontends.render.layout import amount, table

    with open_context(options, writable=False) as agent:
        lost = _trash(options.name, agent).found()
    if options.json:
        for one in lost:
            print_json(
                {
                    "event": "trashed",
                    "id": one.id,
                    "where": one.where,
                    "when_s": one.when_s,
                    "who": one.who,
                    "path": one.path,
                    "size": one.size,
                }
            )
        return 0
    if not lost:
        print(f"the trash of {paths.escape(options.name)} is empty")
        return 0
    rows = [
        [
            moments.minute(one.when_s),
            one.where,
            paths.escape(one.who) or "-",
            amount(one.size),
            paths.escape(one.path),
            one.id,
        ]
        for one in lost
    ]
    when = f"WHEN ({moments.zone(one.when_s for one in lost)})"
    print(*table([[when, "WHERE", "BY", "SIZE", "PATH", "ID"], *rows], right={3}), sep="\n")
    return 0


def trash_restore(options: argparse.Namespace, stop: threading.Event) -> int:
    with open_context(options) as agent:
        came = _trash(options.name, agent).restore(options.paths, number=options.id)
    for path in came:
        if options.json:
            print_json({"event": "restored", "path": path})
        else:
            print(f"restored  {paths.escape(path)}")
    return 0


def trash_empty(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.config.settings import duration_s

    try:
        older_s = duration_s(options.older)
    except ValueError as exc:
        raise UsageError(f"--older: {exc}") from exc
    whose = "for everybody, here and on S3" if options.everywhere else "on this computer"
    confirm(f"Remove for good what is in the trash of {paths.escape(options.name)} {whose}?", yes=options.yes)
    with open_context(options) as agent:
        here, there = _trash(options.name, agent).empty(older_s=older_s, everywhere=options.everywhere)
    if options.json:
        print_json({"event": "emptied", "here": here, "s3": there})
    else:
        print(f"removed: {here:,} here" + (f", {there:,} on S3" if options.everywhere else ""))
    return 0


def forget(options: argparse.Namespace, stop: threading.Event) -> int:
    """Forget a shared folder."""
    from s32s.agent.sharing import forget_shared

    confirm(
        f"Forget what {' and '.join(map(paths.escape, options.names))} had in common with S3"
        f"{', for everybody' if options.everywhere else ''}? No file is touched.",
        yes=options.yes,
    )
    with open_context(options) as agent:
        told = forget_shared(agent, options.names, everywhere=options.everywhere)
    if options.json:
        print_json({"event": "forgotten", "folders": list(told)})
    else:
        print(f"forgotten: {', '.join(told)}" if told else "there was nothing to forget")
    return 0


def _trash(name: str, agent: AgentContext) -> SharedTrash:
    from s32s.agent import catalog
    from s32s.agent.runner import choose
    from s32s.agent.sharing import entry_at, no_entry
    from s32s.agent.trash import SharedTrash
    from s32s.core.location import is_location
    from s32s.core.role import Role

    if is_location(name):
        return SharedTrash(entry_at(name, agent), agent)
    if not agent.settings.has_maps:
        raise no_entry(name)
    (entry,) = choose(catalog.load(agent.settings.maps, agent.state, agent.engine), [name], Role.PEER)
    if entry.peer is None:
        raise UsageError(f"the entry {paths.quote(name)} is not a shared folder: it has no peer")
    return SharedTrash(entry, agent)
