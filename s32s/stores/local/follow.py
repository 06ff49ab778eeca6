"""Links that point out of a source and are followed: what they lead to takes their place in its listing."""

from __future__ import annotations

import errno
import os
import stat

from s32s.core import guards, paths
from s32s.core.errors import Refused
from s32s.core.rules import Rules, Verdict
from s32s.stores.base import Snapshot
from s32s.stores.local import walk
from s32s.stores.local.stat_cache import stamp
from s32s.stores.local.walk import DirectoryListing, LocalSnapshot
from s32s.system import directories


def followed(root: str, found: DirectoryListing, rules: Rules) -> DirectoryListing:
    """A listing in which each link that points out of the tree is the file or the directory that it leads to.

    A link below such a directory is judged by that directory: what points out of it is followed too. A link that leads
    nowhere, to neither a file nor a directory, or back to where it is itself, is an error of the listing.

    Args:
        root: absolute path of the directory that was walked.
        found: what was found there.
        rules: what takes part, also of what is led to.
    """
    return _resolved(found, os.path.realpath(root), "", (), rules)


def check_apart(wanted: Snapshot, target: str) -> None:
    """Refuse a source in which a link that is followed leads to, or into, its target, or to a directory above it.

    Raises:
        Refused: names the link; each run would copy what the one before has copied.
    """
    if not isinstance(wanted, LocalSnapshot) or not target:
        return
    real = os.path.realpath(target)
    for path, place in sorted(wanted.listing.led.items()):
        if paths.overlaps(place, real):
            raise Refused(
                f"the link {paths.quote(path)} leads to {paths.quote(place)}: the target would feed on itself",
                hint="leave the link out with --ignore, or name another target",
            )


def _resolved(
    found: DirectoryListing, real: str, prefix: str, above: tuple[str, ...], rules: Rules
) -> DirectoryListing:
    """See `followed`.

    Args:
        real: where the listing was made.
        prefix: of its paths in the tree; empty, or it ends in a slash.
        above: where the links are by which it was reached.
    """
    leaving = sorted(guards.leaving(found.targets))
    if not leaving:
        return found
    added = DirectoryListing()
    rows = list(found.rows(leaving))
    for path, row in zip(leaving, rows, strict=True):
        try:
            _follow(added, path, real, prefix, above, rules)
        except OSError as exc:
            added.paths.append(path)
            added.modes.append(found.modes[row])
            added.stamps.extend(found.stamp(row))
            added.errors[path] = exc
    return found.patched(rows, added.in_order())


def _follow(added: DirectoryListing, path: str, real: str, prefix: str, above: tuple[str, ...], rules: Rules) -> None:
    """Add what one link leads to.

    Raises:
        OSError: it leads nowhere, or cannot be read.
    """
    place = os.path.realpath(f"{real}/{path}", strict=True)
    status = os.stat(place)
    if stat.S_ISREG(status.st_mode):
        added.paths.append(path)
        added.modes.append(status.st_mode)
        added.stamps.extend(stamp(status))
        added.led[path] = place
        return
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EINVAL, "it leads to neither a file nor a directory")
    on_the_way = (*above, f"{real}/{paths.parent(path)}".rstrip("/"))
    if any(paths.is_within(one, place) for one in on_the_way):
        raise OSError(errno.ELOOP, f"it leads back to {paths.quote(place)}, which it is in itself")
    below = f"{prefix}{path}/"
    if rules.prunes(below[:-1]):
        return
    fd = directories.open_dir(place)
    try:
        inside = walk.walk(
            fd,
            prunes=lambda name: rules.prunes(below + name),
            ignores=lambda name, is_dir: rules.verdict(below + name, is_dir=is_dir) is Verdict.IGNORED,
        )
    finally:
        os.close(fd)
    inside = _resolved(inside, place, below, on_the_way, rules)
    if rules.verdict(below[:-1], is_dir=True) is not Verdict.IGNORED:
        added.paths.append(path)
        added.modes.append(status.st_mode)
        added.stamps.extend((*stamp(status)[:2], 0, 0, 0))
    added.paths.extend(f"{path}/{name}" for name in inside.paths)
    added.modes.extend(inside.modes)
    added.stamps.extend(inside.stamps)
    for name in walk.BY_PATH:
        getattr(added, name).update({f"{path}/{one}": what for one, what in getattr(inside, name).items()})
    added.led[path] = place
