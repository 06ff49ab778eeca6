"""A backend of somebody's own, as one that keeps the contract: what it breaks is told with its name.

What is not an error of `core.errors` is a mistake of the class. It names the class and the method, not s32s.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from s32s.backends.base import (
    OVERWRITE,
    Backend,
    Chunk,
    GetResult,
    ListedObject,
    ListedVersion,
    ObjectMeta,
    PutMode,
    PutResult,
)
from s32s.backends.wrappers import Wrapper
from s32s.core import paths
from s32s.core.errors import S32sError, StoreError

R = TypeVar("R")
L = TypeVar("L", ListedObject, ListedVersion)

_HINT = "the contract tests of s32s.testing show what a backend has to keep; docs/own-backend.md has an example"


class Own(Wrapper):
    """Goes around a backend of somebody's own.

    Args:
        name: of its class, for people.
    """

    def __init__(self, inner: Backend, name: str) -> None:
        super().__init__(inner)
        self._name = name

    def list(self, prefix: str) -> Iterator[Sequence[ListedObject]]:
        """See `Backend`."""
        return self._listed("list", lambda: self.inner.list(prefix), ListedObject)

    def list_versions(self, start: str) -> Iterator[Sequence[ListedVersion]]:
        """See `ListsVersions`."""
        return self._listed("list_versions", lambda: super(Own, self).list_versions(start), ListedVersion)

    def head(self, key: str, *, version: str | None = None, tags: bool = False) -> ObjectMeta:
        """See `Backend`."""
        return self._asked("head", lambda: self.inner.head(key, version=version, tags=tags))

    def get(
        self, key: str, *, if_match: str | None = None, version: str | None = None, expected: int | None = None
    ) -> GetResult:
        """See `Backend`."""
        got = self._asked("get", lambda: self.inner.get(key, if_match=if_match, version=version, expected=expected))
        if not isinstance(got, GetResult):
            raise self._broken("get", f"gives {type(got).__name__}, and not a GetResult")
        return got._replace(chunks=self._chunks(got.chunks))

    def read(self, key: str, *, limit: int) -> tuple[bytes, str | None]:
        """See `Backend`."""
        return self._asked("read", lambda: self.inner.read(key, limit=limit))

    def put(
        self,
        key: str,
        chunks: Callable[[], Iterator[Chunk]],
        *,
        size: int,
        mode: PutMode = OVERWRITE,
        meta: ObjectMeta | None = None,
    ) -> PutResult:
        """See `Backend`; what goes wrong where the bytes come from is not a mistake of the class."""
        stored = self._asked(
            "put", lambda: self.inner.put(key, chunks, size=size, mode=mode, meta=meta), passes=OSError
        )
        if not isinstance(stored, PutResult):
            raise self._broken("put", f"gives {type(stored).__name__}, and not a PutResult")
        return stored

    def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `Backend`."""
        failed = self._asked("delete", lambda: self.inner.delete(keys))
        if not isinstance(failed, Mapping):
            raise self._broken("delete", f"gives {type(failed).__name__}, and not the keys that are still there")
        return failed

    def copy(self, source: Backend, source_key: str, key: str, **how: Any) -> PutResult:
        """See `ServerSideCopy`."""
        return self._asked("copy", functools.partial(super().copy, source, source_key, key, **how))

    def _listed(self, method: str, ask: Callable[[], Iterator[Sequence[L]]], kind: type[L]) -> Iterator[Sequence[L]]:
        pages = self._asked(method, lambda: iter(ask()))
        while True:
            page = self._asked(method, lambda: next(pages, _END))
            if isinstance(page, _End):
                return
            if not isinstance(page, Sequence) or isinstance(page, str | bytes):
                raise self._broken(method, f"yields {type(page).__name__}, and not pages of {kind.__name__}")
            for one in page:
                if not isinstance(one, kind) or not isinstance(one.key, str) or not isinstance(one.size, int):
                    raise self._broken(method, f"yields {paths.escape(repr(one))[:80]}, and not a {kind.__name__}")
            yield page

    def _chunks(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        while not isinstance(chunk := self._asked("get", lambda: next(chunks, _END)), _End):
            yield chunk

    def _asked(self, method: str, ask: Callable[[], R], *, passes: type[Exception] = S32sError) -> R:
        try:
            return ask()
        except (S32sError, MemoryError, passes):
            raise
        except Exception as exc:
            raise self._broken(method, f"failed: {type(exc).__name__}: {paths.escape(str(exc))}") from exc

    def _broken(self, method: str, what: str) -> StoreError:
        return StoreError(f"{self._name}: {method} {what}", hint=_HINT)


class _End:
    """What stands behind the last one."""


_END = _End()
