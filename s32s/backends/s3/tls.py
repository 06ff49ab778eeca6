"""TLS of connections that do not wait: contexts, the sessions that are resumed, and sockets that say what they need."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from s32s.backends.s3.network import READ, WRITE

if TYPE_CHECKING:
    import ssl


class Tls:
    """How connections to one server are secured, and the session that the next one resumes (RFC 8446, 2.2)."""

    def __init__(self, context: Callable[[], ssl.SSLContext], host: str) -> None:
        self._context = context
        self._host = host
        self._session: ssl.SSLSession | None = None

    def prepare(self) -> None:
        """Read the authorities.

        Raises:
            ConfigError: they cannot be used.
        """
        self._context()

    def wrap(self, plain: socket.socket) -> Secured:
        """Secure a connection; its handshake is still to come."""
        return Secured(
            self._context().wrap_socket(
                plain, server_hostname=self._host, do_handshake_on_connect=False, session=self._session
            )
        )

    def keep(self, secured: Secured) -> None:
        """Remember the session of a connection over which something has come; tickets come with the first answer."""
        self._session = secured.session or self._session


class Secured:
    """A TLS connection that says as a plain one does when it has to wait."""

    def __init__(self, inner: ssl.SSLSocket) -> None:
        import ssl

        self._inner = inner
        self._waits = ssl.SSLWantReadError, ssl.SSLWantWriteError

    def shake_hands(self) -> int | None:
        """Go on with the handshake; READ or WRITE is what it waits for, None when it is done."""
        try:
            self._inner.do_handshake()
        except self._waits as exc:
            return READ if isinstance(exc, self._waits[0]) else WRITE
        return None

    def recv(self, size: int) -> bytes:
        try:
            return self._inner.recv(size)
        except self._waits as exc:
            raise BlockingIOError from exc

    def recv_into(self, room: memoryview) -> int:
        try:
            return self._inner.recv_into(room)
        except self._waits as exc:
            raise BlockingIOError from exc

    def send(self, data: memoryview) -> int:
        try:
            return self._inner.send(data)
        except self._waits as exc:
            raise BlockingIOError from exc

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
