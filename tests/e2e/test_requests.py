"""What each kind of run sends: requests cost money, and with distance they are what a run waits for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest
from support.faultproxy import FaultProxy
from support.machine import Ended, Loop
from support.trees import make_tree

FILES = {f"d{number}/f{number}": b"x%d" % number for number in range(10)}
OLD_S = 1_700_000_000

HEAD, MANIFEST = "GET head.json", "GET manifest"
#: A push that changes something: two looks at the head, the claim, two writes that are each read back, the tidying.
PUSH = {HEAD: 5, "LIST": 1, "PUT head.json": 2, "PUT manifest": 1}

WITH_MANIFEST = {
    "first push": {**PUSH, HEAD: 4, "PUT": 10},
    "push": {HEAD: 1, "LIST": 1},
    "first pull": {HEAD: 1, MANIFEST: 1, "GET": 10, "LIST": 1},
    "pull": {HEAD: 1},
    "pull, every byte": {HEAD: 1, "LIST": 1},
    "dry pull": {HEAD: 1},
    "dry push of changes": {HEAD: 1, "LIST": 1},
    "push of changes": {**PUSH, "PUT": 2, "DELETE": 1},
    "dry pull of changes": {HEAD: 1, MANIFEST: 1},
    "pull of changes": {HEAD: 1, MANIFEST: 1, "GET": 2},
    "first mirror": {**PUSH, HEAD: 5, "LIST": 2, "PUT": 10},
    "mirror": {HEAD: 2, "LIST": 2},
    "mirror of changes": {**PUSH, HEAD: 6, "LIST": 2, "PUT": 1},
}
PLAIN = {
    "first push": {"LIST": 2, "PUT": 10},
    "push": {"LIST": 1},
    "first pull": {"GET": 10, "LIST": 2},
    "pull": {"LIST": 1},
    "pull, every byte": {"LIST": 1},
    "dry pull": {"LIST": 1},
    "dry push of changes": {"LIST": 1},
    "push of changes": {"LIST": 2, "PUT": 3, "HEAD": 1, "DELETE": 1},  # a marker for the directory that is empty now
    "dry pull of changes": {"LIST": 1},
    "pull of changes": {"GET": 2, "LIST": 2},
    "first mirror": {"LIST": 3, "PUT": 11, "HEAD": 1},
    "mirror": {"LIST": 2},
    "mirror of changes": {"LIST": 3, "PUT": 1},
}
PACKED = {
    "first push": {HEAD: 2, "LIST": 1, "PUT pack": 2, "PUT head.json": 1},  # a prefix without a head may have lost it
    "push": {HEAD: 1},
    "first pull": {HEAD: 1, "GET pack": 2},
    "pull": {HEAD: 1},
    "pull, every byte": {HEAD: 1},
    "dry pull": {HEAD: 1},
    "dry push of changes": {HEAD: 1},
    "push of changes": {HEAD: 3, "PUT pack": 2, "PUT head.json": 1},
    "dry pull of changes": {HEAD: 1, "GET pack": 1},
    "pull of changes": {HEAD: 1, "GET pack": 2},
    "first mirror": {HEAD: 3, "LIST": 1, "HEAD pack": 4, "PUT pack": 4, "PUT head.json": 1},
    "mirror": {HEAD: 2, "LIST": 1},  # nobody else would miss a pack of the copy
    "mirror of changes": {HEAD: 4, "LIST": 1, "HEAD pack": 2, "PUT pack": 2, "PUT head.json": 1},
}


def change(loop: Loop) -> None:
    """Change a file of the source, make one, delete one."""
    make_tree(loop.source, {"d1/f1": b"changed", "new": b"n"})
    (loop.source / "d2/f2").unlink()


def change_one(loop: Loop) -> None:
    """Change a file of the source, and push it."""
    (loop.source / "d3/f3").write_bytes(b"changed more")
    assert loop.push().status == 0


def runs(loop: Loop) -> dict[str, list[Callable[[], object]]]:
    """What comes before each kind of run, and the run."""

    def mirror() -> Ended:
        return loop.master.run("sync", "--role", "mirror")

    return {
        "first push": [loop.push],
        "push": [loop.push, loop.push],
        "first pull": [loop.pull],
        "pull": [loop.pull, loop.pull],
        "pull, every byte": [lambda: loop.pull("--verify")],
        "dry pull": [lambda: loop.slave.run("dryrun")],
        "dry push of changes": [lambda: change(loop), lambda: loop.master.run("dryrun")],
        "push of changes": [loop.push],
        "dry pull of changes": [lambda: loop.slave.run("dryrun")],
        "pull of changes": [loop.pull],
        "first mirror": [mirror],
        "mirror": [mirror, mirror],
        "mirror of changes": [lambda: change_one(loop), mirror],
    }


def sent(proxy: FaultProxy, run: Callable[[], object]) -> dict[str, int]:
    """How many requests of each kind a run sends."""
    before = len(proxy.requests)
    ended = run()
    assert not isinstance(ended, Ended) or ended.status == 0, ended
    counts: Counter[str] = Counter()
    for request in proxy.requests[before:]:
        name = request.key.rpartition("/")[2]
        name = " manifest" if name.startswith("manifest-") else " head.json" if name == "head.json" else ""
        name = " pack" if "/.s32s/packs/" in request.key else name
        counts["LIST" if request.is_list else f"{request.method}{name}"] += 1
    return dict(counts)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [({}, WITH_MANIFEST), ({"manifest": False}, PLAIN), ({"layout": "packed"}, PACKED)],
    ids=["manifest", "plain", "packed"],
)
def test_what_each_kind_of_run_sends(
    proxied: Loop, proxy: FaultProxy, properties: dict[str, object], expected: dict[str, dict[str, int]]
) -> None:
    """A change here has to be meant."""
    loop = proxied
    if expected is PLAIN:
        loop.server.needs("keys of any kind")  # a directory marker ends in a slash
    make_tree(loop.source, FILES)
    loop.write_map(mirror=f"{loop.bucket}/mirror/web", **properties)
    for machine in (loop.master, loop.slave):
        assert machine.run("maps", "update").status == 0
    for path in loop.source.rglob("*"):
        os.utime(path, (OLD_S, OLD_S))

    found = {}
    for name, steps in runs(loop).items():
        for step in steps[:-1]:
            step()
        found[name] = sent(proxy, steps[-1])

    assert found == expected
