"""The deleted folder of a shared prefix: what somebody has deleted, until it is emptied.

    .s32s/deleted/20261123T101500Z-4f9a1c2e/list.jsonl     who, when and what
    .s32s/deleted/20261123T101500Z-4f9a1c2e/0              the bytes of the first file of the list
    .s32s/deleted/20261123T101500Z-4f9a1c2e/1

Each deletion has a place of its own, so that a file and a later directory of the same name do not meet, and the bytes
have numbers for names, so that no path becomes too long for a key. Where the prefix holds packs, so has the place:

    .s32s/deleted/20261123T101500Z-4f9a1c2e/list.jsonl     who and when, and a segment of what
    .s32s/deleted/20261123T101500Z-4f9a1c2e/.s32s/packs/…  the packs that it names
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from s32s.backends.base import Backend, Chunk, ServerSideCopy, unwrapped
from s32s.backends.below import Below
from s32s.core import paths
from s32s.core.errors import EntryFailed, IntegrityError, NotFound, SourceChanged
from s32s.core.item import Item, Kind
from s32s.core.text import count
from s32s.core.tree import Tree
from s32s.format import manifest, segments
from s32s.format.segments import Places
from s32s.system.concurrency import for_each

PLACE = f"{paths.RESERVED}/deleted"
_LIST = "list.jsonl"
_MOST = 64 * 1024**2


class Deleted(NamedTuple):
    """One deletion.

    Attributes:
        id: names it.
        who, when: by whom and when (UTC, ISO 8601).
        items: the files and links.
        places: where they are in packs; None where each is an object.
    """

    id: str
    who: str
    when: str
    items: tuple[Item, ...]
    places: Places | None = None


class DeletedFolder:
    """The deleted folder of one prefix.

    Args:
        who: this person and machine.
        now: the time as UTC in ISO 8601.
    """

    def __init__(self, backend: Backend, who: str = "", now: Callable[[], str] = lambda: "") -> None:
        self._backend = backend
        self._who = who
        self._now = now

    def keep(self, items: Sequence[Item], *, jobs: int) -> None:
        """Copy files that are about to be deleted, on the server where it can, and note who deletes them.

        Args:
            items: in the order of their paths, as they are read again.
            jobs: how many at the same time.

        Raises:
            SourceChanged: one is no longer the one that was listed.
        """
        if not items:
            return
        place, begin = self.begin()

        def copy(numbered: tuple[int, Item]) -> None:
            number, item = numbered
            self._copy(item.path, f"{place}/{number}", item)

        for_each([(number, item) for number, item in enumerate(items) if item.kind is Kind.FILE], copy, jobs=jobs)
        self.end(place, begin, "".join(map(manifest.line_of, items)))

    def begin(self) -> tuple[str, dict[str, object]]:
        """The place of a new deletion, and what its list says of it."""
        when = self._now()
        place = f"{PLACE}/{when.replace('-', '').replace(':', '')}-{secrets.token_hex(4)}"
        return place, {"who": self._who, "when": when}

    def end(self, place: str, facts: Mapping[str, object], lines: str) -> None:
        """Write the list of a deletion, all of which is there."""
        data = f"{json.dumps(facts)}\n{lines}".encode()
        self._backend.put(f"{place}/{_LIST}", lambda: iter([data]), size=len(data))

    def found(self) -> list[Deleted]:
        """All deletions that are kept, the oldest first."""
        keys = itertools.chain.from_iterable(self._backend.list(PLACE))
        ids = sorted(
            one.key.removeprefix(f"{PLACE}/").removesuffix(f"/{_LIST}") for one in keys if one.key.endswith(f"/{_LIST}")
        )
        return [self._read(one) for one in ids]

    def open(self, deleted: Deleted, item: Item) -> Iterator[Chunk]:
        """The bytes of one of its files.

        Raises:
            NotFound: they are not there any more.
        """
        number = deleted.items.index(item)
        place = f"{PLACE}/{deleted.id}"
        if deleted.places is None:
            return self._backend.get(f"{place}/{number}", expected=item.size).chunks
        from s32s.stores.objects.packed.blobs import PackedBody  # only where there are packs

        packed = Below(self._backend, place)
        return PackedBody(packed, item, deleted.places.get(number), lambda exc, hit: NotFound(exc.what)).chunks()

    def remove(self, names: Iterable[str]) -> None:
        """Forget deletions for good, by their ids.

        Raises:
            EntryFailed: the store does not let all of it go.
        """
        gone = set(names)
        if not gone:
            return
        listed = (one.key for page in self._backend.list(PLACE) for one in page)
        keys = [key for key in listed if key.removeprefix(f"{PLACE}/").partition("/")[0] in gone]
        # The list last: what is cut off is found again.
        failed = self._backend.delete(sorted(keys, key=lambda key: key.endswith(f"/{_LIST}")))
        if failed:
            raise EntryFailed(
                f"{count(len(failed), 'object')} of the deleted folder could not be deleted:{paths.listed(failed)}",
                hint="run it again when the store allows it",
                reasons=failed,
            )

    def _read(self, name: str) -> Deleted:
        key = f"{PLACE}/{name}/{_LIST}"
        data, _ = self._backend.read(key, limit=_MOST)
        first, _, rest = data.decode().partition("\n")
        try:
            facts = json.loads(first)
            who, when = str(facts["who"]), str(facts["when"])
        except (ValueError, KeyError, TypeError) as exc:
            raise IntegrityError(f"{key} is damaged", hint="delete that object") from exc
        if "packs" in facts:
            reader = segments.Reader(room=paths.MAX_KEY)
            reader.add(data, name)
            return Deleted(name, who, when, tuple(Tree(reader.columns)), reader.places)
        return Deleted(
            name, who, when, tuple(manifest.tree_of(rest.split("\n")[:-1], key, room=paths.MAX_KEY, weight=0))
        )

    def _copy(self, key: str, to: str, item: Item) -> None:
        backend = self._backend
        try:
            if isinstance(backend, ServerSideCopy) and backend.copies_from(unwrapped(backend)):
                backend.copy(unwrapped(backend), key, to, size=item.size, etag=item.etag, progress=lambda size: None)
                return
            got = backend.get(key, if_match=item.etag, expected=item.size)
            backend.put(to, lambda: got.chunks, size=got.size)
        except NotFound as exc:
            raise SourceChanged(f"{paths.quote(key)} was deleted on S3 during the run") from exc
