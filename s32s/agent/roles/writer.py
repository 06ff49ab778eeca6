"""This machine as one that publishes, for the two roles that do."""

from __future__ import annotations

import time

from s32s.agent.roles.base import AgentContext, Task
from s32s.stores.objects.publisher import Writer


def writer(task: Task, agent: AgentContext, *, generation: int = 0) -> Writer:
    """This machine as one that publishes.

    Args:
        generation: the last one that it has published there.
    """
    return Writer(
        id=agent.state.writer_id(),
        host=agent.host,
        now=_now,
        take_over=task.options.take_over,
        generation=generation,
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
