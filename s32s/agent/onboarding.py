"""What a person who sets a machine up needs to know before the configuration is written.

Are there credentials, does the path hold maps, which directories do they speak of? Nothing is written here; the answers
become a configuration by `settings.configure`.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable

from s32s.agent import catalog, map_upload
from s32s.backends.s3.service import S3Service
from s32s.config import map_files
from s32s.config.maps import Entry, MapSet
from s32s.config.settings import S3Connection, allow_problem
from s32s.core import paths
from s32s.core.errors import Interrupted, S32sError
from s32s.core.location import S3Path


def look(source: S3Path, connection: S3Connection) -> MapSet:
    """Fetch and read the maps at `source`: the test of credentials, endpoint and path in one.

    Raises:
        CredentialsError, AccessDenied, BucketMissing, Unreachable: by what is wrong.
        MapError: there are no maps, or they are wrong.
    """
    loaded = map_files.load(catalog.fetch(source, _engine(connection)))
    if loaded.problems:
        raise catalog.problems_error(loaded.problems)
    return loaded


def upload_first(source: S3Path, connection: S3Connection, entry: Entry) -> str:
    """Write a map file of one entry to where no map is yet; where it is then.

    Raises:
        MapError: somebody else was quicker.
        StoreError, Unreachable: it cannot be written.
    """
    engine = _engine(connection)
    upload = map_upload.prepare(source, {f"{map_upload.file_name(entry.name)}.json": map_files.written(entry)}, engine)
    map_upload.send(upload, engine)
    return ", ".join(f"{source.bucket}/{key}" for key in upload.files)


def buckets(connection: S3Connection) -> list[str]:
    """The buckets of these credentials; none where they may not list them."""
    return [name.removesuffix("/") for name in completions("", connection)]


def completions(text: str, connection: S3Connection) -> list[str]:
    """Maps paths that begin with `text`: buckets, then prefixes and map files, as far as one may list them."""
    engine = _engine(connection)
    bucket, slash, start = text.removeprefix("s3://").partition("/")
    try:
        if not slash:
            return sorted(f"{name}/" for name in engine.buckets() if name.startswith(bucket))
        found = engine.below(bucket, start)
    except Interrupted:
        raise
    except S32sError:
        return []  # only a help at typing: what is wrong is said when the path is tried
    return sorted(f"{bucket}/{key}" for key in found if key.endswith(("/", ".json")))


def proposed_allow(loaded: MapSet) -> list[str]:
    """The fewest directories below which all targets of a slave lie: the parents, without those inside others."""
    parents = {os.path.dirname(entry.slave) for entry in loaded.entries if entry.slave is not None}
    parents = {one for one in parents if allow_problem(one, allow_system=False) is None}
    return sorted(one for one in parents if not any(paths.is_below(one, other) for other in parents))


def outside(loaded: MapSet, allow: Iterable[str]) -> list[str]:
    """Names of entries whose target lies below none of `allow`."""
    allowed = list(allow)
    return [
        entry.name
        for entry in loaded.entries
        if entry.slave is not None and not any(paths.is_below(entry.slave, above) for above in allowed)
    ]


def _engine(connection: S3Connection) -> S3Service:
    """A connection that gives up soon: somebody waits."""
    engine = S3Service(connection.model_copy(update={"retries": 1}))
    engine.attend()
    return engine
