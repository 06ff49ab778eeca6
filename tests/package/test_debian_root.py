"""The Debian package in a root of its own: installed, used, upgraded, removed, purged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.servers import S3Server, make_bucket, put

PACKAGING = Path(__file__).parents[2] / "packaging"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("debootstrap") is None, reason="needs root and debootstrap"),
]


def mirror() -> list[str]:
    """Where this machine gets its own packages from; debootstrap's default where that is not known."""
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=False
    )
    return said.stdout.split()[:1]


class Root:
    """A Debian below a directory."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self._environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **environment}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            ["chroot", str(self.directory), *words], env=self._environment, capture_output=True, text=True, check=False
        )

    def has(self, path: str) -> bool:
        """Whether there is something at a path."""
        return (self.directory / path.lstrip("/")).exists()


@contextmanager
def debian(directory: Path, environment: dict[str, str]) -> Iterator[Root]:
    """A fresh Debian 12 with what the package depends on, and nothing else."""
    command = [
        "debootstrap",
        "--variant=minbase",
        "--include=python3,ca-certificates",
        "bookworm",
        str(directory),
        *mirror(),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no Debian could be made here: {made.stdout[-300:]}")
    subprocess.run(["mount", "--bind", "/proc", str(directory / "proc")], check=True)
    try:
        yield Root(directory, environment)
    finally:
        subprocess.run(["umount", str(directory / "proc")], check=True)


def test_the_life_of_a_package(tmp_path: Path, moto: S3Server) -> None:
    """dpkg -i, syncs in both layouts, an upgrade, dpkg -r, dpkg -P; what s32s has brought stays."""
    subprocess.run([sys.executable, str(PACKAGING / "build_deb.py"), "--output", str(tmp_path)], check=True)
    (package,) = tmp_path.glob("*.deb")
    bucket = f"test-{uuid.uuid4().hex}"
    make_bucket(moto, bucket)
    entry = {"name": "WEB", "s3": f"{bucket}/web", "slave": "/srv/www/site"}
    put(moto, bucket, "maps/web.json", json.dumps([entry]).encode())
    put(moto, bucket, "web/index.html", b"hello")

    with debian(tmp_path / "root", moto.environment()) as root:
        shutil.copy(package, root.directory / "root/s32s.deb")
        installed = root.run("dpkg", "-i", "/root/s32s.deb")
        root.run("mkdir", "-p", "/srv/www")
        wanted = ("--role", "slave", "--maps", f"{bucket}/maps", "--allow", "/srv/www")
        configured = root.run("s32s", "configure", *wanted, "--endpoint-url", moto.endpoint_url)
        synced = root.run("s32s", "sync")
        large = os.urandom(9_000_000)
        (root.directory / "srv/www/site/large").write_bytes(large)
        packs, server = f"s3://{bucket}/packs", ("--layout", "packed", "--endpoint-url", moto.endpoint_url)
        pushed = root.run("s32s", "sync", "/srv/www/site", packs, *server)
        pulled = root.run("s32s", "sync", packs, "/srv/www/back", *server)
        user = root.run("getent", "passwd", "s32s")
        compiled = root.has("/usr/lib/s32s/s32s/__pycache__")
        upgraded = root.run("dpkg", "-i", "/root/s32s.deb")
        status = root.run("s32s", "status")
        removed = root.run("dpkg", "-r", "s32s")
        left = [path for path in ("/etc/s32s/s32s.toml", "/var/lib/s32s", "/srv/www/site/index.html") if root.has(path)]
        libraries = root.has("/usr/lib/s32s")
        purged = root.run("dpkg", "-P", "s32s")

        for ended in (installed, configured, synced, pushed, pulled, user, upgraded, status, removed, purged):
            assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "1 new" in synced.stdout
        assert (root.directory / "srv/www/back/large").read_bytes() == large
        assert "synced" in status.stdout  # a prefix without a manifest is compared by a run alone
        assert compiled
        assert not libraries
        assert left == ["/etc/s32s/s32s.toml", "/var/lib/s32s", "/srv/www/site/index.html"]
        assert not root.has("/var/lib/s32s")
        assert root.has("/srv/www/site/index.html")
