"""`log`, `diff`, `rollback`, `prune`, `verify`, `restore`, `convert`: generations of entries in the packed layout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from s32s.core import paths
from s32s.core.errors import Refused, UsageError
from s32s.frontends.cli.commands.common import confirm, has_person, open_machine, print_json, says_yes

if TYPE_CHECKING:
    import argparse
    import threading

    from s32s.agent.agent import Agent
    from s32s.agent.generations import Generations
    from s32s.config.maps import Entry
    from s32s.core.plan import Plan
    from s32s.frontends.render.json_generations import DifferentPath
    from s32s.stores.objects.packed.upkeep import Difference


def log(options: argparse.Namespace, stop: threading.Event) -> int:
    """Show the generations of an entry."""
    from s32s.frontends.render.layout import amount, table

    with open_machine(options, writable=False) as agent:
        found = _generations(options.name, agent).log()
    if options.json:
        for one, is_current in found:
            print_json(
                {
                    "event": "generation",
                    "entry": options.name,
                    "generation": one.number,
                    "current": is_current,
                    "time": one.time,
                    "host": one.host,
                    "user": one.user,
                    "message": one.message,
                    "files": one.files,
                    "bytes": one.size,
                    "new": one.new,
                    "modified": one.modified,
                    "deleted": one.deleted,
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
            one.time.replace("T", " ").replace("Z", ""),
            paths.escape(f"{one.user}@{one.host}" if one.user else one.host),
            f"+{one.new:,} ~{one.modified:,} -{one.deleted:,}",
            f"{one.files:,}",
            amount(one.size),
            paths.escape(one.message),
        ]
        for one, is_current in found
    ]
    head = ["GENERATION", "TIME (UTC)", "BY", "CHANGES", "FILES", "SIZE", "MESSAGE"]
    print(*table([head, *rows], right={0, 4, 5}), sep="\n")
    return 0


def diff(options: argparse.Namespace, stop: threading.Event) -> int:
    """Show what two generations do not have in common."""
    from s32s.core.item import changed_by
    from s32s.frontends.render.merges import last_changed

    with open_machine(options, writable=False) as agent:
        before, after, found = _generations(options.name, agent).diff(options.before, options.after)
    for one in found:
        what = _what(one)
        if options.json:
            item = one.after or one.before
            line: DifferentPath = {
                "event": "difference",
                "entry": options.name,
                "path": one.path,
                "what": what,
                "size": item.size if item else 0,
                "size_before": one.before.size if one.before else None,
            }
            if one.after is not None and one.after.changed:
                line["by"], line["at"] = changed_by(one.after)
            print_json(line)
        else:
            by = last_changed(one.after)
            print(f"  {_SIGNS[what]} {what:<9} {paths.escape(one.path)}{f'  {by}' if by else ''}")
    if not options.json:
        differ = "path differs" if len(found) == 1 else "paths differ"
        print(f"generation {before:,} to {after:,}: {len(found):,} {differ}")
    return 0


_SIGNS = {"new": "+", "modified": "~", "deleted": "-"}


def _what(one: Difference) -> Literal["new", "modified", "deleted"]:
    return "new" if one.before is None else "deleted" if one.after is None else "modified"


def rollback(options: argparse.Namespace, stop: threading.Event) -> int:
    """Publish what an earlier generation held as the next one."""
    with open_machine(options) as agent:
        generations = _generations(options.name, agent)
        position, number = generations.roll_back(options.generation, message=options.message)
    if options.json:
        print_json({"event": "rolled_back", "entry": options.name, "generation": position.generation, "to": number})
        return 0
    is_shared = generations.entry.peer is not None
    print(
        f"{paths.escape(options.name)}: generation {position.generation:,} holds what generation {number:,} held; "
        f"{'the folders of all' if is_shared else 'its servers'} follow at their next sync"
    )
    if not is_shared:
        print(
            "the directory of this master is as it was: the next push from here publishes that again", file=sys.stderr
        )
    return 0


def prune(options: argparse.Namespace, stop: threading.Event) -> int:
    """Give up old generations, and delete what none needs."""
    from s32s.config.settings import duration_s
    from s32s.frontends.render.layout import amount

    try:
        grace_s = duration_s(options.grace)
    except ValueError as exc:
        raise UsageError(f"--grace: {exc}") from exc
    with open_machine(options) as agent:
        generations = _generations(options.name, agent)
        keep = options.keep or generations.entry.keep
        gone = [one.published.number for one in generations.log()[keep:]]
        if gone:
            confirm(
                f"Give up {len(gone):,} {'generation' if len(gone) == 1 else 'generations'} of "
                f"{paths.escape(options.name)}, up to {max(gone):,}?",
                yes=options.yes,
            )
        done = generations.prune(keep=keep, grace_s=grace_s)
    if options.json:
        print_json(
            {
                "event": "pruned",
                "entry": options.name,
                "generations": list(done.generations),
                "packs": done.packs,
                "bytes": done.size,
                "young": done.young,
            }
        )
        return 0
    print(
        f"{paths.escape(options.name)}: {len(done.generations):,} generations given up, "
        f"{done.packs:,} packs deleted ({amount(done.size)})"
    )
    if done.young:
        print(
            f"{done.young:,} packs that no generation names are younger than {options.grace} and stay: "
            "a push may be about to name them",
            file=sys.stderr,
        )
    return 0


def verify(options: argparse.Namespace, stop: threading.Event) -> int:
    """Read everything on S3 that a generation needs, and say what is damaged."""
    from s32s.core.errors import Interrupted
    from s32s.frontends.render.layout import amount

    def progress(size: int) -> None:
        if stop.is_set():
            raise Interrupted(0)

    with open_machine(options, writable=options.heal or options.rebuild) as agent:
        generations = _generations(options.name, agent)
        if options.rebuild:
            made = generations.rebuild()
            if options.json:
                print_json({"event": "rebuilt", "entry": options.name, "generation": made.number, "packs": made.packs})
            else:
                print(
                    f"{paths.escape(options.name)}: the head names generation {made.number:,} again, "
                    f"of {made.time} from {paths.escape(made.host)}; {made.packs:,} packs were looked at"
                )
            for number, why in sorted(made.skipped.items()):
                print(f"s32s: generation {number:,} is not whole: {paths.escape(why)}", file=sys.stderr)
            return 0
        found = generations.verify(progress=progress)
        if options.json:
            print_json(
                {
                    "event": "verified",
                    "entry": options.name,
                    "packs": found.packs,
                    "bytes": found.size,
                    "damaged": found.damaged,
                    "paths": {str(number): hit for number, hit in found.paths.items()},
                    "unreadable": {str(number): why for number, why in found.unreadable.items()},
                }
            )
        else:
            for pack, why in found.damaged.items():
                print(f"  pack {pack[:12]}  {paths.escape(why)}")
            for number, hit in sorted(found.paths.items()):
                print(
                    f"  generation {number:,}: {len(hit):,} {'path' if len(hit) == 1 else 'paths'}: {paths.some(hit)}"
                )
            for number, why in sorted(found.unreadable.items()):
                print(f"  generation {number:,} cannot be read: {paths.escape(why)}")
            print(
                f"{paths.escape(options.name)}: {found.packs:,} packs read ({amount(found.size)}), "
                f"{len(found.damaged) or 'none'} damaged"
            )
        if found.is_sound:
            return 0
        if not options.heal:
            print("s32s: s32s verify --heal pushes again what the directory of the master has", file=sys.stderr)
            return 1
        outcome = generations.heal(found, lambda event: None, stop)
    print(
        f"{paths.escape(options.name)}: generation {outcome.target.generation:,} is whole; "
        f"{outcome.plan.source_files:,} files"
        if outcome.changed
        else f"{paths.escape(options.name)}: nothing to heal",
        file=sys.stderr if options.json else sys.stdout,
    )
    return 0


def restore(options: argparse.Namespace, stop: threading.Event) -> int:
    """Bring files of a generation back."""
    with open_machine(options) as agent:
        generations = _generations(options.name, agent)

        def approve(plan: Plan) -> bool:
            changed = [put.item.path for put in plan.puts if put.old is not None]
            if not changed or options.yes:
                return True
            if not has_person():
                raise Refused(
                    f"{len(changed):,} {'path is' if len(changed) == 1 else 'paths are'} there with other content: "
                    f"{paths.some(changed)}",
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
        else:
            print(f"restored  {paths.escape(path)}")
    if not came and not options.json:
        print("everything is there as it was")
    return 0


def convert(options: argparse.Namespace, stop: threading.Event) -> int:
    """Bring an entry's prefix into the other layout."""
    from s32s.agent.convert import convert as convert_prefix

    with open_machine(options) as agent:
        entry = _entry(options.name, agent)
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
        print(
            f"{paths.escape(options.name)} is in the {options.layout} layout already; {gone:,} objects were left over"
        )
    else:
        print(
            f"{paths.escape(options.name)}: generation {outcome.target.generation:,} is in the {options.layout} "
            f"layout; {gone:,} objects of the other one were deleted"
        )
    if entry.layout != options.layout:
        print(f's32s: now set "layout": "{options.layout}" in its map: s32s maps edit {options.name}', file=sys.stderr)
    return 0


def _entry(name: str, agent: Agent) -> Entry:
    from s32s.agent.runner import choose

    (entry,) = choose(agent.load_maps(), [name], agent.settings.role)[:1]
    return entry


def _generations(name: str, agent: Agent) -> Generations:
    from s32s.agent.generations import Generations

    entry = _entry(name, agent)
    if not entry.is_packed:
        raise UsageError(
            f"the entry {paths.quote(name)} is in the plain layout, which has no generations",
            hint=f'set "layout": "packed" in its map; on a prefix that was pushed: s32s convert {name} --layout packed',
        )
    return Generations(entry, agent)
