"""Trees of files: make one, make a random one, give its files awkward names, and say exactly what lies in one.

A tree is described by a mapping from relative paths (`/` between segments) to what lies there: bytes for a file, a
`Link`, or None for an empty directory. Directories above an entry are implied.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple, NoReturn

import pytest

_GET_FLAGS = 0x80086601  # ioctl_iflags(2)
_SET_FLAGS = 0x40086602
_IMMUTABLE = 0x10


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link and the target written in it, which need not exist."""

    target: str


Spec = Mapping[str, bytes | Link | None]


class Entry(NamedTuple):
    """What `snapshot` says of one path; equal when nothing that replication promises differs."""

    kind: str
    """One of file, dir, link, other."""
    mode: int
    mtime_ns: int | None
    """Of files only: a directory's changes with every visit."""
    content: str | None
    """SHA-256 of a file, target of a link."""


def snapshot(root: Path) -> dict[str, Entry]:
    """Describe everything below `root`, which is not described itself; follow no link.

    Names that are not UTF-8 come back as `os.fsdecode` gives them.

    Raises:
        OSError: what cannot be read is never left out silently.
    """
    found: dict[str, Entry] = {}
    top = os.fsencode(root)
    for directory, subdirectories, files in os.walk(top, onerror=_raise, followlinks=False):
        for name in subdirectories + files:
            path = os.path.join(directory, name)
            found[os.fsdecode(os.path.relpath(path, top))] = _entry(path)
    return found


def make_tree(root: Path, spec: Spec) -> None:
    """Write what `spec` describes below `root`, and `root` itself if need be."""
    root.mkdir(parents=True, exist_ok=True)
    for name, what in spec.items():
        path = root / name
        if what is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, Link):
            path.symlink_to(what.target)
        else:
            path.write_bytes(what)


