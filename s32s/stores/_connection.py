"""A connection to one endpoint with one set of credentials: boto3 finds them, obstore and the lane borrow them.

Sessions and clients are made at their first use, one of each. obstore retries by itself (503, resets, time-outs, with
backoff and jitter), boto3 does too; the lane never tries twice, and nobody above retries a request, so attempts never
multiply. The one exception is a token that has expired in the middle of a run: credentials are resolved afresh, once,
and the request is sent again.
"""

from __future__ import annotations

import datetime
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from s32s.errors import CredentialsError, TryAgain
from s32s.settings import MAX_JOBS, S3Connection
from s32s.stores._answers import WAYS, Expired, translated
from s32s.stores._lane import Lane
from s32s.stores._listing import cut_pages
from s32s.stores._sigv4 import Keys
from s32s.workers import aside

if TYPE_CHECKING:
    import boto3
    import botocore.session
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Credential, S3Store

R = TypeVar("R")

#: botocore hands out credentials that are good for at least 10 minutes (botocore.credentials, mandatory refresh), so
#: what obstore keeps must be younger; and obstore asks for new ones 5 minutes before it thinks that they expire.
_CREDENTIAL_TTL = datetime.timedelta(minutes=9)
_CONNECT_TIMEOUT_S = 5
#: A server that is silent for so long is taken for dead; it bounds a stalled body too.
_READ_TIMEOUT_S = 30
#: Of a copy within S3: 5 GiB take minutes, and not every server sends signs of life meanwhile.
_COPY_TIMEOUT_S = 900
#: Of a whole request: generous, since a part of a large file may take its time on a thin line.
_REQUEST_TIMEOUT = datetime.timedelta(hours=1)


