"""This machine's memory: what it keeps, what it does not believe, and what it survives."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s32s.agent.cached_maps import CachedMaps
from s32s.agent.results import Result, facts_of
from s32s.agent.state import State
from s32s.config.settings import Directories
from s32s.core.errors import ConfigError, Locked
from s32s.stores.local.stat_cache import CachedHash, StatCache
from s32s.system.locks import digest

SECOND_NS = 1_000_000_000
NOW_NS = 1_700_000_000 * SECOND_NS
STAMP = (1, 2, 3, NOW_NS, NOW_NS)
SEEN = CachedHash(STAMP, NOW_NS + 10 * SECOND_NS, sha256="0" * 64, md5="1" * 32, etag="e-2")
RESULT = Result(time_s=1.5, ok=True, status=0, text="2 new", success_s=1.5, generation=7, listed_s=1.25, pending=True)

checked = settings(max_examples=100, deadline=None, print_blob=True)


@pytest.fixture
def places(tmp_path: Path) -> Directories:
    """State and cache that nobody has made yet."""
    return Directories(state=tmp_path / "state", cache=tmp_path / "cache")


@pytest.fixture
def state(places: Directories) -> Iterator[State]:
    """An open state."""
    opened = State.open(places)
    yield opened
    opened.close()


def everything_below(path: Path) -> list[str]:
    """Every path below a directory."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


# -- the index -------------------------------------------------------------------------------------------------------

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.none() | st.text(max_size=5)


def hashes(digits: int) -> st.SearchStrategy[str | None]:
    """Hashes of so many hexadecimal digits, or none."""
    return st.none() | st.text("0123456789abcdef", min_size=digits, max_size=digits)


ETAGS = TEXTS | hashes(32) | st.just("0" * 32)
ROWS = st.builds(
    CachedHash, stamp=st.tuples(*[INTEGERS] * 5), seen_ns=INTEGERS, sha256=hashes(64), md5=hashes(32), etag=ETAGS
)


