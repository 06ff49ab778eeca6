"""A folder that people work in while it is changed: what is theirs stays, what was there is in the trash."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s32s.backends.base import Backend, Chunk, PutResult
from s32s.core.errors import IntegrityError, Locked, Refused, SourceChanged
from s32s.core.item import Item, Kind
from s32s.core.merge import Copy, Step
from s32s.core.rules import EVERYTHING
from s32s.stores.base import Progress
from s32s.stores.local.folder import Folder, open_folder
from s32s.stores.local.source import walk_source
from s32s.stores.local.walk import DirectoryListing
from s32s.system import atomic, directories


class Bytes:
    """A body in memory."""

    def __init__(self, path: str, data: bytes, **facts: object) -> None:
        self.item = Item(path, size=len(data), mtime_ns=1_700_000_000_000_000_000, mode=0o640)._replace(**facts)
        self._data = data

    def chunks(self) -> Iterator[Chunk]:
        """See `stores.base.Body`."""
        yield self._data

    def copy_to(self, target: Backend, progress: Progress) -> PutResult | None:
        """See `stores.base.Body`."""
        return None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two files."""
    made = tmp_path / "team"
    (made / "d").mkdir(parents=True)
    (made / "a.txt").write_text("mine")
    (made / "d/b.txt").write_text("b")
    return made


@pytest.fixture
def folder(root: Path) -> Iterator[Folder]:
    """It, open for a run."""
    with open_folder(str(root), writable=True) as opened:
        yield opened


def look(root: Path) -> DirectoryListing:
    """What is there now."""
    fd = directories.open_dir(str(root))
    try:
        return walk_source(fd, EVERYTHING.sparing_own())
    finally:
        os.close(fd)


def replaced(path: str, data: bytes, listing: DirectoryListing) -> tuple[Bytes, Step]:
    """A body, and the step that brings it over what was found."""
    body = Bytes(path, data)
    found = listing.get(path)
    return body, Step(path, body.item, found.item if found else None)


