"""`status`: how the entries of this machine stand."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from s32s.core.errors import UsageError
from s32s.frontends.cli.commands.common import open_machine, print_json, report_problems

if TYPE_CHECKING:
    import argparse


def status(options: argparse.Namespace, stop: threading.Event) -> int:
    import time
    from dataclasses import replace

    from s32s.agent import catalog
    from s32s.agent.holds import stray_holds
    from s32s.agent.runner import choose
    from s32s.agent.status import overdue
    from s32s.config import map_files, settings
    from s32s.core import paths
    from s32s.frontends.render import statuses

    try:
        limit_s = settings.duration_s(options.check) if options.check else None
    except ValueError as exc:
        raise UsageError(f"--check: {exc}") from exc
    with open_machine(options, writable=False) as agent:
        source = agent.settings.maps
        if options.offline:
            cached = catalog.cached(source, agent.state, agent.engine)
            loaded = cached or map_files.load(())
        else:
            loaded = cached = agent.load_maps()
        asked = loaded
        if options.names:
            asked = replace(loaded, entries=tuple(choose(loaded, options.names, agent.settings.role)))
        strays = stray_holds(loaded, agent.state)
        entries = agent.status(maps=asked, ask_s3=not options.offline)
    if options.json:
        for entry in entries:
            print_json(statuses.status_line(entry))
    else:
        statuses.show(f"role {agent.settings.role.value}, maps {source}", entries)
    unreachable = [entry for entry in entries if entry.unreachable]
    for entry in unreachable[:1]:
        of = f" (for {len(unreachable):,} of {len(entries):,} entries)" if len(unreachable) < len(entries) else ""
        print(f"s32s: S3 unreachable{of}: {entry.trouble}", file=sys.stderr)
    late = overdue(entries, limit_s, now_s=time.time()) if limit_s is not None else []
    for entry in late:
        why = "its path has changed since, and " if entry.is_moved else ""
        print(f"s32s: {entry.name}: {why}no success within {options.check}", file=sys.stderr)
    for hold in strays:
        print(f"s32s: {paths.escape(hold.entry)}: {hold.stray_words}", file=sys.stderr)
    if not entries:
        role = agent.settings.role.value
        empty = f"no entry of the maps has a {role}" if cached else f"the maps at {source} were never fetched here"
        print(f"s32s: {empty}", file=sys.stderr)
    is_blind = limit_s is not None and not entries
    bad = report_problems(loaded.problems) or int(bool(late) or is_blind)
    if bad or not any(entry.trouble for entry in entries):
        return bad
    return unreachable[0].trouble_status if unreachable else 1
