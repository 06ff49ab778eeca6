"""The public interface as a program uses it; checked by the type checker, never run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import assert_type

import s32s


def sync_everything(configuration: Path) -> int:
    """Sync all entries of this agent's role and print what failed."""
    settings = s32s.load_settings(configuration)
    agent = s32s.open_agent(settings, s32s.places(os.environ))
    assert_type(agent, s32s.Agent)
    maps = s32s.load_maps(settings.maps, agent.state, agent.engine)
    names = [entry.name for entry in maps.entries if entry.place(s32s.Role.SLAVE) is not None]

    def on_event(event: object) -> None:
        if isinstance(event, s32s.EntryFinished) and event.error is not None:
            print(event.entry, event.error.what, event.error.exit_status)

    report: s32s.Report = s32s.run(
        agent,
        verb=s32s.Verb.SYNC,
        names=names,
        role=s32s.Role.SLAVE,
        options=s32s.Options(verify=True, jobs=4),
        emit=on_event,
    )
    for end in report.finished:
        plan: s32s.Plan | None = end.plan
        if plan is not None and not plan.is_empty:
            print(len(plan.puts), plan.deletions, plan.size)
    return report.exit_status


def look_ahead(agent: s32s.Agent) -> list[str]:
    """Show what a sync of one entry would bring, and what it would take away."""
    report = s32s.run(agent, verb=s32s.Verb.DRYRUN, names=["WEBSITE"])
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
        update = s32s.update_maps(agent.settings.maps, agent.state, agent.engine)
    except s32s.S32sError as exc:
        print(exc.where, exc.what, exc.hint, exc.paths)
        return ()
    assert_type(update.new, tuple[str, ...])
    return update.new
