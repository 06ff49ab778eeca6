"""Memory that is used again."""

from __future__ import annotations

from s32s.backends.s3.buffers import Buffers


def test_memory_is_used_again_once_nobody_looks_at_it() -> None:
    """Also a slice keeps it."""
    buffers = Buffers(100)
    with buffers.used():
        first = buffers.room()
        first[:] = b"a" * 100
        slice_ = first[10:20]
        del first
        second = buffers.room()
        second[:] = b"b" * 100
        assert slice_.tobytes() == b"a" * 10

        del slice_
        third = buffers.room()

        assert third.tobytes() == b"a" * 100  # the memory of the first one
        assert second.tobytes() == b"b" * 100
        assert len(third) == 100


def test_memory_outlives_its_users() -> None:
    """What is still looked at stays; the next one gets other memory."""
    buffers = Buffers(4)
    with buffers.used(), buffers.used():
        first = buffers.room()
        first[:] = b"aaaa"
    del_me = buffers.room()
    assert del_me.tobytes() == bytes(4)
    assert first.tobytes() == b"aaaa"
    del first
    with buffers.used():
        assert buffers.room().tobytes() == bytes(4)
