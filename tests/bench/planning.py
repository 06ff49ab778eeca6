"""What many keys cost beside their listings: time and memory of planner, manifest and index.

    .venv/bin/python tests/bench/planning.py [--keys 100000]

The listings are synthetic and come page by page, as from S3, so what is measured is our own: making the trees, the
comparison and the plan; then a manifest of as many files, written and read, and an index, saved and loaded. One in a
hundred keys differs, one in a thousand is new, one in a thousand is gone. Memory is
how much the process holds at its highest above what it held before, over all keys of both sides.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from s32s.agent.state import State
from s32s.backends.base import ListedObject
from s32s.config.settings import Directories
from s32s.core import guards, plan, tree
from s32s.core.guards import Limits, MaxDelete
from s32s.core.item import Item
from s32s.format import manifest
from s32s.frontends.render.jsonl import plan_facts
from s32s.stores.local.stat_cache import CachedHash, StatCache
from s32s.stores.objects import listing

SECOND = 1_000_000_000


def objects(keys: int, *, mirror: bool) -> Iterator[ListedObject]:
    """The objects of one side, as a listing gives them."""
    for number in range(keys):
        if number % 1000 == (1 if mirror else 2):
            continue
        content = f"{number}{'-old' if mirror and number % 100 == 0 else ''}"
        etag = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
        key = f"stores/store-{number // 50:06}/photos/{number:08}.jpg"
        yield ListedObject(key, 20_000 + number, etag, (1_800_000_000 + number % 100_000) * SECOND)


def peak() -> int:
    """The highest resident size so far, in bytes; ru_maxrss is in KiB (getrusage(2))."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure once and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keys", type=int, default=100_000, help="on each side")
    keys = parser.parse_args().keys

    began_with = peak()
    listing_s = 0.0
    trees: list[tree.Tree] = []
    for mirror in (False, True):
        began = time.process_time()
        trees.append(listing.listed_tree(objects(keys, mirror=mirror), "bucket/photos", room=1000))
        listing_s += time.process_time() - began
    listed = peak() - began_with
    began = time.process_time()
    made = plan.make(trees[0], trees[1], spare_ignored=True)
    guards.check_plan(made, Limits(MaxDelete(50, percent=True)))
    facts = plan_facts(made, paths=False)
    planning_s = time.process_time() - began
    planned = peak() - began_with - listed
    print(
        f"{keys:,} keys a side: {facts['new']:,} new, {facts['modified']:,} modified, {facts['deleted']:,} deleted; "
        f"trees {listing_s:.2f} s, {listed / (2 * keys):.0f} bytes a key; "
        f"plan {planning_s:.2f} s, {planned / (2 * keys):.0f} bytes a key"
    )
    del trees, made, facts
    manifest_and_index(keys)
    print(f"in all at most {peak() / 1024**2:,.0f} MB")


def manifest_and_index(keys: int) -> None:
    """A manifest and an index of as many files: CPU time of each way."""
    began = time.process_time()
    data, ref = manifest.to_bytes(files(keys))
    written_s = time.process_time() - began
    began = time.process_time()
    items = manifest.read(data, ref)
    read_s = time.process_time() - began
    with tempfile.TemporaryDirectory() as name:
        state = State.open(Directories(Path(name, "state"), Path(name, "cache")))
        began = time.process_time()
        made = StatCache()
        for row, item in enumerate(items):
            made.add(item.path, seen(item, row))
        state.save_stat_cache("/srv", made)
        saved_s = time.process_time() - began
        del items, made
        began = time.process_time()
        index = state.stat_cache("/srv")
        loaded_s = time.process_time() - began
        state.close()
    print(
        f"{len(index):,} files: manifest of {len(data) / 1024**2:.0f} MB written in {written_s:.2f} s and read in "
        f"{read_s:.2f} s; index saved in {saved_s:.2f} s and loaded in {loaded_s:.2f} s"
    )


def files(keys: int) -> Iterator[Item]:
    """The files of a manifest."""
    for number in range(keys):
        content = str(number).encode()
        yield Item(
            f"photos/stores/store-{number // 50:06}/photos/{number:08}.jpg",
            size=20_000 + number,
            mtime_ns=1_800_000_000 * SECOND + number,
            mode=0o644,
            sha256=hashlib.sha256(content).hexdigest(),
            etag=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        )


def seen(item: Item, number: int) -> CachedHash:
    """What the index knows of it."""
    at = item.mtime_ns or 0
    return CachedHash((1, number, item.size, at, at), at + 10 * SECOND, item.sha256, None, item.etag)


if __name__ == "__main__":
    main()
