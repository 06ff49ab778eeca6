"""The command that an entry's `after` names: run once the files are as they should be.

A map only names it; this machine's own configuration says what it is. It runs after a change, and again after a
run whose change it has not followed yet: because it failed, or because the machine went down in between.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator

from s32s.agent.roles.base import AgentContext, Task
from s32s.config.maps import Entry
from s32s.config.settings import Settings
from s32s.core import events, paths
from s32s.core.errors import ConfigError, EntryFailed
from s32s.core.plan import Plan
from s32s.core.role import Role
from s32s.replication.job import Outcome, RunContext
from s32s.system import processes


def check(entry: Entry, configuration: Settings, role: Role) -> None:
    """Make sure, before anything of an entry is done, that the command which it names is there.

    Raises:
        ConfigError: it is not.
    """
    if missing([entry], configuration, role):
        raise ConfigError(
            f"the map names a command that this configuration lacks: {paths.quote(entry.after or '')}",
            hint='add it to [commands], or take "after" out of the map',
        )


def missing(chosen: Iterable[Entry], configuration: Settings, role: Role) -> list[str]:
    """Names of commands that entries of a slave want and this configuration lacks."""
    if role is not Role.SLAVE:
        return []
    wanted = {entry.after for entry in chosen if entry.after and entry.place(role) is not None}
    return sorted(wanted - configuration.commands.keys())


def run(done: Outcome, task: Task, role: Role, agent: AgentContext, context: RunContext) -> None:
    """Run the entry's command after a change, or after an earlier change that it has not followed.

    It finds in its environment S32S_ENTRY, S32S_TARGET, and in S32S_CHANGED the name of a file with the changes, one a
    line; that is empty where they are those of an earlier run.

    Raises:
        EntryFailed: it failed; the files stay, and the next sync runs it again.
    """
    name = task.entry.after
    last = agent.state.last_of(task.entry.name, role.value, *agent.settings.direction(task.entry, role))
    if role is not Role.SLAVE or name is None or not (done.changed or (last and last.pending)):
        return
    context.phase(f"running {name}")
    said: deque[str] = deque(maxlen=10)

    def on_line(line: str) -> None:
        said.append(line)
        context.emit(events.Output(context.entry, name, line))

    with tempfile.NamedTemporaryFile("w", prefix="s32s-changed-", suffix=".txt", errors="backslashreplace") as changes:
        changes.writelines(_lines(done.plan) if done.changed else ())
        changes.flush()
        os.chmod(changes.name, 0o644)  # a command may go on as another user
        try:
            status = processes.run(
                agent.settings.commands[name],
                variables={
                    "S32S_ENTRY": task.entry.name,
                    "S32S_TARGET": task.entry.place(role) or "",
                    "S32S_CHANGED": changes.name,
                },
                on_line=on_line,
                stop=context.stop,
                timeout_s=agent.settings.after_timeout_s,
            )
        except TimeoutError as exc:
            raise EntryFailed(
                f"the files are up to date, but the command {name} was stopped after "
                f"{agent.settings.after_timeout_s:g} s",
                hint="the next sync runs it again; after_timeout in the configuration gives it more time",
            ) from exc
    if status:
        last_words = paths.escape(" ".join(said)[-500:])
        raise EntryFailed(
            f"the files are up to date, but the command {name} ended with status {status}: {last_words}",
            hint="the next sync runs it again",
        )


def _lines(plan: Plan) -> Iterator[str]:
    yield from (f"+ {paths.escape(put.item.path)}\n" for put in plan.new)
    yield from (f"~ {paths.escape(put.item.path)}\n" for put in plan.modified)
    yield from (f"- {paths.escape(item.path)}\n" for item in plan.extras)
