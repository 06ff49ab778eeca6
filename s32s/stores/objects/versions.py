"""The earlier generations of a plain prefix in a versioned bucket, as far back as the versions reach.

Each write of the head is a version of `.s32s/head.json`, and names a manifest, which is a version of its own key. The
manifest names the version of each object, where the push that stored it was told one; what was stored before the bucket
had versions is found by its ETag. A rule of the bucket may let any of them expire, so what is wanted is looked for
before anything is changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from s32s.backends.base import ListedVersion, ListsVersions, unwrapped
from s32s.core import compare, cures, paths
from s32s.core.errors import AccessDenied, IntegrityError, NoHistory, NotFound, Refused, Unsupported
from s32s.core.item import Item
from s32s.core.tree import Tree
from s32s.format import head, manifest
from s32s.format.head import HEAD_KEY, Head, ManifestRef
from s32s.stores.objects.bodies import gone
from s32s.stores.objects.prefix import MANIFESTS, ManifestCache, Prefix
from s32s.system.concurrency import for_each

#: Heads that are read at the same time, and of which there are no more than so many.
_HEADS_AT_ONCE = 32
_MOST_HEADS = 20_000
#: So few objects are each asked for by name; for more the whole prefix is listed.
_FEW = 64


class Generation(NamedTuple):
    """A generation of which head and manifest are there.

    Attributes:
        is_current: whether the prefix holds it now.
    """

    head: Head
    manifest: ManifestRef
    is_current: bool = False

    @property
    def number(self) -> int:
        """The number of the generation."""
        return self.head.generation


class Past:
    """The generations of one plain prefix, the current one included.

    Args:
        cache: of manifests; nothing is saved there, as it keeps the current one.
    """

    def __init__(self, prefix: Prefix, cache: ManifestCache) -> None:
        self.backend = prefix.backend
        self._prefix = prefix
        self._cache = cache

    def __iter__(self) -> Iterator[Generation]:
        """All of them, the newest first; of a number that was given twice the newest alone.

        A head is written when a push begins, too, and still names the generation before: each one counts once. Heads of
        the packed layout, from before the prefix was converted, are left out.

        Raises:
            NoHistory: the place keeps no versions.
            AccessDenied: they may not be listed or read.
        """
        now = self._prefix.read_head().head
        written = [one for one in self._versions(HEAD_KEY) if one.key == HEAD_KEY]
        if all(one.version == "null" for one in written):
            if written:
                raise self._without("its bucket has no versions, or had none when it was last pushed to")
            return
        manifests = {(one.key, one.size) for one in self._versions(MANIFESTS)}
        seen: set[int] = set()
        for first in range(0, min(len(written), _MOST_HEADS), _HEADS_AT_ONCE):
            for found in self._heads(written[first : first + _HEADS_AT_ONCE]):
                ref = found.manifest
                if ref is None or found.generation in seen:
                    continue
                seen.add(found.generation)
                if (ref.key, ref.size) in manifests:
                    yield Generation(found, ref, is_current=now is not None and now.generation == found.generation)

    def find(self, number: int) -> Generation:
        """One of them.

        Raises:
            Refused: it is not there any more, or was never there; or the place keeps none.
        """
        others: list[int] = []
        for one in self:
            if one.number == number:
                return one
            others.append(one.number)
        if not others:
            raise self._nothing()
        shown = f"only {others[0]:,} is" if len(others) == 1 else f"{min(others):,} to {max(others):,} are"
        raise Refused(f"generation {number:,} is not there; {shown}", hint=f"{cures.LOG}; {_REACH}")

    def current(self) -> Generation:
        """The one that the prefix holds.

        Raises:
            Refused: nothing was pushed there.
        """
        for one in self:
            if one.is_current:
                return one
        raise self._nothing()

    def before(self) -> Generation:
        """The one before that.

        Raises:
            Refused: there is none.
        """
        last = None
        for one in self:
            if not one.is_current:
                return one
            last = one
        if last is None:
            raise self._nothing()
        raise Refused(f"generation {last.number:,} is the only one", hint=_REACH)

    def _nothing(self) -> Refused:
        return Refused(
            f"nothing has been pushed to {self.backend.location} yet, or nothing of it is left",
            hint="run s32s sync on the master",
        )

    def tree(self, one: Generation) -> Tree:
        """What it holds, as its manifest says.

        Raises:
            Refused: the manifest is not there any more.
            IntegrityError, BadPath: it cannot be believed.
        """
        data = self._cache.load(self.backend.location, one.manifest.sha256)
        if data is None:
            data = self._manifest(one)
        return manifest.read(data, one.manifest, room=self.backend.capabilities.max_key_bytes)

    def located(self, items: Sequence[Item], number: int) -> list[Item]:
        """Files of a generation, each with the version to read it from.

        Another version serves that has the same ETag, as one that came back by a rollback.

        Raises:
            Refused: names those whose version is not there any more.
        """
        wanted = {item.path: item for item in items}
        found: dict[str, ListedVersion] = {}
        starts = list(wanted) if len(wanted) <= _FEW else [""]

        def look(start: str) -> None:
            for page in self._pages(start):
                for one in page:
                    item = wanted.get(one.key)
                    if item is not None and _holds(one, item) and (one.key not in found or one.version == item.version):
                        found[one.key] = one
                if start and page and page[-1].key != start:
                    return  # what follows begins with that path, and is longer

        for_each(starts, look, jobs=_HEADS_AT_ONCE)
        if lost := sorted(wanted.keys() - found.keys()):
            raise gone(lost, number, Refused)
        return [item._replace(version=found[path].version) for path, item in wanted.items()]

    def _heads(self, written: Sequence[ListedVersion]) -> list[Head]:
        """Those that can be read, in the same order; an older one may have expired meanwhile, or be of another s32s."""
        read: dict[str, Head] = {}

        def ask(one: ListedVersion) -> None:
            with contextlib.suppress(NotFound, IntegrityError):
                read[one.version] = head.read_head(self._read(one, limit=head.MAX_HEAD))

        for_each(written, ask, jobs=_HEADS_AT_ONCE, first=8)
        return [read[one.version] for one in written if one.version in read]

    def _manifest(self, one: Generation) -> bytes:
        for version in self._versions(one.manifest.key):
            if version.size == one.manifest.size:
                with contextlib.suppress(NotFound):
                    return self._read(version, limit=one.manifest.size)
        raise gone([one.manifest.key], one.number, Refused)

    def _read(self, one: ListedVersion, *, limit: int) -> bytes:
        """A small object.

        Raises:
            IntegrityError: it is larger than `limit` bytes.
        """
        data = bytearray()
        with self._told():
            for chunk in self.backend.get(one.key, version=one.version, expected=one.size).chunks:
                data += chunk
                if len(data) > limit:
                    raise IntegrityError(f"{paths.quote(one.key)} is larger than it should be")
        return bytes(data)

    def _versions(self, start: str) -> list[ListedVersion]:
        return [one for page in self._pages(start) for one in page]

    def _pages(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        if not isinstance(self.backend, ListsVersions):
            raise self._without("places of this kind keep no versions")
        with self._told():
            yield from self.backend.list_versions(start)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say what looking back takes."""
        try:
            yield
        except Unsupported as exc:
            raise self._without(exc.what) from exc
        except AccessDenied as exc:
            raise AccessDenied(
                exc.what, hint="earlier generations take the permissions s3:ListBucketVersions and s3:GetObjectVersion"
            ) from exc

    def _without(self, why: str) -> NoHistory:
        place = self.backend.location
        convert = cures.TO_PACKED
        if isinstance(unwrapped(self.backend), ListsVersions):
            bucket = place.partition("/")[0]
            how = f"--bucket {bucket} --versioning-configuration Status=Enabled"
            convert = f"turn versions on (aws s3api put-bucket-versioning {how}), or {convert}"
        return NoHistory(f"{place} is in the plain layout and keeps no earlier generations: {why}", hint=convert)


_REACH = "they reach as far back as the versions of the bucket"


def _holds(one: ListedVersion, item: Item) -> bool:
    """Whether a version is what a manifest names."""
    if not compare.is_object(item, size=one.size, etag=one.etag):
        return False
    return one.version == item.version or bool(one.etag and one.etag == item.etag)