class Connection:
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
        self._lister: S3Client | None = None
        self._stores: dict[str, S3Store] = {}
        self._lanes: dict[str, Lane] = {}
        self._identity: Identity | None = None
        self._renewals = 0

    def call(self, work: Callable[[], R], *, bucket: str, key: str) -> R:
        """Run a request where signals can interrupt it; its errors become ours, an expired token is renewed once."""
        renewals = self._renewals
        try:
            return aside(lambda: translated(work, bucket=bucket, key=key))
        except Expired:
            self._renew(renewals)
        try:
            return aside(lambda: translated(work, bucket=bucket, key=key))
        except Expired as exc:
            raise TryAgain(
                f"the credentials for bucket {bucket} have expired", hint="renew them and run it again"
            ) from exc

    def boto(self) -> S3Client:
        """The client of boto3; shared by all threads."""
        return self._boto(_READ_TIMEOUT_S)

    def patient_boto(self) -> S3Client:
        """One for requests that S3 answers only when it has done long work, such as the copy of a large object."""
        return self._boto(_COPY_TIMEOUT_S)

    def lister(self) -> S3Client:
        """One for listings alone; see `_listing`."""
        with self._guard:
            if self._lister is None:
                self._lister = self._open_client(_READ_TIMEOUT_S)
                cut_pages(self._lister)
            return self._lister

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
        return self._maker.client(
            "s3",
            endpoint_url=self._settings.endpoint_url,
            region_name=self._region(session),
            config=Config(
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=read_timeout_s,
                retries={"mode": "standard", "total_max_attempts": self._settings.retries + 1},
                user_agent_extra="s32s",
                max_pool_connections=MAX_JOBS,
                # Several servers refuse the trailers that newer clients send by default.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def store(self, bucket: str) -> S3Store:
        """The client of obstore for one bucket."""
        if store := self._stores.get(bucket):  # asked for every request
            return store
        with self._guard:
            if bucket not in self._stores:
                self._stores[bucket] = self._open_store(bucket)
            return self._stores[bucket]

    def lane(self, bucket: str) -> Lane:
        """A quick way to what one bucket holds, where that is plain.

        Raises:
            CredentialsError, StoreError: nobody says who we are or where S3 is.
        """
        if lane := self._lanes.get(bucket):
            return lane
        with self._guard:
            if bucket not in self._lanes:
                identity = translated(self._identified, bucket=bucket, key="")
                self._lanes[bucket] = Lane(
                    identity.url(bucket),
                    identity.region,
                    identity.credentials,
                    connect_timeout_s=_CONNECT_TIMEOUT_S,
                    read_timeout_s=_READ_TIMEOUT_S,
                )
            return self._lanes[bucket]

    def _renew(self, renewals: int) -> None:
        with self._guard:
            if self._renewals == renewals:  # else another thread has done it already
                self._session = self._maker = self._lister = self._identity = None
                self._clients.clear()
                self._stores.clear()
                self._lanes.clear()
                self._renewals += 1

    def _open_store(self, bucket: str) -> S3Store:
        # Of obstore's threads that wait for the network; each takes little, and more of them than cores get in the way.
        os.environ.setdefault("TOKIO_WORKER_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))
        from obstore.store import S3Store

        identity = self._identified()
        on_aws = identity.endpoint_url is None
        settings: dict[str, Any] = {
            "region": identity.region,
            "virtual_hosted_style_request": identity.names_host(bucket),
            **identity.keys,
        }
        if not on_aws:
            settings["endpoint"] = identity.endpoint_url
        return S3Store(
            bucket,
            config=settings,  # type: ignore[arg-type] # a TypedDict made step by step
            client_options={
                "allow_http": not on_aws and str(identity.endpoint_url).startswith("http://"),
                "connect_timeout": datetime.timedelta(seconds=_CONNECT_TIMEOUT_S),
                "read_timeout": datetime.timedelta(seconds=_READ_TIMEOUT_S),
                "timeout": _REQUEST_TIMEOUT,
                "user_agent": "s32s",
            },
            retry_config={
                "max_retries": self._settings.retries,
                "retry_timeout": datetime.timedelta(minutes=3),
                # Each pause is drawn between the first one and `base` times the last; eight of them outlast
                # a busy quarter of a minute in most cases.
                "backoff": {
                    "init_backoff": datetime.timedelta(milliseconds=500),
                    "max_backoff": datetime.timedelta(seconds=10),
                    "base": 3,
                },
            },
            credential_provider=identity.provider,
        )

    def _identified(self) -> Identity:
        with self._guard:
            if self._identity is None:
                self._identity = from_environment(self._settings, os.environ) or self._resolved()
            return self._identity

    def _resolved(self) -> Identity:
        """Who we are by botocore, and where S3 is: by the configuration, or as a client of boto3 has found it."""
        session = self._open_session()
        credentials: Any = session.get_credentials()

        def provide() -> S3Credential:
            now = datetime.datetime.now(datetime.UTC)
            frozen = credentials.get_frozen_credentials()
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": now + _CREDENTIAL_TTL,
            }

        region = self._region(session)
        endpoint = self._settings.endpoint_url or self.boto().meta.endpoint_url
        on_aws = re.match(r"https://s3[.-].*\.amazonaws\.com$", endpoint) is not None
        return Identity(None if on_aws else endpoint, region, provider=provide)

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
    """Who we are, and where S3 is, in the words of obstore.

    Attributes:
        endpoint_url: None for AWS itself.
        keys: of credentials that never change.
        provider: asked for the others.
    """

    endpoint_url: str | None
    region: str
    keys: Mapping[str, str] = field(default_factory=dict)
    provider: Callable[[], S3Credential] | None = None

    def names_host(self, bucket: str) -> bool:
        """Whether a bucket is addressed by virtual host, as S3 itself asks for where a certificate covers the name."""
        return self.endpoint_url is None and "." not in bucket

    def url(self, bucket: str) -> str:
        """Where a bucket is (S3 API, "Virtual hosting of general purpose buckets")."""
        if self.names_host(bucket):
            return f"https://{bucket}.s3.{self.region}.amazonaws.com"
        base = self.endpoint_url or f"https://s3.{self.region}.amazonaws.com"
        return f"{base.rstrip('/')}/{bucket}"

    def credentials(self) -> Keys:
        """The keys of this moment."""
        if self.provider is None:
            return Keys(self.keys["access_key_id"], self.keys["secret_access_key"], self.keys.get("token"))
        given = self.provider()
        return Keys(given["access_key_id"], given["secret_access_key"], given.get("token"))


def from_environment(settings: S3Connection, environment: Mapping[str, str]) -> Identity | None:
    """Who we are where environment and configuration alone decide it, so that botocore need not even be loaded.

    They do when the keys are there, which go before all that botocore knows unless a profile is named (botocore,
    "Configuring credentials"), and when region and endpoint are, which it would else look for in files.

    Raises:
        CredentialsError: the keys fit into no header.
    """
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    endpoint, region = settings.endpoint_url, settings.region or environment.get("AWS_DEFAULT_REGION")
    if settings.profile or not (key and secret and endpoint and region):
        return None
    if environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN")
    if not f"{key}{secret}{token or ''}".isprintable():
        raise CredentialsError("the AWS keys in the environment hold a line break or the like", hint=WAYS)
    keys = {"access_key_id": key, "secret_access_key": secret, **({"token": token} if token else {})}
    return Identity(endpoint, region, keys)
