"""Questions on a real terminal: completed and checked while one types."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from prompt_toolkit import Application, PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.validation import ValidationError, Validator

from s32s.core.errors import Interrupted
from s32s.frontends.menu.prompter import Check, Choice, Complete, Left, PlainPrompter, meant, numbered
from s32s.system.concurrency import Future

T = TypeVar("T")

_LOOK_S = 0.02  # how often it is looked for completions


class TerminalPrompter:
    """See `asking.Prompter`."""

    def __init__(self) -> None:
        self._plain = PlainPrompter()

    def say(self, text: str = "") -> None:
        """See `asking.Prompter`."""
        self._plain.say(text)

    def ask(
        self, question: str, *, default: str = "", check: Check | None = None, complete: Complete | None = None
    ) -> str:
        """See `asking.Prompter`."""
        session: PromptSession[str] = PromptSession(
            completer=_Completer(complete) if complete else None,
            validator=_Validator(check, default) if check else None,
            validate_while_typing=False,
            complete_while_typing=True,
            history=InMemoryHistory([default] if default else None),  # so that Up brings it for editing
        )
        shown = f"{question} [{default}]: " if default else f"{question}: "
        try:
            with ended_by_sigterm(session.app) as watch:
                answer = session.prompt(shown, bottom_toolbar=_toolbar(check, complete, session), pre_run=watch)
        except (EOFError, KeyboardInterrupt):
            raise Left from None
        return answer.strip() or default

    def choose(self, question: str, choices: Sequence[Choice], *, default: str = "") -> str:
        """See `asking.Prompter`."""
        words = [choice.word for choice in choices]
        self.say(question)
        for line in numbered(choices):
            self.say(line)
        answer = self.ask(
            "Number or word",
            default=default,
            check=lambda text: None if meant(text, words) else f"one of: {', '.join(words)}",
            complete=lambda text: [word for word in words if word.startswith(text)],
        )
        return meant(answer, words) or default

    def wait(self, text: str, work: Callable[[], T]) -> T:
        """See `asking.Prompter`."""
        return self._plain.wait(text, work)


@contextlib.contextmanager
def ended_by_sigterm(app: Application[Any]) -> Iterator[Callable[[], None]]:
    """Let SIGTERM end an application of prompt-toolkit with `Interrupted`; call what is yielded when it has begun.

    Its loop swallows what a handler of Python's own raises, and takes that handler away when it ends.
    """
    before = signal.getsignal(signal.SIGTERM)

    def end() -> None:
        if app.is_running and not app.is_done:
            app.exit(exception=Interrupted(signal.SIGTERM))

    def watch() -> None:
        if app.loop is not None:
            app.loop.add_signal_handler(signal.SIGTERM, end)

    try:
        yield watch
    finally:
        signal.signal(signal.SIGTERM, before)


class _Completer(Completer):
    """Completes on a thread that is left behind when the answer is there: it may be waiting for S3.

    The threads of prompt-toolkit are waited for at the end of each question.
    """

    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        for found in self._complete(text):
            yield Completion(found, start_position=-len(text))

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        work = Future(lambda: list(self.get_completions(document, complete_event)))
        while not work.is_done:
            await asyncio.sleep(_LOOK_S)
        for found in work.result():
            yield found


class _Validator(Validator):
    def __init__(self, check: Check, default: str) -> None:
        self._check = check
        self._default = default

    def validate(self, document: Document) -> None:
        problem = self._check(document.text.strip() or self._default)
        if problem is not None:
            raise ValidationError(len(document.text), problem)


def _toolbar(check: Check | None, complete: Complete | None, session: PromptSession[str]) -> Callable[[], str] | None:
    """What is wrong with the answer so far, below the line."""
    if check is None:
        return None

    def text() -> str:
        typed = session.default_buffer.text.strip()
        problem = check(typed) if typed else None
        return problem or ("Tab completes. " if complete else "") + "Enter continues, Ctrl-C quits."

    return text
