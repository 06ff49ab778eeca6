"""What is mounted where, by /proc/PID/mountinfo (proc(5)), and so what cannot be exchanged with another directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from s32s.core import paths
from s32s.core.errors import Refused


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/PID/mountinfo (proc(5)): a part of a file system, its kind, and where it is seen."""

    device: str
    root: str
    point: str
    kind: str = ""


def mounts(text: str) -> list[Mount]:
    """Parse mountinfo."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 4:
            rest = fields[6:]
            kind = rest[rest.index("-") + 1] if "-" in rest[:-1] else ""
            found.append(Mount(fields[2], _unescape(fields[3]), _unescape(fields[4]), kind))
    return found


def path_of(fd: int, *, hint: str) -> str:
    """The real path of an open directory, without a final slash.

    Args:
        hint: what helps where /proc is not mounted.

    Raises:
        Refused: it is not, so nothing here can be known.
    """
    try:
        return os.readlink(f"/proc/self/fd/{fd}").rstrip("/")
    except FileNotFoundError as exc:
        raise Refused("/proc is not mounted, so what is mounted is not known", hint=f"mount it, or {hint}") from exc


def kind_at(path: str) -> str:
    """The kind of the file system that holds a real path, such as "ext4"; "" where that is not known."""
    mount = _over(path)
    return mount.kind if mount is not None else ""


def point_of(path: str) -> str:
    """Where the file system is mounted that holds a real path; "" where that is not known."""
    mount = _over(path)
    return mount.point if mount is not None else ""


def mounted_at_or_below(path: str) -> str | None:
    """The first mount point that is `path` or lies in it, in our own mount namespace."""
    for mount in mounts(_mountinfo("self")):
        if paths.is_within(mount.point, path):
            return mount.point
    return None


def bound_elsewhere(path: str) -> str | None:
    """Where the directory `path`, or one in it, is bind-mounted in any mount namespace that we can see; or None.

    Such a mount pins the directory's inode: after an exchange it would still show the old tree, and then an empty one.
    Of other users' processes only root sees the mounts.
    """
    own = mounts(_mountinfo("self"))
    above = max((mount for mount in own if _holds(mount.point, path)), key=lambda mount: len(mount.point), default=None)
    if above is None:
        return None
    rest = path[len(above.point) :].lstrip("/")
    inside = f"{above.root.rstrip('/')}/{rest}"
    seen: set[str] = set()
    for process in _processes():
        try:
            namespace = os.readlink(f"/proc/{process}/ns/mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            listed = mounts(_mountinfo(process))
        except OSError:
            continue  # it ended, or it belongs to another user
        for mount in listed:
            if mount.device == above.device and (mount.root == inside or mount.root.startswith(inside + "/")):
                return f"{mount.point} (process {process})" if process != "self" else mount.point
    return None


def _over(path: str) -> Mount | None:
    own = [mount for mount in mounts(_mountinfo("self")) if _holds(mount.point, path)]
    # Of several mounts at one point the last one is seen.
    return max(enumerate(own), key=lambda nth: (len(nth[1].point), nth[0]))[1] if own else None


def _processes() -> list[str]:
    try:
        return ["self", *(name for name in os.listdir("/proc") if name.isdigit())]
    except OSError:
        return ["self"]


def _mountinfo(process: str) -> str:
    return Path(f"/proc/{process}/mountinfo").read_text("utf-8", "surrogateescape")


def _holds(point: str, path: str) -> bool:
    return paths.is_within(path, point)


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
