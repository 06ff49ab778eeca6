"""`prune` and `verify`: what keeps a prefix in the packed layout small and sound."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.errors import UsageError
from s32s.core.text import count
from s32s.frontends.cli.commands.common import confirm, counted, open_context, print_json
from s32s.frontends.cli.commands.generations import entry_of

if TYPE_CHECKING:
    import argparse
    import threading
    from collections.abc import Sequence

    from s32s.agent.agent import Agent
    from s32s.agent.generations import Generations
    from s32s.config.maps import Entry
    from s32s.stores.objects.packed.heal import Healed
    from s32s.stores.objects.packed.upkeep import Pruned, Verified


def prune(options: argparse.Namespace, stop: threading.Event) -> int:
    """Give up old generations, and delete what none needs."""
    from s32s.config.settings import duration_s
    from s32s.frontends.render.layout import amount

    try:
        grace_s = duration_s(options.grace)
    except ValueError as exc:
        raise UsageError(f"--grace: {exc}") from exc
    with _opened(options, writable=True) as generations:
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
                "keeps_versions": done.keeps_versions,
                "beside": list(done.beside),
            }
        )
        return _tell_undeleted(done)
    told = (
        f"{count(len(done.generations), 'generation')} given up, {count(done.packs, 'pack')} deleted "
        f"({amount(done.size)})"
    )
    is_idle = not (done.generations or done.packs or done.failed)
    print(f"{paths.escape(options.name)}: {'nothing to delete' if is_idle else told}")
    if done.young:
        print(
            f"{count(done.young, 'pack')} that no generation names, younger than {options.grace}, "
            f"{'stays' if done.young == 1 else 'stay'}: a push may be about to need it",
            file=sys.stderr,
        )
    _tell_beside(generations.entry, done.beside)
    return _tell_undeleted(done)


def _tell_beside(entry: Entry, beside: Sequence[str]) -> None:
    """Say that there are objects that no generation has."""
    from s32s.agent.advice import by_name
    from s32s.core import cures

    if beside:
        belong = "belongs" if len(beside) == 1 else "belong"
        what = f"{count(len(beside), 'object')} beside the packs {belong} to no generation"
        hint = f"; {by_name(cures.NO_OBJECTS, entry)}" if entry.peer is None else ""
        print(f"s32s: {what}: {paths.some(beside)}{hint}", file=sys.stderr)


def _tell_undeleted(done: Pruned) -> int:
    """Say what could not be deleted, or takes room all the same; the exit status."""
    if done.packs and done.keeps_versions:
        print(
            "s32s: the bucket keeps versions: what was deleted takes room there until a rule of the bucket "
            "(NoncurrentVersionExpiration) lets it expire, and its lock, if it has one, has ended",
            file=sys.stderr,
        )
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
    from s32s.agent.advice import way_to_heal
    from s32s.frontends.render.layout import amount

    with _opened(options, writable=options.heal or options.rebuild) as generations:
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
                    "beside": list(found.beside),
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
            _tell_beside(generations.entry, found.beside)
        current, earlier = found.holed[:1] == list(found.generations[:1]), found.holed
        if current:
            earlier = earlier[1:]
            if options.heal:
                with counted("files are read", stop) as progress:
                    healed = generations.heal(found, progress=progress)
                _tell_healed(options, healed)
                current = bool(healed.left)
            else:
                print(f"s32s: {way_to_heal(generations.entry, generations.agent)}", file=sys.stderr)
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
        what = many if healed.paths else "its manifest is written again"
        print(f"{name}: generation {number:,} takes the place of the damaged one; {what}")
    if healed.left:
        print(
            f"s32s: put these files back as they were and run s32s verify {paths.word(options.name)} --heal again; "
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
        f"{paths.word(options.name)} --keep {whole} gives up generation {earlier[0]:,} and all before it",
        file=sys.stderr,
    )


@contextlib.contextmanager
def _opened(options: argparse.Namespace, *, writable: bool) -> Iterator[Generations]:
    """The generations of an entry, or of a folder that is shared without a map."""
    from s32s.agent.agent import Agent
    from s32s.agent.sharing import generations_at, no_entry
    from s32s.core.location import is_location

    with open_context(options, writable=writable) as context:
        if is_location(options.name):
            yield generations_at(options.name, context)
        elif isinstance(context, Agent):
            yield _generations(options.name, context)
        else:
            raise no_entry(options.name)


def _generations(name: str, agent: Agent) -> Generations:
    from s32s.agent.generations import Generations

    entry = entry_of(name, agent)
    if not entry.is_packed:
        raise UsageError(
            f"the entry {paths.quote(name)} is in the plain layout, which has no packs",
            hint='set "layout": "packed" in its map; on a prefix that was pushed: '
            f"s32s convert {paths.word(name)} --layout packed",
        )
    return Generations(entry, agent)
