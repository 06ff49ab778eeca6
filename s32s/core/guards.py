"""What refuses before it harms (design 4.4), as far as it can be judged from trees and plans alone.

Pure checks: they raise `Refused`, or return without a trace. Checks that need the disk (mount points, links, `allow`)
stand with the disk, in `stores/local/target.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s32s.core import paths
from s32s.core.errors import Refused
from s32s.core.item import Item, Kind, changed_by
from s32s.core.merge import Merge
from s32s.core.plan import Plan
from s32s.core.tree import Tree

# Not a directory to replace on any Linux system, whatever a configuration says: file-hierarchy(7).
# fmt: off
_NEVER_REPLACED = frozenset([
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/media",
    "/mnt", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib",  # noqa: S108
    "/usr/local", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/var/log", "/var/run", "/var/tmp",  # noqa: S108
])

# What packages, the kernel or the system's own services keep, all below included. Of a merged /usr both names are here.
_OWNED = (
    "/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/nix", "/proc",
    "/run", "/sbin", "/snap", "/sys", "/usr", "/var/cache/apt", "/var/lib/apk", "/var/lib/apt", "/var/lib/dpkg",
    "/var/lib/pacman", "/var/lib/rpm", "/var/lib/systemd", "/var/run", "/var/spool/cron",
)
# fmt: on
_NOT_OWNED = "/usr/local"  # which packages leave to the administrator

#: A percentage never refuses fewer deletions than this (design 3): small directories change wholesale every day.
FREE_DELETIONS = 10


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How many files one sync may delete: a count, or a percentage of what the destination holds now."""

    number: float
    percent: bool

    def allows(self, deletions: int, *, of: int) -> bool:
        """Tell whether `deletions` of `of` files are within the limit."""
        if self.percent:
            return deletions < FREE_DELETIONS or deletions * 100 <= self.number * of
        return deletions <= self.number

    def __str__(self) -> str:
        return f"{self.number:g}%" if self.percent else f"{self.number:g}"


#: What one sync may delete where nobody says otherwise.
HALF = MaxDelete(50, percent=True)


def target_problem(root: str, *, allow_system: bool) -> str | None:
    """Say why a directory belongs to the system, so that nothing may ever replace it, or None.

    Args:
        allow_system: the configuration's; some directories are never replaced all the same.
    """
    if root in _NEVER_REPLACED:
        return "is a directory of the system and is never replaced; name one below it"
    if not allow_system and (owner := _owner(root)):
        return f"is in {owner}, which belongs to the system; allow_system = true in the configuration lifts this"
    return None


def allow_problem(directory: str, *, allow_system: bool) -> str | None:
    """Say why a slave may not be allowed to write below a directory, or None.

    Args:
        directory: absolute, without "." and ".." and empty segments.
        allow_system: the configuration's.
    """
    if allow_system:
        return None
    if directory == "/":
        what = "it is the whole system; name the directories that targets are in, such as /srv"
    elif directory == "/root":
        what = "it contains the files of the administrator; name one below it"
    elif owner := _owner(directory):
        what = "it is a directory of the system" if owner == directory else f"it is in {owner}, which is the system's"
    else:
        return None
    return f"{paths.quote(directory)} cannot be allowed: {what}; allow_system = true lifts this"


