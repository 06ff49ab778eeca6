"""What every backend has to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from s32s.backends.base import CREATE, Backend, GetRequest, ObjectMeta, PutMode, PutRequest, Replace, ServerSideCopy
from s32s.core.errors import NotFound, PreconditionFailed, SourceChanged, StoreError

ODD_KEYS = ["a b", "a+b", "a%2Fb", "é", "ü/ß", "日本", "a&b=c?d", "~x", "a'b\"c", "x/y/z", "x-y", "x.y"]


def put(backend: Backend, key: str, data: bytes, mode: PutMode | None = None, meta: ObjectMeta | None = None) -> str:
    """Write an object; return its ETag."""
    result = (
        backend.put(key, lambda: iter((data,)), size=len(data), meta=meta)
        if mode is None
        else backend.put(key, lambda: iter((data,)), size=len(data), mode=mode, meta=meta)
    )
    assert result.etag
    return result.etag


def content(backend: Backend, key: str, **asked: str) -> bytes:
    """The bytes of an object."""
    return b"".join(backend.get(key, **asked).chunks)  # type: ignore[arg-type] # texts only


def listed(backend: Backend, prefix: str = "") -> dict[str, int]:
    """Keys and sizes of a listing."""
    found = [one for page in backend.list(prefix) for one in page]
    assert len({one.key for one in found}) == len(found), "a key is listed twice"
    return {one.key: one.size for one in found}


class BackendContract:
    """Tests of one backend; the fixture `backend` gives an empty place."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """The backend to be tested."""
        raise NotImplementedError("derive a class and give it this fixture")

    @pytest.fixture
    def keeps_conditions(self) -> bool:
        """Override it for a server that ignores conditions without a word; readers of a head find that out."""
        return True

    def test_an_empty_place_lists_nothing(self, backend: Backend) -> None:
        """And is not an error."""
        assert listed(backend) == {}

    def test_what_was_put_is_there(self, backend: Backend) -> None:
        """By every way to read it, with one and the same ETag."""
        etag = put(backend, "d/k", b"content")

        got = backend.get("d/k")
        assert (got.size, got.etag, b"".join(got.chunks)) == (7, etag, b"content")
        assert backend.read("d/k", limit=100) == (b"content", etag)
        assert (backend.head("d/k").size, backend.head("d/k").etag) == (7, etag)
        assert listed(backend) == {"d/k": 7}

    @pytest.mark.parametrize("size", [0, 1, 1_000_003])
    def test_every_size_comes_back(self, backend: Backend, size: int) -> None:
        """Empty objects, too."""
        data = bytes(range(256)) * (size // 256 + 1)
        put(backend, "k", data[:size])

        assert content(backend, "k") == data[:size]
        assert listed(backend) == {"k": size}

    def test_a_body_may_come_in_pieces(self, backend: Backend) -> None:
        """Views among them."""
        backend.put("k", lambda: iter((b"one", memoryview(b"two"), b"")), size=6)

        assert content(backend, "k") == b"onetwo"

    def test_odd_keys_keep_their_names(self, backend: Backend) -> None:
        """Whatever they hold."""
        for key in ODD_KEYS:
            put(backend, key, key.encode())

        assert set(listed(backend)) == set(ODD_KEYS)
        assert [content(backend, key) for key in ODD_KEYS] == [key.encode() for key in ODD_KEYS]

    def test_a_prefix_lists_what_lies_below_it(self, backend: Backend) -> None:
        """And not what only begins like it; keys stay relative to the place."""
        for key in ("a/1", "a/b/2", "ab", "b/3"):
            put(backend, key, b"x")

        assert set(listed(backend, "a")) == {"a/1", "a/b/2"}

    def test_a_listing_has_every_page(self, backend: Backend) -> None:
        """More objects than one answer of S3 names."""
        keys = {f"many/{number:04}" for number in range(1_050)}
        for key in keys:
            put(backend, key, b"")

        assert set(listed(backend)) == keys

    @pytest.mark.parametrize(
        "ask",
        [
            pytest.param(lambda backend: backend.head("none"), id="head"),
            pytest.param(lambda backend: backend.get("none"), id="get"),
            pytest.param(lambda backend: backend.read("none", limit=10), id="read"),
        ],
    )
    def test_what_is_not_there_is_not_found(self, backend: Backend, ask: Callable[[Backend], object]) -> None:
        """By every verb that reads."""
        with pytest.raises(NotFound):
            ask(backend)

    def test_an_object_may_be_asked_for_by_its_etag(self, backend: Backend) -> None:
        """Another one is not taken for it: it is refused, or shows its own ETag."""
        old = put(backend, "k", b"old")
        new = put(backend, "k", b"new")

        assert content(backend, "k", if_match=new) == b"new"
        try:
            got = backend.get("k", if_match=old)
        except PreconditionFailed:
            return
        assert got.etag == new

    def test_small_objects_come_together(self, backend: Backend) -> None:
        """In the order in which they are asked for; None stands for what is to be asked for alone."""
        for number in range(20):
            put(backend, f"k{number}", b"%d" % number)

        wanted = [GetRequest(f"k{number}", None, 100) for number in range(20)] + [GetRequest("none", None, 100)]
        came = list(backend.get_many(wanted, concurrency=4))
        answers = [one and b"".join(one.chunks) for _, one in sorted(came, key=lambda answer: answer[0])]

        assert sorted(number for number, _ in came) == list(range(21))
        assert answers[20] is None
        assert all(found in (None, b"%d" % number) for number, found in enumerate(answers[:20]))

    def test_many_are_written_whatever_is_there(self, backend: Backend) -> None:
        """Each is stored, or left to `put`; there is one answer for each."""
        put(backend, "k3", b"old")

        answers = list(
            backend.put_many((PutRequest(f"k{number}", b"%d" % number) for number in range(20)), concurrency=4)
        )

        assert sorted(number for number, _ in answers) == list(range(20))
        for number, stored in answers:
            if stored is not None:
                assert backend.read(f"k{number}", limit=100)[0] == b"%d" % number

    def test_no_more_is_read_than_is_allowed(self, backend: Backend) -> None:
        """A head of gigabytes does not fill the memory."""
        put(backend, "k", b"x" * 1000)

        with pytest.raises(StoreError, match="more than it should have"):
            backend.read("k", limit=999)

    def test_a_write_with_a_condition_that_holds(self, backend: Backend) -> None:
        """It is done, also by a backend that cannot keep it."""
        etag = put(backend, "k", b"first", CREATE)
        put(backend, "k", b"second", Replace(etag))

        assert content(backend, "k") == b"second"

    @pytest.mark.parametrize("mode", [CREATE, Replace("0123456789abcdef0123456789abcdef")], ids=["create", "replace"])
    def test_a_write_with_a_condition_that_does_not_hold(
        self, backend: Backend, keeps_conditions: bool, mode: PutMode
    ) -> None:
        """It is refused, and nothing is written; nor where nothing is there to be replaced."""
        if not keeps_conditions:
            pytest.skip("it ignores conditions")
        put(backend, "k", b"first")
        with pytest.raises(PreconditionFailed):
            put(backend, "k", b"second", mode)

        assert content(backend, "k") == b"first"

    def test_what_is_deleted_is_gone(self, backend: Backend) -> None:
        """What is not there is no failure."""
        for key in ("a", "b", "c"):
            put(backend, key, b"x")

        assert dict(backend.delete(["a", "b", "none"])) == {}
        assert set(listed(backend)) == {"c"}
        assert dict(backend.delete([])) == {}

    def test_what_an_object_carries_comes_back(self, backend: Backend) -> None:
        """Headers and metadata travel with a copy, so they can be written and read."""
        if not backend.capabilities.metadata:
            pytest.skip("it says that it keeps none")
        meta = ObjectMeta(1, None, has_md5=True, headers={"Content-Type": "text/x-odd"}, metadata={"colour": "red"})
        put(backend, "k", b"x", meta=meta)

        there = backend.head("k")
        assert there.headers.get("Content-Type") == "text/x-odd"
        assert there.metadata.get("colour") == "red"

    def test_a_copy_on_the_server_is_exact(self, backend: Backend) -> None:
        """With what the object carries; that one has changed since it was listed is told, though not always in time."""
        if not isinstance(backend, ServerSideCopy) or not backend.copies_from(backend):
            pytest.skip("it copies nothing by itself")
        meta = ObjectMeta(3, None, has_md5=True, metadata={"colour": "red"})
        etag = put(backend, "k", b"old", meta=meta)
        moved: list[int] = []

        backend.copy(backend, "k", "copy", size=3, etag=etag, progress=moved.append)

        assert content(backend, "copy") == b"old"
        if backend.capabilities.metadata:
            assert backend.head("copy").metadata.get("colour") == "red"
        assert sum(moved) == 3
        put(backend, "k", b"new!")
        with pytest.raises(SourceChanged):
            backend.copy(backend, "k", "copy", size=3, etag=etag, progress=moved.append)
        backend.delete(["k"])
        with pytest.raises(SourceChanged):
            backend.copy(backend, "k", "copy", size=4, etag=None, progress=moved.append)

    def test_it_says_where_it_is(self, backend: Backend) -> None:
        """In errors, too."""
        assert backend.location
        with pytest.raises(NotFound, match="none"):
            backend.get("none")
