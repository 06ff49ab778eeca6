"""Earlier trees of a target, kept where its staging is: a way back without S3.

    .s32s-kept-<digest of the target's name>/
        00000007/
            facts.json       which generation it was, and when it was replaced
            tree             all that it held, in columns
            files/<sha256>   what the tree after it does not hold

A file that is replaced or deleted gets a second name in the record of its tree, a hard link, just before the change; so
an earlier tree takes no room but for what is not live any more. Its other files are live, or in a later record. What a
program writes into a live file shows in no other one only where it replaces the file, as is usual; therefore nothing
here is believed: each file is read and compared with its SHA-256 before it comes back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from s32s.core import paths, tree
from s32s.core.errors import IntegrityError, Refused
from s32s.core.item import Kind
from s32s.core.text import tree_words
from s32s.core.tree import Tree
from s32s.format import parts
from s32s.stores.local.holding import Holder, open_holder
from s32s.stores.local.outer import kept_name
from s32s.stores.local.walk import open_file
from s32s.system import directories, file_bytes

_FACTS, _FILES = "facts.json", "files"
#: With the version of the columns and their order of bytes; a tree of another one is not known.
_TREE = f"tree.1-{sys.byteorder}"
#: Bytes that a tree may be: of some million paths.
_MOST = 2 * 1024**3
#: A record that is not whole yet.
_UNFINISHED = ".new"
_DIGITS = 8


class KeptTree(NamedTuple):
    """An earlier tree.

    Attributes:
        number: of its record; a later tree has a higher one.
        generation: that the target followed then; 0 where there was none.
        until_s: when it was replaced, in seconds since the epoch.
        files, size: files and links, and bytes.
        sha256: of the file with its tree.
    """

    number: int
    generation: int
    until_s: float
    files: int
    size: int
    sha256: str


class KeptTrees:
    """The earlier trees of a target that is open.

    Args:
        fd: descriptor of their directory; stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def found(self) -> list[KeptTree]:
        """All records of trees that can be read, the oldest first."""
        records = (self._read(name) for name in sorted(os.listdir(self._fd)) if _is_record(name))
        return [record for record in records if record is not None]

    def tree(self, record: KeptTree) -> Tree:
        """All that an earlier tree held.

        Raises:
            IntegrityError: its record is damaged.
        """
        with self._open(record.number) as fd:
            data = _read_file(fd, _TREE)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise IntegrityError(
                f"the list of what {tree_words(record.generation)} held here is damaged",
                hint="s32s sync brings what S3 has",
            )
        found = tree.of_parts(parts.unpacked(data, most=_MOST))
        return found.patched([item.path for item in found.of_kind(Kind.OTHER)], ())

    def contents(self) -> dict[str, int]:
        """All files that are kept: by SHA-256, the number of a record that has it."""
        held: dict[str, int] = {}
        for record in self.found():
            with self.files(record) as files:
                held |= dict.fromkeys(os.listdir(files), record.number)
        return held

    def hand_over(self, given: KeptTree, to: KeptTree, wanted: Iterable[str]) -> None:
        """Let one record have files of another one, which is about to go.

        Args:
            wanted: SHA-256 of each.
        """
        with self.files(given) as files, self.files(to) as others:
            for sha256 in wanted:
                os.rename(sha256, sha256, src_dir_fd=files, dst_dir_fd=others)

    def size_of(self, number: int, sha256: str) -> int:
        """How many bytes a file of a record has by now; -1 where it is none any more."""
        status = os.stat(_file(number, sha256), dir_fd=self._fd, follow_symlinks=False)
        return status.st_size if stat.S_ISREG(status.st_mode) else -1

    def open_file(self, number: int, sha256: str) -> int:
        """A descriptor of a file of a record, for reading."""
        return os.open(_file(number, sha256), file_bytes.OPEN_FILE, dir_fd=self._fd)

    def add(self, generation: int, held: Tree) -> tuple[KeptTree, bool]:
        """Begin the record of a tree; return it, and whether it is new: the newest record may be of the very tree."""
        data = parts.packed(held.to_parts(range(len(held))))
        sha256, known = hashlib.sha256(data).hexdigest(), self.found()
        if known and known[-1].sha256 == sha256:
            return known[-1], False
        number = known[-1].number + 1 if known else 1
        record = KeptTree(number, generation, time.time(), held.files, held.size, sha256)
        name = _name(number)
        with contextlib.suppress(FileNotFoundError):
            directories.remove_tree(self._fd, name + _UNFINISHED)
        os.mkdir(name + _UNFINISHED, 0o700, dir_fd=self._fd)
        with directories.directory(self._fd, name + _UNFINISHED) as fd:
            os.mkdir(_FILES, 0o700, dir_fd=fd)
            _write_file(fd, _TREE, data)
            _write_file(fd, _FACTS, json.dumps(record._asdict()).encode())
            os.fsync(fd)
        os.rename(name + _UNFINISHED, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        return record, True

    @contextlib.contextmanager
    def files(self, record: KeptTree) -> Iterator[int]:
        """The directory of a record's files."""
        with self._open(record.number) as fd, directories.directory(fd, _FILES) as files:
            yield files

    def taken(self, record: KeptTree) -> int:
        """How many bytes of the disk a record takes alone."""
        with self.files(record) as files, os.scandir(files) as entries:
            there = [entry.stat(follow_symlinks=False) for entry in entries]
        return sum(status.st_blocks * 512 for status in there if status.st_nlink == 1)

    def drop(self, record: KeptTree) -> None:
        """Remove a record. No earlier one may need it; see `groups`.

        Raises:
            OSError: something could not be removed; it names the first.
        """
        # Renamed first, so that what a kill leaves behind is not taken for a whole one.
        name = _name(record.number)
        os.rename(name, name + _UNFINISHED, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        directories.remove_tree(self._fd, name + _UNFINISHED)

    def tidy(self) -> None:
        """Remove what a killed run has left."""
        for name in os.listdir(self._fd):
            if name.endswith(_UNFINISHED) and _is_record(name.removesuffix(_UNFINISHED)):
                directories.remove_tree(self._fd, name)

    def clear(self) -> None:
        """Remove every record, damaged ones too; what else is there is somebody else's."""
        for name in filter(_is_record, os.listdir(self._fd)):
            with directories.directory(self._fd, name) as fd:
                is_ours = all(inside in (_FACTS, _FILES) or inside.startswith("tree.") for inside in os.listdir(fd))
            if is_ours:
                directories.remove_tree(self._fd, name)

    @contextlib.contextmanager
    def _open(self, number: int) -> Iterator[int]:
        with directories.directory(self._fd, _name(number)) as fd:
            yield fd

    def _read(self, name: str) -> KeptTree | None:
        """A record by its name; None for one that is damaged."""
        try:
            with directories.directory(self._fd, name) as fd:
                facts = json.loads(_read_file(fd, _FACTS))
                os.stat(_TREE, dir_fd=fd)
            record = KeptTree(**facts)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        is_sound = all(isinstance(value, int) for value in (record.generation, record.files, record.size))
        is_sound = is_sound and isinstance(record.until_s, int | float) and isinstance(record.sha256, str)
        return record if is_sound and record.number == int(name) else None


@contextlib.contextmanager
def open_kept(holder: Holder, *, make: bool = False) -> Iterator[KeptTrees | None]:
    """The earlier trees of a target; None where there are none, and none are to be made.

    Raises:
        Refused: what is there was made by somebody else.
    """
    own = kept_name(holder.name)
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(own, 0o700, dir_fd=holder.parent)
    try:
        fd = directories.open_below(holder.parent, own)
    except FileNotFoundError:
        yield None
        return
    except PermissionError as exc:
        raise _not_ours(holder, "cannot be read by this user") from exc
    except OSError as exc:
        raise _not_ours(holder, "is not a directory") from exc
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            cure = f"if an earlier s32s made it as another user: chown -R {os.geteuid()}"
            raise _not_ours(holder, f"belongs to the user with the id {status.st_uid}", cure)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _not_ours(holder, "is open for others to write to", "if s32s made it: chmod go-w")
        yield KeptTrees(fd)
    finally:
        os.close(fd)


def kept_of(root: str, *, in_place: bool) -> list[KeptTree]:
    """The earlier trees of a target, the oldest first; one of each generation.

    Args:
        root: absolute path of the target.
        in_place: whether what belongs to it is in it.

    Raises:
        Refused: the way there cannot be gone, or somebody else has made what is there.
    """
    if not is_there(root, in_place=in_place):
        return []
    with (
        open_holder(root, in_place=in_place, writable=False) as holder,
        open_kept(holder) as trees,
    ):
        return [group[0] for group in groups(trees.found())] if trees is not None else []


def taken(root: str, *, in_place: bool) -> list[tuple[KeptTree, int]]:
    """The earlier trees of a target, the oldest first, and how many bytes of the disk each of them takes.

    Raises:
        Refused: see `kept_of`.
    """
    if not is_there(root, in_place=in_place):
        return []
    with (
        open_holder(root, in_place=in_place, writable=False) as holder,
        open_kept(holder) as trees,
    ):
        found = groups(trees.found()) if trees is not None else []
        return [(group[0], sum(trees.taken(one) for one in group)) for group in found] if trees is not None else []


def is_there(root: str, *, in_place: bool) -> bool:
    above, _, name = root.rpartition("/")
    return os.path.isdir(f"{root if in_place else above}/{kept_name(name)}")


def groups(records: Sequence[KeptTree]) -> list[list[KeptTree]]:
    """Records by the tree that they stand for, the oldest first.

    One generation may have several: a change file by file that was killed half-way, or a run that brings only a part,
    leaves a mixture behind, and the next run keeps that as well, as the tree before may need its files. The first is
    the generation as it was.
    """
    made: list[list[KeptTree]] = []
    for record in records:
        if made and record.generation and made[-1][0].generation == record.generation:
            made[-1].append(record)
        else:
            made.append([record])
    return made


def _is_record(name: str) -> bool:
    return len(name) == _DIGITS and name.isascii() and name.isdigit()


def _name(number: int) -> str:
    return f"{number:0{_DIGITS}}"


def _file(number: int, sha256: str) -> str:
    """The path of a file of a record. Nobody else can write there, so the way to it is gone in one step."""
    return f"{_name(number)}/{_FILES}/{sha256}"


def _read_file(fd: int, name: str) -> bytes:
    file = open_file(fd, name)
    try:
        return b"".join(file_bytes.read_chunks(file))
    finally:
        os.close(file)


def _write_file(fd: int, name: str, data: bytes) -> None:
    file = os.open(name, file_bytes.NEW_FILE, 0o600, dir_fd=fd)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    finally:
        os.close(file)


def place_of(holder: Holder) -> str:
    return f"{holder.where.rstrip('/')}/{kept_name(holder.name)}"


def _not_ours(holder: Holder, why: str, cure: str = "") -> Refused:
    """The error that what is there was made by somebody else.

    Args:
        cure: the words before its path in a command, where s32s may have made it all the same.
    """
    place = paths.escape(place_of(holder))
    return Refused(
        f"{place}, where earlier trees are kept, {why}, so it may not be s32s's own",
        hint=f"look into it, then move it away{f'; {cure} {place}' if cure else ''}",
    )
