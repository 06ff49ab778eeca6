"""The items of a tree in columns, unknown facts as values that no item has."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence, Set

from s32s.core.item import Item, Kind, is_md5
from s32s.core.table import Table

_KINDS = list(Kind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_FILE, _DIR = _CODES[Kind.FILE], _CODES[Kind.DIR]
_UNKNOWN = -(2**63)
_NO_SHA256 = bytes(32)
_NO_MD5 = bytes(16)
_HAS_SHA256 = 1
_HAS_MD5 = 2
#: So many contents are looked for one by one, before a table is worth it.
_FEW = 16
_NOTHING_RARE = (None, None, None, None, None)


class Columns(Table):
    """The facts of many items, column by column; unknown ones as values that no item has."""

    __slots__ = (
        "_asked",
        "_by_prefix",
        "_changed",
        "_etags",
        "_has",
        "_is_sorted",
        "_modes",
        "_mtimes",
        "_prefixes",
        "_rare",
        "_sha256",
        "_stored",
        "kinds",
        "sizes",
    )
    COLUMNS = {  # noqa: RUF012 # the base says ClassVar
        "kinds": 1,
        "sizes": 1,
        "_modes": 1,
        "_mtimes": 1,
        "_stored": 1,
        "_has": 1,
        "_sha256": 32,
        "_etags": 16,
    }
    RARE = ("_changed", "_rare")

    def __init__(self) -> None:
        super().__init__()
        self.kinds = bytearray()
        self.sizes = array("q")
        self._modes = array("h")
        self._mtimes = array("q")
        self._stored = array("q")
        self._has = bytearray()  # which of the next two an item has
        self._sha256 = bytearray()  # empty as long as no item has one
        self._etags = bytearray()  # of those that look like an MD5
        #: What few items have: md5, version, target, copy_of, and ETags of another look.
        self._rare: dict[int, tuple[str | None, str | None, str | None, str | None, str | None]] = {}
        self._changed: dict[int, str] = {}
        self._is_sorted = True
        # What finds content again, made when it is asked for.
        self._prefixes: array[int] | None = None
        self._by_prefix: dict[int, int] | None = None
        self._asked = 0

    def add(self, item: Item) -> None:
        """Append an item."""
        path, kind, size, mtime_ns, mode, sha256, md5, etag, version, target, stored_ns, copy_of, changed = item
        is_plain = etag is not None and is_md5(etag)
        rare = (md5, version, target, copy_of, None if is_plain else etag)
        if rare != _NOTHING_RARE:
            self._rare[len(self.paths)] = rare
        if changed is not None:
            self._changed[len(self.paths)] = changed
        self.append(
            path,
            size,
            mtime_ns,
            -1 if mode is None else mode,
            bytes.fromhex(sha256) if sha256 is not None else b"",
            bytes.fromhex(etag) if is_plain and etag is not None else b"",
            stored_ns,
            kind=_FILE if kind is Kind.FILE else _CODES[kind],
        )

    def note_changed(self, changed: str, row: int) -> None:
        """Say of a row, which may be appended later, who changed it, and when."""
        self._changed[row] = changed

    def append(
        self,
        path: str,
        size: int,
        mtime_ns: int | None = None,
        mode: int = -1,
        sha256: bytes | bytearray = b"",
        etag: bytes | bytearray = b"",
        stored_ns: int | None = None,
        *,
        kind: int = 0,
    ) -> None:
        """Append a file with only these facts; `add` takes any item.

        Args:
            mode: -1 where the place keeps none.
            sha256: 32 bytes, or none.
            etag: one that looks like an MD5, as 16 bytes, or none.
            kind: as the columns hold it.
        """
        if self._is_sorted and self.paths and path < self.paths[-1]:
            self._is_sorted = False
        has = 0
        if sha256:
            has = _HAS_SHA256
            if not self._sha256:
                self._sha256 = bytearray(32 * len(self.paths))
            self._sha256 += sha256
        elif self._sha256:
            self._sha256 += _NO_SHA256
        if etag:
            has |= _HAS_MD5
            self._etags += etag
        else:
            self._etags += _NO_MD5
        self.paths.append(path)
        self.kinds.append(kind)
        self.sizes.append(size)
        self._modes.append(mode)
        self._mtimes.append(_UNKNOWN if mtime_ns is None else mtime_ns)
        self._stored.append(_UNKNOWN if stored_ns is None else stored_ns)
        self._has.append(has)

    def append_files(
        self, paths: Sequence[str], sizes: Sequence[int], mtimes_ns: Iterable[int], modes: Iterable[int], sha256: bytes
    ) -> None:
        """Append files with only these facts, which come in order; all have all of them.

        Args:
            sha256: of all, 32 bytes each.
        """
        if self._is_sorted and self.paths and paths[0] < self.paths[-1]:
            self._is_sorted = False
        count = len(paths)
        self._sha256 = self._sha256 or bytearray(32 * len(self.paths))
        self._sha256 += sha256
        self._etags += bytes(16 * count)
        self.paths += paths
        self.kinds += bytes(count)
        self.sizes.extend(sizes)
        self._modes.extend(modes)
        self._mtimes.extend(mtimes_ns)
        self._stored.extend(itertools.repeat(_UNKNOWN, count))
        self._has += bytes([_HAS_SHA256]) * count

    def add_kept(self, source: Columns, row: int, target: Columns, to: int, count: int) -> None:
        """Append a run of `source` with the hashes that either knows, and the ETags and versions of `target`."""
        here, there = slice(row, row + count), slice(to, to + count)
        has = source._has[here]
        if has != target._has[there] or source.has_rare(target, row, to, count):
            for nth in range(count):
                one, other = source.item(row + nth), target.item(to + nth)
                self.add(one._replace(sha256=one.sha256 or other.sha256, etag=other.etag, version=other.version))
            return
        if self.paths and source.paths[row] < self.paths[-1]:
            self._is_sorted = False
        if source._sha256:
            self._sha256 = self._sha256 or bytearray(32 * len(self.paths))
            self._sha256 += source._sha256[32 * row : 32 * (row + count)]
        elif self._sha256:
            self._sha256 += bytes(32 * count)
        self._etags += target._etags[16 * to : 16 * (to + count)]
        self._has += has
        if source._changed:
            at = len(self.paths)
            known = source._changed
            self._changed.update({at + nth: known[row + nth] for nth in range(count) if row + nth in known})
        self.paths += source.paths[here]
        self.kinds += source.kinds[here]
        self.sizes += source.sizes[here]
        self._modes += source._modes[here]
        self._mtimes += source._mtimes[here]
        self._stored += source._stored[here]

    def patched(self, dropped: Sequence[int], added: Columns) -> Columns:
        """See `Table`; a column of hashes that only one of the two has is filled up in the other."""
        mine, its = self, added
        if bool(mine._sha256) != bool(its._sha256) and len(mine) and len(its):
            mine, its = (part if part._sha256 else part._with_room_for_hashes() for part in (mine, its))
        return super(Columns, mine).patched(dropped, its)

    def _with_room_for_hashes(self) -> Columns:
        other = self.copied()
        other._sha256 = bytearray(32 * len(self.paths))
        return other

    def append_parts(self, parts: Sequence[bytes]) -> None:
        """See `Table`; rows in order. A column of hashes that only one of the two has is filled up in the other."""
        before, had_hashes = len(self.paths), bool(self._sha256)
        super().append_parts(parts)
        if self._sha256:
            if not had_hashes:
                self._sha256[:0] = bytes(32 * before)
            self._sha256 += bytes(32 * len(self.paths) - len(self._sha256))
        if 0 < before < len(self.paths) and self.paths[before] < self.paths[before - 1]:
            self._is_sorted = False

    def has_rare(self, other: Columns, row: int, to: int, count: int) -> bool:
        """Whether there is anything rare in a run here or in one of `other`."""
        return bool(self._rare or other._rare) and any(
            row + nth in self._rare or to + nth in other._rare for nth in range(count)
        )

    def replace(self, row: int, item: Item) -> None:
        """Put another file of the same path, size, mode and time in the place of one: its hashes have become known."""
        one = Columns()
        one.add(item)
        if one._sha256 and not self._sha256:
            self._sha256 = bytearray(32 * len(self.paths))
        if self._sha256:
            self._sha256[32 * row : 32 * row + 32] = one._sha256 or _NO_SHA256
        self._etags[16 * row : 16 * row + 16] = one._etags
        self._has[row] = one._has[0]
        self._rare.pop(row, None)
        if one._rare:
            self._rare[row] = one._rare[0]
        self._changed.pop(row, None)
        if one._changed:
            self._changed[row] = one._changed[0]

    def kind(self, row: int) -> Kind:
        """The kind of the item at a row."""
        return _KINDS[self.kinds[row]]

    def of_kind(self, kind: Kind) -> Iterator[int]:
        """The rows of the items of one kind."""
        code = _CODES[kind]
        return (row for row, found in enumerate(self.kinds) if found == code)

    def count(self, kind: Kind) -> int:
        """How many items are of one kind."""
        return self.kinds.count(_CODES[kind])

    def item(self, row: int) -> Item:
        """Make the item at a row."""
        if row < 0:
            row += len(self.paths)
        mode, mtime_ns, stored_ns = self._modes[row], self._mtimes[row], self._stored[row]
        has = self._has[row]
        rare = self._rare.get(row, _NOTHING_RARE)
        return Item(
            self.paths[row],
            _KINDS[self.kinds[row]],
            self.sizes[row],
            None if mtime_ns == _UNKNOWN else mtime_ns,
            None if mode < 0 else mode,
            self._sha256[32 * row : 32 * row + 32].hex() if has & _HAS_SHA256 else None,
            rare[0],
            self._etags[16 * row : 16 * row + 16].hex() if has & _HAS_MD5 else rare[4],
            rare[1],
            rare[2],
            None if stored_ns == _UNKNOWN else stored_ns,
            rare[3],
            self._changed.get(row),
        )

    def unhashed(self) -> list[int]:
        """See `Tree.unhashed`."""
        if _have(_HAS_SHA256, self._has) == self.kinds.count(_FILE):
            return []
        pairs = zip(self.kinds, self._has, strict=True)
        return [row for row, (kind, has) in enumerate(pairs) if kind == _FILE and not has & _HAS_SHA256]

    def holding(self, contents: Set[bytes], rows: Iterable[int]) -> Iterator[Item]:
        """See `Tree.holding`."""
        for row in rows:
            if bytes(self._sha256[32 * row : 32 * row + 32]) in contents and self._has[row] & _HAS_SHA256:
                yield self.item(row)

    def content_row(self, sha256: bytes) -> int | None:
        """See `Tree.content_row`. A first few are looked for one by one; for more of them it is worth a table."""
        if not self._sha256:
            return None
        if self._prefixes is None:
            # The first of the four words of each hash.
            self._prefixes = array("Q", bytes(self._sha256))[::4]
        (prefix,) = array("Q", sha256[:8])
        if self._asked < _FEW and self._by_prefix is None:
            self._asked += 1
            row = -1
            with contextlib.suppress(ValueError):
                while True:
                    row = self._prefixes.index(prefix, row + 1)
                    if self._is_content(row, sha256):
                        return row
            return None
        if self._by_prefix is None:
            self._by_prefix = {word: row for row, word in enumerate(self._prefixes) if self._has[row] & _HAS_SHA256}
        found = self._by_prefix.get(prefix)
        return found if found is not None and self._is_content(found, sha256) else None

    def _is_content(self, row: int, sha256: bytes) -> bool:
        return bool(self._has[row] & _HAS_SHA256) and self._sha256[32 * row : 32 * row + 32] == sha256

    def etag(self, row: int) -> str | None:
        """See `Tree.etag`."""
        if self._has[row] & _HAS_MD5:
            return self._etags[16 * row : 16 * row + 16].hex()
        return self._rare.get(row, _NOTHING_RARE)[4]

    def hashes(self, row: int) -> bytes | None:
        """See `Tree.hashes`."""
        has = self._has[row]
        if not has & _HAS_SHA256 or row in self._rare:
            return None
        sha256 = bytes(self._sha256[32 * row : 32 * row + 32])
        return sha256 + self._etags[16 * row : 16 * row + 16] if has & _HAS_MD5 else sha256

    def is_same(self, row: int, other: Columns, to: int) -> bool:
        """See `Tree.is_same`; `compare.difference` is what it must agree with."""
        if self.kinds[row] != _FILE or other.kinds[to] != _FILE or self.sizes[row] != other.sizes[to]:
            return False
        mode, its_mode = self._modes[row], other._modes[to]
        mtime, its_mtime = self._mtimes[row], other._mtimes[to]
        if mode != its_mode and mode >= 0 and its_mode >= 0:
            return False
        if mtime != its_mtime and mtime != _UNKNOWN and its_mtime != _UNKNOWN:
            return False
        both = self._has[row] & other._has[to]
        if both & _HAS_SHA256:
            return self._sha256[32 * row : 32 * row + 32] == other._sha256[32 * to : 32 * to + 32]
        return bool(both & _HAS_MD5) and self._etags[16 * row : 16 * row + 16] == other._etags[16 * to : 16 * to + 16]

    def is_same_run(self, row: int, other: Columns, to: int, count: int) -> bool:
        """See `Tree.is_same_run`."""
        here, there = slice(row, row + count), slice(to, to + count)
        kinds = self.kinds[here]
        files = kinds.count(_FILE)
        return (
            files + kinds.count(_DIR) == count
            and kinds == other.kinds[there]
            and _have(_HAS_SHA256, self._has[here]) == files
            and _have(_HAS_SHA256, other._has[there]) == files
            and self.sizes[here] == other.sizes[there]
            and self._modes[here] == other._modes[there]
            and self._mtimes[here] == other._mtimes[there]
            and self._sha256[32 * row : 32 * (row + count)] == other._sha256[32 * to : 32 * (to + count)]
        )

    def is_decided(self, row: int, other: Columns, to: int) -> bool:
        """See `Tree.is_decided`."""
        if self.kinds[row] != _FILE or other.kinds[to] != _FILE or self.sizes[row] != other.sizes[to]:
            return True
        if self._has[row] & other._has[to] & _HAS_SHA256:
            return True
        return not other._has[to] & _HAS_SHA256 and self.is_same_object(row, other, to, 1)

    def is_same_object(self, row: int, other: Columns, to: int, count: int) -> bool:
        """See `Tree.is_same_object`."""
        here, there = slice(row, row + count), slice(to, to + count)
        return (
            not any(self.kinds[here])
            and not any(other.kinds[there])
            and self.sizes[here] == other.sizes[there]
            and _have(_HAS_MD5, self._has[here]) == count
            and _have(_HAS_MD5, other._has[there]) == count
            and self._etags[16 * row : 16 * (row + count)] == other._etags[16 * to : 16 * (to + count)]
        )

    def digest(self) -> str:
        """See `Tree.digest`."""
        paths = "\0".join(self.paths).encode("utf-8", "surrogateescape")
        parts = (self.kinds, self.sizes, self._modes, self._mtimes, self._stored, self._has, self._sha256, self._etags)
        digest = hashlib.blake2b(paths, digest_size=32)
        for part in (*parts, repr(sorted(self._rare.items())).encode(), repr(sorted(self._changed.items())).encode()):
            digest.update(part)
        return digest.hexdigest()

    def in_order(self) -> Columns:
        """See `Table`."""
        return self if self._is_sorted else super().in_order()


def _have(what: int, has: bytearray) -> int:
    """How many have it; only files have anything."""
    return has.count(what) + has.count(_HAS_SHA256 | _HAS_MD5)
