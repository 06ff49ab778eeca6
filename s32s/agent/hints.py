"""Where to look in a directory that is watched, and for how long changes must have come to rest.

A directory that cannot be watched is polled: it says so once, with what helps, and tries to watch again. One that has
gone, or on which another file system was mounted, is waited for: that it is not there never means that all is deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from s32s.core import paths
from s32s.core.changes import Changes
from s32s.core.errors import Refused
from s32s.core.rules import Links, Rules, Verdict
from s32s.system import mounts
from s32s.system.unwatchable import Unwatchable

if TYPE_CHECKING:
    from s32s.system.inotify import TreeWatch

#: How often (seconds) it is made sure that the path still leads to the directory that is watched.
_LOOK_S = 2.0
#: How long (seconds) a directory is polled before watching it is tried again, and how often it is walked meanwhile.
_AGAIN_S = 60.0
POLL_S = 10.0


class Hints:
    """Where a directory may have changed.

    Args:
        root: absolute path of it.
        rules: what takes part.
        tell: told in a sentence how it is looked after, whenever that changes.
        wake: called, on another thread, when something has changed.
    """

    def __init__(self, root: str, rules: Rules, *, tell: Callable[[str], None], wake: Callable[[], None]) -> None:
        self._root = root
        self._rules = rules
        self._tell = tell
        self._wake = wake
        self._watch: TreeWatch | None = None
        self._said = ""
        self._look_s = self._again_s = 0.0
        self._first_s: float | None = None
        self._last_s = 0.0
        self.overflows = 0
        self._mount = self._mounted_at()

    @property
    def is_watching(self) -> bool:
        """Whether changes are told; False where the directory is polled, or waited for."""
        return self._watch is not None and self._watch.trouble is None

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return self._watch.watches if self._watch is not None else 0

    @property
    def changed_s(self) -> float:
        """When something last changed, as of time.time(); 0 for never."""
        return self._watch.changed_s if self._watch is not None else 0.0

    def look(self, now_s: float) -> bool:
        """Start to watch where that is due; tell whether all of the directory is to be looked at.

        Args:
            now_s: of a clock that never goes back.
        """
        if now_s < self._look_s:
            return False
        self._look_s = now_s + _LOOK_S
        if self.is_watching and self._watch is not None and self._watch.is_same_root():
            return False
        had = self._watch is not None
        self.close()
        if not had and now_s < self._again_s:
            return False
        return self._start(now_s) or had

    def check_mount(self) -> None:
        """Refuse a directory that is on another disk than at first: its own may not be mounted, and have left a ghost.

        Raises:
            Refused: names both.
        """
        now = self._mounted_at()
        self._mount = self._mount or now
        if now is not None and now != self._mount:
            raise Refused(
                f"{paths.escape(self._root)} was on the disk that is mounted at {paths.escape(self._mount or '')}, "
                f"and is now on that of {paths.escape(now)}",
                hint="mount it again; if the new place is meant, start the watch again",
            )

    def take(self) -> Changes:
        """What has changed since the last call; everything where nobody tells."""
        self._first_s = None
        if self._watch is not None and self._watch.trouble is None:
            return self._watch.take()
        everything = Changes()
        everything.mark_all("it is not watched")
        return everything

    def due_s(self, settle_s: float, most_s: float) -> float | None:
        """When changes will have come to rest, by the same clock as `look`; None without any."""
        if self._first_s is None:
            return None
        return min(self._last_s + settle_s, self._first_s + most_s)

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self.overflows += self._watch.overflows
            self._watch.close()
            self._watch = None

    def _tree_watch(self) -> TreeWatch:
        try:
            from s32s.system.inotify import TreeWatch
        except ImportError as exc:
            raise Unwatchable("only Linux tells of changes") from exc
        return TreeWatch(self._root, prunes=self._rules.prunes, ignores=self._ignores, on_change=self._changed)

    def _start(self, now_s: float) -> bool:
        shown = paths.escape(self._root)
        try:
            if self._rules.links is Links.FOLLOW:
                raise Unwatchable("its links are followed, and changes behind them are not told")
            watch = self._tree_watch()
            watch.start()
        except Unwatchable as exc:
            self._again_s = now_s + _AGAIN_S
            self._say(f"{shown} is polled every {POLL_S:g} s, not watched: {exc}")
            return True
        except OSError as exc:
            self._say(f"{shown} cannot be watched: {exc.strerror}; waiting for it")
            return False
        self._watch = watch
        count = watch.watches
        self._say(f"watching {shown} ({count:,} director{'y' if count == 1 else 'ies'})")
        return True

    def _mounted_at(self) -> str | None:
        """Where the disk of the directory is mounted; None as long as it is not there."""
        return mounts.point_of(os.path.realpath(self._root)) if os.path.isdir(self._root) else None

    def _ignores(self, path: str) -> bool:
        return all(self._rules.verdict(path, is_dir=is_dir) is Verdict.IGNORED for is_dir in (False, True))

    def _changed(self) -> None:
        now_s = time.monotonic()
        self._last_s = now_s
        if self._first_s is None:
            self._first_s = now_s
        self._wake()

    def _say(self, text: str) -> None:
        if text.split(" (")[0] != self._said:
            self._said = text.split(" (")[0]
            self._tell(text)
