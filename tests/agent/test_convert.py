"""From one layout into the other, cut off at any request."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.packed import SYNC, FailingAt, Packed, write_tree

from s32s.agent.convert import convert
from s32s.agent.results import Result
from s32s.agent.roles.base import AgentContext
from s32s.agent.services import Services
from s32s.agent.state import State
from s32s.backends.base import Backend
from s32s.backends.memory import MemoryBackend
from s32s.config.maps import Entry
from s32s.config.settings import Directories, S3Connection, Settings
from s32s.core.errors import Refused, S32sError
from s32s.core.location import Location
from s32s.core.role import Role
from s32s.replication.job import RunContext
from s32s.replication.replicate import replicate
from s32s.stores.local.store import LocalStore
from s32s.stores.memory import MemoryStore
from s32s.stores.objects.prefix import read_head
from s32s.stores.objects.store import ObjectStore

FILES = {"a": b"1" * 3000, "b/c": b"c" * 10, "d": b""}


class OneBackend(Services):
    """Every place is one backend."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(S3Connection(), {}, attended=False)
        self.inner = inner

    def backend(self, place: Location) -> Backend:
        """See `Services`."""
        return self.inner


def _held(backend: Backend) -> dict[str, bytes]:
    """What a reader of the layout that the head names gets, of every generation that is kept."""
    if (head := read_head(backend).head) is not None and head.is_packed:
        packed = Packed(backend)
        (files,) = {tuple(sorted(files.items())) for files in packed.all_generations().values()}
        return dict(files)
    target = MemoryStore()
    replicate(ObjectStore(backend), target, SYNC, RunContext("pull", jobs=1))
    return target.files


@pytest.mark.parametrize("is_lost", [False, True], ids=["not-done", "answer-lost"])
@pytest.mark.parametrize("layout", ["packed", "plain"])
def test_a_cut_at_any_request_leaves_a_whole_layout(tmp_path: Path, layout: str, is_lost: bool) -> None:
    """One of the two can be read as a whole, of-others stays, and the next conversion ends well."""
    source = write_tree(tmp_path / "source", FILES)
    entry = Entry(name="WEB", s3="bucket/web", master=str(source), layout="packed")
    other = "plain" if layout == "packed" else "packed"
    number = 0
    while True:
        backend = MemoryBackend()
        state = State.open(Directories(tmp_path / f"{number}/state", tmp_path / f"{number}/cache"))
        settings = Settings.model_validate({"role": Role.MASTER, "maps": "maps/m"})

        def done(to: str, reached: Backend, settings: Settings = settings, state: State = state) -> None:
            convert(entry, to, AgentContext(settings, state, OneBackend(reached), "host"))

        Packed(backend).push(LocalStore(str(source)))
        if other == "plain":
            done("plain", backend)
        backend.put("of-others", lambda: iter([b"theirs"]), size=6)
        cut = FailingAt(backend, number, is_lost=is_lost)
        try:
            done(layout, cut)
            is_done = True
        except S32sError:
            is_done = False
        backend.delete(["of-others"]) if layout == "plain" else None

        assert _held(backend) == FILES
        done(layout, backend)
        head = read_head(backend).head
        assert head is not None
        assert head.is_packed == (layout == "packed")
        assert _held(backend) == FILES
        left = {one.key for page in backend.list("") for one in page}
        if layout == "packed":
            assert {key for key in left if not key.startswith(".s32s/")} == {"of-others"}
            assert not [key for key in left if "manifest-" in key]
        else:
            assert not [key for key in left if "packs/" in key]
        state.close()
        if is_done:
            break
        number += 1
    assert number >= 6


@pytest.mark.parametrize("layout", ["packed", "plain"])
def test_what_a_cut_leaves_goes_in_either_layout(tmp_path: Path, layout: str) -> None:
    """Whether one goes on with the conversion or gives it up, nothing of it stays, and all of somebody else's."""
    source = write_tree(tmp_path / "source", FILES)
    entry = Entry(name="MY WEB", s3="bucket/web", master=str(source), layout="packed")
    other = "plain" if layout == "packed" else "packed"
    number, is_done = 0, False
    while not is_done:
        backend = MemoryBackend()
        state = State.open(Directories(tmp_path / f"{number}/state", tmp_path / f"{number}/cache"))
        settings = Settings.model_validate({"role": Role.MASTER, "maps": "maps/m"})

        def done(to: str, reached: Backend, settings: Settings = settings, state: State = state) -> None:
            convert(entry, to, AgentContext(settings, state, OneBackend(reached), "host"))

        Packed(backend).push(LocalStore(str(source)))
        if other == "plain":
            done("plain", backend)
        backend.put("of-others", lambda: iter([b"theirs"]), size=6)
        try:
            done(layout, FailingAt(backend, number))
            is_done = True
        except S32sError:
            last = state.result("MY WEB", "master")
            if last is not None and not last.ok:
                assert f"s32s convert 'MY WEB' --layout {layout} completes it" in last.text

        if layout == "packed":  # to the plain layout, others' objects are part of what is deleted
            done(other, backend)
            assert not [key for key in _keys(backend) if "/packs/" in key]
        else:
            done(other, backend)
            assert {key for key in _keys(backend) if not key.startswith(".s32s/")} <= {"of-others"}
            assert not [key for key in _keys(backend) if "/manifest-" in key]
        assert _held(backend) == FILES
        last = state.result("MY WEB", "master")
        assert last is None or last.ok, last.text
        state.close()
        number += 1
    assert number >= 6


def test_a_conversion_that_is_refused_is_not_cut_off(tmp_path: Path) -> None:
    """Nothing was touched, so the last run stands."""
    entry = Entry(name="WEB", s3="bucket/web", master=str(tmp_path / "empty"), layout="packed")
    (tmp_path / "empty").mkdir()
    backend = MemoryBackend()
    Packed(backend).push(FILES)
    state = State.open(Directories(tmp_path / "state", tmp_path / "cache"))
    last = Result(time.time(), ok=True, status=0, text="3 new", source=entry.master or "", target=entry.s3)
    state.save_result("WEB", "master", last)
    settings = Settings.model_validate({"role": Role.MASTER, "maps": "maps/m"})

    with pytest.raises(Refused, match="not what S3 holds"):
        convert(entry, "plain", AgentContext(settings, state, OneBackend(backend), "host"))

    assert state.result("WEB", "master") == last
    state.close()


def _keys(backend: Backend) -> set[str]:
    return {one.key for page in backend.list("") for one in page}
