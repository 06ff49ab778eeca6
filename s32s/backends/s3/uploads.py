"""Objects sent in parts: several parts at once, memory bounded, nothing left behind when it fails (S3 API, "Multipart
upload").
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping

from s32s.backends.base import Chunk, PutResult
from s32s.backends.s3.buffers import Buffers
from s32s.backends.s3.client import Call, whole
from s32s.backends.s3.errors import shown
from s32s.backends.s3.listing import bare
from s32s.backends.s3.objects import MAX_PARTS, version_of
from s32s.backends.s3.session import PATIENT_TIMEOUT_S, READ_TIMEOUT_S, S3Session
from s32s.core.errors import NotFound, StoreError, TemporaryFailure, Unreachable
from s32s.core.item import is_md5
from s32s.system.concurrency import Future

#: Larger bodies are sent in parts. S3 takes 5 MiB to 5 GiB a part, and at most MAX_PARTS of them.
PART_SIZE = 8 * 1024 * 1024
_PARTS_AT_ONCE = 4
#: Bodies sent in parts at the same time; each holds its parts in memory.
_LARGE_AT_ONCE = 4

_UPLOAD_ID = re.compile(rb"<UploadId>\s*([^<\s]+)\s*</UploadId>")


class Uploads:
    """Uploads in parts by one connection. Thread-safe."""

    def __init__(self, connection: S3Session) -> None:
        self._connection = connection
        self._places = threading.Semaphore(_LARGE_AT_ONCE)
        self._buffers = Buffers(PART_SIZE)

    def put(
        self, bucket: str, key: str, chunks: Iterator[Chunk], *, size: int, headers: Mapping[str, str]
    ) -> PutResult:
        """Write a large object.

        Args:
            size: expected number of bytes, which decides how large the parts are.
            headers: that the object gets.

        Raises:
            BaseException: what `chunks` has raised, or S3; the parts that were sent are given up.
        """
        with self._places:
            upload = self._begin(bucket, key, headers)
            try:
                part_size = max(PART_SIZE, -(-size // MAX_PARTS) + 1024 * 1024)
                etags, sent = self._send_parts(bucket, key, upload, chunks, part_size)
                version, is_named = self._complete(bucket, key, upload, etags)
                return PutResult(self._check(bucket, key, etags, sent=sent, is_named=is_named), version)
            except BaseException:
                # What remains costs money and is never seen; the error is the news.
                with contextlib.suppress(StoreError, TemporaryFailure):
                    self._send("DELETE", bucket, key, {"uploadId": upload})
                raise

    def _begin(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        body, _ = self._send("POST", bucket, key, {"uploads": ""}, headers=headers)
        if not (found := _UPLOAD_ID.search(body)):
            raise StoreError(f"the answer for {shown(bucket, key)} names no upload", hint="check the endpoint")
        return _unescaped(found[1].decode("latin-1"))

    def _send_parts(
        self, bucket: str, key: str, upload: str, chunks: Iterator[Chunk], part_size: int
    ) -> tuple[list[str], int]:
        """The ETags of the parts, and how many bytes they have."""

        def send(number: int, data: Chunk) -> str:
            query = {"partNumber": str(number), "uploadId": upload}
            _, answer = self._send("PUT", bucket, key, query, body=data)
            if not (etag := answer.get("etag")):
                raise StoreError(f"S3 names no ETag for a part of {shown(bucket, key)}", hint="check the endpoint")
            return etag

        etags: list[str] = []
        size = 0
        under_way: collections.deque[Future[str]] = collections.deque()
        buffers = self._buffers if part_size == PART_SIZE else Buffers(part_size)
        with buffers.used():
            for number, part in enumerate(_parts(chunks, buffers.room), start=1):
                size += len(part)
                if len(under_way) == _PARTS_AT_ONCE:
                    etags.append(under_way.popleft().result())
                under_way.append(Future(functools.partial(send, number, part)))
            return etags + [sent.result() for sent in under_way], size

    def _complete(self, bucket: str, key: str, upload: str, etags: list[str]) -> tuple[str | None, bool]:
        """Make an object of the parts; its version, and whether the answer names the object."""
        from xml.sax.saxutils import escape  # it brings urllib.request and ssl along, which cost every run 10 ms

        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, start=1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        try:
            said, answer = self._send(
                "POST", bucket, key, {"uploadId": upload}, body=body, read_timeout_s=PATIENT_TIMEOUT_S
            )
        except NotFound:
            return None, False  # an earlier try may have done it, whose answer was lost
        return version_of(answer.get("x-amz-version-id")), b"CompleteMultipartUploadResult" in said

    def _check(self, bucket: str, key: str, etags: list[str], *, sent: int, is_named: bool) -> str | None:
        """The ETag that the object has now, once it is certain that it is the one of these parts.

        The answer to its completion may say nothing, and some servers name another ETag in it than they list later;
        what stood there before has an ETag of parts as well. So it is the one that the parts give (MD5 of their MD5s),
        or, from a server that counts in another way, an object of this size whose completion was named.

        Raises:
            Unreachable: it is not.
        """
        _, now = self._send("HEAD", bucket, key, {})
        etag = bare(now.get("etag"))
        digests = [bare(etag) or "" for etag in etags]
        if all(map(is_md5, digests)):
            joined = hashlib.md5(bytes.fromhex("".join(digests)), usedforsecurity=False).hexdigest()
            if etag == f"{joined}-{len(etags)}":
                return etag
        if not is_named or now.get("content-length") != str(sent):
            raise Unreachable(f"S3 did not assemble {shown(bucket, key)} from its parts", hint="run it again")
        return etag

    def _send(
        self,
        method: str,
        bucket: str,
        key: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: Chunk = b"",
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> tuple[bytes, Mapping[str, str]]:
        call = Call(method, key, query, headers, lambda: body)
        return self._connection.read(bucket, call, whole, read_timeout_s=read_timeout_s)


def _parts(chunks: Iterator[Chunk], make_room: Callable[[], memoryview]) -> Iterator[memoryview]:
    """The bytes in parts, each as large as its room, but for the last one."""
    room, at = make_room(), 0
    for chunk in chunks:
        left = memoryview(chunk)
        while left:
            taken = left[: len(room) - at]
            room[at : at + len(taken)] = taken
            at += len(taken)
            left = left[len(taken) :]
            if at == len(room):
                yield room
                room, at = make_room(), 0
    if at:
        yield room[:at]


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
