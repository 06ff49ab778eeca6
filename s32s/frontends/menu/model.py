"""What the menu shows and what can be chosen now: plain values and decisions, without a terminal.

`app.py` turns keys into calls here and paints what comes out, `views.py` says how it looks. Nothing here knows S3,
disk, threads or the clock.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from s32s.agent.status import EntryState
from s32s.config.settings import MenuSettings
from s32s.core import events
from s32s.core.errors import Declined, Interrupted
from s32s.core.merge import Merge
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.summary import Tally

#: Lines that are kept of work that says more and more.
_KEPT = 10_000


class View(enum.Enum):
    """Which screen is up."""

    LIST = "list"
    TEXT = "text"
    RUN = "run"
    QUESTION = "question"
    CHOICE = "choice"
    PICK = "pick"
    TRASH = "trash"
    PAST = "past"


@dataclass(slots=True)
class Row:
    """One entry in the list.

    Attributes:
        direction: from > to.
        last: how long ago it ran, for people.
        state: in a word or two.
        kind: of the state; None as long as it is not known.
        generation: that it follows; empty without one.
        details: what there is to know, as style and text of each line.
    """

    name: str
    direction: str
    last: str = "-"
    state: str = "…"
    kind: EntryState | None = None
    generation: str = ""
    details: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Listing:
    """The entries, which of them are seen, the one under the cursor, and those that are marked."""

    rows: list[Row] = field(default_factory=list)
    sort: str = "map"
    filter: str = ""
    cursor: int = 0
    top: int = 0
    marked: set[str] = field(default_factory=set)

    def visible(self) -> list[Row]:
        """The rows that pass the filter, in the chosen order."""
        wanted = self.filter.casefold()
        found = [row for row in self.rows if wanted in row.name.casefold() or wanted in row.direction.casefold()]
        if self.sort == "name":
            return sorted(found, key=lambda row: row.name.casefold())
        if self.sort == "state":
            return sorted(found, key=lambda row: (_urgency(row.kind), row.name.casefold()))
        return found

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        rows = self.visible()
        return rows[min(self.cursor, len(rows) - 1)] if rows else None

    @property
    def meant(self) -> list[str]:
        """The entries that a key is for: those that are marked and seen, else the one under the cursor."""
        marked = [row.name for row in self.visible() if row.name in self.marked]
        return marked or ([self.chosen.name] if self.chosen else [])

    def mark(self) -> None:
        """Mark the entry under the cursor, or take its mark away, and go on to the next one."""
        if self.chosen is not None:
            self.marked ^= {self.chosen.name}
            self.move(1)

    def move(self, by: int) -> None:
        """Move the cursor, as far as there are rows."""
        self.cursor = max(0, min(self.cursor + by, len(self.visible()) - 1))

    def scroll(self, height: int) -> None:
        """Keep the cursor within the `height` rows that are seen."""
        count = len(self.visible())
        self.cursor = max(0, min(self.cursor, count - 1))
        if self.cursor < self.top:
            self.top = self.cursor
        elif self.cursor >= self.top + height:
            self.top = self.cursor - height + 1
        self.top = max(0, min(self.top, count - height))


@dataclass(slots=True)
class Text:
    """Lines that one reads and scrolls.

    Attributes:
        question: asked below them; empty for none.
        live: whether lines are still added by what is at work.
        about: the entry whose state the lines tell; empty for none.
        of_past: whether one goes back from them to the generations.
    """

    title: str
    lines: list[str]
    top: int = 0
    question: str = ""
    live: bool = False
    about: str = ""
    of_past: bool = False

    def follow(self, *lines: str) -> None:
        """Add lines, and show the newest; of very many the oldest go."""
        self.lines += lines
        if len(self.lines) > 2 * _KEPT:
            del self.lines[:-_KEPT]
        self.top = 1_000_000

    def scroll(self, by: int, *, length: int, height: int) -> None:
        """Move what is seen of `length` lines, which are more than `lines` where these are wrapped."""
        last = max(0, length - height)
        self.top = max(0, min(min(self.top, last) + by, last))


@dataclass(slots=True)
class Choosing:
    """A short list to take one of."""

    title: str
    choices: Sequence[tuple[str, str]]
    cursor: int = 0

    def move(self, by: int) -> None:
        """Move the cursor, around the ends."""
        self.cursor = (self.cursor + by) % len(self.choices)


@dataclass(slots=True)
class Progress(Tally):
    """One entry of a run."""

    phase: str = "waiting"
    name: str = ""
    began_s: float | None = None
    outcome: str = ""
    failed: bool = False
    stopped: bool = False


@dataclass(slots=True)
class Running:
    """A run as far as it has come, folded from its events."""

    verb: Verb
    entries: dict[str, Progress]
    plans: dict[str, Plan] = field(default_factory=dict)
    merges: dict[str, Merge] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    began_s: float = 0.0
    stopping: bool = False
    title: str = ""

    @property
    def done(self) -> int:
        """How many entries have come to their end."""
        return sum(1 for entry in self.entries.values() if entry.outcome)

    @property
    def size(self) -> int:
        """Bytes moved, of all entries."""
        return sum(entry.size for entry in self.entries.values())

    @property
    def size_of(self) -> int:
        """Bytes to move, of all entries that have a plan."""
        return sum(entry.size_of for entry in self.entries.values())

    @property
    def files(self) -> int:
        """Files moved, of all entries."""
        return sum(entry.files for entry in self.entries.values())

    def on_event(self, event: events.Event, now_s: float, outcome: str = "") -> None:
        """Take a fact in; `outcome` is the line that sums a finished entry up."""
        entry = self.entries.setdefault(event.entry, Progress(name=event.entry))
        entry.on_event(event)
        match event:
            case events.EntryStarted():
                entry.phase = "starting"
            case events.Phase() if event.what == "moving files":
                entry.began_s = now_s
            case events.Planned():
                self.plans[event.entry] = event.plan
            case events.Restarted():
                self.warnings.append(f"{event.entry}: starting over (attempt {event.attempt}): {event.reason}")
            case events.Warned():
                self.warnings.append(f"{event.entry}: {event.text}")
            case events.Output():
                self.warnings.append(f"{event.entry}: {event.command}: {event.line}")
            case events.EntryFinished():
                entry.outcome = outcome or "done"
                entry.stopped = isinstance(event.error, Interrupted | Declined)
                entry.failed = event.error is not None and not entry.stopped
                entry.phase = "ended"
                if event.plan is not None:
                    self.plans[event.entry] = event.plan
                if event.merge is not None:
                    self.merges[event.entry] = event.merge


#: The keys of the list, and what they do: what fits a line is shown, the last two always.
KEYS = (
    ("Enter", "sync"),
    ("d", "dryrun"),
    ("c", "copy"),
    ("space", "mark"),
    ("i", "info"),
    ("/", "filter"),
    ("u", "update maps"),
    ("g", "generations"),
    ("w", "watch"),
    ("a", "all"),
    ("o", "options"),
    ("r", "role"),
    ("m", "other maps"),
    ("x", "commands"),
    ("t", "trash"),
    ("?", "more"),
    ("q", "quit"),
)

#: What each verb does, for help and choices.
VERBS = {
    "sync": "make the destination exactly equal to the source",
    "copy": "bring new and modified files over, delete nothing",
    "dryrun": "show what a sync would do, change nothing",
}
ABOUT = """\
s32s keeps directories on many servers equal to a directory on one computer, with S3 in the middle.

