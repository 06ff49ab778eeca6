"""`log`, `diff`, `rollback`, `restore`, and in the packed layout `prune`, `verify`; `convert` from one to the other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import Refused, UsageError
from s32s.core.text import count
from s32s.frontends.cli.commands.common import confirm, counted, has_person, open_machine, print_json, says_yes

if TYPE_CHECKING:
    import argparse
    import threading
    from collections.abc import Sequence

    from s32s.agent.agent import Agent
    from s32s.agent.earlier import EarlierGenerations
    from s32s.agent.generations import Generations
    from s32s.config.maps import Entry
    from s32s.core.plan import Plan
    from s32s.frontends.render.json_generations import DifferentPath
    from s32s.stores.objects.packed.heal import Healed
    from s32s.stores.objects.packed.upkeep import Pruned, Verified


def log(options: argparse.Namespace, stop: threading.Event) -> int:
    """Show the generations of an entry."""
    from s32s.agent.kept_trees import kept_trees
    from s32s.core.role import Role
    from s32s.frontends.render.layout import amount, table

    with open_machine(options, writable=False) as agent:
        if agent.settings.role is Role.SLAVE:
            from s32s.frontends.cli.commands.holds import kept_words

            kept = kept_trees(_entry(options.name, agent))
            if kept and not options.json:
                print(f"kept on this machine: {kept_words(kept)}", file=sys.stderr)
        found = _earlier(options, agent).log()
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
            one.time.replace("T", " ").replace("Z", ""),
            paths.escape(f"{one.user}@{one.host}" if one.user else one.host),
            f"+{one.new:,} ~{one.modified:,} -{one.deleted:,}" if is_counted else "",
            f"{one.files:,}",
            amount(one.size),
            paths.escape(one.message),
        ]
        for one, is_current, is_counted in found
    ]
    head = ["GENERATION", "TIME (UTC)", "BY", "CHANGES", "FILES", "SIZE", "MESSAGE"]
    print(*table([head, *rows], right={0, 4, 5}), sep="\n")
    return 0


def diff(options: argparse.Namespace, stop: threading.Event) -> int:
    """Show what two generations do not have in common."""
    from s32s.core.item import changed_by
    from s32s.frontends.render.differences import difference_line, kind_of
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
                "what": kind_of(one),
                "size": item.size if item else 0,
                "size_before": one.before.size if one.before else None,
            }
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
        entry = _entry(options.name, agent)
        if agent.settings.role is Role.SLAVE:
            return holds.go_back(options, entry, agent.load_maps(), agent, stop)
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
                f"Give up {count(len(gone), 'generation')} of {paths.escape(options.name)}, up to {max(gone):,}?",
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
                "failed": dict(done.failed),
            }
        )
        return _tell_undeleted(done)
    print(
        f"{paths.escape(options.name)}: {count(len(done.generations), 'generation')} given up, "
        f"{count(done.packs, 'pack')} deleted ({amount(done.size)})"
    )
    if done.young:
        print(
            f"{count(done.young, 'pack')} that no generation names, younger than {options.grace}, "
            f"{'stays' if done.young == 1 else 'stay'}: a push may be about to need it",
            file=sys.stderr,
        )
    return _tell_undeleted(done)


def _tell_undeleted(done: Pruned) -> int:
    """Say what could not be deleted; the exit status."""
    if not done.failed:
        return 0
    print(
        f"s32s: {count(len(done.failed), 'pack')} could not be deleted:{paths.listed(done.failed)}\n"
        "run it again when the store allows it; nothing needs them",
        file=sys.stderr,
    )
    return 1


def verify(options: argparse.Namespace, stop: threading.Event) -> int:
    """Read everything on S3 that a generation needs, and say what is damaged."""
    from s32s.frontends.render.layout import amount

    with open_machine(options, writable=options.heal or options.rebuild) as agent:
        generations = _generations(options.name, agent)
        if options.rebuild:
            with counted("packs are read", stop) as progress:
                made = generations.rebuild(tell=lambda done, of: progress(0))
            if options.json:
                print_json({"event": "rebuilt", "entry": options.name, "generation": made.number, "packs": made.packs})
            else:
                print(
                    f"{paths.escape(options.name)}: the head names generation {made.number:,} again, "
                    f"of {made.time} from {paths.escape(made.host)}; {count(made.packs, 'pack')} looked at"
                )
            for number, why in sorted(made.skipped.items()):
                print(f"s32s: generation {number:,} is not whole: {paths.escape(why)}", file=sys.stderr)
            return 0
        with counted("packs are read", stop) as progress:
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
                print(f"  generation {number:,}: {count(len(hit), 'path')}: {paths.some(hit)}")
            for number, why in sorted(found.unreadable.items()):
                print(f"  generation {number:,} cannot be read: {paths.escape(why)}")
            print(
                f"{paths.escape(options.name)}: {count(found.packs, 'pack')} read ({amount(found.size)}), "
                f"{len(found.damaged) or 'none'} damaged"
            )
        current, earlier = found.holed[:1] == list(found.generations[:1]), found.holed
        if current:
            earlier = earlier[1:]
            if options.heal:
                with counted("files are read", stop) as progress:
                    healed = generations.heal(found, progress=progress)
                _tell_healed(options, healed)
                current = bool(healed.left)
            else:
                name = paths.escape(options.name)
                hint = f"s32s verify {name} --heal pushes again what the directory of the master has"
                print(f"s32s: {hint}", file=sys.stderr)
    if earlier and not current:
        _tell_of_holes(options, found, earlier)
    return 1 if current or not (options.heal or found.is_sound) else 0


def _tell_healed(options: argparse.Namespace, healed: Healed) -> None:
    """Say what is whole again, and what is not."""
    number = healed.position.generation if healed.position else None
    if options.json:
        print_json(
            {
                "event": "healed",
                "entry": options.name,
                "generation": number,
                "paths": list(healed.paths),
                "left": dict(healed.left),
            }
        )
        return
    name = paths.escape(options.name)
    for path, why in healed.left.items():
        print(f"  still damaged: {paths.escape(path)}: {paths.escape(why)}")
    if number is None:
        print(f"{name}: nothing could be healed")
    else:
        many = f"{count(len(healed.paths), 'path')} {'is' if len(healed.paths) == 1 else 'are'} whole again"
        print(f"{name}: generation {number:,} takes the place of the damaged one; {many}")
    if healed.left:
        print(
            f"s32s: put these files back as they were and run s32s verify {name} --heal again; "
            "as they are now, a change of them is pushed like any other",
            file=sys.stderr,
        )


def _tell_of_holes(options: argparse.Namespace, found: Verified, earlier: Sequence[int]) -> None:
    """Say what becomes of generations that nothing heals."""
    whole = found.generations.index(earlier[0])
    many = (
        f"generation {earlier[0]:,} keeps its holes"
        if len(earlier) == 1
        else (f"generations {', '.join(f'{number:,}' for number in reversed(earlier))} keep their holes")
    )
    print(
        f"s32s: {many}, as earlier generations never change; servers do not need them. s32s prune "
        f"{paths.escape(options.name)} --keep {whole} gives up generation {earlier[0]:,} and all before it",
        file=sys.stderr,
    )


def restore(options: argparse.Namespace, stop: threading.Event) -> int:
    """Bring files of a generation back."""
    with open_machine(options) as agent:
        generations = _earlier(options, agent)

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
        else:
            print(f"restored  {paths.escape(path)}")
    if options.json:
        print_json(
            {
                "event": "restore",
                "entry": options.name,
                "generation": outcome.source.generation,
                "restored": len(came),
                "unchanged": len(outcome.plan.unchanged),
            }
        )
    elif not came:
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
            f"{paths.escape(options.name)} is in the {options.layout} layout already; {count(gone, 'object')} left over"
        )
    else:
        print(
            f"{paths.escape(options.name)}: generation {outcome.target.generation:,} is in the {options.layout} "
            f"layout; {count(gone, 'object')} of the other one deleted"
        )
    if entry.layout != options.layout:
        print(f's32s: now set "layout": "{options.layout}" in its map: s32s maps edit {options.name}', file=sys.stderr)
    return 0


def _entry(name: str, agent: Agent) -> Entry:
    from s32s.agent.runner import choose

    found = choose(agent.load_maps(), [name], agent.settings.role)
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
    return earlier_generations(_entry(options.name, agent), agent, agent.load_maps(), asked)


def _generations(name: str, agent: Agent) -> Generations:
    from s32s.agent.generations import Generations

    entry = _entry(name, agent)
    if not entry.is_packed:
        raise UsageError(
            f"the entry {paths.quote(name)} is in the plain layout, which has no packs",
            hint=f'set "layout": "packed" in its map; on a prefix that was pushed: s32s convert {name} --layout packed',
        )
    return Generations(entry, agent)
