"""The controller of the menu: what a key means where, what is at work, what is shown; without a terminal.

Nothing here waits: what touches S3 or the disk is a `Background` job on a thread of its own, and `look` sees what has
come of it.
What can be done is in `actions.py`, what is shown in `model.py`, how it looks in `views.py`; `app.py` brings the
terminal. It is one module because it is one state machine: each key and each job that ends may change any of its state.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from s32s.agent.catalog import Update
from s32s.agent.history import History
from s32s.agent.status import EntryState, EntryStatus
from s32s.config.maps import Entry
from s32s.core import events
from s32s.core.errors import ConfigError, Declined, Interrupted
from s32s.core.merge import Merge
from s32s.core.paths import escape
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.core.summary import summary
from s32s.core.text import tree_words
from s32s.frontends.menu import model, panes, views
from s32s.frontends.menu.actions import Actions, ask_once, decide_once, entry_facts
from s32s.frontends.menu.background import Background
from s32s.frontends.menu.details import asked, details
from s32s.frontends.menu.model import Choosing, Listing, Row, Running, Text, View
from s32s.frontends.menu.past import PastList
from s32s.frontends.menu.picking import Picking
from s32s.frontends.menu.trashed import TrashList
from s32s.frontends.render import moments
from s32s.frontends.render.layout import ago, amount, count, duration, wrap
from s32s.frontends.render.merges import differing, merge_lines
from s32s.frontends.render.plans import plan_lines, telling
from s32s.frontends.render.statuses import watch_words, words
from s32s.replication.merge_job import Contents

#: How often the list looks whether a timer, a watch or somebody else has run.
_LIVE_S = 2.0
_ASKED = 200  # paths of a plan that is asked about
_MOVES = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10, "home": -1_000_000, "end": 1_000_000}
#: Keys that have a name instead of a letter.
NAMED = ("c-c", "escape", "enter", "backspace", *_MOVES)
_VI = {"j": "down", "k": "up", "g": "home", "G": "end"}
_READING = "Up, Down, PgUp, PgDn read   Enter, Esc, q go back"
_YES_NO = "Continue?   y  yes     n, Enter, Esc  no"


class Controller:
    """What stands on the screen, and what happens at a key.

    Args:
        actions: what can be done.
        redraw: called, from any thread, when there is something new to see.
        leave: called when the menu is to be left, with "leave", or "maps" to ask for a path first.
    """

    def __init__(self, actions: Actions, *, redraw: Callable[[], None], leave: Callable[[str], None]) -> None:
        self._actions = actions
        self._redraw = redraw
        self._leave = leave
        self._view = View.LIST
        self._listing = Listing(sort=actions.settings.menu.sort)
        self._filtering = False
        self._notice = ""
        self._text = Text("", [])
        self._wrapped: tuple[int, int, list[str]] = (0, 0, [])
        self._size = (80, 24)
        self._choosing = Choosing("", [("back", "")])
        self._choose: Callable[[str], None] = lambda word: None
        self._offered_from = View.LIST
        self._running: Running | None = None
        self._statuses: dict[str, EntryStatus] = {}
        self._found: dict[str, int] = {}
        self._job: Background[Any] | None = None
        self._picking: Picking | None = None
        self._trash = TrashList("", [])
        self._past = PastList("", History(()))
        self._at_work = ""  # what the notice says while the job is at work
        self._then: Callable[[Background[Any]], None] = lambda job: None
        self._refresh = threading.Event()

    def begin(self) -> None:
        """Load the maps."""
        self._start(lambda job: self._actions.open(), self._opened, "loading the maps …")

    def look_at(self, path: str) -> None:
        """Fetch the maps at another path, for this session."""
        self._start(lambda job: self._actions.preview_of(path), self._previewed, f"looking at {path} …")

    def end(self) -> None:
        """Stop what is at work, and wait a little for its end."""
        self._refresh.set()
        if self._job is not None:
            self._job.stop.set()
            self._job.join(5.0)

    # -- what is seen

    def lines(self, columns: int, rows: int) -> list[views.Line]:
        """The picture, for a terminal of this size."""
        self._size = (columns, rows)
        if self._view is View.RUN and self._running is not None:
            return views.run_screen(self._running, now_s=time.monotonic(), columns=columns, rows=rows)
        if self._view is View.PICK and self._picking is not None:
            return self._picking.lines(columns, rows)
        if self._view is View.TRASH:
            return self._trash.lines(columns, rows)
        if self._view is View.PAST:
            return self._past.lines(columns, rows)
        if self._view is View.CHOICE:
            return views.choice_screen(self._choosing, notice=self._notice, columns=columns, rows=rows)
        if self._view in (View.TEXT, View.QUESTION):
            wrapped = self._wrap(columns)
            return views.text_screen(self._text, wrapped=wrapped, footer=self._footer(), columns=columns, rows=rows)
        return panes.list_screen(
            self._listing,
            title=self._title(),
            notice=self._notice,
            filtering=self._filtering,
            details=self._actions.settings.menu.details,
            columns=columns,
            rows=rows,
        )

    def _wrap(self, columns: int) -> list[str]:
        """The text's lines at this width, cut once."""
        key = (columns, len(self._text.lines))
        if self._wrapped[:2] != key:
            lines = [part for line in self._text.lines for part in wrap(line, columns)]
            self._wrapped = (*key, lines)
        return self._wrapped[2]

    def _title(self) -> str:
        changed = "" if self._actions.is_configured else "  (for this session)"
        return f"s32s  {self._actions.role.value} · {escape(str(self._actions.source))}{changed}"

    def _footer(self) -> str:
        return "Ctrl-C stops it" if self._text.live else _READING

    # -- keys

    def press(self, key: str) -> None:
        """What a key does where we are; a letter, or one of `NAMED`."""
        if key == "c-c":
            self._cancel()
        elif self._filtering:
            self._filter(key)
        elif self._view is View.LIST:
            self._press_in_list(key)
        elif self._view is View.CHOICE:
            self._press_in_choice(key)
        elif self._view is View.QUESTION:
            self._press_in_question(key)
        elif self._view is View.PICK:
            self._press_in_pick(key)
        elif self._view is View.TRASH:
            self._press_in_trash(_VI.get(key, key))
        elif self._view is View.PAST:
            self._press_in_past(_VI.get(key, key))
        elif self._view is View.TEXT:
            key = _VI.get(key, key)
            if key in _MOVES:
                self._read_on(_MOVES[key])
            elif key in ("enter", "escape", "q") and not self._text.live:
                if self._picking is not None:
                    self._view = View.PICK
                elif self._text.of_past:
                    self._view = View.PAST
                else:
                    self._back()

    def _read_on(self, by: int) -> None:
        columns, rows = self._size
        self._text.scroll(by, length=len(self._wrap(columns)), height=rows - 2)

    def _press_in_list(self, key: str) -> None:
        self._notice = ""
        row, names = self._listing.chosen, self._listing.meant
        if key == "g" and row:
            self._open_past(row.name)
            return
        key = _VI.get(key, key)
        if key in _MOVES:
            self._listing.move(_MOVES[key])
        elif key == " ":
            self._listing.mark()
        elif key == "escape":
            self._listing.filter = ""
            self._listing.marked.clear()
        elif key == "q":
            self._leave("leave")
        elif key == "/":
            self._filtering = True
        elif key in ("enter", "s") and row:
            self._go(Verb.SYNC, names)
        elif key == "c" and row:
            self._go(Verb.COPY, names)
        elif key == "d" and row:
            self._go(Verb.DRYRUN, names)
        elif key == "a" and row:
            shown = count(len(self._listing.visible()), "entry")
            verbs = [("dryrun", "show what sync would do"), ("copy", "delete nothing"), ("sync", "make exactly equal")]
            self._offer(f"All {shown}", verbs, self._go_all)
        elif key == "w" and row:
            self._offer_watch(row)
        elif key == "t" and row:
            self._open_trash(row.name)
        elif key == "i" and row:
            self._read(escape(row.name), self._facts(row))
            self._text.about = row.name
        elif key == "u":
            self._start(lambda job: self._actions.preview(), self._previewed, "fetching the maps …")
        elif key == "m":
            self._leave("maps")
        elif key == "r":
            self._offer("Role, for this session", model.roles(self._actions.role), self._switch)
        elif key == "x":
            commands = self._actions.settings.commands
            if commands:
                self._offer("Custom commands", list(commands.items()), self._command)
            else:
                self._notice = "the configuration has no [commands]"
        elif key == "o":
            self._offer_options()
        elif key in ("?", "h"):
            self._read("Help", list(model.HELP))

    def _press_in_choice(self, key: str) -> None:
        if key in _MOVES:
            self._choosing.move(1 if _MOVES[key] > 0 else -1)
        elif key in ("escape", "q"):
            self._leave_choice()
        elif key in ("enter", " "):
            self._notice = ""
            self._choose(self._choosing.choices[self._choosing.cursor][0])

    def _press_in_question(self, key: str) -> None:
        if key in _MOVES:
            self._read_on(_MOVES[key])
        elif key in ("y", "Y", "n", "N", "enter", "escape", "q"):
            self._answer(yes=key in ("y", "Y"))

    def _press_in_pick(self, key: str) -> None:
        picking = self._picking
        if picking is None:
            return
        if key in _MOVES:
            picking.move(_MOVES[key])
        elif key == " ":
            picking.toggle()
            picking.move(1)
        elif key in ("a", "n"):
            picking.take_all(taken=key == "a")
        elif key in ("d", "?"):
            self._read(escape(picking.path), ["", *(f"  {line}" for line in differing(picking.path, picking.contents))])
        elif key == "enter":
            self._decide(picking.merge())
        elif key in ("escape", "q"):
            self._decide(None)

    def _press_in_trash(self, key: str) -> None:
        trash = self._trash
        if key in _MOVES:
            trash.move(_MOVES[key])
        elif key == " ":
            trash.toggle()
        elif key in ("a", "n"):
            trash.pick_all(picked=key == "a")
        elif key == "enter" and trash.wanted:
            self._view = View.LIST
            self._start(
                lambda job: self._actions.restore(trash.entry, trash.wanted),
                self._restored,
                f"bringing back {count(len(trash.wanted), 'file')} …",
            )
        elif key in ("escape", "q"):
            self._back()

    def _press_in_past(self, key: str) -> None:
        past = self._past
        chosen = past.chosen
        if key in _MOVES:
            past.move(_MOVES[key])
        elif key == "enter" and chosen is not None:
            self._show_changes(past.entry, chosen.number)
        elif key == "b":
            self._offer_back()
        elif key == "r" and past.held:
            self._view = View.LIST
            self._start(
                lambda job: self._actions.release(past.entry),
                lambda job: self._let_go(job, past.entry),
                f"releasing {escape(past.entry)} …",
            )
        elif key in ("escape", "q"):
            self._back()

    def _filter(self, key: str) -> None:
        if key in ("enter", *_MOVES):
            self._filtering = False
            if key in _MOVES:
                self._listing.move(_MOVES[key])
        elif key == "escape":
            self._filtering = False
            self._listing.filter = ""
        elif key == "backspace":
            self._listing.filter = self._listing.filter[:-1]
        elif len(key) == 1:
            self._listing.filter += key
            self._listing.cursor = 0

    def click(self, tag: views.Tag) -> None:
        """A click on what was painted with this tag."""
        kind, value = tag
        if kind == "key":
            self.press(str(value))
        elif self._view is View.CHOICE:
            self._choosing.cursor = int(value)
            self.press("enter")
        elif self._picking is not None:
            self._picking.cursor = int(value)
            self.press(" ")
        elif self._view is View.TRASH:
            self._trash.cursor = int(value)
            self.press(" ")
        elif self._view is View.PAST:
            self._past.cursor = int(value)
        else:
            self._listing.cursor = int(value)

    def _cancel(self) -> None:
        """Ctrl-C: stops what is at work; where nothing is, leaves."""
        if self._view is View.QUESTION:
            self._answer(yes=False)
        if self._picking is not None:
            self._decide(None)
        if self._job is not None:
            self._job.stop.set()
            if self._running is not None:
                self._running.stopping = True
        elif self._view is View.LIST and not self._filtering:
            self._leave("leave")
        elif self._view is not View.RUN:
            self._filtering = False
            self._back()

    def _back(self) -> None:
        self._view = View.LIST
        self._notice = ""

    def _leave_choice(self) -> None:
        """Go back from a choice to where it was offered."""
        self._back()
        self._view = self._offered_from

    # -- work beside

    def _start(
        self, work: Callable[[Background[Any]], object], then: Callable[[Background[Any]], None], notice: str
    ) -> None:
        """Begin a job; `then` is told when it has come to its end."""
        if self._is_busy():
            self._notice = "one thing after the other: something is still at work"
            return
        self._notice = self._at_work = notice
        self._then = then
        self._job = Background(work, changed=self._redraw)

    def look(self) -> None:
        """See how the job and the entry that is read about stand: before each picture, on the screen's own thread."""
        row = next((row for row in self._listing.rows if self._text.about == row.name), None)
        if self._view is View.TEXT and row is not None and (facts := self._facts(row)) != self._text.lines:
            self._text.lines, self._wrapped = facts, (0, 0, [])
        job = self._job
        if job is None:
            return
        if job.question is not None and self._view is not View.QUESTION:
            self._ask(*job.question)
        elif job.merge is not None and self._picking is None:
            self._pick(*job.merge)
        elif not job.is_running and (self._view in (View.LIST, View.RUN) or self._text.live):
            # Who reads or chooses something is not torn away from it.
            self._conclude(job)

    def _conclude(self, job: Background[Any]) -> None:
        self._job = None
        if self._notice == self._at_work:  # another one is for the person, who may not have seen it yet
            self._notice = ""
        self._then(job)

    def _is_busy(self) -> bool:
        """Whether a job is at work; one that has come to its end unseen is concluded first."""
        if self._job is not None and not self._job.is_running:
            self._conclude(self._job)
        return self._job is not None

    def _opened(self, job: Background[Any]) -> None:
        if job.error is not None:
            self._notice = job.said()
        self._reload()

    def _reload(self) -> None:
        """Show the entries, and find out beside how they stand."""
        entries = self._actions.entries()
        known = {row.name: row for row in self._listing.rows}
        self._listing.rows = [known.get(entry.name) or Row(entry.name, "") for entry in entries]
        for row, entry in zip(self._listing.rows, entries, strict=True):
            row.direction = self._actions.direction(entry)
        if not entries and not self._notice:
            self._notice = f"no entry of the maps has a {self._actions.role.value}: r takes another role, m other maps"
        self._refresh.set()
        self._refresh = stop = threading.Event()
        threading.Thread(target=self._find_out, args=(entries, stop), daemon=True).start()

    def _find_out(self, entries: Sequence[Entry], stop: threading.Event) -> None:
        """Fill the rows: from this machine's memory, then with what S3 says; then again whatever a run has moved."""
        rows = {row.name: row for row in self._listing.rows}
        try:
            seen = self._actions.glance(entries)
            for ask_s3 in (False, True):
                self._tell_of(entries, rows, stop, ask_s3=ask_s3)
            while not stop.wait(_LIVE_S):
                now = self._actions.glance(entries)
                moved = [entry for entry in entries if now[entry.name] != seen[entry.name]]
                seen = now
                if moved:
                    self._tell_of(moved, rows, stop, ask_s3=True)
                ages = [(row, _age(self._statuses.get(name))) for name, row in rows.items()]
                if any(row.last != age for row, age in ages):
                    for row, age in ages:
                        row.last = age
                    self._redraw()
        except Exception as exc:  # the list is there all the same; what is wrong shows at the next run
            self._notice = f"the state of the entries is not known: {exc}"
        self._redraw()

    def _tell_of(
        self, entries: Sequence[Entry], rows: Mapping[str, Row], stop: threading.Event, *, ask_s3: bool
    ) -> None:
        for status in self._actions.statuses(entries, ask_s3=ask_s3):
            if stop.is_set():
                return
            self._statuses[status.name] = status
            self._fill(rows[status.name], status)
        self._redraw()

    def _fill(self, row: Row, status: EntryStatus) -> None:
        row.last = _age(status)
        row.kind, row.state = status.state, words(status)
        work = self._found.get(row.name)
        if work is not None and status.state in (EntryState.UP_TO_DATE, EntryState.NEVER_RUN):
            row.kind = EntryState.NOT_COMPARED if work else EntryState.UP_TO_DATE
            row.state = f"{work:,} to do" if work else "up to date"
        if status.watch is not None:
            row.state += ", watched"
        row.generation = f"{status.last.generation:,}" if status.last and status.last.generation else ""
        row.details = details(status, row.state)

    # -- runs

    def _go_all(self, word: str) -> None:
        self._go(Verb(word), [row.name for row in self._listing.visible()])

    def _go(self, verb: Verb, names: Sequence[str]) -> None:
        if self._is_busy():
            self._notice = "one thing after the other: something is still at work"
            return
        running = Running(verb, {name: model.Progress(name=name) for name in names}, began_s=time.monotonic())
        self._running = running
        self._view = View.RUN

        def emit(event: events.Event) -> None:
            outcome = ""
            if isinstance(event, events.EntryFinished):
                outcome = _outcome(event)
            running.on_event(event, time.monotonic(), outcome)

        self._start(
            lambda job: self._actions.run(
                verb, names, emit=emit, stop=job.stop, approve=ask_once(job.ask), decide=decide_once(job.ask_merge)
            ),
            lambda job: self._ran(job, running),
            "",
        )

    def _offer_watch(self, row: Row) -> None:
        status = self._statuses.get(row.name)
        if status is not None and status.watch is not None and status.watch.process:
            self._offer(
                f"{escape(row.name)} is watched by process {status.watch.process}",
                [("leave", "let it continue"), ("end", "end it, with all that it watches")],
                lambda word: self._end_watch(row.name) if word == "end" else self._back(),
            )
            return
        names = [row.name for row in self._listing.visible()]
        choices = [("one", f"{escape(row.name)} alone"), ("all", f"all {count(len(names), 'entry')} of the list")]
        self._offer(
            "Watch: what changes is brought over at once, and nothing is asked",
            choices if len(names) > 1 else choices[:1],
            lambda word: self._watch([row.name] if word == "one" else names),
        )

    def _watch(self, names: Sequence[str]) -> None:
        def work(job: Background[Any], say: Callable[[str], None]) -> None:
            def emit(event: events.Event) -> None:
                if told := watch_line(event):
                    say(f"{time.strftime('%H:%M:%S')}  {told}")

            self._actions.watch(names, emit=emit, stop=job.stop)

        def ended(job: Background[Any]) -> str:
            self._reload()
            said = "" if isinstance(job.error, Interrupted) else job.said()
            return said or "The watch has ended."

        self._back()
        self._read_along(f"watch of {count(len(names), 'entry')}", work, ended)

    def _end_watch(self, name: str) -> None:
        self._back()
        self._start(lambda job: self._actions.end_watch(name), self._opened, "ending the watch …")

    def _open_trash(self, name: str) -> None:
        def opened(job: Background[Any]) -> None:
            if job.error is not None:
                self._notice = job.said()
                return
            self._trash = TrashList(name, job.result or [])
            self._view = View.TRASH

        if self._actions.role is Role.PEER:
            self._start(lambda job: self._actions.trash(name), opened, f"looking into the trash of {escape(name)} …")
        else:
            self._notice = "only a shared folder (role peer) has a trash"

    def _restored(self, job: Background[Any]) -> None:
        if job.error is not None:
            self._read("Not all came back", ["", *(f"  {line}" for line in job.said().splitlines())])
        else:
            self._notice = f"{count(len(job.result or ()), 'file')} came back; the next sync shares them again"
        self._reload()

    def _open_past(self, name: str) -> None:
        def opened(job: Background[Any]) -> None:
            if job.error is not None:
                self._notice = job.said()
                return
            found, hold = job.result or (History(()), None)
            held = hold.words if hold is not None else ""
            self._past = PastList(name, found, held=held, is_slave=self._actions.role is Role.SLAVE)
            self._view = View.PAST

        self._start(lambda job: self._actions.history(name), opened, f"looking for generations of {escape(name)} …")

    def _show_changes(self, name: str, number: int) -> None:
        def found(job: Background[Any]) -> None:
            if job.error is not None:
                self._past.notice = job.said()
                self._view = View.PAST
                return
            lines = [f"  {line}" for line in job.result or ()] or ["  nothing"]
            self._read(f"{escape(name)}: what generation {number:,} has changed", ["", *lines])
            self._text.of_past = True

        self._view = View.LIST
        self._start(lambda job: self._actions.changes(name, number), found, f"comparing generation {number:,} …")

    def _offer_back(self) -> None:
        past = self._past
        if why := past.why_not_back():
            past.notice = why
            return
        assert past.chosen is not None  # or there is a reason
        number = past.chosen.number
        what = (
            "bring that tree back on this machine, and hold the entry there"
            if past.is_slave
            else "publish what it held as the next generation, for all machines"
        )
        self._offer(
            f"{escape(past.entry)}: back to {tree_words(number)}?",
            [("leave", "everything stays as it is"), ("back", what)],
            lambda word: self._go_back(past.entry, number) if word == "back" else self._leave_choice(),
        )

    def _go_back(self, name: str, number: int) -> None:
        """Go back, on a slave with the question that a sync asks."""
        if self._is_busy():
            self._notice = "one thing after the other: something is still at work"
            return
        what = f"back to {tree_words(number)} of"
        running = Running(Verb.SYNC, {name: model.Progress(name=name)}, began_s=time.monotonic(), title=what)
        self._running = running
        self._view = View.RUN

        def ended(job: Background[Any]) -> None:
            self._running = None
            said = job.said() or job.result or ""
            self._read(
                f"{escape(name)}: back to {tree_words(number)}", ["", *(f"  {line}" for line in said.splitlines())]
            )
            self._reload()

        self._start(
            lambda job: self._actions.go_back(
                name,
                number,
                emit=lambda event: running.on_event(event, time.monotonic()),
                stop=job.stop,
                approve=ask_once(job.ask),
            ),
            ended,
            "",
        )

    def _let_go(self, job: Background[Any], name: str) -> None:
        self._notice = job.said() or f"{escape(name)} is not held any more: its next sync follows S3 again"
        self._reload()

    def _ask(self, entry: str, plan: Plan) -> None:
        self._view = View.QUESTION
        lines = ["", *plan_lines(plan, limit=_ASKED, colour=False)]
        verb = (self._running.title or self._running.verb.value) if self._running else ""
        self._text = Text(f"{verb} {escape(entry)}: {asked(plan)}", lines, question=_YES_NO)
        self._wrapped = (0, 0, [])

    def _pick(self, entry: str, made: Merge, contents: Contents) -> None:
        picking = Picking(entry, made, contents)
        if picking.is_empty:
            self._decide(made)
            return
        self._picking = picking
        self._view = View.PICK

    def _decide(self, made: Merge | None) -> None:
        self._picking = None
        self._view = View.RUN
        if self._job is not None:
            self._job.decide(made)

    def _answer(self, *, yes: bool) -> None:
        self._view = View.RUN
        if self._job is not None:
            self._job.answer(yes)

    def _ran(self, job: Background[Any], running: Running) -> None:
        lines: list[str] = []
        if isinstance(job.error, Interrupted):
            hint = job.error.hint or "what was not yet begun is as it was"
            lines += ["", f"  Stopped: {hint}."]
        elif job.error is not None:
            lines += ["", f"  {job.said()}"]
        lines.append("")
        for entry in running.entries.values():
            plan = running.plans.get(entry.name)
            mark = "✗" if entry.failed else "✓" if entry.outcome and not entry.stopped else "■"
            first, *rest = (entry.outcome or "not begun").splitlines()
            lines += [f"  {mark} {escape(entry.name)}: {first}", *(f"      {line.strip()}" for line in rest)]
            merge = running.merges.get(entry.name)
            if merge is not None and not running.verb.changes:
                lines += [f"  {line}" for line in merge_lines(merge, limit=None, colour=False)]
                lines.append("")
            elif plan is not None and not running.verb.changes and (not plan.is_empty or plan.rejected):
                lines += [f"  {line}" for line in plan_lines(plan, limit=None, colour=False)]
                lines.append("")
            elif plan is not None and plan.rejected:
                lines += [f"  ! rejected  {escape(gone.path)}  ({escape(gone.reason)})" for gone in plan.rejected]
            if plan is not None and not running.verb.changes:
                work = len(telling(put.item for put in plan.puts)) + len(telling(plan.extras))
                if merge is not None:
                    work = len(merge.uploads) + len(merge.downloads) + len(merge.conflicts)
                self._found[entry.name] = work
            elif plan is not None:
                self._found.pop(entry.name, None)
        lines += [f"  ! {line}" for line in running.warnings]
        if running.size:
            took = duration(time.monotonic() - running.began_s)
            lines += ["", f"  {count(running.files, 'file')}, {amount(running.size)} in {took}"]
        ended = list(running.entries.values())
        numbers = {
            "done": sum(bool(entry.outcome) and not entry.failed and not entry.stopped for entry in ended),
            "failed": sum(entry.failed for entry in ended),
            "stopped": sum(entry.stopped for entry in ended),
        }
        told = ", ".join(f"{number} {word}" for word, number in numbers.items() if number)
        self._read(f"{running.verb.value}: {told or 'nothing was begun'}", lines)
        self._running = None
        self._reload()

    # -- the other screens

    def _read(self, title: str, lines: list[str]) -> None:
        self._text = Text(title, lines)
        self._wrapped = (0, 0, [])
        self._view = View.TEXT

    def _read_along(
        self,
        title: str,
        work: Callable[[Background[Any], Callable[[str], None]], object],
        ended: Callable[[Background[Any]], str],
    ) -> None:
        """Begin a job whose lines are read while it works, unless another one is at work.

        Args:
            work: is given the job, and what takes a line of it.
            ended: the last line.
        """
        text = Text(title, [""], live=True)

        def say(line: str) -> None:
            text.follow(f"  {line}")
            self._redraw()

        def then(job: Background[Any]) -> None:
            text.live = False
            text.follow("", f"  {ended(job)}")

        self._start(lambda job: work(job, say), then, "")
        if not self._notice:
            self._text, self._wrapped, self._view = text, (0, 0, []), View.TEXT

    def _offer(self, title: str, choices: list[tuple[str, str]], choose: Callable[[str], None]) -> None:
        self._choosing = Choosing(title, choices)
        self._choose = choose
        if self._view is not View.CHOICE:  # one that is offered again is left to where the first one was
            self._offered_from = self._view
        self._view = View.CHOICE

    def _facts(self, row: Row) -> list[str]:
        """What the maps say of an entry, and how it stands now."""
        entry = next(entry for entry in self._actions.entries() if entry.name == row.name)
        facts = [(name, escape(value)) for name, value in entry_facts(entry, self._actions.role)]
        status = self._statuses.get(row.name)
        facts.append(("state", row.state))
        if status is not None and status.last is not None:
            when = moments.short(status.last.time_s)
            facts.append(("last run", f"{when}: {status.last.text}"))
            facts.append(("generation", str(status.last.generation or "-")))
        if status is not None and status.watch is not None:
            facts.append(("watch", watch_words(status.watch)))
        if status is not None and status.trouble:
            facts.append(("error", status.trouble))
        wide = max(len(name) for name, _ in facts)
        lines = [f"  {name:<{wide}}  {value}" for name, value in facts]
        return ["", *(part for line in lines for part in line.splitlines())]

    def _previewed(self, job: Background[Any]) -> None:
        if job.error is not None:
            self._read("The maps stay as they were", ["", *f"  {job.said()}".splitlines()])
            return
        update = job.result
        assert isinstance(update, Update)  # what `preview` returns
        lines = [""]
        lines += [f"  {sign} {word:<8} {escape(name)}" for sign, word, name in update.differences]
        if len(lines) == 1 and update.source == self._actions.source:
            self._desk_take(update)
            self._notice = f"the maps have not changed: {count(len(update.maps.entries), 'entry')}"
            return
        title = f"Maps of {update.source}: {count(len(update.maps.entries), 'entry')}"
        self._offer(
            title,
            [("take", "work with these maps"), ("leave", "keep those that are there")],
            lambda word: self._take(word, update),
        )
        self._notice = "; ".join(line.strip() for line in lines[1:12])

    def _take(self, word: str, update: Update) -> None:
        self._back()
        if word == "take":
            self._desk_take(update)

    def _desk_take(self, update: Update) -> None:
        self._start(lambda job: self._actions.take(update), self._opened, "")

    def _switch(self, word: str) -> None:
        self._back()
        try:
            self._actions.switch(Role(word))
        except ConfigError as exc:
            self._notice = str(exc)
        self._found.clear()
        self._listing.rows = []
        self._reload()

    def _command(self, name: str) -> None:
        def work(job: Background[Any], say: Callable[[str], None]) -> int:
            return self._actions.command(name, on_line=lambda line: say(escape(line)), stop=job.stop)

        def ended(job: Background[Any]) -> str:
            said = job.said() or f"it ended with status {job.result}"
            return f"{'stopped: ' if job.stop.is_set() else ''}{said}"

        self._back()
        self._read_along(f"command {name}", work, ended)

    def _offer_options(self) -> None:
        self._offer("Options", model.options(self._actions.settings.menu), self._set_option)

    def _set_option(self, name: str) -> None:
        now = self._actions.settings.menu
        orders = model.ORDERS
        value = orders[(orders.index(now.sort) + 1) % len(orders)] if name == "sort" else not getattr(now, name)
        cursor = self._choosing.cursor
        try:
            self._actions.set_option(name, value)
        except ConfigError as exc:
            self._notice = str(exc)
        self._listing.sort = self._actions.settings.menu.sort
        self._offer_options()
        self._choosing.cursor = cursor


def _age(status: EntryStatus | None) -> str:
    return ago(time.time() - status.last.time_s) if status is not None and status.last is not None else "-"


def watch_line(event: events.Event) -> str:
    """What is told of an event while a watch is at work; empty for what is not worth a line."""
    match event:
        case events.Watching() | events.Warned() | events.Waiting():
            return f"{escape(event.entry)}: {event.text}"
        case events.EntryFinished() if event.changed or event.error is not None:
            return f"{escape(event.entry)}: {_outcome(event)}"
    return ""


def _outcome(event: events.EntryFinished) -> str:
    if event.error is None:
        return summary(event)
    if isinstance(event.error, Interrupted):
        return f"stopped; {event.error.hint}"
    if isinstance(event.error, Declined):
        return str(event.error)
    return f"FAILED: {event.error}"
