"""Where a directory may have changed: hints where to look."""

from __future__ import annotations

from dataclasses import dataclass, field

#: More changed paths than these are told as "everything": a walk is quicker then, and memory stays bounded.
MOST_PATHS = 20_000


@dataclass(slots=True)
class Changes:
    """Where to look.

    Attributes:
        paths: relative to the root; True for one of which everything below is to be looked at too.
        everything: why all of the directory is to be looked at; "" where `paths` say it all.
    """

    paths: dict[str, bool] = field(default_factory=dict)
    everything: str = ""

    def __bool__(self) -> bool:
        return bool(self.paths or self.everything)

    def mark(self, path: str, *, deep: bool = False) -> None:
        """Add a path; the root itself stands for everything."""
        if not path:
            self.mark_all("the directory itself has changed")
        elif not self.everything:
            self.paths[path] = deep or self.paths.get(path, False)
            if len(self.paths) > MOST_PATHS:
                self.mark_all(f"more than {MOST_PATHS:,} paths have changed")

    def mark_all(self, why: str) -> None:
        """Let everything be looked at."""
        self.everything = self.everything or why
        self.paths.clear()

    def add(self, other: Changes) -> None:
        """Add what others say."""
        if other.everything:
            self.mark_all(other.everything)
        for path, deep in other.paths.items():
            self.mark(path, deep=deep)

    def tops(self) -> list[tuple[str, bool]]:
        """The paths in order, without those below another one of which everything is to be looked at."""
        found: list[tuple[str, bool]] = []
        above = ""
        for path, deep in sorted(self.paths.items(), key=lambda one: one[0].split("/")):
            if above and path.startswith(above):
                continue
            found.append((path, deep))
            above = f"{path}/" if deep else above
        return found
