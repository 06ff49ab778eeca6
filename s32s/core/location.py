"""Places on S3."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, unquote

from s32s.core import paths

_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}")
#: What AWS gives a new bucket (S3 User Guide, "General purpose bucket naming rules"); an address of IPv4 it is not.
_NEW_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")

#: How AWS writes a place in a browser, in a tool, and in a policy.
_COPIED = (
    re.compile(r"https?://(?P<bucket>[^/]+?)\.s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?/?(?P<prefix>[^?#]*)"),
    re.compile(r"https?://s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?/(?P<bucket>[^/?#]+)/?(?P<prefix>[^?#]*)"),
    re.compile(
        r"https?://[^/]*console\.aws\.amazon\.com/s3/\w+/(?P<bucket>[^/?#]+)(?:.*?[?&]prefix=(?P<prefix>[^&#]*))?.*"
    ),
    re.compile(r"arn:[^:]*:s3:::(?P<bucket>[^/]+)/?(?P<prefix>.*)"),
)


@dataclass(frozen=True, slots=True)
class S3Path:
    """A bucket and the prefix below it, without a slash at either end."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> S3Path:
        """Read `bucket/prefix`, with or without `s3://`.

        Raises:
            ValueError: for people.
        """
        bare = text.removeprefix("s3://")
        if "://" in bare or bare.startswith("arn:"):
            raise ValueError(f"{paths.quote(text)} is a URL; write {_meant(bare)}")
        bucket, _, prefix = bare.removesuffix("/").partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{paths.quote(bucket)} is not a bucket name; write bucket/prefix")
        if prefix and (reason := paths.problem(prefix, room=paths.MAX_KEY - 100)):
            raise ValueError(f"the prefix {paths.quote(prefix)} cannot be used: {reason}")
        if prefix and paths.RESERVED in prefix.split("/"):
            raise ValueError(f"{paths.RESERVED!r} in a prefix is kept for s32s itself")
        return cls(bucket, prefix)

    def key(self, path: str) -> str:
        """The key of a relative path."""
        return f"{self.prefix}/{path}" if self.prefix else path

    @property
    def room(self) -> int:
        """Bytes that the prefix leaves of a key's 1,024."""
        return paths.MAX_KEY - (len(self.prefix.encode()) + 1 if self.prefix else 0)

    @property
    def doubt(self) -> str | None:
        """Why there may be no such bucket: AWS gives none that name today, but has given some, as other servers do."""
        if _NEW_BUCKET.fullmatch(self.bucket):
            return None
        return (
            f"{paths.quote(self.bucket)} is an unusual name of a bucket: today S3 gives 3 to 63 of a-z, 0-9, "
            "dots and hyphens"
        )

    def overlaps(self, other: S3Path) -> bool:
        """Tell whether one prefix is, or lies in, the other."""
        if self.bucket != other.bucket:
            return False
        if not self.prefix or not other.prefix:
            return True  # one is a whole bucket
        return paths.overlaps(self.prefix, other.prefix)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of this machine, by its absolute path."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class StorePath:
    """A place in a store that the configuration names: all of it, or what is below a prefix."""

    store: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.store}:{self.prefix}"


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A directory of a server, by its URL; it may hold a password, which is never shown."""

    url: str

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        host, slash, path = rest.partition("/")
        user, at, server = host.rpartition("@")
        return f"{scheme}://{user.partition(':')[0]}{at}{server}{slash}{path}"

    @property
    def path(self) -> str:
        """Of the directory, without the escapes of a URL."""
        return unquote(self.url.partition("://")[2].partition("/")[2])

    def overlaps(self, other: RemotePath) -> bool:
        """Tell whether one is, or lies in, the other; users do not count."""
        (mine, here), (its, there) = ((self._server, self.path), (other._server, other.path))
        return mine == its and (not here or not there or paths.overlaps(here, there))

    @property
    def _server(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{scheme.removesuffix('s')}://{rest.partition('/')[0].rpartition('@')[2].lower()}"


def _meant(url: str) -> str:
    """The place that a URL names, as far as it can be told."""
    for form in _COPIED:
        if found := form.fullmatch(url):
            place = f"{found['bucket']}/{unquote(found['prefix'] or '')}".strip("/")
            return paths.quote(place)
    return "bucket/prefix; the address of a server is endpoint_url in the configuration"


Location = S3Path | Directory | StorePath | RemotePath

#: Kinds of URL that name a directory of a server.
REMOTE_SCHEMES = ("sftp", "webdav", "webdavs")

#: How a store of the configuration is named: never like a bucket, which has no colon behind it.
STORE_NAME = r"[a-z][a-z0-9-]*"
_STORE_PATH = re.compile(rf"({STORE_NAME}):(.*)")


def parse_place(text: str) -> S3Path | StorePath:
    """Read what an entry of a map names: `bucket/prefix`, with or without `s3://`, or `NAME:prefix`.

    Whether there is a store of that name is for the configuration of a machine to say.

    Raises:
        ValueError: for people.
    """
    found = None if "://" in text else _STORE_PATH.fullmatch(text)
    if found is None:
        return S3Path.parse(text)
    return _store_path(found[1], found[2])


def parse_remote(text: str) -> RemotePath:
    """Read a URL of a server such as `sftp://user@host/dir`.

    Raises:
        ValueError: for people.
    """
    scheme, _, rest = text.partition("://")
    host, _, path = rest.partition("/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not host.rpartition("@")[2]:
        raise ValueError(f"the URL names no host; write {scheme}://host/dir")
    if ".." in map(unquote, parts):
        raise ValueError('a path must not contain ".."')
    if wrong := next((char for char in "?#" if char in rest), ""):
        raise ValueError(f'"{wrong}" ends the path of a URL; write {quote(wrong)} where a name or password has it')
    return RemotePath(f"{scheme}://{host}/{'/'.join(parts)}".rstrip("/"))


def _store_path(store: str, prefix: str) -> StorePath:
    prefix = prefix.strip("/")
    if prefix and (reason := paths.problem(prefix, room=paths.MAX_KEY - 100)):
        raise ValueError(f"the prefix {paths.quote(prefix)} cannot be used: {reason}")
    if paths.RESERVED in prefix.split("/"):
        raise ValueError(f"{paths.RESERVED!r} in a prefix is kept for s32s itself")
    return StorePath(store, prefix)


def is_location(text: str, *, stores: Collection[str] = ()) -> bool:
    """Tell whether an argument names a place, and not an entry of the maps.

    Args:
        stores: names of stores of the configuration.
    """
    if "://" in text or text.startswith(("/", "./", "../")) or text in (".", ".."):
        return True
    store, colon, _ = text.partition(":")
    return bool(colon) and store in stores


def store_of(text: str) -> str:
    """The store that an argument may mean, such as the "nas" of `nas:site`; empty for none."""
    found = None if "://" in text else _STORE_PATH.fullmatch(text)
    return found[1] if found else ""


def parse_location(text: str, *, at: str, stores: Collection[str] = ()) -> Location:
    """Read a path, or a URL such as `s3://bucket/prefix` or `file:///dir`.

    Args:
        at: the directory that a relative path starts from.
        stores: names of stores of the configuration.

    Raises:
        ValueError: for people.
    """
    store, colon, prefix = text.partition(":")
    if colon and store in stores:
        return _store_path(store, prefix)
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "s3":
        return S3Path.parse(rest)
    if separator and scheme == "file":
        if not rest.startswith("/"):
            raise ValueError(f"{paths.quote(text)} names no directory; write file:///dir")
        text = rest
    elif separator and scheme in REMOTE_SCHEMES:
        return parse_remote(text)
    elif separator:
        raise ValueError(
            f"{paths.quote(text)} is of a kind that s32s does not know; "
            "write s3://bucket/prefix, sftp://host/dir, webdavs://host/dir or /dir"
        )
    parts: list[str] = []
    for part in (text if text.startswith("/") else f"{at}/{text}").split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return Directory("/" + "/".join(parts))
