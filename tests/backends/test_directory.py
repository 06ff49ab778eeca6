"""A directory as bytes by key, such as one on a NAS."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from s32s.backends.base import CREATE, Backend, Replace
from s32s.backends.directory import DirectoryBackend
from s32s.core.errors import BucketMissing, PreconditionFailed, StoreError
from s32s.testing import BackendContract, content, listed, put


class TestDirectory(BackendContract):
    """The contract."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        """A prefix that nobody has made yet."""
        return DirectoryBackend(str(tmp_path), "place/ä")


@pytest.fixture
def place(tmp_path: Path) -> DirectoryBackend:
    """All of a directory."""
    return DirectoryBackend(str(tmp_path))


def test_of_many_who_claim_one_wins(place: DirectoryBackend) -> None:
    """However close together."""
    etag = put(place, "head", b"0", CREATE)
    told: list[str] = []
    together = threading.Barrier(8)

    def claim(number: int) -> None:
        together.wait()
        try:
            put(place, "head", b"%d" % number, Replace(etag))
        except PreconditionFailed:
            told.append("lost")
        else:
            told.append("won")

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == ["lost"] * 7 + ["won"]


def test_no_two_writes_have_the_same_etag(place: DirectoryBackend) -> None:
    """Also of the same bytes at the same moment."""
    assert len({put(place, "k", b"same") for _ in range(200)}) == 200


def test_directories_come_and_go_with_their_objects(place: DirectoryBackend, tmp_path: Path) -> None:
    """And nothing of an unfinished write is ever listed."""
    put(place, "a/b/c", b"1")
    (tmp_path / ".s32s-new-0123").write_text("half")

    assert listed(place) == {"a/b/c": 1}
    place.delete(["a/b/c"])

    assert not (tmp_path / "a").exists()
    assert listed(place) == {}


def test_a_directory_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    """As when its disk is not mounted."""
    gone = DirectoryBackend(str(tmp_path / "nas"), "team")
    with pytest.raises(BucketMissing, match="check whether its disk is mounted"):
        listed(gone)
    with pytest.raises(BucketMissing):
        put(gone, "k", b"x")
    assert not (tmp_path / "nas").exists()


def test_what_is_neither_file_nor_directory_is_named(place: DirectoryBackend, tmp_path: Path) -> None:
    """A link may lead anywhere."""
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(StoreError, match="link is neither a file nor a directory"):
        listed(place)


def test_a_copy_is_of_what_was_listed(place: DirectoryBackend) -> None:
    """From one place to another, too."""
    etag = put(place, "k", b"bytes")
    moved: list[int] = []
    place.copy(place, "k", ".s32s/deleted/1", size=5, etag=etag, progress=moved.append)

    assert content(place, ".s32s/deleted/1") == b"bytes"
    assert moved == [5]