@checked
@given(rows=st.dictionaries(st.text(max_size=8), ROWS, max_size=5))
def test_what_is_known_of_files_comes_back(
    rows: dict[str, CachedHash], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The index gives every row back as it was, also after the state was closed."""
    base = tmp_path_factory.mktemp("state")
    places = Directories(base / "state", base / "cache")
    first = State.open(places)
    first.save_stat_cache("/root", StatCache(rows.items()))
    first.close()

    again = State.open(places, writable=False)

    assert dict(again.stat_cache("/root").items()) == rows
    again.close()


def test_what_a_run_has_left_that_was_killed_while_it_wrote_is_read(places: Directories) -> None:
    """What was there before is there, as `status` shows it: only the transaction that was cut off is gone."""
    state = State.open(places)
    state.save_result("A", "slave", RESULT)
    state.close()
    script = (
        "import os, signal, sqlite3, sys; one = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "one.execute('PRAGMA cache_size = 1'); one.execute('BEGIN'); one.execute('DELETE FROM meta'); "
        "one.executemany('INSERT INTO page VALUES (?, ?, ?)', (('/x', n, bytes(9000)) for n in range(200))); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    database = places.state / "state.db"
    subprocess.run([sys.executable, "-c", script, str(database)], check=False)
    assert database.with_name("state.db-journal").exists()

    reader = State.open(places, writable=False)

    assert reader.result("A", "slave") == RESULT
    reader.close()


def test_an_index_is_replaced_as_a_whole(state: State) -> None:
    """Files that are gone are forgotten, and other roots keep theirs."""
    state.save_stat_cache("/a", StatCache([("x", SEEN), ("y", SEEN)]))
    state.save_stat_cache("/b", StatCache([("x", SEEN)]))

    state.save_stat_cache("/a", StatCache([("z", SEEN._replace(etag=None))]))

    assert dict(state.stat_cache("/a").items()) == {"z": SEEN._replace(etag=None)}
    assert dict(state.stat_cache("/b").items()) == {"x": SEEN}
    assert dict(state.stat_cache("/c").items()) == {}


def test_an_index_that_fails_half_way_is_not_saved(state: State) -> None:
    """One transaction: the rows before stay."""
    state.save_stat_cache("/a", StatCache([("x", SEEN)]))

    def rows() -> Iterator[tuple[str, CachedHash]]:
        yield "y", SEEN
        raise RuntimeError("the walk failed")

    with pytest.raises(RuntimeError, match="the walk failed"):
        state.save_stat_cache("/a", StatCache(rows()))

    assert dict(state.stat_cache("/a").items()) == {"x": SEEN}
    state.save_stat_cache("/a", StatCache([("z", SEEN)]))
    assert dict(state.stat_cache("/a").items()) == {"z": SEEN}


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        pytest.param(SEEN, STAMP, True, id="nothing has changed since long before"),
        pytest.param(SEEN, (9, 2, 3, NOW_NS, NOW_NS), False, id="another device"),
        pytest.param(SEEN, (1, 9, 3, NOW_NS, NOW_NS), False, id="another inode"),
        pytest.param(SEEN, (1, 2, 9, NOW_NS, NOW_NS), False, id="another size"),
        pytest.param(SEEN, (1, 2, 3, NOW_NS + 1, NOW_NS), False, id="another modification time"),
        pytest.param(SEEN, (1, 2, 3, NOW_NS, NOW_NS + 1), False, id="another change time"),
        pytest.param(SEEN._replace(seen_ns=NOW_NS), STAMP, False, id="seen in the tick it was written in"),
        pytest.param(SEEN._replace(seen_ns=NOW_NS + SECOND_NS), STAMP, False, id="seen within a coarse tick"),
        pytest.param(SEEN._replace(seen_ns=NOW_NS + 2 * SECOND_NS), STAMP, False, id="seen at the end of two ticks"),
        pytest.param(SEEN._replace(seen_ns=NOW_NS + 3 * SECOND_NS), STAMP, True, id="seen after two coarse ticks"),
        pytest.param(SEEN._replace(seen_ns=NOW_NS - 10 * SECOND_NS), STAMP, False, id="a clock that was set back"),
    ],
)
def test_a_row_is_believed_only_when_the_file_cannot_have_changed(
    seen: CachedHash, now: tuple[int, int, int, int, int], expected: bool
) -> None:
    """A racily clean row, made too soon after the file's stamps, is read anew."""
    assert seen.holds_for(now) is expected


@pytest.mark.parametrize(("after_ms", "expected"), [(0, False), (20, False), (21, True)])
def test_an_old_file_whose_status_just_changed_is_not_believed(after_ms: int, expected: bool) -> None:
    """A file that got an old time stamp may change again within the tick of its change time."""
    stamp = (1, 2, 3, NOW_NS - 3600 * SECOND_NS, NOW_NS)

    assert CachedHash(stamp, NOW_NS + after_ms * 1_000_000).holds_for(stamp) is expected


def test_a_file_from_the_future_is_believed_by_its_change_time() -> None:
    """A modification time may be set to anything; far from now in either direction it is not a race."""
    stamp = (1, 2, 3, NOW_NS + 3600 * SECOND_NS, NOW_NS)

    assert CachedHash(stamp, NOW_NS + SECOND_NS).holds_for(stamp)


# -- results and who we are ------------------------------------------------------------------------------------------


def test_a_result_comes_back(state: State) -> None:
    """Each entry and role has its own last result, every fact of it."""
    state.save_result("A", "slave", RESULT)
    state.save_result("A", "master", replace(RESULT, ok=False, text="é \u2028"))

    assert state.result("A", "slave") == RESULT
    assert state.result("A", "master") == replace(RESULT, ok=False, text="é \u2028")
    assert state.result("B", "slave") is None


def test_a_result_is_replaced(state: State) -> None:
    """Only the last one is kept."""
    state.save_result("A", "slave", RESULT)
    state.save_result("A", "slave", replace(RESULT, status=3))

    assert state.result("A", "slave") == replace(RESULT, status=3)


def test_a_run_is_known_by_its_places(state: State) -> None:
    """An entry that is renamed, and renamed back, is still what it was; one that goes elsewhere is not."""
    here = "b/p", "/srv/ä"
    first = replace(RESULT, time_s=1.0, pending=False, generation=5, source=here[0], target=here[1])
    state.save_result("A", "slave", first)
    assert state.last_of("B", "slave", *here) == first
    assert state.last_of("B", "slave", "b/q", here[1]) is None
    assert state.last_of("B", "slave", here[0], "/srv/other") is None
    assert state.last_of("B", "mirror", *here) is None
    state.mark_pending("B", "slave", *here, needed=True)
    assert state.result("B", "slave") == replace(first, pending=True)
    later = replace(first, time_s=2.0, generation=6)
    state.save_result("B", "slave", later)
    assert state.last_of("A", "slave", *here) == later
    assert state.last_of("A", "slave", "b/q", here[1]) == first


def test_a_command_that_is_owed_is_remembered(state: State) -> None:
    """The mark is set before the change, so that a kill cannot lose the command, and keeps the rest of the result."""
    state.save_result("A", "slave", replace(RESULT, pending=False))
    state.mark_pending("A", "slave", "b/p", "/srv/a", needed=True)
    state.mark_pending("B", "slave", "b/p", "/srv/b", needed=True)
    state.mark_pending("C", "slave", "b/p", "/srv/c", needed=False)

    assert state.result("A", "slave") == RESULT
    first = state.result("B", "slave")
    assert first is not None
    assert (first.pending, first.ok) == (True, False)
    assert state.result("C", "slave") is None


def test_a_machine_keeps_its_id(places: Directories) -> None:
    """Made at the first use, kept for ever, different elsewhere."""
    first = State.open(places)
    made = first.writer_id()
    first.close()
    again = State.open(places)
    other = State.open(Directories(places.state / "other", places.cache / "other"))

    assert again.writer_id() == made
    assert other.writer_id() != made
    assert len(made) == 32
    again.close()
    other.close()


# -- damage ----------------------------------------------------------------------------------------------------------


def test_a_state_that_is_begun_again_keeps_the_id(places: Directories) -> None:
    """The id is not part of the database that is thrown away, whether that is damaged or of another version."""
    first = State.open(places)
    made = first.writer_id()
    first.close()
    database = places.state / "state.db"

    database.write_bytes(b"damaged")
    after_damage = State.open(places)
    assert after_damage.writer_id() == made
    after_damage.close()

    (places.state / "writer").unlink()
    with contextlib.closing(sqlite3.connect(database)) as other:
        other.execute("INSERT OR REPLACE INTO meta VALUES ('writer', ?)", (made,))
        other.execute("PRAGMA user_version = 99")
        other.commit()
    after_version = State.open(places)
    assert after_version.writer_id() == made
    after_version.close()


@pytest.mark.parametrize(
    "facts",
    [
        {"listed_s": "soon"},
        {"time_s": None},
        {"time_s": float("inf")},
        {"ok": 1},
        {"generation": "7"},
        {"generation": True},
        {"pending": None},
        {"text": 5},
        {"success_s": [1]},
    ],
    ids=str,
)
def test_a_result_of_wrong_types_is_none(state: State, places: Directories, facts: dict[str, Any]) -> None:
    """A run goes on as if the entry had never run, instead of failing each time."""
    state.save_result("A", "slave", RESULT)
    with contextlib.closing(sqlite3.connect(places.state / "state.db")) as database:
        database.execute("UPDATE result SET facts = ?", (json.dumps(facts_of(RESULT) | facts),))
        database.commit()

    assert state.result("A", "slave") is None


def test_a_run_is_seen_while_it_lasts(state: State, places: Directories) -> None:
    """Another process sees since when, also while a second run finds the lock taken; nothing is seen afterwards."""
    reader = State.open(places, writable=False)
    assert reader.running_since("A", "slave") is None
    with state.running("A", "slave"):
        since = reader.running_since("A", "slave")
        with state.running("A", "slave"):
            assert reader.running_since("A", "slave") == since is not None
        assert reader.running_since("A", "slave") == since
        assert reader.running_since("A", "master") is None
    assert reader.running_since("A", "slave") is None
    reader.close()


def test_a_page_of_files_without_etags_is_as_large_as_one_of_files_with_them() -> None:
    """The files of a packed prefix have none, and there may be a million of them."""

    def size(etag: str | None) -> int:
        files = [(f"{number:06}", SEEN._replace(md5=None, etag=etag)) for number in range(1_000)]
        (page,) = StatCache(files).pages()
        return len(page)

    assert size(None) == size("ab" * 16)


def test_a_damaged_page_of_an_index_is_forgotten_alone() -> None:
    """What it told of is read anew; the other pages are as good as before."""
    files = [(f"{number:06}", SEEN) for number in range(20_000)]
    pages = list(StatCache(files).pages())
    assert len(pages) == 3
    pages[1] = pages[1][:-1] + bytes([pages[1][-1] ^ 1])

    read = dict(StatCache.of_pages(pages).items())

    assert read == dict(files[:8192] + files[16384:])


def fill(places: Directories, *, files: int = 60) -> bytes:
    """Make a state that knows something; return the bytes of its database."""
    state = State.open(places)
    state.writer_id()
    state.save_stat_cache("/root", StatCache([(f"dir/file{number:04}", SEEN) for number in range(files)]))
    state.save_result("A", "slave", RESULT)
    state.close()
    return (places.state / "state.db").read_bytes()


def assert_usable(places: Directories) -> None:
    """Everything works with the state, for reading and for writing, and the second run at the latest keeps its results.

    Some damage shows only when something is saved: that one is lost, and the state begun anew.
    """
    reader = State.open(places, writable=False)
    _use(reader)
    reader.close()
    for _ in range(2):
        state = State.open(places)
        _use(state)
        state.save_stat_cache("/new", StatCache([("x", SEEN)]))
        state.save_result("new", "slave", RESULT)
        kept = state.writer_id()
        state.close()
    again = State.open(places)
    assert dict(again.stat_cache("/new").items()) == {"x": SEEN}
    assert again.result("new", "slave") == RESULT
    assert again.writer_id() == kept
    again.close()


def _use(state: State) -> None:
    assert isinstance(state.writer_id(), str)
    for _, seen in state.stat_cache("/root").items():
        assert isinstance(seen.holds_for(seen.stamp), bool)
    state.result("A", "slave")


def damaged(places: Directories, data: bytes) -> None:
    """Put these bytes in the place of the database."""
    for left in places.state.glob("state.db-*"):
        left.unlink()
    (places.state / "state.db").write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: b"", id="emptied"),
        pytest.param(lambda data: b"not a database" * 1000, id="another file"),
        pytest.param(lambda data: bytes(len(data)), id="zeros after a power cut"),
        pytest.param(lambda data: data[: len(data) // 2], id="half of it"),
        pytest.param(lambda data: data[:4096] + bytes(len(data) - 4096), id="only the first page"),
        pytest.param(lambda data: data[:4096], id="one page"),
        pytest.param(lambda data: data[:100], id="only the header"),
        pytest.param(lambda data: data[:50], id="half of the header"),
        pytest.param(lambda data: data.replace(b"CREATE TABLE file", b"CREATE TABLE fil_"), id="a table lost its name"),
        pytest.param(lambda data: data.replace(b"sha256", b"sha_56"), id="a column lost its name"),
        pytest.param(lambda data: data.replace(b"CREATE TABLE", b"CREATE TABEL"), id="a schema that is none"),
    ],
)
def test_a_damaged_database_is_built_again(places: Directories, change: Callable[[bytes], bytes]) -> None:
    """It is a cache: what is damaged is thrown away, and nobody has to do anything about it."""
    damaged(places, change(fill(places)))

    assert_usable(places)