The role of this machine is the direction:
  master   its directory  >  the S3 path
  slave    the S3 path    >  its directory
  mirror   the S3 path    >  another S3 path
""".splitlines()

HELP = [
    *ABOUT,
    *f"""
A verb is how far to go:
  Enter, s   sync: {VERBS["sync"]}
  c          copy: {VERBS["copy"]}
  d          dryrun: {VERBS["dryrun"]}
  space      mark an entry: keys are then for all that are marked
  a          all: the same for every entry that is shown
  w          watch: keep entries equal until you stop it; ends a watch of another process

Before anything is deleted or replaced you see the plan and are asked.

  Up, Down, PgUp, PgDn, Home, End   move, as j, k and G do; a click chooses
  /          filter by a part of the name or path; Esc takes the filter away
  i          what the maps say of an entry, and how its last run ended
  g          the generations of an entry: what changed, who pushed, and the way back; on a slave also its release
  t          the trash of a shared folder: bring back what was replaced or deleted
  u          fetch the maps again; shows what would change before it is taken
  m          look at the maps at another path, for this session
  r          take another role, for this session
  x          run one of this machine's custom commands
  o          options: order, asking, details
  q          quit; Ctrl-C stops what is running

To set this machine up again: s32s configure""".splitlines(),
]

#: How the list may be sorted.
ORDERS = ("map", "name", "state")


def options(now: MenuSettings) -> list[tuple[str, str]]:
    """The options of the menu, and how they are set."""

    def said(value: bool) -> str:  # one value, one word
        return "yes" if value else "no"

    return [
        ("sort", f"order of the entries: {now.sort}"),
        ("ask", f"ask before something is deleted or replaced: {said(now.ask)}"),
        ("details", f"show details of the chosen entry: {said(now.details)}"),
    ]


def roles(now: Role) -> list[tuple[str, str]]:
    """The roles to choose from, the present one first."""
    meanings = {
        Role.MASTER: "directory > S3 path",
        Role.SLAVE: "S3 path > directory",
        Role.MIRROR: "S3 path > another S3 path",
        Role.PEER: "folder <> S3 path, shared with others",
    }
    ordered = [now, *(role for role in Role if role is not now)]
    return [(role.value, meanings[role]) for role in ordered]


def _urgency(kind: EntryState | None) -> int:
    if kind in (EntryState.FAILED, EntryState.UNFINISHED_PUSH):
        return 0
    return {EntryState.UP_TO_DATE: 3, EntryState.NEVER_RUN: 2}.get(kind, 1) if kind else 1
