"""What a shared folder has lost and still has: the local trash, and the deleted folder on S3."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from s32s.agent.advice import advises, shown
from s32s.agent.roles.base import AgentContext
from s32s.agent.roles.peer import folder_of
from s32s.backends.base import Backend, Chunk, PutResult
from s32s.config.maps import Entry
from s32s.core import paths
from s32s.core.errors import EntryFailed, NotFound, UsageError
from s32s.core.item import Item
from s32s.stores.base import Progress
from s32s.stores.local.folder import Folder, open_folder
from s32s.stores.local.trash import Trashed
from s32s.stores.objects.deleted import Deleted, DeletedFolder


class Lost(NamedTuple):
    """One file or link that was replaced or deleted.

    Attributes:
        id: names the run, or the deletion.
        where: "here" for the local trash, "S3" for the deleted folder.
        when_s: when that was, in seconds since the epoch.
        who: by whom; empty for the local trash.
        path: where it was.
        size: bytes of a file.
    """

    id: str
    where: str
    when_s: float
    who: str
    path: str
    size: int


@dataclass(slots=True)
class _DeletedBody:
    """A file of the deleted folder, see `stores.base.Body`."""

    item: Item
    folder: DeletedFolder
    deleted: Deleted
    source: Item

    def chunks(self) -> Iterator[Chunk]:
        return self.folder.open(self.deleted, self.source)

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        return None


@dataclass(frozen=True, slots=True)
class SharedTrash:
    """The trash of one entry.

    Attributes:
        entry: has a `peer`.
    """

    entry: Entry
    agent: AgentContext
    _deletions: list[Deleted] = field(default_factory=list)

    @advises
    def found(self) -> list[Lost]:
        """All of it, the oldest first.

        Raises:
            Refused: the folder is not there.
            StoreError, Unreachable: S3 does not say what it has.
        """
        with open_folder(self._root, writable=False) as folder:
            lost = [Lost(one.id, "here", one.when_s, "", one.path, one.size) for one in folder.trash.found()]
        for deletion in self._on_s3.found():
            when_s = _seconds(deletion.when)
            lost += [Lost(deletion.id, "S3", when_s, deletion.who, one.path, one.size) for one in deletion.items]
        return sorted(lost, key=lambda one: (one.when_s, one.path))

    @advises
    def restore(self, wanted: Sequence[str], *, number: str | None = None) -> list[str]:
        """Bring paths, and all that was below them, back; return what came.

        Args:
            wanted: relative paths.
            number: the id of the deletion; None for the latest of each path.

        Raises:
            UsageError: nothing of that name is in the trash.
            EntryFailed: something else is there now; the others were brought back.
        """
        lost = [one for one in self.found() if number is None or one.id == number]
        chosen: dict[str, Lost] = {}
        for text in wanted:
            path = text.removeprefix("./").rstrip("/")
            named = [one for one in lost if paths.is_within(one.path, path)]
            if not named:
                raise UsageError(
                    f"{paths.quote(path)} is not in the trash", hint=f"see s32s trash list {shown(self.entry)}"
                )
            # The later one wins, and of one moment the one that needs no network.
            chosen |= {one.path: one for one in sorted(named, key=lambda one: (one.when_s, one.where == "here"))}
        deletions = {one.id: one for one in self._on_s3.found()}
        blocked: dict[str, str] = {}
        came: list[str] = []
        with open_folder(self._root, writable=True) as folder:
            for path, one in sorted(chosen.items()):
                try:
                    self._bring(one, folder, deletions)
                    came.append(path)
                except EntryFailed as exc:
                    blocked[path] = exc.what
        if blocked:
            raise EntryFailed(
                f"{len(blocked):,} of {len(chosen):,} could not be restored:{paths.listed(blocked)}",
                hint="move aside what is there now",
                reasons=blocked,
            )
        return came

    @advises
    def empty(self, *, older_s: float, everywhere: bool) -> tuple[int, int]:
        """Remove for good what is older than so many seconds; return how many runs here, and deletions on S3.

        Args:
            everywhere: the deleted folder on S3 too.
        """
        with open_folder(self._root, writable=True) as folder:
            here = folder.trash.empty(older_s=older_s)
        if not everywhere:
            return here, 0
        now_s = time.time()
        gone = [one for one in self._on_s3.found() if now_s - _seconds(one.when) >= older_s]
        self._on_s3.remove(one.id for one in gone)
        return here, len(gone)

    def _bring(self, one: Lost, folder: Folder, deletions: dict[str, Deleted]) -> None:
        if one.where == "here":
            folder.trash.restore(Trashed(one.id, one.when_s, one.path, one.size))
            return
        deletion = deletions[one.id]
        (item,) = (item for item in deletion.items if item.path == one.path)
        body = _DeletedBody(item._replace(etag=None, version=None), self._on_s3, deletion, item)
        try:
            is_there = folder.restore(body)
        except NotFound as exc:
            raise EntryFailed(f"its bytes are not on S3 any more: {exc.what}") from exc
        if not is_there:
            raise EntryFailed("something else is there again, and nothing is put in its place")

    @property
    def _root(self) -> str:
        return folder_of(self.entry.name, self.entry.peer or "", self.agent.settings.peer.folders)

    @property
    def _on_s3(self) -> DeletedFolder:
        return DeletedFolder(self.agent.services.backend(self.entry.location))


def _seconds(when: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0
