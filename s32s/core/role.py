"""Roles: which of an entry's places is this machine's own."""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """A direction: which of an entry's places is this machine's own."""

    MASTER = "master"
    SLAVE = "slave"
    MIRROR = "mirror"
    PEER = "peer"
