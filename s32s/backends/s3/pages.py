"""Listings: one page after the other, or parts between known keys at the same time (S3 API, ListObjectsV2)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from s32s.backends.base import ListedObject
from s32s.backends.s3.client import Call
from s32s.backends.s3.connection import Response
from s32s.backends.s3.errors import Refusal, shown
from s32s.backends.s3.listing import Page, objects, read_page
from s32s.backends.s3.objects import LARGE
from s32s.backends.s3.session import S3Session
from s32s.backends.s3.window import Window
from s32s.core.errors import StoreError, Unreachable, Unsupported
from s32s.system.concurrency import prefetch

_PAGES_AHEAD = 2
_MOST_KEYS = 5_000_000  # of a listing; a server that names more never ends
#: Pages that every server is asked for at once, and how quickly one comes from a server that may be asked for many.
_FEW = 12
_QUICK_S = 0.5
#: What a page has in most cases, in bytes.
_USUAL_PAGE = 512 * 1024


class _Part(NamedTuple):
    """What is still to be listed: the keys after one, up to another one; None for all."""

    after: str
    until: str | None
    token: str | None = None


class Listings:
    """Lists buckets by one connection. Thread-safe."""

    def __init__(self, connection: S3Session) -> None:
        self._connection = connection
        self._in_turn: set[str] = set()  # buckets whose servers list in an order of their own

    def pages(self, bucket: str, prefix: str, *, skip: int = 0) -> Iterator[list[ListedObject]]:
        """See `S3Service.pages`."""
        listing = _Seen(bucket, prefix)
        for number, page in enumerate(prefetch(lambda: self._pages(bucket, prefix), limit=_PAGES_AHEAD)):
            listed = objects(page, skip=skip)
            listing.add(listed)
            if number and not listed:
                raise _broken_off(bucket, prefix)  # the page before has promised more keys
            yield listed

    def parts(self, bucket: str, prefix: str, bounds: Sequence[str], *, skip: int) -> Iterator[list[ListedObject]]:
        """See `S3Service.parts`.

        Some servers go through all keys for each page, the more slowly the first time. More pages at once bring none
        sooner there, and hold up all else. So of many the first one comes alone, and tells how quick the server is.
        """
        if bucket in self._in_turn:
            yield from self.pages(bucket, prefix, skip=skip)
            return
        todo = [_Part(after, until) for after, until in itertools.pairwise(["", *bounds, None]) if after is not None]
        count = 0
        end: str | None = None  # after which no key comes, by the word of one part
        # A key that is not the last one, the last one that any part has shown, and the last one in its place.
        promised = shown_key = furthest = ""
        window = None
        while todo:
            following: list[_Part] = []
            waiting: list[_Part] = []
            if len(todo) > _FEW and window is None:
                window, todo, waiting = self._connection.pages_window, todo[:1], todo[1:]
            began_s = time.monotonic()
            for part, page in self._ask(bucket, prefix, todo, window):
                listed = objects(page)
                count += len(listed)
                if count > _MOST_KEYS:
                    raise _too_many(bucket, prefix)
                if not _is_after(part.after, listed):
                    self._in_turn.add(bucket)
                    raise Unsupported(f"{shown(bucket, prefix)} is not listed in the order of its keys")
                inside = [one for one in listed if part.until is None or one.key <= part.until]
                if len(inside) < len(listed):
                    pass  # all of the part has come
                elif page.is_last:
                    came = listed[-1].key if listed else part.after
                    end = came if end is None else min(came, end)
                elif page.token and listed:
                    following.append(_Part(listed[-1].key, part.until, page.token))
                else:
                    raise _broken_off(bucket, prefix)
                if listed:
                    shown_key = max(shown_key, listed[-1].key)
                    promised = max(promised, "" if page.is_last else listed[-1].key)
                if inside:
                    furthest = max(furthest, inside[-1].key)
                yield [one._replace(key=one.key[skip:]) for one in inside]
            if waiting and window is not None and time.monotonic() - began_s < _QUICK_S:
                window.widen()
            todo = following + waiting
        if furthest < shown_key or (promised and furthest <= promised) or (end is not None and end < furthest):
            # A part has left out what another one shows: keys that have come meanwhile, or an answer that broke off.
            raise Unsupported(f"the listing of {shown(bucket, prefix)} does not end where it says")

    def _ask(
        self, bucket: str, prefix: str, parts: Sequence[_Part], window: Window | None
    ) -> Iterator[tuple[_Part, Page]]:
        """The next page of each part."""
        queries = [self._query(prefix, part) for part in parts]
        calls = (Call("GET", "", query, limit=LARGE, holds=_USUAL_PAGE) for query in queries)
        most = window.most if window is not None else _FEW
        for number, answer in self._connection.send_many(bucket, calls, most=most, window=window):
            try:
                if not isinstance(answer, Response):
                    raise answer
                page = read_page(bytes(answer.body), shown(bucket, prefix))
            except (StoreError, Unreachable, Refusal):
                page = self._page(bucket, prefix, queries[number])  # alone, it tells what is wrong
            yield parts[number], page

    def _query(self, prefix: str, part: _Part) -> Mapping[str, str]:
        query = {"list-type": "2", "encoding-type": "url", "prefix": f"{prefix}/" if prefix else ""}
        if part.token:
            query["continuation-token"] = part.token
        elif part.after:
            query["start-after"] = part.after
        return query

    def _pages(self, bucket: str, prefix: str) -> Iterator[Page]:
        part = _Part("", None)
        tokens: set[str] = set()
        while True:
            found = self._page(bucket, prefix, self._query(prefix, part))
            yield found
            if found.is_last:
                return
            if not found.token or found.token in tokens:
                raise _broken_off(bucket, prefix)
            tokens.add(found.token)
            part = _Part("", None, found.token)

    def _page(self, bucket: str, prefix: str, query: Mapping[str, str]) -> Page:
        return self._connection.read(
            bucket,
            Call("GET", "", query, limit=LARGE),
            lambda answer: read_page(bytes(answer.body), shown(bucket, prefix)),
            about=prefix,
        )


class _Seen:
    """What was listed so far, to notice pages that come round again.

    Nearly every server lists in the order of the keys, and then it takes no memory to know that none comes twice.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._last = ""
        self._count = 0
        self._keys: set[int] | None = None

    def add(self, listed: Sequence[ListedObject]) -> None:
        """Take another page.

        Raises:
            StoreError: it names a key of an earlier page, or the listing does not end.
        """
        if not listed:
            return
        self._count += len(listed)
        if self._count > _MOST_KEYS:
            raise _too_many(self._bucket, self._prefix)
        if self._keys is None and listed[0].key <= self._last:
            self._keys = set()
        self._last = listed[-1].key
        if self._keys is not None:
            keys = {hash(found.key) for found in listed}
            if not self._keys.isdisjoint(keys):
                where = shown(self._bucket, self._prefix)
                raise StoreError(f"the listing of {where} names the same keys again", hint="check the endpoint")
            self._keys |= keys


def _is_after(start: str, listed: Sequence[ListedObject]) -> bool:
    """Whether keys follow each other in their order, all of them after `start`."""
    return all(before < key for before, key in itertools.pairwise([start, *(one.key for one in listed)]))


def _too_many(bucket: str, prefix: str) -> StoreError:
    return StoreError(f"the listing of {shown(bucket, prefix)} names more than {_MOST_KEYS:,} objects")


def _broken_off(bucket: str, prefix: str) -> StoreError:
    return StoreError(f"the listing of {shown(bucket, prefix)} breaks off before its end", hint="try again")