@pytest.mark.parametrize("block", range(4), ids=lambda block: f"bytes {block * 25} to {block * 25 + 24}")
def test_a_flip_in_the_header_is_survived(places: Directories, block: int) -> None:
    """Whichever byte of the first hundred is another, the state works afterwards."""
    good = fill(places)
    for at in range(block * 25, block * 25 + 25):
        bad = bytearray(good)
        bad[at] ^= 0xFF
        damaged(places, bytes(bad))

        assert_usable(places)


@pytest.mark.parametrize("seed", range(8))
def test_random_flips_and_truncations_are_survived(places: Directories, seed: int) -> None:
    """A disk that goes bad costs time, not a run; the seed is the test's number."""
    rng = Random(seed)
    good = fill(places)
    for _ in range(12):
        bad = bytearray(good)
        for _ in range(rng.choice((1, 1, 3, 50))):
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        damaged(places, bytes(bad[: rng.choice((len(bad), len(bad), rng.randrange(len(bad))))]))

        assert_usable(places)


def test_a_database_of_another_version_is_built_again(places: Directories) -> None:
    """A later s32s may have left one behind."""
    good = bytearray(fill(places))
    good[60:64] = (77).to_bytes(4, "big")  # PRAGMA user_version
    damaged(places, bytes(good))

    assert_usable(places)