def _owner(directory: str) -> str | None:
    """The directory of the system that one is or lies in, or None."""
    if paths.is_within(directory, _NOT_OWNED):
        return None
    return next((owned for owned in _OWNED if paths.is_within(directory, owned)), None)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may do to its destination.

    Attributes:
        max_delete: more deletions are refused.
        force: `--force-delete` was given: neither the number of deletions nor an empty source stops the run.
        below: the only directory that takes part; empty for all.
    """

    max_delete: MaxDelete
    force: bool = False
    below: str = ""


def check_plan(plan: Plan, limits: Limits) -> None:
    """Refuse a plan that would harm the destination; touch nothing.

    Raises:
        Refused: with the numbers, the limit and the option that lifts it.
    """
    if plan.spared:
        _check_carried(plan)
    if limits.force:
        return
    if not plan.source_files and limits.below and not plan.rejected:
        raise Refused(
            f"the source has no files in {paths.quote(limits.below)}",
            hint="check the name after --below; --force-delete empties that directory of the destination on purpose",
        )
    if not plan.source_files:
        raise Refused(
            "the source contains no files" if not plan.rejected else "no file of the source is accepted",
            hint="check the path and the rules of the entry; --force-delete empties the destination on purpose",
            reasons={rejection.path: rejection.reason for rejection in plan.rejected},
        )
    # Of what the destination holds now, not of what it would hold: a shrinking source must not shrink the base.
    if not limits.max_delete.allows(plan.deletions, of=plan.target_files):
        raise Refused(
            f"{plan.deletions:,} of {plan.target_files:,} files would be deleted, "
            f"and max_delete allows {limits.max_delete}",
            hint="--force-delete to delete them",
            paths=tuple(item.path for item in plan.extras if item.kind is not Kind.DIR),
        )
    _check_others(plan)


def _check_others(plan: Plan) -> None:
    """Refuse what would take files from others: other places of s32s below this one, and a folder that people share."""
    inner = f"/{paths.RESERVED}/"
    nested = sorted({item.path.partition(inner)[0] for item in plan.extras if inner in f"{item.path}/"})
    if nested:
        raise Refused(
            f"{paths.some(nested)} would be deleted, and s32s keeps other files there",
            hint="choose a place beside, or --force-delete to delete them",
            paths=tuple(nested),
        )
    theirs = [item for item in (*plan.extras, *(put.old for put in plan.modified if put.old)) if item.changed]
    ours = itertools.chain((put.item for put in plan.puts), plan.unchanged.sources())
    if theirs and not any(item.changed for item in ours):
        who = paths.some(sorted({changed_by(item)[0] for item in theirs}))
        raise Refused(
            f"people share this prefix, and {len(theirs):,} of their files would be deleted or replaced for good "
            f"(last changed by {who})",
            hint="share it with s32s peer, or --force-delete to take it over",
            paths=tuple(item.path for item in theirs),
        )


def check_merge(made: Merge, limits: Limits) -> None:
    """Refuse a merge that would empty or decimate one of its sides; touch nothing.

    A file that one side has moved is not a deletion for the other.

    Raises:
        Refused: with the numbers, the limit and the option that lifts it.
    """
    if limits.force:
        return
    for steps, taker, giver, where, other in (
        (made.uploads, made.theirs, made.mine, "on S3", "this folder"),
        (made.downloads, made.mine, made.theirs, "in this folder", "S3"),
    ):
        moved = {step.new.sha256 for step in steps if step.new is not None and step.new.sha256}
        deleted = [
            step.old
            for step in steps
            if step.new is None
            and step.old is not None
            and step.old.kind is not Kind.DIR
            and step.old.sha256 not in moved
        ]
        if len(deleted) > 1 and not giver.files:
            raise Refused(
                f"{other} contains no files any more, and {len(deleted):,} would be deleted {where}",
                hint="check whether its disk is mounted; --force-delete deletes them on purpose",
                paths=tuple(item.path for item in deleted),
            )
        if not limits.max_delete.allows(len(deleted), of=taker.files):
            raise Refused(
                f"{len(deleted):,} of {taker.files:,} files would be deleted {where}, "
                f"and max_delete allows {limits.max_delete}",
                hint="--force-delete to delete them",
                paths=tuple(item.path for item in deleted),
            )


def _check_carried(plan: Plan) -> None:
    """Refuse what would stand on or below an ignored path that stays: no file system could hold the result."""
    some = [*(put.item for put in plan.puts), *plan.spared]
    stays = [*(item.path for item in some), *plan.unchanged.paths()]
    dirs = {item.path for item in some if item.kind is Kind.DIR}
    dirs.update(keep.source.path for keep in plan.unchanged.directories())
    above = {directory for path in stays for directory in paths.ancestors(path)}
    clashes = sorted({path for path in stays if path in above and path not in dirs})
    if clashes:
        raise Refused(
            f"{paths.some(clashes)} would be a file and a directory at once: the source has one of them, "
            "and ignored files of the destination the other",
            hint="remove it from the destination by hand, or change the rules of ignore",
            paths=tuple(clashes),
        )


def check_shape(tree: Tree, *, what: str) -> None:
    """Refuse a tree in which a file or link has something below it, as no file system can hold it.

    Raises:
        Refused: names the paths; `what` says whose tree it is.
    """
    above: set[str] = set()
    last = ""
    for path in tree.paths:
        directory = paths.parent(path)
        if directory != last:
            last = directory
            while directory and directory not in above:
                above.add(directory)
                directory = paths.parent(directory)
    clashes = sorted(path for path in above if (row := tree.find(path)) is not None and tree.kind(row) is not Kind.DIR)
    if clashes:
        raise Refused(
            f"{what} contains {paths.some(clashes)} both as a file and as a directory",
            hint="rename or remove one of the two",
            paths=tuple(clashes),
        )


def check_links(tree: Tree, *, what: str, root: str = "", allow: Sequence[str] = ()) -> None:
    """Refuse symbolic links that point out of the tree, but for those that may.

    Args:
        root: absolute path of the directory that the tree is to be in.
        allow: directories that links may point to, or into. Their paths are compared as they are written, and no link
            on the way is followed.

    Raises:
        Refused: names each link and where it points.
    """
    leaving = [
        (item.path, item.target or "")
        for item in tree.of_kind(Kind.LINK)
        if leaves(item) and not any(paths.is_within(_led_to(item, root), one) for one in allow)
    ]
    if leaving:
        shown = ", ".join(f"{paths.quote(path)} -> {paths.quote(target)}" for path, target in leaving[:5])
        rest = f" and {len(leaving) - 5:,} more" if len(leaving) > 5 else ""
        raise Refused(
            f"{what} contains symbolic links that point out of the tree: {shown}{rest}",
            hint="make them relative and inside the tree, or ignore them; allow_links in the configuration takes some",
            paths=tuple(path for path, _ in leaving),
        )


def leaving(links: Mapping[str, str]) -> list[str]:
    """Those of some links, from their paths to their targets, that point out of their tree."""
    return [path for path, target in links.items() if leaves(Item(path, Kind.LINK, target=target))]


def _led_to(link: Item, root: str) -> str:
    """Where a link points, by its text alone."""
    target = link.target or ""
    whole = target if target.startswith("/") else f"{root}/{paths.parent(link.path)}/{target}"
    parts: list[str] = []
    for part in whole.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def leaves(link: Item) -> bool:
    """Tell whether a symbolic link points out of its tree, or may do so.

    Only leading `..` segments are judged by counting. One behind a name (`dir/../x`) is taken as leaving: `dir` may be
    a link itself, and the kernel follows that before it goes up.
    """
    target = link.target or ""
    if not target or target.startswith("/") or "\0" in target:
        return True
    depth = link.path.count("/")
    named = False
    for segment in target.split("/"):
        if segment in ("", "."):
            continue
        if segment != "..":
            named = True
        elif named:
            return True
        else:
            depth -= 1
            if depth < 0:
                return True
    return False
