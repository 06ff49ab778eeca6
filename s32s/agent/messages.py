"""What becomes of `--message`: a generation has it, or somebody is told why none does."""

from __future__ import annotations

from s32s.agent.options import Options
from s32s.config.maps import Entry
from s32s.core.location import Directory, Location
from s32s.core.plan import Verb
from s32s.core.role import Role
from s32s.replication.job import Outcome, RunContext

_NOTHING = "nothing was published"


def of_entry(entry: Entry, role: Role, done: Outcome) -> str:
    """Why no generation has a message that was given for a run; empty where one has it."""
    if role not in (Role.MASTER, Role.PEER):
        return f"a {role.value} publishes nothing of its own"
    if not entry.manifest:
        return "without a manifest there is no generation that could have it"
    if role is Role.PEER and not entry.is_packed:
        return "in a shared folder only the packed layout has messages"
    return "" if done.changed and (done.merge is None or done.merge.uploads) else _NOTHING


def of_places(done: Outcome, source: Location, target: Location, *, has_manifest: bool) -> str:
    """The same for a run between two places."""
    if not has_manifest or not isinstance(source, Directory) or isinstance(target, Directory):
        return "only a push of a directory to a prefix with a manifest has one"
    return "" if done.changed else _NOTHING


def tell(why: str, verb: Verb, options: Options, run: RunContext) -> None:
    """Say why a message is not recorded, if there was one."""
    if why and options.message and verb.changes:
        run.warn(f"the message is not recorded: {why}")
