"""What there is to know of an entry, and of a plan that is asked about, in a few lines."""

from __future__ import annotations

from s32s.agent.status import EntryState, EntryStatus
from s32s.core.paths import escape
from s32s.core.plan import Plan
from s32s.core.summary import numbers
from s32s.frontends.render import moments
from s32s.frontends.render.layout import amount, count
from s32s.frontends.render.statuses import watch_words

_BAD = (EntryState.FAILED, EntryState.UNREACHABLE, EntryState.WENT_BACK)


def details(status: EntryStatus, state: str) -> tuple[tuple[str, str], ...]:
    """Lines with their styles: places, what is published, how the last run went, what is wrong."""
    lines = [("", escape(status.source)), ("", f"  → {escape(status.target)}"), ("", "")]
    last, head = status.last, status.published
    if head is not None:
        of = f" of {status.generation:,}" if last and last.generation and last.generation != status.generation else ""
        following = last.generation if last and last.generation else status.generation
        lines.append(("", f"{count(head.files, 'file')}, {amount(head.size)}, generation {following:,}{of}"))
        lines.append(("class:dim", f"pushed by {escape(head.host)}, {_when(head.time)}"))
        lines.append(("", ""))
    lines.append(("class:bad" if status.state in _BAD else "class:strong", f"State     {state}"))
    if last is None:
        lines.append(("", "Last run  it has never run here"))
    else:
        when = moments.short(last.time_s)
        first, *rest = [escape(line.strip()) for line in last.text.splitlines()] or [""]
        lines.append(("" if last.ok else "class:bad", f"Last run  {when}: {first}"))
        lines += [("", f"          {line}") for line in rest]
        if last.ok and last.files:
            lines.append(
                ("class:dim", f"          {count(last.files, 'file')}, {amount(last.size)}, {last.seconds:.1f} s")
            )
    if status.drift is not None:
        drift = count(status.drift, "path") + " changed here" if status.drift else "none"
        lines.append(("class:warn" if status.drift else "", f"Drift     {drift}"))
    if status.watch is not None:
        lines.append(("", f"Watch     {watch_words(status.watch)}"))
    if status.trouble:
        lines += [("", ""), *(("class:bad", escape(line)) for line in status.trouble.splitlines())]
    return tuple(lines)


def asked(plan: Plan) -> str:
    """What a plan does, as a question; what is destroyed comes first."""
    found = numbers(plan)
    words = (("delete", "deleted"), ("replace", "modified"), ("add", "new"))
    told = [f"{word} {found[kind]:,}" for word, kind in words if found[kind]]
    return f"{', '.join(told) or 'change directories'}?"


def _when(moment: str) -> str:
    """A time as heads have it, in the time of this place."""
    seconds = moments.seconds_of(moment)
    return escape(moment) if seconds is None else moments.short(seconds)
