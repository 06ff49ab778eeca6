"""The menu as numbered questions, a line each: for pipes, serial consoles, and terminals that can do no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from s32s.config.maps import Entry
from s32s.core.errors import Interrupted, S32sError
from s32s.core.paths import escape, word
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.frontends.menu import model
from s32s.frontends.menu.actions import Actions, ask_once, entry_facts
from s32s.frontends.menu.background import Background
from s32s.frontends.menu.past import HEAD, RIGHT, PastList, cells
from s32s.frontends.menu.prompter import Choice, Left, Prompter
from s32s.frontends.menu.trashed import when_and_where
from s32s.frontends.render.layout import count, table
from s32s.frontends.render.plans import plan_lines
from s32s.frontends.render.statuses import direction, words
from s32s.frontends.render.text import Screen

T = TypeVar("T")

_SHOWN = 15  # paths of a plan that is asked about

_WORK = [
    *(Choice(verb, meaning) for verb, meaning in model.VERBS.items()),
    Choice("info", "what the map says of it"),
    Choice("back"),
]
_PAST = Choice("generations", "look back, and go back")
_TRASH = Choice("trash", "bring back what was replaced or deleted")
_KEYS = (
    "a number: an entry · a all entries · w watch all · u update maps · m other maps · r role · x custom commands · "
    "o options · ? help · q quit"
)


class PlainMenu:
    """The loop of questions.

    Args:
        actions: what can be done.
        prompter: how it is asked.
        environment: for the colours of summaries.
    """

    def __init__(self, actions: Actions, prompter: Prompter, environment: Mapping[str, str]) -> None:
        self._actions = actions
        self._prompter = prompter
        self._environment = environment

    def run(self) -> None:
        """Ask until the person leaves."""
        say = self._prompter.say
        self._try(lambda job: self._actions.open())
        while True:
            entries = self._show()
            try:
                answer = self._prompter.ask("Number or letter")
                if answer in ("q", "quit"):
                    return
                self._do(answer, entries)
            except Left:
                return
            except Interrupted:
                raise
            except S32sError as exc:
                say(f"  {exc}")

    def _show(self) -> list[Entry]:
        actions, say = self._actions, self._prompter.say
        entries = actions.entries()
        say()
        say(f"s32s · role {actions.role.value} · maps {actions.source}")
        rows = [
            [f"{number:>3})", escape(status.name), direction(status), words(status)]
            for number, status in enumerate(actions.statuses(entries, ask_s3=False), start=1)
        ]
        for line in table(rows):
            say(line)
        if not rows:
            say(f"no entry of the maps has a {actions.role.value}")
        say(_KEYS)
        return entries

    def _do(self, answer: str, entries: list[Entry]) -> None:
        prompter, actions = self._prompter, self._actions
        if answer.isdigit() and 1 <= int(answer) <= len(entries):
            self._entry(entries[int(answer) - 1])
        elif answer == "a" and entries:
            verb = prompter.choose(f"All {count(len(entries), 'entry')}:", [*_WORK[:3], _WORK[4]], default="back")
            if verb != "back":
                self._run(Verb(verb), [entry.name for entry in entries])
        elif answer == "w" and entries:
            self._watch([entry.name for entry in entries])
        elif answer == "u":
            self._take(lambda job: actions.preview())
        elif answer == "m":
            path = prompter.ask("S3 path of the maps, for this session", default=str(actions.source))
            self._take(lambda job: actions.preview_of(path))
        elif answer == "r":
            role = prompter.choose("Role, for this session:", [Choice(role.value) for role in Role], default="slave")
            actions.switch(Role(role))
        elif answer == "x":
            self._command()
        elif answer == "o":
            self._options()
        elif answer == "?":
            for line in [*model.ABOUT, "", *(f"  {verb:<8} {meaning}" for verb, meaning in model.VERBS.items())]:
                prompter.say(line)
        elif answer:
            prompter.say("  please answer with one of these numbers or letters")

    def _entry(self, entry: Entry) -> None:
        work = [*_WORK[:-1], _PAST, *([_TRASH] if self._actions.role is Role.PEER else []), _WORK[-1]]
        word = self._prompter.choose(f"{escape(entry.name)}:", work, default="back")
        if word == "trash":
            self._trash(entry.name)
        elif word == "generations":
            self._past(entry.name)
        elif word == "info":
            for line in table([[f"  {name}", escape(value)] for name, value in entry_facts(entry, self._actions.role)]):
                self._prompter.say(line)
        elif word != "back":
            self._run(Verb(word), [entry.name])

    def _past(self, name: str) -> None:
        """Show the generations of an entry, and offer the way back, or a release."""
        prompter, actions = self._prompter, self._actions
        found = self._try(lambda job: actions.history(name))
        if found is None:
            return
        past, hold = found
        for line in table([HEAD, *map(cells, past.generations[:_SHOWN])], right=RIGHT):
            prompter.say(f"  {line}")
        for line in filter(None, [past.trouble, hold.words if hold is not None else ""]):
            prompter.say(f"  {line}")
        if hold is not None:
            if self._yes("Let it follow S3 again?"):
                self._try(lambda job: actions.release(name))
        elif past.generations:
            self._back_to(PastList(name, past, is_slave=actions.role is Role.SLAVE))

    def _back_to(self, shown: PastList) -> None:
        """Ask which generation is to come back, if any."""
        numbers = [str(one.number) for one in shown.history.generations]
        wrong = f"please answer with one of {', '.join(numbers)}"
        answer = self._prompter.ask(
            "Back to which generation, Enter for none", check=lambda text: None if text in ("", *numbers) else wrong
        )
        if not answer:
            return
        shown.cursor = numbers.index(answer)
        if why := shown.why_not_back():
            self._prompter.say(f"  {why}")
            return
        said = self._try(
            lambda job: self._actions.go_back(
                shown.entry, int(answer), emit=lambda event: None, stop=job.stop, approve=ask_once(job.ask)
            )
        )
        if said:
            self._prompter.say(f"  {said}")

    def _trash(self, name: str) -> None:
        lost = self._try(lambda job: self._actions.trash(name))
        if not lost:
            self._prompter.say("  the trash is empty")
            return
        rows = [
            [f"{number:>3})", when_and_where(one), escape(one.path)]
            for number, one in enumerate(lost[:_SHOWN], start=1)
        ]
        for line in table(rows):
            self._prompter.say(line)
        if len(lost) > _SHOWN:
            self._prompter.say(f"  … and {len(lost) - _SHOWN:,} more: s32s trash list {word(name)}")
        answer = self._prompter.ask("Number to bring back, Enter for none")
        if answer.isdigit() and 1 <= int(answer) <= len(rows):
            one = lost[int(answer) - 1]
            if self._try(lambda job: self._actions.restore(name, [one])):
                self._prompter.say(f"  {escape(one.path)} came back")

    def _run(self, verb: Verb, names: list[str]) -> None:
        screen = Screen(self._environment, dryrun=not verb.changes)
        try:
            self._try(
                lambda job: self._actions.run(
                    verb, names, emit=screen.on_event, stop=job.stop, approve=ask_once(job.ask)
                )
            )
        finally:
            screen.close()

    def _watch(self, names: list[str]) -> None:
        self._prompter.say("What changes is brought over at once. Ctrl-C ends it.")
        screen = Screen(self._environment)
        try:
            self._try(lambda job: self._actions.watch(names, emit=screen.on_event, stop=job.stop))
        finally:
            screen.close()

    def _take(self, fetch: Callable[[Background[object]], object]) -> None:
        from s32s.agent.catalog import Update

        update = self._try(fetch)
        if not isinstance(update, Update):
            return
        for sign, _, name in update.differences:
            self._prompter.say(f"  {sign} {escape(name)}")
        if not update.differences:
            self._prompter.say("  nothing has changed")
            self._actions.take(update)
        elif self._yes("Take these maps?"):
            self._actions.take(update)

    def _command(self) -> None:
        names = list(self._actions.settings.commands)
        if not names:
            self._prompter.say("  the configuration has no [commands]")
            return
        name = self._prompter.choose("Command:", [Choice(name) for name in names] + [Choice("back")], default="back")
        if name != "back":
            say = self._prompter.say
            status = self._try(
                lambda job: self._actions.command(name, on_line=lambda line: say(f"  {escape(line)}"), stop=job.stop)
            )
            say(f"  {name} ended with status {status}" if status is not None else f"  {name} was stopped")

    def _options(self) -> None:
        now = self._actions.settings.menu
        choices = [*(Choice(name, said) for name, said in model.options(now)), Choice("back")]
        word = self._prompter.choose("Option:", choices, default="back")
        if word == "sort":
            order = self._prompter.choose("Order:", [*map(Choice, model.ORDERS)], default=now.sort)
            self._actions.set_option("sort", order)
        elif word != "back":
            self._actions.set_option(word, not getattr(now, word))

    def _try(self, work: Callable[[Background[object]], T]) -> T | None:
        """Run work to its end; a Ctrl-C stops it, a question is put here, an error is said."""
        job: Background[object] = Background(work)
        while job.is_running:
            try:
                job.join(0.1)
                if job.question is not None:
                    entry, plan = job.question
                    job.answer(self._confirm(entry, plan))
            except KeyboardInterrupt:
                self._prompter.say("stopping …")
                job.stop.set()
            except Left:
                job.stop.set()
            except Interrupted:
                job.stop.set()
                _wait(job)
                raise
        if job.error is not None:
            self._prompter.say(f"  {job.said()}")
            return None
        return job.result  # type: ignore[return-value] # of what `work` returns

    def _confirm(self, entry: str, plan: Plan) -> bool:
        self._prompter.say(f"{escape(entry)}:")
        for line in plan_lines(plan, limit=_SHOWN, colour=False):
            self._prompter.say(line)
        return self._yes("Continue?")

    def _yes(self, question: str) -> bool:
        return self._prompter.ask(f"{question} [y/N]").lower() in ("y", "yes")


def _wait(job: Background[object]) -> None:
    until = time.monotonic() + 5
    while job.is_running and time.monotonic() < until:
        job.join(0.1)
