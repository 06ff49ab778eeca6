"""The menu as numbered questions, a line each: for pipes, serial consoles, and terminals that can do no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from s32s.config.maps import Entry
from s32s.core.errors import Interrupted, S32sError
from s32s.core.paths import escape
from s32s.core.plan import Plan, Verb
from s32s.core.role import Role
from s32s.frontends.menu import model
from s32s.frontends.menu.actions import Desk, asked_once, entry_facts
from s32s.frontends.menu.background import Job
from s32s.frontends.menu.prompter import Asker, Choice, Left
from s32s.frontends.render.layout import count, table
from s32s.frontends.render.plans import plan_lines
from s32s.frontends.render.statuses import words
from s32s.frontends.render.text import Screen

T = TypeVar("T")

_SHOWN = 15  # paths of a plan that is asked about

_WORK = [
    *(Choice(verb, meaning) for verb, meaning in model.VERBS.items()),
    Choice("info", "what the map says of it"),
    Choice("back"),
]
_KEYS = (
    "a number: an entry · a all entries · u update maps · m other maps · r role · x own commands · o options · "
    "? help · q leave"
)


class PlainMenu:
    """The loop of questions.

    Args:
        desk: what can be done.
        asker: how it is asked.
        environment: for the colours of summaries.
    """

    def __init__(self, desk: Desk, asker: Asker, environment: Mapping[str, str]) -> None:
        self._desk = desk
        self._asker = asker
        self._environment = environment

    def run(self) -> None:
        """Ask until the person leaves."""
        say = self._asker.say
        self._try(lambda job: self._desk.open())
        while True:
            entries = self._show()
            try:
                answer = self._asker.ask("Number or letter")
                if answer in ("q", "quit"):
                    return
                self._do(answer, entries)
            except Left:
                return
            except S32sError as exc:
                say(f"  {exc}")

    def _show(self) -> list[Entry]:
        desk, say = self._desk, self._asker.say
        entries = desk.entries()
        say()
        say(f"s32s · role {desk.role.value} · maps {desk.source}")
        rows = [
            [f"{number:>3})", escape(status.name), f"{escape(status.source)} > {escape(status.target)}", words(status)]
            for number, status in enumerate(desk.statuses(entries, ask_s3=False), start=1)
        ]
        for line in table(rows):
            say(line)
        if not rows:
            say(f"no entry of the maps has a {desk.role.value}")
        say(_KEYS)
        return entries

    def _do(self, answer: str, entries: list[Entry]) -> None:
        asker, desk = self._asker, self._desk
        if answer.isdigit() and 1 <= int(answer) <= len(entries):
            self._entry(entries[int(answer) - 1])
        elif answer == "a" and entries:
            verb = asker.choose(f"All {count(len(entries), 'entry')}:", [*_WORK[:3], _WORK[4]], default="back")
            if verb != "back":
                self._run(Verb(verb), [entry.name for entry in entries])
        elif answer == "u":
            self._take(lambda job: desk.preview())
        elif answer == "m":
            path = asker.ask("S3 path of the maps, for this session", default=str(desk.source))
            self._take(lambda job: desk.preview_of(path))
        elif answer == "r":
            role = asker.choose("Role, for this session:", [Choice(role.value) for role in Role], default="slave")
            desk.switch(Role(role))
        elif answer == "x":
            self._command()
        elif answer == "o":
            self._options()
        elif answer == "?":
            for line in [*model.ABOUT, "", *(f"  {verb:<8} {meaning}" for verb, meaning in model.VERBS.items())]:
                asker.say(line)
        elif answer:
            asker.say("  please answer with one of these numbers or letters")

    def _entry(self, entry: Entry) -> None:
        word = self._asker.choose(f"{escape(entry.name)}:", _WORK, default="back")
        if word == "info":
            for line in table([[f"  {name}", escape(value)] for name, value in entry_facts(entry, self._desk.role)]):
                self._asker.say(line)
        elif word != "back":
            self._run(Verb(word), [entry.name])

    def _run(self, verb: Verb, names: list[str]) -> None:
        screen = Screen(self._environment, dryrun=verb is Verb.DRYRUN)
        try:
            self._try(
                lambda job: self._desk.run(
                    verb, names, emit=screen.on_event, stop=job.stop, approve=asked_once(job.ask)
                )
            )
        finally:
            screen.close()

    def _take(self, fetch: Callable[[Job[object]], object]) -> None:
        from s32s.agent.catalog import Update

        update = self._try(fetch)
        if not isinstance(update, Update):
            return
        for sign, _, name in update.differences:
            self._asker.say(f"  {sign} {escape(name)}")
        if not update.differences:
            self._asker.say("  nothing has changed")
            self._desk.take(update)
        elif self._yes("Take these maps?"):
            self._desk.take(update)

    def _command(self) -> None:
        names = list(self._desk.settings.commands)
        if not names:
            self._asker.say("  the configuration has no [commands]")
            return
        name = self._asker.choose("Command:", [Choice(name) for name in names] + [Choice("back")], default="back")
        if name != "back":
            say = self._asker.say
            status = self._try(
                lambda job: self._desk.command(name, on_line=lambda line: say(f"  {escape(line)}"), stop=job.stop)
            )
            say(f"  {name} ended with status {status}" if status is not None else f"  {name} was stopped")

    def _options(self) -> None:
        now = self._desk.settings.menu
        choices = [*(Choice(name, said) for name, said in model.options(now)), Choice("back")]
        word = self._asker.choose("Option:", choices, default="back")
        if word == "sort":
            order = self._asker.choose("Order:", [*map(Choice, model.ORDERS)], default=now.sort)
            self._desk.set_option("sort", order)
        elif word != "back":
            self._desk.set_option(word, not getattr(now, word))

    def _try(self, work: Callable[[Job[object]], T]) -> T | None:
        """Run work to its end; a Ctrl-C stops it, a question is put here, an error is said."""
        job: Job[object] = Job(work)
        while job.is_running:
            try:
                job.join(0.1)
                if job.question is not None:
                    entry, plan = job.question
                    job.answer(self._confirm(entry, plan))
            except KeyboardInterrupt:
                self._asker.say("stopping …")
                job.stop.set()
            except Left:
                job.stop.set()
            except Interrupted:
                job.stop.set()
                _wait(job)
                raise
        if job.error is not None:
            self._asker.say(f"  {job.said()}")
            return None
        return job.result  # type: ignore[return-value] # of what `work` returns

    def _confirm(self, entry: str, plan: Plan) -> bool:
        self._asker.say(f"{escape(entry)}:")
        for line in plan_lines(plan, most=_SHOWN, colour=False):
            self._asker.say(line)
        return self._yes("Go on?")

    def _yes(self, question: str) -> bool:
        return self._asker.ask(f"{question} [y/N]").lower() in ("y", "yes")


def _wait(job: Job[object]) -> None:
    until = time.monotonic() + 5
    while job.is_running and time.monotonic() < until:
        job.join(0.1)
