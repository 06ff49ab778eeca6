"""Master and peer on a system that is not Unix, as far as that can be played here: see `support/elsewhere.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.machine import Ended, Machine
from support.peers import Peer
from support.servers import S3Server, make_bucket, put
from support.trees import make_tree, snapshot

ELSEWHERE = Path(__file__).parents[1] / "support/elsewhere.py"


class Elsewhere(Machine):
    """A computer that is not Unix."""

    def command(self, *arguments: str) -> list[str]:
        """See `Machine`."""
        return [sys.executable, str(ELSEWHERE), *arguments] if os.name == "posix" else super().command(*arguments)


class PeerElsewhere(Elsewhere, Peer):
    """A person at one."""


def told(peer: Peer) -> dict[str, object]:
    """What a folder holds, but for the permission bits, which are not kept elsewhere."""
    return {path: entry._replace(mode=0) for path, entry in peer.tree().items()}


def well(ended: Ended) -> Ended:
    """A run that went well."""
    assert ended.status == 0, ended.err
    return ended


@pytest.fixture
def bucket(moto: S3Server, tmp_path: Path) -> str:
    """A bucket of its own."""
    name = f"test-{abs(hash(tmp_path)):x}"
    make_bucket(moto, name)
    return name


@pytest.mark.skipif(os.name != "posix", reason="this is elsewhere")
def test_what_is_taken_away_is_gone() -> None:
    """Or nothing would be tried here."""
    code = (
        f"import sys; sys.path.insert(0, {str(ELSEWHERE.parent)!r}); import elsewhere; elsewhere.hobble()\n"
        "import os\n"
        "for name in ('fcntl', 'pwd', 'grp', 'inotify_simple'):\n"
        "    try:\n        __import__(name)\n    except ImportError:\n        continue\n    raise SystemExit(name)\n"
        "assert not hasattr(os, 'geteuid') and not os.supports_dir_fd\n"
        "try:\n    os.open('/', os.O_RDONLY)\nexcept PermissionError:\n    pass\nelse:\n    raise SystemExit('open')\n"
        "try:\n    os.stat('etc', dir_fd=3)\nexcept NotImplementedError:\n    os._exit(0)\nos._exit(1)\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_master(tmp_path: Path, moto: S3Server, bucket: str) -> None:
    """It pushes, finds nothing new, and pushes what has changed; a slave elsewhere follows."""
    source, target = tmp_path / "site", tmp_path / "srv/site"
    target.parent.mkdir()
    make_tree(source, {"index.html": b"hello", "css/site.css": b"body {}", "empty": None})
    entry = {"name": "WEB", "s3": f"{bucket}/web", "master": str(source), "slave": str(target)}
    put(moto, bucket, "maps/web.json", json.dumps([entry]).encode())
    master, slave = Elsewhere(tmp_path / "master", moto), Machine(tmp_path / "slave", moto)
    master.write_config("master", f"{bucket}/maps")
    slave.write_config("slave", f"{bucket}/maps", allow=[target.parent])

    well(master.run("sync", "--update-maps"))
    assert well(master.run("sync")).changed_nothing
    well(slave.run("sync", "--update-maps"))
    assert snapshot(target) == snapshot(source)
    (source / "index.html").write_text("changed")
    (source / "css/site.css").unlink()
    assert "1 modified, 1 deleted" in well(master.run("sync")).out
    well(slave.run("sync"))

    assert snapshot(target) == snapshot(source)
    assert "WEB" in well(master.run("status")).out


def test_two_peers_of_which_one_is_elsewhere(tmp_path: Path, moto: S3Server, bucket: str) -> None:
    """New, modified, deleted, conflicts, trash: both come to the same."""
    place = f"s3://{bucket}/team"
    ann, bob = Peer(tmp_path / "ann", moto, place), PeerElsewhere(tmp_path / "bob", moto, place)
    make_tree(ann.folder, {"plan.txt": b"walls", "old/a.txt": b"a", "keep.txt": b"k"})
    (ann.folder / "plan.txt").chmod(0o755)
    well(ann.sync())
    well(bob.sync())
    assert told(ann) == told(bob)

    make_tree(bob.folder, {"new/deep/b.txt": b"b", "plan.txt": b"walls and doors"})
    (bob.folder / "old/a.txt").unlink()
    (ann.folder / "keep.txt").rename(ann.folder / "kept.txt")
    well(bob.sync())
    well(ann.sync())
    well(bob.sync())
    assert told(ann) == told(bob)
    assert (bob.folder / "kept.txt").read_text() == "k"
    assert (ann.folder / "plan.txt").stat().st_mode & 0o777 == 0o755

    (ann.folder / "plan.txt").write_text("by ann")
    (bob.folder / "plan.txt").write_text("by bob!")
    well(ann.sync())
    assert bob.sync().status == 1
    well(bob.sync("--keep", "both"))
    well(ann.sync())
    assert told(ann) == told(bob)
    assert any("(conflict, " in path for path in ann.tree())
    (ann.folder / "kept.txt").unlink()
    well(ann.sync())
    well(bob.sync())
    assert "k" in bob.lines()
