"""`log`, `diff`, `rollback`, `restore`: generations of an entry; `convert` from one layout to the other."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import NoHistory, Refused, UsageError
from s32s.core.item import only_directories
from s32s.core.text import count
from s32s.frontends.cli.commands.common import confirm, has_person, open_machine, print_json, says_yes

if TYPE_CHECKING:
    import argparse
    import threading

    from s32s.agent.agent import Agent
    from s32s.agent.earlier import EarlierGenerations
    from s32s.config.maps import Entry, MapSet
    from s32s.core.plan import Plan
    from s32s.frontends.render.json_generations import DifferentPath
    from s32s.replication.job import Outcome


#: So many paths are named without being asked for.
_FEW = 20


def log(options: argparse.Namespace, stop: threading.Event) -> int:
    """Show the generations of an entry."""
    from s32s.core.role import Role
    from s32s.frontends.render import moments
    from s32s.frontends.render.layout import amount, table

    with open_machine(options, writable=False) as agent:
        is_kept = agent.settings.role is Role.SLAVE and _tell_kept(options, agent)
        try:
            found = _earlier(options, agent).log()
        except NoHistory as exc:
            if not is_kept:
                raise
            print(f"s32s: {exc.what}", file=sys.stderr)
            return 0
    if options.json:
        for one, is_current, is_counted in found:
            print_json(
                {
                    "event": "generation",
                    "entry": options.name,
                    "generation": one.number,
                    "current": is_current,
                    "published": one.time,
                    "host": one.host,
                    "user": one.user,
                    "message": one.message,
                    "files": one.files,
                    "bytes": one.size,
                    "new": one.new if is_counted else None,
                    "modified": one.modified if is_counted else None,
                    "deleted": one.deleted if is_counted else None,
                    "rollback_to": one.of,
                }
            )
        return 0
    if not found:
        print(f"nothing has been pushed to {paths.escape(options.name)} yet")
        return 0
    rows = [
        [
            f"{one.number:,}{'*' if is_current else ''}",
            one.time if (at_s := moments.seconds_of(one.time)) is None else moments.full(at_s),
            paths.escape(f"{one.user}@{one.host}" if one.user else one.host),
            f"+{one.new:,} ~{one.modified:,} -{one.deleted:,}" if is_counted else "",
            f"{one.files:,}",
            amount(one.size),
            paths.escape(one.message),
        ]
        for one, is_current, is_counted in found
    ]
    known = [at_s for one, _, _ in found if (at_s := moments.seconds_of(one.time)) is not None]
    head = ["GENERATION", f"TIME ({moments.zone(known)})", "BY", "CHANGES", "FILES", "SIZE", "MESSAGE"]
    print(*table([head, *rows], right={0, 4, 5}), sep="\n")
    return 0


def _tell_kept(options: argparse.Namespace, agent: Agent) -> bool:
    """Show which earlier trees are kept on this slave, before S3 is asked; whether there are any."""
    from s32s.agent.kept_trees import kept_trees
    from s32s.frontends.cli.commands.holds import kept_words

    try:
        kept = kept_trees(entry_of(options.name, agent, agent.load_maps_here()))
    except Refused as exc:  # which hides nothing of what S3 has
        print(f"s32s: {exc}", file=sys.stderr)
        return False
    if options.json:
        for tree in kept:
            print_json(
                {
                    "event": "kept",
                    "entry": options.name,
                    "generation": tree.generation,
                    "until_s": tree.until_s,
                    "files": tree.files,
                    "bytes": tree.size,
                }
            )
    elif kept:
        print(f"kept on this machine: {kept_words(kept)}")
    return bool(kept)


def diff(options: argparse.Namespace, stop: threading.Event) -> int:
    """Show what two generations do not have in common."""
    from s32s.core.item import changed_by
    from s32s.frontends.render.differences import change_of, difference_line, reason_of
    from s32s.frontends.render.merges import last_changed

    with open_machine(options, writable=False) as agent:
        before, after, found = _earlier(options, agent).diff(options.before, options.after)
    for one in found:
        if options.json:
            item = one.after or one.before
            line: DifferentPath = {
                "event": "difference",
                "entry": options.name,
                "path": one.path,
                "what": change_of(one),
                "kind": (one.after or one.before).kind.value,  # type: ignore[union-attr] # one of them is there
                "kind_before": one.before.kind.value if one.before else None,
                "size": item.size if item else 0,
                "size_before": one.before.size if one.before else None,
            }
            if (reason := reason_of(one)) is not None:
                line["reason"] = reason.value
            if one.after is not None and one.after.changed:
                line["by"], line["at"] = changed_by(one.after)
            print_json(line)
        else:
            by = last_changed(one.after)
            print(f"  {difference_line(one)}{f'  {by}' if by else ''}")
    if not options.json:
        differ = "path differs" if len(found) == 1 else "paths differ"
        print(f"generation {before:,} to {after:,}: {len(found):,} {differ}")
    return 0


def rollback(options: argparse.Namespace, stop: threading.Event) -> int:
    """Publish what an earlier generation held as the next one; on a slave, go back to an earlier tree."""
    from s32s.core.role import Role
    from s32s.frontends.cli.commands import holds

    with open_machine(options) as agent:
        if agent.settings.role is Role.SLAVE:
            loaded = agent.load_maps_here()
            return holds.go_back(options, entry_of(options.name, agent, loaded), loaded, agent, stop)
        entry = entry_of(options.name, agent)
        position, number = _earlier(options, agent).roll_back(options.generation, message=options.message)
    if options.json:
        print_json({"event": "rolled_back", "entry": options.name, "generation": position.generation, "to": number})
        return 0
    is_shared = entry.peer is not None
    print(
        f"{paths.escape(options.name)}: generation {position.generation:,} holds what generation {number:,} held; "
        f"{'the folders of all' if is_shared else 'its servers'} follow at their next sync"
    )
    if not is_shared:
        print(
            "the directory of this master is as it was: the next push from here publishes that again", file=sys.stderr
        )
    return 0


def restore(options: argparse.Namespace, stop: threading.Event) -> int:
    """Bring files of a generation back."""
    from s32s.agent.earlier import place_for

    with open_machine(options) as agent:
        generations = _earlier(options, agent)
        to = place_for(entry_of(options.name, agent), agent, options.to)

        def approve(plan: Plan) -> bool:
            changed = [put.item.path for put in plan.puts if put.old is not None]
            if not changed or options.yes:
                return True
            if not has_person():
                raise Refused(
                    f"{count(len(changed), 'path')} there with other content: {paths.some(changed)}",
                    hint="--yes replaces them; --to DIR brings them elsewhere",
                )
            return says_yes(f"Replace {paths.some(changed)}?")

        outcome = generations.restore(
            options.paths, number=options.generation, to=options.to, stop=stop, approve=approve
        )
    came = [put.item.path for put in outcome.plan.puts]
    for path in came:
        if options.json:
            print_json({"event": "restored", "path": path})
        elif options.verbose or len(came) <= _FEW:
            print(f"restored  {paths.escape(path)}")
    if options.json:
        print_json(
            {
                "event": "restore",
                "entry": options.name,
                "generation": outcome.source.generation,
                "restored": len(came),
                "unchanged": len(outcome.plan.unchanged),
                "bytes": outcome.plan.size,
                "to": os.path.abspath(to),
            }
        )
    else:
        _tell_restored(options.name, outcome, os.path.abspath(to))
    return 0


def _tell_restored(name: str, outcome: Outcome, to: str) -> None:
    """What came back, from when, and where it is now."""
    from s32s.core.summary import files
    from s32s.frontends.render.layout import amount

    plan, of = outcome.plan, f"generation {outcome.source.generation:,}"
    there = paths.escape(to)
    if plan.is_empty:
        stand = "is there as it was" if plan.source_files == 1 else "are there as they were"
        print(f"{paths.escape(name)}: nothing to restore to {there}: {files(plan)} of {of} {stand}")
        return
    came = sum(not only_directories(put.item) for put in plan.puts)
    what = count(came, "file") if came else count(len(plan.puts), "directory")
    same = plan.source_files - came
    rest = f"; {count(same, 'file')} there as then" if same else ""
    print(f"{paths.escape(name)}: {what} ({amount(plan.size)}) restored from {of} to {there}{rest}")


def convert(options: argparse.Namespace, stop: threading.Event) -> int:
    """Bring an entry's prefix into the other layout."""
    from s32s.agent.convert import convert as convert_prefix
    from s32s.agent.convert import given_up

    with open_machine(options) as agent:
        entry = entry_of(options.name, agent)
        if earlier := given_up(entry, options.layout, agent):
            number = count(len(earlier), "earlier generation")
            confirm(f"Give up {number} of {paths.escape(options.name)} for good?", yes=options.yes)
        outcome, gone = convert_prefix(entry, options.layout, agent, stop=stop)
    if options.json:
        print_json(
            {
                "event": "converted",
                "entry": options.name,
                "layout": options.layout,
                "generation": outcome.target.generation if outcome else None,
                "deleted": gone,
            }
        )
        return 0
    if outcome is None:
        left = f"{count(gone, 'object')} that a conversion had left {'is' if gone == 1 else 'are'} deleted"
        rest = left if gone else "nothing of the other one was left"
        print(f"{paths.escape(options.name)} is in the {options.layout} layout already; {rest}")
    else:
        print(
            f"{paths.escape(options.name)}: generation {outcome.target.generation:,} is in the {options.layout} "
            f"layout; {count(gone, 'object')} of the other one deleted"
        )
    if entry.layout != options.layout:
        edit = f"s32s maps edit {paths.word(options.name)}"
        print(f's32s: now set "layout": "{options.layout}" in its map: {edit}', file=sys.stderr)
    return 0


def entry_of(name: str, agent: Agent, loaded: MapSet | None = None) -> Entry:
    """The one entry of a name.

    Args:
        loaded: instead of the cached maps of the server.

    Raises:
        UsageError: there is none, or the name is a pattern.
    """
    from s32s.agent.runner import choose

    found = choose(loaded or agent.load_maps(), [name], agent.settings.role)
    if found[0].name != name:
        raise UsageError(
            f"{paths.quote(name)} fits {paths.some([entry.name for entry in found])}", hint="name the one that you mean"
        )
    return found[0]


def _earlier(options: argparse.Namespace, agent: Agent) -> EarlierGenerations:
    from s32s.agent.earlier import earlier_generations
    from s32s.agent.options import Options

    asked = Options(
        force_delete=getattr(options, "force_delete", False),
        take_over=getattr(options, "take_over", False),
        message=getattr(options, "message", ""),
    )
    return earlier_generations(entry_of(options.name, agent), agent, agent.load_maps(), asked)
