"""A connection to one endpoint with one set of credentials: boto3 finds them, and our own client borrows them.

Sessions and clients are made at their first use, one of each. The clients never try twice: `call` repeats what
failed for the moment, with growing pauses, and says so, so attempts never multiply. Where somebody watches, an address
at which nothing answers is told at once. A token that has expired in the middle of a run is renewed once, and the
request is made again.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from s32s.backends.retry import RetryPolicy
from s32s.backends.s3.client import Call, Client, for_botocore
from s32s.backends.s3.connection import Response
from s32s.backends.s3.errors import WAYS, Expired, translated
from s32s.backends.s3.http import Http
from s32s.backends.s3.network import authorities, tls_context
from s32s.backends.s3.sigv4 import Keys
from s32s.backends.s3.window import Window
from s32s.config.settings import S3Connection, is_url
from s32s.core import paths
from s32s.core.errors import ConfigError, CredentialsError, S32sError, TemporaryFailure, Unreachable
from s32s.system import limits

if TYPE_CHECKING:
    import ssl

    import boto3
    import botocore.session
    from mypy_boto3_s3 import S3Client

R = TypeVar("R")

_CONNECT_TIMEOUT_S = 5
#: A server that is silent for so long is taken for dead; it bounds a stalled body too.
READ_TIMEOUT_S = 30
#: Requests that are under way at the same time at most, of all threads.
MOST_REQUESTS = 512
#: Pages of a long listing that are asked for at once: at the beginning, and at most, as a share of all requests.
_FIRST_PAGES = 4
_SHARE_OF_PAGES = 8
#: Of work within S3: 5 GiB take minutes, and not every server sends signs of life meanwhile.
PATIENT_TIMEOUT_S = 900


class S3Session:
    """Clients of both libraries for one endpoint. Thread-safe.

    Args:
        settings: where S3 is, and by which profile.
    """

    def __init__(self, settings: S3Connection) -> None:
        self._settings = settings
        self._guard = threading.RLock()
        self._session: botocore.session.Session | None = None
        self._maker: boto3.session.Session | None = None
        self._clients: dict[int, S3Client] = {}
        self._of_buckets: dict[str, Client] = {}
        self._identity: Identity | None = None
        self._renewals = 0
        self.retry = RetryPolicy(settings.retries)
        # Half of what may be open is for files; macOS lets a process have 256 of both.
        most = max(1, min(MOST_REQUESTS, limits.open_files() // 2))
        self.window = Window(self.retry.pace, most=most)
        self.pages_window = Window(self.retry.pace, most=max(1, most // _SHARE_OF_PAGES), first=_FIRST_PAGES)

    def call(self, work: Callable[[], R], *, bucket: str, key: str) -> R:
        """Make a request; repeat it while it fails for the moment.

        Its errors become ours, and an expired token is renewed once.
        """
        renewals = self._renewals
        try:
            return self.retry.call(lambda: translated(work, bucket=bucket, key=key))
        except Expired:
            self._renew(renewals)
        try:
            return self.retry.call(lambda: translated(work, bucket=bucket, key=key))
        except Expired as exc:
            raise TemporaryFailure(
                f"the credentials for bucket {bucket} have expired", hint="renew them and run it again"
            ) from exc

    def send(self, bucket: str, call: Call) -> Response:
        """Make a request of a bucket by our own client; see `call`."""
        return self.read(bucket, call, lambda response: response)

    def read(
        self,
        bucket: str,
        call: Call,
        read: Callable[[Response], R],
        *,
        about: str = "",
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> R:
        """The same, with what its answer says; where that is an error, it belongs to the request.

        Args:
            about: what errors name; the key of the request where it is empty.
        """
        return self.call(
            lambda: read(self.client(bucket).send(call, read_timeout_s=read_timeout_s)),
            bucket=bucket,
            key=about or call.key,
        )

    def send_many(
        self, bucket: str, calls: Iterable[Call], *, most: int, window: Window | None = None
    ) -> Iterator[tuple[int, Response | S32sError]]:
        """Make many, some at the same time, each again as long as it fails for the moment.

        Args:
            most: how many may be under way.
            window: of requests of their kind; that of all others by default.

        Yields:
            What came, with the number of its request, in the order of the answers.

        Raises:
            Unreachable: one of them failed too often; the others would not come either.
        """
        client = translated(lambda: self.client(bucket), bucket=bucket, key="")
        answers = client.send_many(
            enumerate(calls), most=most, window=window or self.window, retry=self.retry, read_timeout_s=READ_TIMEOUT_S
        )
        for number, answer in answers:
            if isinstance(answer, Unreachable):
                raise answer
            yield number, answer

    @property
    def endpoint_url(self) -> str | None:
        """See `endpoint_url` below."""
        return endpoint_url(self._settings, os.environ)

    def boto(self) -> S3Client:
        """The client of boto3; shared by all threads."""
        return self._boto(READ_TIMEOUT_S)

    def patient_boto(self) -> S3Client:
        """One for requests that S3 answers only when it has done long work, such as the copy of a large object."""
        return self._boto(PATIENT_TIMEOUT_S)

    def _boto(self, read_timeout_s: int) -> S3Client:
        with self._guard:
            if read_timeout_s not in self._clients:
                self._clients[read_timeout_s] = self._open_client(read_timeout_s)
            return self._clients[read_timeout_s]

    def _open_client(self, read_timeout_s: int) -> S3Client:
        import boto3
        from botocore.config import Config

        session = self._open_session()
        if self._maker is None:
            self._maker = boto3.session.Session(botocore_session=session)
        addressing = self._settings.addressing
        client = self._maker.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self._region(session),
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 1},
                user_agent_extra="s32s",
                s3={"addressing_style": addressing} if addressing != "auto" else None,
                # Several servers refuse the trailers that newer clients send by default.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        client.meta.events.register("before-send.s3", for_botocore(self.http, read_timeout_s))
        return client

    @functools.cached_property
    def http(self) -> Http:
        """What all requests go over."""
        _, trusted = authorities(self._settings.ca_bundle, os.environ)
        return Http(tls=lambda: self.tls, trusted=trusted, connect_timeout_s=_CONNECT_TIMEOUT_S)

    @functools.cached_property
    def tls(self) -> ssl.SSLContext:
        """What all TLS connections are checked by; see `tls_context`."""
        file, _ = authorities(self._settings.ca_bundle, os.environ)
        return tls_context(file)

    def client(self, bucket: str) -> Client:
        """The client for one bucket.

        Raises:
            CredentialsError, StoreError: nobody says who we are or where S3 is.
        """
        if client := self._of_buckets.get(bucket):  # asked for every request
            return client
        with self._guard:
            if bucket not in self._of_buckets:
                identity = self._identified()
                url = identity.url(bucket)
                self._of_buckets[bucket] = Client(
                    self.http, bucket, url, identity.region, identity.credentials, self.window
                )
            return self._of_buckets[bucket]

    def _renew(self, renewals: int) -> None:
        with self._guard:
            if self._renewals == renewals:  # else another thread has done it already
                self._session = self._maker = self._identity = None
                self._clients.clear()
                self._of_buckets.clear()
                self._renewals += 1

    def _identified(self) -> Identity:
        with self._guard:
            if self._identity is None:
                self._identity = from_environment(self._settings, os.environ) or self._resolved()
            return self._identity

    def _resolved(self) -> Identity:
        """Who we are by botocore, and where S3 is: by the configuration, or as a client of boto3 has found it."""
        session = self._open_session()
        credentials: Any = session.get_credentials()

        def provide() -> Keys:
            frozen = credentials.get_frozen_credentials()  # renewed by botocore before they expire
            return Keys(frozen.access_key, frozen.secret_key, frozen.token)

        endpoint = self.endpoint_url or self.boto().meta.endpoint_url
        on_aws = re.match(r"https://s3[.-].*\.amazonaws\.com$", endpoint) is not None
        return Identity(None if on_aws else endpoint, self._region(session), provide, self._settings.addressing)

    def _region(self, session: botocore.session.Session) -> str:
        return self._settings.region or session.get_config_variable("region") or "us-east-1"

    def _open_session(self) -> botocore.session.Session:
        """What finds credentials.

        Raises:
            CredentialsError: there are none, or they cannot be used.
        """
        import botocore.exceptions
        import botocore.session

        with self._guard:
            if self._session is None:
                try:
                    session = botocore.session.Session(profile=self._settings.profile)
                    found = session.get_credentials()
                except botocore.exceptions.BotoCoreError as exc:
                    raise CredentialsError(f"the AWS credentials cannot be used: {exc}", hint=WAYS) from exc
                if found is None:
                    raise CredentialsError("there are no AWS credentials", hint=WAYS)
                self._session = session
            return self._session


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are, and where S3 is.

    Attributes:
        endpoint_url: None for AWS itself.
        credentials: asked for the keys of each moment.
        addressing: "path", "virtual", or "auto".
    """

    endpoint_url: str | None
    region: str
    credentials: Callable[[], Keys]
    addressing: str = "auto"

    def names_host(self, bucket: str) -> bool:
        """Whether a bucket is addressed by virtual host, as S3 itself asks for where a certificate covers the name."""
        if self.addressing != "auto":
            return self.addressing == "virtual"
        return self.endpoint_url is None and "." not in bucket

    def url(self, bucket: str) -> str:
        """Where a bucket is (S3 API, "Virtual hosting of general purpose buckets").

        Raises:
            ConfigError: a virtual host is asked for where the server has no name.
        """
        base = (self.endpoint_url or f"https://s3.{self.region}.amazonaws.com").rstrip("/")
        if not self.names_host(bucket):
            return f"{base}/{bucket}"
        scheme, _, rest = base.partition("://")
        if _IP_ADDRESS.match(rest):
            raise ConfigError(
                f"addressing is virtual, and {rest} is not a host name that a bucket could be put before",
                hint='write a host name in endpoint_url, or addressing = "path"',
            )
        return f"{scheme}://{bucket}.{rest}"


