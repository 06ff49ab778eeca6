"""What is a machine's own affair, and stays when a slave's directory is rebuilt: ACLs, labels, owners, setgid bits.

A directory that is staged becomes like the old one of its path at once, so that what is made in it inherits from it
as it would have in the old one. A file that is staged over an old one gets its ACL and its label. The mode comes last,
as the master has recorded it; where there is an ACL its group bits are the mask (acl(5)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from s32s.core import paths
from s32s.stores.local.walk import DirectoryListing
from s32s.system import directories

_DEFAULT_ACL = "system.posix_acl_default"
_ACLS = frozenset(["system.posix_acl_access", _DEFAULT_ACL])
#: Power that the bytes were given (capabilities(7)), and what IMA and EVM have measured or signed: of other bytes none
#: of it is true.
_OF_THE_BYTES = frozenset(["security.capability", "security.ima", "security.evm"])
#: What a user may not set, or a file system does not keep.
_NOT_HERE = frozenset([errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL])


class Likeness:
    """Makes staged directories and files like those of the old tree.

    Args:
        old: descriptor of the old tree, or -1 when there is none.
        tree: descriptor of the staged one.
        found: what the old one holds.
    """

    def __init__(self, old: int, tree: int, found: DirectoryListing) -> None:
        self._old = old
        self._tree = tree
        self._found = found
        self._special: dict[str, int] = {}  # of the staged directories that have such bits
        self._inherits = False  # whether a staged directory may give an ACL to what is made in it
        self._opened = "", -1  # the old directory of the last file

    def close(self) -> None:
        """Close what is open."""
        if self._opened[1] >= 0:
            os.close(self._opened[1])
        self._opened = "", -1

    def special(self, path: str) -> int:
        """Setuid, setgid and sticky bits of a staged directory."""
        return self._special.get(path, 0)

    def gives_group(self, path: str) -> bool:
        """Whether what is made in a staged directory gets its group: mkdir(2), setgid."""
        return bool(self.special(path) & stat.S_ISGID)

    def dress(self, path: str) -> None:
        """Let a directory that was just made be like the old one of its path, but for the mode: private to the end.

        Raises:
            OSError: an ACL cannot be kept.
        """
        try:
            fd = directories.open_below(self._old, path) if self._old >= 0 else -1
        except OSError:  # there is none, or it is not a directory
            fd = -1
        if fd < 0:
            if path and self.gives_group(paths.parent(path)):
                self._special[path] = stat.S_ISGID
            return
        name = path or "."
        try:
            status, new = os.fstat(fd), os.stat(name, dir_fd=self._tree, follow_symlinks=False)
            if (status.st_uid, status.st_gid) != (new.st_uid, new.st_gid):
                with contextlib.suppress(PermissionError):
                    os.chown(name, status.st_uid, status.st_gid, dir_fd=self._tree, follow_symlinks=False)
            kept = copy(f"/proc/self/fd/{fd}/.", f"/proc/self/fd/{self._tree}/{name}", inherited=True)
            self._inherits = self._inherits or _DEFAULT_ACL in kept
            special = stat.S_IMODE(status.st_mode) & ~0o777
            if special:
                self._special[path] = special
            if special or kept:
                os.chmod(name, 0o700 | special, dir_fd=self._tree)
        finally:
            os.close(fd)

    def keep(self, path: str) -> None:
        """Let a staged file have the ACL and the label of the old file of its path; quickest in path order.

        Raises:
            OSError: an ACL cannot be kept.
        """
        row = self._found.find(path) if self._old >= 0 else None
        if row is None or not self._found.is_file(row):
            return
        directory, _, name = path.rpartition("/")
        if self._opened[1] < 0 or self._opened[0] != directory:
            self.close()
            with contextlib.suppress(OSError):
                self._opened = directory, directories.open_below(self._old, directory)
        if self._opened[1] >= 0:
            copy(
                f"/proc/self/fd/{self._opened[1]}/{name}",
                f"/proc/self/fd/{self._tree}/{path}",
                inherited=self._inherits,
            )


def copy(source: str, target: str, *, inherited: bool) -> frozenset[str]:
    """Give a file or directory the extended attributes of another one (xattr(7)), but for what is true of bytes alone.

    An ACL must be the same, or the group bits of the mode, which are its mask, would become the group's own right. What
    else this user may not set stays behind.

    Args:
        source: path by way of a descriptor, `/proc/self/fd/N/NAME`; its last component is not followed.
        target: the same.
        inherited: whether it may have an ACL of its directory, which then has to go.

    Returns:
        Those that are there and are ACLs; they change the mode.

    Raises:
        OSError: an ACL cannot be set, or there is no room.
    """
    names = _names(source)
    if inherited:
        for name in _ACLS.intersection(_names(target)).difference(names):
            os.removexattr(target, name, follow_symlinks=False)
    for name in names:
        if name in _OF_THE_BYTES:
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
        except OSError as exc:
            if exc.errno != errno.ENODATA and (name in _ACLS or exc.errno not in _NOT_HERE):
                raise
    return _ACLS.intersection(names)


def _names(path: str) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as exc:
        if exc.errno in (errno.ENOTSUP, errno.ENOENT):
            return []
        raise
