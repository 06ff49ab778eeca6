"""An answer of HTTP/1.1 as it comes, within bounds: its head by llhttp, its body by length, in chunks, or to the end.

llhttp, the parser of Node.js, is strict about where an answer ends: two lengths, a length beside chunks and folded
lines are errors (RFC 9112, 5.2 and 6.3).
"""

from __future__ import annotations

import functools

from httptools import HttpParserUpgrade, HttpResponseParser

#: Of all that comes before the body, interim answers included.
MAX_HEAD = 256 * 1024


class Answer:
    """One answer, filled by `feed`.

    Attributes:
        status: 0 as long as the head has not come.
        headers: by lower-case name; of several with one name the last.
        length: of the body as announced; None where it is not.
        is_whole: whether all of it has come.
        keeps_alive: whether another request may follow on the same connection, once the body has come.
        pieces: what has come of the body and was not taken yet.
    """

    __slots__ = (
        "_came",
        "_has_body",
        "_is_interim",
        "_parser",
        "_raw",
        "headers",
        "is_whole",
        "keeps_alive",
        "length",
        "on_header",
        "pieces",
        "status",
    )

    def __init__(self, *, has_body: bool) -> None:
        self._raw: dict[bytes, bytes] = {}
        self.on_header = self._raw.__setitem__  # called by the parser, once for each of a dozen lines of every answer
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._has_body = has_body
        self._is_interim = False
        self._came = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.length: int | None = None
        self.is_whole = self.keeps_alive = False
        self.pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            HttpParserError: it is not HTTP.
            ValueError: the head does not end, or the server changes to another protocol.
        """
        self._came += len(data)
        if self._parser is not None:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as exc:  # not one of its other errors
                raise ValueError("another protocol, which nobody has asked for") from exc
        if not self.status and self._came > MAX_HEAD:
            raise ValueError("the answer does not end")

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            ConnectionError: something is missing.
        """
        if not self.status or self.length is not None or "transfer-encoding" in self.headers:
            raise ConnectionError("cut")
        self.finish()

    def finish(self) -> None:
        """All of it has come; the parser, which refers to this answer in turn, goes."""
        self.is_whole = True
        self._parser = None

    # -- called by the parser

    def on_message_begin(self) -> None:
        self._raw.clear()

    def on_headers_complete(self) -> None:
        if self._parser is None:
            return
        status = self._parser.get_status_code()
        self._is_interim = 100 <= status < 200
        if self._is_interim or self.status:
            return
        self.status = status
        self.headers = {_lower(name): value.decode("latin-1").strip() for name, value in self._raw.items()}
        is_closed = self.headers.get("connection", "").lower() == "close"
        self.keeps_alive = not is_closed and self._parser.get_http_version() == "1.1"
        length = self.headers.get("content-length")
        if length is not None and "transfer-encoding" not in self.headers:
            self.length = int(length)
        if not self._has_body:
            self.finish()

    def on_body(self, body: bytes) -> None:
        if not self.is_whole:
            self.pieces.append(body)

    def on_message_complete(self) -> None:
        if not self._is_interim:
            self.finish()


@functools.lru_cache(maxsize=256)  # servers use the same names all the time
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()