def trashed(root: Path) -> dict[str, str]:
    """What is in the trash."""
    place = root / ".s32s/trash"
    return {
        str(file.relative_to(place)).split("/", 1)[1]: file.read_text() for file in place.rglob("*") if file.is_file()
    }


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_new_file_takes_its_place_and_the_old_one_is_in_the_trash(
    root: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    """With time and mode; also on a file system that cannot exchange two names."""

    def cannot(*names: object) -> None:
        raise OSError(errno.EINVAL, "no exchange")

    if not can_exchange:
        monkeypatch.setattr(atomic, "exchange", cannot)
    listing = look(root)
    body, step = replaced("a.txt", b"theirs", listing)
    folder.stage(body, lambda size: None)

    assert [done.path for done in folder.apply([step], listing)] == ["a.txt"]

    status = (root / "a.txt").stat()
    assert (root / "a.txt").read_text() == "theirs"
    assert (status.st_mtime, status.st_mode & 0o777) == (1_700_000_000, 0o640)
    assert trashed(root) == {"a.txt": "mine"}
    assert folder.told == []


@pytest.mark.parametrize("what", ["modified", "replaced", "deleted", "a directory"])
def test_what_somebody_changes_meanwhile_stays(root: Path, folder: Folder, what: str) -> None:
    """And is told: the next run decides."""
    listing = look(root)
    body, step = replaced("a.txt", b"theirs", listing)
    folder.stage(body, lambda size: None)
    time.sleep(0.02)
    file = root / "a.txt"
    if what == "modified":
        file.write_text("mine again")
    else:
        file.unlink()
    if what == "replaced":
        file.write_text("MINE")
    if what == "a directory":
        file.mkdir()
        (file / "x").write_text("x")

    assert list(folder.apply([step], listing)) == []

    assert folder.told == ["a.txt"]
    assert trashed(root) == {}
    assert {"modified": "mine again", "replaced": "MINE"}.get(what) == (file.read_text() if file.is_file() else None)


def test_what_has_come_meanwhile_is_not_replaced(root: Path, folder: Folder) -> None:
    """Nobody had seen it."""
    listing = look(root)
    body = Bytes("new.txt", b"theirs")
    folder.stage(body, lambda size: None)
    (root / "new.txt").write_text("mine")

    assert list(folder.apply([Step("new.txt", body.item, None)], listing)) == []

    assert (root / "new.txt").read_text() == "mine"
    assert folder.told == ["new.txt"]


def test_a_deletion_takes_only_what_was_seen(root: Path, folder: Folder) -> None:
    """A directory goes when it is empty, and a file that was changed does not go."""
    listing = look(root)
    steps = [Step(path, None, found.item) for path in ("a.txt", "d", "d/b.txt") if (found := listing.get(path))]
    time.sleep(0.02)
    (root / "a.txt").write_text("mine again")
    (root / "d/new.txt").write_text("n")

    assert [step.path for step in folder.apply(steps, listing)] == ["d/b.txt"]

    assert trashed(root) == {"d/b.txt": "b"}
    assert (root / "a.txt").read_text() == "mine again"
    assert (root / "d/new.txt").exists()
    assert folder.told == ["a.txt"]


def test_kinds_change_places(root: Path, folder: Folder) -> None:
    """A file becomes a directory, and a directory a file."""
    listing = look(root)
    inside, file = Bytes("a.txt/x", b"x"), Bytes("d", b"now a file")
    folder.stage(inside, lambda size: None)
    folder.stage(file, lambda size: None)
    found = {path: entry.item for path in ("a.txt", "d", "d/b.txt") if (entry := listing.get(path))}
    steps = [
        Step("a.txt", Item("a.txt", Kind.DIR, mode=0o750), found["a.txt"]),
        Step("a.txt/x", inside.item, None),
        Step("d", file.item, found["d"]),
        Step("d/b.txt", None, found["d/b.txt"]),
    ]

    assert {step.path for step in folder.apply(steps, listing)} == {"a.txt", "a.txt/x", "d", "d/b.txt"}

    assert (root / "a.txt/x").read_text() == "x"
    assert (root / "a.txt").stat().st_mode & 0o777 == 0o750
    assert (root / "d").read_text() == "now a file"
    assert trashed(root) == {"a.txt": "mine", "d/b.txt": "b"}


def test_wrong_bytes_never_come_to_their_place(root: Path, folder: Folder) -> None:
    """Neither too many nor others."""
    with pytest.raises(IntegrityError):
        folder.stage(Bytes("new.txt", b"theirs", sha256="0" * 64), lambda size: None)
    with pytest.raises(IntegrityError):
        folder.stage(Bytes("new.txt", b"theirs", size=3), lambda size: None)
    assert not (root / "new.txt").exists()


def test_half_a_file_is_never_taken_for_one(root: Path, folder: Folder) -> None:
    """What broke off on its way is not there for a later step of the same path, which needs no bytes."""

    class Broken(Bytes):
        def chunks(self) -> Iterator[Chunk]:
            yield b"th"
            raise SourceChanged("it was replaced")

    listing = look(root)
    (found,) = [entry.item for path in ("a.txt",) if (entry := listing.get(path))]
    with pytest.raises(SourceChanged):
        folder.stage(Broken("a.txt", b"theirs"), lambda size: None)
    old = found._replace(sha256="a" * 64)

    assert [step.path for step in folder.apply([Step("a.txt", old._replace(mode=0o600), old)], listing)] == ["a.txt"]

    assert (root / "a.txt").read_text() == "mine"
    assert (root / "a.txt").stat().st_mode & 0o777 == 0o600
    assert trashed(root) == {}


def test_ours_of_a_conflict_gets_its_other_name(root: Path, folder: Folder) -> None:
    """A directory with all that is in it."""
    listing = look(root)
    items = {path: entry.item for path in ("d", "d/b.txt") if (entry := listing.get(path))}

    folder.rename([Copy(items["d"], "d (conflict)"), Copy(items["d/b.txt"], "d (conflict)/b.txt")])

    assert (root / "d (conflict)/b.txt").read_text() == "b"
    assert not (root / "d").exists()


def test_the_trash_forgets_after_its_time(root: Path, folder: Folder) -> None:
    """By the time in the name of the run, and nothing else is touched."""
    listing = look(root)
    (item,) = [entry.item for path in ("a.txt",) if (entry := listing.get(path))]
    list(folder.apply([Step("a.txt", None, item)], listing))
    (run,) = (root / ".s32s/trash").iterdir()
    run.rename(run.with_name(f"20200101T000000Z-{run.name[-8:]}"))
    (root / ".s32s/trash/something of mine").mkdir()

    assert [one.path for one in folder.trash.found()] == ["a.txt"]
    assert folder.trash.empty(older_s=86400) == 1
    assert folder.trash.found() == []
    assert (root / ".s32s/trash/something of mine").is_dir()


def test_one_run_at_a_time(root: Path, folder: Folder) -> None:
    """A second one is told who is at it; what a dead one has left goes."""
    assert folder.root == str(root)
    with pytest.raises(Locked), open_folder(str(root), writable=True):
        pytest.fail("it is locked")


def test_a_link_at_its_place_is_refused(root: Path, tmp_path: Path) -> None:
    """Neither the folder nor what s32s keeps in it may be somewhere else."""
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(Refused), open_folder(str(tmp_path / "link"), writable=True):
        pytest.fail("it is a link")
    (tmp_path / "other").mkdir()
    (root / ".s32s").symlink_to(tmp_path / "other")
    with pytest.raises(Refused), open_folder(str(root), writable=True):
        pytest.fail("it is a link")
    assert list((tmp_path / "other").iterdir()) == []
