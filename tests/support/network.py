"""What stands between a client and an S3 server: raw answers, TLS before a server, and a proxy for all hosts.

Loopback only; every helper ends with its block.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_LONGEST_S = 60


@dataclass
class Listener:
    """A server of raw bytes.

    Attributes:
        url: where it listens.
        heads: of the requests that have come, as text.
        sent: bytes that were taken from it.
        connections: that were made to it.
    """

    url: str
    heads: list[str] = field(default_factory=list)
    sent: int = 0
    connections: int = 0


@contextlib.contextmanager
def raw_server(answer: Callable[[str], Iterator[bytes]]) -> Iterator[Listener]:
    """Answer every request with the bytes that `answer` yields for its head, and close the connection."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            length = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")), 0)
            while len(body) < length:
                piece = connection.recv(65536)
                if not piece:
                    return
                body += piece
            here.heads.append(head.decode("latin-1"))
            for piece in answer(here.heads[-1]):
                connection.sendall(piece)
                here.sent += len(piece)

    with listening(serve) as port:
        here = Listener(f"http://127.0.0.1:{port}")
        yield here


@contextlib.contextmanager
def tcp_front(upstream_url: str) -> Iterator[Listener]:
    """A server that hands what it hears to another one, and counts connections."""
    parts = urlsplit(upstream_url)

    def serve(connection: socket.socket) -> None:
        here.connections += 1
        with connection, contextlib.suppress(OSError):
            with socket.create_connection((parts.hostname, parts.port), timeout=_LONGEST_S) as upstream:
                _pump(connection, upstream)

    with listening(serve) as port:
        here = Listener(f"http://127.0.0.1:{port}")
        yield here


@contextlib.contextmanager
def tls_front(upstream_url: str, certificate: Path) -> Iterator[str]:
    """A server that speaks TLS and hands what it hears to another one; yields its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    parts = urlsplit(upstream_url)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            with context.wrap_socket(connection, server_side=True) as inner:
                with socket.create_connection((parts.hostname, parts.port), timeout=_LONGEST_S) as upstream:
                    _pump(inner, upstream)

    with listening(serve) as port:
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def forward_proxy() -> Iterator[Listener]:
    """A proxy in the sense of RFC 9110, 3.7: by CONNECT, and for http by absolute addresses."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536) or b"\r\n\r\n"
            line, _, rest = data.partition(b"\r\n")
            here.heads.append(data.partition(b"\r\n\r\n")[0].decode("latin-1"))
            method, target, version = line.decode().split(" ")
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                with socket.create_connection((host, int(port)), timeout=_LONGEST_S) as upstream:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    _pump(connection, upstream)
                return
            parts = urlsplit(target)
            with socket.create_connection((parts.hostname, parts.port or 80), timeout=_LONGEST_S) as upstream:
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
                upstream.sendall(f"{method} {path} {version}\r\nConnection: close\r\n".encode() + rest)
                _pump(connection, upstream)

    with listening(serve) as port:
        here = Listener(f"http://127.0.0.1:{port}")
        yield here


def make_certificate(directory: Path) -> Path:
    """A certificate of 127.0.0.1 that is its own authority, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s32s test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "both.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + made.public_bytes(Encoding.PEM))
    return path


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each connection on a thread of its own; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(_LONGEST_S)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Hand on what comes in both directions until either side has ended."""

    def one_way(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=one_way, args=(other, one), daemon=True)
    back.start()
    one_way(one, other)
    back.join(5)
