"""s32s keeps directories on many servers equal to a directory on one computer, with S3 in the middle.

The command line and the menu call what stands here, and so may any Python program:

    import s32s
    from pathlib import Path

    with s32s.open_agent(Path("s32s.toml")) as agent:
        report = agent.run("sync", names=["WEBSITE"])
    for end in report.finished:
        print(end.entry, end.error or "done")

Two places do without a configuration:

    report = s32s.run_places(s32s.Between("./site", "s3://bucket/site"), "sync")

`open_agent` takes `Settings` made in memory as well, and `Agent.run` a `MapSet` of `load_map_files`. A run tells
events. A failure of an entry is in its `EntryFinished`; what keeps a run from beginning is raised as an `S32sError`.

Names are imported at their first use, so that `import s32s` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Agent",
    "BadPath",
    "Between",
    "BucketMissing",
    "ConfigError",
    "Conflict",
    "Contents",
    "CredentialsError",
    "Declined",
    "Directories",
    "DiskFull",
    "Entry",
    "EntryFailed",
    "EntryFinished",
    "EntryStarted",
    "EntryState",
    "EntryStatus",
    "FilePut",
    "IntegrityError",
    "Interrupted",
    "Item",
    "Keep",
    "Kind",
    "Locked",
    "MapError",
    "MapSet",
    "Merge",
    "Merged",
    "NoHistory",
    "NotFound",
    "Options",
    "OutOfTime",
    "Output",
    "Phase",
    "Plan",
    "Planned",
    "PreconditionFailed",
    "Problem",
    "Progress",
    "PushInProgress",
    "Put",
    "Reason",
    "Refused",
    "Rejection",
    "Report",
    "Resolution",
    "Restarted",
    "Role",
    "S3Connection",
    "S3Path",
    "S32sError",
    "ServerDown",
    "Settings",
    "SourceChanged",
    "StaleManifest",
    "StoreError",
    "TemporaryFailure",
    "Unchanged",
    "Unreachable",
    "Unreadable",
    "Unsupported",
    "Update",
    "UsageError",
    "Verb",
    "Waiting",
    "Warned",
    "Watching",
    "WriteConflict",
    "WrongLayout",
    "decided",
    "load_map_files",
    "load_settings",
    "open_agent",
    "run_peer",
    "run_places",
]

if TYPE_CHECKING:
    from s32s.agent.agent import Agent, open_agent
    from s32s.agent.between import Between
    from s32s.agent.catalog import Update
    from s32s.agent.decisions import decided
    from s32s.agent.options import Options
    from s32s.agent.places import run_places
    from s32s.agent.report import Report
    from s32s.agent.sharing import run_peer
    from s32s.agent.status import EntryState, EntryStatus
    from s32s.config.map_files import load as load_map_files
    from s32s.config.maps import Entry, MapSet, Problem
    from s32s.config.settings import Directories, S3Connection, Settings
    from s32s.config.settings_file import load as load_settings
    from s32s.core.compare import Reason
    from s32s.core.errors import (
        AccessDenied,
        BadPath,
        BucketMissing,
        ConfigError,
        Conflict,
        CredentialsError,
        Declined,
        DiskFull,
        EntryFailed,
        IntegrityError,
        Interrupted,
        Locked,
        MapError,
        NoHistory,
        NotFound,
        OutOfTime,
        PreconditionFailed,
        PushInProgress,
        Refused,
        S32sError,
        ServerDown,
        SourceChanged,
        StaleManifest,
        StoreError,
        TemporaryFailure,
        Unreachable,
        Unreadable,
        Unsupported,
        UsageError,
        WriteConflict,
        WrongLayout,
    )
    from s32s.core.events import (
        EntryFinished,
        EntryStarted,
        FilePut,
        Merged,
        Output,
        Phase,
        Planned,
        Progress,
        Restarted,
        Waiting,
        Warned,
        Watching,
    )
    from s32s.core.item import Item, Kind
    from s32s.core.location import S3Path
    from s32s.core.merge import Merge, Resolution
    from s32s.core.plan import Plan, Put, Rejection, Verb
    from s32s.core.role import Role
    from s32s.core.unchanged import Keep, Unchanged
    from s32s.replication.merge_job import Contents

#: Where each name is, and what it is called there.
_HOMES = {
    "AccessDenied": ("core.errors", "AccessDenied"),
    "Agent": ("agent.agent", "Agent"),
    "BadPath": ("core.errors", "BadPath"),
    "Between": ("agent.between", "Between"),
    "BucketMissing": ("core.errors", "BucketMissing"),
    "ConfigError": ("core.errors", "ConfigError"),
    "Conflict": ("core.errors", "Conflict"),
    "Contents": ("replication.merge_job", "Contents"),
    "CredentialsError": ("core.errors", "CredentialsError"),
    "Declined": ("core.errors", "Declined"),
    "Directories": ("config.settings", "Directories"),
    "DiskFull": ("core.errors", "DiskFull"),
    "Entry": ("config.maps", "Entry"),
    "EntryFailed": ("core.errors", "EntryFailed"),
    "EntryFinished": ("core.events", "EntryFinished"),
    "EntryStarted": ("core.events", "EntryStarted"),
    "EntryState": ("agent.status", "EntryState"),
    "EntryStatus": ("agent.status", "EntryStatus"),
    "FilePut": ("core.events", "FilePut"),
    "IntegrityError": ("core.errors", "IntegrityError"),
    "Interrupted": ("core.errors", "Interrupted"),
    "Item": ("core.item", "Item"),
    "Keep": ("core.unchanged", "Keep"),
    "Kind": ("core.item", "Kind"),
    "Locked": ("core.errors", "Locked"),
    "MapError": ("core.errors", "MapError"),
    "MapSet": ("config.maps", "MapSet"),
    "Merge": ("core.merge", "Merge"),
    "Merged": ("core.events", "Merged"),
    "NoHistory": ("core.errors", "NoHistory"),
    "NotFound": ("core.errors", "NotFound"),
    "Options": ("agent.options", "Options"),
    "OutOfTime": ("core.errors", "OutOfTime"),
    "Output": ("core.events", "Output"),
    "Phase": ("core.events", "Phase"),
    "Plan": ("core.plan", "Plan"),
    "Planned": ("core.events", "Planned"),
    "PreconditionFailed": ("core.errors", "PreconditionFailed"),
    "Problem": ("config.maps", "Problem"),
    "Progress": ("core.events", "Progress"),
    "PushInProgress": ("core.errors", "PushInProgress"),
    "Put": ("core.plan", "Put"),
    "Reason": ("core.compare", "Reason"),
    "Refused": ("core.errors", "Refused"),
    "Rejection": ("core.plan", "Rejection"),
    "Report": ("agent.report", "Report"),
    "Resolution": ("core.merge", "Resolution"),
    "Restarted": ("core.events", "Restarted"),
    "Role": ("core.role", "Role"),
    "S32sError": ("core.errors", "S32sError"),
    "S3Connection": ("config.settings", "S3Connection"),
    "S3Path": ("core.location", "S3Path"),
    "ServerDown": ("core.errors", "ServerDown"),
    "Settings": ("config.settings", "Settings"),
    "SourceChanged": ("core.errors", "SourceChanged"),
    "StaleManifest": ("core.errors", "StaleManifest"),
    "StoreError": ("core.errors", "StoreError"),
    "TemporaryFailure": ("core.errors", "TemporaryFailure"),
    "Unchanged": ("core.unchanged", "Unchanged"),
    "Unreachable": ("core.errors", "Unreachable"),
    "Unreadable": ("core.errors", "Unreadable"),
    "Unsupported": ("core.errors", "Unsupported"),
    "Update": ("agent.catalog", "Update"),
    "UsageError": ("core.errors", "UsageError"),
    "Verb": ("core.plan", "Verb"),
    "Waiting": ("core.events", "Waiting"),
    "Warned": ("core.events", "Warned"),
    "Watching": ("core.events", "Watching"),
    "WriteConflict": ("core.errors", "WriteConflict"),
    "WrongLayout": ("core.errors", "WrongLayout"),
    "decided": ("agent.decisions", "decided"),
    "load_map_files": ("config.map_files", "load"),
    "load_settings": ("config.settings_file", "load"),
    "open_agent": ("agent.agent", "open_agent"),
    "run_peer": ("agent.sharing", "run_peer"),
    "run_places": ("agent.places", "run_places"),
}


def __getattr__(name: str) -> object:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 's32s' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"s32s.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
