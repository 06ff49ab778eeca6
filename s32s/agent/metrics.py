"""Numbers for Prometheus, as a text file that node_exporter picks up.

Format: the text exposition format of Prometheus, version 0.0.4. The file holds every entry of the role, whichever were
done just now, and is replaced in one step, so nobody reads half of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from s32s.agent.holds import hold_of
from s32s.agent.results import Result
from s32s.agent.roles.base import AgentContext
from s32s.config.maps import MapSet
from s32s.core.role import Role
from s32s.system import atomic

_METRICS: list[tuple[str, str, Callable[[Result], float | None]]] = [
    ("last_success_timestamp_seconds", "When the entry last succeeded.", lambda result: result.success_s),
    ("last_run_timestamp_seconds", "When the entry last ran.", lambda result: result.time_s),
    ("last_run_success", "Whether the last run succeeded.", lambda result: int(result.ok)),
    ("last_run_status", "Exit status of the last run.", lambda result: result.status),
    ("last_run_duration_seconds", "How long the last run took.", lambda result: result.seconds),
    ("last_run_files", "Files that the last run moved.", lambda result: result.files),
    ("last_run_bytes", "Bytes that the last run moved.", lambda result: result.size),
    ("last_run_deletions", "Files that the last run deleted.", lambda result: result.deletions),
    ("last_run_drift", "Paths found changed though the source had not.", lambda result: result.drift),
    ("generation", "Generation that the destination follows; 0 without a manifest.", lambda result: result.generation),
]


def write(agent: AgentContext, loaded: MapSet, role: Role) -> str:
    """Replace the text file of the configuration, where it names one; return what went wrong, for people.

    A file that cannot be written is not a reason to fail a run that brought the files over.
    """
    file = agent.settings.metrics.textfile
    if file is None:
        return ""
    try:
        # Readable for node_exporter, whatever the umask of the service is.
        atomic.write_atomic(Path(file), "".join(_lines(agent, loaded, role)).encode(), mode=0o644, durable=False)
    except OSError as exc:
        return f"{file} cannot be written: {exc.strerror}"
    return ""


def _lines(agent: AgentContext, loaded: MapSet, role: Role) -> Iterator[str]:
    entries = loaded.of(role)
    names = [entry.name for entry in entries]
    results = [(name, agent.state.result(name, role.value)) for name in names]
    for metric, text, of in _METRICS:
        yield f"# HELP s32s_{metric} {text}\n# TYPE s32s_{metric} gauge\n"
        for name, result in results:
            value = of(result) if result is not None else None
            if value is not None:
                yield f's32s_{metric}{{entry="{_escaped(name)}",role="{role.value}"}} {value}\n'

    if role is Role.SLAVE:
        yield "# HELP s32s_held Whether the entry is held at an earlier generation.\n# TYPE s32s_held gauge\n"
        for entry in entries:
            is_held = int(hold_of(entry, agent.state) is not None)
            yield f's32s_held{{entry="{_escaped(entry.name)}",role="slave"}} {is_held}\n'


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
