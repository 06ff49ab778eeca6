"""Work on a thread of its own, which may ask a question on the way and can be stopped.

The screen stays alive meanwhile: it looks at the job now and then, shows the question that waits, and hands the answer
back. A question that is still open when the job is stopped counts as answered with no.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from s32s.core.errors import Declined, S32sError
from s32s.core.merge import Merge
from s32s.core.plan import Plan
from s32s.replication.merge_job import Contents

T = TypeVar("T")


class Background(Generic[T]):
    """One piece of work; it begins at once.

    Attributes:
        stop: set it to end the work.
        question: (entry, plan) that waits for `answer`; None when nobody is asked.
        merge: (entry, merge, contents) that waits for `decide`; None when nobody is asked.
        error: what ended the work; None while it runs, and when all went well.
        result: what it came to; None until then.

    Args:
        work: is given the job, for its `stop` and `ask`.
        changed: called whenever there is something new to look at, from the job's own thread.
    """

    def __init__(self, work: Callable[[Background[T]], T], *, changed: Callable[[], None] = lambda: None) -> None:
        self.stop = threading.Event()
        self.question: tuple[str, Plan] | None = None
        self.merge: tuple[str, Merge, Contents] | None = None
        self.error: BaseException | None = None
        self.result: T | None = None
        self._work = work
        self._changed = changed
        self._answered = threading.Event()
        self._yes = False
        self._decided: Merge | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not come to its end."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; tell whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def ask(self, entry: str, plan: Plan) -> bool:
        """Ask the person who watches, and wait for the answer; called by the work itself."""
        self._answered.clear()
        self._yes = False
        self.question = (entry, plan)
        self._changed()
        while not self._answered.wait(0.1):
            if self.stop.is_set():
                break
        self.question = None
        return self._yes

    def answer(self, yes: bool) -> None:  # an answer is a yes or a no
        """Answer the question that waits."""
        self._yes = yes
        self.question = None
        self._answered.set()

    def ask_merge(self, entry: str, made: Merge, contents: Contents) -> Merge:
        """Let the person who watches decide about a merge; called by the work itself.

        Raises:
            Declined: nothing is to be done.
        """
        self._answered.clear()
        self._decided = None
        self.merge = (entry, made, contents)
        self._changed()
        while not self._answered.wait(0.1):
            if self.stop.is_set():
                break
        self.merge = None
        if self._decided is None:
            raise Declined("cancelled", hint="nothing was changed")
        return self._decided

    def decide(self, made: Merge | None) -> None:
        """Answer the merge that waits; None to do nothing."""
        self._decided = made
        self.merge = None
        self._answered.set()

    def said(self) -> str:
        """What the error says to a person; empty when there is none."""
        if self.error is None:
            return ""
        if isinstance(self.error, S32sError):
            return str(self.error)
        return f"unexpected {type(self.error).__name__}: {self.error}; please report it"

    def _run(self) -> None:
        try:
            self.result = self._work(self)
        except BaseException as exc:
            self.error = exc
        self._changed()
