"""s32s keeps directories on many servers equal to a directory on one computer, with S3 in the middle.

The command line and the menu call what stands here, and so may any Python program:

    from pathlib import Path
    import os
    import s32s

    agent = s32s.open_agent(s32s.load_settings(Path("s32s.toml")), s32s.places(os.environ))
    report = s32s.run(agent, verb=s32s.Verb.SYNC, names=["WEBSITE"])

Names are imported at their first use, so that `import s32s` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "EntryFinished",
    "Options",
    "Plan",
    "Report",
    "Role",
    "S32sError",
    "Verb",
    "load_maps",
    "load_settings",
    "open_agent",
    "places",
    "run",
    "update_maps",
]

if TYPE_CHECKING:
    from s32s.agent.catalog import load as load_maps
    from s32s.agent.catalog import update as update_maps
    from s32s.agent.report import Report
    from s32s.agent.roles.base import Agent, Options
    from s32s.agent.runner import open_agent, run
    from s32s.config.maps import Role
    from s32s.config.settings import load as load_settings
    from s32s.config.settings import places
    from s32s.core.errors import S32sError
    from s32s.core.events import EntryFinished
    from s32s.core.plan import Plan, Verb

_WHERE = {
    "EntryFinished": ("core.events", "EntryFinished"),
    "Agent": ("agent.roles.base", "Agent"),
    "Options": ("agent.roles.base", "Options"),
    "Plan": ("core.plan", "Plan"),
    "Report": ("agent.report", "Report"),
    "Role": ("config.maps", "Role"),
    "S32sError": ("core.errors", "S32sError"),
    "Verb": ("core.plan", "Verb"),
    "load_maps": ("agent.catalog", "load"),
    "load_settings": ("config.settings", "load"),
    "open_agent": ("agent.runner", "open_agent"),
    "places": ("config.settings", "places"),
    "run": ("agent.runner", "run"),
    "update_maps": ("agent.catalog", "update"),
}


def __getattr__(name: str) -> object:
    import importlib

    if name not in _WHERE:
        raise AttributeError(f"module 's32s' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(f"s32s.{module}"), attribute)