_IP_ADDRESS = re.compile(r"\[|\d+\.\d+\.\d+\.\d+(:|/|$)")


def endpoint_url(settings: S3Connection, environment: Mapping[str, str]) -> str | None:
    """The address that configuration or environment give; None where neither does (AWS, or a profile's).

    Raises:
        ConfigError: a variable holds no address.
    """
    if settings.endpoint_url:
        return settings.endpoint_url
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):  # AWS SDK guide, "Service-specific endpoints"
        if value := environment.get(name):
            if not is_url(value):
                raise ConfigError(f"{name} is not an address: {paths.escape(value)}", hint="such as http://nas:9000")
            return value
    return None


def from_environment(settings: S3Connection, environment: Mapping[str, str]) -> Identity | None:
    """Who we are where environment and configuration alone decide it, so that botocore need not even be loaded.

    They do when the keys are there, which go before all that botocore knows unless a profile is named (botocore,
    "Configuring credentials"), and when region and endpoint are, which it would else look for in files.

    Raises:
        CredentialsError: the keys fit into no header.
        ConfigError: see `endpoint_url`.
    """
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    endpoint, region = endpoint_url(settings, environment), settings.region or environment.get("AWS_DEFAULT_REGION")
    if settings.profile or not (key and secret and endpoint and region):
        return None
    if environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN")
    if not f"{key}{secret}{token or ''}".isprintable():
        raise CredentialsError("the AWS keys in the environment hold a line break or the like", hint=WAYS)
    keys = Keys(key, secret, token or None)
    return Identity(endpoint, region, lambda: keys, settings.addressing)