def deep(root: Path, depth: int, *, files: int = 0, name: str = "d") -> None:
    """Make `root` and so many directories below one another in it, each with some files f0, f1 …

    It goes by descriptors, since such a path is longer than one system call takes.
    """
    root.mkdir(parents=True)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
        for number in range(files):
            os.close(os.open(f"f{number}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd))
    os.close(fd)


@contextlib.contextmanager
def fixed(path: Path) -> Iterator[None]:
    """Make a file immutable for a while, wherever it is moved meanwhile: chattr(1), by its descriptor."""
    with path.open() as file:
        try:
            _set_flags(file.fileno(), _get_flags(file.fileno()) | _IMMUTABLE)
        except OSError as exc:
            pytest.skip(f"this file system knows no immutable files: {exc.strerror}")
        try:
            yield
        finally:
            _set_flags(file.fileno(), _get_flags(file.fileno()) & ~_IMMUTABLE)


def _get_flags(fd: int) -> int:
    import fcntl  # of Linux alone

    return int(struct.unpack("l", fcntl.ioctl(fd, _GET_FLAGS, bytes(8)))[0])


def _set_flags(fd: int, flags: int) -> None:
    import fcntl

    fcntl.ioctl(fd, _SET_FLAGS, struct.pack("l", flags))


def random_tree(
    rng: Random,
    files: int,
    *,
    depth: int = 4,
    max_size: int = 2_000,
    links: int = 0,
    empty_directories: int = 0,
    awkward: bool = False,
) -> dict[str, bytes | Link | None]:
    """Return the description of a tree with exactly so many entries, the same for the same state of `rng`.

    With `awkward`, segments are drawn from the single names of `awkward_names` as well.
    """
    odd = [name for name in awkward_names() if "/" not in name] if awkward else []
    spec: dict[str, bytes | Link | None] = {}
    directories: set[str] = set()

    def free_path() -> str:
        while True:
            # A segment repeats often enough for directories to be shared; 255-byte names must not make a path too long.
            segments = [
                rng.choice(odd) if odd and rng.random() < 0.5 else f"{rng.choice('abcdef')}{rng.randrange(3 + files)}"
                for _ in range(rng.randint(1, depth))
            ]
            path = "/".join(segments)
            above = {"/".join(segments[:count]) for count in range(1, len(segments))}
            fits = len(path.encode()) <= 900 and path not in spec and path not in directories
            if fits and not any(name in spec for name in above):
                directories.update(above)
                return path

    for _ in range(files):
        # Empty files and files of one byte are where most mistakes live.
        size = rng.choice((0, 1, rng.randint(0, max_size)))
        spec[free_path()] = rng.randbytes(size)
    for _ in range(links):
        spec[free_path()] = Link(rng.choice(("/etc/passwd", "../outside", "nowhere", *list(spec)[:1])))
    for _ in range(empty_directories):
        spec[free_path()] = None
    return spec


def awkward_names() -> list[str]:
    """Return relative paths that ext4 holds side by side, UTF-8, without control characters, and that trip programs.

    No path is longer than the 1,024 bytes of an S3 key, and none lies below another.
    """
    single = [
        # Blanks, at every place where something could strip them.
        " ",
        "   ",
        " leading blank",
        "trailing blank ",
        "two  blanks",
        "\u00a0no-break space\u00a0",
        "\u3000ideographic space",
        "line\u2028separator",
        # Dots. ext4 reserves only "." and "..".
        "...",
        "....",
        ". ",
        " .",
        ".hidden",
        "..two leading",
        "trailing dot.",
        "trailing dots..",
        "dot. blank ",
        # Percent signs: decoded once too often or once too seldom, these become other names.
        "%",
        "%%",
        "%2",
        "%2F",
        "%2f",
        "%252F",
        "%00",
        "%20",
        "%2e%2e",
        "%2E",
        "%25",
        "%zz",
        "100%",
        "%E4",
        # What URLs, queries and forms give a meaning to.
        "#",
        "a#fragment",
        "?",
        "a?b=c&d=e",
        "&",
        "&amp;",
        "+",
        "a+b",
        "a b",
        "=",
        ";",
        "a;b",
        ":",
        "C:",
        "http:",
        "@",
        ",",
        "!",
        "$",
        "(a)",
        "~",
        "~root",
        "a~",
        "^",
        "|",
        # What XML, JSON, shells, globs and command lines give a meaning to.
        "<tag>",
        "]]>",
        '"',
        '"quoted"',
        "'",
        "it's",
        "`id`",
        "$(id)",
        "$HOME",
        "\\",
        "a\\b",
        "..\\up",
        "back-slash n \\n",
        "*",
        "a*",
        "[x]",
        "[!x]",
        "[",
        "{y}",
        "{a,b}",
        "**",
        "-",
        "--",
        "-rf",
        "--delete",
        "-n 1",
        "NUL",
        "con.txt",
        "null",
        "None",
        "true",
        # Letters: case and normalisation twins, and what does not fit into one UTF-16 unit.
        "README",
        "readme",
        "\u00e9t\u00e9",
        "e\u0301te\u0301",
        "\u212bngstr\u00f6m",
        "\u00c5ngstr\u00f6m",
        "A\u030angstro\u0308m",
        "stra\u00dfe",
        "STRASSE",
        "\u0130stanbul",
        "\ufb01ligature",
        "\U0001f600",
        "\U0001f469\u200d\U0001f4bb",
        "\U0001f1e9\U0001f1ea",
        "\U0010fffd",
        "\uffee before \U0001f600 in UTF-8, behind it in UTF-16",
        "\u6f22\u5b57",
        "\u304b\u3099",
        "\u304c",
        "\ud55c\uae00",
        "\u05e2\u05d1\u05e8\u05d9\u05ea",
        "\u0627\u0644\u0639\u0631\u0628\u064a\u0629.txt",
        "gnp.\u202egpj",
        "zero\u200bwidth",
        "\ufeffmark",
        "\ufffd",
        # Full-width twins of "..", "/" and "\": some backends write these for the ASCII characters.
        "\uff0e\uff0e",
        "\uff0f",
        "\uff3c",
        "\u201bquote",
        # NAME_MAX is 255 bytes, not characters.
        "n" * 255,
        "\u00fc" * 127 + "u",
        "\U0001f600" * 63 + "abc",
    ]
    nested = [
        "down/ / blank",
        "down/.../dots",
        "down/%2F/percent",
        "down/a?b/query",
        "down/#/fragment",
        "down/-rf/*",
        "down/\\/back-slash",
        "down/trailing blank /trailing dot./x",
        "down/\u6f22\u5b57/\U0001f600/\u05e2",
        "down/e\u0301/nfd",
        "down/\u00e9/nfc",
        "down/[x]/{y}",
        "sorted/a.b",
        "sorted/a/b",
        "sorted/a-b",
        "sorted/a0",
        "d" * 255 + "/" + "e" * 255 + "/" + "f" * 255 + "/" + "g" * 255,
    ]
    return single + nested


def _entry(path: bytes) -> Entry:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return Entry("file", mode, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())
    if stat.S_ISLNK(status.st_mode):
        return Entry("link", mode, None, os.fsdecode(os.readlink(path)))
    return Entry("dir" if stat.S_ISDIR(status.st_mode) else "other", mode, None, None)


def _raise(error: OSError) -> NoReturn:
    raise error