def test_a_state_that_cannot_be_made_says_what_to_set(tmp_path: Path) -> None:
    """The directories can be put elsewhere."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="set STATE_DIRECTORY and CACHE_DIRECTORY"):
        State.open(Directories(tmp_path / "file" / "state", tmp_path / "file" / "cache"))


# -- read only -------------------------------------------------------------------------------------------------------


def test_reading_makes_nothing(places: Directories, tmp_path: Path) -> None:
    """A dry run on a new machine leaves no trace."""
    state = State.open(places, writable=False)
    state.save_stat_cache("/root", StatCache([("x", SEEN)]))
    state.save_result("A", "slave", RESULT)
    state.cache_maps(CachedMaps("bucket/m", 1.0, (("a.json", b"[]"),)))
    state.cache_manifest("bucket/x", b"data")
    state.mark_pending("A", "slave", "b/p", "/srv/a", needed=True)
    with state.lock("A", hold=False):
        pass

    assert dict(state.stat_cache("/root").items()) == {}
    assert state.writer_id()
    assert everything_below(tmp_path) == []
    state.close()


def test_reading_changes_nothing(places: Directories, tmp_path: Path) -> None:
    """A dry run sees what is known, and the files stay as they are."""
    before = fill(places)
    names = everything_below(tmp_path)
    state = State.open(places, writable=False)
    state.save_stat_cache("/root", StatCache([]))
    state.save_result("A", "slave", replace(RESULT, status=1))

    assert len(state.stat_cache("/root")) == 60
    assert state.result("A", "slave") == RESULT
    state.close()
    assert (places.state / "state.db").read_bytes() == before
    assert everything_below(tmp_path) == names


# -- cached maps and manifests ---------------------------------------------------------------------------------------

MAPS = CachedMaps("bucket/m", 1234.5, (("a.json", b'[{"name": "\xc3\xa9"}]'), ("b.json", b"[]")))


def maps_file(places: Directories) -> Path:
    """Where the maps of `MAPS.source` are cached."""
    return places.cache / f"maps-{digest(MAPS.source)}.json"


def test_cached_maps_come_back(state: State) -> None:
    """Every file with its name and its text, for the source they were fetched from and no other."""
    state.cache_maps(MAPS)

    assert state.cached_maps("bucket/m") == MAPS
    assert state.cached_maps("bucket/other") is None
    state.cache_maps(replace(MAPS, source="bucket/other"))
    assert state.cached_maps("bucket/m") == MAPS


def test_maps_are_replaced_in_one_step(state: State, places: Directories) -> None:
    """A reader has the old maps or the new ones: another inode takes the name, and no other file is left."""
    state.cache_maps(MAPS)
    before = maps_file(places).stat().st_ino
    with open(maps_file(places), "rb") as old:
        state.cache_maps(replace(MAPS, files=()))

        assert b"a.json" in old.read()
    assert maps_file(places).stat().st_ino != before
    assert state.cached_maps("bucket/m") == replace(MAPS, files=())
    assert everything_below(places.cache) == [maps_file(places).name]


def test_maps_that_cannot_be_cached_leave_the_old_ones(state: State, places: Directories) -> None:
    """A file that cannot be written is an error, and the cache is what it was."""
    state.cache_maps(MAPS)
    before = maps_file(places).read_bytes()

    with pytest.raises((ConfigError, ValueError)):
        state.cache_maps(replace(MAPS, files=(("a.json", b"\xff"),)))

    assert maps_file(places).read_bytes() == before
    assert everything_below(places.cache) == [maps_file(places).name]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half of it"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b'{"source": "bucket/m"}', id="no files"),
        pytest.param(b'{"source": "bucket/m", "fetched_s": "x", "files": []}', id="no time"),
        pytest.param(b'{"source": "bucket/m", "fetched_s": 1, "files": [1]}', id="files that are none"),
        pytest.param(b'{"source": "bucket/m", "fetched_s": 1, "files": [["a", "\\ud800"]]}', id="half a pair"),
        pytest.param(b"[" * 100_000, id="deep brackets"),
    ],
)
def test_damaged_cached_maps_are_none(state: State, places: Directories, data: bytes) -> None:
    """They are fetched again."""
    maps_file(places).write_bytes(data)

    assert state.cached_maps("bucket/m") is None


def test_a_cached_manifest_is_believed_by_its_hash(state: State, places: Directories) -> None:
    """Exactly the bytes that the head names come back, for their prefix; damaged ones do not."""
    sha256 = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"  # of b"data"
    state.cache_manifest("bucket/x", b"data")

    assert state.cached_manifest("bucket/x", sha256) == b"data"
    assert state.cached_manifest("bucket/x", "0" * 64) is None
    assert state.cached_manifest("bucket/y", sha256) is None
    (kept,) = (places.cache / "manifests").iterdir()
    kept.write_bytes(b"dat_")
    assert state.cached_manifest("bucket/x", sha256) is None


# -- locks -----------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from s32s.config.settings import Directories
from s32s.agent.state import State
state = State.open(Directories(Path(sys.argv[1]), Path(sys.argv[2])))
with state.lock("bucket/x", hold=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(places: Directories) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock on bucket/x until its input ends."""
    command = [sys.executable, "-c", HOLD, str(places.state), str(places.cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_told_who_holds_the_lock(holder: subprocess.Popen[str], places: Directories) -> None:
    """Process, machine and time stand in the message, and the exit status says to try again."""
    state = State.open(places)

    with pytest.raises(Locked) as caught, state.lock("bucket/x", hold=True):
        pass

    assert f"process {holder.pid}, on {os.uname().nodename}, since 20" in str(caught.value)
    assert "bucket/x" in str(caught.value)
    assert caught.value.exit_status == 75
    state.close()


def test_another_name_is_another_lock(holder: subprocess.Popen[str], places: Directories) -> None:
    """Work on other targets goes on."""
    state = State.open(places)
    with state.lock("bucket/y", hold=True):
        pass

    assert holder.poll() is None
    state.close()


def test_who_only_looks_needs_no_lock(holder: subprocess.Popen[str], places: Directories) -> None:
    """A dry run passes a lock by."""
    state = State.open(places)
    with state.lock("bucket/x", hold=False):
        pass

    assert holder.poll() is None
    state.close()


def test_a_lock_is_free_after_its_holder_was_killed(holder: subprocess.Popen[str], places: Directories) -> None:
    """Nobody has to remove a file by hand after `kill -9`."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    state = State.open(places)

    with state.lock("bucket/x", hold=True):
        assert len(everything_below(places.state / "locks")) == 1
    assert everything_below(places.state / "locks") == []
    state.close()


def test_a_lock_is_free_after_its_holder_ended(holder: subprocess.Popen[str], places: Directories) -> None:
    """The file goes with the lock, and the next run takes it."""
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait()

    assert everything_below(places.state / "locks") == []


def test_a_lock_is_free_after_an_error(state: State) -> None:
    """What ends a run ends its lock."""
    with pytest.raises(RuntimeError), state.lock("x", hold=True):
        raise RuntimeError

    with state.lock("x", hold=True):
        pass


def test_one_process_does_not_lock_itself_twice(state: State) -> None:
    """Two entries with one target do not run beside each other either."""
    with state.lock("x", hold=True), pytest.raises(Locked), state.lock("x", hold=True):
        pass
