"""Deletions: a few objects one by one, many a thousand a request (S3 API, DeleteObject and DeleteObjects)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from s32s.backends.s3.client import Call, md5_of, whole
from s32s.backends.s3.connection import Response
from s32s.backends.s3.errors import in_words, shown
from s32s.backends.s3.objects import LARGE
from s32s.backends.s3.session import S3Session
from s32s.core.errors import AccessDenied, BucketMissing, CredentialsError, NotFound, StoreError

_BATCH = 1000  # DeleteObjects takes no more keys
#: So few go one by one: a single request each, at the same time, and no XML.
_FEW = 8
_AT_ONCE = 16
#: Characters that XML 1.0 cannot hold, whichever way they are written.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;"), ("\n", "&#10;"), ("\t", "&#9;"))


class Deletions:
    """Deletes objects by one connection. Thread-safe."""

    def __init__(self, connection: S3Session) -> None:
        self._connection = connection

    def delete(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        """See `S3Service.delete`."""
        if len(keys) <= _FEW:
            single, rest = list(keys), []
        else:
            single = [key for key in keys if _NOT_XML.search(key)]
            rest = [key for key in keys if not _NOT_XML.search(key)]
        failed: dict[str, str] = {}
        for start in range(0, len(rest), _BATCH):
            failed |= self._batch(bucket, rest[start : start + _BATCH])
        return failed | self._singly(bucket, single)

    def _singly(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        failed: dict[str, str] = {}
        calls = [Call("DELETE", key) for key in keys]
        for number, answer in self._connection.send_many(bucket, calls, most=_AT_ONCE):
            if not isinstance(answer, Response | NotFound):
                try:
                    self._connection.send(bucket, calls[number])  # once more, with another token if need be
                except NotFound:
                    continue
                except (BucketMissing, CredentialsError):
                    raise
                except StoreError as exc:  # servers have several words for an object that is locked
                    failed[keys[number]] = exc.what
        return failed

    def _batch(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        named = "".join([f"<Object><Key>{_escaped(key)}</Key></Object>" for key in keys])
        body = f"<Delete>{named}<Quiet>true</Quiet></Delete>".encode()
        # Older servers ask for it with this request, and newer ones take it.
        call = Call("POST", "", {"delete": ""}, {"content-md5": md5_of(body)}, lambda: body, limit=LARGE)
        where = shown(bucket, keys[0])
        try:
            return self._connection.read(
                bucket, call, lambda answer: _failures(whole(answer, "DeleteResult")[0], where), about=keys[0]
            )
        except AccessDenied as exc:
            return dict.fromkeys(keys, exc.what)


def _failures(data: bytes, where: str) -> dict[str, str]:
    """Why each of those that are still there is, by an answer.

    Raises:
        StoreError: it is not one.
    """
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 # expat bounds entities
    except ElementTree.ParseError as exc:
        raise StoreError(f"the answer for {where} is not an answer of S3", hint="check the endpoint") from exc
    if root.tag.rpartition("}")[2] != "DeleteResult":
        raise StoreError(f"the answer for {where} is not an answer of S3", hint="check the endpoint")
    failed: dict[str, str] = {}
    for element in root:
        if element.tag.rpartition("}")[2] == "Error":
            facts = {field.tag.rpartition("}")[2]: field.text or "" for field in element}
            failed[facts.get("Key", "")] = in_words(facts.get("Code", ""), facts.get("Message", ""), between=" ")
    return failed


def _escaped(key: str) -> str:
    for letter, name in _ENTITIES:
        key = key.replace(letter, name)
    return key
