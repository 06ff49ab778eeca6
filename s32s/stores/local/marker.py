"""The marker of a shared folder: a file with an id, so that an empty mount point is not taken for the folder."""

from __future__ import annotations

import json
import os
import secrets
from typing import NamedTuple

from s32s.core import paths
from s32s.system import directories, file_bytes, openat

_NAME = "id"
_PLACE = f"{paths.RESERVED}/{_NAME}"


class Marker(NamedTuple):
    """Which folder this is, and what it is shared through.

    Attributes:
        place: where that is, whatever reaches it, such as `bucket/prefix`.
        via: the same as it was named, such as `s3://bucket/prefix` or `nas:bucket/prefix`, which says which server that
            is; empty where it was not noted.
    """

    id: str
    place: str
    via: str = ""


def read_marker(folder: int) -> Marker | None:
    """The marker of the folder with this descriptor; None where there is none, or another text."""
    try:
        fd = openat.open(_PLACE, file_bytes.OPEN_FILE, dir_fd=folder)
    except OSError:
        return None
    try:
        facts = json.loads(os.read(fd, 8192))
        return Marker(str(facts["id"]), str(facts["place"]), str(facts.get("via", "")))
    except (ValueError, KeyError, TypeError):
        return None
    finally:
        openat.close(fd)


def write_marker(own: int, place: str, via: str, *, known: str = "") -> Marker:
    """Make a marker, or write one again.

    Args:
        own: descriptor of the `.s32s` of the folder.
        place, via: what the folder is shared through; see `Marker`.
        known: the id that it has already.
    """
    made = Marker(known or secrets.token_hex(16), place, via)
    text = json.dumps({**made._asdict(), "note": "s32s knows this folder by this file"}) + "\n"
    name = f"{_NAME}.{secrets.token_hex(4)}"
    fd = openat.open(name, file_bytes.NEW_FILE, 0o600, dir_fd=own)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        openat.close(fd)
    openat.rename(name, _NAME, src_dir_fd=own, dst_dir_fd=own)
    return made


def forget_marker(root: str) -> bool:
    """Remove the marker of a folder; whether there was one."""
    try:
        fd = directories.open_dir(root)
    except OSError:
        return False
    try:
        openat.unlink(_PLACE, dir_fd=fd)
    except OSError:
        return False
    finally:
        openat.close(fd)
    return True
