"""Entries that a slave holds at an earlier generation: somebody went back, and nothing moves them until a release.

A hold is a small file of its own, so that it outlives a damaged database: what it protects may be a web server that
must not get a broken release again.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from s32s.agent.state import State
from s32s.config.maps import Entry, MapSet
from s32s.core import events, paths
from s32s.core.errors import ConfigError
from s32s.core.events import Emit
from s32s.core.role import Role
from s32s.core.text import tree_words
from s32s.system import atomic, locks


@dataclass(frozen=True, slots=True)
class Hold:
    """An entry that is held.

    Attributes:
        entry: its name.
        generation: that it is held at; 0 where that is not known.
        since_s: since when, in seconds since the epoch.
        user: who went back.
        is_done: whether the tree is back; False while that is under way, and where it was cut off.
        target: the directory that is held; "" where an older version has not noted it.
    """

    entry: str
    generation: int
    since_s: float
    user: str
    is_done: bool = True
    target: str = ""

    @property
    def words(self) -> str:
        """How the entry stands, for people."""
        since = time.strftime("%d %b %H:%M", time.localtime(self.since_s))
        if not self.is_done:
            return f"the rollback to {tree_words(self.generation)}, begun {since}, was cut off"
        return f"held at {tree_words(self.generation)} since {since}"

    def words_for(self, name: str) -> str:
        """The same, of an entry that may have had another name when somebody went back."""
        return self.words if name == self.entry else f"{self.words}, under its former name {paths.escape(self.entry)}"

    @property
    def stray_words(self) -> str:
        """What to do about it where the maps have no such entry any more, for people."""
        lost = f"of this name or with the slave {paths.escape(self.target)}" if self.target else "of this name"
        again = f"; if it has another name now, s32s rollback with that name and {self.generation} holds it again"
        return (
            f"{self.words}, and the maps have no entry {lost} any more{'' if self.target else again}; "
            f"s32s release {paths.word(self.entry)} forgets the hold"
        )


def hold_of(entry: Entry, state: State) -> Hold | None:
    """The hold on an entry; None where it has none.

    What somebody has put back is a directory, and a hold protects that: another name in the maps does not end it.
    """
    if (hold := hold_named(entry.name, state)) is not None or entry.slave is None:
        return hold
    return next((hold for hold in all_holds(state) if hold.target == entry.slave), None)


def hold_named(name: str, state: State) -> Hold | None:
    """The hold that was made under a name; None where there is none."""
    return _read(_file(name, state), name)


def stray_holds(loaded: MapSet, state: State) -> list[Hold]:
    """Those whose entry no map names any more, neither by its name nor by its directory."""
    entries = loaded.of(Role.SLAVE)
    known = {entry.name for entry in entries}, {entry.slave for entry in entries}
    return [hold for hold in all_holds(state) if hold.entry not in known[0] and hold.target not in known[1]]


def tell_strays(loaded: MapSet, state: State, emit: Emit) -> None:
    """Warn of them."""
    for hold in stray_holds(loaded, state):
        emit(events.Warned(hold.entry, hold.stray_words))


def all_holds(state: State) -> list[Hold]:
    """All holds of this machine, also those on entries that no map names any more."""
    try:
        files = sorted(_directory(state).glob("*.json"))
    except OSError:
        return []
    found = [hold for file in files if (hold := _read(file, "")) is not None and hold.entry]
    return sorted(found, key=lambda hold: hold.entry)


def save_hold(hold: Hold, state: State) -> None:
    """Hold an entry.

    Raises:
        ConfigError: that cannot be written.
    """
    file = _file(hold.entry, state)
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        atomic.write_atomic(file, json.dumps(asdict(hold)).encode(), mode=0o600)
    except OSError as exc:
        raise ConfigError(f"{file} cannot be written: {exc.strerror}") from exc


def end_hold(name: str, state: State) -> bool:
    """Let an entry go; return whether it was held.

    Raises:
        ConfigError: the hold cannot be removed.
    """
    file = _file(name, state)
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise ConfigError(f"{file} cannot be removed: {exc.strerror}") from exc
    with contextlib.suppress(OSError):
        atomic.fsync_path(file.parent)
    return True


def _read(file: Path, name: str) -> Hold | None:
    """A hold; one that cannot be read holds all the same, as nobody has let the entry go."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        data = b""
    try:
        hold = Hold(**json.loads(data))
        is_sound = isinstance(hold.generation, int) and all(
            isinstance(text, str) for text in (hold.entry, hold.user, hold.target)
        )
        if is_sound and isinstance(hold.since_s, int | float) and isinstance(hold.is_done, bool):
            return hold
    except (ValueError, TypeError, RecursionError):
        pass
    return Hold(name, 0, 0.0, "")


def _directory(state: State) -> Path:
    return state.directories[0] / "holds"


def _file(name: str, state: State) -> Path:
    return _directory(state) / f"{locks.digest(name)}.json"
