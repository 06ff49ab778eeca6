"""The public interface as a program uses it; checked by the type checkers, never run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import assert_type

import s32s


def sync_everything(configuration: Path) -> int:
    """Sync all entries of this machine's role and print what failed."""

    def on_event(event: object) -> None:
        if isinstance(event, s32s.EntryFinished) and event.error is not None:
            print(event.entry, event.error.what, event.error.exit_status)

    with s32s.open_agent(configuration) as agent:
        assert_type(agent, s32s.Agent)
        maps = agent.load_maps()
        names = [entry.name for entry in maps.entries if entry.place(s32s.Role.SLAVE) is not None]
        report = agent.run(
            "sync", names, role=s32s.Role.SLAVE, options=s32s.Options(verify=True, jobs=4), emit=on_event
        )
    assert_type(report, s32s.Report)
    for end in report.finished:
        plan: s32s.Plan | None = end.plan
        if plan is not None and not plan.is_empty:
            print(len(plan.puts), plan.deletions, plan.size)
    return report.exit_status


def look_ahead(agent: s32s.Agent) -> list[str]:
    """Show what a sync of one entry would bring, and what it would take away."""
    report = agent.run(s32s.Verb.DRYRUN, names=["WEBSITE"])
    changes: list[str] = []
    for end in report.finished:
        if end.plan is None:
            continue
        changes += [f"+ {put.item.path} ({put.reason.value}, {put.item.size:,} bytes)" for put in end.plan.puts]
        changes += [f"- {extra.path}" for extra in end.plan.extras]
        changes += [f"! {rejection.path}: {rejection.reason}" for rejection in end.plan.rejected]
    return changes


def renew_maps(agent: s32s.Agent) -> tuple[str, ...]:
    """Fetch the maps; say what is new, or what is wrong and where."""
    try:
        update = agent.update_maps()
    except s32s.S32sError as exc:
        print(exc.where, exc.what, exc.hint, exc.paths)
        return ()
    assert_type(update.new, tuple[str, ...])
    return update.new


def without_files(endpoint: str, state: Path) -> list[str]:
    """Settings and maps that were made in memory; nothing is read from the disk but the state."""
    settings = s32s.Settings.model_validate(
        {"role": "slave", "maps": "bucket/maps", "allow": ["/srv"], "s3": {"endpoint_url": endpoint}}
    )
    maps = s32s.load_map_files([("one.json", b'[{"name": "SITE", "s3": "bucket/site", "slave": "/srv/site"}]')])
    stop = threading.Event()
    with s32s.open_agent(settings, directories=s32s.Directories(state / "state", state / "cache")) as agent:
        report = agent.run("copy", maps=maps, stop=stop, approve=lambda entry, plan: plan.deletions == 0)
        late = [entry.name for entry in agent.status(maps=maps, ask_s3=False) if entry.last is None]
    return late + [end.entry for end in report.finished if isinstance(end.error, s32s.TemporaryFailure)]
